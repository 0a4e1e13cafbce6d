//! Definitions and inputs that are meant to do harm: each ends with a typed error, within bounds that are counted (events,
//! effects, bytes) and never timed. They run on the small stack of a test's thread, as on that of a shard's.
//!
//! What a single text can do (nesting, lengths, characters) is tested beside its reader; here are machines.
//!
//! Rooms: `growing` (data that grow with every state), `wide` (many iterations, many paths), `children` (many child
//! executions),
//! `numbers` (beyond all sense), `keys` (given twice).

mod children;
mod growing;
mod keys;
mod numbers;
mod wide;

use std::sync::Arc;

use asl::history::{EventKind, Observer, Record};
use asl::simulate::{Answer, Reply, Request, simulate};
use asl::value::JsonLimits;
use asl::{Dialect, FixedNames, Machine, Outcome, Payload, Program, StartContext, Timestamp, Value};

/// Events that a history may have.
const EVENTS_MAX: u64 = 25_000;
const FUNCTION: &str = "arn:aws:lambda:us-east-1:123456789012:function:f";

/// What is counted of an execution.
#[derive(Debug, Default)]
struct Counted {
    events: u64,
    tasks: u64,
    /// The longest input of a task, and of a state, as far as it was measured: twice the bound is enough to know.
    longest: usize,
    /// How many inputs or outputs were too long, or nested too deeply, to be measured.
    beyond: u64,
}

impl Counted {
    fn payload(&mut self, payload: &Payload) {
        let limits = JsonLimits { bytes: 2 * JsonLimits::PAYLOAD_BYTES, depth: 2 * JsonLimits::DEPTH };
        match payload.within(limits) {
            Ok(_) => self.longest = self.longest.max(payload.len()),
            Err(_) => self.beyond += 1,
        }
    }
}

impl Observer for Counted {
    fn event(&mut self, record: &Record<'_>) {
        self.events += 1;
        match &record.kind {
            EventKind::StateEntered { input, .. } | EventKind::TaskScheduled { input, .. } => {
                self.payload(input)
            }
            EventKind::StateExited { output, .. } => self.payload(output),
            _ => {}
        }
    }
}

fn machine(definition: &str) -> Arc<Machine> {
    let definition = definition.replace("FUNCTION", FUNCTION);
    let compiled = Program::compile(definition.as_bytes(), Dialect::Asl)
        .unwrap_or_else(|found| panic!("{:?}\n{}", found[0], &definition[..definition.len().min(500)]));
    Arc::new(Machine {
        program: compiled.program,
        arn: "arn:aws:states:us-east-1:123456789012:stateMachine:m".into(),
        name: "m".into(),
        role_arn: "".into(),
        mode_timeout_seconds: 300,
        history_events_max: EVENTS_MAX,
        names: Box::new(FixedNames { arn: "e".into(), name: "e".into() }),
    })
}

/// Runs a definition to its end; tasks give back their input at once.
fn run(definition: &str, input: Value) -> (Outcome, Counted) {
    let mut tasks = 0;
    let mut counted = Counted::default();
    let mut echo = |request: &Request<'_>| {
        tasks += 1;
        Reply::now(Answer::Succeeds(request.input.clone()))
    };
    let (start, input) = (StartContext::default(), Payload::from_value(input));
    let ended = simulate(&machine(definition), start, input, Timestamp(0), &mut echo, &mut counted);
    counted.tasks = tasks;
    assert!(counted.events <= EVENTS_MAX, "{} events", counted.events);
    assert_eq!(counted.beyond, 0, "payloads beyond all bounds were handed on");
    (ended.outcome.expect("an end"), counted)
}

/// The error and the cause of an execution that has to fail.
#[track_caller]
fn failure(outcome: &Outcome) -> (&str, &str) {
    match outcome {
        Outcome::Failed { error, cause } => {
            (error.as_deref().unwrap_or_default(), cause.as_deref().unwrap_or_default())
        }
        other => panic!("the execution did not fail: {other:.200?}"),
    }
}

/// State `A`, again and again.
fn looped(state: &str) -> String {
    format!(
        r#"{{"StartAt":"A","States":{{"A":{{{state},"Next":"Again"}},
        "Again":{{"Type":"Choice","Default":"A","Choices":[{{"Variable":"$.z","IsPresent":true,"Next":"End"}}]}},
        "End":{{"Type":"Succeed"}}}}}}"#
    )
}
