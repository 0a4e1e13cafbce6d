//! Variables as an execution keeps them: bounded in sum, and the same when its events are told again.

use std::collections::VecDeque;
use std::sync::Arc;

use asl::history::Collector;
use asl::simulate::{Answer, Reply, Request, simulate};
use asl::value::JsonLimits;
use asl::{
    Dialect, Effect, EffectId, Event, Execution, FixedNames, Machine, Outcome, Payload, Program,
    StartContext, Str, Timestamp, Value,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const START: Timestamp = Timestamp(1_704_067_200_000);
const FUNCTION: &str = "arn:aws:lambda:us-east-1:123456789012:function:f";

fn machine(definition: &Json) -> Arc<Machine> {
    let compiled = Program::compile(definition.to_string().as_bytes(), Dialect::Asl).expect("a definition");
    let arn = Str::from("arn:aws:states:us-east-1:123456789012:execution:machine:e");
    Arc::new(Machine {
        program: compiled.program,
        arn: "arn:aws:states:us-east-1:123456789012:stateMachine:machine".into(),
        name: "machine".into(),
        role_arn: "role".into(),
        mode_timeout_seconds: 31_536_000,
        history_events_max: 25_000,
        names: Box::new(FixedNames { arn, name: "e".into() }),
    })
}

fn payload(json: &Json) -> Payload {
    Payload::from_value(Value::parse(json.to_string().as_bytes(), JsonLimits::PAYLOAD).expect("JSON"))
}

/// A chain of Tasks, each of which assigns its result of 256 KiB to the variable of this name.
fn chain(names: impl Iterator<Item = String>) -> Json {
    let mut states = serde_json::Map::new();
    let mut last = 0;
    for (at, name) in names.enumerate() {
        let state = json!({"Type": "Task", "Resource": FUNCTION, "ResultPath": null,
            "Assign": {format!("{name}.$"): "$"}, "Next": format!("S{}", at + 1)});
        states.insert(format!("S{at}"), state);
        last = at + 1;
    }
    states.insert(format!("S{last}"), json!({"Type": "Succeed"}));
    json!({"StartAt": "S0", "States": states})
}

fn outcome(definition: &Json, input: &Json) -> Outcome {
    let mut work = |_: &Request<'_>| {
        Reply::now(Answer::Succeeds(Payload::from_value(Value::from("x".repeat((256 << 10) - 2)))))
    };
    let mut nobody = asl::history::NoObserver;
    let simulated = simulate(
        &machine(definition),
        StartContext::default(),
        payload(input),
        START,
        &mut work,
        &mut nobody,
    );
    simulated.outcome.expect("an end")
}

fn is_too_large(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { error: Some(error), .. } if error == "States.DataLimitExceeded")
}

#[test]
fn an_execution_holds_ten_mebibytes_of_variables_and_no_more() {
    let name = |at: usize| format!("v{at}");
    assert!(matches!(outcome(&chain((0..40).map(name)), &json!({})), Outcome::Succeeded(_)));
    assert!(is_too_large(&outcome(&chain((0..41).map(name)), &json!({}))));
}

#[test]
fn a_variable_that_is_assigned_again_counts_once() {
    let definition = chain(std::iter::repeat_n("v".to_owned(), 60));
    assert!(matches!(outcome(&definition, &json!({})), Outcome::Succeeded(_)));
}

#[test]
fn what_an_iteration_held_is_free_when_it_ends() {
    let map = |concurrency: u32| {
        let processor = chain((0..3).map(|at| format!("v{at}")));
        json!({"StartAt": "M", "States": {"M": {"Type": "Map", "MaxConcurrency": concurrency, "End": true,
            "ItemProcessor": processor}}})
    };
    let items = json!((0..30).collect::<Vec<i32>>());
    assert!(matches!(outcome(&map(1), &items), Outcome::Succeeded(_)));
    assert!(is_too_large(&outcome(&map(30), &items)));
}

/// What a state assigns: a new value, another variable, the execution's name, or the input.
fn assigned() -> impl Strategy<Value = Json> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let value = prop_oneof![
        any::<i32>().prop_map(|number| ("", json!(number))),
        prop::sample::select(vec!["$", "$a", "$b", "$$.Execution.Name"]).prop_map(|path| (".$", json!(path))),
    ];
    prop::collection::btree_map(name, value, 0..3).prop_map(|members| {
        members.into_iter().map(|(name, (ending, value))| (format!("{name}{ending}"), value)).collect()
    })
}

