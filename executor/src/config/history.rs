//! Where the histories of executions are exported to, as people give it.
//!
//! Invariants: no secret is given here, only the file that holds it; one sink of each kind. What may fail: values that cannot
//! work, alone or together, with [`ConfigError`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use export::otlp::OtlpOptions;
use export::sinks::cls::ClsOptions;
use export::sinks::files::FilesOptions;
use export::sinks::kafka::{KafkaCompression, KafkaOptions};
use export::sinks::redis::{Redis, RedisOptions};
use export::{PumpOptions, Retry};
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::units::{Bytes, Span};

/// How batches for Kafka are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// Smaller, slower.
    Gzip,
    /// Fast.
    Snappy,
}

/// The settings of history export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[command(next_help_heading = "History export")]
pub struct HistoryOptions {
    /// Export histories to files in this folder: NDJSON compressed with zstd. It is made if it is missing
    #[arg(long, value_name = "DIR", env = "MYRIAD_HISTORY_FILES")]
    pub history_files: Option<PathBuf>,
    /// Complete a file that has grown so far [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "MYRIAD_HISTORY_FILE_SIZE")]
    pub history_file_size: Option<Bytes>,
    /// Complete a file that is so old [default: 5m]
    #[arg(long, value_name = "DURATION", env = "MYRIAD_HISTORY_FILE_AGE")]
    pub history_file_age: Option<Span>,
    /// All files of this node together; the oldest are removed [default: 10GiB]
    #[arg(long, value_name = "SIZE", env = "MYRIAD_HISTORY_FILES_TOTAL")]
    pub history_files_total: Option<Bytes>,
    /// Export histories to Tencent Cloud's log service, for example https://ap-guangzhou.cls.tencentcs.com
    #[arg(long, value_name = "URL", env = "MYRIAD_HISTORY_CLS")]
    pub history_cls: Option<String>,
    /// Id of the topic there
    #[arg(long, value_name = "ID", env = "MYRIAD_HISTORY_CLS_TOPIC")]
    pub history_cls_topic: Option<String>,
    /// Holds the keys for it: lines TENCENTCLOUD_SECRET_ID=…, TENCENTCLOUD_SECRET_KEY=… and, of temporary keys,
    /// TENCENTCLOUD_TOKEN=…. Read anew for each packet
    #[arg(long, value_name = "FILE", env = "MYRIAD_HISTORY_CLS_KEYS_FILE")]
    pub history_cls_keys_file: Option<PathBuf>,
    /// Export histories to a stream of this Redis, for example redis://127.0.0.1:6379/1
    #[arg(long, value_name = "URL", env = "MYRIAD_HISTORY_REDIS")]
    pub history_redis: Option<String>,
    /// Key of the stream [default: myriad:history]
    #[arg(long, value_name = "KEY", env = "MYRIAD_HISTORY_REDIS_STREAM")]
    pub history_redis_stream: Option<String>,
    /// Entries that the stream keeps, about [default: 1000000]
    #[arg(long, value_name = "COUNT", env = "MYRIAD_HISTORY_REDIS_ENTRIES")]
    pub history_redis_entries: Option<u64>,
    /// Holds the password of that Redis
    #[arg(long, value_name = "FILE", env = "MYRIAD_HISTORY_REDIS_PASSWORD_FILE")]
    pub history_redis_password_file: Option<PathBuf>,
    /// Export histories by Kafka's protocol: brokers to begin with. Repeat, or separate by commas
    #[arg(long, value_name = "HOST:PORT", env = "MYRIAD_HISTORY_KAFKA", value_delimiter = ',')]
    pub history_kafka: Vec<String>,
    /// Topic there; it is not made
    #[arg(long, value_name = "TOPIC", env = "MYRIAD_HISTORY_KAFKA_TOPIC")]
    pub history_kafka_topic: Option<String>,
    /// Speak TLS to the brokers, who must have certificates of the system's authorities or of --egress-ca
    #[arg(long, value_name = "BOOL", env = "MYRIAD_HISTORY_KAFKA_TLS", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub history_kafka_tls: Option<bool>,
    /// User of SASL PLAIN [default: no login]
    #[arg(long, value_name = "USER", env = "MYRIAD_HISTORY_KAFKA_USER")]
    pub history_kafka_user: Option<String>,
    /// Holds that user's password
    #[arg(long, value_name = "FILE", env = "MYRIAD_HISTORY_KAFKA_PASSWORD_FILE")]
    pub history_kafka_password_file: Option<PathBuf>,
    /// How batches are compressed [default: snappy]
    #[arg(long, value_name = "KIND", env = "MYRIAD_HISTORY_KAFKA_COMPRESSION")]
    pub history_kafka_compression: Option<Compression>,
    /// Export histories as log records by OTLP (HTTP, protobuf), for example to http://127.0.0.1:4318; /v1/logs is added
    #[arg(long, value_name = "URL", env = "MYRIAD_HISTORY_OTLP")]
    pub history_otlp: Option<String>,
    /// Holds headers for it, a line `name: value` each. Read anew for each request
    #[arg(long, value_name = "FILE", env = "MYRIAD_HISTORY_OTLP_HEADERS_FILE")]
    pub history_otlp_headers_file: Option<PathBuf>,
    /// Memory of each sink's queue; what is beyond is dropped and counted [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "MYRIAD_HISTORY_QUEUE")]
    pub history_queue: Option<Bytes>,
    /// For how long events are kept for a sink that does not take them [default: 30m]
    #[arg(long, value_name = "DURATION", env = "MYRIAD_HISTORY_RETRY")]
    pub history_retry: Option<Span>,
}

