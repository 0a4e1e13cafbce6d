//! From a bounded queue to one sink, in batches, with retries.
//!
//! Invariants: what waits and what is on its way are within the bounds together; one batch is on its way at a time, and is
//! tried again before the next one is, so a sink sees the order of the queue; a sink may see a batch twice (its answer was
//! lost), never a part of the queue left out without being counted. Nobody waits for room: what does not fit is dropped.
//! What a sink calls wrong as a whole comes again in halves, so that one wrong item costs itself alone. What may fail: the sink,
//! with [`SinkError`]; a sink that hangs is given up after [`PumpOptions::send_timeout`]; one that panics takes its queue with it.
//!
//! Rooms: `queue`, `said` (what the log says of a sink).

mod queue;
mod said;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use telemetry::{DropReason, ExportMetrics, Signal};
use tokio::time::{Instant, sleep_until, timeout};

pub use queue::Feed;
use queue::Shared;
use said::Said;

use crate::retry::Pauses;
use crate::{Retry, Stop, Weigh};

/// How often a sink without work is looked after, and what is dropped is looked at.
const IDLE_EVERY: Duration = Duration::from_secs(1);
/// During a stop nobody waits longer than this for a sink to come back,
const STOPPING_PAUSE_MAX: Duration = Duration::from_secs(1);
/// nor shorter than this.
const STOPPING_PAUSE_MIN: Duration = Duration::from_millis(20);
/// So many refusals of a batch and its parts are looked into: enough to find two or three wrong ones among thousands.
const HALVED_MAX: u32 = 64;

/// Bounds and pace of a pump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PumpOptions {
    /// What waits and is on its way, by number.
    pub queue_items: usize,
    /// The same by [`Weigh::bytes`].
    pub queue_bytes: usize,
    /// A batch has no more.
    pub batch_items: usize,
    /// A batch weighs no more; what weighs more by itself is dropped.
    pub batch_bytes: usize,
    /// A batch that is not full is sent when its oldest has waited so long.
    pub batch_age: Duration,
    /// How long one attempt may take.
    pub send_timeout: Duration,
    /// When it is tried again.
    pub retry: Retry,
    /// Whether an item makes the older ones worthless: then the newest waits alone, and one that has failed is not tried again
    /// once there is a newer one.
    pub latest: bool,
}

impl Default for PumpOptions {
    fn default() -> Self {
        Self {
            queue_items: 1 << 18,
            queue_bytes: 64 << 20,
            batch_items: 5_000,
            batch_bytes: 2 << 20,
            batch_age: Duration::from_secs(1),
            send_timeout: Duration::from_secs(10),
            retry: Retry::default(),
            latest: false,
        }
    }
}

/// What is sent at once: at least one item.
#[derive(Debug)]
pub struct Batch<T> {
    /// In the order of the queue.
    pub items: Vec<T>,
    /// By [`Weigh::bytes`].
    pub bytes: usize,
    /// The same of all parts of a batch, and of no other batch of the process.
    pub number: u64,
    oldest: Instant,
}

/// Of the next batch.
static NUMBER: AtomicU64 = AtomicU64::new(0);

impl<T: Weigh> Batch<T> {
    /// Of items that are sent without a queue.
    #[must_use]
    pub fn of(items: Vec<T>) -> Self {
        Self { bytes: items.iter().map(Weigh::bytes).sum(), items, ..Self::empty(Instant::now()) }
    }

    fn empty(oldest: Instant) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { items: Vec::new(), bytes: 0, number, oldest }
    }

    /// Items and records, as metrics have them.
    fn counts(&self) -> (u64, u64) {
        (self.items.iter().map(Weigh::items).sum(), self.items.iter().map(Weigh::records).sum())
    }

    fn halves(mut self) -> (Self, Self) {
        let later = self.items.split_off(self.items.len() / 2);
        let bytes = later.iter().map(Weigh::bytes).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        let (number, oldest) = (self.number, self.oldest);
        (self, Self { items: later, bytes, number, oldest })
    }
}

/// What a sink has done with a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// So many bytes were sent: encoded, and compressed where they are.
    pub bytes: u64,
    /// So many records the peer says that it did not take, and never will.
    pub rejected: u64,
}

impl From<u64> for Sent {
    fn from(bytes: u64) -> Self {
        Self { bytes, rejected: 0 }
    }
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.rejected += other.rejected;
    }
}

/// Why a batch was not taken. Messages hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// It may be taken later, or was taken and nobody knows.
    #[error("{why}")]
    Unavailable {
        /// What happened, where, and what to do.
        why: String,
        /// When to come again, where the sink has said so.
        after: Option<Duration>,
    },
    /// This batch is never taken.
    #[error("{why}")]
    Refused {
        /// What is wrong with it.
        why: String,
    },
    /// This batch is never taken as it is; it may be for one of its items, or because there are too many.
    #[error("{why}")]
    RefusedWhole {
        /// What is wrong with it.
        why: String,
    },
}

