//! Collects a history with the names and details of Step Functions' API.

use super::{Details, Observer, Record, describe};
use crate::timestamp::Timestamp;
use crate::value::{Map, Payload, Value};

/// An event of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEvent {
    /// From 1, without gaps.
    pub id: u64,
    /// The event before it on the same thread of control; 0 for none.
    pub previous: u64,
    /// When.
    pub at: Timestamp,
    /// For example `PassStateEntered`.
    pub kind: &'static str,
    /// The members of the API's `...EventDetails`, with `input`, `output` and `parameters` as JSON values.
    pub details: Value,
}

impl From<&Record<'_>> for HistoryEvent {
    fn from(record: &Record<'_>) -> Self {
        let Record { id, previous, at, ref kind } = *record;
        let mut details = Map::default();
        let kind = describe(kind, &mut details);
        Self { id, previous, at, kind, details: Value::from(details) }
    }
}

impl Details for Map {
    fn text(&mut self, name: &'static str, text: &str) {
        self.insert(name, Value::from(text));
    }

    fn number(&mut self, name: &'static str, number: u64) {
        self.insert(name, Value::from(number));
    }

    fn value(&mut self, name: &'static str, value: &Value) {
        self.insert(name, value.clone());
    }

    fn data(&mut self, name: &'static str, data: &Payload) {
        self.insert(name, data.value().clone());
    }

    fn variables(&mut self, name: &'static str, variables: &Map) {
        self.insert(name, Value::from(variables.clone()));
    }
}

/// Collects events, up to a bound.
#[derive(Debug, Clone)]
pub struct Collector {
    events: Vec<HistoryEvent>,
    capacity: usize,
    dropped: u64,
}

impl Collector {
    /// Keeps the first `capacity` events.
    pub fn new(capacity: usize) -> Self {
        Self { events: Vec::new(), capacity, dropped: 0 }
    }

    /// What was collected, oldest first.
    pub fn events(&self) -> &[HistoryEvent] {
        &self.events
    }

    /// What was collected, oldest first.
    pub fn into_events(self) -> Vec<HistoryEvent> {
        self.events
    }

    /// Events beyond the bound.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Observer for Collector {
    fn event(&mut self, record: &Record<'_>) {
        if self.events.len() >= self.capacity {
            self.dropped += 1;
            return;
        }
        self.events.push(HistoryEvent::from(record));
    }
}
