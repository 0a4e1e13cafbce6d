//! A dispatcher with a ledger: batches in flight, each acknowledgement on the disk before the next message is
//! read.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use executor::clock::Clock;
use ids::BatchId;
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;
use tempfile::TempDir;
use testkit::{AckLedger, eventually_async};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::PATIENCE;
use super::node::{Node, PARTITIONS};

/// Ends at once.
pub const PASS: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;
/// Is open for a second, so that kills find it open.
pub const WAIT: &str =
    r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":1,"Next":"P"},"P":{"Type":"Pass","End":true}}}"#;

/// Executions of a batch.
const BATCH: usize = 32;
/// Batches that are sent and not acknowledged.
const IN_FLIGHT: usize = 16;

/// The ARN of a machine of these tests.
pub fn arn(name: &str) -> String {
    format!("arn:aws:states:us-east-1:123456789012:stateMachine:{name}")
}

/// See the module.
pub struct Load {
    dir: TempDir,
    pub ledger: AckLedger,
    machines: Vec<v1::Machine>,
    /// What of these executions is exported.
    logging: Option<v1::LoggingConfiguration>,
    incarnation: u32,
    sequence: u64,
    /// Sent or to be sent, and not acknowledged.
    pending: BTreeMap<u64, Pending>,
    pub acknowledged: u64,
    /// The same number for whoever waits for it while a run goes on.
    progress: watch::Sender<u64>,
    /// Refusals by reason.
    pub refused: BTreeMap<String, u64>,
}

struct Pending {
    batch: v1::StartBatch,
    open: Vec<bool>,
}

/// Why a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it was told to.
    Done,
    /// The node or the connection went away.
    Broken(String),
}

impl Load {
    pub async fn new(node: &Node) -> Self {
        Self::logged(node, None).await
    }

    /// Of machines whose histories are exported so.
    pub async fn logged(node: &Node, logging: Option<v1::LoggingConfiguration>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = AckLedger::open(dir.path().join("acks")).expect("a ledger");
        let mut load = Self {
            dir,
            ledger,
            machines: Vec::new(),
            logging,
            incarnation: 0,
            sequence: 0,
            pending: BTreeMap::new(),
            acknowledged: 0,
            progress: watch::Sender::new(0),
            refused: BTreeMap::new(),
        };
        load.incarnation = eventually_async("the dispatcher is registered", PATIENCE, || async {
            let request = v1::RegisterDispatcherRequest { name: "process tests".to_owned() };
            let reply = node.client().await?.register_dispatcher(request).await;
            reply.map(|reply| reply.into_inner().incarnation).map_err(|status| status.to_string())
        })
        .await;
        load.put_definitions(node).await;
        load
    }

    async fn put_definitions(&mut self, node: &Node) {
        self.machines.clear();
        for (name, definition, mode) in
            [("pass", PASS, v1::Mode::Express), ("wait", WAIT, v1::Mode::Standard)]
        {
            let request = v1::PutDefinitionRequest {
                definition: definition.as_bytes().to_vec().into(),
                dialect: v1::Dialect::Asl.into(),
            };
            let hash = eventually_async("the definition is stored", PATIENCE, || async {
                let reply = node.client().await?.put_definition(request.clone()).await;
                reply.map(|reply| reply.into_inner().definition_hash).map_err(|status| status.to_string())
            })
            .await;
            self.machines.push(v1::Machine {
                arn: arn(name),
                definition_hash: hash,
                mode: mode.into(),
                dialect: v1::Dialect::Asl.into(),
                logging: self.logging,
                ..Default::default()
            });
        }
    }

    /// Sends what is pending and then new batches, until `enough` acknowledgements have come in all.
    pub async fn run(&mut self, node: &Node, enough: u64) -> Ended {
        self.stream(node, true, |load| load.acknowledged >= enough).await
    }

    /// Comes when so many acknowledgements are on the ledger.
    pub fn reaches(&self, acknowledged: u64) -> impl Future<Output = ()> + use<> {
        let mut progress = self.progress.subscribe();
        async move {
            progress.wait_for(|now| *now >= acknowledged).await.expect("the load outlives who waits for it");
        }
    }

    /// Sends what is pending until all of it is acknowledged.
    pub async fn settle(&mut self, node: &Node) {
        // A stream may break once more; the batches stay pending.
        for _ in 0..10 {
            if self.pending.is_empty() {
                return;
            }
            self.stream(node, false, |load| load.pending.is_empty()).await;
        }
        assert!(self.pending.is_empty(), "{} batches are never acknowledged", self.pending.len());
    }

