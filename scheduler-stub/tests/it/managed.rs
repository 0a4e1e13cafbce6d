//! A fake node that takes its partitions from the scheduler: it reports, follows, and can vanish without a word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use proto::executor::v1::owned_partition::State;
use proto::executor::v1::{OwnedPartition, Shard};
use proto::scheduler::v1::nodes_client::NodesClient;
use proto::scheduler::v1::{Assignment, NodeReport};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Endpoint;

use crate::fake::{FakeNode, PATIENCE};

/// Between reports; the scheduler's own wish is longer, and tests wait for the scheduler, not for nodes.
const BEAT: Duration = Duration::from_millis(100);

/// The fence that all nodes of a test share: the generation of each of its four partitions.
pub type Fence = Arc<Mutex<[u64; 4]>>;

struct Inner {
    address: String,
    fence: Fence,
    /// Partitions and generations.
    owned: BTreeMap<u32, u64>,
    draining: bool,
    followed: u32,
    /// How often something was taken.
    taken: usize,
}

/// See the module.
pub struct Managed {
    pub fake: FakeNode,
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    beating: Option<AbortHandle>,
}

impl Managed {
    /// A node that reports to the scheduler at this address.
    pub async fn start(fence: &Fence, scheduler: &str) -> Self {
        let fake = FakeNode::start(&[]).await;
        let inner = Inner {
            address: fake.address.clone(),
            fence: Arc::clone(fence),
            owned: BTreeMap::new(),
            draining: false,
            followed: 0,
            taken: 0,
        };
        let (inner, changed) = (Arc::new(Mutex::new(inner)), Arc::new(Notify::new()));
        let mut node = Self { fake, inner, changed, beating: None };
        node.report_to(scheduler);
        node
    }

    /// Reports to this scheduler from now on, and to no other.
    pub fn report_to(&mut self, scheduler: &str) {
        self.vanish();
        let (inner, changed) = (Arc::clone(&self.inner), Arc::clone(&self.changed));
        let url = format!("http://{scheduler}");
        let endpoint = Endpoint::from_shared(url).expect("an address").connect_timeout(PATIENCE);
        let beat = tokio::spawn(async move {
            // Whatever ends a stream, the node opens another.
            while beat(&endpoint, &inner, &changed).await.is_err() {
                tokio::task::yield_now().await;
            }
        });
        self.beating = Some(beat.abort_handle());
    }

    /// Reports no more. Batches that it has are never answered.
    pub fn vanish(&mut self) {
        if let Some(beating) = self.beating.take() {
            beating.abort();
        }
    }

    pub fn drain(&self) {
        self.state().draining = true;
        self.changed.notify_one();
    }

    /// Claims to follow this scheduler.
    pub fn follow(&self, incarnation: u32) {
        self.state().followed = incarnation;
        self.changed.notify_one();
    }

    pub fn owned(&self) -> Vec<u32> {
        self.state().owned.keys().copied().collect()
    }

    pub fn taken(&self) -> usize {
        self.state().taken
    }

    fn state(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic")
    }
}

impl Inner {
    fn report(&self) -> NodeReport {
        let state = State::Serving.into();
        let owned = |(partition, generation): (&u32, &u64)| OwnedPartition {
            partition: *partition,
            generation: *generation,
            state,
        };
        let shard = Shard {
            data_address: self.address.clone(),
            partitions: self.owned.keys().copied().collect(),
            owned: self.owned.iter().map(owned).collect(),
            ..Shard::default()
        };
        NodeReport {
            node_id: "managed".into(),
            public_address: self.address.clone(),
            shards: vec![shard],
            serving: true,
            draining: self.draining,
            managed: true,
            scheduler_incarnation: self.followed,
            partition_count: 4,
            ..NodeReport::default()
        }
    }

    fn heed(&mut self, assignment: &Assignment) {
        if assignment.scheduler_incarnation < self.followed {
            return;
        }
        self.followed = assignment.scheduler_incarnation;
        let wanted: Vec<u32> =
            assignment.shards.iter().flat_map(|shard| &shard.partitions).copied().collect();
        self.owned.retain(|partition, _| wanted.contains(partition));
        for partition in wanted {
            if !self.draining && !self.owned.contains_key(&partition) {
                let mut fence = self.fence.lock().expect("no panic");
                let top = &mut fence[partition as usize];
                *top += 1;
                self.owned.insert(partition, *top);
                self.taken += 1;
            }
        }
    }
}

async fn beat(endpoint: &Endpoint, inner: &Mutex<Inner>, changed: &Notify) -> Result<(), Status> {
    let lost = |_| Status::unavailable("the scheduler is away");
    let channel = endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let (sender, reports) = mpsc::channel(16);
    let report = || inner.lock().expect("no panic").report();
    sender.send(report()).await.map_err(lost)?;
    let directives = NodesClient::new(channel).heartbeat(ReceiverStream::new(reports)).await?;
    let mut directives = directives.into_inner();
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            directive = directives.message() => {
                let directive = directive?.ok_or_else(|| Status::unavailable("the stream ended"))?;
                let Some(assignment) = directive.assignment else { continue };
                let before = report();
                inner.lock().expect("no panic").heed(&assignment);
                if report() == before {
                    continue;
                }
            }
            _ = ticks.tick() => {}
            () = changed.notified() => {}
        }
        sender.send(report()).await.map_err(lost)?;
    }
}
