//! Spans of an execution, made of the events of its history.
//!
//! A state is a span when it is over: exited, failed or given up; a run of an execution is one when it has ended. A state in
//! another one (a branch, an iteration) hangs below it, any other below the run. Invariant: the same events give the same
//! spans with the same ids. What may fail: nothing.

use asl::history::{EventKind, Fault, Note, Record};
use asl::{Str, Timestamp};
use export::{Span, SpanKind};
use ids::{ExecutionId, SpanOf, TraceIds};
use telemetry::StateKind;

use super::machine::Machine;
use super::trace::Trace;

/// How a run or a state of an execution ended.
#[derive(Debug, Clone, Copy)]
struct End<'a> {
    status: &'static str,
    fault: Option<Fault<'a>>,
}

/// Where an execution stands in its trace.
#[derive(Debug)]
pub(super) struct Run {
    ids: TraceIds,
    pub id: ExecutionId,
    pub redrives: u32,
    /// When this run began.
    pub since: Timestamp,
    /// The state that is exited next, for a catcher took over, and its error.
    caught: Option<(u64, Option<Str>)>,
}

impl Run {
    pub fn new(ids: TraceIds, id: ExecutionId, redrives: u32, since: Timestamp) -> Self {
        Self { ids, id, redrives, since, caught: None }
    }

    /// What an event ends.
    pub fn event(&mut self, trace: &Trace, machine: &Machine, record: &Record<'_>) -> Option<Span> {
        let at = record.at;
        let end = |status, fault| Some(End { status, fault });
        let end = match record.kind {
            EventKind::StateExited { entered, place, since, around, .. } => {
                let caught = self.caught.take().filter(|(state, _)| *state == entered);
                let error = caught.as_ref().and_then(|(_, error)| error.as_ref());
                let fault = error.is_some().then_some(Fault { error, cause: None });
                let status = if caught.is_some() { "CAUGHT" } else { "SUCCEEDED" };
                return self.state(machine, (entered, place, around), (since, at), End { status, fault });
            }
            EventKind::ExecutionRedriven { count } => {
                (self.redrives, self.since) = (count, at);
                None
            }
            EventKind::ExecutionSucceeded { .. } => end("SUCCEEDED", None),
            EventKind::ExecutionFailed(fault) => end("FAILED", Some(fault)),
            EventKind::ExecutionTimedOut(fault) => end("TIMED_OUT", Some(fault)),
            EventKind::ExecutionAborted(fault) => end("ABORTED", Some(fault)),
            _ => None,
        };
        end.map(|end| self.ended(trace, machine, at, end))
    }

    /// What a note ends.
    pub fn note(&mut self, machine: &Machine, at: Timestamp, note: &Note<'_>) -> Option<Span> {
        match *note {
            Note::Caught { entered, fault, .. } => {
                self.caught = Some((entered, fault.error.cloned()));
                None
            }
            Note::Abandoned { entered, place, since, around, own, fault } => {
                let status = if own { "FAILED" } else { "ABORTED" };
                let end = End { status, fault: Some(fault) };
                self.state(machine, (entered, place, around), (since, at), end)
            }
            Note::Input { .. } | Note::Retried { .. } => None,
        }
    }

    /// The end of an execution that is closed without a step.
    pub fn closed(
        &self,
        trace: &Trace,
        machine: &Machine,
        at: Timestamp,
        (error, cause): (&str, &str),
    ) -> Span {
        let (error, cause) = (Str::from(error), Str::from(cause));
        let fault = Fault { error: Some(&error), cause: Some(&cause) };
        self.ended(trace, machine, at, End { status: "FAILED", fault: Some(fault) })
    }

    fn ended(&self, trace: &Trace, machine: &Machine, until: Timestamp, end: End<'_>) -> Span {
        let before = self.redrives.checked_sub(1);
        let of = SpanKind::Run { redrives: self.redrives };
        Span {
            id: self.ids.span_of(self.id, SpanOf::Run(self.redrives)),
            parent: trace.parent(),
            link: before.map(|before| self.ids.span_of(self.id, SpanOf::Run(before))),
            ..span(machine, machine.name.name().into(), of, (self.since, until), end)
        }
    }

    /// A state that is over; nothing of one that the machine does not have.
    fn state(
        &self,
        machine: &Machine,
        (entered, place, around): (u64, u32, u64),
        (since, until): (Timestamp, Timestamp),
        end: End<'_>,
    ) -> Option<Span> {
        let state = machine.cells.get(place as usize)?;
        let in_run = |event| SpanOf::State(self.redrives, u32::try_from(event).unwrap_or(u32::MAX));
        let parent = if around == 0 { SpanOf::Run(self.redrives) } else { in_run(around) };
        let of = SpanKind::State(StateKind::ALL[state.kind as usize].1);
        // A redrive may go on in a state that was entered before it.
        let since = if self.redrives > 0 { since.max(self.since) } else { since };
        Some(Span {
            id: self.ids.span_of(self.id, in_run(entered)),
            parent: Some(self.ids.span_of(self.id, parent)),
            ..span(machine, state.name.clone(), of, (since, until), end)
        })
    }
}

/// A span that has no ids yet. Causes may hold an execution's data.
fn span(
    machine: &Machine,
    name: Str,
    of: SpanKind,
    (since, until): (Timestamp, Timestamp),
    End { status, fault }: End<'_>,
) -> Span {
    let error = fault.and_then(|fault| fault.error).cloned();
    let cause = fault.and_then(|fault| fault.cause).filter(|_| machine.key.logging.include_data).cloned();
    Span { id: [0; 8], parent: None, link: None, name, of, since, until, status, error, cause }
}
