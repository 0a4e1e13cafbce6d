//! What a shard hands over of an execution's history.

use std::sync::Arc;

use asl::Value;
use asl::history::HistoryEvent;

use crate::Weigh;

/// So many values of one event are looked at, spread over all of it; from these the others are reckoned.
const VALUES_WEIGHED_MAX: usize = 1_024;
/// What an event takes beside its details.
const EVENT_BYTES: usize = 128;
/// So many payloads are remembered, to tell one that stands in several events, and is in memory once.
const SHARED_MAX: usize = 8;

/// Some events of one execution, in their order. Pages of an execution follow each other in the order of their events.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its ARN or QRN.
    pub execution: Arc<str>,
    /// That of its state machine.
    pub machine: Arc<str>,
    /// Of a child execution of a distributed Map: the ARN of its Map Run.
    pub map_run: Option<Arc<str>>,
    /// Whether the machine is written in TCSL.
    pub tcsl: bool,
    /// How often the execution was redriven when this happened.
    pub redrive_count: u32,
    /// Whether inputs, outputs and parameters are told.
    pub include_data: bool,
    /// At least one.
    pub events: Vec<HistoryEvent>,
}

impl Weigh for Page {
    /// A look at the tops of the details, never at the bytes of a text: it is called on a shard's thread.
    fn bytes(&self) -> usize {
        let mut seen = Seen::default();
        self.events.iter().map(|event| seen.weigh(event)).sum::<usize>() + size_of::<Self>()
    }

    fn records(&self) -> u64 {
        self.events.len() as u64
    }

    fn is_urgent(&self) -> bool {
        self.events.iter().any(|event| is_failure(event.kind))
    }

    /// By events: the first ones, as far as they fit.
    fn split(mut self, room: usize) -> (Option<Self>, Option<Self>) {
        let (mut seen, mut bytes) = (Seen::default(), size_of::<Self>());
        let fits = |event: &&HistoryEvent| {
            bytes += seen.weigh(event);
            bytes <= room
        };
        let fitting = self.events.iter().take_while(fits).count();
        if fitting == self.events.len() {
            return (Some(self), None);
        }
        if fitting == 0 {
            return (None, Some(self));
        }
        let events = self.events.split_off(fitting);
        let rest = Self { events, ..self.clone_empty() };
        (Some(self), Some(rest))
    }
}

impl Page {
    fn clone_empty(&self) -> Self {
        Self {
            execution: Arc::clone(&self.execution),
            machine: Arc::clone(&self.machine),
            map_run: self.map_run.clone(),
            events: Vec::new(),
            ..*self
        }
    }
}

/// Whether it tells of a failure: what Step Functions logs at its levels FATAL and ERROR.
pub(crate) fn is_failure(kind: &str) -> bool {
    kind == "FailStateEntered" || ["Failed", "TimedOut", "Aborted"].iter().any(|end| kind.ends_with(end))
}

/// Where in memory the payloads of a page are that were weighed last.
#[derive(Default)]
struct Seen {
    at: [usize; SHARED_MAX],
    next: usize,
}

impl Seen {
    fn weigh(&mut self, event: &HistoryEvent) -> usize {
        let Value::Object(details) = &event.details else {
            return EVENT_BYTES + weigh(&event.details, VALUES_WEIGHED_MAX);
        };
        let members =
            details.iter().map(|(key, value)| key.len() + size_of::<Value>() + self.weigh_once(value));
        EVENT_BYTES + members.sum::<usize>()
    }

    /// One payload is often the output of a state and the input of the next one.
    fn weigh_once(&mut self, value: &Value) -> usize {
        let at = match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => return 0,
            Value::String(text) => text.as_ptr().addr(),
            Value::Array(items) => Arc::as_ptr(items).addr(),
            Value::Object(members) => Arc::as_ptr(members).addr(),
        };
        if self.at.contains(&at) {
            return 0;
        }
        self.at[self.next] = at;
        self.next = (self.next + 1) % SHARED_MAX;
        weigh(value, VALUES_WEIGHED_MAX)
    }
}

/// About what a value takes in memory: so many of the values in it are looked at, the others are reckoned from them.
fn weigh(value: &Value, looks: usize) -> usize {
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => weigh_some(items.iter().map(|item| (0, item)), looks),
        Value::Object(members) => weigh_some(members.iter().map(|(key, value)| (key.len(), value)), looks),
    };
    inner + size_of::<Value>()
}

