//! From a bounded queue to one sink, in batches, with retries.
//!
//! Invariants: what waits and what is on its way are within the bounds together; one batch is on its way at a time, and is
//! tried again before the next one is, so a sink sees the order of the queue; a sink may see a batch twice (its answer was
//! lost), never a part of the queue left out without being counted. Nobody waits for room: what does not fit is dropped.
//! What may fail: the sink, with [`SinkError`]; a sink that hangs is given up after [`PumpOptions::send_timeout`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telemetry::{DropReason, ExportMetrics};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::retry::Pauses;
use crate::{Retry, Stop, Weigh};

/// How often a sink without work is looked after.
const IDLE_EVERY: Duration = Duration::from_secs(1);

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
    oldest: Instant,
}

impl<T: Weigh> Batch<T> {
    /// Of items that are sent without a queue.
    #[must_use]
    pub fn of(items: Vec<T>) -> Self {
        Self { bytes: items.iter().map(Weigh::bytes).sum(), items, oldest: Instant::now() }
    }

    /// Items and records, as metrics have them.
    fn counts(&self) -> (u64, u64) {
        (self.items.iter().map(Weigh::items).sum(), self.items.iter().map(Weigh::records).sum())
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
    /// Takes a batch, and says how many bytes it has sent: encoded, and compressed where they are. The future may be dropped before its end, when it takes too long; then the batch comes again.
    fn send(&mut self, batch: &Batch<T>) -> impl Future<Output = Result<u64, SinkError>>;

    /// Called about once a second while there is nothing to send.
    fn idle(&mut self) -> impl Future<Output = Result<(), SinkError>> {
        std::future::ready(Ok(()))
    }

    /// The last call.
    fn close(&mut self) -> impl Future<Output = Result<(), SinkError>> {
        std::future::ready(Ok(()))
    }
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    bytes: usize,
    since: Instant,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    waiting_bytes: usize,
    /// On their way to the sink.
    away: usize,
    away_bytes: usize,
    /// Of both, as metrics count them.
    items: u64,
}

#[derive(Debug)]
struct Shared<T> {
    options: PumpOptions,
    queue: Mutex<Queue<T>>,
    /// There is something, or a whole batch.
    changed: Notify,
    metrics: Arc<ExportMetrics>,
}

impl<T> Shared<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, queue: &Queue<T>) {
        self.metrics.queue_items.set(queue.items);
        self.metrics.queue_bytes.set((queue.waiting_bytes + queue.away_bytes) as u64);
    }
}

/// The queue's end to push at. Not for shards, which have [`crate::Intake`]s: it takes a lock.
#[derive(Debug)]
pub struct Feed<T>(Arc<Shared<T>>);

/// The queue's other end, with the sink.
#[derive(Debug)]
pub struct Pump<T, S> {
    name: String,
    shared: Arc<Shared<T>>,
    sink: S,
    pauses: Pauses,
    stop: Stop,
    /// The last attempt failed.
    failing: bool,
}

/// A queue before a sink, which is called `name` in logs. The pump has to be run.
pub fn pump<T: Weigh, S: Sink<T>>(
    name: impl Into<String>,
    options: PumpOptions,
    metrics: Arc<ExportMetrics>,
    sink: S,
    stop: Stop,
) -> (Feed<T>, Pump<T, S>) {
    let queue = Queue { waiting: VecDeque::new(), waiting_bytes: 0, away: 0, away_bytes: 0, items: 0 };
    let queue = Mutex::new(queue);
    let shared = Arc::new(Shared { options, queue, changed: Notify::new(), metrics });
    let (name, pauses) = (name.into(), Pauses::new(options.retry));
    (Feed(Arc::clone(&shared)), Pump { name, shared, sink, pauses, stop, failing: false })
}

impl<T: Weigh> Feed<T> {
    /// Takes them in their order, or drops and counts each that it does not. How many were taken.
    pub fn push(&self, items: impl IntoIterator<Item = T>) -> usize {
        let Shared { options, changed, metrics, .. } = &*self.0;
        let since = Instant::now();
        let mut queue = self.0.queue();
        let before = queue.waiting.len();
        for item in items {
            if let Err((item, reason)) = queue.add(item, since, options) {
                metrics.drop_items(reason, item.items(), item.records());
            }
        }
        let taken = queue.waiting.len() - before;
        if taken > 0 {
            self.0.tell(&queue);
            if before == 0 || queue.holds_batch(options) {
                changed.notify_one();
            }
        }
        taken
    }
}

impl<T: Weigh> Queue<T> {
    /// Or gives it back, where it is too large or there is no room.
    fn add(&mut self, item: T, since: Instant, options: &PumpOptions) -> Result<(), (T, DropReason)> {
        let bytes = item.bytes();
        if bytes > options.batch_bytes {
            return Err((item, DropReason::TooLarge));
        }
        let (held, held_bytes) = (self.waiting.len() + self.away, self.waiting_bytes + self.away_bytes);
        if held >= options.queue_items || held_bytes + bytes > options.queue_bytes {
            return Err((item, DropReason::QueueFull));
        }
        self.items += item.items();
        self.waiting.push_back(Waiting { item, bytes, since });
        self.waiting_bytes += bytes;
        Ok(())
    }
}

