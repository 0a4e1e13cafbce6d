//! `scheduler-stub nodes`: who lives, and who has what.

use std::fmt::Write as _;

use clap::Args;
use proto::executor::v1::Shard;
use proto::executor::v1::owned_partition::State;
use proto::scheduler::v1::{DescribeClusterResponse, Node, RefusedNode};

use super::client::{Connection, ended};
use super::{Exit, say};
use crate::ailments::HOW_TO_START;

const MANUAL: &str = "\
OUTPUT
  One line for the scheduler, one for each node, one for each shard. Partitions are given as
  ranges, after what they are: served, being recovered, being released, or assigned and not yet
  taken. A node that is away is shown without its shards: what it had goes to others. One that does
  not serve says why, and so does one that the scheduler does not take in. Exit code 1: some
  partition is with nobody, or some node does not serve or is refused; one that drains or is away
  is not counted, as long as others serve everything.";

/// `nodes`
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct NodesOptions {
    #[command(flatten)]
    connection: Connection,
}

/// Shows the cluster once.
pub(super) async fn run(options: NodesOptions) -> Exit {
    let show = async {
        let cluster = options.connection.client().await?.nodes().await?;
        say(render(&cluster).trim_end());
        Ok(if is_well(&cluster) { Exit::Ok } else { Exit::Finding })
    };
    ended(show.await)
}

/// Whether nobody has to look after anything.
fn is_well(cluster: &DescribeClusterResponse) -> bool {
    let ails = |node: &Node| !node.away && !node.draining && !node.condition.is_empty();
    let whole = cluster.partitions > 0 && nobodys(cluster).is_empty();
    whole && cluster.refused.is_empty() && !cluster.nodes.iter().any(ails)
}

/// Partitions that no shard serves.
fn nobodys(cluster: &DescribeClusterResponse) -> Vec<u32> {
    let shards = cluster.nodes.iter().filter(|node| node.serving && !node.away).flat_map(|node| &node.shards);
    let served: std::collections::BTreeSet<u32> =
        shards.flat_map(|shard| &shard.partitions).copied().collect();
    (0..cluster.partitions).filter(|partition| !served.contains(partition)).collect()
}

fn render(cluster: &DescribeClusterResponse) -> String {
    let does = match (cluster.assigning, cluster.replaced_by) {
        (_, by) if by > 0 => format!("replaced by incarnation {by}: assigns nothing"),
        (true, _) => format!("assigns, {} on their way", cluster.moves),
        (false, _) if cluster.nodes.iter().any(|node| node.managed) => "listens".to_owned(),
        (false, _) => "assigns nothing: no node follows it".to_owned(),
    };
    let mut text = format!("scheduler  incarnation {}, {does}\n", cluster.scheduler_incarnation);
    let _ =
        writeln!(text, "partitions {} in all, not served: {}", cluster.partitions, ranges(&nobodys(cluster)));
    if cluster.nodes.is_empty() {
        let _ = writeln!(text, "no nodes: {HOW_TO_START}");
    }
    for node in &cluster.nodes {
        render_node(&mut text, node);
    }
    for node in &cluster.refused {
        let RefusedNode { public_address, node_id, why, silent_ms } = node;
        let _ = writeln!(
            text,
            "refused    {public_address:<21} {:<9} heard {silent_ms:>5} ms ago  {node_id}\n  {why}",
            ""
        );
    }
    text
}

fn render_node(text: &mut String, node: &Node) {
    let state = match node {
        Node { away: true, .. } => "away",
        Node { draining: true, .. } => "draining",
        Node { managed: true, .. } => "managed",
        _ => "static",
    };
    let Node { public_address, node_id, silent_ms, .. } = node;
    let _ =
        writeln!(text, "node       {public_address:<21} {state:<9} heard {silent_ms:>5} ms ago  {node_id}");
    if node.away {
        return;
    }
    if !node.condition.is_empty() && !node.draining {
        let _ = writeln!(text, "  {}", node.condition);
    }
    for shard in &node.shards {
        let assigned = node.assignment.as_ref().map(|assignment| {
            let mine = assignment.shards.iter().filter(|assigned| assigned.index == shard.index);
            mine.flat_map(|assigned| &assigned.partitions).copied().collect::<Vec<u32>>()
        });
        render_shard(text, shard, &assigned.unwrap_or_default());
    }
}

