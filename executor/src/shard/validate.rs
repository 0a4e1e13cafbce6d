//! What of a batch can be judged by looking at it: counts, lengths, names, times. The inputs are judged one by one.
//!
//! Nothing here touches the shard. A batch that fails is refused whole, with a code and a message that names the field.

use std::hash::{BuildHasher, Hash, Hasher};

use asl::Dialect;
use asl::value::JsonLimits;
use ids::{BatchId, Logging};
use journal::block::MachineRef;
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;

use super::answer::refusal;
use crate::limits;

fn invalid(code: &str, message: String) -> v1::StartRefusal {
    refusal(Reason::Invalid, code, message)
}

/// The batch's id.
///
/// # Errors
/// A refusal that says what is wrong with it.
pub fn id(batch: &v1::StartBatch) -> Result<BatchId, v1::StartRefusal> {
    let Some(id) = &batch.id else { return Err(invalid("InvalidBatch", "`id` is missing".to_owned())) };
    BatchId::try_from(id).map_err(|error| invalid("InvalidBatch", format!("`id`: {error}")))
}

/// Checks everything but the inputs.
///
/// # Errors
/// A refusal of the whole batch.
pub fn shape(batch: &v1::StartBatch, now_ms: u64) -> Result<(), v1::StartRefusal> {
    let bad = |message: String| Err(invalid("InvalidBatch", message));
    let count = batch.input.len();
    if count == 0 || count > limits::BATCH_EXECUTIONS_MAX {
        let max = limits::BATCH_EXECUTIONS_MAX;
        return bad(format!("`input` has {count} entries; a batch holds 1 to {max} executions"));
    }
    let bytes: usize = batch.input.iter().map(bytes::Bytes::len).sum();
    if count > 1 && bytes > limits::BATCH_BYTES_MAX {
        let max = limits::BATCH_BYTES_MAX;
        return bad(format!("`input` has {bytes} bytes; a batch of several holds at most {max}"));
    }
    let machines = batch.machines.len();
    if machines == 0 || machines > limits::BATCH_MACHINES_MAX {
        let max = limits::BATCH_MACHINES_MAX;
        return bad(format!("`machines` has {machines} entries; a batch names 1 to {max} machines"));
    }
    let lengths = [
        ("machine_index", batch.machine_index.len()),
        ("name", batch.name.len()),
        ("trace", batch.trace.len()),
    ];
    for (column, length) in lengths {
        if length != 0 && length != count {
            return bad(format!(
                "`{column}` has {length} entries, `input` has {count}: give one each, or none"
            ));
        }
    }
    if let Some(at) = batch.machine_index.iter().position(|index| *index as usize >= machines) {
        let index = batch.machine_index[at];
        return bad(format!("`machine_index[{at}]` is {index}; `machines` has {machines} entries"));
    }
    let ahead_ms = u64::try_from(limits::CLOCK_AHEAD_MAX.as_millis()).unwrap_or(u64::MAX);
    if batch.start_time_ms > now_ms.saturating_add(ahead_ms) {
        let (given, ahead) = (batch.start_time_ms, limits::CLOCK_AHEAD_MAX);
        return bad(format!(
            "`start_time_ms` is {given}, this node's clock says {now_ms}: set the dispatcher's clock; \
             it may be ahead by at most {ahead:?}"
        ));
    }
    batch.name.iter().enumerate().try_for_each(|(at, name)| self::name(at, name))
}

/// Execution names as Step Functions allows them; empty is a generated name.
fn name(at: usize, name: &str) -> Result<(), v1::StartRefusal> {
    let length = name.chars().count();
    if length > limits::NAME_CHARS_MAX {
        let max = limits::NAME_CHARS_MAX;
        return Err(invalid(
            "InvalidName",
            format!("`name[{at}]` has {length} characters; at most {max} are allowed"),
        ));
    }
    match name
        .chars()
        .find(|c| c.is_whitespace() || c.is_control() || "<>{}[]?*\"#%\\^|~`$&,;:/".contains(*c))
    {
        Some(c) => {
            Err(invalid("InvalidName", format!("`name[{at}]` contains {c:?}, which names may not contain")))
        }
        None => Ok(()),
    }
}

