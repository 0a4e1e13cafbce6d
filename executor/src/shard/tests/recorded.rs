//! Journals that earlier programs wrote: every later one replays them to the same effects, state and history.
//!
//! `executor/tests/recorded/<name>.json` is a definition, `<name>.block` the start of an execution of it and what that was
//! told, as its log has it, and `<name>.txt` what it asked for after each of these, its end and its history. Both sides of a
//! replay are one program anywhere else: here, a step that is taken in another order or an effect that gets another number
//! shows. Files are added by `cargo test -p executor --lib shard::tests::recorded -- --ignored`, and never written again: that
//! would make this test prove nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use asl::history::Collector;
use asl::{Effect, EffectId, Family, Outcome, Payload, Program};
use ids::Mode;
use journal::block::{encode_failure, seed_for};
use journal::{Block, BlockBuilder, BlockId, Journalled, JournalledKind, MachineRef, Opened, Record};

use super::super::machine::{Beginning, Machine, dialect_of, timestamp_of_ms};
use super::super::recover::event_of;
use super::super::transfers::Transfers;
use super::super::turns::beginning;
use super::*;

const BEGAN_MS: u64 = 1_700_000_000_000;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An effect, as the files say it.
fn spelt(effect: &Effect) -> String {
    match effect {
        Effect::ScheduleTask { id, resource, input, timeout_seconds, heartbeat_seconds, .. } => {
            let (input, seconds) = (text(input.bytes()), (timeout_seconds, heartbeat_seconds));
            format!("task {:x} {resource} {input} {seconds:?}", id.0)
        }
        Effect::CancelTask(id) => format!("cancel task {:x}", id.0),
        Effect::ReadItems { id, resource, parameters } => {
            format!("read {:x} {resource} {}", id.0, text(parameters.bytes()))
        }
        Effect::WriteResults { id, resource, bucket, objects } => {
            let objects = objects.iter().map(|object| format!(" {} {}", object.key, text(&object.body)));
            format!("write {:x} {resource} {bucket}{}", id.0, objects.collect::<String>())
        }
        Effect::ArmTimer { id, at } => format!("timer {:x} {}", id.0, at.as_millis()),
        Effect::CancelTimer(id) => format!("cancel timer {:x}", id.0),
        Effect::Yield => "yield".to_owned(),
        Effect::StartChild { .. } => panic!("the family runs children by itself"),
        Effect::Finished(Outcome::Succeeded(output)) => format!("succeeded {}", text(output.bytes())),
        Effect::Finished(Outcome::Failed { error, cause }) => format!("failed {error:?} {cause:?}"),
        Effect::Finished(Outcome::TimedOut { error, cause }) => format!("timed out {error:?} {cause:?}"),
        Effect::Finished(Outcome::Aborted { error, cause }) => format!("aborted {error:?} {cause:?}"),
    }
}

/// A recorded execution.
struct Recording {
    machine: MachineRef,
    opened: Opened,
    journal: Vec<Journalled>,
}

fn parse(block: &Block) -> Recording {
    let (mut start, mut journal) = (None, Vec::new());
    for record in block.records().expect("readable") {
        match record {
            Record::Opened(opened) => start = Some(opened),
            Record::Journalled(told) => journal.push(told),
            Record::Closed(_) => panic!("the end is not recorded"),
        }
    }
    let opened = start.expect("a start");
    let machine = block.machines()[opened.machine as usize].clone();
    Recording { machine, opened, journal }
}

/// An execution that is told things, and what it makes of them.
struct Run {
    execution: Family,
    effects: Vec<Effect>,
    history: Collector,
    said: String,
}

impl Run {
    fn begin(definition: &[u8], recording: &Recording, journal: &[Journalled]) -> Self {
        let Recording { machine, opened, .. } = recording;
        let program =
            Program::compile(definition, dialect_of(machine.dialect)).expect("a definition").program;
        assert_eq!(program.hash, machine.definition, "the definition is another one");
        let secret = Arc::new(ClusterSecret::from_key(&[7; 32]));
        let machine = Machine::alone(machine.clone(), program, &secret).expect("an ARN");
        let beginning = Beginning {
            id: opened.id,
            name: opened.name.as_deref(),
            seed: opened.seed,
            start_time_ms: opened.start_time_ms,
            waits: beginning(journal).0,
            keeps: true,
        };
        let (mut effects, mut history) = (Vec::new(), Collector::new(1_000));
        let input = Payload::from_checked(opened.input.clone());
        let execution = machine.begin(&beginning, input, &mut effects, &mut history);
        let mut run = Self { execution, effects, history, said: "begins\n".to_owned() };
        run.say();
        run
    }

