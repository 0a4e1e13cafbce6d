//! What travels beside the blocks: keys and lists that make look-ups quick.
//!
//! Invariants: derived writes are sent only after their block is known to be in the log, so that an owner who
//! has lost its partition never overwrites what its successor wrote. They ride along with the next append, in
//! the same write to the socket, and so cost no flush of Redis's own log; if no append follows, a timer sends
//! them after [`LINGER`], and a read on this connection sends them first. What Redis refuses for a while (out of memory,
//! loading) is sent again after [`PAUSE`], before what came later. At most [`PENDING_MAX`] of them and
//! [`PENDING_BYTES_MAX`] wait; beyond, the oldest are given up and counted, and so is what Redis never takes. A crash loses
//! those that wait. A read that would have to see what was refused fails meanwhile. Recovery writes again what stood beside the last blocks. After a lost reply, values
//! are set again (harmless) and list entries are looked for before they are pushed again.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use journal::{Derived, StoreError};
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::Instant;

use crate::error;
use crate::keys::PartitionKeys;
use crate::link::{Current, Link};
use crate::reply::{array, bytes};
use crate::servers::Servers;

/// How long derived writes wait for an append to ride along with.
pub(crate) const LINGER: Duration = Duration::from_millis(5);
/// Derived writes that wait on one connection.
const PENDING_MAX: usize = 65_536;
/// What they may take together.
const PENDING_BYTES_MAX: usize = 32 << 20;
/// How long what was refused waits before it is sent again.
const PAUSE: Duration = Duration::from_millis(100);
/// Derived writes that are sent at once.
const SEND_MAX: usize = 8_192;
/// Entries at a list's end among which one that may be there already is looked for.
const LOOK_BACK: usize = 1_024;
/// Keys of one MGET.
const READ_KEYS_MAX: usize = 512;

/// Derived writes that wait to be sent.
#[derive(Debug)]
pub(crate) struct Pending {
    state: Mutex<State>,
    /// Of all servers of a connection: writes that were given up.
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Write>,
    bytes: usize,
    /// Slots for which something waits that Redis refused, and why.
    refused: Vec<(u16, String)>,
    /// When the oldest came.
    since: Option<Instant>,
    timer_runs: bool,
    /// Until then nothing is sent: some of it was refused.
    not_before: Option<Instant>,
}

/// One derived write.
#[derive(Debug)]
pub(crate) struct Write {
    kind: WriteKind,
    key: Vec<u8>,
    value: Bytes,
    ttl_ms: u64,
    /// Whose.
    pub slot: u16,
    /// Its reply was lost: it may be there.
    unsure: bool,
    /// Redis refused it for now.
    refused: bool,
    /// Its slot is on its way to the server that it waits for.
    pub asking: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteKind {
    Put,
    Push,
    /// The rest of a push whose list moved to another server in between.
    Expire,
}

/// What came of sending.
pub(crate) struct Sent {
    /// The reply to the command that came last.
    pub last: Result<Value, RedisError>,
    /// Writes that met a redirect.
    pub astray: Vec<(Write, RedisError)>,
}

impl Write {
    pub fn new(keys: &PartitionKeys, derived: Derived, asking: bool) -> Self {
        let (kind, key, value, ttl) = match derived {
            Derived::Put { key, value, ttl } => (WriteKind::Put, keys.derived(&key), value, ttl),
            Derived::Push { list, value, ttl } => (WriteKind::Push, keys.list(&list), value, ttl),
        };
        // Redis refuses a time to live of 0, and of more than a signed 64-bit number can date.
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 52);
        Self { kind, key, value, ttl_ms, slot: keys.slot, unsure: false, refused: false, asking }
    }