/// Which machine an entry of `machines` names.
///
/// # Errors
/// A refusal that says what is wrong with it.
pub fn machine(at: usize, machine: &v1::Machine) -> Result<MachineRef, v1::StartRefusal> {
    let bad = |code, problem: String| Err(invalid(code, format!("`machines[{at}]`: {problem}")));
    let length = machine.definition_hash.len();
    let Ok(definition) = machine.definition_hash.as_ref().try_into() else {
        return bad("InvalidBatch", format!("`definition_hash` has {length} bytes; SHA-256 has 32"));
    };
    let mode = match machine.mode() {
        v1::Mode::Standard => ids::Mode::Standard,
        v1::Mode::Express => ids::Mode::Express,
        v1::Mode::SyncExpress => ids::Mode::SyncExpress,
        v1::Mode::Unspecified => {
            return bad("InvalidBatch", "`mode` must be STANDARD or EXPRESS".to_owned());
        }
    };
    if machine.arn.len() > limits::ARN_BYTES_MAX {
        let (length, max) = (machine.arn.len(), limits::ARN_BYTES_MAX);
        return bad("InvalidArn", format!("`arn` has {length} bytes; at most {max} are allowed"));
    }
    if let Err(problem) = role(&machine.role_arn) {
        return bad("InvalidArn", problem);
    }
    let logging = match machine.logging.map_or(Ok(Logging::default()), Logging::try_from) {
        Ok(logging) => logging,
        Err(error) => return bad("InvalidLoggingConfiguration", format!("`logging`: {error}")),
    };
    if let Err(problem) = origin(&machine.origin) {
        return bad("InvalidBatch", problem);
    }
    let dialect = u8::from(machine.dialect() == v1::Dialect::Tcsl);
    Ok(MachineRef {
        arn: machine.arn.clone(),
        definition,
        mode,
        dialect,
        retention_s: machine.retention_seconds,
        role_arn: machine.role_arn.clone(),
        logging,
        origin: machine.origin.clone(),
    })
}

/// What a machine was started by: the scheduler says it, and the node tells it back.
///
/// # Errors
/// What is wrong with it.
pub fn origin(text: &str) -> Result<(), String> {
    let (length, max) = (text.len(), limits::ORIGIN_BYTES_MAX);
    if length > max {
        return Err(format!("`origin` has {length} bytes; at most {max} are allowed"));
    }
    match text.bytes().position(|byte| !byte.is_ascii_graphic()) {
        Some(at) => Err(format!("`origin` has a byte at {at} that is no visible ASCII character")),
        None => Ok(()),
    }
}

/// Whether a machine may have this role; empty is none.
///
/// # Errors
/// What is wrong with it.
pub fn role(arn: &str) -> Result<(), String> {
    let (length, max) = (arn.len(), limits::ARN_BYTES_MAX);
    if length > max {
        return Err(format!("`role_arn` has {length} bytes; at most {max} are allowed"));
    }
    if arn.is_empty() {
        return Ok(());
    }
    ids::check_role(arn).map_err(|error| format!("`role_arn`: {error}"))
}

/// What an input may be, in this dialect.
///
/// # Errors
/// What is wrong with it.
pub fn input(bytes: &bytes::Bytes, dialect: Dialect) -> Result<asl::Payload, String> {
    let (max, unit) = match dialect {
        Dialect::Asl => (limits::INPUT_BYTES_MAX, "bytes"),
        Dialect::Tcsl => (limits::TCSL_INPUT_CHARS_MAX, "characters"),
    };
    let length = match dialect {
        Dialect::Tcsl if bytes.len() > max => String::from_utf8_lossy(bytes).chars().count(),
        _ => bytes.len(),
    };
    if length > max {
        return Err(format!("the input has {length} {unit}; at most {max} are allowed"));
    }
    let limits = JsonLimits { bytes: usize::MAX, ..JsonLimits::default() };
    asl::Payload::check(bytes.clone(), limits)
        .map_err(|error| format!("the input is not valid JSON: {error}"))
}

