//! What is seen of the tested state, and what the answer tells of it.

use super::{InspectionLevel, Status, Tested};
use crate::history::{EventKind, Fault, Field, Observer, Record, Stage};
use crate::map::{Dataset, Format, ItemReader};
use crate::program::{Kind, State};
use crate::value::{JsonLimits, Map, Number, Payload, Str, Value};

/// The longest member of an inspection, as in the API; a longer one is left out.
const MEMBER: JsonLimits = JsonLimits { bytes: 262_144, ..JsonLimits::PAYLOAD };

/// Watches the first state of an execution until it is left.
#[derive(Debug, Default)]
pub(super) struct Inspector {
    input: Option<Value>,
    /// The data after each field that was applied, in order.
    data: Vec<(Field, Value)>,
    items_path: Option<Value>,
    /// How many items a distributed Map has given.
    items: u64,
    items_read: List,
    items_selected: List,
    batches: List,
    max_concurrency: Option<u32>,
    tolerated_count: Option<u64>,
    tolerated_percentage: Option<f64>,
    error: Option<Str>,
    cause: Option<Str>,
    retry: Option<(usize, Option<u64>)>,
    catch: Option<usize>,
    left: Option<Left>,
    next: Option<Str>,
}

/// Values that become one member, no more of them than it may hold.
#[derive(Debug, Default)]
struct List {
    items: Vec<Value>,
    bytes: usize,
}

impl List {
    fn push(&mut self, item: &Value) {
        let rest = MEMBER.bytes.saturating_sub(self.bytes);
        match item.measure(JsonLimits { bytes: rest, ..MEMBER }) {
            // With the comma.
            Ok(measured) => {
                self.bytes += measured.bytes + 1;
                self.items.push(item.clone());
            }
            Err(_) => (self.items, self.bytes) = (Vec::new(), MEMBER.bytes),
        }
    }

    fn into_value(self) -> Option<Value> {
        (!self.items.is_empty()).then(|| Value::from(self.items))
    }
}

/// With what the state was left.
#[derive(Debug)]
struct Left {
    output: Payload,
    assigned: Option<Map>,
}

impl Observer for Inspector {
    const INSPECTS: bool = true;

    fn event(&mut self, record: &Record<'_>) {
        match &record.kind {
            EventKind::StateEntered { name, .. } if self.left.is_some() => {
                self.next.get_or_insert_with(|| (*name).clone());
            }
            EventKind::StateEntered { input, .. } => {
                self.input = Some(input.value().clone());
            }
            EventKind::StateExited { output, assigned, .. } if self.left.is_none() => {
                self.left = Some(Left { output: (*output).clone(), assigned: assigned.cloned() });
            }
            _ => {}
        }
    }

    fn stage(&mut self, stage: &Stage<'_>) {
        if self.left.is_some() {
            return;
        }
        match stage {
            Stage::Data(field, data) => self.data.push((*field, data.value().clone())),
            Stage::ItemsPath(items) => self.items_path = Some((*items).clone()),
            Stage::ItemRead(item) => {
                self.items += 1;
                self.items_read.push(item);
            }
            Stage::ItemSelected(item) => self.items_selected.push(item),
            Stage::Batch(batch) => self.batches.push(batch),
            Stage::MaxConcurrency(concurrency) => self.max_concurrency = Some(*concurrency),
            Stage::Tolerance(count, percentage) => {
                (self.tolerated_count, self.tolerated_percentage) = (*count, *percentage);
            }
            Stage::Failed(Fault { error, cause }) => {
                (self.error, self.cause) = (error.cloned(), cause.cloned());
            }
            Stage::Retried { index, after_millis } => self.retry = Some((*index, *after_millis)),
            Stage::Caught { index } => self.catch = Some(*index),
        }
    }
}

impl Inspector {
    /// Whether there is nothing more to wait for.
    pub fn has_seen_the_end(&self) -> bool {
        self.left.is_some() || self.is_retried()
    }

    /// How many items a distributed Map has given so far.
    pub fn items(&self) -> u64 {
        self.items
    }

    fn is_retried(&self) -> bool {
        matches!(self.retry, Some((_, Some(_))))
    }

