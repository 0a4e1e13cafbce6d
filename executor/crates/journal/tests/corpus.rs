//! Blocks that earlier programs wrote: every later one reads them back, byte for byte.
//!
//! `corpus/<name>.block` is what the encoder of its day wrote, `corpus/<name>.txt` what it was given. Files are added by
//! `cargo test -p journal --test corpus -- --ignored` when the format changes, and never written again: that would make this
//! test prove nothing.

use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use ids::{BatchId, LogLevel, Logging, Mode, PartitionId, Status, TraceContext};
use journal::block::{ReadDigest, encode_failure, seed_for};
use journal::cluster::{FORMAT, OLDEST};
use journal::{Block, BlockBuilder, BlockId, Closed, Journalled, JournalledKind, MachineRef, Opened, Record};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn batch(sequence: u64) -> BatchId {
    BatchId::new(PartitionId::new(5).expect("in range"), 9, sequence).expect("in range")
}

fn machine(mode: Mode, dialect: u8) -> MachineRef {
    let arn = "arn:aws:states:us-east-1:123456789012:stateMachine:orders".to_owned();
    MachineRef {
        arn,
        definition: [7 + dialect; 32],
        mode,
        dialect,
        retention_s: 0,
        role_arn: String::new(),
        logging: Default::default(),
        origin: String::new(),
    }
}

fn opened(batch_sequence: u64, index: u8, machine: u32, input: &[u8]) -> Opened {
    let id = batch(batch_sequence).execution(index);
    let name = (index == 1).then(|| "a caller's name".to_owned());
    let (start_time_ms, seed) = (1_700_000_000_000 + u64::from(index), seed_for(id, 42));
    Opened { id, machine, start_time_ms, seed, name, input: Bytes::copy_from_slice(input), trace: None }
}

fn told(sequence: u32, kind: JournalledKind, payload: Bytes) -> Journalled {
    let id = batch(2).execution(0);
    let (time_ms, effect) = (1_700_000_000_500 + u64::from(sequence), u64::from(sequence) << 20 | 3);
    Journalled { id, time_ms, sequence, effect, kind, payload }
}