/// A hash of everything that a batch says, for comparing resends within one process; but not of the traces that it belongs to:
/// a dispatcher that starts again may tell others, and starts nothing else.
pub fn content_hash(batch: &v1::StartBatch, state: &foldhash::quality::RandomState) -> u64 {
    let mut hasher = state.build_hasher();
    for machine in &batch.machines {
        (&machine.arn, &machine.definition_hash, machine.mode, machine.dialect).hash(&mut hasher);
        (machine.retention_seconds, &machine.role_arn, &machine.origin).hash(&mut hasher);
        // What it means, for one that says nothing means the same as none.
        let logging = machine.logging.map_or(Ok(Logging::default()), Logging::try_from);
        logging.ok().hash(&mut hasher);
    }
    (&batch.machine_index, &batch.name, batch.start_time_ms, batch.seed, batch.input.len()).hash(&mut hasher);
    for input in &batch.input {
        input.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn batch(count: usize) -> v1::StartBatch {
        v1::StartBatch {
            id: Some(v1::BatchId { partition: 1, incarnation: 1, sequence: 1 }),
            machines: vec![v1::Machine::default()],
            input: vec![Bytes::from_static(b"{}"); count],
            ..Default::default()
        }
    }

    fn code(result: Result<(), v1::StartRefusal>) -> String {
        result.expect_err("refused").message
    }

    #[test]
    fn columns_of_other_lengths_than_the_inputs_are_refused_by_name() {
        assert!(shape(&batch(256), 0).is_ok());
        assert!(code(shape(&batch(257), 0)).contains("257"));
        assert!(code(shape(&batch(0), 0)).contains("`input`"));
        let named = v1::StartBatch { name: vec!["a".into()], ..batch(2) };
        assert!(code(shape(&named, 0)).contains("`name`"));
        let traced = v1::StartBatch { trace: vec![Default::default()], ..batch(2) };
        assert!(code(shape(&traced, 0)).contains("`trace`"));
        let indexed = v1::StartBatch { machine_index: vec![0, 1], ..batch(2) };
        assert!(code(shape(&indexed, 0)).contains("`machine_index[1]` is 1"));
        let nothing = v1::StartBatch { machines: vec![], ..batch(1) };
        assert!(code(shape(&nothing, 0)).contains("`machines`"));
    }

    #[test]
    fn a_batch_of_several_holds_a_megabyte_and_not_a_byte_more() {
        let two = |length| v1::StartBatch { input: vec![Bytes::from(vec![b'1'; length]); 2], ..batch(0) };
        assert!(shape(&two(1 << 19), 0).is_ok());
        assert!(code(shape(&two((1 << 19) + 1), 0)).contains("1048578"));
    }

    #[test]
    fn a_dispatcher_whose_clock_is_far_ahead_is_refused() {
        let ahead = |ms: u64| v1::StartBatch { start_time_ms: 1_000_000 + ms, ..batch(1) };
        assert!(shape(&ahead(60_000), 1_000_000).is_ok());
        assert!(code(shape(&ahead(60_001), 1_000_000)).contains("clock"));
    }

    #[test]
    fn names_follow_the_rules_of_step_functions() {
        for good in ["", "order-1", "x-y_z.1", "Ж中", &"n".repeat(80)] {
            assert!(name(0, good).is_ok(), "{good}");
        }
        for bad in ["a b", "a/b", "a:b", "a*", "a\u{7}", &"n".repeat(81)] {
            assert_eq!(name(0, bad).expect_err("refused").code, "InvalidName", "{bad}");
        }
    }

    #[test]
    fn inputs_are_measured_in_bytes_for_asl_and_in_characters_for_tcsl() {
        let text = |characters: usize| Bytes::from(format!("\"{}\"", "Ж".repeat(characters - 2)));
        assert!(input(&text(131_073), Dialect::Asl).is_ok());
        assert!(input(&text(131_074), Dialect::Asl).expect_err("too long").contains("262146 bytes"));
        assert!(input(&text(524_288), Dialect::Tcsl).is_ok());
        assert!(input(&text(524_289), Dialect::Tcsl).expect_err("too long").contains("524289 characters"));
    }

    #[test]
    fn an_input_that_is_no_json_says_where() {
        let deep = vec![b'['; 100_000];
        for bad in [&b"{"[..], b"1e999", b"\"\\ud800\"", b"\"\xff\"", b"{} {}", b"", &deep] {
            let message = input(&Bytes::copy_from_slice(bad), Dialect::Asl).expect_err("refused");
            assert!(message.contains("not valid JSON") && message.contains("byte"), "{message}");
        }
    }

    #[test]
    fn an_origin_is_short_and_of_visible_characters() {
        let of = |origin: &str| {
            let definition_hash = vec![7; 32].into();
            let mode = v1::Mode::Standard.into();
            machine(0, &v1::Machine { origin: origin.into(), definition_hash, mode, ..Default::default() })
        };
        for good in ["", "3", "4294967295:PROD.a-b_c", &"n".repeat(96)] {
            assert_eq!(of(good).expect("taken").origin, good);
        }
        for bad in ["3:P D", "3\n", "Ж", &"n".repeat(97)] {
            let refused = of(bad).expect_err(bad);
            assert!(refused.code == "InvalidBatch" && refused.message.contains("`origin`"), "{refused:?}");
        }
    }

    #[test]
    fn every_field_of_a_batch_counts_for_its_content() {
        let state = foldhash::quality::RandomState::default();
        let hash = |batch: &v1::StartBatch| content_hash(batch, &state);
        let same = hash(&batch(2));
        assert_eq!(same, hash(&batch(2)));
        let told =
            v1::LoggingConfiguration { level: v1::LogLevel::All.into(), include_execution_data: false };
        let mut changed = vec![batch(3)];
        changed.push(v1::StartBatch { seed: 1, ..batch(2) });
        changed.push(v1::StartBatch { start_time_ms: 1, ..batch(2) });
        changed.push(v1::StartBatch { name: vec!["a".into(), "b".into()], ..batch(2) });
        changed.push(v1::StartBatch { machine_index: vec![0, 0], ..batch(2) });
        changed.push(v1::StartBatch {
            machines: vec![v1::Machine { arn: "a".into(), ..Default::default() }],
            ..batch(2)
        });
        changed.push(v1::StartBatch {
            machines: vec![v1::Machine { role_arn: "a".into(), ..Default::default() }],
            ..batch(2)
        });
        changed.push(v1::StartBatch {
            machines: vec![v1::Machine { logging: Some(told), ..Default::default() }],
            ..batch(2)
        });
        changed.push(v1::StartBatch {
            machines: vec![v1::Machine { origin: "3".into(), ..Default::default() }],
            ..batch(2)
        });
        changed.push(v1::StartBatch {
            input: vec![Bytes::from_static(b"{}"), Bytes::from_static(b"[]")],
            ..batch(2)
        });
        for other in &changed {
            assert_ne!(same, hash(other), "{other:?}");
        }
        for logging in
            [Default::default(), v1::LoggingConfiguration { level: v1::LogLevel::Off.into(), ..told }]
        {
            let machines = vec![v1::Machine { logging: Some(logging), ..Default::default() }];
            assert_eq!(
                same,
                hash(&v1::StartBatch { machines, ..batch(2) }),
                "{logging:?} means nothing else"
            );
        }
    }
}