impl<T> Queue<T> {
    fn holds_batch(&self, options: &PumpOptions) -> bool {
        self.waiting.len() >= options.batch_items || self.waiting_bytes >= options.batch_bytes
    }

    /// The oldest, as far as one batch goes.
    fn take(&mut self, options: &PumpOptions) -> Option<Batch<T>> {
        let oldest = self.waiting.front()?.since;
        let mut batch = Batch { items: Vec::new(), bytes: 0, oldest };
        while batch.items.len() < options.batch_items.max(1) {
            let fits = |next: &mut Waiting<T>| batch.bytes + next.bytes <= options.batch_bytes;
            let Some(next) = self.waiting.pop_front_if(fits) else { break };
            batch.items.push(next.item);
            batch.bytes += next.bytes;
        }
        self.waiting_bytes -= batch.bytes;
        (self.away, self.away_bytes) = (batch.items.len(), batch.bytes);
        Some(batch)
    }
}

/// What there is to do next.
enum Next<T> {
    Send(Batch<T>),
    Idle,
    Close,
}

fn late() -> SinkError {
    SinkError::unavailable("the sink did not answer in time")
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

impl<T: Weigh, S: Sink<T>> Pump<T, S> {
    /// Until it is stopped and everything is sent, or its deadline has passed.
    pub async fn run(mut self) {
        loop {
            match self.next().await {
                Next::Send(batch) => self.deliver(batch).await,
                Next::Idle => {
                    let limit = self.shared.options.send_timeout;
                    if let Err(error) = within(&mut self.stop, limit, self.sink.idle()).await {
                        self.failed(&error);
                    }
                }
                Next::Close => break,
            }
        }
        self.drop_rest();
        let left = self.stop.deadline().map_or(Duration::ZERO, |deadline| deadline - Instant::now());
        // Whoever has nothing to wait for ends at once, whatever the time.
        if let Err(error) = timeout(left, self.sink.close()).await.unwrap_or_else(|_| Err(late())) {
            self.failed(&error);
        }
    }

    async fn next(&mut self) -> Next<T> {
        let idle_at = Instant::now() + IDLE_EVERY;
        loop {
            let deadline = self.stop.deadline();
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

    /// Sends it, again and again, until it is taken or given up.
    async fn deliver(&mut self, batch: Batch<T>) {
        let mut failed = 0_u32;
        let reason = loop {
            let Err(error) = self.attempt(&batch).await else { break None };
            failed = failed.saturating_add(1);
            let SinkError::Unavailable { after, .. } = error else { break Some(DropReason::Refused) };
            let retry = self.shared.options.retry;
            let again_at = Instant::now() + self.pauses.next(failed, after);
            if failed >= retry.attempts || again_at.duration_since(batch.oldest) > retry.age {
                break Some(DropReason::GaveUp);
            }
            let stopping = self.stop.deadline();
            if stopping.is_some_and(|deadline| deadline <= again_at) {
                break Some(DropReason::Closing);
            }
            self.shared.metrics.retries.add(1);
            tokio::select! {
                () = sleep_until(again_at) => {}
                // There may be no time for the pause any more: it is tried once more now.
                _ = self.stop.asked(), if stopping.is_none() => {}
            }
        };
        if let Some(reason) = reason {
            self.give_up(&batch, reason);
        }
        self.done(&batch);
    }

    /// One attempt, and what is to be counted of it.
    async fn attempt(&mut self, batch: &Batch<T>) -> Result<(), SinkError> {
        let metrics = Arc::clone(&self.shared.metrics);
        let begin = Instant::now();
        let limit = self.shared.options.send_timeout;
        let sent = within(&mut self.stop, limit, self.sink.send(batch)).await;
        metrics.latency.observe(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
        match sent {
            Ok(bytes) => {
                let (items, records) = batch.counts();
                metrics.items.add(items);
                metrics.records.add(records);
                metrics.bytes.add(bytes);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(sink = self.name, "the sink takes what it is sent again");
                }
                Ok(())
            }
            Err(error) => {
                metrics.failures.add(1);
                metrics.lag_ms.set(millis(batch.oldest.elapsed()));
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Said once for each time that a sink begins to fail.
    fn failed(&mut self, error: &SinkError) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(sink = self.name, %error, "the sink does not take what it is sent");
        }
    }

    fn give_up(&self, batch: &Batch<T>, reason: DropReason) {
        let (items, records) = batch.counts();
        self.shared.metrics.drop_items(reason, items, records);
        tracing::debug!(sink = self.name, records, ?reason, "a batch was dropped");
    }

    /// The batch is not on its way any more.
    fn done(&self, batch: &Batch<T>) {
        let mut queue = self.shared.queue();
        queue.items = queue.items.saturating_sub(batch.counts().0);
        (queue.away, queue.away_bytes) = (0, 0);
        self.shared.tell(&queue);
    }

    /// What the deadline left in the queue.
    fn drop_rest(&self) {
        let whole = PumpOptions { batch_items: usize::MAX, batch_bytes: usize::MAX, ..self.shared.options };
        let rest = self.shared.queue().take(&whole);
        if let Some(rest) = rest {
            self.give_up(&rest, DropReason::Closing);
            self.done(&rest);
            let records = rest.counts().1;
            tracing::warn!(sink = self.name, records, "the node ends before the sink took these");
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
