//! What travels beside the blocks: keys and lists that make look-ups quick.
//!
//! Invariants: derived writes are sent only after their block is known to be in the log, so that an owner who
//! has lost its partition never overwrites what its successor wrote. They ride along with the next append, in
//! the same write to the socket, and so cost no flush of Redis's own log; if no append follows, a timer sends
//! them after [`LINGER`], and a read on this connection sends them first. At most [`PENDING_MAX`] of them
//! wait; a crash loses those that wait, and the reader rebuilds them from the log. After a lost reply, values
//! are set again (harmless) and list entries are looked for before they are pushed again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ids::PartitionId;
use journal::{Derived, StoreError};
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::Instant;

use crate::keys::Keys;
use crate::link::Link;
use crate::reply::{array, bytes};

/// How long derived writes wait for an append to ride along with.
pub(crate) const LINGER: Duration = Duration::from_millis(5);
/// Derived writes that wait on one connection.
const PENDING_MAX: usize = 65_536;
/// Derived writes that are sent at once.
const SEND_MAX: usize = 8_192;
/// Entries at a list's end among which one that may be there already is looked for.
const LOOK_BACK: usize = 1_024;
/// Keys of one MGET.
const READ_KEYS_MAX: usize = 512;

/// Derived writes that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Write>,
    /// When the oldest came.
    since: Option<Instant>,
    timer_runs: bool,
    dropped: u64,
}

#[derive(Debug)]
struct Write {
    kind: WriteKind,
    key: Vec<u8>,
    value: Bytes,
    ttl_ms: u64,
    /// Its reply was lost: it may be there.
    unsure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteKind {
    Put,
    Push,
}

impl Write {
    fn new(keys: &Keys, partition: PartitionId, derived: Derived) -> Self {
        let keys = keys.of(partition);
        let (kind, key, value, ttl) = match derived {
            Derived::Put { key, value, ttl } => (WriteKind::Put, keys.derived(&key), value, ttl),
            Derived::Push { list, value, ttl } => (WriteKind::Push, keys.list(&list), value, ttl),
        };
        // Redis refuses a time to live of 0, and of more than a signed 64-bit number can date.
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 52);
        Self { kind, key, value, ttl_ms, unsure: false }
    }

    fn add_to(&self, pipeline: &mut Pipeline) {
        match self.kind {
            WriteKind::Put => {
                pipeline.cmd("SET").arg(&self.key).arg(self.value.as_ref()).arg("PX").arg(self.ttl_ms);
            }
            WriteKind::Push => {
                pipeline.cmd("RPUSH").arg(&self.key).arg(self.value.as_ref());
                pipeline.cmd("PEXPIRE").arg(&self.key).arg(self.ttl_ms);
            }
        }
    }
}

/// Writes that are being sent. A reader who no longer wants its answer drops the sending half-way, and the connection
/// then sends nothing of it: what is not known to be written goes back.
struct Taken<'a> {
    pending: &'a Pending,
    writes: VecDeque<Write>,
    unsure: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.pending.give_back(std::mem::take(&mut self.writes), self.unsure);
    }
}

impl Pending {
    /// Keeps the derived writes of a block that is in the log. `true`: the caller must see that a timer runs.
    pub fn keep(&self, keys: &Keys, partition: PartitionId, derived: Vec<Derived>) -> bool {
        if derived.is_empty() {
            return false;
        }
        let writes: Vec<Write> =
            derived.into_iter().map(|derived| Write::new(keys, partition, derived)).collect();
        let mut state = self.state();
        state.waiting.extend(writes);
        state.bound();
        state.since.get_or_insert_with(Instant::now);
        !std::mem::replace(&mut state.timer_runs, true)
    }

    /// Sends what waits, together with a command that comes after it; returns the reply to the command, or
    /// nothing.
    pub async fn send(
        &self,
        link: &Link,
        last: Option<Cmd>,
    ) -> Result<Result<Value, RedisError>, StoreError> {
        let mut taken = Taken { pending: self, writes: self.take(), unsure: true };
        if taken.writes.is_empty() && last.is_none() {
            return Ok(Ok(Value::Nil));
        }
        let sent = self.send_writes(link, &mut taken.writes, last).await;
        match &sent {
            Ok(_) => taken.writes.clear(),
            Err(error) => taken.unsure = matches!(error, StoreError::Unknown(_)),
        }
        sent
    }

