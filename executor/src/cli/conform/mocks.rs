//! The services of a case: the n-th attempt of a state takes the n-th recorded answer with its name and iterations.

use std::collections::{HashMap, VecDeque};

use asl::simulate::{Answer, Reply, Request, Services};
use asl::{Payload, Str, TaskPlace, Value};
use bytes::Bytes;

use super::objects::Objects;

/// Recorded answers by place, in order, and the objects that readers read.
#[derive(Debug)]
pub(super) struct Mocks {
    by_place: HashMap<String, VecDeque<Value>>,
    objects: Objects,
}

impl Mocks {
    /// From a case's `mocks` and the objects of its `setup`.
    pub(super) fn new(mocks: Option<&Value>, objects: Objects) -> Self {
        let mut by_place: HashMap<String, VecDeque<Value>> = HashMap::new();
        for mock in mocks.and_then(Value::as_array).unwrap_or_default() {
            by_place.entry(key_of_mock(mock)).or_default().push_back(mock.clone());
        }
        Self { by_place, objects }
    }
}

impl Services for Mocks {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        let recorded = self.by_place.get_mut(&key_of_place(request.place)).and_then(VecDeque::pop_front);
        match recorded {
            Some(mock) => reply(&mock),
            // Not recorded: nothing was answered.
            None => Reply::now(Answer::Never),
        }
    }

    fn read(&mut self, request: &Request<'_>) -> Result<Bytes, Str> {
        self.objects.read(request.resource, request.input.value())
    }
}

fn reply(mock: &Value) -> Reply {
    let payload = |key: &str| mock.get(key).cloned().map(Payload::from_value);
    let text = |key: &str| match mock.get(key) {
        None | Some(Value::Null) => Str::default(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => Str::from(other.to_json_string()),
    };
    let answer = match mock.get("outcome").and_then(Value::as_str) {
        Some("Succeeded") => Answer::Succeeds(payload("output").unwrap_or_default()),
        Some("Failed") => Answer::Fails(text("error"), text("cause")),
        _ => Answer::Never,
    };
    Reply { submitted: payload("submitted_output"), ..Reply::now(answer) }
}

fn key_of_mock(mock: &Value) -> String {
    let mut key = String::new();
    for step in mock.get("map_path").and_then(Value::as_array).unwrap_or_default() {
        let map = step.get("map").and_then(Value::as_str).unwrap_or_default();
        let index = step.get("index").and_then(Value::as_u64).unwrap_or_default();
        push_step(&mut key, map, index);
    }
    key.push_str(mock.get("state").and_then(Value::as_str).unwrap_or_default());
    key
}

fn key_of_place(place: &TaskPlace) -> String {
    let mut key = String::new();
    for (map, index) in &place.map_path {
        push_step(&mut key, map, u64::from(*index));
    }
    key.push_str(&place.state);
    key
}

/// No name of a state holds a line break, so keys do not collide by accident.
fn push_step(key: &mut String, map: &str, index: u64) {
    key.push_str(map);
    key.push('\n');
    key.push_str(&index.to_string());
    key.push('\n');
}
