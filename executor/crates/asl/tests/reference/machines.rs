//! Any machine, any input: the same outcome as the reference.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use asl::execution::{FixedNames, Machine, StartContext};
use asl::history::Collector;
use asl::simulate::{Answer, Reply, Request, simulate};
use asl::value::JsonLimits;
use asl::{Dialect, Payload, Program, Timestamp};
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::Value as Json;

use super::generate::{Choices, choices};
use super::interpreter::{Interpreter, Outcome, Undecided};
use super::intrinsic::CAUSE;
use super::path::equal;
use super::script::{self, Script};

/// States that the reference enters before it gives up.
const STEPS: u32 = 400;

/// A machine with its input and what its tasks answer.
#[derive(Debug)]
pub struct Case {
    pub definition: Json,
    pub input: Json,
    pub script: Script,
}

impl Case {
    pub fn new(choices: &mut Choices) -> Self {
        let seed = choices.below(1 << 16) as u64;
        let input = choices.input();
        let outputs = vec![choices.input(), choices.document(1), choices.input()];
        let definition = choices.machine();
        Self { definition, input, script: Script { seed, outputs } }
    }

    fn reference(&self) -> Result<Outcome, Undecided> {
        let interpreter = Interpreter {
            machine: &self.definition,
            input: &self.input,
            script: &self.script,
            steps_left: Cell::new(STEPS),
            unordered: Cell::new(false),
        };
        interpreter.run()
    }

    pub fn machine(&self) -> Arc<Machine> {
        let text = self.definition.to_string();
        let compiled = Program::compile(text.as_bytes(), Dialect::Asl);
        let compiled = compiled.unwrap_or_else(|found| panic!("not valid: {found:?}\n{text}"));
        Arc::new(Machine {
            program: compiled.program,
            arn: "arn:machine".into(),
            name: "machine".into(),
            role_arn: "role".into(),
            mode_timeout_seconds: 31_536_000,
            history_events_max: 25_000,
            names: Box::new(FixedNames { arn: "arn:execution".into(), name: "case".into() }),
        })
    }

    pub fn payload(&self) -> Payload {
        payload(&self.input)
    }

    /// Names of the tasks that a timeout ends.
    pub fn ended_by_timeouts(&self) -> HashMap<String, bool> {
        let mut found = HashMap::new();
        tasks(&self.definition, &mut found);
        found
    }
}

/// The instant at which every execution starts.
pub fn start() -> Timestamp {
    Timestamp::parse("2024-05-01T00:00:00Z").expect("a timestamp")
}

pub fn payload(json: &Json) -> Payload {
    Payload::check(json.to_string().into(), JsonLimits::PAYLOAD).expect("JSON")
}

fn tasks(graph: &Json, found: &mut HashMap<String, bool>) {
    for (name, state) in graph["States"].as_object().expect("States") {
        let limited = ["TimeoutSeconds", "HeartbeatSeconds"].iter().any(|field| state[*field].is_number());
        found.insert(name.clone(), limited);
        let branches = state["Branches"].as_array().into_iter().flatten();
        for graph in branches.chain(state.get("ItemProcessor")) {
            tasks(graph, found);
        }
    }
}

/// What a scripted task does, in the terms of a simulation.
pub fn reply(script: &Script, limited: &HashMap<String, bool>, request: &Request<'_>) -> Reply {
    let around: Vec<(&str, u32)> =
        request.place.map_path.iter().map(|(name, index)| (name.as_str(), *index)).collect();
    let state = request.place.state.as_str();
    let at = u64::try_from(request.at.millis_since(start())).expect("time goes on");
    let input = serde_json::from_str(request.input.text()).expect("JSON");
    let told = script.reply(state, &around, at, &input, limited[state]);
    let answer = match told.answer {
        script::Answer::Succeeds(output) => Answer::Succeeds(payload(&output)),
        script::Answer::Fails(error, cause) => Answer::Fails(error.into(), cause.into()),
        script::Answer::Never => Answer::Never,
    };
    Reply { submitted: None, after_millis: told.after, heartbeat_millis: told.beat, answer }
}

