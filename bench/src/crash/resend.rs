//! A dispatcher beside the scheduler: batches under ids of its own, sent until they are acknowledged, and half of them once
//! more afterwards.
//!
//! A batch sent again, to the same node or to the partition's next owner, is recognised: it is acknowledged again and starts
//! nothing. A second effect would show as a second terminal record in the logs. It goes the way that a scheduler goes which
//! never learns what became of a batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use foldhash::HashMap;
use futures_util::{Stream, StreamExt, stream};
use ids::{BatchId, PartitionId};
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::start_refusal::Reason;
use proto::executor::v1::{
    self as wire, DescribeNodeRequest, PutDefinitionRequest, RegisterDispatcherRequest, StartBatch,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::acks::Ack;
use super::plan::Dice;
use super::shared::Shared;
use super::workload::{Kind, RESENT_RUNS};
use crate::error::Error;
use crate::load::{connect, unix_ms};

/// Executions of a batch.
pub(super) const BATCH: u32 = 8;
/// Between two batches.
const EVERY: Duration = Duration::from_millis(100);
/// Batches on their way; beyond that none is begun.
const BATCHES_MAX: usize = 64;
/// An answer that does not come in this time is not waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(150);
/// An older batch may be refused as expired: ids are remembered for two minutes, less where a clock is a little ahead, and
/// no longer than the log that tells them after a recovery.
const REMEMBERED: Duration = Duration::from_secs(110);
/// A batch that nobody takes for so long, with everything running, is a fault; summed over strikes.
const SETTLED_WITHIN_MS: u64 = 90_000;
/// What a batch carries.
const KINDS: [Kind; 2] = [Kind::Pass, Kind::WaitStandard];

/// See the module.
pub(super) struct Resender {
    pub shared: Arc<Shared>,
    /// Public address of each node.
    pub nodes: Vec<String>,
    pub partitions: u16,
    /// Of logs.
    pub retention: Duration,
    /// ARN of each kind's machine.
    pub arns: HashMap<Kind, String>,
    pub acks: mpsc::Sender<Ack>,
}

/// What became of one attempt.
enum Attempt {
    Acknowledged,
    /// Another time, or another node; for this reason.
    Again(String),
    /// Never: a fault that was told, or a batch that is older than ids are remembered.
    Over,
}

impl Resender {
    /// Sends batches until `stop`, and settles those on their way.
    pub async fn run(self, stop: Arc<AtomicBool>) {
        let this = Arc::new(self);
        let mut registered = None;
        while registered.is_none() && !stop.load(Relaxed) {
            registered = this.register().await.ok();
            tokio::time::sleep(EVERY).await;
        }
        let Some((incarnation, machines)) = registered else { return };
        let mut dice = Dice::new(this.shared.seed ^ 0x7265_7365);
        let mut sequence = 0u64;
        let mut running: JoinSet<()> = JoinSet::new();
        while !stop.load(Relaxed) {
            while running.try_join_next().is_some() {}
            if running.len() < BATCHES_MAX {
                let partition = dice.below(this.partitions.into()) as u32;
                let batch = this.batch(partition, incarnation, sequence, &machines);
                sequence += 1;
                running.spawn(Arc::clone(&this).settle(batch, dice.below(2) == 0, Arc::clone(&stop)));
            }
            tokio::time::sleep(EVERY).await;
        }
        while running.join_next().await.is_some() {}
    }

    async fn register(&self) -> Result<(u32, Vec<wire::Machine>), Error> {
        let failed = |call| move |status| Error::Call { call, status: Box::new(status) };
        let address = self.nodes.first().ok_or_else(|| Error::Settings("there is no node".to_owned()))?;
        let mut node = ExecutorClient::new(connect(address).await?);
        let request = RegisterDispatcherRequest { name: "crash".to_owned() };
        let registered = node.register_dispatcher(request).await.map_err(failed("RegisterDispatcher"))?;
        let mut machines = Vec::new();
        for kind in KINDS {
            let request = PutDefinitionRequest { definition: kind.definition().into(), dialect: 0 };
            let put = node.put_definition(request).await.map_err(failed("PutDefinition"))?;
            machines.push(wire::Machine {
                arn: self.arns.get(&kind).cloned().unwrap_or_default(),
                definition_hash: put.into_inner().definition_hash,
                mode: kind.mode().into(),
                dialect: 0,
                ..Default::default()
            });
        }
        Ok((registered.into_inner().incarnation, machines))
    }

    fn batch(
        &self,
        partition: u32,
        incarnation: u32,
        sequence: u64,
        machines: &[wire::Machine],
    ) -> StartBatch {
        let seed = self.shared.seed;
        StartBatch {
            id: Some(wire::BatchId { partition, incarnation, sequence }),
            machines: machines.to_vec(),
            machine_index: (0..BATCH).map(|index| index % 2).collect(),
            input: (0..BATCH)
                .map(|index| kind_of(index).input_bytes(seed, run_of(sequence, index)))
                .collect(),
            name: Vec::new(),
            start_time_ms: unix_ms(),
            trace: Vec::new(),
            seed: seed ^ sequence,
        }
    }

    async fn settle(self: Arc<Self>, batch: StartBatch, once_more: bool, stop: Arc<AtomicBool>) {
        let Some(Ok(id)) = batch.id.as_ref().map(BatchId::try_from) else { return };
        if !self.send_until_acknowledged((batch, id), once_more, &stop).await {
            self.shared.unanswered((0..BATCH).map(|index| run_of(id.sequence(), index)));
        }
    }

    /// Until the batch is acknowledged as a whole; then perhaps once more. Whether it was.
    async fn send_until_acknowledged(
        &self,
        (batch, id): (StartBatch, BatchId),
        once_more: bool,
        stop: &AtomicBool,
    ) -> bool {
        let mut left = if once_more { 2 } else { 1 };
        let (mut acknowledged, mut attempts, mut since) = (false, 0usize, self.shared.healthy_ms());
        let mut heard: BTreeMap<String, u32> = BTreeMap::new();
        while left > 0 {
            match self.attempt(&batch, id, attempts).await {
                Attempt::Acknowledged => {
                    left -= 1;
                    if acknowledged {
                        self.shared.batches_again.fetch_add(1, Relaxed);
                        return true;
                    }
                    acknowledged = true;
                    self.acknowledge(id).await;
                    since = self.shared.healthy_ms();
                    tokio::time::sleep(AGAIN * 4).await;
                }
                Attempt::Again(why) => {
                    attempts += 1;
                    *heard.entry(why).or_default() += 1;
                    // What has gone wrong already ends the run soon.
                    if stop.load(Relaxed) && self.shared.is_faulty() {
                        return acknowledged;
                    }
                    if self.shared.healthy_ms().saturating_sub(since) > SETTLED_WITHIN_MS {
                        let first = id.execution(0);
                        self.shared.fault(&format!(
                            "the batch of {first}, acknowledged before: {acknowledged}, was taken by nobody, {attempts} \
                             attempts: {heard:?}"
                        ));
                        return acknowledged;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Attempt::Over => return acknowledged,
            }
        }
        acknowledged
    }

    /// A batch of two machines in turn is acknowledged one by one.
    async fn acknowledge(&self, batch: BatchId) {
        for index in 0..BATCH {
            let first_run = run_of(batch.sequence(), index);
            let ack = Ack { kind: kind_of(index), first_run, count: 1, batch, first_index: index };
            if self.acks.send(ack).await.is_err() {
                return;
            }
        }
    }

    /// The first attempts go to the owner, later ones to each node in turn.
    async fn attempt(&self, batch: &StartBatch, id: BatchId, attempts: usize) -> Attempt {
        let owner = if attempts < 3 { self.owner(id.partition).await } else { None };
        let turn = self.nodes.get(attempts % self.nodes.len().max(1)).cloned();
        let Some(address) = owner.or(turn) else { return Attempt::Again("there is no node".to_owned()) };
        self.send(&address, batch, id).await
    }

    /// The node that says that it serves a partition.
    async fn owner(&self, partition: PartitionId) -> Option<String> {
        for address in &self.nodes {
            let asking = async {
                let mut node = ExecutorClient::new(connect(address).await.ok()?);
                Some(node.describe_node(DescribeNodeRequest {}).await.ok()?.into_inner())
            };
            let described = timeout(AGAIN * 4, asking).await.ok().flatten();
            let number = u32::from(partition.get());
            if described
                .is_some_and(|node| node.shards.iter().any(|shard| shard.partitions.contains(&number)))
            {
                return Some(address.clone());
            }
        }
        None
    }

    async fn send(&self, address: &str, batch: &StartBatch, id: BatchId) -> Attempt {
        let again = |why: &dyn std::fmt::Display| Attempt::Again(format!("{address}: {why}"));
        let channel = match timeout(ANSWER_WITHIN, connect(address)).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return again(&error),
            Err(_) => return again(&"no connection in time"),
        };
        // The stream stays open until the answer has come, and ends then: one that never ends keeps its connection, whoever
        // has dropped the rest of it.
        let (_open, batches) = one_batch(batch.clone());
        let mut node = ExecutorClient::new(channel);
        let mut acks = match timeout(ANSWER_WITHIN, node.start_executions(batches)).await {
            Ok(Ok(acks)) => acks.into_inner(),
            Ok(Err(status)) => return again(&status),
            Err(_) => return again(&"no stream in time"),
        };
        let mut acknowledged = 0;
        while acknowledged < BATCH {
            let ack = match timeout(ANSWER_WITHIN, acks.message()).await {
                Ok(Ok(Some(ack))) => ack,
                Ok(Ok(None)) => return again(&"the stream has ended"),
                Ok(Err(status)) => return again(&status),
                Err(_) => return again(&format!("{acknowledged} of {BATCH} acknowledged in time")),
            };
            match &ack.refusal {
                None => acknowledged += ack.to.saturating_sub(ack.from),
                Some(refusal) => {
                    return self.refused(batch, id, refusal).unwrap_or_else(|| {
                        again(&format!("{:?}, {}: {}", refusal.reason(), refusal.code, refusal.message))
                    });
                }
            }
        }
        Attempt::Acknowledged
    }

    /// What ends the attempts at a batch; nothing: it can be sent again.
    fn refused(&self, batch: &StartBatch, id: BatchId, refusal: &wire::StartRefusal) -> Option<Attempt> {
        let reason = refusal.reason();
        let age_ms = unix_ms().saturating_sub(batch.start_time_ms);
        let remembered = REMEMBERED.min(self.retention);
        if reason == Reason::Expired && Duration::from_millis(age_ms) >= remembered {
            self.shared.batches_expired.fetch_add(1, Relaxed);
            return Some(Attempt::Over);
        }
        if matches!(reason, Reason::Invalid | Reason::Conflict | Reason::Expired) {
            let (first, text) = (id.execution(0), &refusal.message);
            self.shared
                .fault(&format!("the batch of {first}, sent again, was refused as {reason:?}: {text}"));
            return Some(Attempt::Over);
        }
        None
    }
}

/// A stream of one batch that ends when the sender is dropped.
fn one_batch(batch: StartBatch) -> (oneshot::Sender<()>, impl Stream<Item = StartBatch> + Send + 'static) {
    let (open, ended) = oneshot::channel();
    let then = stream::once(ended).filter_map(|_| std::future::ready(None));
    (open, stream::iter([batch]).chain(then))
}

fn kind_of(index: u32) -> Kind {
    KINDS[index as usize % KINDS.len()]
}

fn run_of(sequence: u64, index: u32) -> u64 {
    RESENT_RUNS + sequence * u64::from(BATCH) + u64::from(index)
}
