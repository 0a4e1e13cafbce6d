//! From accepted starts to durable ones: batches, ids, resends.
//!
//! Each shard of each node has a link: a task with a stream to the shard's data port. A start joins the
//! link's queue, is put into a batch with what gathered while the batch before was under way, and is answered
//! when the node has acknowledged it. Starts whose partition has no owner now wait in a room until it has. Invariants: a batch keeps its id and its content for ever, so that a
//! resend (to the same shard or to the partition's next owner) starts nothing twice; every accepted start is
//! answered exactly once, at its deadline at the latest; queues are bounded by count and bytes. What may
//! fail: a full queue (refused at once), and everything that a node refuses.

mod admission;
mod batch;
mod connection;
mod lanes;
mod link;
mod nodes;
pub mod reply;
mod room;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use executor::clock::Clock;
use ids::{BatchId, IdError, Mode, PartitionId, partition_of_name};
use proto::executor::v1::TraceContext;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

pub use admission::{BYTES_MAX, STARTS_MAX};
pub use lanes::BATCH_BYTES_MAX;
pub(crate) use nodes::endpoint;
pub use nodes::{CALL_TIMEOUT, MESSAGE_BYTES_MAX, NodeClients};

use crate::ailments;
use crate::directory::Directory;
use crate::error::Error;
use crate::placement::{Dice, Placement};
use crate::templates::Template;
use admission::{Load, Permit};
use reply::{Gather, Reply, ReplyPlace, Started};

/// Submissions that one link's queue holds.
pub const QUEUE_MAX: usize = 4_096;

/// How long a start waits for its acknowledgement when its caller set no deadline.
pub const START_DEADLINE: Duration = Duration::from_secs(30);

/// What a link or the waiting room takes to answer a start whose deadline has passed.
const HOLDER_ANSWERS_WITHIN: Duration = Duration::from_millis(100);

/// The partition that a start must go to, if any.
pub(crate) type LaneKey = Option<PartitionId>;

/// Starts of one machine that share a reply.
#[derive(Debug)]
pub(crate) struct Submission {
    template: Arc<Template>,
    lane: LaneKey,
    inputs: Vec<Bytes>,
    /// Empty, or as many as inputs.
    names: Vec<String>,
    /// Empty, or as many as inputs.
    traces: Vec<TraceContext>,
    bytes: usize,
    reply: Reply,
    permit: Permit,
    deadline_us: u64,
}

/// Starts as a caller hands them in, validated.
#[derive(Debug)]
pub struct Starts {
    /// Their machine.
    pub template: Arc<Template>,
    /// JSON texts, 1 to 256 of them, at most [`BATCH_BYTES_MAX`] in sum.
    pub inputs: Vec<Bytes>,
    /// Empty, or as many as inputs.
    pub names: Vec<String>,
    /// The traces that they belong to, as far as they can be read. Empty, or as many as inputs.
    pub traces: Vec<TraceContext>,
    /// How long their caller waits.
    pub patience: Duration,
}

/// Where submissions queue: a link, or the waiting room.
#[derive(Clone)]
struct Queue {
    submissions: mpsc::Sender<Submission>,
    load: Arc<Load>,
}

#[derive(Clone)]
struct LinkHandle {
    queue: Queue,
    adopt: mpsc::Sender<Box<batch::Batch>>,
}

/// What ends at shutdown.
struct Links {
    /// By data address.
    shards: HashMap<Arc<str>, LinkHandle>,
    /// For starts whose partition has no owner now.
    room: Queue,
}

/// What links share.
pub(crate) struct Shared {
    directory: Arc<Directory>,
    clients: NodeClients,
    clock: Clock,
    /// Where links run: a caller's own runtime may end before them.
    runtime: Handle,
    /// 0 until a node has given one.
    incarnation: AtomicU32,
    sequence: AtomicU64,
    /// `None` before the start and after shutdown.
    links: Mutex<Option<Links>>,
    placement: Placement,
}

