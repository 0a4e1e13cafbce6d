//! Before the shard gives something away, synchronous executions end.
//!
//! A synchronous EXPRESS execution runs at most once, so that no later owner can go on with it. Where a partition is given
//! back in order, or the node drains, those that are open have [`limits::SYNC_GRACE`] to end; meanwhile everything of the
//! partition goes on but starts. Whoever has not ended by then is ended here, as FAILED, with a cause that says so, and who
//! waits for it is told when that is durable. Invariant: nothing waits longer than the grace. Nothing here fails.

use asl::Event;
use ids::Mode;

use super::core::Shard;
use super::execution::OpenExecution;
use super::slab::Address;
use crate::limits;

/// Synchronous executions that the shard lets end.
pub(super) struct Last {
    open: Vec<Address>,
    until_us: u64,
}

/// A log that is given back when those have ended.
pub(super) struct Parting {
    pub log: usize,
    pub tenure: u64,
    pub last: Last,
}

impl Shard {
    /// The open synchronous executions in some slots, if there are any.
    pub(super) fn last_of(&self, slots: Vec<Address>) -> Option<Last> {
        let waited_for =
            |open: &OpenExecution| open.machine.key.mode == Mode::SyncExpress && open.ended.is_none();
        let mut open = slots;
        open.retain(|address| self.open.get(*address).is_some_and(waited_for));
        let until_us = self.now_us + limits::SYNC_GRACE.as_micros() as u64;
        (!open.is_empty()).then_some(Last { open, until_us })
    }

    /// Whether they have ended; when their time is over, they are ended. Else the shard is woken by then.
    pub(super) fn have_ended(&mut self, last: &mut Last) -> bool {
        last.open.retain(|address| self.open.get(*address).is_some_and(|open| open.ended.is_none()));
        if !last.open.is_empty() && self.now_us < last.until_us {
            self.alarm_at(last.until_us);
            return false;
        }
        for address in last.open.drain(..) {
            let cause = format!(
                "The node gave back the execution's partition, or was stopped, and the execution had not ended {:?} later. \
                 A synchronous execution runs at most once, so no other node goes on with it: start another one if its \
                 work can be done twice.",
                limits::SYNC_GRACE
            );
            let (error, cause) = ("States.Runtime".into(), cause.into());
            self.deliver(address, Event::GiveUp { error, cause });
        }
        self.run_mailboxes();
        true
    }

    /// Gives back the logs whose synchronous executions have ended, and goes on with a drain that waits for some.
    pub(super) fn part_some(&mut self) {
        if let Some(mut last) = self.last.take() {
            self.last = (!self.have_ended(&mut last)).then_some(last);
        }
        for mut parting in std::mem::take(&mut self.own.parting) {
            if !self.lasts(parting.log, parting.tenure) {
                continue;
            }
            // What happens is not written before the partition is taken anew.
            match self.have_ended(&mut parting.last) && !self.logs[parting.log].renewing {
                true => self.part(parting.log),
                false => self.own.parting.push(parting),
            }
        }
    }
}
