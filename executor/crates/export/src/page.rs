//! What a shard hands over of an execution's history.

use std::sync::Arc;

use asl::history::Record;

use crate::Weigh;
use crate::events::Events;

/// Some events of one execution, in their order. Pages of an execution follow each other in the order of their events.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its ARN or QRN.
    pub execution: Arc<str>,
    /// That of its state machine.
    pub machine: Arc<str>,
    /// Of a child execution of a distributed Map: the ARN of its Map Run.
    pub map_run: Option<Arc<str>>,
    /// How often the execution was redriven when this happened.
    pub redrive_count: u32,
    /// At least one.
    pub events: Events,
}

impl Page {
    /// As [`Events::push`].
    pub fn push(&mut self, record: &Record<'_>, include_data: bool) {
        self.events.push(record, include_data);
    }

    /// Takes the events away, for what comes next.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let events = self.events.hand_over();
        Self { events, ..self.without_events() }
    }

    /// Gives all events away, in pages of no more bytes than this, but for an event that has more alone.
    pub fn parts(&self, bytes: usize) -> impl Iterator<Item = Self> {
        self.events.parts(bytes).map(|events| Self { events, ..self.without_events() })
    }

    fn without_events(&self) -> Self {
        let Self { execution, machine, map_run, redrive_count, .. } = self;
        Self {
            execution: Arc::clone(execution),
            machine: Arc::clone(machine),
            map_run: map_run.clone(),
            redrive_count: *redrive_count,
            events: Events::default(),
        }
    }
}

impl Weigh for Page {
    fn bytes(&self) -> usize {
        self.events.bytes() + size_of::<Self>()
    }

    fn records(&self) -> u64 {
        self.events.len() as u64
    }

    fn is_urgent(&self) -> bool {
        self.events.iter().any(|(event, _)| is_failure(event.kind))
    }

    /// By events: the first ones, as far as they fit.
    fn split(mut self, room: usize) -> (Option<Self>, Option<Self>) {
        let fitting = self.events.fitting(room.saturating_sub(size_of::<Self>()));
        if fitting == self.events.len() {
            return (Some(self), None);
        }
        if fitting == 0 {
            return (None, Some(self));
        }
        let events = self.events.split_off(fitting);
        self.events.shrink();
        let rest = Self { events, ..self.without_events() };
        (Some(self), Some(rest))
    }
}

/// Whether it tells of a failure: what Step Functions logs at its levels FATAL and ERROR.
pub(crate) fn is_failure(kind: &str) -> bool {
    kind == "FailStateEntered" || ["Failed", "TimedOut", "Aborted"].iter().any(|end| kind.ends_with(end))
}

#[cfg(test)]
pub(crate) mod tests {
    use asl::history::{EventKind, Fault, StateType};
    use asl::{Payload, Timestamp, Value};

    use super::*;

    /// A page of one execution whose events say whose and which they are.
    pub fn page_of(execution: &str, events: u64) -> Page {
        let mut page = empty(execution);
        for id in 1..=events {
            push(&mut page, id, &Value::from(format!("{execution} {id}")).into());
        }
        page
    }

    /// A page without events yet.
    pub fn empty(execution: &str) -> Page {
        Page {
            execution: format!("arn:aws:states:r:a:execution:m:{execution}").into(),
            machine: "arn:aws:states:r:a:stateMachine:m".into(),
            map_run: None,
            redrive_count: 0,
            events: Events::default(),
        }
    }

    /// An event with this input.
    pub fn push(page: &mut Page, id: u64, input: &Payload) {
        let (state, name, resource) = (StateType::Pass, &"A".into(), None);
        let kind = EventKind::StateEntered { state, name, place: 0, input, resource };
        page.push(&Record { id, previous: id - 1, at: Timestamp(1_700_000_000_000), kind }, true);
    }

    /// A page that tells of a failure.
    pub fn page_of_failure(execution: &str) -> Page {
        let mut page = page_of(execution, 1);
        let kind = EventKind::ExecutionFailed(Fault { error: Some(&"E".into()), cause: None });
        page.push(&Record { id: 2, previous: 1, at: Timestamp(0), kind }, true);
        page
    }

    fn ids(page: Option<Page>) -> Option<Vec<u64>> {
        page.map(|page| page.events.iter().map(|(event, _)| event.id).collect())
    }

    #[test]
    fn a_page_is_split_by_events_where_they_do_not_fit() {
        let page = page_of("e", 10);
        let whole = page.bytes();
        let (first, rest) = page.clone().split(whole / 2);
        let (first, rest) = (first.expect("some fit"), rest.expect("some do not"));
        assert!(first.bytes() <= whole / 2 && *first.execution == *rest.execution);
        let all = ids(Some(first)).into_iter().chain(ids(Some(rest))).flatten();
        assert_eq!(all.collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
        let (first, rest) = page.clone().split(100);
        assert_eq!((ids(first), ids(rest).map(|ids| ids.len())), (None, Some(10)));
        let (first, rest) = page.split(whole);
        assert_eq!((ids(first).map(|ids| ids.len()), ids(rest)), (Some(10), None));
    }

    #[test]
    fn pages_that_tell_of_a_failure_are_urgent() {
        assert!(!page_of("e", 2).is_urgent());
        assert!(page_of_failure("e").is_urgent());
    }
}
