//! Plain starts gathered into batches: what gathers while a partition's batch is under way is the next one.
//!
//! Invariants: no start waits for a timer — alone, it leaves at once; a partition has one batch of ours under
//! way, so that batches grow by themselves under load; at most [`QUEUE_MAX`] starts wait, further ones are
//! refused by the caller; batch ids never come back, for the incarnation is a counter in the store and the
//! sequence never repeats within it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ids::{BatchId, ExecutionId, PartitionId};
use proto::executor::v1;
use tokio::sync::{mpsc, oneshot, watch};

use super::{NodeContext, plain, status};
use crate::error::Error;
use crate::limits;
use crate::shard::Command;

/// Starts that wait for their batch.
pub(super) const QUEUE_MAX: usize = 16_384;
/// When to come back where the queue is full.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Starts taken over in one go.
const TAKEN_MAX: usize = limits::BATCH_EXECUTIONS_MAX;

/// One plain start.
pub(crate) struct Start {
    pub machine: v1::Machine,
    pub input: Bytes,
    /// Empty: generated.
    pub name: String,
    /// Where it has to live; anywhere if absent.
    pub partition: Option<PartitionId>,
    /// The trace that it belongs to.
    pub trace: Option<v1::TraceContext>,
    pub reply: oneshot::Sender<Result<Started, Error>>,
}

/// A durable start, or the execution that runs under its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    pub id: ExecutionId,
    pub start_time_ms: u64,
}

/// The queue towards [`dispatcher`].
pub(crate) fn queue() -> (mpsc::Sender<Start>, mpsc::Receiver<Start>) {
    mpsc::channel(QUEUE_MAX)
}

/// Starts of one partition.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Start>,
    under_way: bool,
}

struct Dispatcher {
    node: Arc<NodeContext>,
    lanes: HashMap<PartitionId, Lane>,
    /// Starts that may live anywhere go to the first partition of each shard that takes starts, in turn.
    homes: Vec<PartitionId>,
    owners: watch::Receiver<u64>,
    turn: usize,
    waiting: usize,
    incarnation: Option<u32>,
    sequence: u64,
    seeds: RandomState,
    under_way: FuturesUnordered<BoxFuture<'static, PartitionId>>,
}

/// Runs until the node has dropped the queue's last sender and every batch is answered.
pub(crate) async fn dispatcher(node: Arc<NodeContext>, mut starts: mpsc::Receiver<Start>) {
    let owners = node.owners.subscribe();
    let mut dispatcher = Dispatcher {
        node,
        owners,
        lanes: HashMap::new(),
        homes: Vec::new(),
        turn: 0,
        waiting: 0,
        incarnation: None,
        sequence: 0,
        seeds: RandomState::new(),
        under_way: FuturesUnordered::new(),
    };
    let mut taken = Vec::with_capacity(TAKEN_MAX);
    loop {
        tokio::select! {
            count = starts.recv_many(&mut taken, TAKEN_MAX), if dispatcher.waiting < QUEUE_MAX => {
                if count == 0 {
                    break;
                }
            }
            Some(partition) = dispatcher.under_way.next() => {
                dispatcher.lanes.entry(partition).or_default().under_way = false;
                dispatcher.launch(partition).await;
            }
        }
        for start in taken.drain(..) {
            dispatcher.admit(start).await;
        }
        dispatcher.launch_idle().await;
    }
    while dispatcher.under_way.next().await.is_some() {}
}

impl Dispatcher {
    /// Into the lane of its partition.
    async fn admit(&mut self, start: Start) {
        match start.partition.map_or_else(|| self.next_home(), Ok) {
            Ok(partition) => {
                self.waiting += 1;
                self.lanes.entry(partition).or_default().waiting.push_back(start);
            }
            Err(error) => answer(start, Err(error)),
        }
    }