impl SinkError {
    /// To be tried again.
    #[must_use]
    pub fn unavailable(why: impl std::fmt::Display) -> Self {
        Self::Unavailable { why: why.to_string(), after: None }
    }

    /// Not to be tried again.
    #[must_use]
    pub fn refused(why: impl std::fmt::Display) -> Self {
        Self::Refused { why: why.to_string() }
    }
}

/// Where batches go.
pub trait Sink<T> {
    /// Takes a batch. The future may be dropped before its end, when it takes too long; then the batch comes again.
    fn send(&mut self, batch: &Batch<T>) -> impl Future<Output = Result<Sent, SinkError>>;

    /// Called about once a second while there is nothing to send.
    fn idle(&mut self) -> impl Future<Output = Result<(), SinkError>> {
        std::future::ready(Ok(()))
    }

    /// The last call.
    fn close(&mut self) -> impl Future<Output = Result<(), SinkError>> {
        std::future::ready(Ok(()))
    }
}

/// The queue's other end, with the sink.
#[derive(Debug)]
pub struct Pump<T: Weigh, S> {
    shared: Arc<Shared<T>>,
    sink: S,
    pauses: Pauses,
    stop: Stop,
    said: Said,
    ended: bool,
}

/// A queue before a sink, which is called by what it takes and by its name in logs. The pump has to be run.
pub fn pump<T: Weigh, S: Sink<T>>(
    name: (Signal, &'static str),
    options: PumpOptions,
    metrics: Arc<ExportMetrics>,
    sink: S,
    stop: Stop,
) -> (Feed<T>, Pump<T, S>) {
    let said = Said::new(name, options.retry.age, Arc::clone(&metrics));
    let shared = Arc::new(Shared::new(options, metrics));
    let pauses = Pauses::new(options.retry);
    (Feed(Arc::clone(&shared)), Pump { shared, sink, pauses, stop, said, ended: false })
}

impl<T: Weigh, S> Drop for Pump<T, S> {
    /// A sink that panics takes the pump with it, and nobody else takes what waits.
    fn drop(&mut self) {
        if !self.ended {
            let records = self.shared.abandon();
            self.said.gone(records);
        }
    }
}

/// What there is to do next.
enum Next<T> {
    Send(Batch<T>),
    Idle,
    Close,
}

fn late() -> SinkError {
    SinkError::unavailable(
        "the sink did not answer in time; one that speaks another protocol, or TLS where it should not, looks like this too",
    )
}

/// What a sink does, if it takes no longer than this and ends before a stop's deadline.
async fn within<F, D>(stop: &mut Stop, limit: Duration, work: F) -> Result<D, SinkError>
where
    F: Future<Output = Result<D, SinkError>>,
{
    let stopped = async {
        let deadline = stop.asked().await;
        sleep_until(deadline).await;
    };
    tokio::select! {
        done = timeout(limit, work) => done.unwrap_or_else(|_| Err(late())),
        () = stopped => Err(late()),
    }
}

/// What has become of a batch that was tried until there was no sense in it.
enum Tried {
    Taken,
    /// A part of it may be taken.
    RefusedWhole,
    GivenUp(DropReason),
}

impl<T: Weigh, S: Sink<T>> Pump<T, S> {
    /// Until it is stopped and everything is sent, or its deadline has passed.
    pub async fn run(mut self) {
        loop {
            match self.next().await {
                Next::Send(batch) => self.deliver(batch).await,
                Next::Idle => {
                    let limit = self.shared.options.send_timeout;
                    if let Err(error) = within(&mut self.stop, limit, self.sink.idle()).await {
                        self.said.failed(&error);
                    }
                }
                Next::Close => break,
            }
        }
        self.drop_rest();
        let left = self.stop.deadline().map_or(Duration::ZERO, |deadline| deadline - Instant::now());
        // Whoever has nothing to wait for ends at once, whatever the time.
        if let Err(error) = timeout(left, self.sink.close()).await.unwrap_or_else(|_| Err(late())) {
            self.said.failed(&error);
        }
        self.said.closed();
        self.ended = true;
    }

    async fn next(&mut self) -> Next<T> {
        let idle_at = Instant::now() + IDLE_EVERY;
        loop {
            let deadline = self.stop.deadline();
            self.said.look(deadline.is_some());
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Next::Close;
            }
            let Shared { options, changed, metrics, .. } = &*self.shared;
            let due = {
                let mut queue = self.shared.queue();
                let oldest = queue.waiting.front().map(|oldest| oldest.since);
                let lag = oldest.map_or(Duration::ZERO, |since| since.elapsed());
                metrics.lag_ms.set(millis(lag));
                let due = oldest.map(|since| since + options.batch_age);
                let is_due = due.is_some_and(|due| due <= Instant::now());
                if (queue.holds_batch(options) || is_due || deadline.is_some())
                    && let Some(batch) = queue.take(options)
                {
                    return Next::Send(batch);
                }
                due
            };
            if deadline.is_some() {
                return Next::Close;
            }
            if idle_at <= Instant::now() {
                return Next::Idle;
            }
            tokio::select! {
                () = changed.notified() => {}
                () = sleep_until(due.unwrap_or(idle_at).min(idle_at)) => {}
                _ = self.stop.asked() => {}
            }
        }
    }

    /// Sends it, whole or in parts, in its order; what is not taken is counted.
    async fn deliver(&mut self, batch: Batch<T>) {
        let (mut parts, mut refusals) = (vec![batch], 0);
        while let Some(part) = parts.pop() {
            match self.tried(&part).await {
                Tried::RefusedWhole if part.items.len() > 1 && refusals < HALVED_MAX => {
                    refusals += 1;
                    let (first, later) = part.halves();
                    parts.extend([later, first]);
                    continue;
                }
                Tried::Taken => {}
                Tried::RefusedWhole => self.give_up(&part, DropReason::Refused),
                Tried::GivenUp(reason) => self.give_up(&part, reason),
            }
            self.shared.done(&part);
        }
    }

    /// Sends it, again and again, until it is taken or given up.
    async fn tried(&mut self, batch: &Batch<T>) -> Tried {
        let mut failed = 0_u32;
        loop {
            let Err(error) = self.attempt(batch).await else { return Tried::Taken };
            failed = failed.saturating_add(1);
            let after = match error {
                SinkError::Unavailable { after, .. } => after,
                SinkError::Refused { .. } => return Tried::GivenUp(DropReason::Refused),
                SinkError::RefusedWhole { .. } => return Tried::RefusedWhole,
            };
            let stopping = self.stop.deadline();
            let Some(pause) = self.pause(failed, after, stopping) else {
                return Tried::GivenUp(DropReason::Closing);
            };
            let again_at = Instant::now() + pause;
            let retry = self.shared.options.retry;
            if failed >= retry.attempts || again_at.duration_since(batch.oldest) > retry.age {
                return Tried::GivenUp(DropReason::GaveUp);
            }
            self.wait(again_at, stopping.is_some()).await;
            if self.shared.options.latest && !self.shared.queue().waiting.is_empty() {
                return Tried::GivenUp(DropReason::GaveUp);
            }
            self.shared.metrics.retries.add(1);
        }
    }

    /// How long to wait after so many failures; `None`: the stop leaves no time.
    fn pause(&mut self, failed: u32, asked: Option<Duration>, stopping: Option<Instant>) -> Option<Duration> {
        let pause = self.pauses.next(failed, asked);
        let Some(deadline) = stopping else { return Some(pause) };
        // Half of the time that is left, so that the last attempt is close to its end.
        let left = (deadline - Instant::now()) / 2;
        (left >= STOPPING_PAUSE_MIN).then(|| pause.min(STOPPING_PAUSE_MAX).min(left))
    }

    /// Until it is tried again, or at once when a stop is asked for: there may be no time for the pause any more.
    async fn wait(&mut self, until: Instant, stopping: bool) {
        while Instant::now() < until {
            tokio::select! {
                () = sleep_until(until.min(Instant::now() + IDLE_EVERY)) => {}
                _ = self.stop.asked(), if !stopping => return,
            }
            self.said.look(stopping);
        }
    }

    /// One attempt, and what is to be counted of it.
    async fn attempt(&mut self, batch: &Batch<T>) -> Result<(), SinkError> {
        let metrics = Arc::clone(&self.shared.metrics);
        let begin = Instant::now();
        let limit = self.shared.options.send_timeout;
        let sent = within(&mut self.stop, limit, self.sink.send(batch)).await;
        metrics.latency.observe(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
        match sent {
            Ok(Sent { bytes, rejected }) => {
                let (items, records) = batch.counts();
                let rejected = rejected.min(records);
                metrics.items.add(items);
                metrics.records.add(records - rejected);
                metrics.drop_items(DropReason::Refused, 0, rejected);
                metrics.bytes.add(bytes);
                self.said.works();
                Ok(())
            }
            Err(error) => {
                metrics.failures.add(1);
                metrics.lag_ms.set(millis(batch.oldest.elapsed()));
                self.said.failed(&error);
                Err(error)
            }
        }
    }

    fn give_up(&self, batch: &Batch<T>, reason: DropReason) {
        let (items, records) = batch.counts();
        self.shared.metrics.drop_items(reason, items, records);
    }

    /// What the deadline left in the queue.
    fn drop_rest(&self) {
        let whole = PumpOptions { batch_items: usize::MAX, batch_bytes: usize::MAX, ..self.shared.options };
        let rest = self.shared.queue().take(&whole);
        if let Some(rest) = rest {
            self.give_up(&rest, DropReason::Closing);
            self.shared.done(&rest);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
