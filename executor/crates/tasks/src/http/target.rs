//! How many calls a target gets, and when it gets none.
//!
//! A target is a scheme, host and port, and behind that a lane ([`super::Outbound::lane`]). Invariants: a target has its own
//! places, and of those of all targets together, which bound sockets, a part of what is free ([`super::share`]), so that those
//! that are slow leave some to others; who waits for a place is counted and bounded, and holds nothing; so it is with
//! the bytes of long answers; a target that failed several times in a row has a pause, which doubles; after it one call goes
//! ahead alone, until it has ended or has taken so long that it must have reached the target: how long the target then takes
//! for its answer holds nobody up. A failure is a connection that did not come about or broke: an answer that says no,
//! whatever its status, is none, and one that is late says nothing. Targets that are remembered are bounded.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::HttpError;
use super::share::{Holder, Part, Share};

/// Failures in a row that begin a pause.
const FAILURES_MAX: u32 = 5;
/// The first pause.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A call that has not failed by then has a connection (`CONNECT_WITHIN` of the client), and a little for the way.
const REACHED_AFTER: Duration = Duration::from_secs(6);
/// Targets that are remembered.
const TARGETS_MAX: usize = 1_024;
/// Bytes of long answers that are read at once: of all targets, and of one.
const BYTES_MAX: usize = 256 * 1024 * 1024;
const TARGET_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bounds of a target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Calls under way.
    pub calls_max: usize,
    /// Calls that wait for a place.
    pub waiting_max: usize,
}

/// The targets of one client.
#[derive(Debug)]
pub(super) struct Targets {
    bounds: Bounds,
    /// Of all targets together.
    calls: Rc<Share>,
    /// Likewise.
    bytes: Rc<Share>,
    known: RefCell<HashMap<String, Rc<Target>>>,
}

#[derive(Debug)]
pub(super) struct Target {
    name: String,
    bounds: Bounds,
    calls: Rc<Holder>,
    /// Of long answers.
    bytes: Rc<Holder>,
    waiting: Cell<usize>,
    failures: Cell<u32>,
    paused_until: Cell<Option<Instant>>,
    /// Since when a call goes ahead alone.
    tried: Cell<Option<Instant>>,
}

impl Targets {
    /// With so many calls under way in all.
    pub fn new(bounds: Bounds, calls_max: usize) -> Self {
        let (calls, bytes) = (Share::new(calls_max), Share::new(BYTES_MAX));
        Self { bounds, calls, bytes, known: RefCell::default() }
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
        let target = Rc::new(Target::new(name, self));
        known.insert(name.to_owned(), Rc::clone(&target));
        target
    }
}

