//! Where all logs of a shard stand, as its owner asks of those that are quiet.
//!
//! A [`look`] tells everything of a log, and makes Redis copy its last block; so each log is looked at once. After that a
//! *glance* is enough: whether the log is there, and its last entry above what was confirmed, mostly nothing. Invariants: a
//! glance is believed only if the server has been the master of the same history ever since the look, on the same connection;
//! who was a replica in between, or is restarted, is looked at again. A server that is away, or stands still, keeps nobody
//! else waiting, and what was learnt of a part of its logs stays. What may fail: as [`crate::error`] tells, each log for itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ids::PartitionId;
use journal::store::Top;
use journal::{BlockId, StoreError};
use redis::{Pipeline, RedisError, Value};

use crate::derived::is_redirect;
use crate::error;
use crate::keys::{Keys, PartitionKeys};
use crate::link::Current;
use crate::log::owner_of;
use crate::reply::{array, text};
use crate::servers::{Server, Servers};
use crate::stand::{Stand, is_no_such_key, look, stand_of};

/// How long a server may take to tell where its logs stand, while the others' answers wait.
const TOPS_WITHIN: Duration = Duration::from_secs(1);
/// Looks that one request has.
const LOOKS_AT_ONCE: usize = 8;

/// What a server has been since when, as far as it was asked.
#[derive(Debug, Default)]
pub(crate) struct Reign {
    state: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    connection: u64,
    history: String,
    /// Of all reigns of this process; 0: not the master, or it does not tell.
    number: u64,
}

/// The number of the last reign of this process.
static REIGNS: AtomicU64 = AtomicU64::new(0);

impl Reign {
    /// The number of the reign that was seen last on this connection.
    fn seen_on(&self, connection: u64) -> u64 {
        let seen = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.connection == connection { seen.number } else { 0 }
    }

    /// Takes the reply to INFO; the number of the reign.
    fn see(&self, connection: u64, info: Result<Value, RedisError>) -> u64 {
        let info = info.ok().and_then(text).unwrap_or_default();
        let line = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let history = line("master_replid:").filter(|_| line("role:") == Some("master")).unwrap_or_default();
        let mut seen = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if history.is_empty() {
            seen.number = 0;
        } else if seen.number == 0 || seen.connection != connection || seen.history != history {
            let number = REIGNS.fetch_add(1, Ordering::Relaxed) + 1;
            *seen = Seen { connection, number, history: history.to_owned() };
        }
        seen.number
    }
}

/// Where each log stands.
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
        let late = format!("{} does not answer within {TOPS_WITHIN:?}", server.link.address);
        let mut told = vec![Err(StoreError::Unavailable(late)); names.len()];
        // What is told by then counts.
        let in_time = tokio::time::timeout(TOPS_WITHIN, tell(servers, server, &names, &mut told)).await;
        if let Ok(Err(error)) = in_time {
            told.iter_mut().filter(|top| top.is_err()).for_each(|top| *top = Err(error.clone()));
        }
        told
    });
    for ((_, group), told) in groups.iter().zip(futures_util::future::join_all(asked).await) {
        group.iter().zip(told).for_each(|(at, top)| tops[*at] = top);
    }
    tops
}

/// Where logs stand that one server has.
async fn tell(
    servers: &Servers,
    server: &Server,
    names: &[Arc<PartitionKeys>],
    told: &mut [Top],
) -> Result<(), StoreError> {
    let current = server.link.connection().await?;
    let (left, reign) = glance(server, &current, names, told).await?;
    for some in left.chunks(LOOKS_AT_ONCE) {
        let mut pipeline = Pipeline::with_capacity(some.len());
        for at in some {
            pipeline.add_command(look(&names[*at].log));
        }
        let replies = server.link.pipeline_on(&current, &pipeline).await?;
        for (at, reply) in some.iter().zip(replies) {
            let names = &names[*at];
            told[*at] = match reply {
                Ok(reply) => checked(names, stand_of(reply)),
                Err(refusal) if is_no_such_key(&refusal) => Ok(None),
                // By itself it is led there.
                Err(refusal) if is_redirect(&refusal) => {
                    told[*at] = top(servers, names).await;
                    continue;
                }
                Err(refusal) => Err(error::of_command(&refusal, &server.link.address)),
            };
            names.position.looked(told[*at].as_ref().ok().copied().flatten(), reign);
        }
    }
    Ok(())
}

/// Tells of logs of which a glance is enough; of the others, and as what the server is known now.
async fn glance(
    server: &Server,
    current: &Current,
    names: &[Arc<PartitionKeys>],
    told: &mut [Top],
) -> Result<(Vec<usize>, u64), StoreError> {
    let before = server.reign.seen_on(current.number);
    let known: Vec<Option<BlockId>> = names.iter().map(|names| names.position.known_in(before)).collect();
    let mut pipeline = Pipeline::with_capacity(1 + 2 * names.len());
    pipeline.cmd("INFO").arg("replication");
    for (names, known) in names.iter().zip(&known) {
        if let Some(above) = known {
            pipeline.cmd("EXISTS").arg(&names.log);
            pipeline.cmd("XREVRANGE").arg(&names.log).arg("+").arg(format!("({above}")).arg("COUNT").arg(1);
        }
    }
    let mut replies = server.link.pipeline_on(current, &pipeline).await?.into_iter();
    let reign = server.reign.see(current.number, replies.next().unwrap_or(Ok(Value::Nil)));
    let mut left = Vec::new();
    for (at, known) in known.iter().enumerate() {
        let answer = known.and_then(|above| Some((above, replies.next()?, replies.next()?)));
        match answer {
            Some((above, Ok(Value::Int(1)), Ok(entries))) if reign == before => {
                let last = array("XREVRANGE", entries)?.into_iter().next();
                let stand = last.map_or(Ok(Stand { top: above, owner: None }), |last| {
                    owner_of(last).map(|(top, owner)| Stand { top, owner })
                });
                told[at] = checked(&names[at], stand);
            }
            _ => left.push(at),
        }
    }
    Ok((left, reign))
}

/// The top of a log, unless it has another owner under our generation.
fn checked(names: &PartitionKeys, stand: Result<Stand, StoreError>) -> Top {
    let stand = stand?;
    let confirmed = names.position.confirmed().unwrap_or_default();
    names.position.check(names.partition, confirmed, Some(&stand))?;
    Ok(Some(stand.top))
}

async fn top(servers: &Servers, names: &PartitionKeys) -> Result<Option<BlockId>, StoreError> {
    match servers.try_command(names.slot, &look(&names.log)).await? {
        Ok(reply) => checked(names, stand_of(reply)),
        Err(refusal) if is_no_such_key(&refusal.error) => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}
