//! The TOML file: the last of the three places where a setting is looked for.

use std::path::Path;

use super::{ConfigError, Options};

/// The keys that a file may hold, as in `Options`; a test holds the two equal.
pub(super) const KEYS: &[&str] = &[
    "listen",
    "data-port-base",
    "advertise",
    "node-id",
    "shards",
    "partitions",
    "store",
    "store-dir",
    "redis-url",
    "redis-prefix",
    "redis-declared-appendfsync",
    "redis-password-file",
    "redis-ca",
    "redis-cert",
    "redis-key",
    "state-dir",
    "accept-empty-store",
    "retention",
    "archive",
    "archive-retention",
    "archive-endpoint",
    "archive-region",
    "max-open",
    "max-bytes",
    "bind",
    "objects-dir",
    "connections",
    "egress-allow",
    "egress-allow-private",
    "egress-ca",
    "lambda-endpoint",
    "aws-region",
    "tencent-endpoint",
    "tencent-version",
    "tencent-region",
    "credentials",
    "auth-service",
    "aws-sts-endpoint",
    "tencent-sts-endpoint",
    "default-role",
    "history-files",
    "history-file-size",
    "history-file-age",
    "history-files-total",
    "history-cls",
    "history-cls-topic",
    "history-cls-keys-file",
    "history-redis",
    "history-redis-stream",
    "history-redis-entries",
    "history-redis-password-file",
    "history-kafka",
    "history-kafka-topic",
    "history-kafka-tls",
    "history-kafka-user",
    "history-kafka-password-file",
    "history-kafka-compression",
    "history-otlp",
    "history-otlp-headers-file",
    "history-queue",
    "history-retry",
    "metrics-otlp",
    "metrics-otlp-headers-file",
    "metrics-otlp-interval",
    "metrics-cloudwatch",
    "metrics-cloudwatch-keys-file",
    "metrics-cloudwatch-namespace",
    "metrics-cloudwatch-endpoint",
    "metrics-cloudwatch-interval",
    "metrics-tencent",
    "metrics-tencent-keys-file",
    "metrics-tencent-interval",
    "traces-otlp",
    "traces-otlp-headers-file",
    "traces-sample",
    "traces-follow",
    "metrics",
    "no-metrics",
    "allow-plaintext",
    "scheduler",
    "connections-max",
    "tls-cert",
    "tls-key",
    "tls-ca",
    "tls-allow",
    "tls-allow-file",
    "cluster-secret-file",
    "drain-notice",
    "drain-deadline",
    "log",
    "log-level",
    "log-limit",
];

/// Reads a file; a key that nobody knows is an error, for a setting that is not applied is worse than none.
pub(super) fn read(path: &Path) -> Result<Options, ConfigError> {
    let wrong = |message: String| ConfigError::File { path: path.to_owned(), message };
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(format!("the configuration cannot be read: {error}")))?;
    let at = |error: toml::de::Error| {
        let place = error.span().map(|span| place(&text, span.start)).unwrap_or_default();
        wrong(format!("{place}{}", error.message().replace('\n', ", ")))
    };
    let table = text.parse::<toml::Table>().map_err(at)?;
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let suggestion =
            suggest(key, KEYS).map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
        return Err(wrong(format!("`{key}` is no setting{suggestion}")));
    }
    let options: Options = toml::from_str(&text).map_err(at)?;
    if options.metrics.is_some() && options.no_metrics == Some(true) {
        return Err(wrong("`no-metrics` opens no port for `metrics`: leave one of them out".to_owned()));
    }
    Ok(options)
}

/// Where in the file: the line, and its key. Not the line itself, whose value may hold a password.
fn place(text: &str, at: usize) -> String {
    let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let key = text.lines().nth(line).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
    let key = key.filter(|key| KEYS.contains(key)).map_or_else(String::new, |key| format!(", `{key}`"));
    format!("line {}{key}: ", line + 1)
}

/// The known word that is nearest to `word`, if any is near enough to be meant.
pub(crate) fn suggest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let nearest = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    (nearest.0 <= 2.max(word.chars().count() / 3)).then_some(nearest.1)
}

/// Edits (insert, delete, change a character) from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_strange_word_is_not() {
        assert_eq!(suggest("listne", KEYS), Some("listen"));
        assert_eq!(suggest("redis_url", KEYS), Some("redis-url"));
        assert_eq!(suggest("max-opne", KEYS), Some("max-open"));
        assert_eq!(suggest("colour-of-the-bike-shed", KEYS), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
