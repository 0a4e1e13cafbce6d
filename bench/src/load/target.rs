//! Streams to the node's shards, or to the scheduler.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use ids::BatchId;
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::{
    self as wire, DescribeNodeRequest, ExecutionStatus, Machine, PutDefinitionRequest,
    RegisterDispatcherRequest, StartAck, StartBatch, WatchCompletionsRequest,
};
use proto::scheduler::v1::executions_client::ExecutionsClient;
use proto::scheduler::v1::templates_client::TemplatesClient;
use proto::scheduler::v1::{CreateStateMachineRequest, StartExecutionsRequest, StartExecutionsResponse};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::mix::{FAILING, Mix};
use super::pace::Starts;
use super::stats::Shared;
use super::{Settings, connect};
use crate::error::Error;

/// Messages that wait for a stream; beyond that an open loop's starts stay due.
const LANE: usize = 64;

/// Which way the batches go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Straight to the shards' data ports.
    Node,
    /// Through the scheduler's batch API.
    Scheduler,
}

/// Open streams.
#[derive(Debug)]
pub struct Target {
    lanes: Vec<mpsc::Sender<Starts>>,
    readers: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<()>>,
}

fn call(call: &'static str) -> impl FnOnce(tonic::Status) -> Error {
    move |status| Error::Call { call, status: Box::new(status) }
}

impl Target {
    /// Registers the definition and opens the streams.
    pub(super) async fn open(settings: &Settings, shared: &Arc<Shared>) -> Result<Self, Error> {
        let mut node = ExecutorClient::new(connect(&settings.address).await?);
        let shards = node
            .describe_node(DescribeNodeRequest {})
            .await
            .map_err(call("DescribeNode"))?
            .into_inner()
            .shards;
        let via = if settings.scheduler.is_some() { Via::Scheduler } else { Via::Node };
        let mut target = Self { lanes: Vec::new(), readers: Vec::new(), watchers: Vec::new() };
        for shard in &shards {
            let client = data_client(connect(&shard.data_address).await?);
            target.watch(client, via, Arc::clone(shared)).await?;
        }
        match &settings.scheduler {
            Some(address) => target.open_scheduler(settings, address, shards.len(), shared).await?,
            None => target.open_shards(settings, node, &shards, shared).await?,
        }
        Ok(target)
    }

    /// Where the generator puts its starts.
    pub(super) fn lanes(&self) -> Vec<mpsc::Sender<Starts>> {
        self.lanes.clone()
    }

    /// Ends the streams.
    pub async fn close(self) {
        drop(self.lanes);
        for reader in self.readers {
            let _ = tokio::time::timeout(std::time::Duration::from_secs(5), reader).await;
        }
        self.watchers.iter().for_each(JoinHandle::abort);
    }

    async fn watch(
        &mut self,
        mut client: ExecutorClient<Channel>,
        via: Via,
        shared: Arc<Shared>,
    ) -> Result<(), Error> {
        let request = WatchCompletionsRequest { include_outcomes: false };
        let mut stream =
            client.watch_completions(request).await.map_err(call("WatchCompletions"))?.into_inner();
        self.watchers.push(tokio::spawn(async move {
            while let Some(Ok(batch)) = stream.next().await {
                for range in batch.ranges {
                    let status = ExecutionStatus::try_from(range.status).unwrap_or_default();
                    let sequence = range.id.map(|id| id.sequence).filter(|_| via == Via::Node);
                    shared.complete(sequence, range.from, range.to, status_name(status));
                }
            }
        }));
        Ok(())
    }

    async fn open_shards(
        &mut self,
        settings: &Settings,
        mut node: ExecutorClient<Channel>,
        shards: &[wire::Shard],
        shared: &Arc<Shared>,
    ) -> Result<(), Error> {
        let usual = put(&mut node, settings.definition()).await?;
        let request = RegisterDispatcherRequest { name: "bench".to_owned() };
        let registered = node.register_dispatcher(request).await.map_err(call("RegisterDispatcher"))?;
        let incarnation = registered.into_inner().incarnation;
        let name = settings.profile.name();
        let machine = |name: String, hash: &Bytes| Machine {
            arn: format!("arn:aws:states:local:000000000000:stateMachine:{name}"),
            definition_hash: hash.clone(),
            mode: settings.mode.into(),
            ..Machine::default()
        };
        let mix = match settings.observed {
            Some(observed) => {
                let failing = put(&mut node, FAILING.to_owned()).await?;
                let failing = machine("failing".to_owned(), &failing);
                Mix::observed(observed, machine(name.to_owned(), &usual), failing)
            }
            None => Mix::InTurn(
                (0..settings.machines.max(1))
                    .map(|number| machine(format!("{name}-{number}"), &usual))
                    .collect(),
            ),
        };
        for shard in shards {
            let Some(partition) = shard.partitions.first().copied() else { continue };
            let (lane, mut starts) = mpsc::channel::<Starts>(LANE);
            let (outbox, batches) = mpsc::channel(LANE);
            self.lanes.push(lane);
            let mix = mix.clone();
            let seed = settings.seed;
            tokio::spawn(async move {
                while let Some(starts) = starts.recv().await {
                    let batch = batch_of(starts, partition, incarnation, &mix, seed);
                    if outbox.send(batch).await.is_err() {
                        return;
                    }
                }
            });
            let mut client = data_client(connect(&shard.data_address).await?);
            let acks = client
                .start_executions(ReceiverStream::new(batches))
                .await
                .map_err(call("StartExecutions"))?;
            self.readers.push(tokio::spawn(read_acks(acks.into_inner(), Arc::clone(shared))));
        }
        Ok(())
    }

