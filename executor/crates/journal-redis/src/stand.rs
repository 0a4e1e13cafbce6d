//! Where a log stands, and whose it is.
//!
//! A replica that is promoted without the last writes may not have an owner's mark either; then its successor takes the very
//! generation that the owner has. So each taking has an [`Owner`] of its own, drawn at random, and every entry names it: where
//! the log's last entry has our generation and another owner, the log is not ours. Invariants: that is asked with every look
//! at the log, hence before the first append on each connection; an owner that writes again what was lost takes its own mark
//! first where a gap would else hide another owner's blocks. What may fail: as [`crate::error`] tells, and
//! [`StoreError::Fenced`].

use std::sync::Arc;
use std::time::Duration;

use ids::PartitionId;
use journal::store::Top;
use journal::{BlockId, StoreError};
use redis::{Cmd, Pipeline, RedisError, Value};

use crate::derived::is_redirect;
use crate::error;
use crate::keys::{Keys, PartitionKeys};
use crate::link::Current;
use crate::log::{add_mark, owner_of, parse_id};
use crate::position::Owner;
use crate::reply::{array, text};
use crate::servers::{Route, Server, Servers};

/// How long a server may take to tell where its logs stand, while the others' answers wait.
const TOPS_WITHIN: Duration = Duration::from_secs(1);

/// Where a log stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand {
    /// The highest id that the stream has ever had, also if that entry is trimmed.
    pub top: BlockId,
    /// The last entry, and who wrote it.
    pub last: Option<(BlockId, Option<Owner>)>,
}

/// Where a stream stands; nothing when it is not there.
pub(crate) async fn stand(
    route: &Route,
    current: &Current,
    log: &[u8],
) -> Result<Result<Option<Stand>, RedisError>, StoreError> {
    match route.try_command_on(current, &info(log)).await? {
        Ok(reply) => stand_of(reply).map(|stand| Ok(Some(stand))),
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

fn stand_of(reply: Value) -> Result<Stand, StoreError> {
    let mut fields = array("XINFO STREAM", reply)?.into_iter();
    let (mut top, mut last) = (None, None);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match text(name).as_deref() {
            Some("last-generated-id") => top = text(value).map(|id| parse_id(&id)).transpose()?,
            Some("last-entry") if value != Value::Nil => last = Some(owner_of(value)?),
            _ => {}
        }
    }
    let missing = || StoreError::Corrupt("Redis answered XINFO STREAM without last-generated-id".to_owned());
    Ok(Stand { top: top.ok_or_else(missing)?, last })
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

/// Where each log stands: one request to each server that has some of them. A server that is away, or stands still, keeps
/// nobody else waiting.
pub(crate) async fn tops(servers: &Servers, keys: &Keys, partitions: &[PartitionId]) -> Vec<Top> {
    let mut tops: Vec<Top> = vec![Ok(None); partitions.len()];
    let mut groups: Vec<(Arc<Server>, Vec<usize>)> = Vec::new();
    for (at, partition) in partitions.iter().enumerate() {
        match servers.route(keys.of(*partition).slot).await {
            Ok(route) => match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &route.server)) {
                Some((_, group)) => group.push(at),
                None => groups.push((route.server, vec![at])),
            },
            Err(error) => tops[at] = Err(error),
        }
    }
    let asked = groups.iter().map(|(server, group)| async move {
        let names = group.iter().map(|at| keys.of(partitions[*at])).collect::<Vec<_>>();
        match tokio::time::timeout(TOPS_WITHIN, tops_of(servers, server, &names)).await {
            Ok(tops) => tops,
            Err(_) => {
                let address = &server.link.address;
                let late =
                    StoreError::Unavailable(format!("{address} does not answer within {TOPS_WITHIN:?}"));
                vec![Err(late); group.len()]
            }
        }
    });
    for ((_, group), told) in groups.iter().zip(futures_util::future::join_all(asked).await) {
        group.iter().zip(told).for_each(|(at, top)| tops[*at] = top);
    }
    tops
}

/// Where logs stand that one server has.
async fn tops_of(servers: &Servers, server: &Server, names: &[Arc<PartitionKeys>]) -> Vec<Top> {
    let mut pipeline = Pipeline::with_capacity(names.len());
    for names in names {
        pipeline.add_command(info(&names.log));
    }
    let replies = match server.link.pipeline(&pipeline).await {
        Ok(replies) => replies,
        Err(error) => return vec![Err(error); names.len()],
    };
    let mut tops = Vec::with_capacity(names.len());
    for (names, reply) in names.iter().zip(replies) {
        tops.push(match reply {
            Ok(reply) => checked(names, stand_of(reply)),
            Err(refusal) if is_no_such_key(&refusal) => Ok(None),
            // By itself it is led there.
            Err(refusal) if is_redirect(&refusal) => top(servers, names).await,
            Err(refusal) => Err(error::of_command(&refusal, &server.link.address)),
        });
    }
    tops
}

/// The top of a log, unless it has another owner under our generation.
fn checked(names: &PartitionKeys, stand: Result<Stand, StoreError>) -> Top {
    let stand = stand?;
    let confirmed = names.position.confirmed().unwrap_or_default();
    names.position.check(names.partition, confirmed, Some(&stand))?;
    Ok(Some(stand.top))
}

async fn top(servers: &Servers, names: &PartitionKeys) -> Result<Option<BlockId>, StoreError> {
    match servers.try_command(names.slot, &info(&names.log)).await? {
        Ok(reply) => checked(names, stand_of(reply)),
        Err(refusal) if is_no_such_key(&refusal.error) => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}
