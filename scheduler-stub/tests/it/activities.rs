//! Activities in the store, and workers that poll them through the scheduler, with real nodes in the same process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use executor::clock::{Clock, ManualClock};
use executor::config::Config;
use executor::node::Node;
use executor::secret::ClusterSecret;
use journal::Store;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::{ExecutionStatus, GetActivityTaskResponse};
use proto::scheduler::v1::CreateStateMachineRequest;
use scheduler_stub::activities::{ACTIVITIES_MAX, Activities, FRESH_FOR};
use scheduler_stub::client::Client;
use scheduler_stub::names::Naming;
use scheduler_stub::{Scheduler, SchedulerConfig};
use testkit::eventually_async;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic_types::StatusExt;

use crate::fake::PATIENCE;

const REVIEW: &str = "arn:aws:states:local:000000000000:activity:review";
const ASK: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Task","End":true,
    "Resource":"arn:aws:states:local:000000000000:activity:review"}}}"#;

fn on(store: &Arc<dyn Store>, clock: &ManualClock) -> Activities {
    let secret = Arc::new(ClusterSecret::from_key(&[7; 32]));
    Activities::new(Arc::clone(store), Clock::Manual(clock.clone()), Naming::default(), secret)
}

async fn activities() -> (Activities, Arc<dyn Store>, ManualClock) {
    let store = MemoryStore::new().connect().await.expect("memory");
    let clock = ManualClock::at_ms(1_000_000);
    (on(&store, &clock), store, clock)
}

#[tokio::test]
async fn an_activity_is_created_once_described_and_deleted() {
    let (activities, _, clock) = activities().await;
    let created = activities.create("review").await.expect("created");
    assert_eq!((created.arn.as_str(), created.created_ms), (REVIEW, 1_000_000));
    clock.advance(Duration::from_secs(1));
    assert_eq!(activities.create("review").await.expect("the same"), created);
    assert_eq!(activities.describe(REVIEW).await.expect("described"), created);
    activities.delete(REVIEW).await.expect("deleted");
    for refused in [activities.describe(REVIEW).await.map(drop), activities.delete(REVIEW).await] {
        assert_eq!(refused.expect_err("gone").code(), "ActivityDoesNotExist");
    }
    assert_eq!(activities.create("review").await.expect("anew").created_ms, 1_001_000);
}

