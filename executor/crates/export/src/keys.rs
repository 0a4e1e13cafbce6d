//! Keys of cloud APIs, from a file that is read anew for each request, so that they can be replaced.
//!
//! Invariant: keys reach no message. What may fail: the file.

use std::path::Path;

use sign::Keys;
use zeroize::Zeroizing;

use crate::SinkError;

/// How a vendor's keys are called: id, secret, and the token of temporary ones.
pub(crate) type KeyNames = [&'static str; 3];

pub(crate) const TENCENT: KeyNames =
    ["TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN"];
pub(crate) const AWS: KeyNames = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// The keys in this file, for `whom`.
pub(crate) async fn read(path: &Path, names: KeyNames, whom: &str) -> Result<Keys, SinkError> {
    let wrong = |why: &dyn std::fmt::Display| {
        SinkError::unavailable(format!("the keys for {whom}: {}: {why}", path.display()))
    };
    let text = tokio::fs::read_to_string(path).await.map(Zeroizing::new);
    let text = text.map_err(|error| wrong(&error))?;
    keys_of(&text, names).ok_or_else(|| wrong(&lines_of(names)))
}

/// What is wrong with a file without keys.
pub(crate) fn lines_of([id, secret, _]: KeyNames) -> String {
    format!("it needs lines {id}=… and {secret}=…")
}

/// The last line of a name counts.
pub(crate) fn keys_of(text: &str, [id, secret, token]: KeyNames) -> Option<Keys> {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
        let found = lines.rfind(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
        found.filter(|value| !value.is_empty())
    };
    Some(Keys {
        id: value(id)?.to_owned(),
        secret: Zeroizing::new(value(secret)?.to_owned()),
        token: value(token).map(|token| Zeroizing::new(token.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_lines_and_missing_ones_are_none() {
        let text = "TENCENTCLOUD_SECRET_ID = id \r\n# more\nTENCENTCLOUD_SECRET_KEY=a=b\n";
        let keys = keys_of(text, TENCENT).expect("keys");
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.token.is_none()), ("id", "a=b", true));
        assert!(keys_of(text, AWS).is_none());
        let text = "AWS_ACCESS_KEY_ID=i\nAWS_SECRET_ACCESS_KEY=k\nAWS_SESSION_TOKEN=t";
        let keys = keys_of(text, AWS).expect("keys");
        assert_eq!(keys.token.as_deref().map(String::as_str), Some("t"));
        for text in ["", "TENCENTCLOUD_SECRET_ID=i", "TENCENTCLOUD_SECRET_ID=i\nTENCENTCLOUD_SECRET_KEY="] {
            assert!(keys_of(text, TENCENT).is_none(), "{text}");
        }
    }
}
