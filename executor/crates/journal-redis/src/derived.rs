//! What travels beside the blocks: keys and lists that make look-ups quick.
//!
//! Invariants: derived writes are sent only after their block is known to be in the log, and forgotten when the log
//! says that it has another owner. Who has not heard of that yet may still send what waited through a lost connection,
//! beside what its successor wrote: it was true of the log when it was made. They ride along with the next append, in
//! the same write to the socket, and so cost no flush of Redis's own log; if no append follows, a timer sends
//! them after [`LINGER`]. A read sends what waits of its slot first, and waits for what is under way; where that is refused,
//! it fails, for it would deny what is there. What Redis refuses for a while (out of memory, loading) is sent again after
//! [`PAUSE`]; where too much waits, appends send it, or fail ([`crate::queue`]). What Redis never takes is given up and
//! counted. A crash loses those that wait; recovery writes again what stood beside the last blocks.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use journal::{BlockId, StoreError};
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::Instant;

use crate::error;
use crate::keys::PartitionKeys;
use crate::link::Current;
use crate::queue::Rest;
use crate::reply::{array, bytes};
use crate::servers::{Server, Servers};
use crate::write::{self, Write};

/// How long derived writes wait for an append to ride along with.
const LINGER: Duration = Duration::from_millis(5);
/// How long a server that refused some is sent no others.
const PAUSE: Duration = Duration::from_millis(100);
/// How often one reader sends, for what waits to be written: each time a part of it is, or a redirect is followed.
const ROUNDS_MAX: u32 = 32;
/// Keys of one MGET.
const READ_KEYS_MAX: usize = 512;

/// Writes that are being sent. A reader who no longer wants its answer drops the sending half-way, and the connection
/// then sends nothing of it: what is not known to be written goes back.
struct Taken<'a> {
    servers: &'a Servers,
    sender: u64,
    writes: VecDeque<Write>,
    /// They were sent.
    unsure: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut writes = std::mem::take(&mut self.writes);
        for write in &mut writes {
            write.unsure |= self.unsure;
            write.led = None;
        }
        let some = !writes.is_empty();
        self.servers.queue.put_back(writes);
        self.servers.queue.end(self.sender);
        if some {
            self.servers.see_to_timers();
        }
    }
}

impl Servers {
    /// Keeps derived writes until an append takes them along, or their time is over.
    pub fn keep(&self, slot: u16, writes: Vec<Write>) {
        let server = self.master(slot);
        if self.queue.keep(writes, server.as_ref().map(|server| &server.lingers))
            && let Some(server) = server
        {
            tokio::spawn(linger(Weak::clone(&self.me), Arc::downgrade(&server)));
        }
    }

    /// Sends what waits for a server, together with a command that comes after it; the reply to that. With `only`, what
    /// waits of this slot, even if the server has refused some a moment ago.
    pub async fn send(
        &self,
        server: &Arc<Server>,
        current: &Current,
        (last, asking): (Option<Cmd>, bool),
        only: Option<u16>,
    ) -> Result<Result<Value, RedisError>, StoreError> {
        let mut taken = self.take(server, only);
        let untold = write::look_for(&server.link, current, &mut taken.writes).await?;
        self.sort_out(server, untold);
        let mut pipeline = Pipeline::with_capacity(taken.writes.len() * 2 + 2);
        taken.writes.iter().for_each(|write| write.add_to(&mut pipeline));
        let with_last = last.is_some();
        if let Some(last) = last {
            if asking {
                pipeline.cmd("ASKING");
            }
            // Moved, not copied: it carries a block.
            pipeline.add_command(last);
        }
        if pipeline.is_empty() {
            return Ok(Ok(Value::Nil));
        }
        taken.unsure = true;
        let mut replies = match server.link.pipeline_on(current, &pipeline).await {
            Ok(replies) => replies,
            Err(error) => {
                taken.unsure = matches!(error, StoreError::Unknown(_));
                return Err(error);
            }
        };
        let of_last = if with_last { replies.pop() } else { None };
        self.sort_out(server, write::refused(std::mem::take(&mut taken.writes), replies));
        Ok(of_last.unwrap_or(Ok(Value::Nil)))
    }

