//! `scheduler.v1.Nodes`: nodes report, and are told how often to and what they shall have.

use std::sync::Arc;

use proto::scheduler::v1::nodes_server::Nodes as Service;
use proto::scheduler::v1::{NodeDirective, NodeReport};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::Cluster;

/// Directives that wait for a node to read them.
const DIRECTIVES_AHEAD: usize = 8;

/// See the module.
#[derive(Clone)]
pub struct NodesService {
    pub(crate) cluster: Arc<Cluster>,
    /// True once streams have to end.
    pub(crate) stopped: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl Service for NodesService {
    type HeartbeatStream = ReceiverStream<Result<NodeDirective, Status>>;

    async fn heartbeat(
        &self,
        request: Request<Streaming<NodeReport>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let mut reports = request.into_inner();
        let (cluster, mut stopped) = (Arc::clone(&self.cluster), self.stopped.clone());
        let (directives, stream) = mpsc::channel(DIRECTIVES_AHEAD);
        tokio::spawn(async move {
            let session = cluster.ownership().open();
            let mut address = String::new();
            while let Some(report) = next(&mut reports, &mut stopped).await {
                address.clone_from(&report.public_address);
                // A node that does not read its directives is not heard either.
                let Ok(place) = directives.clone().reserve_owned().await else { break };
                cluster.reported(session, report, place).await;
            }
            if !address.is_empty() {
                cluster.gone(&address, session);
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// The next report; `None` once there is none, or we end.
async fn next(
    reports: &mut Streaming<NodeReport>,
    stopped: &mut watch::Receiver<bool>,
) -> Option<NodeReport> {
    tokio::select! {
        report = reports.message() => report.ok().flatten(),
        // An error means that the scheduler itself is gone.
        _ = stopped.wait_for(|stopped| *stopped) => None,
    }
}
