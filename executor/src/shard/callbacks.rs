//! Callbacks: whoever has a task's token says how the task went, by a call of its own.
//!
//! Tokens are taken for what waits for one: tasks of STANDARD executions whose resource ends in `.waitForTaskToken`, before and
//! after their first request was answered, and activities' tasks. The token under which a streaming worker has any other task
//! is refused: its stream is where that is answered, where credit counts. Invariants: an outcome is journalled before anything
//! else is done, and whoever sent it is answered when that block is confirmed, so that one which was acknowledged is never
//! lost; a callback is refused for good only when what it is refused for is durable too, for a caller who sends an
//! unanswered one again takes `TaskTimedOut` to mean that the first was taken; nothing is taken that cannot be written now.
//! A heartbeat is not journalled: it is taken also while the store does not confirm, for the task's time runs on, and a
//! recovery gives the task all of it again. What may fail: a task that is over; a partition that is elsewhere, or is being
//! recovered, and a store that does not confirm: then it has to be sent again.

use std::time::Duration;

use asl::{EffectId, Event, Payload, Str};
use ids::ExecutionId;

use super::command::Reply;
use super::core::Shard;
use super::execution::Waiting;
use super::log::LogState;
use super::slab::Address;
use super::token::TaskToken;
use crate::error::Error;

/// What whoever has a token says of its task.
#[derive(Debug)]
pub enum Callback {
    /// It is done.
    Succeeded(Payload),
    /// It is over without success; both texts may be empty.
    Failed {
        /// Error name.
        error: Str,
        /// Cause.
        cause: Str,
    },
    /// It is being worked at.
    Heartbeat,
}

impl Callback {
    fn event(self, id: EffectId) -> Event {
        match self {
            Self::Succeeded(output) => Event::TaskSucceeded { id, output },
            Self::Failed { error, cause } => Event::TaskFailed { id, error, cause },
            Self::Heartbeat => Event::TaskHeartbeat(id),
        }
    }
}

/// The task was there, and is over.
fn timed_out() -> Error {
    let message =
        "the task of this token is over: it was answered before, has timed out, or its execution has ended";
    Error::Conflict { code: "TaskTimedOut", message: message.to_owned() }
}

/// Nothing waits for a callback by this token.
pub fn no_task() -> Error {
    let message = "no task waits for a callback with this token: it is that of a worker's stream, which alone answers the \
                   task, or of a partition that this cluster does not have";
    Error::NotFound { code: "TaskDoesNotExist", message: message.to_owned() }
}

impl Shard {
    /// Takes a callback, or refuses it.
    pub(super) fn callback(&mut self, token: &TaskToken, callback: Callback, reply: Reply<()>) {
        let TaskToken { execution: id, effect, .. } = *token;
        let partition = id.batch.partition;
        let Some(at) = self.log_at(partition) else {
            return drop(reply.send(Err(Error::NotOwner { partition: partition.get() })));
        };
        let heartbeat = matches!(callback, Callback::Heartbeat);
        let written = self.may_write(at);
        let taken = self.may_tell(at, id).and_then(|()| if heartbeat { Ok(()) } else { written.clone() });
        if let Err(error) = taken {
            return drop(reply.send(Err(error)));
        }
        let address = self.find(id);
        // What it was told before may have ended the task.
        address.into_iter().for_each(|address| self.run(address));
        let address = match self.called_back(address, token) {
            Ok(address) => address,
            // What it is refused for has to be durable, and cannot be now.
            Err(_) if written.is_err() => return drop(reply.send(written)),
            Err(error) => return self.answer_callback(at, reply, Err(error)),
        };
        if !heartbeat {
            let failed = matches!(callback, Callback::Failed { .. });
            self.activity_ended(address, effect, !failed);
            self.cancel(address, effect, true);
            let counter = if failed { &self.metrics.tasks_failed } else { &self.metrics.tasks_succeeded };
            counter.add(1);
        }
        self.deliver(address, callback.event(effect));
        match heartbeat {
            true => self.answer_as_owner(at, reply, Ok(())),
            false => {
                // It is journalled here, and what it leads to follows in the same block or a later one.
                self.run(address);
                self.answer_callback(at, reply, Ok(()));
            }
        }
    }

    /// Whether an execution may be told something now.
    fn may_tell(&self, at: usize, id: ExecutionId) -> Result<(), Error> {
        let log = &self.logs[at];
        let (partition, retry_after) = (log.partition.get(), self.shortly());
        match log.state {
            LogState::Recovering => Err(Error::Recovering { partition, retry_after }),
            _ if !log.works() => Err(Error::NotOwner { partition }),
            // Its executions stand still.
            _ if log.renewing => Err(not_durable("the partition is being taken anew", retry_after)),
            _ if log.away.contains_key(&id) => Err(Error::Recovering { partition, retry_after }),
            _ => Ok(()),
        }
    }

    /// Whether an outcome would be written now.
    fn may_write(&self, at: usize) -> Result<(), Error> {
        let log = &self.logs[at];
        if log.state == LogState::Down {
            return Err(not_durable("the store does not confirm", self.shortly()));
        }
        if self.probe.silent || log.mending || log.is_congested() {
            return Err(not_durable("the store is away, or slower than what is written", self.shortly()));
        }
        Ok(())
    }

    /// The execution whose task waits for this token.
    fn called_back(&self, address: Option<Address>, token: &TaskToken) -> Result<Address, Error> {
        if !token.outlives_its_owner() {
            return Err(no_task());
        }
        let open = address.and_then(|address| Some((address, self.open.get(address)?)));
        let (address, open) = open.filter(|(_, open)| open.ended.is_none()).ok_or_else(timed_out)?;
        let awaited = match open.waiting_for.work(token.effect).ok_or_else(timed_out)? {
            Waiting::Task(task) => self.tasks.get(task).is_some_and(|task| task.calls_back),
            Waiting::Call(call) => self.calls.calls_back(call),
            Waiting::Callback => true,
            Waiting::Activity(task) => self.activities.has_begun(task),
            Waiting::Transfer(_) | Waiting::Timer(_) => false,
        };
        if awaited { Ok(address) } else { Err(no_task()) }
    }

    /// Answers when everything is durable that stands in the log so far.
    fn answer_callback(&mut self, at: usize, reply: Reply<()>, answer: Result<(), Error>) {
        let log = &mut self.logs[at];
        if log.waiting() > 0 {
            log.page.callbacks.push((reply, answer));
        } else if let Some(last) = log.sealed.back_mut() {
            last.page.callbacks.push((reply, answer));
        } else {
            self.answer_as_owner(at, reply, answer);
        }
    }

    /// Answers at once, where the store need not be asked first whether the partition still has this owner.
    fn answer_as_owner(&mut self, at: usize, reply: Reply<()>, answer: Result<(), Error>) {
        let standing = self.standing(at);
        if standing.is_firm() {
            // Who no longer listens needs no answer.
            return drop(reply.send(answer));
        }
        self.answer(reply, &[at], async move |store| {
            standing.ask(&*store).await?;
            answer
        });
    }

    fn shortly(&self) -> Duration {
        Duration::from_millis(u64::from(self.admission.retry_after_ms()))
    }
}

fn not_durable(why: &str, retry_after: Duration) -> Error {
    let message = format!("the callback was not taken, for {why}: send it again");
    Error::NotDurable { message, retry_after }
}