    /// The answer. `variables` are those that the state began with, `outcome` how it failed for good, if it did.
    pub fn into_tested(
        mut self,
        state: &State,
        level: InspectionLevel,
        variables: Option<Map>,
        outcome: Option<(Option<Str>, Option<Str>)>,
    ) -> Tested {
        let left = self.left.take();
        let status = match (&left, self.catch) {
            (Some(_), Some(_)) => Status::CaughtError,
            (Some(_), None) => Status::Succeeded,
            (None, _) if self.is_retried() => Status::Retriable,
            (None, _) => Status::Failed,
        };
        let (error, cause) = match status {
            Status::Succeeded => (None, None),
            Status::Failed => outcome.unwrap_or_default(),
            Status::Retriable | Status::CaughtError => (self.error.take(), self.cause.take()),
        };
        let (output, assigned) = left.map(|Left { output, assigned }| (output, assigned)).unzip();
        let next_state = self.next.take();
        let mut variables = variables.unwrap_or_default();
        for (name, value) in assigned.flatten().iter().flat_map(Map::iter) {
            variables.insert(name.clone(), value.clone());
        }
        let inspection = (level != InspectionLevel::Info).then(|| self.inspection(state, variables));
        Tested { status, output, error, cause, next_state, inspection }
    }

    /// `inspectionData`.
    fn inspection(self, state: &State, variables: Map) -> Map {
        let mut told = Map::default();
        let mut tell = |name: &'static str, value: Option<Value>| {
            if let Some(value) = value.filter(|value| value.measure(MEMBER).is_ok()) {
                told.insert(name, value);
            }
        };
        let details = self.error_details();
        let (before, after): (Vec<_>, Vec<_>) =
            self.data.into_iter().filter(|(field, _)| is_told(*field, state)).partition(|(field, _)| {
                matches!(field, Field::InputPath | Field::Parameters | Field::Arguments)
            });
        tell("input", self.input);
        before.into_iter().for_each(|(field, value)| tell(name(field), Some(value)));
        if let Kind::Map(map) = &state.kind {
            let reader = map.distributed.as_ref().and_then(|distributed| distributed.reader.as_ref());
            let pointed = reader.is_some_and(has_pointer);
            let selects = map.item_selector.is_some();
            tell("afterItemsPointer", self.items_read.into_value().filter(|_| pointed));
            tell("afterItemsPath", self.items_path);
            tell("afterItemSelector", self.items_selected.into_value().filter(|_| selects));
            tell("afterItemBatcher", self.batches.into_value());
            tell("toleratedFailureCount", self.tolerated_count.map(Value::from));
            tell(
                "toleratedFailurePercentage",
                self.tolerated_percentage.and_then(Number::from_f64).map(Value::from),
            );
            tell("maxConcurrency", self.max_concurrency.map(Value::from));
        }
        after.into_iter().for_each(|(field, value)| tell(name(field), Some(value)));
        tell("errorDetails", details);
        tell("variables", (!variables.is_empty()).then(|| Value::from(variables)));
        told
    }

    fn error_details(&self) -> Option<Value> {
        let mut details = Map::default();
        if let Some(index) = self.catch {
            details.insert("catchIndex", place(index));
        }
        if let Some((index, after_millis)) = self.retry {
            details.insert("retryIndex", place(index));
            if let Some(millis) = after_millis {
                details.insert("retryBackoffIntervalSeconds", Value::from(millis / 1000));
            }
        }
        (!details.is_empty()).then(|| Value::from(details))
    }
}

/// Whether a reader has an `ItemsPointer`.
fn has_pointer(reader: &ItemReader) -> bool {
    matches!(reader.dataset, Dataset::Object(Format::Json { pointer: Some(_) }))
}

/// Whether AWS tells of this field at this state: of Parallel and Map states neither the arguments nor the raw result, of
/// a Map nothing after Parameters, which it has not.
fn is_told(field: Field, state: &State) -> bool {
    match state.kind {
        Kind::Parallel { .. } => !matches!(field, Field::Arguments | Field::Result),
        Kind::Map(_) => !matches!(field, Field::Arguments | Field::Parameters | Field::Result),
        _ => true,
    }
}

fn name(field: Field) -> &'static str {
    match field {
        Field::InputPath => "afterInputPath",
        Field::Parameters => "afterParameters",
        Field::Arguments => "afterArguments",
        Field::Result => "result",
        Field::ResultSelector => "afterResultSelector",
        Field::ResultPath => "afterResultPath",
    }
}

fn place(index: usize) -> Value {
    Value::from(u64::try_from(index).unwrap_or(u64::MAX))
}
