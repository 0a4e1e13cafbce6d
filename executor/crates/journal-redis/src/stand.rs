//! Where a log stands, and whose it is.
//!
//! A replica that is promoted without the last writes may not have an owner's mark either; then its successor takes the very
//! generation that the owner has. So each taking has an [`Owner`] of its own, drawn at random, and every entry names it: where
//! the log's last entry has our generation and another owner, the log is not ours. Invariants: that is asked with every look
//! at the log, hence before the first append on each connection; an owner that writes again what was lost takes its own mark
//! first where a gap would else hide another owner's blocks; no look carries a block. What may fail: as [`crate::error`] tells, and
//! [`StoreError::Fenced`].

use ids::PartitionId;
use journal::{BlockId, StoreError};
use redis::{Cmd, RedisError, Value};

use crate::error;
use crate::keys::{Keys, PartitionKeys};
use crate::link::Current;
use crate::log::{add_mark, parse_id};
use crate::position::Owner;
use crate::reply::{array, bytes, text};
use crate::servers::{Route, Servers};

/// Where a log stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand {
    /// The highest id that the stream has ever had, also if that entry is trimmed.
    pub top: BlockId,
    /// Who wrote the entry there, if it is there and says so.
    pub owner: Option<Owner>,
}

/// KEYS: log. XINFO STREAM, and XREVRANGE as well, would send whole blocks, for each log that is quiet, every second. The last
/// entry has the highest id, unless all are trimmed; whose it is, its fields `o` and `m` say. What Redis refuses in here
/// comes back in its own words.
const LOOK: &str = "\
local last = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if last.err then return last end
if #last == 0 then
  local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
  if info.err then return info end
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then return {info[at + 1]} end
  end
  return {}
end
local id, fields = last[1][1], last[1][2]
for at = 1, #fields, 2 do
  if fields[at] == 'o' or fields[at] == 'm' then return {id, fields[at + 1]} end
end
return {id}";

/// Where a stream stands; nothing when it is not there.
pub(crate) async fn stand(
    route: &Route,
    current: &Current,
    log: &[u8],
) -> Result<Result<Option<Stand>, RedisError>, StoreError> {
    match route.try_command_on(current, &look(log)).await? {
        Ok(reply) => stand_of(reply).map(|stand| Ok(Some(stand))),
        Err(refusal) if is_no_such_key(&refusal) => Ok(Ok(None)),
        Err(refusal) => Ok(Err(refusal)),
    }
}

pub(crate) fn is_no_such_key(refusal: &RedisError) -> bool {
    refusal.detail().is_some_and(|detail| detail.contains("no such key"))
}

/// The command.
pub(crate) fn look(log: &[u8]) -> Cmd {
    let mut look = redis::cmd("EVAL");
    look.arg(LOOK).arg(1).arg(log);
    look
}

/// Its reply.
pub(crate) fn stand_of(reply: Value) -> Result<Stand, StoreError> {
    let mut parts = array("EVAL", reply)?.into_iter();
    let missing = || StoreError::Corrupt("Redis does not tell the last-generated-id of a log".to_owned());
    let top = parse_id(&parts.next().and_then(text).ok_or_else(missing)?)?;
    Ok(Stand { top, owner: parts.next().and_then(bytes).and_then(|owner| Owner::of(&owner)) })
}

/// Takes appends above `top` again, if that is where the log ends and nobody else has taken it. `from` is the lowest block
/// that its owner will write.
pub(crate) async fn accept(
    servers: &Servers,
    keys: &Keys,
    partition: PartitionId,
    (top, from): (BlockId, BlockId),
) -> Result<(), StoreError> {
    let names = keys.of(partition);
    let mut route = servers.route(names.slot).await?;
    loop {
        let current = route.server.link.connection().await?;
        match try_accept(&route, &current, &names, partition, (top, from)).await? {
            Ok(()) => return Ok(()),
            Err(refusal) if servers.follow(&mut route, &refusal).await? => {}
            Err(refusal) => return Err(error::of_command(&refusal, &route.server.link.address)),
        }
    }
}

async fn try_accept(
    route: &Route,
    current: &Current,
    names: &PartitionKeys,
    partition: PartitionId,
    (top, from): (BlockId, BlockId),
) -> Result<Result<(), RedisError>, StoreError> {
    let found = match stand(route, current, &names.log).await? {
        Ok(found) => found,
        Err(refusal) => return Ok(Err(refusal)),
    };
    names.position.check(partition, from, found.as_ref())?;
    if found.is_none_or(|found| found.top != top) {
        return Ok(Ok(()));
    }
    if from.generation > top.generation {
        let (mark, owner) = (
            BlockId { sequence: 0, ..from },
            names.position.owner(from.generation).unwrap_or_else(Owner::new),
        );
        match route.try_command_on(current, &add_mark(&names.log, mark, owner)).await? {
            // Another one was quicker, or the reply to ours was lost: the next look tells.
            Err(refusal) if error::is_stale_id(&refusal) => return Ok(Ok(())),
            Err(refusal) => return Ok(Err(refusal)),
            Ok(_) => {}
        }
    }
    names.position.accept(current.number);
    Ok(Ok(()))
}