    fn say(&mut self) {
        for effect in &self.effects {
            writeln!(self.said, "  {}", spelt(effect)).expect("text");
        }
    }

    async fn tell(&mut self, told: &Journalled) {
        let Journalled { time_ms, sequence, effect, kind, .. } = told;
        writeln!(self.said, "{sequence} at {time_ms}: kind {} of {effect:x}", *kind as u8).expect("text");
        let desk = Transfers::new(None).desk;
        let event = event_of(told, &desk).await.expect("it can be told");
        self.effects.clear();
        let Some(event) = event else { return };
        let at = timestamp_of_ms(*time_ms);
        self.execution.handle(event, at, &mut self.effects, &mut self.history);
        self.say();
    }

    fn end(self) -> String {
        let mut said = self.said;
        writeln!(said, "finished {}, redriven {}", self.execution.is_finished(), self.execution.redrives())
            .expect("text");
        for event in self.history.into_events() {
            let (details, at) = (text(&event.details.to_json()), event.at.as_millis());
            writeln!(said, "{} after {} at {at}: {} {details}", event.id, event.previous, event.kind)
                .expect("text");
        }
        said
    }
}

#[tokio::test]
async fn journals_of_every_version_are_replayed_to_the_same_effects_ends_and_histories() {
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder()).expect("the recordings are there") {
        let path = entry.expect("a readable entry").path();
        if path.extension().is_none_or(|extension| extension != "block") {
            continue;
        }
        let read = |extension| std::fs::read(path.with_extension(extension)).expect("a readable file");
        let block = Block::parse(&Bytes::from(read("block"))).expect("a block");
        let recording = parse(&block);
        let journal = beginning(&recording.journal).1;
        let mut run = Run::begin(&read("json"), &recording, &recording.journal);
        for told in journal {
            run.tell(told).await;
        }
        let (said, expected) = (run.end(), text(&read("txt")));
        assert!(said == expected, "{} is replayed as\n{said}", path.display());
        replayed += 1;
    }
    assert!(replayed >= CASES.len(), "{replayed} recordings");
}

/// A case: its name and dialect, and its definition.
type Case = (&'static str, Dialect, fn() -> serde_json::Value);

const CASES: [Case; 6] = [
    ("v1-steps", Dialect::Asl, steps),
    ("v1-branches", Dialect::Asl, branches),
    ("v1-items", Dialect::Asl, items),
    ("v1-redriven", Dialect::Asl, redriven),
    ("v1-stopped", Dialect::Asl, stopped),
    ("v1-tcsl", Dialect::Tcsl, tcsl),
];

fn lambda(function: &str) -> String {
    format!("arn:aws:lambda:us-east-1:123456789012:function:{function}")
}

/// A branch of one state.
fn alone(name: &str, state: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({"StartAt": name, "States": {name: state}})
}

/// Tasks that fail and are tried again, are caught, time out; waits and choices between them.
fn steps() -> serde_json::Value {
    serde_json::json!({"StartAt": "Name", "TimeoutSeconds": 600, "States": {
        "Name": {"Type": "Pass", "Parameters": {"id.$": "States.UUID()", "n.$": "$.n"}, "Next": "Try"},
        "Try": {
            "Type": "Task", "Resource": lambda("flaky"), "TimeoutSeconds": 30, "HeartbeatSeconds": 10,
            "Retry": [{"ErrorEquals": ["Flaky"], "IntervalSeconds": 2, "BackoffRate": 2.0, "MaxAttempts": 3}],
            "ResultPath": "$.tried", "Next": "Pause"
        },
        "Pause": {"Type": "Wait", "Seconds": 7, "Next": "Which"},
        "Which": {"Type": "Choice", "Default": "Never", "Choices": [
            {"Variable": "$.n", "NumericLessThan": 10, "Next": "Lost"}
        ]},
        "Lost": {
            "Type": "Task", "Resource": lambda("silent"), "TimeoutSeconds": 5, "ResultPath": null, "Next": "Never",
            "Catch": [{"ErrorEquals": ["States.Timeout"], "ResultPath": "$.error", "Next": "Done"}]
        },
        "Never": {"Type": "Fail", "Error": "Wrong"},
        "Done": {"Type": "Succeed"}
    }})
}

/// Branches and iterations at once; a branch that fails, and what is cancelled with it.
fn branches() -> serde_json::Value {
    let task =
        |function: &str| serde_json::json!({"Type": "Task", "Resource": lambda(function), "End": true});
    let wait = serde_json::json!({"Type": "Wait", "Seconds": 3, "End": true});
    serde_json::json!({"StartAt": "Both", "States": {
        "Both": {"Type": "Parallel", "Next": "Each", "Branches": [
            alone("Add", &task("add")), alone("Wait", &wait), alone("Add more", &task("add"))
        ]},
        "Each": {
            "Type": "Map", "ItemsPath": "$", "MaxConcurrency": 2, "Next": "Fails",
            "ItemProcessor": alone("One", &task("flaky")),
            "Retry": [{"ErrorEquals": ["Flaky"], "IntervalSeconds": 1, "MaxAttempts": 9}]
        },
        "Fails": {
            "Type": "Parallel", "End": true,
            "Branches": [alone("Silent", &task("silent")), alone("Reject", &task("reject"))],
            "Catch": [{"ErrorEquals": ["Rejected"], "Next": "Done"}]
        },
        "Done": {"Type": "Pass", "End": true}
    }})
}

/// Children of a distributed Map, what it reads and what it writes.
fn items() -> serde_json::Value {
    serde_json::json!({"StartAt": "Each", "States": {"Each": {
        "Type": "Map", "MaxConcurrency": 2, "End": true, "ToleratedFailurePercentage": 50,
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": "JSON"},
            "Parameters": {"Bucket": "in", "Key": "items.json"}
        },
        "ItemBatcher": {"MaxItemsPerBatch": 2},
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "A",
            "States": {"A": {
                "Type": "Task", "Resource": lambda("flaky"), "End": true,
                "Retry": [{"ErrorEquals": ["Flaky"], "IntervalSeconds": 1, "MaxAttempts": 2}]
            }}
        },
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "out", "Prefix": "results"}
        }
    }}})
}

