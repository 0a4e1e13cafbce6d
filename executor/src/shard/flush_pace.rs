//! When small flushes begin: at once while a shard writes little, else together, on ticks.
//!
//! What a flush costs a store is mostly its fsync, which logs that arrive together share. While little is written that saving is
//! worth nothing, and waiting for a tick would be all that a caller waits for. Ticks are those of Unix time, so that the shards
//! of a node agree on them. Invariant: beyond its part of [`limits::FLUSH_CALM_LOAD`] in a tick or in the one before, a shard begins
//! one small flush of each log in a tick, on the tick. Nothing here can fail.

use crate::limits;

/// What one shard has written of late.
#[derive(Debug)]
pub(super) struct FlushPace {
    /// Below this load, small flushes begin at once.
    calm: usize,
    /// The tick of `now`, counted from Unix time's beginning.
    tick: u64,
    /// Load that was written in it ...
    now: usize,
    /// ... and in the one before.
    last: usize,
}

fn pace_us() -> u64 {
    limits::FLUSH_PACE.as_micros() as u64
}

impl FlushPace {
    /// For one of so many shards.
    pub fn new(shards: u32) -> Self {
        let calm = limits::FLUSH_CALM_LOAD / shards.max(1) as usize;
        Self { calm: calm.max(limits::FLUSH_CALM_LOAD_MIN), tick: 0, now: 0, last: 0 }
    }

    /// When a small flush of a log may begin for which somebody waits and whose last one began then, in microseconds.
    pub fn due_us(&mut self, begun_us: u64, now_us: u64) -> u64 {
        self.roll(now_us);
        let calm = self.now < self.calm && self.last < self.calm;
        if calm { now_us } else { Self::tick_after_us(begun_us) }
    }

    /// The tick after this instant: when a flush may begin for which nobody waits.
    pub fn tick_after_us(begun_us: u64) -> u64 {
        (begun_us / pace_us() + 1) * pace_us()
    }

    /// A flush of so many records begins.
    pub fn wrote(&mut self, records: usize, now_us: u64) {
        self.roll(now_us);
        self.now += records.max(limits::FLUSH_LOAD_MIN);
    }

    fn roll(&mut self, now_us: u64) {
        let tick = now_us / pace_us();
        if tick != self.tick {
            self.last = if tick == self.tick + 1 { self.now } else { 0 };
            (self.tick, self.now) = (tick, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a tick.
    fn tick(at: u64) -> u64 {
        (1_000 + at) * pace_us()
    }

    #[test]
    fn little_is_written_at_once() {
        let mut pace = FlushPace::new(1_000);
        for at_us in (tick(0)..tick(8)).step_by(900) {
            assert_eq!(pace.due_us(at_us - 1, at_us), at_us);
            pace.wrote(1, at_us);
        }
    }

    #[test]
    fn much_waits_for_the_next_tick_and_for_a_calm_one_after_it() {
        let mut pace = FlushPace::new(2);
        pace.wrote(pace.calm, tick(0));
        assert_eq!(pace.due_us(tick(0), tick(0) + 1), tick(1));
        // The tick has come, and more has to wait for the one after.
        assert_eq!(pace.due_us(tick(0), tick(1)), tick(1));
        pace.wrote(1, tick(1));
        assert_eq!(pace.due_us(tick(1), tick(1) + 1), tick(2));
        assert_eq!(pace.due_us(tick(1), tick(2) + 1), tick(2) + 1, "a tick in which little was written");
        pace.wrote(pace.calm, tick(2) + 1);
        assert_eq!(pace.due_us(tick(2) + 1, tick(4)), tick(4), "a tick in which nothing was written");
    }

    #[test]
    fn many_flushes_of_single_records_are_much() {
        let mut pace = FlushPace::new(2);
        let small = pace.calm / limits::FLUSH_LOAD_MIN;
        for flush in 0..small as u64 {
            assert_eq!(pace.due_us(tick(0), tick(0) + flush), tick(0) + flush);
            pace.wrote(1, tick(0) + flush);
        }
        assert_eq!(pace.due_us(tick(0), tick(0) + 100), tick(1));
    }
}
