//! Distributed Maps at their bounds, and as whoever drives an execution sees them: what they want, and what they do when it
//! is not what they hoped for.

use std::sync::Arc;

use asl::execution::{FixedNames, Machine, StartContext};
use asl::history::NoObserver;
use asl::map::{OBJECT_BYTES_MAX, RESULTS_BYTES_MAX};
use asl::simulate::{Answer, Reply, Request, Services, Simulated, simulate};
use asl::{Dialect, Effect, EffectId, Event, Family, Outcome, Payload, Program, Str, Timestamp, Value};
use bytes::Bytes;

const TASK: &str =
    r#"{"Type": "Task", "End": true, "Resource": "arn:aws:lambda:us-east-1:123456789012:function:f"}"#;
const SUCCEED: &str = r#"{"Type": "Succeed"}"#;

/// A machine of one distributed Map with these fields, whose children are in this state.
fn machine(fields: &str, inner: &str) -> Arc<Machine> {
    let definition = format!(
        r#"{{"StartAt": "M", "States": {{"M": {{"Type": "Map", "End": true, {fields} "ItemProcessor": {{
            "ProcessorConfig": {{"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}},
            "StartAt": "I", "States": {{"I": {inner}}}}}}}}}}}"#
    );
    let compiled = Program::compile(definition.as_bytes(), Dialect::Asl);
    let arn = Str::from("arn:aws:states:us-east-1:123456789012:execution:machine:case");
    Arc::new(Machine {
        program: compiled.unwrap_or_else(|found| panic!("{found:?}")).program,
        arn: "arn:aws:states:us-east-1:123456789012:stateMachine:machine".into(),
        name: "machine".into(),
        role_arn: "arn:aws:iam::123456789012:role/role".into(),
        mode_timeout_seconds: 31_536_000,
        history_events_max: 25_000,
        names: Box::new(FixedNames { arn, name: "case".into() }),
    })
}

fn reader(config: &str) -> String {
    format!(
        r#""ItemReader": {{"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {config}, "Parameters": {{}}}},"#
    )
}

/// One object for every read, and one output for every task.
struct World {
    body: Bytes,
    output: Value,
}

impl Services for World {
    fn call(&mut self, _: &Request<'_>) -> Reply {
        Reply::now(Answer::Succeeds(Payload::from_value(self.output.clone())))
    }

    fn read(&mut self, _: &Request<'_>) -> Result<Bytes, Str> {
        Ok(self.body.clone())
    }
}

fn run(machine: &Arc<Machine>, body: impl Into<Bytes>, output_bytes: usize) -> Outcome {
    // Nulls are quick to measure.
    let output = Value::array(vec![Value::Null; output_bytes / 5]);
    let mut world = World { body: body.into(), output };
    let (start, input) = (StartContext::default(), Payload::empty_object());
    let Simulated { outcome, .. } =
        simulate(machine, start, input, Timestamp(0), &mut world, &mut NoObserver);
    outcome.expect("an end")
}