/// It fails, is redriven and goes on from there.
fn redriven() -> serde_json::Value {
    serde_json::json!({"StartAt": "First", "States": {
        "First": {"Type": "Task", "Resource": lambda("add"), "ResultPath": "$.first", "Next": "Second"},
        "Second": {"Type": "Task", "Resource": lambda("flaky"), "ResultPath": "$.second", "Next": "Rest"},
        "Rest": {"Type": "Wait", "Seconds": 1, "End": true}
    }})
}

/// It is stopped while it waits for two things.
fn stopped() -> serde_json::Value {
    let silent = serde_json::json!({"Type": "Task", "Resource": lambda("silent"), "End": true});
    let wait = serde_json::json!({"Type": "Wait", "Seconds": 1_000_000, "End": true});
    serde_json::json!({"StartAt": "Both", "States": {"Both": {
        "Type": "Parallel", "End": true, "Branches": [alone("Silent", &silent), alone("Wait", &wait)]
    }}})
}

/// The other dialect.
fn tcsl() -> serde_json::Value {
    serde_json::json!({"StartAt": "Call", "States": {
        "Call": {
            "Type": "Task", "Resource": "qrn:qcs:scf:ap-guangzhou:1250000000:function:default/add", "Next": "Pause",
            "Retry": [{"ErrorEquals": ["ALL"], "IntervalSeconds": 1, "MaxAttempts": 2}]
        },
        "Pause": {"Type": "Wait", "Seconds": 2, "Next": "Done"},
        "Done": {"Type": "Pass", "End": true}
    }})
}

/// The world around a recorded execution: what is due, and when.
#[derive(Default)]
struct World {
    now_ms: u64,
    asked: u64,
    due: BTreeMap<(u64, u64), (EffectId, JournalledKind, Bytes)>,
    flaky: u32,
}

impl World {
    fn add(&mut self, id: EffectId, at_ms: u64, kind: JournalledKind, payload: impl Into<Bytes>) {
        self.asked += 1;
        self.due.insert((at_ms.max(self.now_ms), self.asked), (id, kind, payload.into()));
    }

    /// What a function makes of its input; nothing, if it is silent.
    fn call(&mut self, id: EffectId, resource: &str, input: &Payload) {
        let after_ms = self.now_ms + 100 + self.asked % 7;
        let fails = |error| (JournalledKind::TaskFailed, encode_failure(Some(error), Some("as asked")));
        self.flaky += u32::from(resource.ends_with("flaky"));
        let (kind, payload) = match resource.rsplit([':', '/']).next() {
            Some("silent") => return,
            Some("reject") => fails("Rejected"),
            Some("flaky") if self.flaky % 3 == 1 => fails("Flaky"),
            _ => {
                let output = serde_json::json!({"of": text(input.bytes()).len(), "asked": self.asked});
                (JournalledKind::TaskSucceeded, Bytes::from(output.to_string()))
            }
        };
        self.add(id, after_ms, kind, payload);
    }

