//! One connection that comes back.
//!
//! Invariants: one attempt to connect at a time, and those who waited for it share its outcome; failed
//! attempts are paced by a growing, jittered pause of at most [`PAUSE_MAX`], so that callers may retry in a
//! loop, and so are connections that were given up soon after they were made: a server that accepts them and refuses
//! all else is not connected to over and over. A connection on which a reply was lost is given up, because nobody knows
//! what it still holds. What may fail: as [`crate::error`] tells; an attempt to connect is [`StoreError::Unavailable`].

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use journal::StoreError;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ConnectionInfo, Pipeline, RedisError, Value};
use tokio::time::Instant;

use crate::access::Access;
use crate::error;
use crate::options::address;

const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Link {
    access: Arc<Access>,
    info: ConnectionInfo,
    /// For messages.
    pub address: String,
    current: Mutex<Held>,
    connecting: tokio::sync::Mutex<Attempts>,
    /// Attempts that have ended.
    ended: AtomicU64,
}

/// One of the connections of a link.
#[derive(Clone)]
pub(crate) struct Current {
    connection: MultiplexedConnection,
    /// Which of all connections of this process; from 1.
    pub number: u64,
}

/// The connection, and how long those before it have lasted.
#[derive(Default)]
struct Held {
    current: Option<Current>,
    since: Option<Instant>,
    /// Connections in a row that were given up within [`PAUSE_MAX`].
    short: u32,
    not_before: Option<Instant>,
}

/// The number of the last connection of this process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Attempts {
    failures: u32,
    not_before: Option<Instant>,
    last: Option<StoreError>,
}

impl Link {
    pub fn new(access: Arc<Access>, info: ConnectionInfo) -> Self {
        Self {
            address: address(&info),
            access,
            info,
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            ended: AtomicU64::new(0),
        }
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.held().current.is_some()
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self.try_command(&redis::cmd("PING")).await? {
            Ok(_) => Ok(()),
            // A user without the right to PING is answered all the same.
            Err(error) if error.code() == Some("NOPERM") => Ok(()),
            Err(error) => Err(error::of_command(&error, &self.address)),
        }
    }

    /// Sends a command; the inner result is Redis's reply.
    pub async fn try_command(&self, command: &Cmd) -> Result<Result<Value, RedisError>, StoreError> {
        self.try_command_on(&self.connection().await?, command).await
    }

    /// As [`Link::try_command`], on this connection and no other.
    pub async fn try_command_on(
        &self,
        current: &Current,
        command: &Cmd,
    ) -> Result<Result<Value, RedisError>, StoreError> {
        let mut connection = current.connection.clone();
        let answer = connection.send_packed_command(command).await.and_then(Value::extract_error);
        self.judge(current, answer)
    }

    /// Sends commands together; one reply each, in order.
    pub async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Result<Value, RedisError>>, StoreError> {
        self.pipeline_on(&self.connection().await?, pipeline).await
    }

    /// As [`Link::pipeline`], on this connection and no other.
    pub async fn pipeline_on(
        &self,
        current: &Current,
        pipeline: &Pipeline,
    ) -> Result<Vec<Result<Value, RedisError>>, StoreError> {
        let mut connection = current.connection.clone();
        let answer = connection.send_packed_commands(pipeline, 0, pipeline.len()).await;
        let values =
            self.judge(current, answer)?.map_err(|error| error::of_command(&error, &self.address))?;
        let replies: Vec<Result<Value, RedisError>> = values.into_iter().map(Value::extract_error).collect();
        if replies.iter().any(|reply| reply.as_ref().is_err_and(leads_elsewhere)) {
            self.give_up(current.number);
        }
        Ok(replies)
    }

    /// Tells Redis's refusals from lost replies, and gives the connection up after the latter.
    fn judge<T>(
        &self,
        used: &Current,
        answer: Result<T, RedisError>,
    ) -> Result<Result<T, RedisError>, StoreError> {
        let Err(error) = answer else { return Ok(answer) };
        let replied = error.code().is_some();
        if !replied || leads_elsewhere(&error) {
            self.give_up(used.number);
        }
        if replied { Ok(Err(error)) } else { Err(error::of_command(&error, &self.address)) }
    }

