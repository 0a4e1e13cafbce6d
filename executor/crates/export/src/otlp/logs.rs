//! Events of histories as OTLP's log records.
//!
//! A line is a record's body; its type is the event's name, and with the ARNs and the id an attribute. Severity is as Step
//! Functions' log levels have it.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use rustls::ClientConfig;
use telemetry::ExportMetrics;

use super::{Client, OtlpError, OtlpOptions, attribute, text};
use crate::{Batch, Line, Now, Sink, SinkError};

/// See the module.
pub struct OtlpLogs {
    client: Client,
    now: Now,
}

impl std::fmt::Debug for OtlpLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpLogs").field("client", &self.client).finish_non_exhaustive()
    }
}

impl OtlpLogs {
    /// `tls` says whom to trust; `cells` are those of the pump before it.
    ///
    /// # Errors
    /// [`OtlpError`]
    pub fn new(
        options: OtlpOptions,
        tls: &Arc<ClientConfig>,
        cells: Arc<ExportMetrics>,
        now: Now,
    ) -> Result<Self, OtlpError> {
        Ok(Self { client: Client::new(options, "logs", tls, cells)?, now })
    }
}

impl Sink<Arc<Line>> for OtlpLogs {
    async fn send(&mut self, batch: &Batch<Arc<Line>>) -> Result<u64, SinkError> {
        let observed = (self.now)().saturating_mul(1_000_000);
        let scope = ScopeLogs {
            scope: Some(self.client.scope()),
            log_records: batch.items.iter().map(|line| record(line, observed)).collect(),
            ..ScopeLogs::default()
        };
        let resource = ResourceLogs {
            resource: Some(self.client.resource()),
            scope_logs: vec![scope],
            ..ResourceLogs::default()
        };
        let request = ExportLogsServiceRequest { resource_logs: vec![resource] };
        let (answer, sent): (ExportLogsServiceResponse, _) = self.client.send(&request).await?;
        if let Some(partial) = answer.partial_success {
            self.client.count_rejected(partial.rejected_log_records, &partial.error_message);
        }
        Ok(sent)
    }
}

fn record(line: &Line, observed: u64) -> LogRecord {
    let (severity, severity_text) = severity(line.kind);
    let int = |number: u64| Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX));
    let attributes = [
        attribute("myriad.execution.arn", text(&line.execution)),
        attribute("myriad.state_machine.arn", text(&line.machine)),
        attribute("myriad.event.type", text(line.kind)),
        attribute("myriad.event.id", int(line.id)),
        attribute("myriad.redrive_count", int(u64::from(line.redrive_count))),
    ];
    let run = line.map_run.iter().map(|run| attribute("myriad.map_run.arn", text(run)));
    LogRecord {
        time_unix_nano: u64::try_from(line.at_ms).unwrap_or_default().saturating_mul(1_000_000),
        observed_time_unix_nano: observed,
        severity_number: i32::from(severity),
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(text(&line.text)) }),
        attributes: attributes.into_iter().chain(run).collect(),
        event_name: line.kind.to_owned(),
        ..LogRecord::default()
    }
}

/// What Step Functions logs at its levels FATAL and ERROR; the rest only at ALL.
fn severity(kind: &str) -> (SeverityNumber, &'static str) {
    const ERRORS: [&str; 3] = ["Failed", "TimedOut", "Aborted"];
    match kind {
        "ExecutionFailed" | "ExecutionTimedOut" | "ExecutionAborted" => (SeverityNumber::Fatal, "FATAL"),
        "FailStateEntered" => (SeverityNumber::Error, "ERROR"),
        kind if ERRORS.iter().any(|end| kind.ends_with(end)) => (SeverityNumber::Error, "ERROR"),
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
