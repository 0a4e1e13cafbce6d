//! What is asked of an integration, and what it answers.

use std::fmt;
use std::rc::Rc;

use asl::{Payload, Str};
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use ids::TraceContext;
use telemetry::CallKind;

use crate::errors;
use crate::http::HttpError;
use crate::limits::{CAUSE_BYTES_MAX, ERROR_BYTES_MAX};

/// A task that an integration has to do.
#[derive(Debug, Clone)]
pub struct Request {
    /// The state's `Resource`, with its suffix (`.sync`, `.waitForTaskToken`).
    pub resource: Str,
    /// The effective input: what `Parameters` or `Arguments` gave.
    pub input: Payload,
    /// Who asks.
    pub origin: Origin,
}

/// For whom a request is made.
#[derive(Debug, Clone)]
pub struct Origin {
    /// What the execution and its attempt are called.
    pub names: Rc<dyn Names>,
    /// ARN or QRN of its machine.
    pub machine_arn: Str,
    /// For whom it is done: the machine's role, or that of the task's `Credentials`, which may come from an execution's data;
    /// empty where there is neither.
    pub role_arn: Str,
    /// The machine's own role; empty where it has none.
    pub machine_role_arn: Str,
}

/// Names that are spelt when they are asked for: most integrations look at none.
pub trait Names: fmt::Debug {
    /// ARN or QRN of the execution.
    fn execution_arn(&self) -> Str;

    /// The same when the same attempt is asked for again after a recovery, and for nothing else: what makes a call idempotent.
    /// At most 64 characters of `[0-9A-Za-z-]`.
    fn attempt(&self) -> Str;

    /// The trace that whoever is called goes on with, if there is one.
    fn trace(&self) -> Option<&TraceContext> {
        None
    }
}

/// The execution's ARN and the attempt, spelt already.
impl Names for (&'static str, &'static str) {
    fn execution_arn(&self) -> Str {
        self.0.into()
    }

    fn attempt(&self) -> Str {
        self.1.into()
    }
}

impl Origin {
    /// Adds the trace to a request's headers, unless somebody has said what its trace is.
    pub(crate) fn trace(&self, headers: &mut HeaderMap) {
        let Some(context) = self.names.trace() else { return };
        if TRACE_HEADERS.iter().any(|name| headers.contains_key(*name)) {
            return;
        }
        let values = [context.traceparent(), context.tracestate().to_owned()];
        for (name, value) in TRACE_HEADERS.into_iter().zip(values).filter(|(_, value)| !value.is_empty()) {
            // What was read as a context is a header's text.
            headers.extend(
                HeaderValue::try_from(value).ok().map(|value| (HeaderName::from_static(name), value)),
            );
        }
    }
}

/// As W3C has them.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// What came of a first request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The task's output; for `.waitForTaskToken` the output of `TaskSubmitted`, and the task goes on until its token comes back.
    Output(Payload),
    /// A job has begun, `.sync`: this is the output of `TaskSubmitted`, with which [`Integration::complete`] follows it.
    Submitted(Payload),
}

/// A task's failure as the state sees it: what `Retry` and `Catch` match, and the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Error name.
    pub error: Str,
    /// Cause, often JSON text.
    pub cause: Str,
}

/// A call under way; dropping it cancels it.
pub type Call<'a, T> = LocalBoxFuture<'a, Result<T, Failure>>;

/// One service.
pub trait Integration {
    /// What metrics call it.
    fn kind(&self) -> CallKind;

    /// Whether it serves a state's `Resource`.
    fn serves(&self, resource: &str) -> bool;

    /// What metrics call the target of a request: a function, a host, a machine, and no path, query or id of one execution.
    fn target(&self, request: &Request) -> Str {
        request.resource.clone()
    }

    /// Makes the first request.
    fn begin<'a>(&'a self, request: &'a Request) -> Call<'a, Answer>;

    /// Waits for the end of a job that was submitted, perhaps by another node.
    fn complete<'a>(&'a self, request: &'a Request, submitted: &'a Payload) -> Call<'a, Payload>;

    /// Ends a job that was submitted and that nobody waits for any more, because its task has timed out or its execution has
    /// ended. Not asked for when the execution goes on elsewhere.
    fn stop<'a>(&'a self, _: &'a Request, _: &'a Payload) -> Call<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Failure {
    /// With this error name and cause; what is longer than a state's failure may be is cut.
    #[must_use]
    pub fn new(error: &str, mut cause: String) -> Self {
        cause.truncate(cause.floor_char_boundary(CAUSE_BYTES_MAX));
        Self { error: error[..error.floor_char_boundary(ERROR_BYTES_MAX)].into(), cause: cause.into() }
    }

    /// Of a call that was not answered, or whose answer was not read. `unanswered` is what the service's own client calls it; what
    /// may not be asked for, and what is too long, stays so however often it is tried.
    pub(crate) fn of_call(error: &HttpError, unanswered: &str) -> Self {
        let name = match error {
            HttpError::Request { .. } | HttpError::Egress { .. } => errors::RUNTIME,
            HttpError::TooLong { .. } => errors::DATA_LIMIT,
            _ => unanswered,
        };
        Self::new(name, error.to_string())
    }

    /// `States.Runtime`: what was asked for makes no sense, and trying again does not help.
    #[must_use]
    pub fn runtime(cause: String) -> Self {
        Self::new(errors::RUNTIME, cause)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Of an execution with a trace.
    #[derive(Debug)]
    pub(crate) struct Traced(pub TraceContext);

    impl Names for Traced {
        fn execution_arn(&self) -> Str {
            Str::new()
        }

        fn attempt(&self) -> Str {
            "a".into()
        }

        fn trace(&self) -> Option<&TraceContext> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_trace_is_added_to_headers_that_say_nothing_of_one() {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let origin = |names| {
            let (machine_arn, role_arn, machine_role_arn) = (Str::new(), Str::new(), Str::new());
            Origin { names, machine_arn, role_arn, machine_role_arn }
        };
        let traced = |state| Rc::new(Traced(TraceContext::parse(PARENT, state).expect("a context")));
        let headers = |origin: Origin, given: &[(&'static str, &'static str)]| {
            let given = given
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let mut headers: HeaderMap = given.collect();
            origin.trace(&mut headers);
            let text = |name| headers.get(name).map(|value| value.to_str().expect("text").to_owned());
            TRACE_HEADERS.map(text)
        };
        let both = [Some(PARENT.to_owned()), Some("a=1".to_owned())];
        assert_eq!(headers(origin(traced("a=1")), &[("accept", "*/*")]), both);
        assert_eq!(headers(origin(traced("")), &[]), [Some(PARENT.to_owned()), None]);
        assert_eq!(headers(origin(Rc::new(("x", "y"))), &[]), [None, None]);
        // What a definition or a connection has set stays, and stays alone.
        let own = [Some("mine".to_owned()), None];
        assert_eq!(headers(origin(traced("a=1")), &[("traceparent", "mine")]), own);
        let own = [None, Some("b=2".to_owned())];
        assert_eq!(headers(origin(traced("a=1")), &[("tracestate", "b=2")]), own);
    }
}