impl Shared {
    fn next_id(&self, partition: PartitionId) -> Result<BatchId, IdError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        BatchId::new(partition, self.incarnation.load(Ordering::Relaxed), sequence)
    }

    /// The link to a data address; made when there is none. `None` after shutdown.
    fn link(self: &Arc<Self>, address: &Arc<str>) -> Option<LinkHandle> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let links = &mut links.as_mut()?.shards;
        if let Some(link) = links.get(address) {
            return Some(link.clone());
        }
        let (queue, queued) = queue();
        let (adopt, adopted) = mpsc::channel(link::IN_FLIGHT_MAX);
        let handle = LinkHandle { queue, adopt };
        links.insert(Arc::clone(address), handle.clone());
        self.runtime.spawn(link::Link::new(Arc::clone(address), Arc::clone(self), queued, adopted).run());
        Some(handle)
    }

    /// How full the queue to a data address is.
    fn queued(&self, address: &str) -> f64 {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.as_ref().and_then(|links| links.shards.get(address));
        link.map_or(0.0, |link| link.queue.load.ratio())
    }

    fn retire(&self, address: &str) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(links) = links.as_mut() {
            links.shards.remove(address);
        }
    }

    /// The queue for starts of this lane. A partition that has no owner now will have one soon: its starts wait.
    fn choose(self: &Arc<Self>, lane: LaneKey, starts: usize) -> Result<Queue, Error> {
        let view = self.directory.view();
        let address = match lane {
            Some(partition) => view.owner(partition).map(|shard| Arc::clone(&shard.data_address)),
            None => self.placement.choose(&view, starts, |address| self.queued(address)),
        };
        let queue = match address {
            Some(address) => self.link(&address).map(|link| link.queue),
            None if view.managed || (lane.is_some() && !view.shards.is_empty()) => self.room(),
            None => return Err(ailments::nobody(&self.directory)),
        };
        queue.ok_or_else(|| Error::unavailable("the scheduler is shutting down"))
    }

    fn room(&self) -> Option<Queue> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.as_ref().map(|links| links.room.clone())
    }

    /// Puts a submission whose link has gone away into another queue, or refuses it.
    fn reroute(self: &Arc<Self>, mut submission: Submission) {
        let placed = self.choose(submission.lane, submission.inputs.len()).and_then(|queue| {
            let permit = queue.load.admit(submission.inputs.len(), submission.bytes)?;
            Ok((queue, permit))
        });
        match placed {
            Ok((queue, permit)) => {
                submission.permit = permit;
                if let Err(refused) = queue.submissions.try_send(submission) {
                    refuse(refused.into_inner(), &admission::full("messages", QUEUE_MAX));
                }
            }
            Err(error) => refuse(submission, &error),
        }
    }
}

fn queue() -> (Queue, mpsc::Receiver<Submission>) {
    let (submissions, queued) = mpsc::channel(QUEUE_MAX);
    (Queue { submissions, load: Arc::default() }, queued)
}

/// Refuses a submission that no batch holds.
fn refuse(submission: Submission, error: &Error) {
    let count = u32::try_from(submission.inputs.len()).unwrap_or(u32::MAX);
    submission.reply.refuse(count, error.refusal());
}

/// Dispatches starts to shards.
#[derive(Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

impl Dispatcher {
    /// A dispatcher to the shards that the directory knows. Needs a runtime, on which everything runs that outlives a call;
    /// calls may come from any other.
    #[must_use]
    pub fn new(directory: Arc<Directory>, clients: NodeClients, clock: Clock) -> Self {
        let shared = Shared {
            directory,
            clients,
            clock,
            runtime: Handle::current(),
            incarnation: AtomicU32::new(0),
            sequence: AtomicU64::new(1),
            links: Mutex::default(),
            placement: Placement::new(Dice::random()),
        };
        let shared = Arc::new(shared);
        let (room, waiting) = queue();
        tokio::spawn(room::Room::new(Arc::clone(&shared), waiting).run());
        let links = Links { shards: HashMap::new(), room };
        shared.links.lock().unwrap_or_else(PoisonError::into_inner).replace(links);
        Self { shared }
    }

