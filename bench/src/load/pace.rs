//! The thread that makes starts when they are due.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::Settings;
use super::stats::Shared;
use crate::error::Error;
use crate::payload::Generator;
use crate::profile::Profile;

/// How often the thread looks what is due. Shorter means smaller batches.
const TICK: Duration = Duration::from_micros(500);
/// Starts in a message, and bytes of input.
const STARTS_MAX: u64 = 256;
const BYTES_MAX: usize = 1 << 20;

/// Starts that belong together, on their way to a stream.
#[derive(Debug)]
pub(super) struct Starts {
    /// Index of the first one in the schedule.
    pub sequence: u64,
    /// JSON texts.
    pub inputs: Vec<Bytes>,
}

/// Starts the thread. It ends when the schedule does.
pub(super) fn spawn(
    settings: &Settings,
    shared: Arc<Shared>,
    lanes: Vec<Sender<Starts>>,
) -> Result<JoinHandle<()>, Error> {
    let items = settings.profile.items();
    let generator = Generator::new(settings.seed, settings.payload_bytes, items, settings.entropy);
    let batch_max = (BYTES_MAX / settings.payload_bytes.max(minimum_bytes(settings.profile)))
        .clamp(1, STARTS_MAX as usize);
    let mut pacer =
        Pacer { shared, lanes, generator, batch_max: batch_max as u64, next: 0, lane: 0, waiting: None };
    let duration = settings.duration;
    std::thread::Builder::new()
        .name("pace".to_owned())
        .spawn(move || pacer.run(duration))
        .map_err(|error| Error::Process(format!("no thread for the generator: {error}")))
}

/// What an input takes at least.
fn minimum_bytes(profile: Profile) -> usize {
    140 + 32 * profile.items()
}

struct Pacer {
    shared: Arc<Shared>,
    lanes: Vec<Sender<Starts>>,
    generator: Generator,
    batch_max: u64,
    /// Index of the next execution.
    next: u64,
    lane: usize,
    /// A message that found its lane full.
    waiting: Option<Starts>,
}

impl Pacer {
    fn run(&mut self, duration: Duration) {
        let end_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let total = self.shared.schedule().map_or(u64::MAX, |schedule| schedule.total());
        while self.next < total || self.waiting.is_some() {
            let now = self.shared.now_ns();
            let due = match self.shared.schedule() {
                Some(schedule) => schedule.due(now),
                None if now >= end_ns => break,
                None => self.room(),
            };
            // A node that takes nothing for as long as the run lasts will not take the rest either.
            if now > end_ns.saturating_mul(2).saturating_add(30_000_000_000) {
                self.give_up(total);
                return;
            }
            while self.next < due || self.waiting.is_some() {
                if !self.send_next(due) {
                    break;
                }
            }
            std::thread::park_timeout(TICK);
        }
    }

    /// In a closed loop: up to which index there is room on the way. Only whole batches are made.
    fn room(&self) -> u64 {
        let s = &self.shared;
        let answered = s.acknowledged.load(Relaxed) + s.refused.load(Relaxed);
        let settled = answered.min(s.completed.load(Relaxed) + s.refused.load(Relaxed));
        let under_way = s.sent.load(Relaxed).saturating_sub(settled);
        let room = (s.window * self.lanes.len() as u64).saturating_sub(under_way);
        self.next + room / self.batch_max * STARTS_MAX
    }

    /// Sends the next message; `false` when all lanes are full.
    fn send_next(&mut self, due: u64) -> bool {
        let starts = match self.waiting.take() {
            Some(starts) => starts,
            None => self.make(due),
        };
        let mut starts = starts;
        for _ in 0..self.lanes.len() {
            self.lane = (self.lane + 1) % self.lanes.len();
            match self.lanes[self.lane].try_send(starts) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) => starts = back,
                Err(TrySendError::Closed(back)) => {
                    self.shared.refuse("the stream has ended", back.inputs.len() as u32);
                    return true;
                }
            }
        }
        self.waiting = Some(starts);
        false
    }

    fn make(&mut self, due: u64) -> Starts {
        let closed = self.shared.schedule().is_none();
        let count = if closed { self.batch_max } else { (due - self.next).min(self.batch_max) };
        let mut buffer = BytesMut::with_capacity(count as usize * 256);
        let inputs: Vec<Bytes> = (0..count).map(|_| self.generator.next(&mut buffer)).collect();
        let sequence = self.next;
        // A closed loop's batches keep a distance of 256, so that their instants have places of their own.
        self.next += if closed { STARTS_MAX } else { count };
        if closed {
            self.shared.note_made(sequence);
        }
        self.shared.sent.fetch_add(count, Relaxed);
        Starts { sequence, inputs }
    }

    fn give_up(&mut self, total: u64) {
        let unsent = total.saturating_sub(self.next);
        let waiting = self.waiting.take().map_or(0, |starts| starts.inputs.len() as u64);
        self.shared.sent.fetch_add(unsent, Relaxed);
        self.shared
            .refuse("never sent: the node took no more", u32::try_from(unsent + waiting).unwrap_or(u32::MAX));
    }
}
