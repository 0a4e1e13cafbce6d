//! The log of a partition: one Redis stream.
//!
//! Invariants: the id of a block is its stream id, so Redis itself refuses a block that is not above the last
//! one; an owner takes over by adding the mark `<generation + 1>-0` in the same way. After a refusal the
//! entry under that id tells a repeated flush (the same bytes: success) from a lost ownership. An entry's first
//! field is `b` for a block, `m` for a mark; both say which owner wrote them (`stand` says why).

use bytes::Bytes;
use ids::PartitionId;
use journal::store::{Acquired, BlockRange};
use journal::{Append, BlockId, StoreError};
use redis::{Cmd, RedisError, Value};

use crate::error;
use crate::keys::{Keys, PartitionKeys};
use crate::link::Current;
use crate::position::Owner;
use crate::reply::{array, bytes, text, unexpected};
use crate::servers::{Route, Servers};
use crate::stand::stand;
use crate::write::Write;

/// Owners that may take a partition between our look and our mark before we give up.
const ACQUIRE_RACES_MAX: usize = 16;
/// Bytes that one reply of a read should have at most, by the size of the blocks seen so far.
const READ_BYTES: usize = 16 * 1024 * 1024;
/// Blocks that the first reply of a read has at most.
const READ_FIRST: usize = 16;
const READ_PAGE_MAX: usize = 1_024;

const BLOCK: &[u8] = b"b";
const MARK: &[u8] = b"m";
/// Who wrote a block.
const OWNER: &[u8] = b"o";

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
        let refusal = match try_acquire(servers, &route, &current, &names, partition).await? {
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
    servers: &Servers,
    route: &Route,
    current: &Current,
    names: &PartitionKeys,
    partition: PartitionId,
) -> Result<Result<(BlockId, BlockId), RedisError>, StoreError> {
    let top = match stand(route, current, &names.log).await? {
        Ok(stand) => stand.map(|stand| stand.top).unwrap_or_default(),
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
        servers.queue.forget(names.slot);
    }
    let above = top.max(confirmed);
    let Some(generation) = above.generation.checked_add(1) else {
        return Err(StoreError::Corrupt(format!(
            "the log of partition {partition} stands at {top}, the end"
        )));
    };
    let (mark, owner) = (BlockId { generation, sequence: 0 }, Owner::new());
    let reply = route.try_command_on(current, &add_mark(&names.log, mark, owner)).await?;
    Ok(reply.map(|_| {
        names.position.own(mark, owner, current.number);
        (mark, top)
    }))
}

