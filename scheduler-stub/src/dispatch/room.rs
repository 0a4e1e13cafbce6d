//! Where starts wait whose partition is in nobody's hands: its owner has died or it is being moved, and the next one is
//! about to take it.
//!
//! They leave for the owner's link as soon as the directory knows one, and are refused at their deadline. Bounded as a
//! link is: by the permits of the room's own load.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{LaneKey, Shared, Submission, refuse};
use crate::error::Error;

/// Between two looks at deadlines, where none is nearer.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Room {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Submission>,
    waiting: BTreeMap<LaneKey, VecDeque<Submission>>,
}

impl Room {
    pub(super) fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Submission>) -> Self {
        Self { shared, queue, waiting: BTreeMap::new() }
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
        self.waiting.entry(submission.lane).or_default().push_back(submission);
    }

    fn wake_us(&self) -> u64 {
        let look_us = u64::try_from(LOOK_EVERY.as_micros()).unwrap_or(u64::MAX);
        let firsts = self.waiting.values().filter_map(VecDeque::front).map(|first| first.deadline_us);
        firsts.fold(self.shared.clock.now_us().saturating_add(look_us), u64::min)
    }

    fn expire(&mut self) {
        let now_us = self.shared.clock.now_us();
        for (lane, waiting) in &mut self.waiting {
            while waiting.front().is_some_and(|first| first.deadline_us <= now_us) {
                let Some(late) = waiting.pop_front() else { break };
                let what = lane.map_or_else(
                    || "no partition had an owner".to_owned(),
                    |partition| format!("partition {partition} had no owner"),
                );
                refuse(late, &Error::unavailable(format!("not sent before its deadline: {what}")));
            }
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
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
