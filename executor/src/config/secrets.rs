//! The files with secrets for what is exported, looked at once at the start.
//!
//! Later they are read anew for each request or connection: what goes wrong with them then is an outage. What may fail: a file
//! that is missing, with [`ConfigError::Unreadable`], or wrong, with [`ConfigError::Value`].

use export::{Secret, SecretError};

use super::{Config, ConfigError};

impl Config {
    /// Whether the files with secrets can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub(crate) fn check_secrets(&self) -> Result<(), ConfigError> {
        let (history, push, traces) = (&self.history, &self.push, &self.traces);
        let files = [
            ("--history-cls-keys-file", &history.history_cls_keys_file, Secret::TencentKeys),
            ("--history-redis-password-file", &history.history_redis_password_file, Secret::Password),
            ("--history-kafka-password-file", &history.history_kafka_password_file, Secret::Password),
            ("--history-otlp-headers-file", &history.history_otlp_headers_file, Secret::Headers),
            ("--metrics-otlp-headers-file", &push.metrics_otlp_headers_file, Secret::Headers),
            ("--metrics-cloudwatch-keys-file", &push.metrics_cloudwatch_keys_file, Secret::AwsKeys),
            ("--metrics-tencent-keys-file", &push.metrics_tencent_keys_file, Secret::TencentKeys),
            ("--traces-otlp-headers-file", &traces.traces_otlp_headers_file, Secret::Headers),
        ];
        for (setting, path, secret) in files {
            let Some(path) = path else { continue };
            let told = |why: &SecretError| format!("{}: {why}", path.display());
            match secret.check(path) {
                Ok(()) => {}
                Err(why @ SecretError::Unreadable(_)) => {
                    return Err(ConfigError::Unreadable { setting, message: told(&why) });
                }
                Err(why @ SecretError::Wrong(_)) => {
                    return Err(ConfigError::Value { setting, message: told(&why) });
                }
            }
        }
        Ok(())
    }
}
