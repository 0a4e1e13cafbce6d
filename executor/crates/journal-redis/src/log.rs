//! The log of a partition: one Redis stream.
//!
//! Invariants: the id of a block is its stream id, so Redis itself refuses a block that is not above the last
//! one; an owner takes over by adding the mark `<generation + 1>-0` in the same way. After a refusal the
//! entry under that id tells a repeated flush (the same bytes: success) from a lost ownership. Entries have
//! one field: `b` for a block, `m` for a mark.

use std::sync::Arc;

use bytes::Bytes;
use ids::PartitionId;
use journal::store::{Acquired, BlockRange};
use journal::{Append, BlockId, StoreError};
use redis::{Cmd, Pipeline, RedisError, Value};

use crate::derived::Write;
use crate::error;
use crate::keys::{Keys, PartitionKeys};
use crate::link::Current;
use crate::reply::{array, bytes, text, unexpected};
use crate::servers::{Route, Server, Servers};

/// Owners that may take a partition between our look and our mark before we give up.
const ACQUIRE_RACES_MAX: usize = 16;
/// Bytes that one reply of a read should have at most, by the size of the blocks seen so far.
const READ_BYTES: usize = 16 * 1024 * 1024;
/// Blocks that the first reply of a read has at most.
const READ_FIRST: usize = 16;
const READ_PAGE_MAX: usize = 1_024;

const BLOCK: &[u8] = b"b";
const MARK: &[u8] = b"m";

/// Takes a partition.
pub(crate) async fn acquire(
    servers: &Servers,
    keys: &Keys,
    partition: PartitionId,
) -> Result<Acquired, StoreError> {
    let names = keys.of(partition);
    let mut route = servers.route(names.slot).await?;
    let mut races = 0;
    while races < ACQUIRE_RACES_MAX {
        let current = route.server.link.connection().await?;
        let refusal = match try_acquire(&route, &current, &names, partition).await? {
            Ok((mark, top)) => {
                let before = BlockRange { from: BlockId::default(), to: top, reverse: true, limit: 1 };
                let last = read(servers, keys, partition, before).await?.first().map(|(id, _)| *id);
                return Ok(Acquired { generation: mark.generation, last });
            }
            Err(refusal) => refusal,
        };
        if error::is_stale_id(&refusal) {
            // Another owner was quicker.
            races += 1;
        } else if !servers.follow(&mut route, &refusal).await? {
            return Err(error::of_command(&refusal, &route.server.link.address));
        }
    }
    let message =
        format!("other nodes took partition {partition} {ACQUIRE_RACES_MAX} times while this one tried");
    Err(StoreError::Unavailable(message))
}

/// Adds a mark above the top; both.
async fn try_acquire(
    route: &Route,
    current: &Current,
    names: &PartitionKeys,
    partition: PartitionId,
) -> Result<Result<(BlockId, BlockId), RedisError>, StoreError> {
    let top = match last_generated(route, current, &names.log).await? {
        Ok(top) => top.unwrap_or_default(),
        Err(refusal) => return Ok(Err(refusal)),
    };
    // A log that went back knows an older generation only; an owner of the one that is gone may live.
    let confirmed = names.position.confirmed().unwrap_or_default();
    if top < confirmed {
        // Between two tenures nobody holds what was confirmed in the first one, and nobody else tells of it.
        tracing::error!(%partition, %confirmed, ends_at = %top,
            "LOST: the log that is taken ends below what was confirmed here before: what is between is gone, as far as no \
             line above tells otherwise");
    }
    if top.generation > confirmed.generation {
        // Another owner was there meanwhile, and has written what it knows.
        route.server.pending.forget(names.slot);
    }
    let above = top.max(confirmed);
    let Some(generation) = above.generation.checked_add(1) else {
        return Err(StoreError::Corrupt(format!(
            "the log of partition {partition} stands at {top}, the end"
        )));
    };
    let mark = BlockId { generation, sequence: 0 };
    let mut add = redis::cmd("XADD");
    add.arg(&names.log).arg(mark.to_string()).arg(MARK).arg("1");
    let reply = route.try_command_on(current, &add).await?;
    Ok(reply.map(|_| {
        names.position.confirm(mark, current.number);
        (mark, top)
    }))
}