/// What `asl` makes of a case, and the types of its events.
fn simulated(case: &Case) -> (Option<Outcome>, Vec<&'static str>) {
    let limited = case.ended_by_timeouts();
    let mut history = Collector::new(25_000);
    let ended = simulate(
        &case.machine(),
        StartContext::default(),
        case.payload(),
        start(),
        &mut |request: &Request<'_>| reply(&case.script, &limited, request),
        &mut history,
    );
    let outcome = ended.outcome.map(|outcome| match outcome {
        asl::Outcome::Succeeded(output) => {
            Outcome::Succeeded(without_causes(serde_json::from_str(output.text()).expect("JSON")))
        }
        asl::Outcome::Failed { error, .. } => Outcome::Failed { error: error.map(|error| error.to_string()) },
        asl::Outcome::TimedOut { .. } => Outcome::TimedOut,
        asl::Outcome::Aborted { .. } => panic!("nobody stops it"),
    });
    (outcome, history.events().iter().map(|event| event.kind).collect())
}

/// The words of our own causes are no concern of the reference.
fn without_causes(value: Json) -> Json {
    match value {
        Json::String(text) if text.starts_with("An error occurred while executing the state") => CAUSE.into(),
        Json::Array(items) => items.into_iter().map(without_causes).collect(),
        Json::Object(members) => {
            Json::Object(members.into_iter().map(|(key, value)| (key, without_causes(value))).collect())
        }
        scalar => scalar,
    }
}

fn same(left: &Outcome, right: &Outcome) -> bool {
    match (left, right) {
        (Outcome::Succeeded(left), Outcome::Succeeded(right)) => equal(left, right),
        _ => left == right,
    }
}

/// What the cases came across, so that a generator that has gone stale is noticed.
#[derive(Debug, Default)]
struct Seen {
    compared: u32,
    undecided: BTreeMap<String, u32>,
    outcomes: BTreeMap<String, u32>,
    events: BTreeMap<&'static str, u32>,
}

impl Seen {
    fn note(&mut self, outcome: &Outcome, events: Vec<&'static str>) {
        self.compared += 1;
        let kind = match outcome {
            Outcome::Succeeded(_) => "success".to_owned(),
            Outcome::Failed { error } => format!("{error:?}"),
            Outcome::TimedOut => "timeout".to_owned(),
        };
        *self.outcomes.entry(kind).or_default() += 1;
        for event in events {
            *self.events.entry(event).or_default() += 1;
        }
    }
}

#[test]
fn a_machine_ends_as_the_reference_says() {
    let config = super::cases(300);
    let cases = config.cases;
    let seen = RefCell::new(Seen::default());
    let compare = |mut choices: Choices| {
        let case = Case::new(&mut choices);
        let expected = match case.reference() {
            Ok(expected) => expected,
            Err(why) => {
                *seen.borrow_mut().undecided.entry(format!("{why:?}")).or_default() += 1;
                return Ok(());
            }
        };
        let (found, events) = simulated(&case);
        let Some(found) = found.filter(|found| same(found, &expected)) else {
            let (definition, input) = (&case.definition, &case.input);
            let told = simulated(&case).0;
            return Err(TestCaseError::fail(format!(
                "asl: {told:?}\nreference: {expected:?}\ndefinition: {definition}\ninput: {input}\n{:?}",
                case.script
            )));
        };
        seen.borrow_mut().note(&found, events);
        Ok(())
    };
    let result = TestRunner::new(config).run(&choices(600), compare);
    let seen = seen.into_inner();
    println!("{seen:#?}");
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(seen.compared * 2 > cases, "the reference is too often undecided: {seen:?}");
    for event in ["LambdaFunctionTimedOut", "LambdaFunctionFailed", "ParallelStateFailed", "MapStateStarted"]
    {
        assert!(seen.events.contains_key(event), "no machine came across {event}: {seen:?}");
    }
    assert!(seen.outcomes.len() > 5, "outcomes are too much alike: {seen:?}");
}
