//! The store on a Redis Cluster in trouble: slots on the move, a master away, a replica promoted without the last writes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ids::PartitionId;
use journal::store::BlockRange;
use journal::{Append, BlockId, Derived, Store, StoreError};
use journal_redis::{RedisConnect, RedisOptions, RedisStore, partition_tag};
use testkit::{RedisCluster, eventually_async};

const SOON: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn partition(number: u32) -> PartitionId {
    PartitionId::new(number).expect("in range")
}

async fn open(cluster: &RedisCluster, prefix: &str) -> RedisStore {
    let options = RedisOptions { prefix: prefix.to_owned(), ..RedisOptions::new(cluster.url()) };
    RedisConnect::new(options).expect("a good URL").open().await.expect("the cluster is there")
}

fn block(partition: PartitionId, generation: u64, sequence: u64) -> Append {
    let id = BlockId { generation, sequence };
    let block = Bytes::from(format!("block {id} of {partition}"));
    Append { partition, id, block, derived: Vec::new(), trim_below: None }
}

/// With what travels beside it: a key of its own, and an entry of the one list.
fn block_and_more(partition: PartitionId, generation: u64, sequence: u64) -> Append {
    let value = Bytes::from(sequence.to_string());
    let derived = vec![
        Derived::Put { key: format!("key {sequence}").into(), value: value.clone(), ttl: HOUR },
        Derived::Push { list: "list".into(), value, ttl: HOUR },
    ];
    Append { derived, ..block(partition, generation, sequence) }
}

async fn append_surely(store: &RedisStore, append: &Append) {
    eventually_async("the append succeeds", SOON, || async {
        match store.append(append.clone()).await {
            Err(error) if !error.is_retryable() => panic!("it can never succeed: {error}"),
            other => other,
        }
    })
    .await;
}

fn slot(cluster: &RedisCluster, key: &str) -> u16 {
    let slot = cluster.nodes()[0].command(&["CLUSTER", "KEYSLOT", key]).expect("a slot");
    slot.parse().expect("a number")
}

fn slot_of(cluster: &RedisCluster, partition: PartitionId) -> u16 {
    slot(cluster, &format!("{{{}}}", partition_tag(partition)))
}

fn master_of(cluster: &RedisCluster, partition: PartitionId) -> usize {
    cluster.master_of(slot_of(cluster, partition), 0).expect("a reply").expect("somebody serves it")
}

async fn blocks(store: &RedisStore, partition: PartitionId) -> Vec<u64> {
    let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
    let range = BlockRange { from: BlockId::default(), to, reverse: false, limit: 100_000 };
    let blocks = store.read(partition, range).await.expect("the log can be read");
    blocks.into_iter().map(|(id, _)| id.sequence).collect()
}

/// Writes until told to stop; how many blocks.
async fn write(store: &RedisStore, partition: PartitionId, generation: u64, stop: &AtomicBool) -> u64 {
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        sequence += 1;
        append_surely(store, &block_and_more(partition, generation, sequence)).await;
        store.increment("counter".into()).await.expect("a slot on the move is waited for");
    }
    sequence
}

