//! What a shard hands over of an execution's history.

use std::sync::Arc;

use asl::Value;
use asl::history::HistoryEvent;

use crate::Weigh;

/// So many values of one event are weighed; one with more counts as [`HEAVY_BYTES`].
const VALUES_WEIGHED_MAX: u32 = 256;
/// More than the largest payload takes as JSON: what is not weighed is taken for heavy.
const HEAVY_BYTES: usize = 512 << 10;
/// What an event takes beside its details.
const EVENT_BYTES: usize = 128;

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
        let weigh = |event: &HistoryEvent| {
            let mut left = VALUES_WEIGHED_MAX;
            EVENT_BYTES + weigh(&event.details, &mut left).unwrap_or(HEAVY_BYTES)
        };
        self.events.iter().map(weigh).sum::<usize>() + size_of::<Self>()
    }

    fn records(&self) -> u64 {
        self.events.len() as u64
    }
}

/// About what a value takes in memory; `None` where it is made of too many.
fn weigh(value: &Value, left: &mut u32) -> Option<usize> {
    *left = left.checked_sub(1)?;
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| weigh(item, left)).sum::<Option<usize>>()?,
        Value::Object(members) => {
            members.iter().map(|(key, value)| Some(key.len() + weigh(value, left)?)).sum::<Option<usize>>()?
        }
    };
    Some(inner + size_of::<Value>())
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

    #[test]
    fn a_page_weighs_at_least_its_texts_and_one_of_countless_values_is_heavy() {
        let text = page(Value::object([("input", Value::from("x".repeat(10_000)))])).bytes();
        assert!((10_000..11_000).contains(&text), "{text}");
        let many = page(Value::array((0..1_000).map(Value::from))).bytes();
        assert!(many >= HEAVY_BYTES, "{many}");
        assert_eq!(page(Value::Null).records(), 1);
    }
}
