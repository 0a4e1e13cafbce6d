//! Lists over several nodes: each execution once, newest first, whatever the sizes of pages and wherever partitions go.

use std::sync::Arc;

use bytes::Bytes;
use executor::config::Config;
use executor::node::Node;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::{ListExecutionsRequest, ListExecutionsResponse};
use proto::scheduler::v1::CreateStateMachineRequest;
use proto::scheduler::v1::executions_client::ExecutionsClient;
use scheduler_stub::client::Client;
use scheduler_stub::{Scheduler, SchedulerConfig};
use testkit::eventually_async;

use crate::fake::PATIENCE;

const PASS: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
const PARTITIONS: u16 = 8;
const EXECUTIONS: usize = 30;

pub struct Scene {
    scheduler: Scheduler,
    pub nodes: [Node; 2],
    machine: String,
    /// What was started.
    started: Vec<String>,
}

impl Scene {
    pub async fn new() -> Self {
        let memory = MemoryStore::new();
        let listen = "127.0.0.1:0".parse().expect("an address");
        let config = SchedulerConfig { listen, expected_nodes: 2, ..SchedulerConfig::default() };
        let store = memory.connect().await.expect("memory");
        let scheduler = Scheduler::start(config, store).await.expect("the scheduler starts");
        let nodes = [(); 2].map(|()| {
            let scheduler = Some(format!("http://{}", scheduler.address()));
            let config = Config { shards: 1, partitions: PARTITIONS, scheduler, ..Config::embedded() };
            Node::start(config, Arc::new(memory.clone())).expect("the node starts")
        });
        let mut scene = Self { scheduler, nodes, machine: String::new(), started: Vec::new() };
        scene.until_served_by(2).await;
        let mut client = scene.client().await;
        let definition = Bytes::from_static(PASS);
        let request = CreateStateMachineRequest { name: "pass".into(), definition, ..Default::default() };
        scene.machine = client.create(request).await.expect("created").arn;
        for number in 0..EXECUTIONS {
            let started = client.start(&scene.machine, &format!("n{number}"), Bytes::new()).await;
            scene.started.push(started.expect("started").execution_id);
        }
        scene.started.sort();
        scene
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.scheduler.address().to_string(), None).await.expect("it answers")
    }

    pub async fn until_served_by(&self, nodes: usize) {
        eventually_async("every partition is served", PATIENCE, async || {
            let cluster = self.client().await.nodes().await.expect("answered");
            let counts = cluster
                .nodes
                .iter()
                .map(|node| node.shards.iter().map(|shard| shard.partitions.len()).sum::<usize>());
            let counts: Vec<usize> = counts.filter(|count| *count > 0).collect();
            let whole = counts.iter().sum::<usize>() == usize::from(PARTITIONS);
            if whole && counts.len() == nodes { Ok(()) } else { Err(format!("{counts:?}")) }
        })
        .await;
    }

    async fn page(&self, max_results: u32, next_token: String) -> ListExecutionsResponse {
        let url = format!("http://{}", self.scheduler.address());
        let mut client = ExecutionsClient::connect(url).await.expect("it answers");
        let machine_arn = self.machine.clone();
        let request = ListExecutionsRequest { machine_arn, next_token, max_results, ..Default::default() };
        client.list_executions(request).await.expect("a page").into_inner()
    }

    fn each_once(&self, pages: &[ListExecutionsResponse]) {
        let all = || pages.iter().flat_map(|page| &page.executions);
        let times: Vec<u64> = all().map(|execution| execution.start_time_ms).collect();
        assert!(times.is_sorted_by(|newer, older| newer >= older), "newest first: {times:?}");
        let mut ids: Vec<String> = all().map(|execution| execution.execution_id.clone()).collect();
        ids.sort();
        assert_eq!(ids, self.started);
    }
}

#[tokio::test]
async fn pages_of_changing_sizes_give_each_execution_once() {
    let scene = Scene::new().await;
    let (mut pages, mut token) = (Vec::new(), String::new());
    for size in [1, 7, 2, 5, 1, 3].into_iter().cycle() {
        let page = scene.page(size, token.clone()).await;
        token.clone_from(&page.next_token);
        pages.push(page);
        if token.is_empty() {
            break;
        }
    }
    scene.each_once(&pages);
    let listed = scene.client().await.list(&scene.machine, Default::default(), EXECUTIONS - 1).await;
    assert_eq!(listed.expect("listed").len(), EXECUTIONS - 1);
}

#[tokio::test]
async fn partitions_that_move_between_two_pages_neither_hide_nor_repeat_an_execution() {
    let scene = Scene::new().await;
    let first = scene.page(10, String::new()).await;
    scene.nodes[0].drain();
    scene.until_served_by(1).await;
    let second = scene.page(10, first.next_token.clone()).await;
    let third = scene.page(1_000, second.next_token.clone()).await;
    assert_eq!(third.next_token, "");
    scene.each_once(&[first, second, third]);
}
