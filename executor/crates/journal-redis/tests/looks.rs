//! What a look at the logs costs, and what it needs.

use std::time::Duration;

use bytes::Bytes;
use ids::PartitionId;
use journal::{Append, BlockId, Store, StoreError};
use journal_redis::{RedisConnect, RedisOptions, RedisStore};
use testkit::{Redis, RedisCluster, eventually_async};

const SOON: Duration = Duration::from_secs(30);
const LOGS: u32 = 8;
const BLOCK_BYTES: usize = 1 << 20;
/// What Redis may send for a look at [`LOGS`] logs, and for being asked how much it has sent.
const SENT_MAX: u64 = 32 << 10;

fn partition(number: u32) -> PartitionId {
    PartitionId::new(number).expect("in range")
}

async fn open(url: String) -> RedisStore {
    RedisConnect::new(RedisOptions::new(url)).expect("a good URL").open().await.expect("Redis is there")
}

/// Logs whose first and last entries are long blocks; their tops.
async fn long_logs(store: &RedisStore) -> (Vec<PartitionId>, Vec<Option<BlockId>>) {
    let mut tops = Vec::new();
    let partitions: Vec<PartitionId> = (0..LOGS).map(partition).collect();
    for partition in partitions.iter().copied() {
        let generation = store.acquire(partition).await.expect("acquired").generation;
        for sequence in 1..=2 {
            let id = BlockId { generation, sequence };
            let trim_below = Some(BlockId { sequence: 1, ..id });
            let block = Bytes::from(vec![7; BLOCK_BYTES]);
            let append = Append { partition, id, block, derived: Vec::new(), trim_below };
            store.append(append).await.expect("written");
        }
        tops.push(Some(BlockId { generation, sequence: 2 }));
    }
    (partitions, tops)
}

/// How many bytes Redis has sent since its start.
fn sent(redis: &Redis) -> u64 {
    let stats = redis.command(&["INFO", "stats"]).expect("told");
    let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).expect("a line");
    line.trim().parse().expect("a number")
}

#[tokio::test]
async fn a_look_at_logs_of_long_blocks_carries_no_block() {
    let redis = Redis::durable();
    let store = open(redis.url()).await;
    let (partitions, expected) = long_logs(&store).await;
    // Whoever has none of them looks in the same way.
    for asking in [store, open(redis.url()).await] {
        let before = sent(&redis);
        let tops = asking.tops(partitions.clone()).await.expect("told");
        let tops: Vec<Option<BlockId>> = tops.into_iter().map(|top| top.expect("each is told")).collect();
        assert_eq!(tops, expected);
        let bytes = sent(&redis) - before;
        assert!(bytes < SENT_MAX, "{LOGS} looks took {bytes} bytes");
    }
}

/// How many looks Redis has carried out.
fn looks(redis: &Redis) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]).expect("told");
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_eval:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap_or_default().parse().expect("a number"))
}

#[tokio::test]
async fn a_log_is_looked_at_once_and_a_glance_tells_of_another_owner_and_of_an_emptied_store() {
    let redis = Redis::durable();
    let store = open(redis.url()).await;
    let (partitions, expected) = long_logs(&store).await;
    let tops = async || {
        let tops = store.tops(partitions.clone()).await.expect("told");
        tops.into_iter().map(|top| top.expect("each is told")).collect::<Vec<_>>()
    };
    assert_eq!(tops().await, expected);
    let before = looks(&redis);
    assert_eq!(tops().await, expected);
    assert_eq!(looks(&redis), before, "a glance is enough");
    let generation = open(redis.url()).await.acquire(partitions[1]).await.expect("acquired").generation;
    let taken = Some(BlockId { generation, sequence: 0 });
    assert_eq!(tops().await[..3], [expected[0], taken, expected[2]]);
    redis.command(&["FLUSHALL"]).expect("emptied");
    assert_eq!(tops().await, vec![None; LOGS as usize]);
}

#[tokio::test]
async fn a_master_that_was_a_replica_in_between_is_looked_at_again_also_on_the_same_connection() {
    let (redis, other) = (Redis::durable(), Redis::durable());
    let store = open(redis.url()).await;
    let generation = store.acquire(partition(1)).await.expect("acquired").generation;
    let id = |sequence| BlockId { generation, sequence };
    let append = async |sequence| {
        let (block, partition) = (Bytes::from("block"), partition(1));
        let append = Append { partition, id: id(sequence), block, derived: Vec::new(), trim_below: None };
        store.append(append).await.expect("written");
    };
    append(1).await;
    let follow = async |follower: &Redis, master: &Redis| {
        follower.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]).expect("a replica");
        eventually_async("it has what its master has", SOON, || async {
            let info = follower.command(&["INFO", "replication"]).map_err(|error| error.to_string())?;
            if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
        })
        .await;
        follower.command(&["REPLICAOF", "NO", "ONE"]).expect("a master again");
    };
    follow(&other, &redis).await;
    append(2).await;
    for _ in 0..2 {
        assert_eq!(store.top(partition(1)).await.expect("told"), Some(id(2)));
    }
    follow(&redis, &other).await;
    assert_eq!(store.top(partition(1)).await.expect("told"), Some(id(1)), "the last block is gone");
}

#[tokio::test]
async fn an_append_on_a_new_connection_looks_at_its_log_without_its_blocks() {
    let redis = Redis::durable();
    let store = open(redis.url()).await;
    let (partitions, tops) = long_logs(&store).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).expect("cut");
    let before = sent(&redis);
    for (partition, top) in partitions.iter().zip(tops) {
        let id = top.and_then(BlockId::after).expect("there is one");
        let append =
            Append { partition: *partition, id, block: "b".into(), derived: vec![], trim_below: None };
        while let Err(error) = store.append(append.clone()).await {
            assert!(error.is_retryable(), "{error}");
        }
    }
    let bytes = sent(&redis) - before;
    assert!(bytes < SENT_MAX, "{LOGS} appends took {bytes} bytes");
}

#[tokio::test]
async fn a_user_who_may_run_no_scripts_is_refused_at_the_start_with_what_to_allow() {
    let cluster = RedisCluster::shared();
    let rule = "SETUSER noscripts reset on >word ~* +@all -eval";
    for node in cluster.nodes() {
        let words: Vec<&str> = ["ACL"].into_iter().chain(rule.split(' ')).collect();
        node.command(&words).expect("set");
    }
    let url = format!("redis://noscripts:word@{}", cluster.nodes()[0].address());
    let connect = RedisConnect::new(RedisOptions::new(url)).expect("a good URL");
    let error = connect.open().await.expect_err("it would fail at its first log");
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("allow the user") && error.to_string().contains("EVAL"), "{error}");
}

#[tokio::test]
async fn a_right_that_a_look_needs_and_that_is_taken_away_costs_no_log() {
    let redis = Redis::durable();
    let store = open(redis.url()).await;
    store.acquire(partition(1)).await.expect("acquired");
    for right in ["xrevrange", "eval"] {
        redis.command(&["ACL", "SETUSER", "default", &format!("-{right}")]).expect("taken");
        redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).expect("cut");
        let error = eventually_async("the log is looked at", SOON, || async {
            match store.top(partition(1)).await {
                Err(error) if error.to_string().contains("allow the user") => Ok(error),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert!(matches!(error, StoreError::Unavailable(_)), "{right}: {error:?}");
        redis.command(&["ACL", "SETUSER", "default", &format!("+{right}")]).expect("given");
        store.top(partition(1)).await.expect("allowed again");
    }
}