fn weigh_some<'v>(values: impl ExactSizeIterator<Item = (usize, &'v Value)>, looks: usize) -> usize {
    let all = values.len();
    if all == 0 || looks == 0 {
        return all * size_of::<Value>();
    }
    let step = all.div_ceil(looks);
    let looked_at = all.div_ceil(step);
    // Each gets its share of the looks that remain.
    let each = (looks - looked_at) / looked_at;
    let some: usize = values.step_by(step).map(|(key, value)| key + weigh(value, each)).sum();
    some / looked_at * all + some % looked_at * all / looked_at
}

#[cfg(test)]
pub(crate) mod tests {
    use asl::timestamp::Timestamp;

    use super::*;

    /// A page of one execution whose events say whose and which they are.
    pub fn page_of(execution: &str, events: u64) -> Page {
        let event = |id| HistoryEvent {
            id,
            previous: id - 1,
            at: Timestamp(1_700_000_000_000),
            kind: "PassStateEntered",
            details: Value::object([("input", Value::from(format!("{execution} {id}")))]),
        };
        Page {
            execution: format!("arn:aws:states:r:a:execution:m:{execution}").into(),
            machine: "arn:aws:states:r:a:stateMachine:m".into(),
            map_run: None,
            tcsl: false,
            redrive_count: 0,
            include_data: true,
            events: (1..=events).map(event).collect(),
        }
    }

    fn page(details: Value) -> Page {
        let mut page = page_of("e", 1);
        page.events[0].details = details;
        page
    }

    fn numbers(count: i64) -> Value {
        Value::array((0..count).map(Value::from))
    }

    #[test]
    fn a_page_weighs_about_what_its_payloads_take() {
        let text = page(Value::object([("input", Value::from("x".repeat(10_000)))])).bytes();
        assert!((10_000..11_000).contains(&text), "{text}");
        let each = size_of::<Value>();
        // Deep, wide, and both: with more values than are looked at, and none near others in number.
        let wide = Value::array([numbers(20_000), numbers(1), numbers(3)]);
        let deep = Value::array((0..300).map(|_| numbers(100)));
        for (value, values) in
            [(numbers(300), 300), (numbers(100_000), 100_000), (wide, 20_000), (deep, 30_000)]
        {
            let bytes = page(Value::object([("input", value)])).bytes();
            assert!((values * each..values * each * 11 / 10 + 1_000).contains(&bytes), "{bytes} of {values}");
        }
        assert_eq!(page(Value::Null).records(), 1);
    }

    #[test]
    fn a_payload_that_several_events_tell_weighs_once() {
        let payload = numbers(10_000);
        let mut page = page_of("e", 4);
        for event in &mut page.events {
            event.details = Value::object([("input", payload.clone())]);
        }
        let one = 10_000 * size_of::<Value>();
        assert!((one..one + 2_000).contains(&page.bytes()), "{}", page.bytes());
    }

    #[test]
    fn a_page_is_split_by_events_where_they_do_not_fit() {
        let page = page_of("e", 10);
        let whole = page.bytes();
        let ids = |page: Option<Page>| {
            page.map(|page| page.events.iter().map(|event| event.id).collect::<Vec<_>>())
        };
        let (first, rest) = page.clone().split(whole / 2);
        let (first, rest) = (first.expect("some fit"), rest.expect("some do not"));
        assert!(first.bytes() <= whole / 2 && *first.execution == *rest.execution);
        assert_eq!(
            ids(Some(first)).into_iter().chain(ids(Some(rest))).flatten().collect::<Vec<_>>(),
            (1..=10).collect::<Vec<_>>()
        );
        let (first, rest) = page.clone().split(100);
        assert_eq!((ids(first), ids(rest).map(|ids| ids.len())), (None, Some(10)));
        let (first, rest) = page.split(whole);
        assert_eq!((ids(first).map(|ids| ids.len()), ids(rest)), (Some(10), None));
    }

    #[test]
    fn pages_that_tell_of_a_failure_are_urgent() {
        let mut page = page_of("e", 2);
        assert!(!page.is_urgent());
        page.events[1].kind = "ExecutionFailed";
        assert!(page.is_urgent());
    }
}