/// Executions that end where they opened: many of them, and every way to end.
fn at_once(builder: &mut BlockBuilder) {
    let machine = builder.machine(&machine(Mode::Express, 0));
    for index in 0..=255 {
        let record = opened(1, index, machine, format!(r#"{{"order":{index},"city":"Köln"}}"#).as_bytes());
        builder.opened_and_closed(&record, Status::Succeeded, record.start_time_ms + 3, &record.input);
    }
    for (index, status) in [Status::Failed, Status::TimedOut, Status::Aborted].into_iter().enumerate() {
        let record = opened(3, index as u8 * 7, machine, b"[1, 2]");
        let failure = encode_failure(Some("States.Timeout"), (index > 0).then_some("a cause"));
        builder.opened_and_closed(&record, status, record.start_time_ms, &failure);
    }
}

/// What waits, what it is told, and its end.
fn waiting(builder: &mut BlockBuilder) {
    let (asl, tcsl) = (machine(Mode::Standard, 0), machine(Mode::Express, 1));
    let (asl, tcsl) = (builder.machine(&asl), builder.machine(&tcsl));
    for index in [0, 1, 200] {
        let input = "x".repeat(usize::from(index) * 300);
        let record = opened(2, index, if index == 0 { asl } else { tcsl }, format!("{input:?}").as_bytes());
        builder.opened(&record);
    }
    let digest = ReadDigest { length: 1 << 24, sha256: [3; 32], resource: "s3:getObject", parameters: b"{}" };
    let events = [
        (JournalledKind::TaskStarted, Bytes::new()),
        (JournalledKind::TaskSucceeded, Bytes::from_static(br#"{"paid":true}"#)),
        (JournalledKind::TaskFailed, encode_failure(Some("E"), None)),
        (JournalledKind::TimerFired, Bytes::new()),
        (JournalledKind::ItemsRead, Bytes::from_static(b"a,b\n1,2\n")),
        (JournalledKind::ItemsDigest, digest.encode()),
        (JournalledKind::ResultsWritten, Bytes::new()),
        (JournalledKind::Stopped, encode_failure(None, Some("enough"))),
    ];
    for (sequence, (kind, payload)) in (0..).zip(events) {
        builder.journalled(&told(sequence, kind, payload));
    }
    for (index, status) in [(0, Status::Aborted), (200, Status::Succeeded)] {
        let blocks = (1..=3).map(|sequence| BlockId { generation: 4, sequence: sequence * 100 }).collect();
        let (id, stop_time_ms) = (batch(2).execution(index), 1_700_000_009_999);
        let payload =
            if index == 0 { encode_failure(None, Some("enough")) } else { Bytes::from_static(b"{}") };
        builder.closed(&Closed { id, status, stop_time_ms, payload, blocks });
    }
}

/// What came later: redrives, what stands beside them, and machines that say how long they are to be kept.
fn redriven(builder: &mut BlockBuilder) {
    let machine = builder.machine(&MachineRef { retention_s: 604_800, ..machine(Mode::Standard, 0) });
    builder.opened(&opened(2, 0, machine, b"{}"));
    let events = [
        (JournalledKind::GaveUp, encode_failure(Some("States.Runtime"), Some("the node gave it up"))),
        (JournalledKind::Redriven, Bytes::from_static(b"a client's token")),
        (JournalledKind::Mended, Bytes::new()),
    ];
    for (sequence, (kind, payload)) in (0..).zip(events) {
        builder.journalled(&told(sequence, kind, payload));
    }
}

/// Machines with a role beside one that has none.
fn roles(builder: &mut BlockBuilder) {
    let plain = machine(Mode::Standard, 0);
    let role =
        |role: &str, retention_s| MachineRef { role_arn: role.to_owned(), retention_s, ..plain.clone() };
    let aws = role("arn:aws:iam::123456789012:role/orders", 0);
    let tencent = role("qcs::cam::uin/100000000001:roleName/orders", 86_400);
    for (index, machine) in (0..).zip([&plain, &aws, &tencent]) {
        let machine = builder.machine(machine);
        builder.opened(&opened(4, index, machine, b"{}"));
    }
}

/// What came with integrations: a job that has begun, and its end.
fn submitted(builder: &mut BlockBuilder) {
    let machine = builder.machine(&machine(Mode::Standard, 1));
    builder.opened(&opened(2, 0, machine, b"{}"));
    let events = [
        (JournalledKind::TaskSubmitted, Bytes::from_static(br#"{"TaskId":"t-1"}"#)),
        (JournalledKind::TaskSucceeded, Bytes::from_static(br#"{"done":true}"#)),
    ];
    for (sequence, (kind, payload)) in (0..).zip(events) {
        builder.journalled(&told(sequence, kind, payload));
    }
}

/// Executions that came with a trace, beside others: told of and not, with what other vendors have to say and without.
fn traced(builder: &mut BlockBuilder) {
    let machine = builder.machine(&machine(Mode::Standard, 0));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = |state, told| {
        let context = TraceContext::parse(parent, state).expect("a context");
        Some(context.encode(told).into())
    };
    let traces = [None, trace("", true), trace("vendor=1,other@it=x", false), None];
    for (index, trace) in (0..).zip(traces) {
        builder.opened(&Opened { trace, ..opened(5, index, machine, b"{}") });
    }
    let ended = Opened { trace: trace("", true), ..opened(6, 0, machine, b"[1]") };
    builder.opened_and_closed(&ended, Status::Succeeded, ended.start_time_ms + 1, b"[2]");
}

/// Machines that say what of their executions is logged, also one machine in several ways.
fn logged(builder: &mut BlockBuilder) {
    let levels = [LogLevel::Off, LogLevel::Fatal, LogLevel::Error, LogLevel::All];
    let ways = levels.into_iter().flat_map(|level| [(level, false), (level, true)]);
    for (index, (level, include_data)) in (0..).zip(ways) {
        let logging = Logging { level, include_data };
        let machine = builder.machine(&MachineRef { logging, ..machine(Mode::Standard, index % 2) });
        builder.opened(&opened(6, index, machine, b"{}"));
    }
}

/// Machines that were started as they are, by a version and by an alias.
fn published(builder: &mut BlockBuilder) {
    for (index, origin) in (0..).zip(["", "3", "3:PROD"]) {
        let origin = origin.to_owned();
        let machine = builder.machine(&MachineRef { origin, ..machine(Mode::Standard, 0) });
        builder.opened(&opened(7, index, machine, b"{}"));
    }
}

fn nothing(_: &mut BlockBuilder) {}

/// A file's name, and what fills its block.
type Case = (&'static str, fn(&mut BlockBuilder));

const CASES: [Case; 9] = [
    ("at-once", at_once),
    ("waiting", waiting),
    ("empty", nothing),
    ("redriven", redriven),
    ("roles", roles),
    ("submitted", submitted),
    ("traced", traced),
    ("logged", logged),
    ("published", published),
];

/// Everything that a block says, one record a line.
fn told_by(block: &Block) -> String {
    let mut out = format!("block {} of {} at {}\n", block.id(), block.partition(), block.time_ms());
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    for machine in block.machines() {
        let MachineRef { arn, definition, mode, dialect, retention_s, role_arn, logging, origin } = machine;
        // The first of these files do not say it.
        let kept = if *retention_s > 0 { format!(" kept {retention_s} s") } else { String::new() };
        let role = if role_arn.is_empty() { String::new() } else { format!(" as {role_arn}") };
        let logged = match logging.to_u8() {
            0 => String::new(),
            byte => format!(" logged {byte}"),
        };
        let by = if origin.is_empty() { String::new() } else { format!(" by {origin}") };
        writeln!(out, "machine {arn} {} {} {dialect}{kept}{role}{logged}{by}", hex(definition), *mode as u8)
            .expect("text");
    }
    for record in block.records().expect("readable") {
        let line = match record {
            Record::Opened(Opened { id, machine, start_time_ms, seed, name, input, trace }) => {
                let input = input.escape_ascii();
                let trace = trace.and_then(|trace| TraceContext::decode(&trace));
                let trace = trace.map(|trace| format!(" of {trace:?}")).unwrap_or_default();
                format!("opened {id} {machine} {start_time_ms} {seed} {name:?} {input}{trace}")
            }
            Record::Journalled(Journalled { id, time_ms, sequence, effect, kind, payload }) => {
                let (kind, payload) = (kind as u8, payload.escape_ascii());
                format!("journalled {id} {time_ms} {sequence} {effect} {kind} {payload}")
            }
            Record::Closed(Closed { id, status, stop_time_ms, payload, blocks }) => {
                let blocks: Vec<String> = blocks.iter().map(BlockId::to_string).collect();
                let (status, payload) = (status as u8, payload.escape_ascii());
                format!("closed {id} {status} {stop_time_ms} [{}] {payload}", blocks.join(" "))
            }
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[test]
fn blocks_of_every_version_are_read_back_as_they_were_written() {
    let mut read = 0;
    for entry in std::fs::read_dir(folder()).expect("the corpus is there") {
        let path = entry.expect("a readable entry").path();
        if path.extension().is_some_and(|extension| extension == "block") {
            let bytes = Bytes::from(std::fs::read(&path).expect("a readable block"));
            let block = Block::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let expected = std::fs::read_to_string(path.with_extension("txt")).expect("what it was given");
            assert!(told_by(&block) == expected, "{} is read as\n{}", path.display(), told_by(&block));
            read += 1;
        }
    }
    assert!(read >= CASES.len(), "{read} blocks in the corpus");
    for (name, _) in CASES {
        let path = folder().join(format!("v{FORMAT}-{name}.block"));
        assert!(path.is_file(), "{} is missing: the module says how to write it", path.display());
    }
}

#[test]
#[ignore = "writes the corpus of a new format, and new cases"]
fn the_corpus_of_this_format_is_written_once() {
    let missing = |name: &str| !folder().join(format!("v{FORMAT}-{name}.block")).exists();
    for (name, fill) in CASES.into_iter().filter(|(name, _)| missing(name)) {
        let mut builder = BlockBuilder::new(PartitionId::new(5).expect("in range"));
        fill(&mut builder);
        let bytes = builder.finish(BlockId { generation: 4, sequence: 301 }, 1_700_000_010_000);
        let text = told_by(&Block::parse(&bytes).expect("readable"));
        for (extension, content) in [("block", &bytes[..]), ("txt", text.as_bytes())] {
            let path = folder().join(format!("v{FORMAT}-{name}.{extension}"));
            let file = std::fs::File::options().write(true).create_new(true).open(&path);
            let mut file =
                file.unwrap_or_else(|error| panic!("{}: {error}: never overwritten", path.display()));
            std::io::Write::write_all(&mut file, content).expect("written");
        }
    }
}

#[test]
fn a_block_of_a_version_that_is_not_known_is_refused_by_its_number_and_not_taken_for_a_damaged_one() {
    let path = folder().join(format!("v{FORMAT}-waiting.block"));
    let known = std::fs::read(&path).expect("the corpus has it");
    for version in [OLDEST - 1, FORMAT + 1] {
        let mut other = known.clone();
        other[4] = version;
        let told = Block::parse(&Bytes::from(other)).expect_err("not known").to_string();
        assert!(told.contains(&format!("version {version}")) && !told.contains("checksum"), "{told}");
    }
}