    fn take_in(&mut self, effect: &Effect) {
        match effect {
            Effect::ScheduleTask { id, resource, input, .. } => self.call(*id, resource, input),
            Effect::ReadItems { id, .. } => {
                self.add(*id, self.now_ms + 10, JournalledKind::ItemsRead, &b"[1, 2, 3, 4, 5]"[..]);
            }
            Effect::WriteResults { id, .. } => {
                self.add(*id, self.now_ms + 10, JournalledKind::ResultsWritten, Bytes::new());
            }
            Effect::ArmTimer { id, at } => {
                self.add(*id, super::super::machine::ms_of(*at), JournalledKind::TimerFired, Bytes::new());
            }
            Effect::Yield => {
                self.add(EffectId::NEXT_TURN, self.now_ms, JournalledKind::TimerFired, Bytes::new());
            }
            Effect::CancelTask(id) | Effect::CancelTimer(id) => self.due.retain(|_, (other, ..)| other != id),
            Effect::StartChild { .. } | Effect::Finished(_) => {}
        }
    }
}

/// Runs a case to its end, and gives what it was told and what it said.
async fn record(definition: &[u8], recording: &mut Recording) -> String {
    let mut run = Run::begin(definition, recording, &[]);
    let mut world = World { now_ms: BEGAN_MS, ..World::default() };
    let mut redriven = false;
    for sequence in 0.. {
        std::mem::take(&mut run.effects).iter().for_each(|effect| world.take_in(effect));
        let next = world.due.pop_first().filter(|((at_ms, _), _)| *at_ms < BEGAN_MS + 86_400_000);
        let (effect, kind, payload) = match next {
            Some(((at_ms, _), told)) if !run.execution.is_finished() => {
                world.now_ms = at_ms;
                told
            }
            None if !run.execution.is_finished() => {
                (EffectId(0), JournalledKind::Stopped, encode_failure(Some("Enough"), None))
            }
            _ if run.execution.is_redrivable() && !redriven => {
                (redriven, world.now_ms) = (true, world.now_ms + 1_000);
                (EffectId(0), JournalledKind::Redriven, Bytes::new())
            }
            _ => break,
        };
        let (id, effect, time_ms) = (recording.opened.id, effect.0, world.now_ms);
        let told = Journalled { id, time_ms, sequence, effect, kind, payload };
        run.tell(&told).await;
        recording.journal.push(told);
    }
    run.end()
}

#[tokio::test]
#[ignore = "writes the recordings of new cases"]
async fn a_recording_is_written_once() {
    for (name, dialect, definition) in CASES {
        let definition = serde_json::to_vec_pretty(&definition()).expect("JSON");
        let program =
            Program::compile(&definition, dialect).unwrap_or_else(|found| panic!("{name}: {found:?}"));
        let arn = match dialect {
            Dialect::Asl => "arn:aws:states:us-east-1:123456789012:stateMachine:recorded",
            Dialect::Tcsl => "qrn:qcs:asw:ap-guangzhou:1250000000:http:json:flowmachine:flow:recorded",
        };
        let machine = MachineRef {
            arn: arn.to_owned(),
            definition: program.program.hash,
            mode: Mode::Standard,
            dialect: u8::from(dialect == Dialect::Tcsl),
            retention_s: 0,
            role_arn: String::new(),
            logging: Default::default(),
            origin: String::new(),
        };
        let id = BatchId::new(partition(), 3, 7).expect("in range").execution(2);
        let (start_time_ms, seed, input) = (BEGAN_MS, seed_for(id, 42), Bytes::from_static(br#"{"n":4}"#));
        let opened =
            Opened { id, machine: 0, start_time_ms, seed, name: Some("once".to_owned()), input, trace: None };
        let mut recording = Recording { machine, opened, journal: Vec::new() };
        let said = record(&definition, &mut recording).await;
        let mut builder = BlockBuilder::new(partition());
        recording.opened.machine = builder.machine(&recording.machine);
        builder.opened(&recording.opened);
        recording.journal.iter().for_each(|told| builder.journalled(told));
        let block = builder.finish(BlockId { generation: 1, sequence: 1 }, BEGAN_MS);
        for (extension, content) in [("json", &definition[..]), ("block", &block), ("txt", said.as_bytes())] {
            let path = folder().join(name).with_extension(extension);
            let file = std::fs::File::options().write(true).create_new(true).open(&path);
            let mut file =
                file.unwrap_or_else(|error| panic!("{}: {error}: never overwritten", path.display()));
            std::io::Write::write_all(&mut file, content).expect("written");
        }
    }
}