#[tokio::test]
async fn slots_move_under_load_without_loss_and_without_a_second_effect() {
    let cluster = RedisCluster::shared();
    let store = open(&cluster, "moving").await;
    let partition = partition(3);
    let generation = store.acquire(partition).await.expect("acquired").generation;
    let stop = AtomicBool::new(false);
    let durable = slot(&cluster, "{durable}");
    let (log_slot, log_home) = (slot_of(&cluster, partition), master_of(&cluster, partition));
    let durable_home = cluster.master_of(durable, 0).expect("a reply").expect("served");
    let moves = async {
        let cluster = std::sync::Arc::clone(&cluster);
        let moved = tokio::task::spawn_blocking(move || {
            for (slot, home) in [(log_slot, log_home), (durable, durable_home)] {
                let away = (home + 1) % 3;
                for (from, to) in [(home, away), (away, home)] {
                    cluster.migrate(slot, from, to).expect("moved");
                }
            }
        });
        moved.await.expect("no panic");
        stop.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(write(&store, partition, generation, &stop), moves);
    assert!(written > 4, "the slots moved four times while only {written} blocks were written");
    assert_eq!(blocks(&store, partition).await, (1..=written).collect::<Vec<_>>());
    assert_eq!(store.increment("counter".into()).await.expect("raised"), written + 1);
    let keys = (1..=written).map(|sequence| format!("key {sequence}").into()).collect();
    let values = store.get_derived(partition, keys).await.expect("read");
    assert!(values.iter().all(Option::is_some), "a key is missing");
    let list = store.list(partition, "list".into(), 0, usize::MAX).await.expect("read");
    let entries: HashSet<&Bytes> = list.iter().collect();
    assert_eq!((list.len() as u64, entries.len() as u64), (written, written), "each entry once");
}

#[tokio::test]
async fn a_slot_that_is_half_moved_is_read_and_written_on_both_sides() {
    let cluster = RedisCluster::shared();
    let store = open(&cluster, "half").await;
    let partition = partition(5);
    let generation = store.acquire(partition).await.expect("acquired").generation;
    for sequence in 1..=150 {
        append_surely(&store, &block_and_more(partition, generation, sequence)).await;
    }
    store.get_derived(partition, vec!["key 1".into()]).await.expect("all are sent");
    let (slot, from) = (slot_of(&cluster, partition), master_of(&cluster, partition));
    let to = (from + 1) % 3;
    cluster.begin_migration(slot, from, to).expect("begun");
    let mut sequence = 150;
    let mut moved = 1;
    while moved > 0 {
        moved = cluster.migrate_some(slot, from, to).expect("some keys moved");
        for _ in 0..3 {
            sequence += 1;
            append_surely(&store, &block_and_more(partition, generation, sequence)).await;
        }
        let keys: Vec<Bytes> = (1..=sequence).map(|sequence| format!("key {sequence}").into()).collect();
        let values = store.get_derived(partition, keys).await.expect("half here, half there");
        assert!(values.iter().all(Option::is_some), "a key is missing");
        assert_eq!(store.top(partition).await.expect("told"), Some(BlockId { generation, sequence }));
    }
    cluster.end_migration(slot, from, to).expect("ended");
    assert_eq!(blocks(&store, partition).await, (1..=sequence).collect::<Vec<_>>());
    let list = store.list(partition, "list".into(), 0, usize::MAX).await.expect("read");
    assert_eq!(list.len() as u64, sequence);
    let ttl =
        cluster.nodes()[to].command(&["PTTL", &format!("half:{{{}}}:l:list", partition_tag(partition))]);
    assert!(ttl.expect("a reply").parse::<i64>().expect("a number") > 0, "a list forgets in time");
    cluster.migrate(slot, to, from).expect("back again");
}

#[tokio::test]
async fn a_master_that_is_away_takes_its_own_partitions_along_and_no_others() {
    let mut cluster = RedisCluster::durable(3, 0);
    let store = open(&cluster, "away").await;
    let partitions: Vec<PartitionId> = (0..12).map(partition).collect();
    let mut homes = Vec::new();
    for partition in &partitions {
        assert_eq!(store.acquire(*partition).await.expect("acquired").generation, 1);
        store.append(block(*partition, 1, 1)).await.expect("written");
        homes.push(master_of(&cluster, *partition));
    }
    assert_eq!(homes.iter().collect::<HashSet<_>>().len(), 3, "each master has some: {homes:?}");
    let top = BlockId { generation: 1, sequence: 1 };
    let tops = store.tops(partitions.clone()).await.expect("told");
    assert!(tops.iter().all(|told| matches!(told, Ok(told) if *told == Some(top))), "{tops:?}");
    let promise = store.durability().await.expect("readable");
    assert!(promise.survives_process_kill, "{promise:?}");
    cluster.node_mut(1).kill9();
    let mut unknown = Vec::new();
    for (partition, home) in partitions.iter().zip(&homes) {
        // What is sent on the dead connection may be unknown once; after that it is told what is wrong.
        let mut outcome = store.append(block(*partition, 1, 2)).await;
        if matches!(outcome, Err(StoreError::Unknown(_))) {
            outcome = store.append(block(*partition, 1, 2)).await;
        }
        if *home == 1 {
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{partition}: {outcome:?}");
            unknown.push(block(*partition, 1, 2));
        } else {
            outcome.unwrap_or_else(|error| panic!("{partition} is served elsewhere: {error}"));
        }
    }
    let tops = store.tops(partitions.clone()).await.expect("the others answer");
    for (top, home) in tops.iter().zip(&homes) {
        assert_eq!(top.is_err(), *home == 1, "each log for itself: {tops:?}");
    }
    store.ping().await.expect("the others answer");
    let promise = store.durability().await.expect("readable");
    assert!(!promise.survives_process_kill, "a master cannot be asked: {promise:?}");
    cluster.node_mut(1).restart().expect("it starts again");
    for append in &unknown {
        append_surely(&store, append).await;
    }
    let node = &cluster.nodes()[2];
    node.command(&["CONFIG", "SET", "appendfsync", "everysec"]).expect("set");
    let promise = store.durability().await.expect("readable");
    assert!(!promise.survives_process_kill, "{promise:?}");
    assert!(promise.detail.contains(&format!("always ({})", node.address())), "{}", promise.detail);
}

#[tokio::test]
async fn a_replica_promoted_without_the_last_writes_is_a_log_that_went_back() {
    let mut cluster = RedisCluster::durable(2, 1);
    let store = open(&cluster, "failover").await;
    let at = |home: usize| (0..64).map(partition).filter(move |it| master_of_two(*it) == home);
    let (lost, kept) = (at(0).next().expect("one"), at(1).next().expect("one"));
    for partition in [lost, kept] {
        assert_eq!(store.acquire(partition).await.expect("acquired").generation, 1);
        store.append(block(partition, 1, 1)).await.expect("written");
    }
    wait_until_in_step(&cluster, 0, 2).await;
    // The replica cannot come back to its master once its connection is cut.
    cluster.nodes()[2].command(&["CONFIG", "SET", "masterauth", "wrong"]).expect("set");
    cluster.nodes()[0].command(&["CLIENT", "KILL", "TYPE", "replica"]).expect("cut");
    for sequence in 2..=4 {
        store.append(block(lost, 1, sequence)).await.expect("the master confirms by itself");
    }
    cluster.node_mut(0).kill9();
    cluster.nodes()[2].command(&["CLUSTER", "FAILOVER", "TAKEOVER"]).expect("promoted");
    store.append(block(kept, 1, 2)).await.expect("the other master goes on");
    let error = eventually_async("the promoted replica is asked", SOON, || async {
        match store.append(block(lost, 1, 5)).await {
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => Ok(error),
            Ok(()) => panic!("it would hide that three blocks are missing"),
        }
    })
    .await;
    let StoreError::WentBack { partition, confirmed, top } = error else { panic!("{error:?}") };
    assert_eq!((partition, confirmed.sequence, top.map(|top| top.sequence)), (lost, 4, Some(1)));
    assert_eq!(blocks(&store, lost).await, [1], "nothing was written behind the gap");
    assert_eq!(store.acquire(lost).await.expect("acquired").generation, 2);
    store.append(block(lost, 2, 1)).await.expect("the new owner writes");
    // One that has everything is none of the owner's business.
    wait_until_in_step(&cluster, 1, 3).await;
    cluster.nodes()[3].command(&["CLUSTER", "FAILOVER", "TAKEOVER"]).expect("promoted");
    eventually_async("the old master follows", SOON, || async {
        let role = cluster.nodes()[1].command(&["ROLE"]).map_err(|error| error.to_string())?;
        if role.starts_with("slave") { Ok(()) } else { Err(role) }
    })
    .await;
    append_surely(&store, &block(kept, 1, 3)).await;
    assert_eq!(blocks(&store, kept).await, [1, 2, 3]);
}

#[tokio::test]
async fn keys_that_wait_for_a_master_are_written_by_the_one_that_takes_its_place() {
    let mut cluster = RedisCluster::durable(2, 1);
    let store = open(&cluster, "successor").await;
    let partition = (0..64).map(partition).find(|it| master_of_two(*it) == 0).expect("one");
    let generation = store.acquire(partition).await.expect("acquired").generation;
    cluster.nodes()[0].command(&["ACL", "SETUSER", "default", "-set", "-rpush"]).expect("set");
    for sequence in 1..=3 {
        store.append(block_and_more(partition, generation, sequence)).await.expect("written");
    }
    let key = |sequence: u64| Bytes::from(format!("key {sequence}"));
    store.get_derived(partition, vec![key(1)]).await.expect_err("the master refuses them");
    wait_until_in_step(&cluster, 0, 2).await;
    cluster.node_mut(0).kill9();
    cluster.nodes()[2].command(&["CLUSTER", "FAILOVER", "TAKEOVER"]).expect("promoted");
    append_surely(&store, &block_and_more(partition, generation, 4)).await;
    let found = store.get_derived(partition, (1..=4).map(key).collect()).await.expect("all are written");
    assert!(found.iter().all(Option::is_some), "{found:?}");
    let list = store.list(partition, "list".into(), 0, 10).await.expect("read");
    assert_eq!((list, store.derived_dropped()), (["1", "2", "3", "4"].map(Bytes::from).into(), 0));
}

/// Waits until a replica has all that its master has.
async fn wait_until_in_step(cluster: &RedisCluster, master: usize, replica: usize) {
    eventually_async("the replica has everything", SOON, || async {
        let offset = |at: usize| {
            let info =
                cluster.nodes()[at].command(&["INFO", "replication"]).map_err(|error| error.to_string())?;
            let line = info.lines().find(|line| line.starts_with("master_repl_offset:"));
            line.map(str::to_owned).ok_or(info)
        };
        let (here, there) = (offset(master)?, offset(replica)?);
        if here == there { Ok(()) } else { Err(format!("{here} here, {there} there")) }
    })
    .await;
}

/// The master of two that has a partition: the first has the lower half of the slots, and tags are dealt by the reversed
/// bits of the number.
fn master_of_two(partition: PartitionId) -> usize {
    usize::from(partition.get() % 2)
}

#[tokio::test]
async fn one_seed_of_a_cluster_is_enough_and_a_dead_one_is_passed_over() {
    let cluster = RedisCluster::shared();
    let dead = testkit::free_port();
    let url = format!("redis://127.0.0.1:{dead},{}", cluster.nodes()[1].address());
    let options = RedisOptions { prefix: "seeds".to_owned(), ..RedisOptions::new(url) };
    let store = RedisConnect::new(options.clone()).expect("good").open().await.expect("the second answers");
    for number in 0..4 {
        let generation = store.acquire(partition(number)).await.expect("acquired").generation;
        store.append(block(partition(number), generation, 1)).await.expect("written");
    }
    let options = RedisOptions { url: format!("redis://{}/3", cluster.nodes()[1].address()), ..options };
    let refused = RedisConnect::new(options).expect("good").open().await.expect_err("no database 3");
    assert!(
        matches!(refused, StoreError::Refused(_)) && refused.to_string().contains("/database"),
        "{refused}"
    );
}
