//! How many calls a target gets, and when it gets none.
//!
//! A target is a scheme, host and port. Invariants: a target has its own places, so that one that is slow takes none from
//! others; who waits for a place is counted and bounded; a target that failed several times in a row has a pause, which
//! doubles; after it one call goes ahead alone, and its end decides. A failure is a call that got no answer: an answer that says
//! no, whatever its status, is none. Targets that are remembered are bounded.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::HttpError;

/// Failures in a row that begin a pause.
const FAILURES_MAX: u32 = 5;
/// The first pause.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Targets that are remembered.
const TARGETS_MAX: usize = 1_024;

/// Bounds of a target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Calls under way.
    pub calls_max: usize,
    /// Calls that wait for their turn.
    pub waiting_max: usize,
}

/// The targets of one client.
#[derive(Debug)]
pub(super) struct Targets {
    bounds: Bounds,
    known: RefCell<HashMap<String, Rc<Target>>>,
}

#[derive(Debug)]
pub(super) struct Target {
    name: String,
    bounds: Bounds,
    places: Arc<Semaphore>,
    waiting: Cell<usize>,
    failures: Cell<u32>,
    paused_until: Cell<Option<Instant>>,
    /// Whether a call goes ahead alone.
    tried: Cell<bool>,
}

impl Targets {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, known: RefCell::default() }
    }

    /// The target of this name.
    pub fn get(&self, name: &str) -> Rc<Target> {
        let mut known = self.known.borrow_mut();
        if let Some(target) = known.get(name) {
            return Rc::clone(target);
        }
        if known.len() >= TARGETS_MAX {
            known.retain(|_, target| Rc::strong_count(target) > 1 || target.failures.get() > 0);
        }
        if known.len() >= TARGETS_MAX {
            known.retain(|_, target| Rc::strong_count(target) > 1);
        }
        let target = Rc::new(Target::new(name, self.bounds));
        known.insert(name.to_owned(), Rc::clone(&target));
        target
    }
}

impl Target {
    fn new(name: &str, bounds: Bounds) -> Self {
        Self {
            name: name.to_owned(),
            bounds,
            places: Arc::new(Semaphore::new(bounds.calls_max)),
            waiting: Cell::new(0),
            failures: Cell::new(0),
            paused_until: Cell::new(None),
            tried: Cell::new(false),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// [`HttpError::Paused`] and [`HttpError::Crowded`], at once.
    pub async fn enter(self: &Rc<Self>) -> Result<Turn, HttpError> {
        self.not_paused()?;
        let waiting = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => return self.turn(place),
            Err(_) if self.waiting.get() >= self.bounds.waiting_max => {
                return Err(HttpError::Crowded { target: self.name.clone(), waiting: self.waiting.get() });
            }
            Err(_) => Waiting::new(self),
        };
        let place = Arc::clone(&self.places).acquire_owned().await;
        drop(waiting);
        // Those before it may have failed meanwhile.
        self.not_paused()?;
        let closed = |_| HttpError::Crowded { target: self.name.clone(), waiting: 0 };
        self.turn(place.map_err(closed)?)
    }

    fn not_paused(&self) -> Result<(), HttpError> {
        let Some(until) = self.paused_until.get() else { return Ok(()) };
        let pause = until.saturating_duration_since(Instant::now());
        if pause.is_zero() && !self.tried.get() {
            return Ok(());
        }
        Err(HttpError::Paused { target: self.name.clone(), failures: self.failures.get(), pause })
    }

    fn turn(self: &Rc<Self>, place: OwnedSemaphorePermit) -> Result<Turn, HttpError> {
        let alone = self.paused_until.get().is_some();
        self.tried.set(alone || self.tried.get());
        Ok(Turn { target: Rc::clone(self), _place: place, alone })
    }

    fn succeeded(&self) {
        self.failures.set(0);
        self.paused_until.set(None);
    }

    fn failed(&self) {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        if failures >= FAILURES_MAX {
            let doubled = PAUSE_FIRST.saturating_mul(1 << (failures - FAILURES_MAX).min(16));
            self.paused_until.set(Some(Instant::now() + doubled.min(PAUSE_MAX)));
        }
    }
}

/// Somebody who waits for a place.
struct Waiting<'a>(&'a Target);