#[tokio::test]
async fn an_activity_has_tags_and_one_of_before_there_were_any_is_deleted_all_the_same() {
    let store = MemoryStore::new().connect().await.expect("memory");
    let activities = on(&store, &ManualClock::at_ms(1_000_000));
    let tags = |tags: &[(&str, &str)]| {
        tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let created = activities.create_tagged("review", tags(&[("team", "a")])).await.expect("created");
    activities.tag(&created.arn, &tags(&[("team", "b"), ("tier", "1")])).await.expect("tagged");
    activities.untag(&created.arn, &["tier".to_owned()]).await.expect("untagged");
    assert_eq!(activities.describe(&created.arn).await.expect("described").tags, tags(&[("team", "b")]));
    let many: BTreeMap<String, String> = (0..51).map(|at| (format!("k{at}"), String::new())).collect();
    assert_eq!(activities.tag(&created.arn, &many).await.expect_err("too many").code(), "TooManyTags");
    let old = created.arn.replace("review", "old");
    let record = format!(r#"{{"created_ms":1,"arn":"{old}","name":"old"}}"#);
    store.put(format!("scheduler/activity/{old}").into(), record.into()).await.expect("put");
    activities.delete(&old).await.expect("deleted, though it would be written otherwise now");
    assert_eq!(activities.describe(&old).await.expect_err("gone").code(), "ActivityDoesNotExist");
}

#[tokio::test]
async fn names_and_arns_follow_the_rules() {
    let (activities, ..) = activities().await;
    for name in ["", "a b", "a:b", &"x".repeat(81)] {
        assert_eq!(activities.create(name).await.expect_err("refused").code(), "InvalidName", "{name}");
    }
    for arn in ["review", "arn:aws:states:local:000000000000:stateMachine:review", &REVIEW.repeat(9)] {
        assert_eq!(activities.describe(arn).await.expect_err("refused").code(), "InvalidArn", "{arn}");
    }
}

#[tokio::test]
async fn a_list_is_paged_by_tokens_that_any_scheduler_of_the_cluster_takes_and_nobody_makes_up() {
    let (activities, store, clock) = activities().await;
    for name in ["a", "b", "c", "d", "e"] {
        activities.create(name).await.expect("created");
    }
    let other = on(&store, &clock);
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let (page, next) = other.list(2, &token).await.expect("a page");
        names.extend(page.into_iter().map(|activity| activity.name));
        if next.is_empty() {
            break;
        }
        token = next;
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    for wrong in ["x", REVIEW, &token[..token.len() - 2]] {
        assert_eq!(other.list(2, wrong).await.expect_err("refused").code(), "InvalidToken");
    }
}

#[tokio::test]
async fn there_are_only_so_many() {
    let (activities, store, _) = activities().await;
    let kept = activities.create("review").await.expect("created");
    for number in 1..ACTIVITIES_MAX {
        let key = format!("scheduler/activity/arn:aws:states:local:000000000000:activity:a{number}");
        store.put(key.into(), Bytes::from_static(b"{}")).await.expect("put");
    }
    let refused = activities.create("one-more").await.expect_err("refused");
    assert_eq!(refused.code(), "ActivityLimitExceeded");
    assert_eq!(Status::from(refused).code(), tonic::Code::ResourceExhausted);
    assert_eq!(activities.create("review").await.expect("it exists"), kept);
}

#[tokio::test]
async fn polls_of_what_was_known_a_moment_ago_ask_no_store_and_learn_soon_that_it_is_deleted() {
    let (mine, store, clock) = activities().await;
    let theirs = on(&store, &clock);
    theirs.create("review").await.expect("created");
    mine.check(REVIEW).await.expect("it exists");
    theirs.delete(REVIEW).await.expect("deleted");
    mine.check(REVIEW).await.expect("from memory");
    clock.advance(FRESH_FOR);
    assert_eq!(mine.check(REVIEW).await.expect_err("gone").code(), "ActivityDoesNotExist");
}

struct Stage {
    nodes: Vec<Node>,
    scheduler: Scheduler,
    client: Client,
}

/// A scheduler, and nodes that have what it gives them.
async fn stage(nodes: usize, poll_wait: Duration) -> Stage {
    let memory = MemoryStore::new();
    let config = SchedulerConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        expected_nodes: nodes,
        poll_wait,
        ..SchedulerConfig::default()
    };
    let store = memory.connect().await.expect("memory");
    let scheduler = Scheduler::start(config, store).await.expect("the scheduler starts");
    let client = Client::connect(&scheduler.address().to_string(), None).await.expect("it answers");
    let mut stage = Stage { nodes: Vec::new(), scheduler, client };
    for number in 0..nodes {
        let scheduler = Some(format!("http://{}", stage.scheduler.address()));
        let node_id = format!("n{number}");
        let config = Config { shards: 2, partitions: 8, scheduler, node_id, ..Config::embedded() };
        stage.nodes.push(Node::start(config, Arc::new(memory.clone())).expect("the node starts"));
    }
    for node in &stage.nodes {
        assert!(tokio::time::timeout(PATIENCE, node.ready()).await.expect("it becomes ready"));
    }
    stage.whole(nodes).await;
    stage
}

type Polled = Result<GetActivityTaskResponse, Status>;

impl Stage {
    /// Waits until so many nodes serve, and every partition is served.
    async fn whole(&self, nodes: usize) {
        eventually_async("every partition is served", PATIENCE, async || {
            let view = self.scheduler.directory().view();
            let served: usize = view.shards.iter().map(|shard| shard.partitions.len()).sum();
            let mut serving: Vec<_> =
                view.shards.iter().filter(|shard| !shard.partitions.is_empty()).collect();
            serving.dedup_by_key(|shard| Arc::clone(&shard.public_address));
            if served == 8 && serving.len() == nodes {
                Ok(())
            } else {
                Err(format!("{served} by {}", serving.len()))
            }
        })
        .await;
    }

    async fn machine(&mut self) -> String {
        self.client.create_activity("review").await.expect("created");
        let definition = Bytes::from_static(ASK);
        let request = CreateStateMachineRequest { name: "ask".into(), definition, ..Default::default() };
        self.client.create(request).await.expect("created").arn
    }

    async fn start(&mut self, machine: &str, input: u32) -> String {
        let input = Bytes::from(input.to_string());
        self.client.start(machine, "", input).await.expect("started").execution_arn
    }

    fn poll(&self, worker: &'static str) -> JoinHandle<Polled> {
        let mut client = self.client.clone();
        tokio::spawn(async move { client.activity_task(REVIEW, worker).await })
    }

    async fn ends(&mut self, execution: &str) {
        eventually_async("its end", PATIENCE, async || {
            let described = self.client.clone().describe(execution).await.expect("described");
            match described.summary.expect("a summary").status() {
                ExecutionStatus::Succeeded => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

async fn answer(poll: JoinHandle<Polled>) -> GetActivityTaskResponse {
    let polled = tokio::time::timeout(PATIENCE, poll).await.expect("it is answered");
    polled.expect("no panic").expect("no refusal")
}

#[tokio::test]
async fn workers_get_the_tasks_of_all_nodes_each_once_and_answer_by_their_tokens() {
    let mut stage = stage(2, PATIENCE).await;
    let machine = stage.machine().await;
    let mut waiting: Vec<_> = (0..4).map(|_| stage.poll("anna")).collect();
    let mut executions = Vec::new();
    for number in 0..12 {
        executions.push(stage.start(&machine, number).await);
    }
    let mut inputs = Vec::new();
    while inputs.len() < 12 {
        let poll = if waiting.is_empty() { stage.poll("bert") } else { waiting.remove(0) };
        let task = answer(poll).await;
        inputs.push(String::from_utf8(task.input.to_vec()).expect("text").parse::<u32>().expect("a number"));
        stage.client.task_success(task.task_token, Bytes::from_static(b"{}")).await.expect("taken");
    }
    inputs.sort_unstable();
    assert_eq!(inputs, (0..12).collect::<Vec<_>>());
    for execution in executions {
        stage.ends(&execution).await;
    }
}

#[tokio::test]
async fn tasks_whose_partitions_move_are_taken_where_they_are_then() {
    let mut stage = stage(2, PATIENCE).await;
    let machine = stage.machine().await;
    for number in 0..8 {
        stage.start(&machine, number).await;
    }
    let first = answer(stage.poll("anna")).await;
    stage.nodes[0].drain();
    tokio::time::timeout(PATIENCE, stage.nodes[0].wait()).await.expect("it ends");
    stage.whole(1).await;
    stage.client.task_success(first.task_token, Bytes::from_static(b"{}")).await.expect("taken");
    let mut inputs = vec![first.input];
    for _ in 0..7 {
        inputs.push(answer(stage.poll("bert")).await.input);
    }
    inputs.sort();
    assert_eq!(inputs, (0..8).map(|number: u32| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_poll_of_nothing_is_answered_empty_and_one_of_an_activity_that_is_none_is_refused() {
    let mut stage = stage(1, Duration::from_millis(20)).await;
    let refused = stage.client.activity_task(REVIEW, "anna").await.expect_err("refused");
    let reason = refused.get_error_details().error_info().map(|info| info.reason.clone());
    assert_eq!(reason.as_deref(), Some("ActivityDoesNotExist"));
    stage.client.create_activity("review").await.expect("created");
    assert_eq!(answer(stage.poll("anna")).await, GetActivityTaskResponse::default());
    assert_eq!(stage.client.activities().await.expect("listed").len(), 1);
    stage.client.delete_activity(REVIEW).await.expect("deleted");
    assert_eq!(stage.client.activities().await.expect("listed"), []);
}