    async fn send_writes(
        &self,
        link: &Link,
        writes: &mut VecDeque<Write>,
        last: Option<Cmd>,
    ) -> Result<Result<Value, RedisError>, StoreError> {
        settle(link, writes).await?;
        let mut pipeline = Pipeline::with_capacity(writes.len() * 2 + 1);
        for write in writes.iter() {
            write.add_to(&mut pipeline);
        }
        let with_last = last.is_some();
        if let Some(last) = last {
            // Moved, not copied: it carries a block.
            pipeline.add_command(last);
        }
        if pipeline.is_empty() {
            return Ok(Ok(Value::Nil));
        }
        let mut replies = link.pipeline(&pipeline).await?;
        let of_last = if with_last { replies.pop() } else { None };
        self.count_refused(link, &replies);
        Ok(of_last.unwrap_or(Ok(Value::Nil)))
    }

    /// Refused derived writes are not tried again: the log has what they say.
    fn count_refused(&self, link: &Link, replies: &[Result<Value, RedisError>]) {
        let mut refusals = replies.iter().filter_map(|reply| reply.as_ref().err());
        let Some(first) = refusals.next() else { return };
        let count = 1 + refusals.count() as u64;
        let dropped = {
            let mut state = self.state();
            state.dropped += count;
            state.dropped
        };
        tracing::warn!(address = %link.address, count, dropped, error = %first,
            "Redis refused keys that make look-ups quick; they are rebuilt from the log");
    }

    /// Waits until what waits has waited for [`LINGER`], and sends what no append took along; `false`:
    /// nothing is left, and the next [`Pending::keep`] asks for a new timer.
    pub async fn linger(&self, link: &Link) -> bool {
        let since = {
            let mut state = self.state();
            state.timer_runs = state.since.is_some();
            state.since
        };
        let Some(since) = since else { return false };
        tokio::time::sleep_until(since + LINGER).await;
        let due = self.state().since.is_some_and(|since| since + LINGER <= Instant::now());
        if due && let Err(error) = self.send(link, None).await {
            tracing::debug!(address = %link.address, %error, "keys that make look-ups quick wait on");
        }
        true
    }

    fn take(&self) -> VecDeque<Write> {
        let mut state = self.state();
        let count = state.waiting.len().min(SEND_MAX);
        let rest = state.waiting.split_off(count);
        state.since = if rest.is_empty() { None } else { state.since };
        std::mem::replace(&mut state.waiting, rest)
    }

    fn give_back(&self, mut writes: VecDeque<Write>, unsure: bool) {
        if writes.is_empty() {
            return;
        }
        for write in &mut writes {
            write.unsure |= unsure;
        }
        let mut state = self.state();
        writes.append(&mut state.waiting);
        state.waiting = writes;
        state.bound();
        state.since = Some(Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops the oldest above the bound.
    fn bound(&mut self) {
        let above = self.waiting.len().saturating_sub(PENDING_MAX);
        if above > 0 {
            self.waiting.drain(..above);
            self.dropped += above as u64;
        }
    }
}

/// Takes out the pushes whose reply was lost and that are there.
async fn settle(link: &Link, writes: &mut VecDeque<Write>) -> Result<(), StoreError> {
    let doubtful = |write: &Write| write.unsure && write.kind == WriteKind::Push;
    if !writes.iter().any(doubtful) {
        return Ok(());
    }
    let mut pipeline = Pipeline::new();
    for write in writes.iter().filter(|write| doubtful(write)) {
        let look = pipeline.cmd("LPOS").arg(&write.key).arg(write.value.as_ref());
        look.arg("RANK").arg(-1).arg("MAXLEN").arg(LOOK_BACK);
    }
    let mut there =
        link.pipeline(&pipeline).await?.into_iter().map(|reply| matches!(reply, Ok(Value::Int(_))));
    writes.retain(|write| !doubtful(write) || !there.next().unwrap_or(false));
    for write in writes.iter_mut() {
        write.unsure = false;
    }
    Ok(())
}

/// Reads derived keys.
pub(crate) async fn get(
    link: &Link,
    keys: &Keys,
    partition: PartitionId,
    wanted: &[Bytes],
) -> Result<Vec<Option<Bytes>>, StoreError> {
    let names = keys.of(partition);
    let mut found = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(READ_KEYS_MAX) {
        let mut get = redis::cmd("MGET");
        for key in some {
            get.arg(names.derived(key));
        }
        found.extend(array("MGET", link.command(&get).await?)?.into_iter().map(bytes));
    }
    Ok(found)
}

/// Reads a part of a derived list.
pub(crate) async fn list(
    link: &Link,
    keys: &Keys,
    partition: PartitionId,
    list: &[u8],
    skip: usize,
    limit: usize,
) -> Result<Vec<Bytes>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    // Redis counts list entries with signed numbers.
    let last = skip.saturating_add(limit - 1).min(i64::MAX as usize);
    let mut range = redis::cmd("LRANGE");
    range.arg(keys.of(partition).list(list)).arg(skip.min(i64::MAX as usize)).arg(last);
    Ok(array("LRANGE", link.command(&range).await?)?.into_iter().filter_map(bytes).collect())
}
