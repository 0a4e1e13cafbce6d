//! The trace that a start belongs to, as W3C's headers have it.

use clap::Args;
use proto::executor::v1::TraceContext;

/// See the module.
#[derive(Debug, Args)]
pub(super) struct Trace {
    /// The trace context of the execution, as W3C's header has it; the nodes go on with it, and what cannot be read is ignored
    #[arg(long, value_name = "CONTEXT", env = "TRACEPARENT")]
    traceparent: Option<String>,
    /// What vendors have to say of that trace
    #[arg(long, value_name = "STATE", env = "TRACESTATE")]
    tracestate: Option<String>,
}

impl Trace {
    /// As requests say it; nothing where nothing is said.
    pub fn said(self) -> Option<TraceContext> {
        let tracestate = self.tracestate.unwrap_or_default();
        self.traceparent.map(|traceparent| TraceContext { traceparent, tracestate })
    }
}