    fn give_up(&self, number: u64) {
        let mut held = self.held();
        if held.current.as_ref().is_some_and(|current| current.number == number) {
            held.current = None;
            let lasted = held.since.map_or(Duration::ZERO, |since| since.elapsed());
            held.short = if lasted < PAUSE_MAX { held.short.saturating_add(1) } else { 0 };
            held.not_before = (held.short > 0).then(|| Instant::now() + pause(held.short));
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that is there, or a new one.
    pub async fn connection(&self) -> Result<Current, StoreError> {
        if let Some(current) = self.held().current.clone() {
            return Ok(current);
        }
        let ended_before = self.ended.load(Ordering::Acquire);
        let mut attempts = self.connecting.lock().await;
        let not_before = {
            let held = self.held();
            if let Some(current) = held.current.clone() {
                return Ok(current);
            }
            held.not_before
        };
        if let (Some(last), true) = (&attempts.last, self.ended.load(Ordering::Acquire) > ended_before) {
            return Err(last.clone());
        }
        if let Some(not_before) = attempts.not_before.max(not_before) {
            tokio::time::sleep_until(not_before).await;
        }
        let result = self.open(&mut attempts).await;
        self.ended.fetch_add(1, Ordering::AcqRel);
        result
    }

    async fn open(&self, attempts: &mut Attempts) -> Result<Current, StoreError> {
        match self.greet().await {
            Ok(connection) => {
                if attempts.failures > 0 {
                    tracing::info!(address = %self.address, "connected to Redis again");
                }
                let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1;
                *attempts = Attempts::default();
                self.access.worked.store(true, Ordering::Relaxed);
                let current = Current { connection, number };
                let mut held = self.held();
                (held.current, held.since) = (Some(current.clone()), Some(Instant::now()));
                Ok(current)
            }
            Err(error) => {
                // At the start a refusal is told as one. Later it is mended beside the node, which waits for that.
                let error = match error {
                    StoreError::Refused(why) if self.access.worked.load(Ordering::Relaxed) => {
                        StoreError::Unavailable(why)
                    }
                    other => other,
                };
                if attempts.failures == 0 {
                    tracing::warn!(address = %self.address, %error, "no connection to Redis, trying on");
                }
                attempts.failures = attempts.failures.saturating_add(1);
                attempts.not_before = Some(Instant::now() + pause(attempts.failures));
                attempts.last = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Connects, and sees that Redis answers: a Redis that still loads accepts connections too.
    async fn greet(&self) -> Result<MultiplexedConnection, StoreError> {
        let failed = |error: RedisError| error::of_connecting(&error, &self.address);
        let client = self.access.client(&self.info).await?;
        let config = &self.access.config;
        let mut connection =
            client.get_multiplexed_async_connection_with_config(config).await.map_err(failed)?;
        let pong = connection.send_packed_command(&redis::cmd("PING")).await.and_then(Value::extract_error);
        match pong {
            Ok(_) => Ok(connection),
            // A user without the right to PING is a user all the same.
            Err(error) if error.code() == Some("NOPERM") => Ok(connection),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Whether the server will go on to refuse on this connection, while the name, or the map of the cluster, may lead to
/// another one by now. Another connection also means that what was confirmed is looked for.
fn leads_elsewhere(refusal: &RedisError) -> bool {
    matches!(refusal.code(), Some("READONLY" | "CLUSTERDOWN" | "MASTERDOWN" | "LOADING"))
}

/// The pause after a number of failures in a row: doubled each time, bounded, and scattered over its upper
/// half.
fn pause(failures: u32) -> Duration {
    let doubled = PAUSE_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10));
    let whole = doubled.min(PAUSE_MAX);
    // A fresh `RandomState` is the standard library's source of randomness.
    let scatter = RandomState::new().hash_one(failures) % 512;
    whole / 2 + whole.mul_f64(scatter_ratio(scatter))
}

fn scatter_ratio(scatter: u64) -> f64 {
    f64::from(u32::try_from(scatter).unwrap_or(0)) / 1024.0
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_below_their_bound() {
        for failures in 1..100 {
            let pause = pause(failures);
            assert!(pause <= PAUSE_MAX, "{failures}: {pause:?}");
            assert!(pause >= PAUSE_FIRST / 2, "{failures}: {pause:?}");
        }
        assert!(pause(20) >= PAUSE_MAX / 2);
    }
}
