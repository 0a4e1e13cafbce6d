//! Events of histories as OTLP's log records.
//!
//! A line is a record's body; its type is the event's name, and with the ARNs and the id an attribute. Severity is as Step
//! Functions' log levels have it. There are thousands of lines in a request: one record is filled again for each, and written
//! into memory that the next request uses too.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use prost::Message as _;
use rustls::ClientConfig;

use super::{Client, OtlpError, OtlpOptions, attribute, text};
use crate::page::is_failure;
use crate::{Batch, Line, Now, Sent, Sink, SinkError};

/// See the module.
pub struct OtlpLogs {
    client: Client,
    now: Now,
    /// The records of a request.
    records: Vec<u8>,
}

impl std::fmt::Debug for OtlpLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpLogs").field("client", &self.client).finish_non_exhaustive()
    }
}

impl OtlpLogs {
    /// `tls` says whom to trust.
    ///
    /// # Errors
    /// [`OtlpError`]
    pub fn new(options: OtlpOptions, tls: &Arc<ClientConfig>, now: Now) -> Result<Self, OtlpError> {
        Ok(Self { client: Client::new(options, "logs", tls)?, now, records: Vec::new() })
    }
}

impl Sink<Arc<Line>> for OtlpLogs {
    async fn send(&mut self, batch: &Batch<Arc<Line>>) -> Result<Sent, SinkError> {
        let observed = (self.now)().saturating_mul(1_000_000);
        self.records.clear();
        let mut record = Record::new(observed);
        for line in &batch.items {
            key(LOG_RECORDS, &mut self.records);
            // There is always room in memory.
            let _ = record.of(line).encode_length_delimited(&mut self.records);
        }
        let head = self.head(self.records.len());
        let parts = [head.as_slice(), &self.records];
        let (answer, bytes): (ExportLogsServiceResponse, _) = self.client.send_parts(&parts).await?;
        let partial = answer.partial_success.unwrap_or_default();
        Ok(self.client.taken(bytes, partial.rejected_log_records, &partial.error_message))
    }
}

impl OtlpLogs {
    /// What a request begins with, whose records of so many bytes follow.
    fn head(&self, records: usize) -> Vec<u8> {
        let scope = ScopeLogs { scope: Some(self.client.scope()), ..ScopeLogs::default() };
        let resource = ResourceLogs { resource: Some(self.client.resource()), ..ResourceLogs::default() };
        let scope = within(SCOPE_LOGS, &scope.encode_to_vec(), records);
        within(RESOURCE_LOGS, &[resource.encode_to_vec(), scope].concat(), records)
    }
}

/// Which fields they are of the messages around them: of a request, of `ResourceLogs`, of `ScopeLogs`.
const RESOURCE_LOGS: usize = 1;
const SCOPE_LOGS: usize = 2;
const LOG_RECORDS: usize = 2;

/// The key of a field that is a message: its length comes next.
fn key(field: usize, out: &mut Vec<u8>) {
    const LENGTH_DELIMITED: usize = 2;
    number(field << 3 | LENGTH_DELIMITED, out);
}

/// A varint, as keys and lengths are.
fn number(number: usize, out: &mut Vec<u8>) {
    // There is always room in memory.
    let _ = prost::encode_length_delimiter(number, out);
}

/// The beginning of a message that is a field: so many bytes of it follow.
fn within(field: usize, begin: &[u8], following: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(begin.len() + 16);
    key(field, &mut out);
    number(begin.len() + following, &mut out);
    out.extend_from_slice(begin);
    out
}

/// One record for all lines.
struct Record(LogRecord);

/// Attributes that each line has, in their places.
const ATTRIBUTES: [&str; 5] = [
    "myriad.execution.arn",
    "myriad.state_machine.arn",
    "myriad.event.type",
    "myriad.event.id",
    "myriad.redrive_count",
];

impl Record {
    fn new(observed: u64) -> Self {
        Self(LogRecord {
            observed_time_unix_nano: observed,
            attributes: ATTRIBUTES.iter().map(|key| attribute(key, text(""))).collect(),
            ..LogRecord::default()
        })
    }

    fn of(&mut self, line: &Line) -> &LogRecord {
        let Self(record) = self;
        let (severity, severity_text) = severity(line.kind);
        record.time_unix_nano = u64::try_from(line.at_ms).unwrap_or_default().saturating_mul(1_000_000);
        record.severity_number = i32::from(severity);
        fill(&mut record.severity_text, severity_text);
        fill(&mut record.event_name, line.kind);
        fill_value(&mut record.body, &line.text);
        record.attributes.truncate(ATTRIBUTES.len());
        if let [execution, machine, kind, id, redrives] = record.attributes.as_mut_slice() {
            fill_value(&mut execution.value, &line.execution);
            fill_value(&mut machine.value, &line.machine);
            fill_value(&mut kind.value, line.kind);
            id.value = int(line.id);
            redrives.value = int(u64::from(line.redrive_count));
        }
        let run = line.map_run.iter().map(|run| attribute("myriad.map_run.arn", text(run)));
        record.attributes.extend(run);
        record
    }
}

fn int(number: u64) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX))) })
}

fn fill(old: &mut String, new: &str) {
    old.clear();
    old.push_str(new);
}

/// In the memory of the text before.
fn fill_value(old: &mut Option<AnyValue>, new: &str) {
    match old {
        Some(AnyValue { value: Some(Value::StringValue(old)) }) => fill(old, new),
        other => *other = Some(AnyValue { value: Some(text(new)) }),
    }
}

/// What Step Functions logs at its levels FATAL and ERROR; the rest only at ALL.
fn severity(kind: &str) -> (SeverityNumber, &'static str) {
    match kind {
        "ExecutionFailed" | "ExecutionTimedOut" | "ExecutionAborted" => (SeverityNumber::Fatal, "FATAL"),
        kind if is_failure(kind) => (SeverityNumber::Error, "ERROR"),
        _ => (SeverityNumber::Info, "INFO"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_the_levels_at_which_step_functions_logs() {
        for (kind, expected) in [
            ("ExecutionFailed", "FATAL"),
            ("ExecutionAborted", "FATAL"),
            ("TaskFailed", "ERROR"),
            ("LambdaFunctionTimedOut", "ERROR"),
            ("MapIterationAborted", "ERROR"),
            ("TaskSubmitFailed", "ERROR"),
            ("FailStateEntered", "ERROR"),
            ("ExecutionSucceeded", "INFO"),
            ("PassStateEntered", "INFO"),
        ] {
            assert_eq!(severity(kind).1, expected, "{kind}");
        }
    }
}
