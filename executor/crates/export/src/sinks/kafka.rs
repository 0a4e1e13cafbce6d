//! Histories to a topic of Kafka, or of whatever speaks its protocol: one record for each event.
//!
//! The key is the execution's ARN, which also chooses the partition, so that a partition has the events of an execution in
//! their order as long as the topic keeps its number of partitions; the value is the line, the time the event's. Records are
//! sent with `acks=all`, a batch to all its partitions at once. Invariants: a password is read anew at each connection and
//! reaches no message; after any failure everything is connected anew; where the batch comes again, only the partitions that have
//! not confirmed it get it again. What may fail: the brokers, one partition alone too; what was taken and not confirmed stands
//! twice. The client is rskafka, which needs no system library.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;
use rustls::ClientConfig;
use xxhash_rust::xxh3::xxh3_64;

use crate::{Batch, Line, PumpOptions, Sent, Sink, SinkError};

/// The client tries again by itself for less than this; beyond, the pump does.
const CLIENT_RETRIES: Duration = Duration::from_secs(2);

/// Brokers take a batch of 1,048,588 bytes unless they are told otherwise.
const BATCH_BYTES_MAX: usize = 900 << 10;

/// Batches as brokers take them.
#[must_use]
pub fn pump_options(usual: PumpOptions) -> PumpOptions {
    PumpOptions { batch_bytes: usual.batch_bytes.min(BATCH_BYTES_MAX), ..usual }
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KafkaCompression {
    /// Not at all.
    None,
    /// gzip: smaller, slower.
    Gzip,
    /// Snappy: fast.
    #[default]
    Snappy,
}

/// Where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// `host:port` of brokers to begin with.
    pub brokers: Vec<String>,
    /// The topic. It is not made.
    pub topic: String,
    /// Whether brokers are spoken to by TLS.
    pub tls: bool,
    /// SASL PLAIN: a user, and the file that holds its password.
    pub login: Option<(String, PathBuf)>,
    /// How batches are compressed.
    pub compression: KafkaCompression,
}

/// A topic, as it was when it was connected to.
struct Topic {
    /// One without a leader cannot be connected to.
    partitions: Vec<Result<PartitionClient, Error>>,
}

/// What of a batch partitions have confirmed.
#[derive(Default)]
struct Taken {
    batch: u64,
    /// Where in memory its lines are: the batch holds them for as long as it comes again.
    lines: RefCell<HashSet<usize>>,
}

/// See the module.
pub struct Kafka {
    options: KafkaOptions,
    tls: Arc<ClientConfig>,
    topic: Option<Topic>,
    taken: Taken,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Kafka {
    /// Nothing is connected yet. `tls` says whom to trust, where TLS is asked for.
    #[must_use]
    pub fn new(options: KafkaOptions, tls: Arc<ClientConfig>) -> Self {
        Self { options, tls, topic: None, taken: Taken::default() }
    }

    async fn connect(&self) -> Result<Topic, SinkError> {
        let KafkaOptions { brokers, topic, .. } = &self.options;
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(500),
            base: 2.0,
            deadline: Some(CLIENT_RETRIES),
        };
        let mut builder = ClientBuilder::new(brokers.clone()).client_id("myriad").backoff_config(backoff);
        if self.options.tls {
            builder = builder.tls_config(Arc::clone(&self.tls));
        }
        if let Some((user, path)) = &self.options.login {
            let password = tokio::fs::read_to_string(path).await.map_err(|error| {
                SinkError::unavailable(format!("the password of Kafka: {}: {error}", path.display()))
            })?;
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            builder = builder.sasl_config(SaslConfig::Plain(Credentials::new(user.clone(), password)));
        }
        let client = builder.build().await.map_err(|error| self.judge(&error))?;
        let topics = client.list_topics().await.map_err(|error| self.judge(&error))?;
        let known = topics.into_iter().find(|known| known.name == *topic);
        let known = known.filter(|known| !known.partitions.is_empty()).ok_or_else(|| {
            let user = "make it, or let this user see it";
            SinkError::unavailable(format!("Kafka at {} has no topic {topic:?}: {user}", brokers.join(",")))
        })?;
        let partition = |partition| client.partition_client(topic, partition, UnknownTopicHandling::Error);
        Ok(Topic { partitions: join_all(known.partitions.into_iter().map(partition)).await })
    }

