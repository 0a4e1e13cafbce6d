//! Where the traces of executions are exported to, and of how many, as people give it.
//!
//! Invariant: no secret is given here, only the file that holds it. What may fail: values that cannot work, alone or together,
//! with [`ConfigError`].

use std::path::PathBuf;

use clap::Args;
use export::otlp::OtlpOptions;
use serde::{Deserialize, Serialize};

use super::{ConfigError, otlp};
use crate::shard::Sampling;

/// The settings of traces.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[command(next_help_heading = "Traces")]
pub struct TracesOptions {
    /// Export spans of executions and their states by OTLP (HTTP, protobuf), for example to http://127.0.0.1:4318;
    /// /v1/traces is added
    #[arg(long, value_name = "URL", env = "MYRIAD_TRACES_OTLP")]
    pub traces_otlp: Option<String>,
    /// Holds headers for it, a line `name: value` each. Read anew for each request
    #[arg(long, value_name = "FILE", env = "MYRIAD_TRACES_OTLP_HEADERS_FILE")]
    pub traces_otlp_headers_file: Option<PathBuf>,
    /// Which share of the executions that are started without a trace context, from 0 to 1 [default: 0.001]
    #[arg(long, value_name = "RATIO", env = "MYRIAD_TRACES_SAMPLE", value_parser = share, allow_negative_numbers = true)]
    pub traces_sample: Option<f64>,
    /// Of executions whose caller's trace is sampled, so many a second at most [default: 100]
    #[arg(long, value_name = "COUNT", env = "MYRIAD_TRACES_FOLLOW")]
    pub traces_follow: Option<u32>,
}

const SAMPLE: f64 = 0.001;
const FOLLOW: u32 = 100;
const NO_SHARE: &str = "it is no share: write a number from 0 to 1, such as 0.001";

fn share(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or(NO_SHARE)
}

fn wrong<T>(setting: &'static str, message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Value { setting, message: message.into() })
}

impl TracesOptions {
    /// Each value from `self`, else from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            traces_otlp: self.traces_otlp.or(other.traces_otlp),
            traces_otlp_headers_file: self.traces_otlp_headers_file.or(other.traces_otlp_headers_file),
            traces_sample: self.traces_sample.or(other.traces_sample),
            traces_follow: self.traces_follow.or(other.traces_follow),
        }
    }

    /// Whether these values can work.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.target("node").map(drop)
    }

    /// Where a node with this name exports to; nothing where it does not.
    pub(crate) fn target(&self, node: &str) -> Result<Option<OtlpOptions>, ConfigError> {
        let Some(endpoint) = self.traces_otlp.clone() else {
            // Settings of an export that is not there would silently not apply.
            let given = [
                ("--traces-otlp-headers-file", self.traces_otlp_headers_file.is_some()),
                ("--traces-sample", self.traces_sample.is_some()),
                ("--traces-follow", self.traces_follow.is_some()),
            ];
            return match given.into_iter().find(|(_, given)| *given) {
                Some((setting, _)) => {
                    wrong(setting, "no traces are exported: say where with --traces-otlp, or leave this out")
                }
                None => Ok(None),
            };
        };
        let headers = self.traces_otlp_headers_file.as_deref();
        let peer = otlp::peer("--traces-otlp", &endpoint, headers, node)?;
        if self.traces_sample.is_some_and(|ratio| !(0.0..=1.0).contains(&ratio)) {
            return wrong("--traces-sample", NO_SHARE);
        }
        Ok(Some(peer))
    }

    /// How each of so many shards samples.
    pub(crate) fn sampling(&self, shards: u32) -> Sampling {
        let follow = f64::from(self.traces_follow.unwrap_or(FOLLOW));
        Sampling {
            ratio: self.traces_sample.unwrap_or(SAMPLE),
            followed_per_s: follow / f64::from(shards.max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_work_are_named() {
        let base = TracesOptions::default;
        let otlp = |url: &str| TracesOptions { traces_otlp: Some(url.to_owned()), ..base() };
        let wrong = [
            ("--traces-otlp", otlp("h:4318")),
            ("--traces-otlp", otlp("http://u:secret@h")),
            ("--traces-otlp", otlp("http://h:4318/v1/traces")),
            ("--traces-sample", TracesOptions { traces_sample: Some(1.5), ..otlp("http://h") }),
            ("--traces-sample", TracesOptions { traces_sample: Some(f64::NAN), ..otlp("http://h") }),
            ("--traces-sample", TracesOptions { traces_sample: Some(0.5), ..base() }),
            ("--traces-follow", TracesOptions { traces_follow: Some(1), ..base() }),
            (
                "--traces-otlp-headers-file",
                TracesOptions { traces_otlp_headers_file: Some("/h".into()), ..base() },
            ),
        ];
        for (setting, options) in wrong {
            let error = options.check().expect_err(setting).to_string();
            assert!(error.starts_with(setting) && !error.contains("secret"), "{setting}: {error}");
        }
        assert_eq!(base().target("n").expect("good"), None);
        let good = otlp("http://h:4318").or(TracesOptions { traces_follow: Some(8), ..base() });
        assert_eq!(good.target("n").expect("good").map(|target| target.instance), Some("n".to_owned()));
        assert_eq!(good.sampling(4), Sampling { ratio: SAMPLE, followed_per_s: 2.0 });
    }
}
