//! Spans of executions and their states by OTLP.
//!
//! A run of an execution is a span named after its machine, of the kind SERVER, for somebody has asked for it; a state is one
//! named after itself, of the kind CLIENT where it is a Task, which calls others. What failed has the status ERROR with the
//! error's name, and `error.type`.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind as WireKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as WireSpan, Status};
use rustls::ClientConfig;

use super::{Client, OtlpError, OtlpOptions, attribute, text};
use crate::{Batch, Sent, Sink, SinkError, Span, SpanKind, SpanPage};

/// W3C's flag of what is sampled.
const SAMPLED: u32 = 1;

/// See the module.
#[derive(Debug)]
pub struct OtlpTraces {
    client: Client,
}

impl OtlpTraces {
    /// `tls` says whom to trust.
    ///
    /// # Errors
    /// [`OtlpError`]
    pub fn new(options: OtlpOptions, tls: &Arc<ClientConfig>) -> Result<Self, OtlpError> {
        Ok(Self { client: Client::new(options, "traces", tls)? })
    }
}

impl Sink<Arc<SpanPage>> for OtlpTraces {
    async fn send(&mut self, batch: &Batch<Arc<SpanPage>>) -> Result<Sent, SinkError> {
        let spans = batch.items.iter().flat_map(|page| page.spans.iter().map(|span| wire(page, span)));
        let scope =
            ScopeSpans { scope: Some(self.client.scope()), spans: spans.collect(), ..ScopeSpans::default() };
        let resource = ResourceSpans {
            resource: Some(self.client.resource()),
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        };
        let request = ExportTraceServiceRequest { resource_spans: vec![resource] };
        let (answer, bytes): (ExportTraceServiceResponse, _) = self.client.send(&request).await?;
        let partial = answer.partial_success.unwrap_or_default();
        Ok(self.client.taken(bytes, partial.rejected_spans, &partial.error_message))
    }
}

fn wire(page: &SpanPage, span: &Span) -> WireSpan {
    let kind = match span.of {
        SpanKind::Run { .. } => WireKind::Server,
        SpanKind::State("Task") => WireKind::Client,
        SpanKind::State(_) => WireKind::Internal,
    };
    let trace_state = page.trace_state.to_string();
    let link = |id: &[u8; 8]| Link {
        trace_id: page.trace_id.to_vec(),
        span_id: id.to_vec(),
        trace_state: trace_state.clone(),
        flags: SAMPLED,
        ..Link::default()
    };
    WireSpan {
        trace_id: page.trace_id.to_vec(),
        span_id: span.id.to_vec(),
        links: span.link.iter().map(link).collect(),
        trace_state,
        parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name.to_string(),
        kind: kind.into(),
        start_time_unix_nano: nanos(span.since),
        end_time_unix_nano: nanos(span.until).max(nanos(span.since)),
        attributes: attributes(page, span),
        status: status(span),
        ..WireSpan::default()
    }
}

fn nanos(at: asl::Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or_default().saturating_mul(1_000_000)
}

fn attributes(page: &SpanPage, span: &Span) -> Vec<KeyValue> {
    let mut attributes = vec![
        attribute("myriad.execution.arn", text(&page.execution)),
        attribute("myriad.state_machine.arn", text(&page.machine)),
    ];
    match span.of {
        SpanKind::Run { redrives } => {
            attributes.push(attribute("myriad.execution.status", text(span.status)));
            attributes.push(attribute("myriad.redrive_count", Value::IntValue(redrives.into())));
        }
        SpanKind::State(of) => {
            attributes.push(attribute("myriad.state.name", text(&span.name)));
            attributes.push(attribute("myriad.state.type", text(of)));
            attributes.push(attribute("myriad.state.status", text(span.status)));
        }
    }
    attributes.extend(span.error.as_ref().map(|error| attribute("error.type", text(error))));
    attributes
}

/// OpenTelemetry leaves to others to say that something is well.
fn status(span: &Span) -> Option<Status> {
    if matches!(span.status, "SUCCEEDED" | "CAUGHT") {
        return None;
    }
    let error = span.error.as_deref().unwrap_or(span.status);
    let message = match &span.cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_owned(),
    };
    Some(Status { message, code: StatusCode::Error.into() })
}
