//! What is counted while a run goes on.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ids::BatchId;
use indicatif::{ProgressBar, ProgressStyle};

use crate::ledger::Ledger;
use crate::report::thousands;
use crate::schedule::Schedule;

/// Latencies are kept up to ten minutes, in microseconds, to three digits.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Batches whose instants a closed loop remembers; more are never on their way.
const RING: usize = 1 << 16;

/// Counts, latencies, acknowledgements.
#[derive(Debug)]
pub struct Stats {
    /// From the scheduled instant to the acknowledgement, in microseconds.
    pub ack: Histogram<u64>,
    /// From the scheduled instant to the durable end, in microseconds.
    pub completion: Histogram<u64>,
    /// Starts refused or lost, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Ended executions, by status.
    pub completed: BTreeMap<&'static str, u64>,
    /// What was acknowledged.
    pub ledger: Ledger,
    last_ack: Option<Instant>,
    last_completion: Option<Instant>,
}

impl Stats {
    fn new() -> Self {
        let histogram =
            || Histogram::new_with_max(LATENCY_US_MAX, 3).expect("the bounds are valid constants");
        Self {
            ack: histogram(),
            completion: histogram(),
            errors: BTreeMap::new(),
            completed: BTreeMap::new(),
            ledger: Ledger::default(),
            last_ack: None,
            last_completion: None,
        }
    }
}

/// What the generator's thread, the streams and the progress display share.
#[derive(Debug)]
pub(super) struct Shared {
    schedule: Option<Schedule>,
    began: OnceLock<Instant>,
    /// When batch `sequence / 256` of a closed loop was made, in nanoseconds from the beginning.
    made: Vec<AtomicU64>,
    pacer: OnceLock<Thread>,
    stats: Mutex<Stats>,
    /// Executions on their way that a closed loop may have.
    pub window: u64,
    pub sent: AtomicU64,
    pub acknowledged: AtomicU64,
    pub refused: AtomicU64,
    pub completed: AtomicU64,
}

impl Shared {
    pub fn new(schedule: Option<Schedule>, window: usize) -> Self {
        Self {
            schedule,
            began: OnceLock::new(),
            made: if schedule.is_none() {
                (0..RING).map(|_| AtomicU64::new(0)).collect()
            } else {
                Vec::new()
            },
            pacer: OnceLock::new(),
            stats: Mutex::new(Stats::new()),
            window: window as u64,
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            completed: AtomicU64::new(0),
        }
    }

    pub fn begin(&self) -> Instant {
        *self.began.get_or_init(Instant::now)
    }

    pub fn set_pacer(&self, thread: Thread) {
        let _ = self.pacer.set(thread);
    }

    pub fn schedule(&self) -> Option<Schedule> {
        self.schedule
    }

    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.begin().elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes when a closed loop's batch was made.
    pub fn note_made(&self, sequence: u64) {
        if let Some(cell) = self.made.get((sequence / 256) as usize % RING) {
            cell.store(self.now_ns(), Relaxed);
        }
    }

    fn due_ns(&self, sequence: u64, index: u32) -> u64 {
        match self.schedule {
            Some(schedule) => schedule.instant_ns(sequence + u64::from(index)),
            None => self.made.get((sequence / 256) as usize % RING).map_or(0, |cell| cell.load(Relaxed)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, histogram: &mut Histogram<u64>, sequence: u64, from: u32, to: u32) {
        let now = self.now_ns();
        if self.schedule.is_none() {
            let us = now.saturating_sub(self.due_ns(sequence, from)) / 1_000;
            histogram.saturating_record_n(us.max(1), u64::from(to - from));
            return;
        }
        for index in from..to {
            let us = now.saturating_sub(self.due_ns(sequence, index)) / 1_000;
            histogram.saturating_record(us.max(1));
        }
    }

    /// Starts [from, to) of the message `sequence` are durable as [first, ...) of `batch`.
    pub fn acknowledge(&self, sequence: u64, from: u32, to: u32, batch: BatchId, first: u32) {
        if to <= from {
            return;
        }
        let mut stats = self.lock();
        let stats = &mut *stats;
        self.record(&mut stats.ack, sequence, from, to);
        stats.ledger.acknowledge(batch, first, first + (to - from));
        stats.last_ack = Some(Instant::now());
        self.acknowledged.fetch_add(u64::from(to - from), Relaxed);
        self.wake_pacer();
    }

    /// So many starts were refused or lost.
    pub fn refuse(&self, reason: &str, starts: u32) {
        *self.lock().errors.entry(reason.to_owned()).or_default() += u64::from(starts);
        self.refused.fetch_add(u64::from(starts), Relaxed);
        self.wake_pacer();
    }

    /// Executions [from, to) have ended. `sequence` is known where the generator itself made the batch ids.
    pub fn complete(&self, sequence: Option<u64>, from: u32, to: u32, status: &'static str) {
        if to <= from {
            return;
        }
        let mut stats = self.lock();
        let stats = &mut *stats;
        if let Some(sequence) = sequence {
            self.record(&mut stats.completion, sequence, from, to);
        }
        *stats.completed.entry(status).or_default() += u64::from(to - from);
        stats.last_completion = Some(Instant::now());
        self.completed.fetch_add(u64::from(to - from), Relaxed);
        self.wake_pacer();
    }

    /// A closed loop's generator sleeps until there is room.
    fn wake_pacer(&self) {
        if self.schedule.is_none()
            && let Some(thread) = self.pacer.get()
        {
            thread.unpark();
        }
    }

    pub fn last_ack(&self) -> Option<Instant> {
        self.lock().last_ack
    }

    pub fn last_completion(&self) -> Option<Instant> {
        self.lock().last_completion
    }

    /// The run is over.
    pub fn take(&self) -> Stats {
        std::mem::replace(&mut *self.lock(), Stats::new())
    }
}

/// A line that moves on a terminal; elsewhere a line every five seconds.
pub(super) async fn show_progress(shared: Arc<Shared>, duration: Duration) {
    let terminal = std::io::stderr().is_terminal();
    let bar = if terminal { ProgressBar::new(duration.as_secs().max(1)) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let (mut before, mut seconds) = (0, 0u64);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seconds += 1;
        let acknowledged = shared.acknowledged.load(Relaxed);
        let text = format!(
            "{}/s acknowledged, {} ended, {} refused",
            thousands(acknowledged - before),
            thousands(shared.completed.load(Relaxed)),
            thousands(shared.refused.load(Relaxed))
        );
        before = acknowledged;
        bar.set_position(seconds);
        bar.set_message(text.clone());
        if !terminal && seconds.is_multiple_of(5) {
            eprintln!("{seconds:>4} s  {text}");
        }
    }
}
