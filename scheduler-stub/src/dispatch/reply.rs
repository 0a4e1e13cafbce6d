//! How a start's caller is answered: once, without blocking the link, whatever happens to the batch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ids::{BatchId, ExecutionId};
use proto::executor::v1::{RunningExecution, StartRefusal};
use proto::scheduler::v1::StartExecutionsResponse;
use tokio::sync::{mpsc, oneshot};

/// What a caller that made one start is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The execution's id.
    pub id: ExecutionId,
    /// Unix time in milliseconds at which the scheduler accepted it.
    pub start_time_ms: u64,
}

/// The replies of one message; the stream flattens them.
pub type Replies = Vec<StartExecutionsResponse>;

/// A place in the reply stream, reserved before the message was read: a caller that reads no replies is read
/// no further.
pub type ReplyPlace = mpsc::OwnedPermit<Replies>;

/// What became of a start.
#[derive(Debug, Clone, PartialEq)]
pub enum Settled {
    /// It is durable.
    Durable,
    /// Why not.
    Refused(StartRefusal),
    /// Nothing was started: this execution has its name and its input, and runs.
    Running(RunningExecution),
}

/// Entries `[from, to)` of a submission, counted from its first.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// First entry.
    pub from: u32,
    /// One after the last.
    pub to: u32,
    /// What became of them.
    pub settled: Settled,
}

/// Where the answer goes.
#[derive(Debug)]
pub enum Reply {
    /// To a caller that made one start.
    One(oneshot::Sender<Result<Started, StartRefusal>>),
    /// To a stream; the message is one submission.
    Stream {
        /// The message's tag.
        tag: u64,
        /// Its place.
        place: ReplyPlace,
    },
    /// To a stream; the message is several submissions.
    Gathered {
        /// What the parts are gathered in.
        gather: Arc<Gather>,
        /// The submission's first entry within the message.
        from: u32,
    },
}

/// The replies of a message that was split over several partitions, sent when the last part is settled.
#[derive(Debug)]
pub struct Gather {
    tag: u64,
    missing: AtomicUsize,
    replies: Mutex<(Replies, Option<ReplyPlace>)>,
}

impl Gather {
    /// For a message of so many parts.
    #[must_use]
    pub fn new(tag: u64, parts: usize, place: ReplyPlace) -> Arc<Self> {
        Arc::new(Self {
            tag,
            missing: AtomicUsize::new(parts),
            replies: Mutex::new((Vec::with_capacity(parts), Some(place))),
        })
    }

    fn add(&self, part: Replies) {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.0.extend(part);
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(place) = replies.1.take()
        {
            place.send(std::mem::take(&mut replies.0));
        }
    }
}

impl Reply {
    /// Answers. `first` is the index of the submission's first entry in the batch; without a batch nothing
    /// was sent. A caller that has gone away is no error.
    pub fn settle(self, batch: Option<(BatchId, u64)>, first: u32, ranges: Vec<Range>) {
        let respond = |tag: u64, offset: u32, ranges: Vec<Range>| -> Replies {
            let respond = |Range { from, to, settled }: Range| {
                let own = (batch.map(|(id, _)| id.into()), first + from);
                let ((batch, first_index), refusal) = match settled {
                    Settled::Durable => (own, None),
                    Settled::Refused(refusal) => (own, Some(refusal)),
                    Settled::Running(running) => ((running.batch, running.index), None),
                };
                let (from, to) = (offset + from, offset + to);
                StartExecutionsResponse { tag, from, to, batch, first_index, refusal }
            };
            ranges.into_iter().map(respond).collect()
        };
        match self {
            Self::One(caller) => {
                let settled = ranges.into_iter().next().map_or(Settled::Durable, |range| range.settled);
                let answer = match (settled, batch) {
                    (Settled::Refused(refusal), _) => Err(refusal),
                    (Settled::Running(running), _) => {
                        // A node that names nobody has answered nothing; the caller hears that it was late.
                        let Ok(id) = ExecutionId::try_from(&running) else { return };
                        Ok(Started { id, start_time_ms: running.start_time_ms })
                    }
                    (Settled::Durable, Some((id, start_time_ms))) => {
                        let index = u8::try_from(first).unwrap_or(u8::MAX);
                        Ok(Started { id: id.execution(index), start_time_ms })
                    }
                    (Settled::Durable, None) => return,
                };
                // The caller may have stopped waiting.
                let _ = caller.send(answer);
            }
            Self::Stream { tag, place } => {
                place.send(respond(tag, 0, ranges));
            }
            Self::Gathered { gather, from } => gather.add(respond(gather.tag, from, ranges)),
        }
    }

    /// Refuses all `count` entries of a submission that no batch holds.
    pub fn refuse(self, count: u32, refusal: StartRefusal) {
        self.settle(None, 0, vec![Range { from: 0, to: count, settled: Settled::Refused(refusal) }]);
    }
}
