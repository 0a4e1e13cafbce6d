//! Events of one execution as a shard hands them over: their details are JSON already.
//!
//! Why text and no tree: an event is written once, where it happens, into memory that all events of a page share; a payload
//! that came as text is never parsed for it, and what is handed over has no pieces to be counted or freed one by one.
//! Invariants: the details are one JSON object in the form of Step Functions' log events, where numbers of ids are texts and
//! inputs, outputs and parameters are JSON as text; where data is not to be told, it is never written. What may fail: nothing.

use asl::history::{Details, Record, describe};
use asl::value::{Map, write_string};
use asl::{Payload, Timestamp, Value};

/// So much room is kept for the next events.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// An event, without its details.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// From 1 within the execution.
    pub id: u64,
    /// The event before it, as the history links them.
    pub previous: u64,
    /// When.
    pub at: Timestamp,
    /// For example `PassStateEntered`.
    pub kind: &'static str,
    /// Where its details end in the text of all.
    end: usize,
}

/// Some events of one execution, in their order.
#[derive(Debug, Clone, Default)]
pub struct Events {
    list: Vec<Event>,
    /// The details, one after the other.
    text: Vec<u8>,
}

impl Events {
    /// Adds an event; `include_data` says whether inputs, outputs and parameters are told.
    pub fn push(&mut self, record: &Record<'_>, include_data: bool) {
        let Record { id, previous, at, ref kind } = *record;
        self.text.push(b'{');
        let mut details = Json { out: &mut self.text, include_data, is_first: true };
        let kind = describe(kind, &mut details);
        self.text.push(b'}');
        self.list.push(Event { id, previous, at, kind, end: self.text.len() });
    }

    /// Takes all of them away, in memory of just their size; the room that they had stays for what comes next, unless it is large.
    #[must_use]
    pub fn hand_over(&mut self) -> Self {
        if self.text.capacity() > KEPT_BYTES_MAX {
            let mut taken = std::mem::take(self);
            taken.shrink();
            return taken;
        }
        let taken = self.clone();
        self.list.clear();
        self.text.clear();
        taken
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What they take in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.list.len() * size_of::<Event>()
    }

    /// So many of the first ones take no more than this.
    pub(crate) fn fitting(&self, bytes: usize) -> usize {
        let fits = |(before, event): &(usize, &Event)| event.end + (before + 1) * size_of::<Event>() <= bytes;
        self.list.iter().enumerate().take_while(fits).count()
    }

    /// Each with the JSON of its details.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Event, &[u8])> {
        let mut begin = 0;
        self.list.iter().map(move |event| {
            let details = self.text.get(begin..event.end).unwrap_or_default();
            begin = event.end;
            (event, details)
        })
    }

    /// Keeps this many, in the memory that there is, and gives the others, in memory of just their size.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        let at = at.min(self.list.len());
        if at == 0 {
            return self.hand_over();
        }
        let others = self.copy(at, self.list.len());
        self.text.truncate(self.end_of(at));
        self.list.truncate(at);
        others
    }

    /// Takes all of them in parts of no more bytes than this, but for an event that has more alone.
    pub fn parts(&self, bytes: usize) -> impl Iterator<Item = Self> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let begin = self.end_of(from);
            let rest = self.list.get(from..).filter(|rest| !rest.is_empty())?;
            let fits = |(before, event): &(usize, &Event)| {
                event.end - begin + (before + 1) * size_of::<Event>() <= bytes
            };
            let to = from + rest.iter().enumerate().take_while(fits).count().max(1);
            let part = self.copy(from, to);
            from = to;
            Some(part)
        })
    }

    /// Gives back what is held beyond what there is.
    pub(crate) fn shrink(&mut self) {
        self.list.shrink_to_fit();
        self.text.shrink_to_fit();
    }

    /// Where the text of so many events ends.
    fn end_of(&self, events: usize) -> usize {
        events.checked_sub(1).and_then(|last| self.list.get(last)).map_or(0, |last| last.end)
    }

    fn copy(&self, from: usize, to: usize) -> Self {
        let (begin, end) = (self.end_of(from), self.end_of(to));
        let mut list = self.list.get(from..to).unwrap_or_default().to_vec();
        list.iter_mut().for_each(|event| event.end -= begin);
        Self { list, text: self.text.get(begin..end).unwrap_or_default().to_vec() }
    }
}

