//! Where starts wait whose partition is in nobody's hands: its owner has died or it is being moved, and the next one is
//! about to take it.
//!
//! They leave for the owner's link as soon as the directory knows one, and are refused at their deadline. Bounded as a
//! link is: by the permits of the room's own load.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::link::us;
use super::{LaneKey, Shared, Submission, refuse};
use crate::ailments;
use crate::error::Error;

/// Between two looks at deadlines, where none is nearer.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks in any case: each goes through all that waits.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// See the module.
pub(super) struct Room {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Submission>,
    waiting: BTreeMap<LaneKey, VecDeque<Submission>>,
    /// When to look at deadlines: the earliest one, or before.
    look_us: u64,
}

impl Room {
    pub(super) fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Submission>) -> Self {
        Self { shared, queue, waiting: BTreeMap::new(), look_us: u64::MAX }
    }

    /// Runs until the queue is closed.
    pub(super) async fn run(mut self) {
        let mut changes = self.shared.directory.changes();
        let clock = self.shared.clock.clone();
        loop {
            let wake_us = self.wake_us();
            tokio::select! {
                arrived = self.queue.recv() => match arrived {
                    Some(submission) => self.take(submission),
                    None => break,
                },
                // The directory lives as long as we do.
                _ = changes.changed() => {}
                () = clock.sleep_until_us(wake_us) => {}
            }
            while let Ok(submission) = self.queue.try_recv() {
                self.take(submission);
            }
            self.expire();
            self.release();
        }
        for submission in self.waiting.into_values().flatten() {
            refuse(submission, &Error::unavailable("the scheduler is shutting down"));
        }
    }

    fn take(&mut self, submission: Submission) {
        self.look_us = self.look_us.min(submission.deadline_us);
        self.waiting.entry(submission.lane).or_default().push_back(submission);
    }

    fn wake_us(&self) -> u64 {
        self.look_us.min(self.shared.clock.now_us().saturating_add(us(LOOK_EVERY)))
    }

    /// Refuses whoever no longer waits, wherever it stands.
    fn expire(&mut self) {
        let now_us = self.shared.clock.now_us();
        if now_us < self.look_us {
            return;
        }
        for (lane, waiting) in &mut self.waiting {
            let (late, rest): (VecDeque<_>, VecDeque<_>) =
                waiting.drain(..).partition(|submission| submission.deadline_us <= now_us);
            *waiting = rest;
            for late in late {
                let what = lane.map_or_else(
                    || "no partition had an owner".to_owned(),
                    |partition| format!("partition {partition} had no owner"),
                );
                let nodes = ailments::told(&self.shared.directory);
                refuse(
                    late,
                    &Error::unavailable(format!("not sent before its deadline, for {what}: {nodes}")),
                );
            }
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        let earliest = self.waiting.values().flatten().map(|submission| submission.deadline_us).min();
        self.look_us = earliest.unwrap_or(u64::MAX).max(now_us.saturating_add(us(LOOK_PAUSE)));
    }

    /// Sends on those whose partition has an owner.
    fn release(&mut self) {
        let view = self.shared.directory.view();
        let ready = |lane: &LaneKey| match lane {
            Some(partition) => view.owner(*partition).is_some(),
            None => !view.open.is_empty(),
        };
        for (_, waiting) in self.waiting.extract_if(.., |lane, _| ready(lane)) {
            for submission in waiting {
                self.shared.reroute(submission);
            }
        }
    }
}
