//! Where metrics are pushed to, as people give it.
//!
//! Invariants: no secret is given here, only the file that holds it; one exporter of each kind. What may fail: values that
//! cannot work, alone or together, with [`ConfigError`].

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use export::otlp::OtlpOptions;
use export::push::{CloudWatchOptions, TencentOptions};
use serde::{Deserialize, Serialize};

use super::integrations::check_url;
use super::units::Span;
use super::{ConfigError, otlp};

/// The settings of pushed metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[command(next_help_heading = "Pushed metrics")]
pub struct PushOptions {
    /// Push all metrics by OTLP (HTTP, protobuf), for example to http://127.0.0.1:4318; /v1/metrics is added
    #[arg(long, value_name = "URL", env = "MYRIAD_METRICS_OTLP")]
    pub metrics_otlp: Option<String>,
    /// Holds headers for it, a line `name: value` each. Read anew for each request
    #[arg(long, value_name = "FILE", env = "MYRIAD_METRICS_OTLP_HEADERS_FILE")]
    pub metrics_otlp_headers_file: Option<PathBuf>,
    /// How often [default: 10s]
    #[arg(long, value_name = "DURATION", env = "MYRIAD_METRICS_OTLP_INTERVAL")]
    pub metrics_otlp_interval: Option<Span>,
    /// Push the metrics of state machines, as AWS/States has them, to CloudWatch in this region, for example us-east-1
    #[arg(long, value_name = "REGION", env = "MYRIAD_METRICS_CLOUDWATCH")]
    pub metrics_cloudwatch: Option<String>,
    /// Holds the keys for it: lines AWS_ACCESS_KEY_ID=…, AWS_SECRET_ACCESS_KEY=… and, of temporary keys,
    /// AWS_SESSION_TOKEN=…. Read anew for each push
    #[arg(long, value_name = "FILE", env = "MYRIAD_METRICS_CLOUDWATCH_KEYS_FILE")]
    pub metrics_cloudwatch_keys_file: Option<PathBuf>,
    /// Namespace there [default: Myriad/States]
    #[arg(long, value_name = "NAME", env = "MYRIAD_METRICS_CLOUDWATCH_NAMESPACE")]
    pub metrics_cloudwatch_namespace: Option<String>,
    /// What speaks CloudWatch's API elsewhere [default: Amazon's of the region]
    #[arg(long, value_name = "URL", env = "MYRIAD_METRICS_CLOUDWATCH_ENDPOINT")]
    pub metrics_cloudwatch_endpoint: Option<String>,
    /// How often [default: 60s]
    #[arg(long, value_name = "DURATION", env = "MYRIAD_METRICS_CLOUDWATCH_INTERVAL")]
    pub metrics_cloudwatch_interval: Option<Span>,
    /// Push the node's totals to Tencent Cloud Monitor (PutMonitorData), for example https://monitor.tencentcloudapi.com
    #[arg(long, value_name = "URL", env = "MYRIAD_METRICS_TENCENT")]
    pub metrics_tencent: Option<String>,
    /// Holds the keys for it: lines TENCENTCLOUD_SECRET_ID=…, TENCENTCLOUD_SECRET_KEY=… and, of temporary keys,
    /// TENCENTCLOUD_TOKEN=…. Read anew for each push
    #[arg(long, value_name = "FILE", env = "MYRIAD_METRICS_TENCENT_KEYS_FILE")]
    pub metrics_tencent_keys_file: Option<PathBuf>,
    /// How often; a minute or more [default: 60s]
    #[arg(long, value_name = "DURATION", env = "MYRIAD_METRICS_TENCENT_INTERVAL")]
    pub metrics_tencent_interval: Option<Span>,
}

/// Where metrics go, and how often.
#[derive(Debug, Default)]
pub(crate) struct PushTargets {
    pub otlp: Option<(OtlpOptions, Duration)>,
    pub cloudwatch: Option<(CloudWatchOptions, Duration)>,
    pub tencent: Option<(TencentOptions, Duration)>,
}

const OTLP_EVERY: Duration = Duration::from_secs(10);
/// The resolution of both clouds' custom metrics.
const CLOUD_EVERY: Duration = Duration::from_mins(1);
/// A snapshot of a thousand machines costs some milliseconds.
const EVERY_MIN: Duration = Duration::from_secs(1);
const NAMESPACE: &str = "Myriad/States";

fn wrong<T>(setting: &'static str, message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Value { setting, message: message.into() })
}

fn every(
    setting: &'static str,
    given: Option<Span>,
    usual: Duration,
    least: Duration,
) -> Result<Duration, ConfigError> {
    let every = given.map_or(usual, |span| span.0);
    if every < least {
        return wrong(setting, format!("it is too often: write {} or more", Span(least)));
    }
    Ok(every)
}

