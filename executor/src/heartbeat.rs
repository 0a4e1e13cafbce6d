//! The node's side of its scheduler: tells it that the node lives, what it has and carries, and follows what it says the
//! node shall have.
//!
//! One stream of reports and directives, made again with growing pauses whenever it breaks. Invariants: a directive of an
//! older scheduler than was followed before is ignored; a draining node takes nothing new; a change of what the node has is
//! reported at once. Executions need nothing of this to run: while the scheduler is away the node goes on with what it
//! has. What may fail: the stream.

use std::sync::Arc;
use std::time::Duration;

use ids::PartitionId;
use proto::scheduler::v1;
use proto::scheduler::v1::nodes_client::NodesClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use trust::Trust;

use crate::grpc::{NodeContext, report_shards};
use crate::owners::Owners;
use crate::shard::{Command, ShardHandle};

/// Between reports, until the scheduler says otherwise.
const INTERVAL: Duration = Duration::from_secs(1);
/// What the scheduler may ask for.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// See [`INTERVAL_MIN`].
const INTERVAL_MAX: Duration = Duration::from_secs(10);
/// Between attempts to reach the scheduler: doubled from the first to the second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// See [`PAUSE_MIN`]. A scheduler that begins anew listens for 1.5 seconds before it gives away what nobody has
/// reported: a node must be back by then.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Reports that wait to be sent; a scheduler that does not read gets fewer, not older ones.
const REPORTS_AHEAD: usize = 1;
/// How long the last word of a draining node may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Where a scheduler is to be reached: one that is silent is given up within ten seconds.
pub(crate) fn endpoint(url: String) -> Option<Endpoint> {
    Endpoint::from_shared(url).ok().map(trust::lively)
}

/// What the rest of the node knows of the stream.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Whether the scheduler answers.
    reached: watch::Sender<bool>,
    /// Whether no other node could take what this one has, as the scheduler says.
    alone: watch::Sender<bool>,
    /// The changes of [`Owners`] that were reported.
    told: watch::Sender<u64>,
}

impl Link {
    /// Waits until the scheduler has moved everything elsewhere; not for longer than this, and not for a scheduler that
    /// does not answer.
    pub async fn hand_over(&self, owners: &Owners, patience: Duration) {
        let (mut changes, mut reached) = (owners.subscribe(), self.reached.subscribe());
        let mut alone = self.alone.subscribe();
        let moved = async { while !owners.is_empty() && changes.changed().await.is_ok() {} };
        tokio::select! {
            biased;
            () = moved => tracing::info!("every partition is in other hands, or nobody's"),
            _ = reached.wait_for(|reached| !reached) => {
                tracing::warn!("the scheduler does not answer: partitions are given back without it");
            }
            _ = alone.wait_for(|alone| *alone) => {
                tracing::warn!("there is no other node: partitions are given back, and nobody serves them");
            }
            () = tokio::time::sleep(patience) => {
                tracing::warn!(?patience, "the scheduler has not moved every partition: the rest is given back");
            }
        }
    }

    /// Gives back what is left, and tells the scheduler if it hears.
    pub async fn give_back(&self, owners: &Owners, shards: &[ShardHandle]) {
        for shard in shards {
            // A shard that has ended has nothing any more.
            let _ = shard.sender.send(Command::Assign { partitions: Vec::new() }).await;
        }
        let (mut changes, mut told) = (owners.subscribe(), self.told.subscribe());
        let given_back = async {
            while !owners.is_empty() && changes.changed().await.is_ok() {}
            let last = *changes.borrow_and_update();
            if *self.reached.borrow() {
                // An error means that nobody reports any more.
                let _ = told.wait_for(|told| *told >= last).await;
            }
        };
        if tokio::time::timeout(LAST_WORD, given_back).await.is_err() {
            tracing::warn!("the scheduler has not heard that everything is given back; it will notice");
        }
    }
}

/// Reports and follows until it is dropped.
pub(crate) async fn report(
    node: Arc<NodeContext>,
    scheduler: Endpoint,
    public_address: String,
    link: Arc<Link>,
) {
    let mut reporter =
        Reporter { node, public_address, link, incarnation: 0, interval: INTERVAL, pause: PAUSE_MIN };
    loop {
        let ended = reporter.stream(&scheduler).await;
        reporter.link.reached.send_replace(false);
        let (pause, scheduler) = (reporter.pause, scheduler.uri());
        match ended {
            Ok(()) => tracing::info!(%scheduler, "the scheduler ended the heartbeat stream"),
            Err(error) => {
                let error = error.message();
                tracing::warn!(%scheduler, error, ?pause, "the scheduler is out of reach");
            }
        }
        tokio::time::sleep(pause).await;
        reporter.pause = (pause * 2).min(PAUSE_MAX);
    }
}

struct Reporter {
    node: Arc<NodeContext>,
    public_address: String,
    link: Arc<Link>,
    /// Of the scheduler that was followed last.
    incarnation: u32,
    interval: Duration,
    pause: Duration,
}

