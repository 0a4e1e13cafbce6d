//! Tells the scheduler that this node lives, and how much it carries.
//!
//! One stream of reports, made again with growing pauses whenever it breaks. Nothing here is needed for
//! executions to run: a scheduler that is away only hears nothing.

use std::sync::Arc;
use std::time::Duration;

use proto::scheduler::v1;
use proto::scheduler::v1::nodes_client::NodesClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::grpc::{NodeContext, report_shards};

/// Between reports, until the scheduler says otherwise.
const INTERVAL: Duration = Duration::from_secs(1);
/// What the scheduler may ask for.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// See [`INTERVAL_MIN`].
const INTERVAL_MAX: Duration = Duration::from_secs(10);
/// Between attempts to reach the scheduler: doubled from the first to the second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Reports that wait to be sent; a scheduler that does not read gets fewer, not older ones.
const REPORTS_AHEAD: usize = 1;

/// Reports until it is dropped.
pub(crate) async fn report(node: Arc<NodeContext>, scheduler: Endpoint, public_address: String) {
    let mut pause = PAUSE_MIN;
    loop {
        match stream(&node, &scheduler, &public_address, &mut pause).await {
            Ok(()) => {
                tracing::info!(scheduler = %scheduler.uri(), "the scheduler ended the heartbeat stream")
            }
            Err(error) => {
                let error = error.message();
                tracing::warn!(scheduler = %scheduler.uri(), error, ?pause, "the scheduler is out of reach");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn stream(
    node: &NodeContext,
    scheduler: &Endpoint,
    public_address: &str,
    pause: &mut Duration,
) -> Result<(), tonic::Status> {
    let channel = trust::channel(scheduler, node.trust.as_ref()).await;
    let channel = channel.map_err(|error| tonic::Status::unavailable(causes(&error)))?;
    let (sender, reports) = mpsc::channel(REPORTS_AHEAD);
    let mut health = node.health.subscribe();
    // The first report goes with the request: the scheduler may wait for it before it answers.
    let first = make(node, public_address).await;
    sender.try_send(first).map_err(|_| tonic::Status::internal("a new queue is full"))?;
    let mut client = NodesClient::new(channel);
    let mut directives = client.heartbeat(ReceiverStream::new(reports)).await?.into_inner();
    let mut interval = INTERVAL;
    loop {
        tokio::select! {
            directive = directives.message() => match directive? {
                Some(directive) => {
                    *pause = PAUSE_MIN;
                    interval = asked_interval(&directive);
                }
                None => return Ok(()),
            },
            () = tick(interval, &mut health) => {
                // A full queue means that the last report is still on its way.
                let _ = sender.try_send(make(node, public_address).await);
            }
        }
    }
}

/// Every interval, and at once when health changes: a draining node must not get more work.
async fn tick(interval: Duration, health: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(interval) => {}
        changed = health.changed() => if changed.is_err() { tokio::time::sleep(interval).await },
    }
}

fn asked_interval(directive: &v1::NodeDirective) -> Duration {
    match directive.heartbeat_interval_ms {
        0 => INTERVAL,
        asked => Duration::from_millis(u64::from(asked)).clamp(INTERVAL_MIN, INTERVAL_MAX),
    }
}

async fn make(node: &NodeContext, public_address: &str) -> v1::NodeReport {
    v1::NodeReport {
        node_id: node.node_id.clone(),
        public_address: public_address.to_owned(),
        // While a shard cannot answer, the node still lives.
        shards: report_shards(node).await.unwrap_or_default(),
        serving: node.health.is_serving(),
        draining: node.health.is_draining(),
        managed: false,
        scheduler_incarnation: 0,
        partition_count: u32::from(node.partitions),
    }
}

/// The message and its causes: "transport error" alone helps nobody.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_sets_the_interval_within_bounds() {
        let interval = |ms| {
            asked_interval(&v1::NodeDirective { heartbeat_interval_ms: ms, known: true, assignment: None })
        };
        assert_eq!(interval(0), INTERVAL);
        assert_eq!(interval(250), Duration::from_millis(250));
        assert_eq!((interval(1), interval(1_000_000)), (INTERVAL_MIN, INTERVAL_MAX));
    }
}