    /// One home until its batch is full, then the next: batches stay big and shards take turns.
    fn next_home(&mut self) -> Result<PartitionId, Error> {
        if self.homes.is_empty() || self.owners.has_changed().unwrap_or(false) {
            self.owners.mark_unchanged();
            self.homes = self.node.owners.homes();
        }
        for _ in 0..self.homes.len() {
            let home = self.homes[self.turn % self.homes.len()];
            let full = self
                .lanes
                .get(&home)
                .is_some_and(|lane| lane.under_way || lane.waiting.len() >= limits::BATCH_EXECUTIONS_MAX);
            if !full {
                return Ok(home);
            }
            self.turn = self.turn.wrapping_add(1);
        }
        let shortest =
            self.homes.iter().min_by_key(|home| self.lanes.get(home).map_or(0, |lane| lane.waiting.len()));
        shortest.copied().ok_or(Error::NothingServed { retry_after: RETRY_AFTER })
    }

    async fn launch_idle(&mut self) {
        let idle = |(partition, lane): (&PartitionId, &Lane)| {
            (!lane.under_way && !lane.waiting.is_empty()).then_some(*partition)
        };
        let ready: Vec<PartitionId> = self.lanes.iter().filter_map(idle).collect();
        for partition in ready {
            self.launch(partition).await;
        }
        // Names scatter over all partitions: lanes without work are not kept.
        self.lanes.retain(|_, lane| lane.under_way || !lane.waiting.is_empty());
    }

    /// Sends what waits in a lane, as one batch.
    async fn launch(&mut self, partition: PartitionId) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let starts = next_batch(&mut lane.waiting);
        if starts.is_empty() {
            return;
        }
        self.waiting -= starts.len();
        match self.batch_id(partition).await {
            Ok(id) => {
                if let Some(lane) = self.lanes.get_mut(&partition) {
                    lane.under_way = true;
                }
                let seed = self.seeds.hash_one((id.incarnation, id.sequence()));
                let send = send(Arc::clone(&self.node), id, seed, starts);
                self.under_way.push(Box::pin(async move {
                    send.await;
                    partition
                }));
            }
            Err(error) => starts.into_iter().for_each(|start| answer(start, Err(error.clone()))),
        }
    }

    async fn batch_id(&mut self, partition: PartitionId) -> Result<BatchId, Error> {
        let incarnation = match self.incarnation {
            Some(incarnation) => incarnation,
            None => *self.incarnation.insert(plain::next_incarnation(&self.node).await?),
        };
        let sequence = self.sequence;
        match BatchId::new(partition, incarnation, sequence) {
            Ok(id) => {
                self.sequence += 1;
                Ok(id)
            }
            Err(_) => {
                // After 2^40 batches: a new incarnation begins anew.
                let incarnation = *self.incarnation.insert(plain::next_incarnation(&self.node).await?);
                self.sequence = 1;
                BatchId::new(partition, incarnation, 0)
                    .map_err(|error| status::invalid("InvalidBatch", error.to_string()))
            }
        }
    }
}

/// As many as a batch holds.
fn next_batch(waiting: &mut VecDeque<Start>) -> Vec<Start> {
    let mut bytes = 0;
    let mut count = 0;
    for start in waiting.iter().take(limits::BATCH_EXECUTIONS_MAX) {
        bytes += start.input.len();
        if count > 0 && bytes > limits::BATCH_BYTES_MAX {
            break;
        }
        count += 1;
    }
    waiting.drain(..count).collect()
}

fn answer(start: Start, result: Result<Started, Error>) {
    // A caller who has gone does not mind.
    let _ = start.reply.send(result);
}

