//! Two nodes on one Redis: a partition goes to another node when its own is killed, stands still, or is asked to go.

use std::time::Duration;

use proto::executor::v1;
use tokio::sync::watch;
use tonic_types::StatusExt;

use crate::support::load::{Ended, Load};
use crate::support::node::{Node, PARTITIONS, start_request};
use crate::support::readback::{
    every_acknowledged_execution_ended_once, every_acknowledged_execution_succeeds,
};
use crate::support::scheduler::{Scheduler, owned, served};
use crate::support::store::StoreUnderTest;

/// Rounds of load and kill.
const KILLS: u64 = 3;
/// Acknowledgements between two kills.
const ACKS: u64 = 1_000;
/// How often partitions move to another node and back.
const MOVEMENTS: u32 = 6;
/// Longer than the lease of an owner.
const STANDSTILL: Duration = Duration::from_millis(3_500);

/// Three things happen, one after the other, and the log has all of them.
const STEPS: &str = r#"{"StartAt":"A","States":{
    "A":{"Type":"Wait","Seconds":1,"Next":"B"},"B":{"Type":"Pass","Next":"C"},
    "C":{"Type":"Wait","Seconds":1,"End":true}}}"#;

/// A node that has what the scheduler says, and is ready for it.
async fn managed(scheduler: &Scheduler, name: &str, store: &StoreUnderTest) -> Node {
    scheduler.assign(name, []);
    Node::serving(&store.flags(), &scheduler.flags(name)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_an_owner_again_and_again_loses_nothing_that_the_next_one_does_not_bring_to_its_end() {
    let (store, scheduler) = (StoreUnderTest::redis(), Scheduler::start().await);
    let mut names = ["a", "b"];
    let mut owner = managed(&scheduler, names[0], &store).await;
    let mut other = managed(&scheduler, names[1], &store).await;
    scheduler.give_all(names[0]).await;
    let mut load = Load::new(&owner).await;
    for kill in 1..=KILLS {
        let (enough, killer) = (load.reaches(kill * ACKS), owner.killer());
        let (ended, ()) = tokio::join!(load.run(&owner, u64::MAX), async {
            enough.await;
            killer.kill9().unwrap_or_else(|error| panic!("{error}"));
        });
        assert!(matches!(ended, Ended::Broken(_)), "a node that is dead goes on: {}", load.place());
        owner.kill9();
        scheduler.forget(names[0]);
        scheduler.give_all(names[1]).await;
        scheduler.assign(names[0], []);
        owner.relaunch();
        owner.wait_serving().await;
        std::mem::swap(&mut owner, &mut other);
        names.reverse();
    }
    load.settle(&owner).await;
    every_acknowledged_execution_succeeds(&owner, &load).await;
    assert_eq!(other.terminate().code, Some(0), "a node that has nothing goes at once");
    every_acknowledged_execution_ended_once(&mut owner, &store, &load).await;
}

async fn history(node: &Node, execution: &str) -> Vec<v1::HistoryEvent> {
    let request = v1::GetExecutionHistoryRequest { execution: execution.to_owned(), ..Default::default() };
    let mut client = node.client().await.expect("the node answers");
    client.get_execution_history(request).await.expect("a history").into_inner().events
}

/// The sum of a metric's samples.
async fn sum(node: &Node, metric: &str) -> f64 {
    let text = node.scrape().await;
    let samples = text.lines().filter(|line| line.starts_with(metric));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_stood_still_longer_than_its_lease_is_fenced_and_changes_nothing() {
    let (store, scheduler) = (StoreUnderTest::redis(), Scheduler::start().await);
    let mut zombie = managed(&scheduler, "a", &store).await;
    let mut next = managed(&scheduler, "b", &store).await;
    scheduler.give_all("a").await;
    let mut load = Load::new(&zombie).await;
    let mut client = zombie.client().await.expect("the node answers");
    let started = client.start_execution(start_request(STEPS, "{}")).await.expect("started").into_inner();
    let execution = started.execution_id;
    load.add(std::slice::from_ref(&execution));
    let enough = load.reaches(ACKS);
    tokio::select! {
        ended = load.run(&zombie, u64::MAX) => panic!("{ended:?} before the node stood still"),
        () = enough => zombie.freeze(),
    }
    // It is told nothing any more: the store alone stands between it and its successor.
    scheduler.forget("a");
    scheduler.give_all("b").await;
    assert_eq!(load.run(&next, 2 * ACKS).await, Ended::Done);
    load.settle(&next).await;
    // The time that passes is what is tested here: nothing is waited for.
    tokio::time::sleep(STANDSTILL).await;
    every_acknowledged_execution_succeeds(&next, &load).await;
    let before = history(&next, &execution).await;
    zombie.thaw();
    let mut client = zombie.client().await.expect("it accepts connections again");
    let request = v1::DescribeExecutionRequest { execution: execution.clone() };
    let refused = client.describe_execution(request).await.expect_err("it answers from memory");
    let reason = refused.get_error_details().error_info().map(|info| info.reason.clone());
    assert_eq!(reason.as_deref(), Some("NotOwner"), "{refused}");
    scheduler.until("a", |report| owned(report) == 0).await;
    let lost = sum(&zombie, "executor_partitions_lost_total").await;
    assert_eq!(lost as u32, PARTITIONS, "partitions that were fenced");
    assert_eq!(history(&next, &execution).await, before);
    assert_eq!(zombie.terminate().code, Some(0), "a node that has nothing goes at once");
    every_acknowledged_execution_ended_once(&mut next, &store, &load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_hands_every_partition_over_and_clients_see_nothing_worse_than_a_retry() {
    let (store, scheduler) = (StoreUnderTest::redis(), Scheduler::start().await);
    let mut leaving = managed(&scheduler, "a", &store).await;
    let mut next = managed(&scheduler, "b", &store).await;
    scheduler.give_all("a").await;
    let mut load = Load::new(&leaving).await;
    assert_eq!(load.run(&leaving, ACKS).await, Ended::Done);
    leaving.send_sigterm();
    let handed_over = async {
        scheduler.until("a", |report| report.draining && owned(report) == 0).await;
        scheduler.give_all("b").await;
    };
    // Whatever else than a refusal that may be tried again panics.
    let (ended, ()) = tokio::join!(load.run(&leaving, u64::MAX), handed_over);
    assert!(matches!(ended, Ended::Broken(_)), "{ended:?}");
    let exit = leaving.wait_exit();
    assert_eq!((exit.code, exit.signal), (Some(0), None), "{}", leaving.log());
    assert_eq!(load.run(&next, load.acknowledged + ACKS).await, Ended::Done);
    load.settle(&next).await;
    every_acknowledged_execution_succeeds(&next, &load).await;
    every_acknowledged_execution_ended_once(&mut next, &store, &load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_move_to_and_fro_under_load_lose_nothing_and_end_nothing_twice() {
    let (store, scheduler) = (StoreUnderTest::redis(), Scheduler::start().await);
    let mut here = managed(&scheduler, "a", &store).await;
    let mut there = managed(&scheduler, "b", &store).await;
    scheduler.give_all("a").await;
    let mut load = Load::new(&here).await;
    let (moved, moving) = watch::channel(false);
    let movements = async {
        for movement in 0..MOVEMENTS {
            // A half moves, then the other, then everything is back.
            let half = |partition: &u32| partition % 4 / 2 == movement % 2;
            scheduler.assign("a", (0..PARTITIONS).filter(|partition| !half(partition)));
            scheduler.until("a", |report| owned(report) == 2).await;
            scheduler.assign("b", (0..PARTITIONS).filter(half));
            scheduler.until("b", |report| served(report) == 2).await;
            scheduler.assign("b", []);
            scheduler.until("b", |report| owned(report) == 0).await;
            scheduler.give_all("a").await;
        }
        moved.send_replace(true);
    };
    let sending = async {
        while !*moving.borrow() {
            assert_eq!(load.run(&here, load.acknowledged + ACKS / 4).await, Ended::Done);
        }
    };
    tokio::join!(movements, sending);
    load.settle(&here).await;
    let refused = load.refused.get("NOT_OWNER").copied().unwrap_or_default();
    assert!(refused > 0, "nothing has moved under this load");
    every_acknowledged_execution_succeeds(&here, &load).await;
    assert_eq!(there.terminate().code, Some(0), "a node that has nothing goes at once");
    every_acknowledged_execution_ended_once(&mut here, &store, &load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_scheduler_is_gone_goes_on_and_gives_its_partitions_back_when_it_is_asked_to_go() {
    let (store, scheduler) = (StoreUnderTest::redis(), Scheduler::start().await);
    let mut node = managed(&scheduler, "a", &store).await;
    scheduler.give_all("a").await;
    scheduler.end();
    let mut load = Load::new(&node).await;
    assert_eq!(load.run(&node, ACKS).await, Ended::Done);
    load.settle(&node).await;
    every_acknowledged_execution_succeeds(&node, &load).await;
    node.says("the scheduler is out of reach");
    every_acknowledged_execution_ended_once(&mut node, &store, &load).await;
}
