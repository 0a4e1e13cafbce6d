//! `scheduler.v1.Cluster`: how the cluster stands, for people.

use std::sync::Arc;

use proto::scheduler::v1::cluster_server::Cluster as Service;
use proto::scheduler::v1::{DescribeClusterRequest, DescribeClusterResponse, Node};
use tonic::{Request, Response, Status};

use crate::cluster::Cluster;
use crate::directory::{Directory, HEARTBEAT, SILENT_BEATS, Seen};
use crate::ownership::{Ownership, Standing};

/// See the module.
#[derive(Clone)]
pub struct ClusterService {
    pub(crate) directory: Arc<Directory>,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) cluster: Arc<Cluster>,
}

#[tonic::async_trait]
impl Service for ClusterService {
    async fn describe_cluster(
        &self,
        _: Request<DescribeClusterRequest>,
    ) -> Result<Response<DescribeClusterResponse>, Status> {
        let Standing { incarnation, assigning, replaced_by, moves, unassigned } = self.ownership.standing();
        let node = |Seen { report, silent }: Seen| {
            // A managed node takes starts as long as its stream stands.
            let lost = report.managed && !report.serving;
            let away = lost || silent >= HEARTBEAT * SILENT_BEATS;
            Node {
                assignment: self.ownership.assignment(&report.public_address),
                node_id: report.node_id,
                public_address: report.public_address,
                managed: report.managed,
                serving: report.serving && !away,
                draining: report.draining,
                silent_ms: u32::try_from(silent.as_millis()).unwrap_or(u32::MAX),
                shards: report.shards,
                away,
                condition: report.condition,
            }
        };
        Ok(Response::new(DescribeClusterResponse {
            partitions: u32::from(self.directory.view().partitions),
            nodes: self.directory.seen().into_iter().map(node).collect(),
            scheduler_incarnation: incarnation,
            assigning,
            replaced_by,
            moves: u32::try_from(moves).unwrap_or(u32::MAX),
            unassigned,
            refused: self.cluster.refusals().list(),
        }))
    }
}