/// Sends one batch to its shard and answers every start of it.
async fn send(node: Arc<NodeContext>, id: BatchId, seed: u64, starts: Vec<Start>) {
    let start_time_ms = node.clock.now_ms();
    let (batch, mut waiting) = build(id, seed, start_time_ms, starts);
    let (acks_sender, mut acks) = mpsc::channel(limits::BATCH_EXECUTIONS_MAX);
    let shard = match node.owner(id.partition) {
        Ok(shard) => shard,
        Err(error) => {
            waiting.into_iter().flatten().for_each(|caller| caller.answer(Err(error.clone())));
            return;
        }
    };
    if shard.sender.send(Command::Start { batch, acks: acks_sender }).await.is_err() {
        // The dropped replies say that the shard is gone.
        return;
    }
    while let Some(ack) = acks.recv().await {
        settle(id, start_time_ms, &ack, &mut waiting);
        if waiting.iter().all(Option::is_none) {
            break;
        }
    }
}

/// Who waits for a start.
struct Caller {
    /// The start may live in any partition.
    anywhere: bool,
    reply: oneshot::Sender<Result<Started, Error>>,
}

impl Caller {
    fn answer(self, result: Result<Started, Error>) {
        let result = result.map_err(|error| match error {
            // Where it was to live was our choice.
            Error::NotOwner { .. } if self.anywhere => Error::NothingServed { retry_after: RETRY_AFTER },
            other => other,
        });
        // A caller who has gone does not mind.
        let _ = self.reply.send(result);
    }
}

type Waiting = Vec<Option<Caller>>;

fn build(id: BatchId, seed: u64, start_time_ms: u64, starts: Vec<Start>) -> (v1::StartBatch, Waiting) {
    let named = starts.iter().any(|start| !start.name.is_empty());
    let traced = starts.iter().any(|start| start.trace.is_some());
    let mut batch = v1::StartBatch { id: Some(id.into()), start_time_ms, seed, ..Default::default() };
    let mut replies = Vec::with_capacity(starts.len());
    for start in starts {
        let known = batch.machines.iter().position(|machine| *machine == start.machine);
        let machine = known.unwrap_or_else(|| {
            batch.machines.push(start.machine);
            batch.machines.len() - 1
        });
        batch.machine_index.push(u32::try_from(machine).unwrap_or(u32::MAX));
        batch.input.push(start.input);
        if named {
            batch.name.push(start.name);
        }
        if traced {
            batch.trace.push(start.trace.unwrap_or_default());
        }
        replies.push(Some(Caller { anywhere: start.partition.is_none(), reply: start.reply }));
    }
    if batch.machines.len() == 1 {
        batch.machine_index.clear();
    }
    (batch, replies)
}