#[track_caller]
fn fails(outcome: Outcome, error: &str, cause: &str) {
    let Outcome::Failed { error: Some(found), cause: Some(told) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(found, error, "{told}");
    assert!(told.contains(cause), "{told}");
}

#[test]
fn as_many_items_as_an_object_holds_are_read_one_by_one() {
    let map = machine(&format!(r#"{} "ResultPath": null,"#, reader(r#"{"InputType": "JSONL"}"#)), SUCCEED);
    let outcome = run(&map, "1\n".repeat(20_000), 0);
    assert_eq!(outcome, Outcome::Succeeded(Payload::empty_object()));
}

#[test]
fn an_object_beyond_its_bound_is_refused() {
    let map = machine(&reader(r#"{"InputType": "JSON"}"#), SUCCEED);
    fails(run(&map, vec![b' '; OBJECT_BYTES_MAX + 1], 0), "States.ItemReaderFailed", "longer than");
}

#[test]
fn a_row_without_an_end_is_refused() {
    let map = machine(
        &reader(r#"{"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a"]}"#),
        SUCCEED,
    );
    fails(run(&map, "\"".to_owned() + &"x".repeat(9 << 20), 0), "States.ItemReaderFailed", "CSV row");
}

#[test]
fn a_document_nested_too_deeply_is_refused() {
    let map = machine(&reader(r#"{"InputType": "JSON"}"#), SUCCEED);
    fails(run(&map, "[".repeat(1 << 20), 0), "States.ItemReaderFailed", "not valid JSON");
    let deep = "[".repeat(600) + &"]".repeat(600) + "\n";
    let map = machine(&reader(r#"{"InputType": "JSONL"}"#), SUCCEED);
    fails(run(&map, deep, 0), "States.ItemReaderFailed", "not valid JSON");
}

#[test]
fn an_item_that_is_no_payload_fails_the_map_unless_a_selector_makes_less_of_it() {
    let body = || format!("[\"{}\"]", "x".repeat(300_000));
    let read = reader(r#"{"InputType": "JSON"}"#);
    fails(run(&machine(&read, SUCCEED), body(), 0), "States.DataLimitExceeded", "'M'");
    let selected = machine(&format!(r#"{read} "ItemSelector": {{"i.$": "$$.Map.Item.Index"}},"#), SUCCEED);
    assert!(matches!(run(&selected, body(), 0), Outcome::Succeeded(_)));
}

#[test]
fn results_beyond_what_is_kept_end_the_run() {
    let output = 200_000;
    let items = RESULTS_BYTES_MAX / output + 2;
    let body = "1\n".repeat(items);
    let read = reader(r#"{"InputType": "JSONL"}"#);
    let map = machine(&format!(r#"{read} "MaxConcurrency": 10,"#), TASK);
    fails(run(&map, body.clone(), output), "States.DataLimitExceeded", "more than");
    let writer =
        r#""ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "b"}},"#;
    let map = machine(&format!(r#"{read} {writer} "MaxConcurrency": 10,"#), TASK);
    fails(run(&map, body, output), "States.ResultWriterFailed", "more than");
}

/// The same page for ever, which names one object with a short key.
#[test]
fn a_listing_without_an_end_ends_before_its_small_results_take_much() {
    let read = r#""ItemReader": {"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "b"}},
        "ItemSelector": {},"#;
    let contents = vec![r#"{"Key":"k"}"#; 100_000].join(",");
    let page = format!(r#"{{"Contents":[{contents}],"NextContinuationToken":"t"}}"#);
    let mut world = World { body: page.into(), output: Value::Null };
    let mut reads = 0;
    let mut counted = Reads(&mut world, &mut reads);
    let (start, input) = (StartContext::default(), Payload::empty_object());
    let map = machine(read, SUCCEED);
    let ended = simulate(&map, start, input, Timestamp(0), &mut counted, &mut NoObserver);
    fails(ended.outcome.expect("an end"), "States.DataLimitExceeded", "more than");
    assert!(reads <= 6, "{reads} pages of 100,000 objects");
}

/// Counts what is read.
struct Reads<'a>(&'a mut World, &'a mut u32);

impl Services for Reads<'_> {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        self.0.call(request)
    }

    fn read(&mut self, request: &Request<'_>) -> Result<Bytes, Str> {
        *self.1 += 1;
        self.0.read(request)
    }
}

/// An execution, driven by hand.
struct Hand {
    execution: Family,
    effects: Vec<Effect>,
}

impl Hand {
    fn start(machine: &Arc<Machine>) -> Self {
        let mut effects = Vec::new();
        let (start, input) = (StartContext::default(), Payload::empty_object());
        let now = Timestamp(0);
        let execution = Family::start(machine, start, input, now, &mut effects, &mut NoObserver);
        Self { execution, effects }
    }

    fn tell(&mut self, event: Event) {
        self.effects.clear();
        self.execution.handle(event, Timestamp(1), &mut self.effects, &mut NoObserver);
    }

    fn reads(&self) -> Vec<EffectId> {
        let read = |effect: &Effect| match effect {
            Effect::ReadItems { id, .. } => Some(*id),
            _ => None,
        };
        self.effects.iter().filter_map(read).collect()
    }
}

#[test]
fn a_read_names_its_map_and_is_cancelled_with_the_execution() {
    let mut hand = Hand::start(&machine(&reader(r#"{"InputType": "JSON"}"#), SUCCEED));
    let id = hand.reads()[0];
    assert_eq!(hand.execution.task_place(id).expect("a place").state, "M");
    hand.tell(Event::Stop { error: None, cause: None });
    assert!(hand.effects.contains(&Effect::CancelTask(id)), "{:?}", hand.effects);
    hand.tell(Event::ItemsRead { id, body: Bytes::from_static(b"[1]") });
    assert!(hand.effects.is_empty());
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut hand = Hand::start(&machine(&reader(r#"{"InputType": "JSON"}"#), TASK));
    let id = hand.reads()[0];
    hand.tell(Event::ItemsRead { id: EffectId(id.0 + (1 << 24)), body: Bytes::from_static(b"[7]") });
    hand.tell(Event::ResultsWritten(id));
    assert!(hand.effects.is_empty() && hand.execution.task_place(id).is_some());
    hand.tell(Event::ItemsRead { id, body: Bytes::from_static(b"[1]") });
    // The child's task, and the timer of the child itself.
    let [Effect::ScheduleTask { .. }, Effect::ArmTimer { .. }] = hand.effects[..] else {
        panic!("{:?}", hand.effects)
    };
    hand.tell(Event::ItemsRead { id, body: Bytes::from_static(b"[7]") });
    assert!(hand.effects.is_empty());
}

#[test]
fn no_more_children_are_alive_than_may_run_at_once() {
    let fields = format!(r#"{} "MaxConcurrency": 3,"#, reader(r#"{"InputType": "JSONL"}"#));
    let mut hand = Hand::start(&machine(&fields, TASK));
    let id = hand.reads()[0];
    hand.tell(Event::ItemsRead { id, body: Bytes::from("1\n".repeat(10)) });
    let scheduled = |hand: &Hand| {
        let tasks = hand.effects.iter().filter(|effect| matches!(effect, Effect::ScheduleTask { .. }));
        tasks.count()
    };
    assert_eq!(scheduled(&hand), 3);
    let Some(Effect::ScheduleTask { id, .. }) = hand.effects.first() else { panic!("{:?}", hand.effects) };
    let id = *id;
    hand.tell(Event::TaskSucceeded { id, output: Payload::empty_object() });
    assert_eq!(scheduled(&hand), 1);
}