impl Reporter {
    async fn stream(&mut self, scheduler: &Endpoint) -> Result<(), tonic::Status> {
        let trust = self.node.trust.as_ref().map(Trust::towards_schedulers);
        let channel = trust::channel(scheduler, trust.as_ref()).await;
        let channel = channel.map_err(|error| tonic::Status::unavailable(causes(&error)))?;
        let (sender, reports) = mpsc::channel(REPORTS_AHEAD);
        let (mut health, mut changes) = (self.node.health.subscribe(), self.node.owners.subscribe());
        // The first report goes with the request: the scheduler may wait for it before it answers.
        self.tell(&sender, &mut changes).await;
        let mut client = NodesClient::new(channel);
        let mut directives = client.heartbeat(ReceiverStream::new(reports)).await?.into_inner();
        self.interval = INTERVAL;
        loop {
            tokio::select! {
                directive = directives.message() => match directive? {
                    Some(directive) => self.heed(directive),
                    None => return Ok(()),
                },
                () = tick(self.interval, &mut health, &mut changes) => self.tell(&sender, &mut changes).await,
            }
        }
    }

    /// Sends a report, unless the last one is still on its way.
    async fn tell(&self, sender: &mpsc::Sender<v1::NodeReport>, changes: &mut watch::Receiver<u64>) {
        let told = *changes.borrow_and_update();
        if sender.try_send(self.make().await).is_ok() {
            self.link.told.send_replace(told);
        }
    }

    async fn make(&self) -> v1::NodeReport {
        let node = &self.node;
        v1::NodeReport {
            node_id: node.node_id.clone(),
            public_address: self.public_address.clone(),
            // Before there are shards, the node lives all the same.
            shards: report_shards(node).await.unwrap_or_default(),
            serving: node.health.is_serving(),
            draining: node.health.is_draining(),
            managed: true,
            scheduler_incarnation: self.incarnation,
            partition_count: u32::from(node.partitions),
            cluster: node.cluster.name(),
            instance: node.instance,
            condition: node.health.condition(),
        }
    }

    fn heed(&mut self, directive: v1::NodeDirective) {
        self.pause = PAUSE_MIN;
        self.interval = asked_interval(&directive);
        self.link.reached.send_if_modified(|reached| !std::mem::replace(reached, true));
        self.link
            .alone
            .send_if_modified(|alone| std::mem::replace(alone, directive.alone) != directive.alone);
        self.node.health.refused_by_scheduler(&directive.refusal);
        let Some(assignment) = directive.assignment else { return };
        if assignment.scheduler_incarnation < self.incarnation {
            let (followed, older) = (self.incarnation, assignment.scheduler_incarnation);
            tracing::warn!(followed, older, "an older scheduler says what this node shall have: ignored");
            return;
        }
        self.incarnation = assignment.scheduler_incarnation;
        for shard in self.node.shards().unwrap_or_default() {
            let partitions = self.partitions_for(shard.index, &assignment);
            // A shard whose queue is full hears it with the next directive; one that has ended has nothing.
            let _ = shard.sender.try_send(Command::Assign { partitions });
        }
    }

    /// What a shard shall have; while the node drains, nothing that it does not have already.
    fn partitions_for(&self, shard: u32, assignment: &v1::Assignment) -> Vec<PartitionId> {
        let draining = self.node.health.is_draining();
        let named = assignment.shards.iter().filter(|named| named.index == shard);
        let partitions = named.flat_map(|named| &named.partitions);
        let known = partitions.filter_map(|number| PartitionId::new(*number).ok());
        known.filter(|partition| !draining || self.node.owners.of(*partition) == Some(shard)).collect()
    }
}

/// Every interval, and at once when health or what the node has changes: a draining node must not get more work, and a
/// partition that was released waits for its next owner.
async fn tick(interval: Duration, health: &mut watch::Receiver<bool>, changes: &mut watch::Receiver<u64>) {
    tokio::select! {
        () = tokio::time::sleep(interval) => {}
        changed = health.changed() => if changed.is_err() { tokio::time::sleep(interval).await },
        changed = changes.changed() => if changed.is_err() { tokio::time::sleep(interval).await },
    }
}

fn asked_interval(directive: &v1::NodeDirective) -> Duration {
    match directive.heartbeat_interval_ms {
        0 => INTERVAL,
        asked => Duration::from_millis(u64::from(asked)).clamp(INTERVAL_MIN, INTERVAL_MAX),
    }
}

/// The message and its causes: "transport error" alone helps nobody.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        // The words of a handshake come wrapped more than once.
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scheduler_that_is_gone_without_a_word_is_given_up() {
        let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", port.local_addr().expect("bound"));
        // It takes connections, as a host's kernel does, and nobody is there.
        tokio::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((connection, _)) = port.accept().await {
                connections.push(connection);
            }
        });
        let channel = trust::channel(&endpoint(url).expect("a URL"), None).await.expect("it connects");
        let stream = async { NodesClient::new(channel).heartbeat(tokio_stream::pending()).await };
        let ended = tokio::time::timeout(Duration::from_secs(120), stream).await;
        assert!(ended.expect("it is noticed").is_err());
    }

    #[test]
    fn the_scheduler_sets_the_interval_within_bounds() {
        let interval = |ms| {
            asked_interval(&v1::NodeDirective {
                heartbeat_interval_ms: ms,
                known: true,
                ..Default::default()
            })
        };
        assert_eq!(interval(0), INTERVAL);
        assert_eq!(interval(250), Duration::from_millis(250));
        assert_eq!((interval(1), interval(1_000_000)), (INTERVAL_MIN, INTERVAL_MAX));
    }
}