fn render_shard(text: &mut String, shard: &Shard, assigned: &[u32]) {
    let Shard { index, data_address, open_executions, saturation_ratio, .. } = shard;
    let load = saturation_ratio * 100.0;
    let _ =
        write!(text, "  shard {index:<2} {data_address:<21} open {open_executions:>8}  load {load:>3.0} %");
    let _ = write!(text, "  serves {}", ranges(&shard.partitions));
    let with = |state: State| -> Vec<u32> {
        shard.owned.iter().filter(|owned| owned.state() == state).map(|owned| owned.partition).collect()
    };
    let has = |partition: &u32| {
        shard.partitions.contains(partition) || shard.owned.iter().any(|owned| owned.partition == *partition)
    };
    let awaited: Vec<u32> = assigned.iter().copied().filter(|partition| !has(partition)).collect();
    let others = [
        ("recovers", with(State::Recovering)),
        ("releases", with(State::Releasing)),
        ("is to take", awaited),
    ];
    for (what, partitions) in others.into_iter().filter(|(_, partitions)| !partitions.is_empty()) {
        let _ = write!(text, "  {what} {}", ranges(&partitions));
    }
    text.push_str(match (shard.cut_off, shard.busy) {
        (true, true) => "  HANGS: it does not answer its node",
        (true, false) => "  CUT OFF: nothing of the store answers it",
        (false, true) => "  busy",
        (false, false) => "",
    });
    text.push('\n');
}

/// `0-3,7`; `none` for none.
fn ranges(partitions: &[u32]) -> String {
    let mut sorted = partitions.to_vec();
    sorted.sort_unstable();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for partition in sorted {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == partition => *last = partition,
            _ => runs.push((partition, partition)),
        }
    }
    if runs.is_empty() {
        return "none".to_owned();
    }
    let run = |(from, to): (u32, u32)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    runs.into_iter().map(run).collect::<Vec<String>>().join(",")
}

#[cfg(test)]
mod tests {
    use proto::executor::v1::OwnedPartition;
    use proto::scheduler::v1::{Assignment, ShardAssignment};

    use super::*;

    #[test]
    fn each_partition_is_shown_with_what_becomes_of_it() {
        let owned =
            |partition, state: State| OwnedPartition { partition, generation: 1, state: state.into() };
        let shard = Shard {
            index: 1,
            data_address: "127.0.0.1:7402".into(),
            partitions: vec![0, 1, 2, 5],
            open_executions: 12,
            saturation_ratio: 0.25,
            owned: vec![owned(0, State::Serving), owned(6, State::Recovering), owned(7, State::Releasing)],
            cut_off: true,
            busy: false,
        };
        let assigned = ShardAssignment { index: 1, partitions: vec![0, 1, 2, 5, 6, 8] };
        let node = Node {
            node_id: "one".into(),
            public_address: "127.0.0.1:7400".into(),
            managed: true,
            serving: true,
            silent_ms: 120,
            shards: vec![shard],
            assignment: Some(Assignment { scheduler_incarnation: 3, shards: vec![assigned] }),
            ..Node::default()
        };
        let cluster = DescribeClusterResponse {
            partitions: 9,
            nodes: vec![node],
            scheduler_incarnation: 3,
            assigning: true,
            moves: 1,
            ..DescribeClusterResponse::default()
        };
        let shown = "\
scheduler  incarnation 3, assigns, 1 on their way
partitions 9 in all, not served: 3-4,6-8
node       127.0.0.1:7400        managed   heard   120 ms ago  one
  shard 1  127.0.0.1:7402        open       12  load  25 %  serves 0-2,5  recovers 6  releases 7  is to take 8  CUT OFF: nothing of the store answers it
";
        assert_eq!(render(&cluster), shown);
        let refused = RefusedNode {
            node_id: "two".into(),
            public_address: "127.0.0.1:7500".into(),
            why: "it has 8 partitions".into(),
            silent_ms: 7,
        };
        let with_refused = DescribeClusterResponse { refused: vec![refused], ..cluster.clone() };
        let line =
            "refused    127.0.0.1:7500                  heard     7 ms ago  two\n  it has 8 partitions\n";
        assert!(render(&with_refused).ends_with(line), "{}", render(&with_refused));
        let away = Node { serving: false, ..cluster.nodes[0].clone() };
        let cluster = DescribeClusterResponse { nodes: vec![away], ..cluster };
        assert!(render(&cluster).contains("not served: 0-8\n"), "what a dead node said counts for nothing");
    }

    #[test]
    fn a_node_that_does_not_serve_says_why_one_that_is_away_shows_nothing_and_only_the_first_is_a_finding() {
        let shard = |partitions: Vec<u32>| Shard { partitions, ..Shard::default() };
        let node = |address: &str, partitions| Node {
            public_address: address.into(),
            managed: true,
            serving: true,
            shards: vec![shard(partitions)],
            ..Node::default()
        };
        let away = Node { away: true, serving: false, ..node("h:2", vec![1]) };
        let mut cluster = DescribeClusterResponse {
            partitions: 2,
            nodes: vec![node("h:1", vec![0, 1]), away],
            ..DescribeClusterResponse::default()
        };
        assert!(is_well(&cluster), "others serve what it had");
        let shown = render(&cluster);
        let (_, of_the_other) = shown.split_once("h:2").expect("it is shown");
        assert!(of_the_other.contains("away") && !of_the_other.contains("serves"), "{shown}");
        cluster.nodes[0].condition = "store down: it does not confirm".into();
        assert!(!is_well(&cluster));
        assert!(render(&cluster).contains("\n  store down: it does not confirm\n"), "{}", render(&cluster));
    }
}
