//! `scheduler.v1.Nodes`: nodes report, and are told how often to and what they shall have.

use std::sync::Arc;

use proto::scheduler::v1::nodes_server::Nodes as Service;
use proto::scheduler::v1::{NodeDirective, NodeReport};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::Cluster;

/// Directives that wait for a node to read them.
const DIRECTIVES_AHEAD: usize = 8;

/// See the module.
#[derive(Clone)]
pub struct NodesService(pub(crate) Arc<Cluster>);

#[tonic::async_trait]
impl Service for NodesService {
    type HeartbeatStream = ReceiverStream<Result<NodeDirective, Status>>;

    async fn heartbeat(
        &self,
        request: Request<Streaming<NodeReport>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let mut reports = request.into_inner();
        let cluster = Arc::clone(&self.0);
        let (directives, stream) = mpsc::channel(DIRECTIVES_AHEAD);
        tokio::spawn(async move {
            let session = cluster.ownership().open();
            let mut address = String::new();
            while let Ok(Some(report)) = reports.message().await {
                address.clone_from(&report.public_address);
                let directive = cluster.reported(session, report, &directives).await;
                if directives.send(Ok(directive)).await.is_err() {
                    break;
                }
            }
            if !address.is_empty() {
                cluster.gone(&address, session);
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