impl Target {
    fn new(name: &str, all: &Targets) -> Self {
        Self {
            name: name.to_owned(),
            bounds: all.bounds,
            calls: Holder::new(&all.calls, all.bounds.calls_max),
            bytes: Holder::new(&all.bytes, TARGET_BYTES_MAX),
            waiting: Cell::new(0),
            failures: Cell::new(0),
            paused_until: Cell::new(None),
            tried: Cell::new(None),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// [`HttpError::Paused`] and [`HttpError::Crowded`], at once.
    pub async fn enter(self: &Rc<Self>) -> Result<Turn, HttpError> {
        self.not_paused()?;
        let waiting = self.waiting.get();
        let place = match self.calls.try_take(1) {
            Some(place) => place,
            None if waiting >= self.bounds.waiting_max => {
                return Err(HttpError::Crowded { target: self.name.clone(), waiting });
            }
            None => {
                let _waiting = Waiting::new(self);
                self.calls.take(1).await
            }
        };
        // Those before it may have failed meanwhile.
        self.not_paused()?;
        Ok(self.turn(place))
    }

    fn not_paused(&self) -> Result<(), HttpError> {
        let Some(until) = self.paused_until.get() else { return Ok(()) };
        let now = Instant::now();
        let pause = until.saturating_duration_since(now);
        match self.tried.get() {
            Some(since) if now.saturating_duration_since(since) >= REACHED_AFTER => {
                self.paused_until.set(None);
                self.tried.set(None);
                return Ok(());
            }
            None if pause.is_zero() => return Ok(()),
            _ => {}
        }
        Err(HttpError::Paused { target: self.name.clone(), failures: self.failures.get(), pause })
    }

    fn turn(self: &Rc<Self>, place: Part) -> Turn {
        let alone = self.paused_until.get().map(|_| Instant::now());
        if alone.is_some() {
            self.tried.set(alone);
        }
        Turn { target: Rc::clone(self), _held: place, alone }
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
    _held: Part,
    /// Since when it goes ahead alone.
    alone: Option<Instant>,
}

impl Turn {
    /// Waits until so much of an answer may be read. Of an answer all is taken at once, so that no two wait for each other.
    pub async fn bytes(&self, bytes: usize) -> Part {
        self.target.bytes.take(bytes.min(TARGET_BYTES_MAX)).await
    }

    /// The target has answered, or not.
    pub fn ended(self, answered: bool) {
        match answered {
            true => self.target.succeeded(),
            // It began before the pause, which the failures of others have brought about: one outage is one pause.
            false if self.alone.is_none() && self.target.paused_until.get().is_some() => {}
            false => self.target.failed(),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Not if another one goes ahead by now.
        if self.alone.is_some() && self.target.tried.get() == self.alone {
            self.target.tried.set(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn target(calls_max: usize, waiting_max: usize) -> Rc<Target> {
        Targets::new(Bounds { calls_max, waiting_max }, calls_max).get("http://a")
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

    #[tokio::test(start_paused = true)]
    async fn a_call_that_goes_ahead_and_takes_long_has_reached_its_target() {
        let target = target(8, 8);
        for _ in 0..FAILURES_MAX {
            fail(&target).await;
        }
        tokio::time::advance(PAUSE_FIRST).await;
        let first = target.enter().await.expect("a turn");
        tokio::time::advance(REACHED_AFTER - Duration::from_millis(1)).await;
        assert!(target.enter().await.is_err(), "it may be without a connection still");
        tokio::time::advance(Duration::from_millis(1)).await;
        let others = (target.enter().await.expect("a turn"), target.enter().await.expect("a turn"));
        others.0.ended(false);
        let pause = target.enter().await.expect_err("failures are counted on until an answer comes");
        assert!(matches!(pause, HttpError::Paused { failures, .. } if failures == FAILURES_MAX + 1));
        tokio::time::advance(PAUSE_FIRST * 2).await;
        let second = target.enter().await.expect("a turn");
        drop((first, others.1));
        assert!(target.enter().await.is_err(), "the second one goes ahead alone");
        second.ended(true);
        target.enter().await.expect("a turn").ended(true);
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

    #[tokio::test]
    async fn who_waits_for_a_place_holds_nothing_that_another_target_could_have() {
        let targets = Targets::new(Bounds { calls_max: 1, waiting_max: 8 }, 2);
        let (slow, quick, third) =
            (targets.get("http://a"), targets.get("http://b"), targets.get("http://c"));
        let first = slow.enter().await.expect("a turn");
        let waiting: Vec<_> = (0..8).map(|_| Box::pin(slow.enter())).collect();
        let mut waiting = futures_util::future::join_all(waiting);
        assert!((&mut waiting).now_or_never().is_none(), "they wait");
        let second = quick.enter().now_or_never().expect("at once").expect("a turn");
        let mut beyond = Box::pin(third.enter());
        assert!((&mut beyond).now_or_never().is_none(), "all targets together have two");
        drop(first);
        assert!((&mut waiting).now_or_never().is_none());
        drop(second);
        beyond.now_or_never().expect("at once").expect("a turn").ended(true);
    }

    #[tokio::test]
    async fn long_answers_have_so_many_bytes_at_once_and_those_of_one_target_leave_some_to_another() {
        const LONG: usize = 1024 * 1024;
        let targets = Targets::new(Bounds { calls_max: 64, waiting_max: 0 }, 1_024);
        let slow = targets.get("http://a");
        let turn = slow.enter().await.expect("a turn");
        let mut held = Vec::new();
        while let Some(part) = turn.bytes(LONG).now_or_never() {
            held.push(part);
        }
        assert_eq!(held.len(), TARGET_BYTES_MAX / LONG);
        let other = targets.get("http://b").enter().await.expect("a turn");
        other.bytes(LONG).now_or_never().expect("at once");
        let mut next = Box::pin(turn.bytes(LONG));
        assert!((&mut next).now_or_never().is_none());
        held.pop();
        next.now_or_never().expect("its turn");
    }
}
