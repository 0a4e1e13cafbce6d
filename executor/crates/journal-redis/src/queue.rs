//! Derived writes of one connection that are not known to be written.
//!
//! Invariants: they belong to slots, not to servers, so that none is lost with a server that leaves the cluster; those of one
//! slot are sent in the order in which they came, by one sender at a time, so that nothing older is written over something
//! newer; what a sender does not know to be written comes back to its place. Nothing is given up for want of room: what is
//! above the bounds stops appends ([`Queue::obstacle`]). So a crash loses of each log at most what stood beside its last
//! [`DERIVED_BEHIND_MAX`] blocks, and that is what a recovery writes again. What may fail: nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use journal::BlockId;
use journal::store::DERIVED_BEHIND_MAX;
use tokio::sync::Notify;

use crate::write::{Led, Write};

/// Writes that wait on one connection, beyond what appends that are under way bring.
const PENDING_MAX: usize = 65_536;
/// What they may take together.
const PENDING_BYTES_MAX: usize = 32 << 20;
/// Writes that are sent at once.
const SEND_MAX: usize = 8_192;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Some sender has ended.
    pub ended: Notify,
    /// Writes that Redis never takes.
    pub dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// By number.
    waiting: VecDeque<Write>,
    bytes: usize,
    flights: Vec<Flight>,
    /// The highest number that was given.
    number: u64,
    /// The last sender.
    sender: u64,
}

/// What one sender has taken of one slot.
#[derive(Debug)]
struct Flight {
    sender: u64,
    slot: u16,
    /// The lowest number.
    first: u64,
    /// The block of the first.
    block: BlockId,
    writes: usize,
    bytes: usize,
}

/// What of a slot is not known to be written.
pub(crate) enum Rest {
    Nothing,
    /// Somebody is sending it.
    UnderWay,
    /// It waits: the first of it.
    Waits {
        led: Option<Led>,
        refused: Option<std::sync::Arc<str>>,
    },
}

impl Queue {
    /// Keeps what stood beside a block that is in the log. `true`: the caller must see that a timer runs, which it has set
    /// for the server that it is for.
    pub fn keep(&self, writes: Vec<Write>, timer_runs: Option<&AtomicBool>) -> bool {
        if writes.is_empty() {
            return false;
        }
        let mut state = self.state();
        for mut write in writes {
            state.number += 1;
            write.number = state.number;
            state.bytes += write.bytes();
            state.waiting.push_back(write);
        }
        timer_runs.is_some_and(|runs| !runs.swap(true, Ordering::Relaxed))
    }

    /// The number of the last one that was kept.
    pub fn kept(&self) -> u64 {
        self.state().number
    }

    /// Takes the oldest of those that `goes` lets go, for a sender of this number.
    pub fn take(&self, goes: impl Fn(&Write) -> bool) -> (u64, VecDeque<Write>) {
        let mut state = self.state();
        let State { waiting, bytes, flights, sender, .. } = &mut *state;
        *sender += 1;
        let (mut taken, mut passed) = (VecDeque::new(), Vec::new());
        if waiting.is_empty() {
            return (*sender, taken);
        }
        // Slots of which something older is not written: what came later stays behind it.
        let mut held: Vec<u16> = flights.iter().map(|flight| flight.slot).collect();
        while taken.len() < SEND_MAX
            && let Some(write) = waiting.pop_front()
        {
            if held.contains(&write.slot) {
                passed.push(write);
            } else if goes(&write) {
                *bytes -= write.bytes();
                taken.push_back(write);
            } else {
                held.push(write.slot);
                passed.push(write);
            }
        }
        passed.into_iter().rev().for_each(|write| waiting.push_front(write));
        let first = flights.len();
        for write in &taken {
            let (slot, size) = (write.slot, write.bytes());
            match flights.iter_mut().skip(first).find(|flight| flight.slot == slot) {
                Some(flight) => {
                    flight.writes += 1;
                    flight.bytes += size;
                }
                None => flights.push(Flight {
                    sender: *sender,
                    slot,
                    first: write.number,
                    block: write.block,
                    writes: 1,
                    bytes: size,
                }),
            }
        }
        (*sender, taken)
    }