    async fn open_scheduler(
        &mut self,
        settings: &Settings,
        address: &str,
        streams: usize,
        shared: &Arc<Shared>,
    ) -> Result<(), Error> {
        let channel = connect(address).await?;
        let request = CreateStateMachineRequest {
            name: format!("{}-{}", settings.profile.name(), settings.mode.as_str_name().to_lowercase()),
            definition: settings.definition().into(),
            mode: settings.mode.into(),
            ..CreateStateMachineRequest::default()
        };
        let created = TemplatesClient::new(channel).create_state_machine(request).await;
        let arn = created.map_err(call("CreateStateMachine"))?.into_inner().arn;
        for _ in 0..streams.max(1) {
            let mut client = ExecutionsClient::new(connect(address).await?)
                .max_decoding_message_size(8 << 20)
                .max_encoding_message_size(8 << 20);
            let (lane, starts) = mpsc::channel::<Starts>(LANE);
            self.lanes.push(lane);
            let arn = arn.clone();
            let requests = ReceiverStream::new(starts).map(move |starts| StartExecutionsRequest {
                tag: starts.sequence,
                state_machine_arn: arn.clone(),
                input: starts.inputs,
                name: Vec::new(),
                logging: None,
                trace: Vec::new(),
            });
            let replies =
                client.start_executions(requests).await.map_err(call("StartExecutions"))?.into_inner();
            self.readers.push(tokio::spawn(read_replies(replies, Arc::clone(shared))));
        }
        Ok(())
    }
}

fn data_client(channel: Channel) -> ExecutorClient<Channel> {
    ExecutorClient::new(channel).max_decoding_message_size(8 << 20).max_encoding_message_size(8 << 20)
}

/// Stores a definition; its hash.
async fn put(node: &mut ExecutorClient<Channel>, definition: String) -> Result<Bytes, Error> {
    let request = PutDefinitionRequest { definition: definition.into(), dialect: 0 };
    let reply = node.put_definition(request).await.map_err(call("PutDefinition"))?;
    Ok(reply.into_inner().definition_hash)
}

fn batch_of(starts: Starts, partition: u32, incarnation: u32, mix: &Mix, seed: u64) -> StartBatch {
    let (machines, machine_index) = mix.batch(starts.sequence, starts.inputs.len());
    StartBatch {
        id: Some(wire::BatchId { partition, incarnation, sequence: starts.sequence }),
        machines,
        machine_index,
        input: starts.inputs,
        name: Vec::new(),
        start_time_ms: unix_ms(),
        seed: seed ^ starts.sequence,
        trace: Vec::new(),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a dispatcher stamps its batches; nothing here runs in virtual time"
)]
pub(crate) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn read_acks(mut acks: Streaming<StartAck>, shared: Arc<Shared>) {
    loop {
        match acks.next().await {
            Some(Ok(ack)) => take_ack(&ack, &shared),
            Some(Err(status)) => {
                eprintln!("the stream of acknowledgements broke: {status}");
                return;
            }
            None => return,
        }
    }
}

fn take_ack(ack: &StartAck, shared: &Shared) {
    match (&ack.refusal, ack.id.as_ref().map(BatchId::try_from)) {
        (Some(refusal), _) => shared.refuse(refusal.reason().as_str_name(), ack.to.saturating_sub(ack.from)),
        (None, Some(Ok(batch))) => shared.acknowledge(batch.sequence(), ack.from, ack.to, batch, ack.from),
        (None, _) => shared.refuse("an acknowledgement without a batch", 1),
    }
}

async fn read_replies(mut replies: Streaming<StartExecutionsResponse>, shared: Arc<Shared>) {
    while let Some(reply) = replies.next().await {
        let Ok(reply) = reply else { return };
        match (&reply.refusal, reply.batch.as_ref().map(BatchId::try_from)) {
            (Some(refusal), _) => {
                shared.refuse(refusal.reason().as_str_name(), reply.to.saturating_sub(reply.from))
            }
            (None, Some(Ok(batch))) => {
                shared.acknowledge(reply.tag, reply.from, reply.to, batch, reply.first_index)
            }
            (None, _) => shared.refuse("a reply without a batch", 1),
        }
    }
}

fn status_name(status: ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Succeeded => "SUCCEEDED",
        ExecutionStatus::Failed => "FAILED",
        ExecutionStatus::TimedOut => "TIMED_OUT",
        ExecutionStatus::Aborted => "ABORTED",
        ExecutionStatus::Running | ExecutionStatus::Unspecified => "RUNNING",
    }
}