    fn judge(&self, error: &Error) -> SinkError {
        let why =
            format!("Kafka at {}, topic {:?}: {error}", self.options.brokers.join(","), self.options.topic);
        // What is wrong with the records themselves, or with some of them; everything else passes, or an operator can mend it.
        let refused = matches!(
            error,
            Error::ServerError {
                protocol_error: ProtocolError::MessageTooLarge
                    | ProtocolError::RecordListTooLarge
                    | ProtocolError::InvalidRecord
                    | ProtocolError::InvalidTimestamp
                    | ProtocolError::CorruptMessage,
                ..
            }
        );
        if refused { SinkError::RefusedWhole { why } } else { SinkError::unavailable(why) }
    }
}

fn record(line: &Line) -> Record {
    Record {
        key: Some(line.execution.as_bytes().to_vec()),
        value: Some(line.text.as_bytes().to_vec()),
        headers: std::collections::BTreeMap::new(),
        timestamp: DateTime::<Utc>::from_timestamp_millis(line.at_ms).unwrap_or_default(),
    }
}

/// Where an execution's events go: the same in every process.
fn partition_of(execution: &str, partitions: usize) -> usize {
    let hash = xxh3_64(execution.as_bytes()) % (partitions.max(1) as u64);
    usize::try_from(hash).unwrap_or_default()
}

/// Where in memory a line is.
fn place(line: &Arc<Line>) -> usize {
    Arc::as_ptr(line).addr()
}

impl Sink<Arc<Line>> for Kafka {
    async fn send(&mut self, batch: &Batch<Arc<Line>>) -> Result<Sent, SinkError> {
        // Taken out: where the sending fails, or is given up, everything is connected anew.
        let topic = match self.topic.take() {
            Some(topic) => topic,
            None => self.connect().await?,
        };
        if self.taken.batch != batch.number {
            self.taken = Taken { batch: batch.number, ..Taken::default() };
        }
        let mut lines: Vec<Vec<&Arc<Line>>> = topic.partitions.iter().map(|_| Vec::new()).collect();
        let taken = &self.taken.lines;
        for line in batch.items.iter().filter(|line| !taken.borrow().contains(&place(line))) {
            lines[partition_of(&line.execution, topic.partitions.len())].push(line);
        }
        let compression = match self.options.compression {
            KafkaCompression::None => Compression::NoCompression,
            KafkaCompression::Gzip => Compression::Gzip,
            KafkaCompression::Snappy => Compression::Snappy,
        };
        let produce = async |partition: &Result<PartitionClient, Error>, lines: Vec<&Arc<Line>>| {
            let partition = partition.as_ref().map_err(|error| self.judge(error))?;
            let records: Vec<Record> = lines.iter().map(|line| record(line)).collect();
            let bytes = records.iter().map(|record| record.approximate_size() as u64).sum::<u64>();
            partition.produce(records, compression).await.map_err(|error| self.judge(&error))?;
            taken.borrow_mut().extend(lines.into_iter().map(place));
            Ok(bytes)
        };
        let with_lines = topic.partitions.iter().zip(lines).filter(|(_, lines)| !lines.is_empty());
        let results = join_all(with_lines.map(|(partition, lines)| produce(partition, lines))).await;
        let sent = first_passing(results);
        if sent.is_ok() {
            let mut taken = taken.borrow_mut();
            batch.items.iter().for_each(|line| _ = taken.remove(&place(line)));
        }
        if !matches!(sent, Err(SinkError::Unavailable { .. })) {
            self.topic = Some(topic);
        }
        sent.map(Sent::from)
    }
}

/// The bytes of all, or why not: what passes comes first, since a batch is not looked into while a partition is away.
fn first_passing(results: Vec<Result<u64, SinkError>>) -> Result<u64, SinkError> {
    let (mut sent, mut failed) = (0, None);
    for result in results {
        match result {
            Ok(bytes) => sent += bytes,
            Err(error @ SinkError::Unavailable { .. }) => return Err(error),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(sent), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_spread_over_partitions_and_each_stays_where_it_is() {
        let mut counts = [0; 4];
        for number in 0..4_000 {
            let execution = format!("arn:aws:states:r:a:execution:m:{number}");
            let partition = partition_of(&execution, 4);
            assert_eq!(partition, partition_of(&execution, 4));
            counts[partition] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
        assert_eq!(partition_of("e", 1), 0);
    }
}