    /// Puts back what is not written.
    pub fn put_back(&self, writes: impl IntoIterator<Item = Write>) {
        let mut state = self.state();
        let known = state.waiting.len();
        for write in writes {
            state.bytes += write.bytes();
            state.waiting.push_back(write);
        }
        if state.waiting.len() > known {
            state.waiting.make_contiguous().sort_by_key(|write| write.number);
        }
    }

    /// What a sender has taken and not put back is written, or given up.
    pub fn end(&self, sender: u64) {
        self.state().flights.retain(|flight| flight.sender != sender);
        self.ended.notify_waiters();
    }

    /// Drops what waits for a slot: somebody else has its log.
    pub fn forget(&self, slot: u16) {
        let mut state = self.state();
        state.waiting.retain(|write| write.slot != slot);
        state.bytes = state.waiting.iter().map(Write::bytes).sum();
    }

    /// What of a slot, up to a number, is not known to be written.
    pub fn rest(&self, slot: u16, upto: u64) -> Rest {
        let state = self.state();
        if state.flights.iter().any(|flight| flight.slot == slot && flight.first <= upto) {
            return Rest::UnderWay;
        }
        match state.waiting.iter().take_while(|write| write.number <= upto).find(|write| write.slot == slot) {
            Some(write) => Rest::Waits { led: write.led.clone(), refused: write.refused.clone() },
            None => Rest::Nothing,
        }
    }

    /// The slot of which something must be written before this block of a slot may be: too many wait, or what waits stood
    /// beside a block so far back that no recovery would write it again.
    pub fn obstacle(&self, slot: u16, id: BlockId) -> Option<u16> {
        let state = self.state();
        let State { waiting, flights, .. } = &*state;
        if waiting.is_empty() && flights.is_empty() {
            return None;
        }
        let under_way = flights.iter().find(|flight| flight.slot == slot).map(|flight| flight.block);
        let oldest =
            under_way.or_else(|| waiting.iter().find(|write| write.slot == slot).map(|write| write.block));
        let is_behind = |oldest: BlockId| {
            oldest.generation != id.generation
                || id.sequence.saturating_sub(oldest.sequence) >= DERIVED_BEHIND_MAX
        };
        if oldest.is_some_and(is_behind) {
            return Some(slot);
        }
        let writes = waiting.len() + flights.iter().map(|flight| flight.writes).sum::<usize>();
        let bytes = state.bytes + flights.iter().map(|flight| flight.bytes).sum::<usize>();
        if writes < PENDING_MAX && bytes < PENDING_BYTES_MAX {
            return None;
        }
        waiting.front().map(|write| write.slot).or_else(|| flights.first().map(|flight| flight.slot))
    }

    /// Whether any of those up to a number waits that `goes` lets go.
    pub fn waits(&self, upto: u64, goes: impl Fn(&Write) -> bool) -> bool {
        self.state().waiting.iter().take_while(|write| write.number <= upto).any(goes)
    }

    /// The number of the last one, for a timer; `None`: nothing is left for it to do, and it is noted that it ends.
    pub fn timer(&self, runs: &AtomicBool, goes: impl Fn(&Write) -> bool) -> Option<u64> {
        let state = self.state();
        // What is under way may come back.
        let goes_on = !state.flights.is_empty() || state.waiting.iter().any(goes);
        runs.store(goes_on, Ordering::Relaxed);
        goes_on.then_some(state.number)
    }

    /// Something of each slot that waits, for timers.
    pub fn each_slot(&self, mut see: impl FnMut(&Write)) {
        let state = self.state();
        let mut last = None;
        for write in &state.waiting {
            if last != Some(write.slot) || write.led.is_some() {
                see(write);
            }
            last = Some(write.slot);
        }
    }

    /// Where redirects led cannot be reached: what waits for that goes by the map again.
    pub fn lead_back(&self, gone: impl Fn(&Led) -> bool) {
        for write in &mut self.state().waiting {
            if write.led.as_ref().is_some_and(&gone) {
                write.led = None;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
