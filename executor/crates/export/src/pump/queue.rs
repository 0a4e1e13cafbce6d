//! The queue before a sink.
//!
//! Invariants: what waits and what is on its way are within the bounds together; what is given back by nobody is counted. What
//! may fail: nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemetry::{DropReason, ExportMetrics};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Batch, PumpOptions};
use crate::Weigh;

#[derive(Debug)]
pub(super) struct Waiting<T> {
    item: T,
    bytes: usize,
    pub since: Instant,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    pub waiting: VecDeque<Waiting<T>>,
    waiting_bytes: usize,
    /// On their way to the sink.
    away: usize,
    away_bytes: usize,
    away_records: u64,
    /// Of both, as metrics count them.
    items: u64,
    /// The sink is gone: nothing is taken any more.
    abandoned: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let waiting = VecDeque::new();
        Self {
            waiting,
            waiting_bytes: 0,
            away: 0,
            away_bytes: 0,
            away_records: 0,
            items: 0,
            abandoned: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared<T> {
    pub options: PumpOptions,
    queue: Mutex<Queue<T>>,
    /// There is something, or a whole batch.
    pub changed: Notify,
    pub metrics: Arc<ExportMetrics>,
}

impl<T> Shared<T> {
    pub fn new(options: PumpOptions, metrics: Arc<ExportMetrics>) -> Self {
        Self { options, queue: Mutex::default(), changed: Notify::new(), metrics }
    }

    pub fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, queue: &Queue<T>) {
        self.metrics.queue_items.set(queue.items);
        self.metrics.queue_bytes.set((queue.waiting_bytes + queue.away_bytes) as u64);
    }
}

impl<T: Weigh> Shared<T> {
    /// A batch, or a part of one, is not on its way any more.
    pub fn done(&self, batch: &Batch<T>) {
        let mut queue = self.queue();
        queue.back(batch);
        self.tell(&queue);
    }

    /// The sink is gone: what it had, what waits and what comes is dropped. How many records were.
    pub fn abandon(&self) -> u64 {
        let mut queue = self.queue();
        let (items, away) = (queue.items, queue.away_records);
        let records = away + queue.clear().iter().map(Weigh::records).sum::<u64>();
        *queue = Queue { abandoned: true, ..Queue::default() };
        self.metrics.drop_items(DropReason::GaveUp, items, records);
        self.metrics.lag_ms.set(0);
        self.tell(&queue);
        records
    }
}

/// The queue's end to push at. Not for shards, which have [`crate::Intake`]s: it takes a lock.
#[derive(Debug)]
pub struct Feed<T>(pub(super) Arc<Shared<T>>);

impl<T: Weigh> Feed<T> {
    /// Takes them in their order, or drops and counts each that it does not. How many were taken.
    pub fn push(&self, items: impl IntoIterator<Item = T>) -> usize {
        let Shared { options, changed, metrics, .. } = &*self.0;
        let since = Instant::now();
        let mut queue = self.0.queue();
        if options.latest {
            for older in queue.clear() {
                metrics.drop_items(DropReason::QueueFull, older.items(), older.records());
            }
        }
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
        if self.abandoned {
            return Err((item, DropReason::GaveUp));
        }
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

    /// What waited.
    fn clear(&mut self) -> Vec<T> {
        let waiting: Vec<T> = self.waiting.drain(..).map(|waiting| waiting.item).collect();
        self.waiting_bytes = 0;
        let items: u64 = waiting.iter().map(Weigh::items).sum();
        self.items = self.items.saturating_sub(items);
        waiting
    }

    pub fn holds_batch(&self, options: &PumpOptions) -> bool {
        self.waiting.len() >= options.batch_items || self.waiting_bytes >= options.batch_bytes
    }

    /// The oldest, as far as one batch goes.
    pub fn take(&mut self, options: &PumpOptions) -> Option<Batch<T>> {
        let oldest = self.waiting.front()?.since;
        let mut batch = Batch::empty(oldest);
        while batch.items.len() < options.batch_items.max(1) {
            let fits = |next: &mut Waiting<T>| batch.bytes + next.bytes <= options.batch_bytes;
            let Some(next) = self.waiting.pop_front_if(fits) else { break };
            batch.items.push(next.item);
            batch.bytes += next.bytes;
        }
        self.waiting_bytes -= batch.bytes;
        (self.away, self.away_bytes) = (batch.items.len(), batch.bytes);
        self.away_records = batch.counts().1;
        Some(batch)
    }

    /// This is not on its way any more: a batch, or a part of one.
    fn back(&mut self, batch: &Batch<T>) {
        let (items, records) = batch.counts();
        self.items = self.items.saturating_sub(items);
        self.away = self.away.saturating_sub(batch.items.len());
        self.away_bytes = self.away_bytes.saturating_sub(batch.bytes);
        self.away_records = self.away_records.saturating_sub(records);
    }
}