/// An owner's mark.
pub(crate) fn add_mark(log: &[u8], mark: BlockId, owner: Owner) -> Cmd {
    let mut add = redis::cmd("XADD");
    add.arg(log).arg(mark.to_string()).arg(MARK).arg(owner.bytes().as_slice());
    add
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
                let writes = derived.map(|derived| Write::new(&names, append.id, derived)).collect();
                servers.keep(names.slot, writes);
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
    if servers.queue.obstacle(names.slot, append.id).is_some() {
        if let Some(below) = append.trim_below
            && let Err(refusal) = trim(route, current, &names.log, below).await?
        {
            return Ok(Err(refusal));
        }
        servers.make_way(names.slot, append.id).await?;
    }
    if !names.position.is_known_on(current.number) {
        let stand = match stand(route, current, &names.log).await? {
            Ok(stand) => stand,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let owned = names.position.check(append.partition, append.id, stand.as_ref());
        let top = stand.map(|stand| stand.top);
        let compared = owned.and_then(|()| names.position.compare(append.partition, top, current.number));
        if compared.is_err() {
            servers.queue.forget(names.slot);
        }
        compared?;
    }
    let made = names.position.confirmed();
    let owner = names.position.owner(append.id.generation);
    let first = add(&names.log, append, made.is_some(), owner);
    let mut reply = servers.send(server, current, (Some(first), route.asking), None).await?;
    if let (Err(refusal), Some(below)) = (&reply, append.trim_below)
        && error::is_out_of_memory(refusal)
    {
        // It refuses even the XADD that would trim.
        if let Err(refusal) = trim(route, current, &names.log, below).await? {
            return Ok(Err(refusal));
        }
        server.resume();
        let again = add(&names.log, append, made.is_some(), owner);
        reply = servers.send(server, current, (Some(again), route.asking), None).await?;
    }
    match (reply, made) {
        // The log is gone under a connection that lives on: somebody has emptied the store.
        (Ok(Value::Nil), Some(confirmed)) => {
            Err(StoreError::WentBack { partition: append.partition, confirmed, top: None })
        }
        (Ok(_), _) => Ok(Ok(())),
        (Err(refusal), _) if error::is_stale_id(&refusal) => {
            let found = mine_or_fenced(route, current, &names.log, append).await;
            if matches!(found, Err(StoreError::Fenced { .. })) {
                // What was refused before and waits still is the next owner's to say.
                servers.queue.forget(names.slot);
            }
            found
        }
        (Err(refusal), _) => Ok(Err(refusal)),
    }
}

/// A log that this connection has seen (`made`) is never made anew: the answer is nil then.
fn add(log: &[u8], append: &Append, made: bool, owner: Option<Owner>) -> Cmd {
    let mut add = Cmd::with_capacity(8, append.block.len() + 128);
    add.arg("XADD").arg(log);
    if made {
        add.arg("NOMKSTREAM");
    }
    if let Some(below) = append.trim_below {
        add.arg("MINID").arg("~").arg(below.to_string());
    }
    add.arg(append.id.to_string()).arg(BLOCK).arg(append.block.as_ref());
    if let Some(owner) = owner {
        add.arg(OWNER).arg(owner.bytes().as_slice());
    }
    add
}

/// Drops blocks by themselves, which Redis lets us do also where it has no memory left.
async fn trim(
    route: &Route,
    current: &Current,
    log: &[u8],
    below: BlockId,
) -> Result<Result<Value, RedisError>, StoreError> {
    let mut trim = redis::cmd("XTRIM");
    trim.arg(log).arg("MINID").arg("=").arg(below.to_string());
    route.try_command_on(current, &trim).await
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
    match stand(route, current, log).await? {
        Ok(stand) => {
            let (partition, attempted) = (append.partition, append.id);
            let last = stand.map(|stand| stand.top).unwrap_or_default();
            Err(StoreError::Fenced { partition, attempted, last })
        }
        Err(refusal) => Ok(Err(refusal)),
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
            (Some(end), false) => end.after().map(|id| from = id),
            (Some(end), true) => end.before().map(|id| to = id),
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

enum Entry {
    Block(BlockId, Bytes),
    Mark(BlockId),
}

/// Whose an entry is, as far as it says.
pub(crate) fn owner_of(entry: Value) -> Result<(BlockId, Option<Owner>), StoreError> {
    let (id, fields) = id_and_fields(entry)?;
    let mut fields = fields.into_iter();
    let mut owner = None;
    while let (Some(name), Some(value)) = (fields.next().and_then(bytes), fields.next().and_then(bytes)) {
        if name == OWNER || name == MARK {
            owner = Owner::of(&value);
        }
    }
    Ok((id, owner))
}

/// `[id, [field, value, ...]]`.
fn id_and_fields(entry: Value) -> Result<(BlockId, Vec<Value>), StoreError> {
    let mut parts = array("XRANGE", entry)?.into_iter();
    let (Some(id), Some(fields)) = (parts.next().and_then(text), parts.next()) else {
        return Err(unexpected("XRANGE", &Value::Nil));
    };
    Ok((parse_id(&id)?, array("XRANGE", fields)?))
}

fn entry_of(entry: Value) -> Result<Entry, StoreError> {
    let (id, fields) = id_and_fields(entry)?;
    let mut fields = fields.into_iter();
    match (fields.next().and_then(bytes), fields.next().and_then(bytes)) {
        (Some(name), Some(block)) if name == BLOCK => Ok(Entry::Block(id, block)),
        (Some(name), Some(_)) if name == MARK => Ok(Entry::Mark(id)),
        _ => Err(StoreError::Corrupt(format!("entry {id} of a log is neither a block nor an owner's mark"))),
    }
}

pub(crate) fn parse_id(text: &str) -> Result<BlockId, StoreError> {
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
        assert_eq!(id.after(), Some(BlockId { generation: 4, sequence: 0 }));
        assert_eq!(id.after().and_then(BlockId::before), Some(id));
        assert_eq!(BlockId::default().before(), None);
        assert_eq!(LAST.after(), None);
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
