//! What was found, as text for people and as JSON for programs.

use std::fmt::Write;

use asl::Timestamp;
use journal::block::{JournalledKind, ReadDigest, SubBlockKind, decode_failure};
use journal::{Block, BlockId, Closed, Journalled, MachineRef, Opened, Record, StoreError};
use serde_json::{Value, json};

use super::find::{Execution, Partition};

/// A line for each partition.
pub(super) fn partitions(found: &[Partition], as_json: bool) -> String {
    let mut out = String::new();
    if !as_json {
        let _ =
            writeln!(out, "PARTITION  GENERATION  TOP               OLDEST BLOCK              NEWEST BLOCK");
    }
    for one in found {
        let (number, top) = (one.partition.get(), one.top);
        if as_json {
            let end = |end: Option<(BlockId, u64)>| {
                end.map(|(id, ms)| json!({"block": id.to_string(), "time": time(ms)}))
            };
            let line = json!({
                "partition": number, "generation": top.generation, "top": top.to_string(),
                "oldest": end(one.oldest), "newest": end(one.newest),
            });
            let _ = writeln!(out, "{line}");
            continue;
        }
        let end = |end: Option<(BlockId, u64)>| end.map_or_else(|| "none".to_owned(), |(_, ms)| time(ms));
        let _ = writeln!(
            out,
            "{number:<9}  {:<10}  {:<16}  {:<24}  {}",
            top.generation,
            top.to_string(),
            end(one.oldest),
            end(one.newest)
        );
    }
    out
}

/// A line for each block, the newest first.
pub(super) fn blocks(found: &[Block], as_json: bool) -> String {
    let mut out = String::new();
    if !as_json {
        let _ =
            writeln!(out, "BLOCK             TIME                      BYTES     OPENED  JOURNALLED  CLOSED");
    }
    for block in found {
        let of = |kinds: &[SubBlockKind]| -> usize {
            let wanted = block.sub_blocks().iter().filter(|sub_block| kinds.contains(&sub_block.kind()));
            wanted.map(|sub_block| sub_block.len()).sum()
        };
        let opened = of(&[SubBlockKind::Opened, SubBlockKind::OpenedAndClosed]);
        let journalled = of(&[SubBlockKind::Journalled]);
        let closed = of(&[SubBlockKind::Closed, SubBlockKind::OpenedAndClosed]);
        let (id, at, bytes) = (block.id().to_string(), time(block.time_ms()), block.byte_len());
        let _ = if as_json {
            let line = json!({
                "block": id, "time": at, "bytes": bytes,
                "opened": opened, "journalled": journalled, "closed": closed,
            });
            writeln!(out, "{line}")
        } else {
            writeln!(out, "{id:<16}  {at:<24}  {bytes:<8}  {opened:<6}  {journalled:<10}  {closed}")
        };
    }
    out
}

/// A line for each record of a block.
pub(super) fn block(block: &Block, payloads: bool, as_json: bool) -> Result<String, StoreError> {
    let mut out = String::new();
    for record in block.records()? {
        let shown = match &record {
            Record::Opened(opened) => {
                let machine = block.machines().get(opened.machine as usize);
                opened_value(block.id(), opened, machine, payloads)
            }
            Record::Journalled(told) => journalled_value(block.id(), told, payloads),
            Record::Closed(closed) => closed_value(block.id(), closed, payloads),
        };
        line(&mut out, &shown, as_json);
    }
    Ok(out)
}

/// The whole of an execution.
pub(super) fn execution(found: &Execution, payloads: bool, as_json: bool) -> String {
    let opened = opened_value(found.opened.0, &found.opened.1, Some(&found.machine), payloads);
    let journal: Vec<Value> =
        found.journal.iter().map(|(block, told)| journalled_value(*block, told, payloads)).collect();
    let closed = found.closed.as_ref().map(|(block, closed)| closed_value(*block, closed, payloads));
    let mut out = String::new();
    if as_json {
        let whole = json!({"opened": opened, "journal": journal, "closed": closed});
        let _ = writeln!(out, "{whole}");
        return out;
    }
    line(&mut out, &opened, false);
    journal.iter().for_each(|told| line(&mut out, told, false));
    match closed {
        Some(closed) => line(&mut out, &closed, false),
        None => out.push_str("open: the log holds no end of it\n"),
    }
    out
}

/// One record: an object, or its members in a row.
fn line(out: &mut String, record: &Value, as_json: bool) {
    let members = match record {
        Value::Object(members) if !as_json => members,
        other => {
            let _ = writeln!(out, "{other}");
            return;
        }
    };
    let mut words = members.iter().map(|(name, value)| match value {
        Value::String(text) if name == "record" => format!("{text:<10}"),
        Value::String(text) if !text.contains(' ') && !text.is_empty() => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    let first = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    let _ = writeln!(out, "{first} {}", rest.join(" "));
}

fn opened_value(block: BlockId, opened: &Opened, machine: Option<&MachineRef>, payloads: bool) -> Value {
    let mut value = json!({
        "record": "opened", "partition": opened.id.batch.partition.get(), "block": block.to_string(), "execution": opened.id.to_string(),
        "machine": machine.map(|machine| machine.arn.clone()),
        "mode": machine.map(|machine| machine.mode.as_str()),
        "definition": machine.map(|machine| hex(&machine.definition)),
        "role": machine.map(|machine| &machine.role_arn).filter(|role| !role.is_empty()),
        "origin": machine.map(|machine| &machine.origin).filter(|origin| !origin.is_empty()),
        "name": opened.name, "started": time(opened.start_time_ms), "input_bytes": opened.input.len(),
    });
    if payloads {
        value["input"] = text_or_json(&opened.input);
    }
    value
}

fn journalled_value(block: BlockId, told: &Journalled, payloads: bool) -> Value {
    let mut value = json!({
        "record": "journalled", "block": block.to_string(), "execution": told.id.to_string(),
        "sequence": told.sequence, "time": time(told.time_ms), "kind": format!("{:?}", told.kind),
        "effect": told.effect, "payload_bytes": told.payload.len(),
    });
    if payloads && !told.payload.is_empty() {
        value["payload"] = match told.kind {
            JournalledKind::TaskFailed | JournalledKind::Stopped => failure(&told.payload),
            JournalledKind::ItemsDigest => ReadDigest::decode(&told.payload).map_or_else(
                |error| json!(error.to_string()),
                |digest| json!({"resource": digest.resource, "length": digest.length}),
            ),
            _ => text_or_json(&told.payload),
        };
    }
    value
}

fn closed_value(block: BlockId, closed: &Closed, payloads: bool) -> Value {
    let mut value = json!({
        "record": "closed", "block": block.to_string(), "execution": closed.id.to_string(),
        "status": closed.status.as_str(), "stopped": time(closed.stop_time_ms),
        "payload_bytes": closed.payload.len(),
        "blocks": closed.blocks.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    if payloads {
        value["payload"] = match closed.status {
            ids::Status::Succeeded => text_or_json(&closed.payload),
            _ => failure(&closed.payload),
        };
    }
    value
}

fn failure(payload: &[u8]) -> Value {
    match decode_failure(payload) {
        Ok((error, cause)) => json!({"error": error, "cause": cause}),
        Err(error) => json!(error.to_string()),
    }
}

fn text_or_json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn time(ms: u64) -> String {
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX)).to_string()
}
