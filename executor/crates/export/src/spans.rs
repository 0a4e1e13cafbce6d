//! What a shard hands over of an execution's trace.

use std::sync::Arc;

use asl::{Str, Timestamp};
use ids::{SpanId, TraceId};

use crate::Weigh;

/// What a span takes beside its texts.
const SPAN_BYTES: usize = size_of::<Span>();

/// Spans of one execution, in the order in which they ended.
#[derive(Debug, Clone)]
pub struct SpanPage {
    /// Which trace they belong to.
    pub trace_id: TraceId,
    /// What other vendors have to say of it, as W3C's `tracestate`.
    pub trace_state: Arc<str>,
    /// ARN or QRN of the execution.
    pub execution: Arc<str>,
    /// That of its state machine.
    pub machine: Arc<str>,
    /// At least one.
    pub spans: Vec<Span>,
}

/// A run of an execution, or a state of one, that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The same whenever it is told.
    pub id: SpanId,
    /// What it happened in; `None`: it is the first of its trace.
    pub parent: Option<SpanId>,
    /// What it follows without being a part of it: the run that a redrive goes on from.
    pub link: Option<SpanId>,
    /// Of the state; that of an execution is its machine's.
    pub name: Str,
    /// What it is.
    pub of: SpanKind,
    /// When it began.
    pub since: Timestamp,
    /// When it ended.
    pub until: Timestamp,
    /// How it ended, as Step Functions calls it: `SUCCEEDED`, `FAILED`, `TIMED_OUT`, `ABORTED`, or `CAUGHT` of a state whose
    /// failure was taken care of.
    pub status: &'static str,
    /// Error name, where there is one.
    pub error: Option<Str>,
    /// Cause, where there is one and data are told.
    pub cause: Option<Str>,
}

/// What a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// The run of an execution that was redriven so often.
    Run {
        /// How often.
        redrives: u32,
    },
    /// A state of this type, for example `Task`.
    State(&'static str),
}

impl Weigh for SpanPage {
    fn bytes(&self) -> usize {
        let text = |text: &Option<Str>| text.as_ref().map_or(0, |text| text.len());
        let weigh = |span: &Span| SPAN_BYTES + span.name.len() + text(&span.error) + text(&span.cause);
        self.spans.iter().map(weigh).sum::<usize>()
            + self.execution.len()
            + self.trace_state.len()
            + size_of::<Self>()
    }

    fn records(&self) -> u64 {
        self.spans.len() as u64
    }
}