/// A Pass, a Task with a catcher, or a Map whose iterations assign and read.
fn state() -> impl Strategy<Value = Json> {
    prop_oneof![
        assigned().prop_map(|assign| json!({"Type": "Pass", "Assign": assign})),
        (assigned(), assigned()).prop_map(|(assign, caught)| {
            let catcher = json!({"ErrorEquals": ["States.ALL"], "Assign": caught});
            json!({"Type": "Task", "Resource": FUNCTION, "Assign": assign, "Catch": [catcher]})
        }),
        (1_u32..3).prop_map(|concurrency| {
            let work = json!({"Type": "Task", "Resource": FUNCTION, "ResultSelector": {"r.$": "$", "a.$": "$a"},
                "Assign": {"inner.$": "$"}, "Next": "?"});
            let read = json!({"Type": "Pass", "Parameters": {"x.$": "$inner", "b.$": "$b"}, "End": true});
            json!({"Type": "Map", "ItemsPath": "$items", "MaxConcurrency": concurrency,
                "ItemProcessor": {"StartAt": "work", "States": {"work": work, "read": read}}})
        }),
    ]
}

/// A chain of states behind one that sets every variable.
fn definition(chained: Vec<Json>) -> Json {
    let first = json!({"Type": "Pass", "Assign": {"a": 0, "b": [], "c": null, "items": [1, 2, 3]}});
    let mut states = serde_json::Map::new();
    let last = chained.len() + 1;
    for (at, mut state) in std::iter::once(first).chain(chained).enumerate() {
        let next = format!("S{}", at + 1);
        state["Next"] = json!(next);
        if let Some(catcher) = state.pointer_mut("/Catch/0") {
            catcher["Next"] = json!(next);
        }
        if let Some(inner) = state.pointer_mut("/ItemProcessor") {
            let (work, read) = (format!("work{at}"), format!("read{at}"));
            let mut first = inner["States"]["work"].take();
            first["Next"] = json!(read);
            *inner = json!({"StartAt": work, "States": {work.clone(): first, read.clone(): inner["States"]["read"].take()}});
        }
        states.insert(format!("S{at}"), state);
    }
    states.insert(
        format!("S{last}"),
        json!({"Type": "Pass", "Parameters": {"a.$": "$a", "b.$": "$b"}, "End": true}),
    );
    json!({"StartAt": "S0", "States": states})
}

/// Runs to the end, answering the tasks in the order that `order` picks; keeps what was told.
fn run(machine: &Arc<Machine>, order: &[u8]) -> (Vec<Event>, Collector, Vec<Effect>) {
    let mut collector = Collector::new(10_000);
    let (mut effects, mut told, mut all) = (Vec::new(), Vec::new(), Vec::new());
    let mut execution = Execution::start(
        machine,
        StartContext::default(),
        payload(&json!({"in": 1})),
        START,
        &mut effects,
        &mut collector,
    );
    let mut open: VecDeque<EffectId> = VecDeque::new();
    let mut picks = order.iter().copied().cycle();
    loop {
        for effect in effects.drain(..) {
            match &effect {
                Effect::ScheduleTask { id, .. } => open.push_back(*id),
                Effect::CancelTask(id) => open.retain(|other| other != id),
                _ => {}
            }
            all.push(effect);
        }
        let pick = picks.next().unwrap_or_default();
        let Some(id) = open.remove(usize::from(pick) % open.len().max(1)) else { break };
        let event = if pick % 5 == 0 {
            Event::TaskFailed { id, error: "E".into(), cause: "why".into() }
        } else {
            Event::TaskSucceeded { id, output: payload(&json!({"n": pick})) }
        };
        told.push(event.clone());
        execution.handle(event, START, &mut effects, &mut collector);
    }
    (told, collector, all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn told_the_same_again_an_execution_assigns_the_same(
        chained in prop::collection::vec(state(), 1..8),
        order in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let machine = machine(&definition(chained));
        let (told, first, effects) = run(&machine, &order);
        let mut again = Collector::new(10_000);
        let mut repeated = Vec::new();
        let start = StartContext::default();
        let mut execution =
            Execution::start(&machine, start, payload(&json!({"in": 1})), START, &mut repeated, &mut again);
        for event in told {
            execution.handle(event, START, &mut repeated, &mut again);
        }
        prop_assert_eq!(effects, repeated);
        prop_assert_eq!(first.events(), again.events());
        let assigned = |event: &asl::history::HistoryEvent| event.details.get("assignedVariables").is_some();
        prop_assert!(first.events().iter().any(assigned));
    }
}