    fn take(&self, server: &Arc<Server>, only: Option<u16>) -> Taken<'_> {
        let goes = self.for_server(server);
        let rests = only.is_none() && server.is_paused();
        let goes = |write: &Write| !rests && only.is_none_or(|slot| write.slot == slot) && goes(write);
        let (sender, writes) = if rests { (0, VecDeque::new()) } else { self.queue.take(goes) };
        Taken { servers: self, sender, writes, unsure: false }
    }

    /// Of writes that were refused, those that met a redirect are led there, and those that may work later wait. The others
    /// are given up: the log has what they say.
    fn sort_out(&self, server: &Arc<Server>, refused: Vec<(Write, RedisError)>) {
        if refused.is_empty() {
            return;
        }
        let (mut back, mut put_off, mut gone, mut first) = (Vec::new(), 0_u64, 0_u64, None);
        for (mut write, refusal) in refused {
            if is_redirect(&refusal) && self.is_cluster() {
                (write.led, write.refused) = (self.led(server, &refusal), None);
                back.push(write);
                continue;
            }
            write.led = None;
            match error::of_command(&refusal, &server.link.address) {
                StoreError::Unavailable(why) => {
                    write.refused = Some(why.into());
                    put_off += 1;
                    back.push(write);
                }
                _ => gone += 1,
            }
            first.get_or_insert(refusal);
        }
        if put_off > 0 {
            server.pause(PAUSE);
        }
        self.queue.put_back(back);
        self.queue.dropped.fetch_add(gone, Ordering::Relaxed);
        if let Some(first) = first {
            tracing::warn!(address = %server.link.address, put_off, given_up = gone, error = %first,
                "Redis refused keys that make look-ups quick");
        }
        self.see_to_timers();
    }

    /// Sends the derived writes of a slot that still wait, so that a read finds what this connection has written.
    pub async fn settle(&self, slot: u16) -> Result<(), StoreError> {
        self.write_out(slot, false).await
    }

    /// Sees that a block may follow: whatever waits and must not wait any longer is sent.
    pub async fn make_way(&self, slot: u16, id: BlockId) -> Result<(), StoreError> {
        while let Some(slot) = self.queue.obstacle(slot, id) {
            self.write_out(slot, true).await?;
        }
        Ok(())
    }

    /// Writes what waits of a slot. `urgently`: also if it was refused a moment ago.
    async fn write_out(&self, slot: u16, urgently: bool) -> Result<(), StoreError> {
        let upto = self.queue.kept();
        let mut rounds = 0;
        while rounds < ROUNDS_MAX {
            let mut ended = pin!(self.queue.ended.notified());
            ended.as_mut().enable();
            let (led, refused) = match self.queue.rest(slot, upto) {
                Rest::Nothing => return Ok(()),
                // For as long as Redis may take to answer.
                Rest::UnderWay => {
                    ended.await;
                    continue;
                }
                Rest::Waits { led, refused } => (led, refused),
            };
            let server = match led {
                Some(led) => led.to,
                None => self.route(slot).await?.server,
            };
            if let Some(why) = refused
                && (rounds > 0 || server.is_paused() && !urgently)
            {
                return Err(StoreError::Unavailable(why.to_string()));
            }
            self.flush(&server, Some(slot)).await?;
            rounds += 1;
        }
        let message = format!("keys that make look-ups quick find no server that takes them: slot {slot}");
        Err(StoreError::Unavailable(message))
    }

    /// Sends what waits for a server, or of it what is of one slot.
    async fn flush(&self, server: &Arc<Server>, only: Option<u16>) -> Result<(), StoreError> {
        let current = match server.link.connection().await {
            Ok(current) => current,
            Err(error) => {
                self.queue.lead_back(|led| Arc::ptr_eq(&led.to, server));
                self.see_to_timers();
                return Err(error);
            }
        };
        self.send(server, &current, (None, false), only).await.map(drop)
    }

    /// Sees that whatever waits has a timer.
    pub fn see_to_timers(&self) {
        // What is dropped outside of a runtime waits for an append, or a read.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut servers: Vec<Arc<Server>> = Vec::new();
        self.queue.each_slot(|write| {
            let server =
                write.led.as_ref().map(|led| Arc::clone(&led.to)).or_else(|| self.master(write.slot));
            let new = server.filter(|server| !server.lingers.swap(true, Ordering::Relaxed));
            servers.extend(new);
        });
        for server in servers {
            runtime.spawn(linger(Weak::clone(&self.me), Arc::downgrade(&server)));
        }
    }
}

/// Sends derived writes that no append took along, as long as there are any for a server and the connection is in use.
async fn linger(servers: Weak<Servers>, server: Weak<Server>) {
    loop {
        let (upto, until) = {
            let (Some(servers), Some(server)) = (servers.upgrade(), server.upgrade()) else { return };
            let Some(upto) = servers.queue.timer(&server.lingers, servers.for_server(&server)) else {
                return;
            };
            (upto, server.paused_until().max(Some(Instant::now() + LINGER)))
        };
        tokio::time::sleep_until(until.unwrap_or_else(Instant::now)).await;
        let (Some(servers), Some(server)) = (servers.upgrade(), server.upgrade()) else { return };
        if servers.queue.waits(upto, servers.for_server(&server))
            && let Err(error) = servers.flush(&server, None).await
        {
            let address = &server.link.address;
            tracing::debug!(%address, %error, "keys that make look-ups quick wait on");
        }
    }
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