impl PushOptions {
    /// Each value from `self`, else from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            metrics_otlp: self.metrics_otlp.or(other.metrics_otlp),
            metrics_otlp_headers_file: self.metrics_otlp_headers_file.or(other.metrics_otlp_headers_file),
            metrics_otlp_interval: self.metrics_otlp_interval.or(other.metrics_otlp_interval),
            metrics_cloudwatch: self.metrics_cloudwatch.or(other.metrics_cloudwatch),
            metrics_cloudwatch_keys_file: self
                .metrics_cloudwatch_keys_file
                .or(other.metrics_cloudwatch_keys_file),
            metrics_cloudwatch_namespace: self
                .metrics_cloudwatch_namespace
                .or(other.metrics_cloudwatch_namespace),
            metrics_cloudwatch_endpoint: self
                .metrics_cloudwatch_endpoint
                .or(other.metrics_cloudwatch_endpoint),
            metrics_cloudwatch_interval: self
                .metrics_cloudwatch_interval
                .or(other.metrics_cloudwatch_interval),
            metrics_tencent: self.metrics_tencent.or(other.metrics_tencent),
            metrics_tencent_keys_file: self.metrics_tencent_keys_file.or(other.metrics_tencent_keys_file),
            metrics_tencent_interval: self.metrics_tencent_interval.or(other.metrics_tencent_interval),
        }
    }

    /// Whether these values can work.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.targets("node", None).map(drop)
    }

    /// Where a node with this name pushes to; Tencent's region is the one of its other APIs.
    pub(crate) fn targets(&self, node: &str, region: Option<&str>) -> Result<PushTargets, ConfigError> {
        self.check_companions()?;
        Ok(PushTargets {
            otlp: self.otlp(node)?,
            cloudwatch: self.cloudwatch()?,
            tencent: self.tencent(node, region)?,
        })
    }

    /// Settings of an exporter that is not there would silently not apply.
    fn check_companions(&self) -> Result<(), ConfigError> {
        let otlp = (self.metrics_otlp.is_some(), "--metrics-otlp");
        let cloudwatch = (self.metrics_cloudwatch.is_some(), "--metrics-cloudwatch");
        let tencent = (self.metrics_tencent.is_some(), "--metrics-tencent");
        let given = [
            ("--metrics-otlp-headers-file", self.metrics_otlp_headers_file.is_some(), otlp),
            ("--metrics-otlp-interval", self.metrics_otlp_interval.is_some(), otlp),
            ("--metrics-cloudwatch-keys-file", self.metrics_cloudwatch_keys_file.is_some(), cloudwatch),
            ("--metrics-cloudwatch-namespace", self.metrics_cloudwatch_namespace.is_some(), cloudwatch),
            ("--metrics-cloudwatch-endpoint", self.metrics_cloudwatch_endpoint.is_some(), cloudwatch),
            ("--metrics-cloudwatch-interval", self.metrics_cloudwatch_interval.is_some(), cloudwatch),
            ("--metrics-tencent-keys-file", self.metrics_tencent_keys_file.is_some(), tencent),
            ("--metrics-tencent-interval", self.metrics_tencent_interval.is_some(), tencent),
        ];
        match given.into_iter().find(|(_, given, (there, _))| *given && !there) {
            Some((setting, _, (_, target))) => wrong(
                setting,
                format!("metrics are not pushed there: say where with {target}, or leave this out"),
            ),
            None => Ok(()),
        }
    }

    fn otlp(&self, node: &str) -> Result<Option<(OtlpOptions, Duration)>, ConfigError> {
        let Some(endpoint) = self.metrics_otlp.clone() else { return Ok(None) };
        let headers = self.metrics_otlp_headers_file.as_deref();
        let peer = otlp::peer("--metrics-otlp", &endpoint, headers, node)?;
        let every = every("--metrics-otlp-interval", self.metrics_otlp_interval, OTLP_EVERY, EVERY_MIN)?;
        Ok(Some((peer, every)))
    }

    fn cloudwatch(&self) -> Result<Option<(CloudWatchOptions, Duration)>, ConfigError> {
        let Some(region) = self.metrics_cloudwatch.clone() else { return Ok(None) };
        let setting = "--metrics-cloudwatch";
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return wrong(setting, format!("{region:?} is no region, such as us-east-1"));
        }
        let Some(keys_file) = self.metrics_cloudwatch_keys_file.clone() else {
            return wrong(setting, "--metrics-cloudwatch-keys-file says where the keys are: give it too");
        };
        let endpoint = self.metrics_cloudwatch_endpoint.clone();
        if let Some(endpoint) = &endpoint {
            check_url("--metrics-cloudwatch-endpoint", endpoint, &["http", "https"])?;
        }
        let namespace = self.metrics_cloudwatch_namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned());
        let shown = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let fits = (1..=255).contains(&namespace.len()) && namespace.bytes().all(shown);
        if !fits || namespace.starts_with(':') || namespace.starts_with("AWS/") {
            return wrong(
                "--metrics-cloudwatch-namespace",
                format!(
                    "{namespace:?} is none: write 1 to 255 ASCII characters that do not begin with : or AWS/"
                ),
            );
        }
        let given = self.metrics_cloudwatch_interval;
        let every = every("--metrics-cloudwatch-interval", given, CLOUD_EVERY, EVERY_MIN)?;
        Ok(Some((CloudWatchOptions { region, endpoint, namespace, keys_file }, every)))
    }

    fn tencent(
        &self,
        node: &str,
        region: Option<&str>,
    ) -> Result<Option<(TencentOptions, Duration)>, ConfigError> {
        let Some(endpoint) = self.metrics_tencent.clone() else { return Ok(None) };
        check_url("--metrics-tencent", &endpoint, &["http", "https"])?;
        let Some(keys_file) = self.metrics_tencent_keys_file.clone() else {
            return wrong(
                "--metrics-tencent",
                "--metrics-tencent-keys-file says where the keys are: give it too",
            );
        };
        let given = self.metrics_tencent_interval;
        let every = every("--metrics-tencent-interval", given, CLOUD_EVERY, CLOUD_EVERY)?;
        let (region, instance) = (region.map(str::to_owned), node.to_owned());
        Ok(Some((TencentOptions { endpoint, region, instance, keys_file }, every)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_work_are_named() {
        let base = PushOptions::default;
        let text = |text: &str| Some(text.to_owned());
        let second = Some(Span(Duration::from_secs(1)));
        let otlp = || PushOptions { metrics_otlp: text("http://h:4318"), ..base() };
        let cloudwatch = || PushOptions {
            metrics_cloudwatch: text("us-east-1"),
            metrics_cloudwatch_keys_file: Some("/k".into()),
            ..base()
        };
        let tencent = || PushOptions {
            metrics_tencent: text("https://t"),
            metrics_tencent_keys_file: Some("/k".into()),
            ..base()
        };
        let namespace = |name| PushOptions { metrics_cloudwatch_namespace: text(name), ..cloudwatch() };
        let wrong = [
            ("--metrics-otlp", PushOptions { metrics_otlp: text("h:4318"), ..base() }),
            ("--metrics-otlp", PushOptions { metrics_otlp: text("http://u:secret@h"), ..base() }),
            ("--metrics-otlp", PushOptions { metrics_otlp: text("http://h/v1/metrics"), ..base() }),
            ("--metrics-otlp-interval", PushOptions { metrics_otlp_interval: second, ..base() }),
            (
                "--metrics-otlp-interval",
                PushOptions { metrics_otlp_interval: Some(Span(Duration::ZERO)), ..otlp() },
            ),
            ("--metrics-cloudwatch", PushOptions { metrics_cloudwatch: text("a/b"), ..cloudwatch() }),
            ("--metrics-cloudwatch", PushOptions { metrics_cloudwatch_keys_file: None, ..cloudwatch() }),
            ("--metrics-cloudwatch-namespace", namespace("AWS/States")),
            ("--metrics-cloudwatch-namespace", namespace("")),
            (
                "--metrics-cloudwatch-endpoint",
                PushOptions { metrics_cloudwatch_endpoint: text("h"), ..cloudwatch() },
            ),
            ("--metrics-tencent", PushOptions { metrics_tencent_keys_file: None, ..tencent() }),
            ("--metrics-tencent", PushOptions { metrics_tencent: text("t"), ..tencent() }),
            ("--metrics-tencent-interval", PushOptions { metrics_tencent_interval: second, ..tencent() }),
            ("--metrics-tencent-keys-file", PushOptions { metrics_tencent: None, ..tencent() }),
        ];
        for (setting, options) in wrong {
            let error = options.check().expect_err(setting).to_string();
            assert!(error.starts_with(setting) && !error.contains("secret"), "{setting}: {error}");
        }
        for good in [base(), otlp(), cloudwatch(), tencent()] {
            good.check().expect("good");
        }
        let targets = otlp().or(cloudwatch()).targets("n", Some("r")).expect("good");
        assert_eq!(
            targets.otlp.map(|(options, every)| (options.instance, every)),
            Some(("n".into(), OTLP_EVERY))
        );
        let namespace = targets.cloudwatch.map(|(options, every)| (options.namespace, every));
        assert_eq!(namespace, Some((NAMESPACE.to_owned(), CLOUD_EVERY)));
        assert!(targets.tencent.is_none());
    }
}
