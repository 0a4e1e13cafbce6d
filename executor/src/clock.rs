//! The only place where time enters the node.
//!
//! Purpose: one notion of now, in microseconds of Unix time, that never goes back, and a way to sleep until an instant of
//! it. Invariants: [`Clock::now_us`] is monotone within a process (a step of the system's clock is not followed; slewing
//! is); a [`ManualClock`] moves only when it is told to, or as it is told to. Nothing here fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Where time comes from. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    System,
    /// A test's.
    Manual(ManualClock),
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now_us: watch::Sender<u64>,
    /// How long it takes to look at it.
    look_us: Arc<AtomicU64>,
    /// The instants for which somebody sleeps, and how many do.
    sleepers: Arc<Mutex<BTreeMap<u64, usize>>>,
}

/// Somebody who sleeps on a manual clock; gone when it wakes or is dropped.
struct Sleeper<'a>(&'a ManualClock, u64);

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        let mut sleepers = self.0.sleepers();
        if let Some(sleeping) = sleepers.get_mut(&self.1) {
            *sleeping -= 1;
            if *sleeping == 0 {
                sleepers.remove(&self.1);
            }
        }
    }
}

impl ManualClock {
    /// A clock that stands at this Unix time in milliseconds.
    #[must_use]
    pub fn at_ms(unix_ms: u64) -> Self {
        let now_us = watch::Sender::new(unix_ms.saturating_mul(1_000));
        Self { now_us, look_us: Arc::default(), sleepers: Arc::default() }
    }

    /// From now on it moves by so much whenever somebody looks at it, as if all that is done took as long.
    pub fn advance_with_each_look(&self, by: Duration) {
        self.look_us.store(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn look(&self) -> u64 {
        match self.look_us.load(Ordering::Relaxed) {
            0 => {}
            by => self.advance(Duration::from_micros(by)),
        }
        *self.now_us.borrow()
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.now_us.send_modify(|now| *now = now.saturating_add(by));
    }

    /// The first instant, in microseconds, for which somebody sleeps.
    #[must_use]
    pub fn next_sleeper_us(&self) -> Option<u64> {
        self.sleepers().keys().next().copied()
    }

    async fn sleep_until_us(&self, at_us: u64) {
        if *self.now_us.borrow() >= at_us {
            return;
        }
        *self.sleepers().entry(at_us).or_default() += 1;
        let _sleeper = Sleeper(self, at_us);
        // The sender lives in `self`, so that waiting ends only when the clock has come so far.
        let _ = self.now_us.subscribe().wait_for(|now| *now >= at_us).await;
    }

    fn sleepers(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wall clock and the monotonic clock, read together once per process.
#[cfg_attr(test, derive(Default))]
struct Base(OnceLock<(u64, Instant)>);

impl Base {
    /// Time by the monotonic clock, from what the wall clock said when it was asked for the first and only time.
    fn now_us(&self, wall: impl FnOnce() -> SystemTime) -> u64 {
        let (wall, started) = self.0.get_or_init(|| {
            let wall = wall().duration_since(UNIX_EPOCH).unwrap_or_default();
            (u64::try_from(wall.as_micros()).unwrap_or(u64::MAX), Instant::now())
        });
        wall.saturating_add(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

impl Clock {
    /// Unix time in microseconds.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        match self {
            Self::System => {
                static BASE: Base = Base(OnceLock::new());
                #[allow(
                    clippy::disallowed_methods,
                    reason = "this is the one place where the wall clock is read"
                )]
                BASE.now_us(SystemTime::now)
            }
            Self::Manual(clock) => clock.look(),
        }
    }

    /// Unix time in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// Returns at this instant, or up to two milliseconds later.
    pub async fn sleep_until_us(&self, at_us: u64) {
        match self {
            Self::System => {
                let left = at_us.saturating_sub(self.now_us());
                if left > 0 {
                    tokio::time::sleep(Duration::from_micros(left)).await;
                }
            }
            Self::Manual(clock) => clock.sleep_until_us(at_us).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = Clock::System;
        let mut last = clock.now_us();
        for _ in 0..10_000 {
            let now = clock.now_us();
            assert!(now >= last, "{now} < {last}");
            last = now;
        }
    }

    #[test]
    fn a_wall_clock_that_is_set_back_or_far_ahead_is_not_followed() {
        let (base, set_to_s) = (Base::default(), std::cell::Cell::new(1_000_000));
        let now = || base.now_us(|| UNIX_EPOCH + Duration::from_secs(set_to_s.get()));
        let mut last = now();
        assert_eq!(last / 1_000_000, 1_000_000);
        for set_to in [0, 999_000, 500_000_000, 1, 900_000_000] {
            set_to_s.set(set_to);
            let at = now();
            // Nobody waits an hour here.
            assert!(at >= last && at - last < 3_600_000_000, "set to {set_to} s, it shows {at} after {last}");
            last = at;
        }
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_a_sleeper_when_it_has_come_so_far() {
        let manual = ManualClock::at_ms(1_000);
        let clock = Clock::Manual(manual.clone());
        let year = Duration::from_secs(365 * 86_400);
        let wake_at = clock.now_us() + 31_536_000_000_000;
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until_us(wake_at).await }
        });
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        assert_eq!(manual.next_sleeper_us(), Some(wake_at));
        manual.advance(year);
        sleeper.await.expect("the sleeper wakes");
        assert_eq!(manual.next_sleeper_us(), None);
        assert_eq!(clock.now_us(), wake_at);
    }
}