    async fn stream(&mut self, node: &Node, fresh: bool, done: impl Fn(&Self) -> bool) -> Ended {
        let broken = |why: String| Ended::Broken(why);
        let mut client = match node.client().await {
            Ok(client) => client,
            Err(why) => return broken(why),
        };
        let (batches, queue) = mpsc::channel(IN_FLIGHT);
        let opened = client.start_executions(ReceiverStream::new(queue)).await;
        let mut acks = match opened {
            Ok(acks) => acks.into_inner(),
            Err(status) => return broken(status.to_string()),
        };
        let mut resend: VecDeque<u64> = self.pending.keys().copied().collect();
        let mut in_flight = 0;
        while !done(self) {
            while in_flight < IN_FLIGHT {
                let Some(sequence) = resend.pop_front().or_else(|| fresh.then(|| self.next_batch())) else {
                    break;
                };
                let Some(pending) = self.pending.get(&sequence) else { continue };
                if batches.send(pending.batch.clone()).await.is_err() {
                    return broken("the stream takes no batches".to_owned());
                }
                in_flight += 1;
            }
            let ack = match tokio::time::timeout(PATIENCE, acks.message()).await {
                Ok(Ok(Some(ack))) => ack,
                Ok(Ok(None)) => return broken("the stream ended".to_owned()),
                Ok(Err(status)) => return broken(status.to_string()),
                Err(_) => panic!("no acknowledgement for {PATIENCE:?}, {in_flight} batches are in flight"),
            };
            let sequence = ack.id.as_ref().expect("acknowledgements name their batch").sequence;
            let again = ack.refusal.is_some();
            if self.take(node, ack).await {
                in_flight -= 1;
            }
            if again && !resend.contains(&sequence) {
                resend.push_back(sequence);
            }
        }
        Ended::Done
    }

    fn next_batch(&mut self) -> u64 {
        self.sequence += 1;
        let id = v1::BatchId {
            partition: u32::try_from(self.sequence % u64::from(PARTITIONS)).expect("small"),
            incarnation: self.incarnation,
            sequence: self.sequence,
        };
        let input = |index| format!(r#"{{"batch":{},"index":{index}}}"#, self.sequence).into_bytes().into();
        let batch = v1::StartBatch {
            id: Some(id),
            machines: self.machines.clone(),
            machine_index: (0..BATCH).map(|index| u32::from(index % 2 == 1)).collect(),
            input: (0..BATCH).map(input).collect(),
            name: Vec::new(),
            start_time_ms: Clock::default().now_ms(),
            seed: self.sequence,
            ..Default::default()
        };
        self.pending.insert(self.sequence, Pending { batch, open: vec![true; BATCH] });
        self.sequence
    }

    /// Writes an acknowledgement down; `true` when the batch has been answered for now.
    async fn take(&mut self, node: &Node, ack: v1::StartAck) -> bool {
        let wire = ack.id.as_ref().expect("acknowledgements name their batch");
        let range = ack.from as usize..ack.to as usize;
        if let Some(refusal) = ack.refusal {
            let reason = refusal.reason();
            *self.refused.entry(reason.as_str_name().to_owned()).or_default() += 1;
            match reason {
                Reason::DefinitionMissing => self.put_definitions(node).await,
                Reason::Overloaded | Reason::StoreUnavailable | Reason::NotOwner | Reason::Draining => {
                    let pause = refusal.retry_after_ms.clamp(10, 1_000);
                    tokio::time::sleep(Duration::from_millis(pause.into())).await;
                }
                other => panic!("{other:?}: {}", refusal.message),
            }
            return true;
        }
        let Some(pending) = self.pending.get_mut(&wire.sequence) else { return true };
        let batch = BatchId::try_from(wire).expect("an id as it was sent");
        let mut ids = Vec::new();
        for index in range {
            let open = pending.open.get_mut(index).expect("an index of the batch");
            if std::mem::take(open) {
                ids.push(batch.execution(u8::try_from(index).expect("small")).to_string());
            }
        }
        self.acknowledged += ids.len() as u64;
        let complete = !pending.open.contains(&true);
        self.ledger.record(ids).expect("the ledger is written");
        self.progress.send_replace(self.acknowledged);
        if complete {
            self.pending.remove(&wire.sequence);
        }
        complete
    }

    /// What another client was acknowledged.
    pub fn add(&mut self, ids: &[String]) {
        self.ledger.record(ids.to_vec()).expect("the ledger is written");
        self.acknowledged += ids.len() as u64;
    }

    /// Where the ledger lies, for messages.
    pub fn place(&self) -> String {
        self.dir.path().display().to_string()
    }
}
