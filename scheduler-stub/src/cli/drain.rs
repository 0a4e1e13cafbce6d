//! `scheduler-stub drain`: a node hands over what it has, and ends.
//!
//! The scheduler says where the node is, and the node itself is asked, as SIGTERM would ask it. What may fail: nobody has
//! that name, or more than one; the node does not answer, or the caller is no operator.

use clap::Args;
use proto::executor::v1::DrainRequest;
use proto::scheduler::v1::DescribeClusterResponse;
use tonic::Status;

use super::client::{Connection, ended};
use super::{Exit, say};

/// `drain`
#[derive(Debug, Args)]
pub(super) struct DrainOptions {
    /// Its address or its id, as `nodes` shows them
    node: String,
    #[command(flatten)]
    connection: Connection,
}

/// Asks the node, and does not wait for its end.
pub(super) async fn run(options: DrainOptions) -> Exit {
    let drain = async {
        let cluster = options.connection.client().await?.nodes().await?;
        let address = address_of(&cluster, &options.node)?;
        options.connection.node(&address).await?.drain(DrainRequest {}).await?;
        say(&format!("{address} drains; it ends when what it has is with others, or durable"));
        Ok(Exit::Ok)
    };
    ended(drain.await)
}

fn address_of(cluster: &DescribeClusterResponse, wanted: &str) -> Result<String, Status> {
    let named = cluster.nodes.iter().filter(|node| node.public_address == wanted || node.node_id == wanted);
    let found: Vec<&String> = named.map(|node| &node.public_address).collect();
    match found[..] {
        [address] => Ok(address.clone()),
        [] => {
            let message = format!(
                "no node {wanted} reports to the scheduler: `scheduler-stub nodes` shows those that do"
            );
            Err(Status::not_found(message))
        }
        _ => Err(Status::invalid_argument(format!(
            "{} nodes are called {wanted}: give an address",
            found.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proto::scheduler::v1::Node;

    use super::*;

    #[test]
    fn a_node_is_named_by_its_address_or_by_its_id_where_one_alone_has_it() {
        let node = |id: &str, address: &str| Node {
            node_id: id.into(),
            public_address: address.into(),
            ..Node::default()
        };
        let nodes = vec![node("a", "h:1"), node("b", "h:2"), node("b", "h:3")];
        let cluster = DescribeClusterResponse { nodes, ..DescribeClusterResponse::default() };
        for wanted in ["a", "h:1"] {
            assert_eq!(address_of(&cluster, wanted).expect("one"), "h:1");
        }
        assert_eq!(address_of(&cluster, "h:3").expect("one"), "h:3");
        assert!(address_of(&cluster, "b").expect_err("two").message().contains("give an address"));
        assert!(address_of(&cluster, "c").expect_err("none").message().contains("scheduler-stub nodes"));
    }
}
