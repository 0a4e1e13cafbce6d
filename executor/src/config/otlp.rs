//! A peer that speaks OTLP, as people name it: the same for each signal.
//!
//! What may fail: a URL that cannot work, with [`ConfigError`].

use std::path::Path;

use export::otlp::OtlpOptions;

use super::ConfigError;
use super::integrations::check_url;

/// What a node adds to the URL of a peer.
const PATHS: [&str; 3] = ["/v1/logs", "/v1/metrics", "/v1/traces"];

/// The peer of the setting with this value, for a node with this name.
pub(super) fn peer(
    setting: &'static str,
    endpoint: &str,
    headers_file: Option<&Path>,
    node: &str,
) -> Result<OtlpOptions, ConfigError> {
    check_url(setting, endpoint, &["http", "https"])?;
    let place = endpoint.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    if let Some((path, base)) = PATHS.iter().find_map(|path| Some((path, place.strip_suffix(path)?))) {
        let message = format!("{path} is added by the node: write {base}");
        return Err(ConfigError::Value { setting, message });
    }
    Ok(OtlpOptions {
        endpoint: endpoint.to_owned(),
        headers_file: headers_file.map(Path::to_owned),
        instance: node.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_the_node_adds_itself_is_refused() {
        for (url, base) in [
            ("http://h:4318/v1/logs", "write http://h:4318"),
            ("https://h/otlp/v1/traces/", "write https://h/otlp"),
            ("https://h/v1/metrics?tenant=a", "write https://h"),
        ] {
            let error = peer("--history-otlp", url, None, "n").expect_err(url).to_string();
            assert!(error.starts_with("--history-otlp: /v1/") && error.ends_with(base), "{error}");
        }
        let options = peer("--history-otlp", "https://h/otlp", Some(Path::new("/k")), "n").expect("good");
        assert_eq!((options.endpoint.as_str(), options.instance.as_str()), ("https://h/otlp", "n"));
    }
}
