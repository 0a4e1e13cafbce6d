//! Turns: executions that work much wait here, so that the shard's thread has time for others.
//!
//! Purpose: an execution asks for its next turn by [`asl::Effect::Yield`], and gets it after those that asked before. In a
//! round the shard gives turns for [`limits::TURNS_SLICE`], then none for as long as they took, during which the thread is
//! there for starts, look-ups and answers. Starts that find so much worked already in the same round wait for a turn too; the
//! journal of a STANDARD one begins with a mark that says so, for its replay has to begin as it did.
//! Invariants: who waits stands here once; none is forgotten. Nothing here fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use asl::{EffectId, Event};
use journal::Journalled;
use journal::block::JournalledKind;
use tokio::sync::Mutex;

use super::core::Shard;
use super::slab::Address;
use crate::limits;

/// The mark in the journal of an execution that waited for its first turn. No effect has this number.
const WAITED: EffectId = EffectId(2);

/// The mark, as the journal takes it.
pub(super) fn mark() -> Event {
    Event::TimerFired(WAITED)
}

/// Whether an execution waited for its first turn, and what it was told.
pub(super) fn beginning(journal: &[Journalled]) -> (bool, &[Journalled]) {
    match journal.split_first() {
        Some((first, rest)) if first.kind == JournalledKind::TimerFired && first.effect == WAITED.0 => {
            (true, rest)
        }
        _ => (false, journal),
    }
}

/// Who waits for a turn.
#[derive(Debug, Default)]
pub struct Turns {
    waiting: VecDeque<Address>,
    /// No turn is given before.
    not_before_us: u64,
    /// Units of work in this round.
    worked: u64,
    /// Replays rest one after the other, so that all of them together work half of the time.
    pub resting: Arc<Mutex<()>>,
}

impl Turns {
    /// A round of the shard begins.
    pub fn begin_round(&mut self) {
        self.worked = 0;
    }

    /// Counts work.
    pub fn worked(&mut self, units: u64) {
        self.worked += units;
    }

    /// An execution asks for its next turn.
    pub fn wait(&mut self, address: Address) {
        self.waiting.push_back(address);
    }
}

/// Between two turns of a replay, which is no execution of the shard's: others have as long as the turn took.
pub(super) async fn rest(begun: &mut Instant) {
    tokio::time::sleep(begun.elapsed()).await;
    *begun = Instant::now();
}

/// The turns of a replay for recovery: it works for a slice, then rests when no other does.
pub(super) async fn rest_in_turn(begun: &mut Instant, resting: &Mutex<()>) {
    if begun.elapsed() >= limits::TURNS_SLICE {
        let worked = begun.elapsed();
        let _alone = resting.lock().await;
        tokio::time::sleep(worked).await;
        *begun = Instant::now();
    }
}

impl Shard {
    /// Whether an execution that begins now waits for a turn.
    pub(super) fn has_to_wait(&self) -> bool {
        self.turns.worked > limits::ROUND_UNITS
    }

    /// Gives turns to those that wait, each one at most.
    pub(super) fn give_turns(&mut self) {
        if self.turns.waiting.is_empty() {
            return;
        }
        let begun_us = self.clock.now_us();
        if begun_us < self.turns.not_before_us {
            return self.alarm_at(self.turns.not_before_us);
        }
        let mut took_us = 0;
        for _ in 0..self.turns.waiting.len() {
            let Some(address) = self.turns.waiting.pop_front() else { break };
            self.deliver(address, Event::TimerFired(EffectId::NEXT_TURN));
            self.run_mailboxes();
            self.now_us = self.clock.now_us();
            took_us = self.now_us.saturating_sub(begun_us);
            if took_us >= limits::TURNS_SLICE.as_micros() as u64 {
                break;
            }
        }
        if !self.turns.waiting.is_empty() {
            self.turns.not_before_us = self.now_us + took_us;
            self.alarm_at(self.turns.not_before_us);
        }
    }
}