    /// What batches carry now; 0 until a node has given one.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.shared.incarnation.load(Ordering::Relaxed)
    }

    /// Batches from now on carry this incarnation, a number that no dispatcher had before. A lower one than before is no
    /// such number, and is ignored.
    pub fn set_incarnation(&self, incarnation: u32) {
        self.shared.incarnation.fetch_max(incarnation, Ordering::Relaxed);
    }

    /// Ends all links once what is under way is settled.
    pub fn shut_down(&self) {
        self.shared.links.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Starts one execution; returns when it is durable.
    ///
    /// # Errors
    /// A full queue, no node, and whatever the node refuses.
    pub async fn start_one(&self, starts: Starts) -> Result<Started, Error> {
        let (caller, answer) = oneshot::channel();
        let lane = self.lane(&starts.template, starts.names.first().map(String::as_str))?;
        let wait = starts.patience;
        self.submit(starts, lane, Reply::One(caller))?;
        // Whoever holds the start knows more about it than we: whether it was ever sent.
        let holder_first = HOLDER_ANSWERS_WITHIN.min(wait / 8);
        match tokio::time::timeout(wait + holder_first, answer).await {
            Ok(Ok(answer)) => answer.map_err(Error::from),
            Ok(Err(_)) | Err(_) => Err(Error::start_unknown("nothing was heard of it")),
        }
    }

    /// Starts what one message of a batch stream asks for; the answer goes to `place`.
    pub fn start_many(&self, tag: u64, starts: Starts, place: ReplyPlace) {
        let must_scatter = starts.template.mode == Mode::Standard && !starts.names.is_empty();
        let count = u32::try_from(starts.inputs.len()).unwrap_or(u32::MAX);
        if !must_scatter {
            self.submit_or_refuse(starts, None, count, Reply::Stream { tag, place });
            return;
        }
        // A name decides the partition, so each start has its own lane.
        let Starts { template, inputs, names, traces, patience } = starts;
        let gather = Gather::new(tag, inputs.len(), place);
        let mut traces = traces.into_iter();
        for (from, (input, name)) in (0..count).zip(inputs.into_iter().zip(names)) {
            let traces = traces.next().into_iter().collect();
            let reply = Reply::Gathered { gather: Arc::clone(&gather), from };
            match self.lane(&template, Some(&name)) {
                Ok(lane) => {
                    let names = if name.is_empty() { Vec::new() } else { vec![name] };
                    let (template, inputs) = (Arc::clone(&template), vec![input]);
                    let one = Starts { template, inputs, names, traces, patience };
                    self.submit_or_refuse(one, lane, 1, reply);
                }
                Err(error) => reply.refuse(1, error.refusal()),
            }
        }
    }

    /// Where a start must go: a named STANDARD one to the partition that decides about the name.
    fn lane(&self, template: &Template, name: Option<&str>) -> Result<LaneKey, Error> {
        let Some(name) = name.filter(|name| !name.is_empty() && template.mode == Mode::Standard) else {
            return Ok(None);
        };
        let partitions = self.shared.directory.view().partitions;
        if partitions == 0 {
            return Err(ailments::nobody(&self.shared.directory));
        }
        let machine = template.arn.rsplit(':').next().unwrap_or_default();
        match partition_of_name(machine, name, partitions) {
            Ok(partition) => Ok(Some(partition)),
            Err(error) => Err(Error::unavailable(error.to_string())),
        }
    }

    fn submit_or_refuse(&self, starts: Starts, lane: LaneKey, count: u32, reply: Reply) {
        let bytes = starts.inputs.iter().map(Bytes::len).sum();
        match self.admit(lane, starts.inputs.len(), bytes) {
            Ok((queue, permit)) => self.send(&queue, starts, lane, bytes, permit, reply),
            Err(error) => reply.refuse(count, error.refusal()),
        }
    }

    fn submit(&self, starts: Starts, lane: LaneKey, reply: Reply) -> Result<(), Error> {
        let bytes = starts.inputs.iter().map(Bytes::len).sum();
        let (queue, permit) = self.admit(lane, starts.inputs.len(), bytes)?;
        self.send(&queue, starts, lane, bytes, permit, reply);
        Ok(())
    }

    fn admit(&self, lane: LaneKey, starts: usize, bytes: usize) -> Result<(Queue, Permit), Error> {
        let queue = self.shared.choose(lane, starts)?;
        match queue.load.admit(starts, bytes) {
            Ok(permit) => Ok((queue, permit)),
            Err(error) => {
                self.shared.placement.move_on();
                Err(error)
            }
        }
    }

    fn send(&self, queue: &Queue, starts: Starts, lane: LaneKey, bytes: usize, permit: Permit, reply: Reply) {
        let Starts { template, inputs, names, traces, patience } = starts;
        let patience = u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
        let deadline_us = self.shared.clock.now_us().saturating_add(patience);
        let submission =
            Submission { template, lane, inputs, names, traces, bytes, reply, permit, deadline_us };
        if let Err(refused) = queue.submissions.try_send(submission) {
            self.shared.placement.move_on();
            refuse(refused.into_inner(), &admission::full("messages", QUEUE_MAX));
        }
    }
}