/// Answers the starts of one acknowledged range.
fn settle(id: BatchId, start_time_ms: u64, ack: &v1::StartAck, waiting: &mut Waiting) {
    let range = ack.from as usize..(ack.to as usize).min(waiting.len());
    for index in range {
        let Some(caller) = waiting[index].take() else { continue };
        let result = match (&ack.refusal, &ack.running) {
            (Some(refusal), _) => Err(status::from_refusal(refusal.clone(), id.partition.get())),
            (None, Some(running)) => ids::ExecutionId::try_from(running)
                .map(|id| Started { id, start_time_ms: running.start_time_ms })
                .map_err(|_| Error::ShardGone),
            (None, None) => u32::try_from(index)
                .map_err(|_| Error::ShardGone)
                .and_then(|index| {
                    ExecutionId::new(id, index)
                        .map_err(|error| status::invalid("InvalidBatch", error.to_string()))
                })
                .map(|id| Started { id, start_time_ms }),
        };
        caller.answer(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(machine: &str, input: usize, name: &str) -> (Start, oneshot::Receiver<Result<Started, Error>>) {
        let (reply, answer) = oneshot::channel();
        let machine = v1::Machine { arn: machine.to_owned(), ..Default::default() };
        let input = Bytes::from(vec![b' '; input]);
        let (name, partition, trace) = (name.to_owned(), None, None);
        (Start { machine, input, name, partition, trace, reply }, answer)
    }

    fn batch_id() -> BatchId {
        BatchId::new(PartitionId::new(3).expect("in range"), 1, 2).expect("in range")
    }

    #[test]
    fn a_batch_closes_at_its_count_and_at_its_bytes() {
        let mut many: VecDeque<Start> = (0..300).map(|_| start("m", 1, "").0).collect();
        assert_eq!((next_batch(&mut many).len(), many.len()), (256, 44));
        let half = limits::BATCH_BYTES_MAX / 2;
        let mut big: VecDeque<Start> = (0..3).map(|_| start("m", half, "").0).collect();
        assert_eq!(next_batch(&mut big).len(), 2);
        let mut huge: VecDeque<Start> = [start("m", limits::BATCH_BYTES_MAX + 1, "").0].into();
        assert_eq!(next_batch(&mut huge).len(), 1);
    }

    #[test]
    fn machines_are_listed_once_and_names_only_where_there_are_any() {
        let starts = vec![start("a", 1, "").0, start("b", 1, "").0, start("a", 1, "").0];
        let (batch, _) = build(batch_id(), 1, 2, starts);
        assert_eq!((batch.machines.len(), batch.machine_index, batch.name.len()), (2, vec![0, 1, 0], 0));
        let (batch, _) = build(batch_id(), 1, 2, vec![start("a", 1, "").0, start("a", 1, "n").0]);
        assert_eq!((batch.machine_index.len(), batch.name), (0, vec![String::new(), "n".to_owned()]));
    }

    #[test]
    fn each_start_is_answered_by_the_range_that_holds_it() {
        let (starts, mut answers): (Vec<_>, Vec<_>) = (0..3).map(|_| start("a", 1, "")).unzip();
        let (_, mut waiting) = build(batch_id(), 1, 2, starts);
        let ack = v1::StartAck { from: 0, to: 2, ..Default::default() };
        settle(batch_id(), 77, &ack, &mut waiting);
        let running = v1::RunningExecution { batch: Some(batch_id().into()), index: 9, start_time_ms: 5 };
        let ack = v1::StartAck { from: 2, to: 3, running: Some(running), ..Default::default() };
        let (starts, mut others): (Vec<_>, Vec<_>) = (0..3).map(|_| start("a", 1, "n")).unzip();
        settle(batch_id(), 77, &ack, &mut build(batch_id(), 1, 2, starts).1);
        let found = others[2].try_recv().expect("answered").expect("runs");
        assert_eq!((found.id, found.start_time_ms), (batch_id().execution(9), 5));
        let reason = v1::start_refusal::Reason::Draining.into();
        let refusal = Some(v1::StartRefusal { reason, ..Default::default() });
        settle(batch_id(), 77, &v1::StartAck { from: 2, to: 9, refusal, ..Default::default() }, &mut waiting);
        let started = answers[1].try_recv().expect("answered").expect("durable");
        assert_eq!((started.id, started.start_time_ms), (batch_id().execution(1), 77));
        assert!(matches!(answers[2].try_recv().expect("answered"), Err(Error::Draining)));
    }

    #[test]
    fn a_start_whose_partition_moves_away_may_be_tried_again_unless_it_belongs_there() {
        let (mut starts, mut answers): (Vec<_>, Vec<_>) = (0..2).map(|_| start("a", 1, "")).unzip();
        starts[1].partition = Some(batch_id().partition);
        let reason = v1::start_refusal::Reason::NotOwner.into();
        let refusal = Some(v1::StartRefusal { reason, ..Default::default() });
        let ack = v1::StartAck { from: 0, to: 2, refusal, ..Default::default() };
        settle(batch_id(), 77, &ack, &mut build(batch_id(), 1, 2, starts).1);
        assert!(matches!(answers[0].try_recv().expect("answered"), Err(Error::NothingServed { .. })));
        assert!(matches!(answers[1].try_recv().expect("answered"), Err(Error::NotOwner { .. })));
    }
}