/// Writes a block; what travels beside the blocks before it goes along.
pub(crate) async fn append(servers: &Servers, keys: &Keys, mut append: Append) -> Result<(), StoreError> {
    append.check()?;
    let names = keys.of(append.partition);
    let mut route = servers.route(names.slot).await?;
    loop {
        let current = route.server.link.connection().await?;
        match try_append(servers, &route, &current, &names, &append).await? {
            Ok(()) => {
                names.position.confirm(append.id, current.number);
                let derived = std::mem::take(&mut append.derived).into_iter();
                let writes = derived.map(|derived| Write::new(&names, derived, route.asking)).collect();
                servers.keep(&route.server, writes);
                return Ok(());
            }
            Err(refusal) if servers.follow(&mut route, &refusal).await? => {}
            Err(refusal) => return Err(error::of_command(&refusal, &route.server.link.address)),
        }
    }
}

/// The inner result is what the server said.
async fn try_append(
    servers: &Servers,
    route: &Route,
    current: &Current,
    names: &PartitionKeys,
    append: &Append,
) -> Result<Result<(), RedisError>, StoreError> {
    let server = &route.server;
    if !names.position.is_known_on(current.number) {
        let top = match last_generated(route, current, &names.log).await? {
            Ok(top) => top,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let compared = names.position.compare(append.partition, top, current.number);
        if compared.is_err() {
            server.pending.forget(names.slot);
        }
        compared?;
    }
    let made = names.position.confirmed();
    let add = add(&names.log, append, made.is_some());
    let sent = server.pending.send(&server.link, current, Some(add), route.asking).await?;
    let mut reply = servers.take_up(server, sent);
    if let (Err(refusal), Some(below)) = (&reply, append.trim_below)
        && error::is_out_of_memory(refusal)
    {
        reply = make_room(route, current, &names.log, below, (append, made.is_some())).await?;
    }
    match (reply, made) {
        // The log is gone under a connection that lives on: somebody has emptied the store.
        (Ok(Value::Nil), Some(confirmed)) => {
            Err(StoreError::WentBack { partition: append.partition, confirmed, top: None })
        }
        (Ok(_), _) => Ok(Ok(())),
        (Err(refusal), _) if error::is_stale_id(&refusal) => {
            let judged = mine_or_fenced(route, current, &names.log, append).await;
            if matches!(judged, Err(StoreError::Fenced { .. })) {
                server.pending.forget(names.slot);
            }
            judged
        }
        (Err(refusal), _) => Ok(Err(refusal)),
    }
}

/// A log that this connection has seen (`made`) is never made anew: the answer is nil then.
fn add(log: &[u8], append: &Append, made: bool) -> Cmd {
    let mut add = Cmd::with_capacity(8, append.block.len() + 128);
    add.arg("XADD").arg(log);
    if made {
        add.arg("NOMKSTREAM");
    }
    if let Some(below) = append.trim_below {
        add.arg("MINID").arg("~").arg(below.to_string());
    }
    add.arg(append.id.to_string()).arg(BLOCK).arg(append.block.as_ref());
    add
}

/// Redis has no memory left and refuses even the XADD that would trim: trims by itself, and tries once more.
async fn make_room(
    route: &Route,
    current: &Current,
    log: &[u8],
    below: BlockId,
    (append, made): (&Append, bool),
) -> Result<Result<Value, RedisError>, StoreError> {
    let mut trim = redis::cmd("XTRIM");
    trim.arg(log).arg("MINID").arg("=").arg(below.to_string());
    match route.try_command_on(current, &trim).await? {
        Ok(_) => route.try_command_on(current, &add(log, append, made)).await,
        refused => Ok(refused),
    }
}

/// The log stands at or above the id: by this very block, or by another owner's?
async fn mine_or_fenced(
    route: &Route,
    current: &Current,
    log: &[u8],
    append: &Append,
) -> Result<Result<(), RedisError>, StoreError> {
    let mut range = redis::cmd("XRANGE");
    range.arg(log).arg(append.id.to_string()).arg(append.id.to_string());
    let entries = match route.try_command_on(current, &range).await? {
        Ok(entries) => array("XRANGE", entries)?,
        Err(refusal) => return Ok(Err(refusal)),
    };
    for entry in entries {
        if let Entry::Block(_, block) = entry_of(entry)?
            && block == append.block
        {
            return Ok(Ok(()));
        }
    }
    match last_generated(route, current, log).await? {
        Ok(last) => {
            let (partition, attempted) = (append.partition, append.id);
            Err(StoreError::Fenced { partition, attempted, last: last.unwrap_or_default() })
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// The highest id that the stream has ever had, also if that entry is trimmed.
async fn last_generated(
    route: &Route,
    current: &Current,
    log: &[u8],
) -> Result<Result<Option<BlockId>, RedisError>, StoreError> {
    match route.try_command_on(current, &info(log)).await? {
        Ok(reply) => top_of(reply).map(|top| Ok(Some(top))),
        Err(refusal) if is_no_such_key(&refusal) => Ok(Ok(None)),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn is_no_such_key(refusal: &RedisError) -> bool {
    refusal.detail().is_some_and(|detail| detail.contains("no such key"))
}

fn info(log: &[u8]) -> Cmd {
    let mut info = redis::cmd("XINFO");
    info.arg("STREAM").arg(log);
    info
}

fn top_of(reply: Value) -> Result<BlockId, StoreError> {
    let mut fields = array("XINFO STREAM", reply)?.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if text(name).as_deref() == Some("last-generated-id")
            && let Some(id) = text(value)
        {
            return parse_id(&id);
        }
    }
    Err(StoreError::Corrupt("Redis answered XINFO STREAM without last-generated-id".to_owned()))
}

/// Takes appends above `top` again, if that is where the log ends.
pub(crate) async fn accept(
    servers: &Servers,
    keys: &Keys,
    partition: PartitionId,
    top: BlockId,
) -> Result<(), StoreError> {
    let names = keys.of(partition);
    let mut route = servers.route(names.slot).await?;
    loop {
        let current = route.server.link.connection().await?;
        match last_generated(&route, &current, &names.log).await? {
            Ok(end) => {
                if end == Some(top) {
                    names.position.accept(current.number);
                }
                return Ok(());
            }
            Err(refusal) if servers.follow(&mut route, &refusal).await? => {}
            Err(refusal) => return Err(error::of_command(&refusal, &route.server.link.address)),
        }
    }
}

/// The highest id that each log has ever had: one request to each server that has some of them.
pub(crate) async fn tops(
    servers: &Servers,
    keys: &Keys,
    partitions: &[PartitionId],
) -> Result<Vec<Option<BlockId>>, StoreError> {
    let mut groups: Vec<(Arc<Server>, Vec<usize>)> = Vec::new();
    for (at, partition) in partitions.iter().enumerate() {
        let server = servers.route(keys.of(*partition).slot).await?.server;
        match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &server)) {
            Some((_, group)) => group.push(at),
            None => groups.push((server, vec![at])),
        }
    }
    let asked = groups.iter().map(|(server, group)| async move {
        let mut pipeline = Pipeline::with_capacity(group.len());
        for at in group {
            pipeline.add_command(info(&keys.of(partitions[*at]).log));
        }
        server.link.pipeline(&pipeline).await
    });
    let mut tops = vec![None; partitions.len()];
    for ((_, group), replies) in groups.iter().zip(futures_util::future::join_all(asked).await) {
        for (at, reply) in group.iter().zip(replies?) {
            tops[*at] = match reply {
                Ok(reply) => Some(top_of(reply)?),
                Err(refusal) if is_no_such_key(&refusal) => None,
                // Redirected, most likely: by itself it is led there.
                Err(_) => top(servers, &keys.of(partitions[*at])).await?,
            };
        }
    }
    Ok(tops)
}

async fn top(servers: &Servers, names: &PartitionKeys) -> Result<Option<BlockId>, StoreError> {
    match servers.try_command(names.slot, &info(&names.log)).await? {
        Ok(reply) => top_of(reply).map(Some),
        Err(refusal) if is_no_such_key(&refusal.error) => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Blocks in order, without marks.
pub(crate) async fn read(
    servers: &Servers,
    keys: &Keys,
    partition: PartitionId,
    range: BlockRange,
) -> Result<Vec<(BlockId, Bytes)>, StoreError> {
    let names = keys.of(partition);
    let mut found = Vec::new();
    let mut largest = READ_BYTES / READ_FIRST;
    let (mut from, mut to) = (range.from, range.to);
    while found.len() < range.limit && from <= to {
        let page = (range.limit - found.len()).min(READ_BYTES / largest.max(1)).clamp(1, READ_PAGE_MAX);
        let entries = entries(servers, &names, from, to, range.reverse, page).await?;
        let (read, mut end) = (entries.len(), None);
        for entry in entries {
            match entry_of(entry)? {
                Entry::Block(id, block) => {
                    largest = if found.is_empty() { block.len() } else { largest.max(block.len()) };
                    found.push((id, block));
                    end = Some(id);
                }
                Entry::Mark(id) => end = Some(id),
            }
        }
        let next = match (end, range.reverse) {
            (Some(end), false) => after(end).map(|id| from = id),
            (Some(end), true) => before(end).map(|id| to = id),
            (None, _) => None,
        };
        if read < page || next.is_none() {
            break;
        }
    }
    Ok(found)
}

async fn entries(
    servers: &Servers,
    names: &PartitionKeys,
    from: BlockId,
    to: BlockId,
    reverse: bool,
    count: usize,
) -> Result<Vec<Value>, StoreError> {
    let (name, first, second) = if reverse { ("XREVRANGE", to, from) } else { ("XRANGE", from, to) };
    let mut range = redis::cmd(name);
    range.arg(&names.log).arg(first.to_string()).arg(second.to_string()).arg("COUNT").arg(count);
    array(name, servers.command(names.slot, &range).await?)
}

fn after(id: BlockId) -> Option<BlockId> {
    match id.sequence.checked_add(1) {
        Some(sequence) => Some(BlockId { sequence, ..id }),
        None => Some(BlockId { generation: id.generation.checked_add(1)?, sequence: 0 }),
    }
}

fn before(id: BlockId) -> Option<BlockId> {
    match id.sequence.checked_sub(1) {
        Some(sequence) => Some(BlockId { sequence, ..id }),
        None => Some(BlockId { generation: id.generation.checked_sub(1)?, sequence: u64::MAX }),
    }
}

enum Entry {
    Block(BlockId, Bytes),
    Mark(BlockId),
}

/// `[id, [field, value]]`.
fn entry_of(entry: Value) -> Result<Entry, StoreError> {
    let mut parts = array("XRANGE", entry)?.into_iter();
    let (Some(id), Some(fields)) = (parts.next().and_then(text), parts.next()) else {
        return Err(unexpected("XRANGE", &Value::Nil));
    };
    let id = parse_id(&id)?;
    let mut fields = array("XRANGE", fields)?.into_iter();
    match (fields.next().and_then(bytes), fields.next().and_then(bytes)) {
        (Some(name), Some(block)) if name == BLOCK => Ok(Entry::Block(id, block)),
        (Some(name), Some(_)) if name == MARK => Ok(Entry::Mark(id)),
        _ => Err(StoreError::Corrupt(format!("entry {id} of a log is neither a block nor an owner's mark"))),
    }
}

fn parse_id(text: &str) -> Result<BlockId, StoreError> {
    let parts = text.split_once('-').and_then(|(generation, sequence)| {
        Some(BlockId { generation: generation.parse().ok()?, sequence: sequence.parse().ok()? })
    });
    parts.ok_or_else(|| StoreError::Corrupt(format!("{text:?} is not the id of a stream entry")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: BlockId = BlockId { generation: u64::MAX, sequence: u64::MAX };

    #[test]
    fn ids_are_read_back_as_they_were_written() {
        for id in [BlockId::default(), BlockId { generation: 7, sequence: 12 }, LAST] {
            assert_eq!(parse_id(&id.to_string()).expect("an id"), id);
        }
        assert!(matches!(parse_id("12"), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn neighbours_of_an_id_cross_generations_and_end_at_the_ends() {
        let id = BlockId { generation: 3, sequence: u64::MAX };
        assert_eq!(after(id), Some(BlockId { generation: 4, sequence: 0 }));
        assert_eq!(after(id).and_then(before), Some(id));
        assert_eq!(before(BlockId::default()), None);
        assert_eq!(after(LAST), None);
    }

    #[test]
    fn a_foreign_entry_is_named() {
        let entry = Value::Array(vec![
            Value::BulkString(b"1-2".to_vec()),
            Value::Array(vec![Value::BulkString(b"x".to_vec()), Value::BulkString(b"y".to_vec())]),
        ]);
        let Err(error) = entry_of(entry) else { panic!("it is neither block nor mark") };
        assert!(error.to_string().contains("entry 1-2"), "{error}");
    }
}