impl<'a> Waiting<'a> {
    fn new(target: &'a Target) -> Self {
        target.waiting.set(target.waiting.get() + 1);
        Self(target)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// A call under way. Dropped without a word it says nothing of the target: who waited for it has left.
#[derive(Debug)]
pub(super) struct Turn {
    target: Rc<Target>,
    _place: OwnedSemaphorePermit,
    alone: bool,
}

impl Turn {
    /// The target has answered, or not.
    pub fn ended(self, answered: bool) {
        match answered {
            true => self.target.succeeded(),
            // It began before the pause, which the failures of others have brought about: one outage is one pause.
            false if !self.alone && self.target.paused_until.get().is_some() => {}
            false => self.target.failed(),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.alone {
            self.target.tried.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn target(calls_max: usize, waiting_max: usize) -> Rc<Target> {
        Targets::new(Bounds { calls_max, waiting_max }).get("http://a")
    }

    async fn fail(target: &Rc<Target>) {
        target.enter().await.expect("a turn").ended(false);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_failed_too_often_has_a_pause_which_doubles() {
        let target = target(8, 8);
        for _ in 0..FAILURES_MAX {
            fail(&target).await;
        }
        let refused = target.enter().await.expect_err("a pause");
        assert!(
            matches!(refused, HttpError::Paused { failures: FAILURES_MAX, pause, .. } if pause == PAUSE_FIRST)
        );
        tokio::time::advance(PAUSE_FIRST).await;
        fail(&target).await;
        let refused = target.enter().await.expect_err("a longer pause");
        assert!(matches!(refused, HttpError::Paused { pause, .. } if pause == PAUSE_FIRST * 2));
        tokio::time::advance(PAUSE_FIRST * 2).await;
        target.enter().await.expect("a turn").ended(true);
        for _ in 0..FAILURES_MAX {
            fail(&target).await;
        }
        assert!(target.enter().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_fail_together_bring_about_one_pause() {
        let target = target(64, 0);
        let mut turns = Vec::new();
        for _ in 0..64 {
            turns.push(target.enter().await.expect("a turn"));
        }
        turns.into_iter().for_each(|turn| turn.ended(false));
        tokio::time::advance(PAUSE_FIRST).await;
        target.enter().await.expect("the first pause is over").ended(true);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_pause_one_call_goes_ahead_alone() {
        let target = target(8, 8);
        for _ in 0..FAILURES_MAX {
            fail(&target).await;
        }
        tokio::time::advance(PAUSE_FIRST).await;
        let first = target.enter().await.expect("a turn");
        assert!(target.enter().await.is_err(), "it is not known yet how the first one ends");
        drop(first);
        target.enter().await.expect("the first was cancelled, so another goes ahead").ended(true);
        let both = (target.enter().await, target.enter().await);
        assert!(both.0.is_ok() && both.1.is_ok());
    }

    #[tokio::test]
    async fn calls_beyond_the_places_wait_and_calls_beyond_that_are_refused() {
        let target = target(1, 1);
        let first = target.enter().await.expect("a turn");
        let mut second = Box::pin(target.enter());
        assert!((&mut second).now_or_never().is_none(), "it waits");
        assert!(matches!(target.enter().await, Err(HttpError::Crowded { waiting: 1, .. })));
        first.ended(true);
        second.await.expect("its turn").ended(true);
        let place = target.enter().await.expect("a turn");
        let left = Box::pin(target.enter()).now_or_never();
        assert!(left.is_none());
        assert_eq!(target.waiting.get(), 0, "who leaves waits no longer");
        drop(place);
    }
}