    fn add_to(&self, pipeline: &mut Pipeline) {
        if self.asking {
            pipeline.cmd("ASKING");
        }
        match self.kind {
            WriteKind::Put => {
                pipeline.cmd("SET").arg(&self.key).arg(self.value.as_ref()).arg("PX").arg(self.ttl_ms);
                return;
            }
            WriteKind::Push => {
                pipeline.cmd("RPUSH").arg(&self.key).arg(self.value.as_ref());
                if self.asking {
                    pipeline.cmd("ASKING");
                }
            }
            WriteKind::Expire => {}
        }
        pipeline.cmd("PEXPIRE").arg(&self.key).arg(self.ttl_ms);
    }

    fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + size_of::<Self>()
    }

    /// How many commands it is.
    fn commands(&self) -> usize {
        let count = if self.kind == WriteKind::Push { 2 } else { 1 };
        if self.asking { 2 * count } else { count }
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
    pub fn new(dropped: Arc<AtomicU64>) -> Self {
        Self { state: Mutex::default(), dropped }
    }

    /// Keeps the derived writes of a block that is in the log. `true`: the caller must see that a timer runs.
    pub fn keep(&self, writes: Vec<Write>) -> bool {
        if writes.is_empty() {
            return false;
        }
        let mut state = self.state();
        state.bytes += writes.iter().map(Write::bytes).sum::<usize>();
        state.waiting.extend(writes);
        self.bound(&mut state);
        state.since.get_or_insert_with(Instant::now);
        !std::mem::replace(&mut state.timer_runs, true)
    }

    /// Gives up what waits, for another server to have it.
    pub fn leave(&self) -> VecDeque<Write> {
        let mut state = self.state();
        state.bytes = 0;
        state.refused.clear();
        let mut left = std::mem::take(&mut state.waiting);
        left.iter_mut().for_each(|write| write.asking = false);
        left
    }

    /// Drops what waits for a slot: its blocks are no longer in the log.
    pub fn forget(&self, slot: u16) {
        let mut state = self.state();
        state.waiting.retain(|write| write.slot != slot);
        state.refused.retain(|(refused, _)| *refused != slot);
        state.bytes = state.waiting.iter().map(Write::bytes).sum();
    }

    /// Sends what waits, together with a command that comes after it.
    pub async fn send(
        &self,
        link: &Link,
        current: &Current,
        last: Option<Cmd>,
        asking: bool,
    ) -> Result<Sent, StoreError> {
        let mut taken = Taken { pending: self, writes: self.take(), unsure: true };
        if taken.writes.is_empty() && last.is_none() {
            return Ok(Sent { last: Ok(Value::Nil), astray: Vec::new() });
        }
        let sent = self.send_writes(link, current, &mut taken.writes, last, asking).await;
        match &sent {
            Ok(_) => taken.writes.clear(),
            Err(error) => taken.unsure = matches!(error, StoreError::Unknown(_)),
        }
        sent
    }

    async fn send_writes(
        &self,
        link: &Link,
        current: &Current,
        writes: &mut VecDeque<Write>,
        last: Option<Cmd>,
        asking: bool,
    ) -> Result<Sent, StoreError> {
        settle(link, current, writes).await?;
        let mut pipeline = Pipeline::with_capacity(writes.len() * 2 + 2);
        for write in writes.iter() {
            write.add_to(&mut pipeline);
        }
        let with_last = last.is_some();
        if let Some(last) = last {
            if asking {
                pipeline.cmd("ASKING");
            }
            // Moved, not copied: it carries a block.
            pipeline.add_command(last);
        }
        if pipeline.is_empty() {
            return Ok(Sent { last: Ok(Value::Nil), astray: Vec::new() });
        }
        let mut replies = link.pipeline_on(current, &pipeline).await?;
        let of_last = if with_last { replies.pop() } else { None };
        let astray = if replies.iter().all(Result::is_ok) {
            self.note_refused(Vec::new());
            Vec::new()
        } else {
            self.sort_out(link, std::mem::take(writes), replies)
        };
        Ok(Sent { last: of_last.unwrap_or(Ok(Value::Nil)), astray })
    }

    /// Of writes that were refused, those that met a redirect go elsewhere, and those that may work later wait. The others
    /// are given up: the log has what they say.
    fn sort_out(
        &self,
        link: &Link,
        writes: VecDeque<Write>,
        replies: Vec<Result<Value, RedisError>>,
    ) -> Vec<(Write, RedisError)> {
        let (mut astray, mut put_off, mut gone, mut first) = (Vec::new(), VecDeque::new(), 0_u64, None);
        let mut slots = Vec::new();
        let mut replies = replies.into_iter();
        let answered: Vec<(Write, Vec<_>)> = writes
            .into_iter()
            .map(|write| {
                let of_write = replies.by_ref().take(write.commands()).collect();
                (write, of_write)
            })
            .collect();
        // Keys that were set by a later write.
        let mut set = HashSet::new();
        for (mut write, of_write) in answered.into_iter().rev() {
            let pushed = write.kind == WriteKind::Push
                && of_write.get(usize::from(write.asking)).is_some_and(Result::is_ok);
            let Some(refusal) = of_write.into_iter().find_map(Result::err) else {
                if write.kind == WriteKind::Put {
                    set.insert(write.key);
                }
                continue;
            };
            if pushed {
                write.kind = WriteKind::Expire;
            }
            if write.kind == WriteKind::Put && set.contains(&write.key) {
                continue;
            }
            if is_redirect(&refusal) {
                astray.push((write, refusal));
                continue;
            }
            match error::of_command(&refusal, &link.address) {
                StoreError::Unavailable(why) => {
                    write.refused = true;
                    slots.push((write.slot, why));
                    put_off.push_front(write);
                }
                _ => gone += 1,
            }
            first.get_or_insert(refusal);
        }
        astray.reverse();
        let count = put_off.len();
        self.put_off(put_off);
        self.note_refused(slots);
        self.dropped.fetch_add(gone, Ordering::Relaxed);
        if let Some(first) = first {
            tracing::warn!(address = %link.address, put_off = count, given_up = gone, error = %first,
                "Redis refused keys that make look-ups quick");
        }
        astray
    }

    /// Of these slots a read would miss what is there; of others no more, unless something refused waits for them still.
    fn note_refused(&self, slots: Vec<(u16, String)>) {
        let mut state = self.state();
        if slots.is_empty() && state.refused.is_empty() {
            return;
        }
        let State { refused, waiting, .. } = &mut *state;
        refused.retain(|(slot, _)| waiting.iter().any(|write| write.refused && write.slot == *slot));
        for (slot, why) in slots {
            if !refused.iter().any(|(known, _)| *known == slot) {
                refused.push((slot, why));
            }
        }
    }

    /// Whether a read of a slot finds what this connection has written, as far as Redis takes it.
    pub fn check(&self, slot: u16) -> Result<(), StoreError> {
        let state = self.state();
        let refused = state.refused.iter().find(|(of, _)| *of == slot);
        refused.map_or(Ok(()), |(_, why)| Err(StoreError::Unavailable(why.clone())))
    }

    /// What was refused goes before what came later, and is sent again after a pause.
    fn put_off(&self, mut writes: VecDeque<Write>) {
        if writes.is_empty() {
            return;
        }
        let mut state = self.state();
        state.bytes += writes.iter().map(Write::bytes).sum::<usize>();
        writes.append(&mut state.waiting);
        state.waiting = writes;
        self.bound(&mut state);
        let again = Instant::now() + PAUSE;
        (state.since, state.not_before) = (Some(again), Some(again));
    }

    /// Gives up the oldest above the bounds.
    fn bound(&self, state: &mut State) {
        while (state.waiting.len() > PENDING_MAX || state.bytes > PENDING_BYTES_MAX)
            && let Some(oldest) = state.waiting.pop_front()
        {
            state.bytes -= oldest.bytes();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what waits has waited for [`LINGER`]; whether it waits still. `None`: nothing is left, and the next
    /// [`Pending::keep`] asks for a new timer.
    pub async fn rest(&self) -> Option<bool> {
        let since = {
            let mut state = self.state();
            state.timer_runs = state.since.is_some();
            state.since
        };
        tokio::time::sleep_until(since? + LINGER).await;
        Some(self.state().since.is_some_and(|since| since + LINGER <= Instant::now()))
    }

    fn take(&self) -> VecDeque<Write> {
        let mut state = self.state();
        if state.not_before.is_some_and(|not_before| Instant::now() < not_before) {
            return VecDeque::new();
        }
        state.not_before = None;
        let count = state.waiting.len().min(SEND_MAX);
        let rest = state.waiting.split_off(count);
        state.since = if rest.is_empty() { None } else { state.since };
        let taken = std::mem::replace(&mut state.waiting, rest);
        state.bytes -= taken.iter().map(Write::bytes).sum::<usize>();
        taken
    }

    fn give_back(&self, mut writes: VecDeque<Write>, unsure: bool) {
        if writes.is_empty() {
            return;
        }
        for write in &mut writes {
            write.unsure |= unsure;
        }
        let mut state = self.state();
        state.bytes += writes.iter().map(Write::bytes).sum::<usize>();
        writes.append(&mut state.waiting);
        state.waiting = writes;
        self.bound(&mut state);
        state.since = Some(Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out the pushes whose reply was lost and that are there.
async fn settle(link: &Link, current: &Current, writes: &mut VecDeque<Write>) -> Result<(), StoreError> {
    let doubtful = |write: &Write| write.unsure && write.kind == WriteKind::Push;
    if !writes.iter().any(doubtful) {
        return Ok(());
    }
    let mut pipeline = Pipeline::new();
    for write in writes.iter().filter(|write| doubtful(write)) {
        if write.asking {
            pipeline.cmd("ASKING");
        }
        let look = pipeline.cmd("LPOS").arg(&write.key).arg(write.value.as_ref());
        look.arg("RANK").arg(-1).arg("MAXLEN").arg(LOOK_BACK);
    }
    let mut replies = link.pipeline_on(current, &pipeline).await?.into_iter();
    writes.retain_mut(|write| {
        if !doubtful(write) {
            write.unsure = false;
            return true;
        }
        let reply = if write.asking { replies.nth(1) } else { replies.next() };
        // Where the list has moved to, it is looked for again: the push meets the same redirect.
        write.unsure = matches!(&reply, Some(Err(refusal)) if is_redirect(refusal));
        !matches!(reply, Some(Ok(Value::Int(_))))
    });
    Ok(())
}

pub(crate) fn is_redirect(refusal: &RedisError) -> bool {
    matches!(refusal.code(), Some("MOVED" | "ASK"))
}

/// Reads derived keys.
pub(crate) async fn get(
    servers: &Servers,
    keys: &PartitionKeys,
    wanted: &[Bytes],
) -> Result<Vec<Option<Bytes>>, StoreError> {
    let mut found = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(READ_KEYS_MAX) {
        let mut get = redis::cmd("MGET");
        for key in some {
            get.arg(keys.derived(key));
        }
        match servers.try_command(keys.slot, &get).await? {
            Ok(values) => found.extend(array("MGET", values)?.into_iter().map(bytes)),
            // The slot is on its way, and its keys are on both sides: one by one they are found.
            Err(refusal) if refusal.error.code() == Some("TRYAGAIN") => {
                for key in some {
                    let mut get = redis::cmd("GET");
                    get.arg(keys.derived(key));
                    found.push(bytes(servers.command(keys.slot, &get).await?));
                }
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(found)
}

/// Reads a part of a derived list.
pub(crate) async fn list(
    servers: &Servers,
    keys: &PartitionKeys,
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
    range.arg(keys.list(list)).arg(skip.min(i64::MAX as usize)).arg(last);
    let entries = servers.command(keys.slot, &range).await?;
    Ok(array("LRANGE", entries)?.into_iter().filter_map(bytes).collect())
}