/// What says that nothing was cut off from data.
const WHOLE: [(&str, &[u8]); 2] = [
    ("input", br#","inputDetails":{"truncated":false}"#),
    ("output", br#","outputDetails":{"truncated":false}"#),
];

/// Members of a JSON object that is being written.
struct Json<'o> {
    out: &'o mut Vec<u8>,
    include_data: bool,
    is_first: bool,
}

impl Json<'_> {
    /// Names of details are letters alone: nothing in them is escaped.
    fn name(&mut self, name: &'static str) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

impl Details for Json<'_> {
    fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        write_string(text, self.out);
    }

    fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        Value::from(number).write_json(self.out);
    }

    fn value(&mut self, name: &'static str, value: &Value) {
        self.name(name);
        value.write_json(self.out);
    }

    fn data(&mut self, name: &'static str, data: &Payload) {
        if !self.include_data {
            return;
        }
        self.text(name, data.text());
        if let Some((_, whole)) = WHOLE.iter().find(|(data, _)| *data == name) {
            self.out.extend_from_slice(whole);
        }
    }

    /// A map of names to JSON texts.
    fn variables(&mut self, name: &'static str, variables: &Map) {
        if !self.include_data {
            return;
        }
        self.name(name);
        self.out.push(b'{');
        for (at, (name, value)) in variables.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            write_string(name, self.out);
            self.out.push(b':');
            write_string(&value.to_json_string(), self.out);
        }
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use asl::history::{EventKind, StateType};

    use super::*;

    fn exited(output: &str, include_data: bool) -> Events {
        let assigned: Map = [("x", Value::array([Value::from(1_u64)]))].into_iter().collect();
        let kind = EventKind::StateExited {
            state: StateType::Pass,
            name: &"A".into(),
            output: &Payload::from_checked(output.to_owned().into()),
            assigned: Some(&assigned),
            entered: 2,
            place: 0,
            since: Timestamp(0),
            around: 0,
        };
        let mut events = Events::default();
        events.push(&Record { id: 3, previous: 2, at: Timestamp(0), kind }, include_data);
        events
    }

    fn details(events: &Events) -> Vec<&str> {
        events.iter().map(|(_, details)| std::str::from_utf8(details).expect("text")).collect()
    }

    #[test]
    fn data_is_json_as_text_and_left_out_where_it_is_not_told() {
        let expected = concat!(
            r#"{"name":"A","output":"{\"a\": \"line\\nfeed\"}","outputDetails":{"truncated":false},"#,
            r#""assignedVariables":{"x":"[1]"}}"#
        );
        assert_eq!(details(&exited(r#"{"a": "line\nfeed"}"#, true)), [expected]);
        assert_eq!(details(&exited("2", false)), [r#"{"name":"A"}"#]);
    }

    #[test]
    fn line_feeds_between_the_members_of_a_payload_do_not_reach_the_text() {
        assert!(!details(&exited("{\n\"a\":\n1}", true))[0].contains('\n'));
    }

    /// What they take of the allocator.
    fn held(events: &Events) -> usize {
        events.text.capacity() + events.list.capacity() * size_of::<Event>()
    }

    #[test]
    fn parts_hold_all_events_in_their_order_and_no_more_memory_than_they_weigh() {
        let mut events = Events::default();
        for len in [10, 10, 3_000, 10, 700, 700] {
            let kind =
                EventKind::ExecutionSucceeded { output: &Payload::from_checked("1".repeat(len).into()) };
            events.push(&Record { id: len as u64, previous: 0, at: Timestamp(0), kind }, true);
        }
        let parts: Vec<Events> = events.parts(1_000).collect();
        assert_eq!(parts.iter().map(Events::len).collect::<Vec<_>>(), [2, 1, 2, 1]);
        assert_eq!(parts.iter().flat_map(details).collect::<Vec<_>>(), details(&events));
        assert!(parts.iter().all(|part| held(part) == part.bytes()));
        let mut first = events.clone();
        let rest = first.split_off(3);
        assert_eq!((rest.len(), held(&rest)), (3, rest.bytes()));
        first.shrink();
        assert_eq!((first.len(), held(&first)), (3, first.bytes()));
        assert_eq!(Events::default().parts(1).count(), 0);
    }

    #[test]
    fn what_is_handed_over_leaves_nothing_behind_whatever_its_size() {
        for len in [1, 2 * KEPT_BYTES_MAX] {
            let mut events = exited(&"1".repeat(len), true);
            let before: Vec<String> = details(&events).into_iter().map(str::to_owned).collect();
            let taken = events.hand_over();
            assert_eq!(details(&taken), before);
            assert!(events.is_empty() && details(&events).is_empty());
            assert!(events.text.capacity() <= KEPT_BYTES_MAX);
            assert_eq!(held(&taken), taken.bytes(), "it holds no more than it weighs");
        }
    }

    #[test]
    fn events_without_details_have_empty_ones_and_each_keeps_its_own_over_a_split() {
        let mut events = exited("1", true);
        let kind = EventKind::ParallelStateStarted;
        events.push(&Record { id: 4, previous: 3, at: Timestamp(0), kind }, true);
        let all: Vec<String> = details(&events).into_iter().map(str::to_owned).collect();
        assert_eq!(all[1], "{}");
        for at in 0..=3 {
            let mut first = events.clone();
            let bytes = first.bytes();
            let rest = first.split_off(at);
            assert_eq!([details(&first), details(&rest)].concat(), all, "{at}");
            assert_eq!((first.len(), first.bytes() + rest.bytes()), (at.min(2), bytes));
            assert_eq!(events.fitting(first.bytes()), first.len());
        }
    }
}