/// Where histories go.
#[derive(Debug, Default)]
pub(crate) struct HistorySinks {
    pub files: Option<FilesOptions>,
    pub cls: Option<ClsOptions>,
    pub redis: Option<RedisOptions>,
    pub kafka: Option<KafkaOptions>,
    pub otlp: Option<OtlpOptions>,
}

/// No smaller queue holds two batches.
const QUEUE_MIN: u64 = 8 << 20;

fn wrong<T>(setting: &'static str, message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Value { setting, message: message.into() })
}

impl HistoryOptions {
    /// Each value from `self`, else from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            history_files: self.history_files.or(other.history_files),
            history_file_size: self.history_file_size.or(other.history_file_size),
            history_file_age: self.history_file_age.or(other.history_file_age),
            history_files_total: self.history_files_total.or(other.history_files_total),
            history_cls: self.history_cls.or(other.history_cls),
            history_cls_topic: self.history_cls_topic.or(other.history_cls_topic),
            history_cls_keys_file: self.history_cls_keys_file.or(other.history_cls_keys_file),
            history_redis: self.history_redis.or(other.history_redis),
            history_redis_stream: self.history_redis_stream.or(other.history_redis_stream),
            history_redis_entries: self.history_redis_entries.or(other.history_redis_entries),
            history_redis_password_file: self
                .history_redis_password_file
                .or(other.history_redis_password_file),
            history_kafka: if self.history_kafka.is_empty() {
                other.history_kafka
            } else {
                self.history_kafka
            },
            history_kafka_topic: self.history_kafka_topic.or(other.history_kafka_topic),
            history_kafka_tls: self.history_kafka_tls.or(other.history_kafka_tls),
            history_kafka_user: self.history_kafka_user.or(other.history_kafka_user),
            history_kafka_password_file: self
                .history_kafka_password_file
                .or(other.history_kafka_password_file),
            history_kafka_compression: self.history_kafka_compression.or(other.history_kafka_compression),
            history_otlp: self.history_otlp.or(other.history_otlp),
            history_otlp_headers_file: self.history_otlp_headers_file.or(other.history_otlp_headers_file),
            history_queue: self.history_queue.or(other.history_queue),
            history_retry: self.history_retry.or(other.history_retry),
        }
    }

    /// Whether these values can work.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.sinks("node").map(drop)?;
        if self.history_queue.is_some_and(|queue| queue.0 < QUEUE_MIN) {
            return wrong("--history-queue", "it is too small: write 8MiB or more");
        }
        Ok(())
    }

    /// The sinks of a node with this name.
    pub(crate) fn sinks(&self, node: &str) -> Result<HistorySinks, ConfigError> {
        self.check_companions()?;
        Ok(HistorySinks {
            files: self.files(node)?,
            cls: self.cls(node)?,
            redis: self.redis()?,
            kafka: self.kafka()?,
            otlp: self.otlp(node)?,
        })
    }

    /// The queue of each sink, and how long it is tried.
    pub(crate) fn pump(&self) -> PumpOptions {
        let usual = PumpOptions::default();
        let bytes = self.history_queue.map(|queue| usize::try_from(queue.0).unwrap_or(usize::MAX));
        let age = self.history_retry.map_or(usual.retry.age, |retry| retry.0);
        PumpOptions {
            queue_bytes: bytes.unwrap_or(usual.queue_bytes),
            retry: Retry { age, ..usual.retry },
            ..usual
        }
    }

    /// Settings of a sink that is not there would silently not apply.
    fn check_companions(&self) -> Result<(), ConfigError> {
        let (files, cls) = (self.history_files.is_some(), self.history_cls.is_some());
        let (redis, kafka) = (self.history_redis.is_some(), !self.history_kafka.is_empty());
        let otlp = self.history_otlp.is_some();
        let any = files || cls || redis || kafka || otlp;
        let given = [
            ("--history-file-size", self.history_file_size.is_some(), files, "--history-files"),
            ("--history-file-age", self.history_file_age.is_some(), files, "--history-files"),
            ("--history-files-total", self.history_files_total.is_some(), files, "--history-files"),
            ("--history-cls-topic", self.history_cls_topic.is_some(), cls, "--history-cls"),
            ("--history-cls-keys-file", self.history_cls_keys_file.is_some(), cls, "--history-cls"),
            ("--history-redis-stream", self.history_redis_stream.is_some(), redis, "--history-redis"),
            ("--history-redis-entries", self.history_redis_entries.is_some(), redis, "--history-redis"),
            (
                "--history-redis-password-file",
                self.history_redis_password_file.is_some(),
                redis,
                "--history-redis",
            ),
            ("--history-kafka-topic", self.history_kafka_topic.is_some(), kafka, "--history-kafka"),
            ("--history-kafka-tls", self.history_kafka_tls.is_some(), kafka, "--history-kafka"),
            ("--history-kafka-user", self.history_kafka_user.is_some(), kafka, "--history-kafka"),
            (
                "--history-kafka-password-file",
                self.history_kafka_password_file.is_some(),
                kafka,
                "--history-kafka",
            ),
            (
                "--history-kafka-compression",
                self.history_kafka_compression.is_some(),
                kafka,
                "--history-kafka",
            ),
            ("--history-otlp-headers-file", self.history_otlp_headers_file.is_some(), otlp, "--history-otlp"),
            ("--history-queue", self.history_queue.is_some(), any, "--history-files or another"),
            ("--history-retry", self.history_retry.is_some(), any, "--history-files or another"),
        ];
        match given.into_iter().find(|(_, given, sink, _)| *given && !sink) {
            Some((setting, _, _, sink)) => {
                wrong(setting, format!("there is no such sink: say where with {sink}, or leave this out"))
            }
            None => Ok(()),
        }
    }

    fn files(&self, node: &str) -> Result<Option<FilesOptions>, ConfigError> {
        let Some(dir) = &self.history_files else { return Ok(None) };
        let usual = FilesOptions::new(dir, node);
        let options = FilesOptions {
            file_bytes: self.history_file_size.map_or(usual.file_bytes, |size| size.0),
            file_age: self.history_file_age.map_or(usual.file_age, |age| age.0),
            total_bytes: self.history_files_total.map_or(usual.total_bytes, |total| total.0),
            ..usual
        };
        if options.file_bytes == 0 || options.file_age < Duration::from_secs(1) {
            let setting = if options.file_bytes == 0 { "--history-file-size" } else { "--history-file-age" };
            return wrong(
                setting,
                "each batch would be a file of its own: write 1MiB or more, and 1s or more",
            );
        }
        if options.total_bytes < options.file_bytes.saturating_mul(2) {
            return wrong(
                "--history-files-total",
                "it is less than two files: make it larger, or files smaller",
            );
        }
        Ok(Some(options))
    }

    fn cls(&self, node: &str) -> Result<Option<ClsOptions>, ConfigError> {
        let Some(endpoint) = self.history_cls.clone() else { return Ok(None) };
        let Some(topic) = self.history_cls_topic.clone() else {
            return wrong("--history-cls", "--history-cls-topic says which topic: give it too");
        };
        let Some(keys_file) = self.history_cls_keys_file.clone() else {
            return wrong("--history-cls", "--history-cls-keys-file says where the keys are: give it too");
        };
        super::integrations::check_url("--history-cls", &endpoint, &["http", "https"])?;
        Ok(Some(ClsOptions { endpoint, topic, keys_file, source: node.to_owned() }))
    }

    fn otlp(&self, node: &str) -> Result<Option<OtlpOptions>, ConfigError> {
        let Some(endpoint) = self.history_otlp.clone() else { return Ok(None) };
        let headers = self.history_otlp_headers_file.as_deref();
        super::otlp::peer("--history-otlp", &endpoint, headers, node).map(Some)
    }

    fn redis(&self) -> Result<Option<RedisOptions>, ConfigError> {
        let Some(url) = self.history_redis.clone() else { return Ok(None) };
        let usual = RedisOptions::new(url);
        let options = RedisOptions {
            stream: self.history_redis_stream.clone().unwrap_or(usual.stream),
            entries_max: self.history_redis_entries.unwrap_or(usual.entries_max),
            password_file: self.history_redis_password_file.clone(),
            ..usual
        };
        if options.stream.is_empty() {
            return wrong(
                "--history-redis-stream",
                "it is empty: write a key, or leave it out for the usual one",
            );
        }
        if options.entries_max == 0 {
            return wrong("--history-redis-entries", "a stream of 0 entries keeps nothing: write 1 or more");
        }
        match Redis::new(options.clone()) {
            Err(error) => wrong("--history-redis", error.to_string()),
            Ok(redis) if redis.has_password() => {
                wrong("--history-redis", "it holds a password: give that in --history-redis-password-file")
            }
            Ok(_) => Ok(Some(options)),
        }
    }

    fn kafka(&self) -> Result<Option<KafkaOptions>, ConfigError> {
        if self.history_kafka.is_empty() {
            return Ok(None);
        }
        let address = |broker: &&String| {
            !broker
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if let Some(broker) = self.history_kafka.iter().find(address) {
            return wrong("--history-kafka", format!("{broker:?} is no HOST:PORT"));
        }
        let Some(topic) = self.history_kafka_topic.clone() else {
            return wrong("--history-kafka", "--history-kafka-topic says which topic: give it too");
        };
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=249).contains(&topic.len())
            || !topic.bytes().all(usual)
            || [".", ".."].contains(&topic.as_str())
        {
            let message = format!("{topic:?} is no topic: write 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`");
            return wrong("--history-kafka-topic", message);
        }
        let login = match (self.history_kafka_user.clone(), self.history_kafka_password_file.clone()) {
            (None, None) => None,
            (Some(user), Some(file)) => Some((user, file)),
            (Some(_), None) => {
                return wrong("--history-kafka-user", "it needs --history-kafka-password-file: give both");
            }
            (None, Some(_)) => {
                return wrong("--history-kafka-password-file", "it needs --history-kafka-user: give both");
            }
        };
        let compression = match self.history_kafka_compression {
            Some(Compression::None) => KafkaCompression::None,
            Some(Compression::Gzip) => KafkaCompression::Gzip,
            Some(Compression::Snappy) | None => KafkaCompression::Snappy,
        };
        let tls = self.history_kafka_tls.unwrap_or(false);
        Ok(Some(KafkaOptions { brokers: self.history_kafka.clone(), topic, tls, login, compression }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_work_are_named() {
        let base = HistoryOptions::default;
        let text = |text: &str| Some(text.to_owned());
        let cls = || HistoryOptions {
            history_cls: text("https://h"),
            history_cls_topic: text("t"),
            history_cls_keys_file: Some("/k".into()),
            ..base()
        };
        let kafka = || HistoryOptions {
            history_kafka: vec!["h:9092".to_owned()],
            history_kafka_topic: text("t"),
            ..base()
        };
        let files = || HistoryOptions { history_files: Some("/d".into()), ..base() };
        let redis = || HistoryOptions { history_redis: text("redis://h"), ..base() };
        let wrong = [
            ("--history-file-age", HistoryOptions { history_file_age: Some(Span(Duration::MAX)), ..base() }),
            ("--history-file-size", HistoryOptions { history_file_size: Some(Bytes(0)), ..files() }),
            (
                "--history-file-age",
                HistoryOptions { history_file_age: Some(Span(Duration::ZERO)), ..files() },
            ),
            ("--history-files-total", HistoryOptions { history_files_total: Some(Bytes(1)), ..files() }),
            ("--history-cls", HistoryOptions { history_cls_topic: None, ..cls() }),
            ("--history-cls", HistoryOptions { history_cls_keys_file: None, ..cls() }),
            ("--history-cls", HistoryOptions { history_cls: text("h"), ..cls() }),
            ("--history-redis", HistoryOptions { history_redis: text("http://h"), ..base() }),
            ("--history-redis", HistoryOptions { history_redis: text("redis://:secret@h"), ..base() }),
            ("--history-redis-entries", HistoryOptions { history_redis_entries: Some(1), ..base() }),
            ("--history-kafka", HistoryOptions { history_kafka_topic: None, ..kafka() }),
            ("--history-kafka", HistoryOptions { history_kafka: vec!["h".to_owned()], ..kafka() }),
            ("--history-kafka-user", HistoryOptions { history_kafka_user: text("u"), ..kafka() }),
            ("--history-otlp", HistoryOptions { history_otlp: text("http://me:secret@h"), ..base() }),
            (
                "--history-otlp-headers-file",
                HistoryOptions { history_otlp_headers_file: Some("/h".into()), ..base() },
            ),
            ("--history-queue", HistoryOptions { history_queue: Some(Bytes(1)), ..files() }),
            ("--history-queue", HistoryOptions { history_queue: Some(Bytes(16 << 20)), ..base() }),
            (
                "--history-retry",
                HistoryOptions { history_retry: Some(Span(Duration::from_mins(5))), ..base() },
            ),
            ("--history-redis-entries", HistoryOptions { history_redis_entries: Some(0), ..redis() }),
            ("--history-redis-stream", HistoryOptions { history_redis_stream: text(""), ..redis() }),
            ("--history-kafka-topic", HistoryOptions { history_kafka_topic: text("bad topic!"), ..kafka() }),
            ("--history-kafka-topic", HistoryOptions { history_kafka_topic: text(".."), ..kafka() }),
            (
                "--history-kafka-password-file",
                HistoryOptions { history_kafka_password_file: Some("/k".into()), ..kafka() },
            ),
            ("--history-otlp", HistoryOptions { history_otlp: text("http://h/v1/logs"), ..base() }),
        ];
        for (setting, options) in wrong {
            let error = options.check().expect_err(setting).to_string();
            assert!(error.starts_with(setting) && !error.contains("secret"), "{setting}: {error}");
        }
        for good in [base(), cls(), kafka(), files()] {
            good.check().expect("good");
        }
    }

    #[test]
    fn what_is_not_given_has_its_usual_value() {
        let options = HistoryOptions {
            history_files: Some("/d".into()),
            history_redis: Some("redis://h".to_owned()),
            history_retry: Some(Span(Duration::from_secs(9))),
            ..HistoryOptions::default()
        };
        let sinks = options.sinks("n1").expect("good");
        assert_eq!(sinks.files, Some(FilesOptions::new("/d", "n1")));
        assert_eq!(sinks.redis, Some(RedisOptions::new("redis://h")));
        assert!(sinks.cls.is_none() && sinks.kafka.is_none());
        assert_eq!(options.pump().retry.age, Duration::from_secs(9));
    }
}
