//! Every way in which a real Redis refuses a write: nothing is lost, the words say what to do, and when the cause is gone
//! the same append works.

use std::time::Duration;

use bytes::Bytes;
use ids::PartitionId;
use journal::store::DERIVED_BEHIND_MAX;
use journal::{Append, BlockId, Derived, Store, StoreError};
use journal_redis::{RedisConnect, RedisOptions, RedisStore};
use testkit::{Redis, RedisCluster, eventually_async};

const SOON: Duration = Duration::from_secs(30);

fn block(generation: u64) -> Append {
    let (partition, id) = (PartitionId::new(3).expect("in range"), BlockId { generation, sequence: 1 });
    Append { partition, id, block: "block".into(), derived: Vec::new(), trim_below: None }
}

async fn owner(url: String) -> (RedisStore, Append) {
    let connect = RedisConnect::new(RedisOptions::new(url)).expect("a good URL");
    let store = connect.open().await.expect("Redis is there");
    let generation = store.acquire(block(1).partition).await.expect("acquired").generation;
    (store, block(generation))
}

/// The append is shed with these words; after `mend` it works.
async fn shed_until(
    redis_says: &str,
    what_to_do: &str,
    store: &RedisStore,
    append: &Append,
    mend: impl FnOnce(),
) {
    let error = eventually_async("the refusal", SOON, || async {
        match store.append(append.clone()).await {
            Err(error) if error.to_string().contains(redis_says) => Ok(error),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains(what_to_do), "{error}");
    mend();
    eventually_async("the same append works", SOON, || store.append(append.clone())).await;
}

fn set(redis: &Redis, name: &str, value: &str) {
    redis.command(&["CONFIG", "SET", name, value]).unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn replicas_that_are_missing_shed_until_there_are_enough() {
    let redis = Redis::durable();
    let (store, append) = owner(redis.url()).await;
    set(&redis, "min-replicas-to-write", "1");
    shed_until("NOREPLICAS", "min-replicas-to-write", &store, &append, || {
        set(&redis, "min-replicas-to-write", "0");
    })
    .await;
}

#[tokio::test]
async fn a_script_that_runs_on_and_on_sheds_until_it_is_killed() {
    let redis = Redis::durable();
    let (store, append) = owner(redis.url()).await;
    set(&redis, "busy-reply-threshold", "10");
    let address = redis.address();
    let script = std::thread::spawn(move || {
        let words = ["EVAL", "while true do end", "0"];
        testkit::redis::command_at(address, &words).expect_err("it is killed").to_string()
    });
    shed_until("BUSY", "SCRIPT KILL", &store, &append, || {
        redis.command(&["SCRIPT", "KILL"]).expect("killed");
    })
    .await;
    assert!(script.join().expect("no panic").contains("killed"));
}

#[tokio::test]
async fn a_snapshot_that_fails_stops_writes_and_sheds_until_it_succeeds() {
    let redis = Redis::durable();
    let (store, append) = owner(redis.url()).await;
    // With snapshots on and the last one failed, Redis takes no writes.
    set(&redis, "save", "3600 1");
    std::fs::create_dir(redis.dir().join("dump.rdb")).expect("where the snapshot should go is a directory");
    redis.command(&["BGSAVE"]).expect("begun");
    shed_until("MISCONF", "its disk", &store, &append, || set(&redis, "stop-writes-on-bgsave-error", "no"))
        .await;
}

#[tokio::test]
async fn a_replica_without_its_master_sheds_until_it_is_promoted() {
    let redis = Redis::durable();
    let (store, append) = owner(redis.url()).await;
    set(&redis, "replica-serve-stale-data", "no");
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]).expect("a replica of nobody");
    shed_until("MASTERDOWN", "promote", &store, &append, || {
        redis.command(&["REPLICAOF", "NO", "ONE"]).expect("a master again");
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_still_loads_sheds_until_it_has_loaded() {
    let mut redis = Redis::durable();
    let (store, append) = owner(redis.url()).await;
    // A log that takes a second to read: half a millisecond for each of its keys.
    let fill = "for number = 1, 2000 do redis.call('SET', 'key' .. number, number) end";
    redis.command(&["EVAL", fill, "0"]).expect("keys");
    redis.command(&["BGREWRITEAOF"]).expect("begun");
    eventually_async("the log is rewritten", SOON, || async {
        let info = redis.command(&["INFO", "persistence"]).map_err(|error| error.to_string())?;
        let done = info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0");
        if done { Ok(()) } else { Err(info) }
    })
    .await;
    let slowly = [("key-load-delay", "500"), ("loading-process-events-interval-bytes", "1024")];
    redis.restart_at_once(&slowly).expect("it starts");
    let error = eventually_async("it loads", SOON, || async {
        match store.append(append.clone()).await {
            Err(error) if error.to_string().contains("LOADING") => Ok(error),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    eventually_async("it has loaded", SOON, || store.append(append.clone())).await;
}

#[tokio::test]
async fn a_cluster_that_is_not_whole_sheds_until_it_is() {
    let extra = vec![("cluster-require-full-coverage".to_owned(), "yes".to_owned())];
    let options = testkit::RedisOptions { extra, ..Default::default() };
    let mut cluster = RedisCluster::start(2, 0, &options).unwrap_or_else(|error| panic!("{error}"));
    // Partition 2 lies with the first master, for 2 is even.
    let connect = RedisConnect::new(RedisOptions::new(cluster.url())).expect("a good URL");
    let store = connect.open().await.expect("there");
    let partition = PartitionId::new(2).expect("in range");
    let generation = store.acquire(partition).await.expect("acquired").generation;
    let append = Append { partition, ..block(generation) };
    cluster.node_mut(1).kill9();
    shed_until("CLUSTERDOWN", "cluster-require-full-coverage", &store, &append, || {
        cluster.node_mut(1).restart().expect("it starts again");
    })
    .await;
}

#[tokio::test]
async fn keys_beside_blocks_that_were_refused_for_a_while_are_written_later_once_and_in_their_order() {
    let redis = Redis::durable();
    let (store, append) = owner(redis.url()).await;
    let say = |rights: &str| redis.command(&["ACL", "SETUSER", "default", rights]).expect("set");
    let hour = Duration::from_secs(3_600);
    let beside = |sequence: u64| {
        let value = Bytes::from(sequence.to_string());
        let derived = vec![
            Derived::Put { key: "latest".into(), value: value.clone(), ttl: hour },
            Derived::Put { key: format!("key {sequence}").into(), value: value.clone(), ttl: hour },
            Derived::Push { list: "list".into(), value, ttl: hour },
        ];
        Append { id: BlockId { sequence, ..append.id }, derived, ..append.clone() }
    };
    ["-set", "-rpush"].into_iter().for_each(|rights| drop(say(rights)));
    for sequence in 1..=5 {
        store.append(beside(sequence)).await.expect("blocks are taken");
    }
    let keys: Vec<Bytes> = (1..=10).map(|sequence| format!("key {sequence}").into()).collect();
    let error =
        store.get_derived(append.partition, keys.clone()).await.expect_err("what waits is not denied");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("NOPERM"), "{error}");
    ["+set", "+rpush"].into_iter().for_each(|rights| drop(say(rights)));
    for sequence in 6..=10 {
        store.append(beside(sequence)).await.expect("blocks are taken");
    }
    eventually_async("all are written", SOON, || async {
        let found =
            store.get_derived(append.partition, keys.clone()).await.map_err(|error| error.to_string())?;
        if found.iter().all(Option::is_some) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    let latest = store.get_derived(append.partition, vec!["latest".into()]).await.expect("read");
    assert_eq!(latest, [Some("10".into())]);
    let list = store.list(append.partition, "list".into(), 0, 100).await.expect("read");
    let expected: Vec<Bytes> = (1..=10).map(|sequence| sequence.to_string().into()).collect();
    assert_eq!((list, store.derived_dropped()), (expected, 0));
}

#[tokio::test]
async fn keys_beside_blocks_that_redis_never_takes_are_given_up_and_counted() {
    let redis = Redis::durable();
    let (store, append) = owner(redis.url()).await;
    let tag = journal_redis::partition_tag(append.partition);
    redis.command(&["SET", &format!("myriad:{{{tag}}}:l:list"), "no list"]).expect("set");
    let ttl = Duration::from_secs(3_600);
    let push = Derived::Push { list: "list".into(), value: "1".into(), ttl };
    let put = Derived::Put { key: "key".into(), value: "1".into(), ttl };
    store.append(Append { derived: vec![push, put], ..append.clone() }).await.expect("written");
    let found = store.get_derived(append.partition, vec!["key".into()]).await.expect("read");
    assert_eq!((found, store.derived_dropped()), (vec![Some("1".into())], 1));
}

/// A key beside a block, which is named by its sequence.
fn with_key(append: &Append, sequence: u64) -> Append {
    let ttl = Duration::from_secs(3_600);
    let derived = vec![Derived::Put { key: format!("key {sequence}").into(), value: "there".into(), ttl }];
    Append { id: BlockId { sequence, ..append.id }, derived, ..append.clone() }
}

#[tokio::test]
async fn what_redis_refuses_of_one_log_is_not_denied_of_another() {
    let redis = Redis::durable();
    let (store, refused) = owner(redis.url()).await;
    let other = PartitionId::new(4).expect("in range");
    let generation = store.acquire(other).await.expect("acquired").generation;
    let written = Append { partition: other, ..block(generation) };
    let [of_refused, of_written] =
        [refused.partition, other].map(|of| format!("~myriad:{{{}}}", journal_redis::partition_tag(of)));
    let allowed = [format!("{of_refused}:log"), format!("{of_written}:*")];
    let rule = ["ACL", "SETUSER", "default", "resetkeys", &allowed[0], &allowed[1]];
    redis.command(&rule).expect("set");
    for sequence in 1..=20 {
        store.append(with_key(&refused, sequence)).await.expect("the block is taken");
        store.append(with_key(&written, sequence)).await.expect("the block is taken");
        let key = vec![format!("key {sequence}").into()];
        let found = store.get_derived(other, key.clone()).await.expect("nothing of it is refused");
        assert_eq!(found, [Some("there".into())], "block {sequence} is acknowledged");
        let error = store.get_derived(refused.partition, key).await.expect_err("it is not denied");
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(error.to_string().contains("NOPERM"), "{error}");
    }
}

#[tokio::test]
async fn no_more_blocks_are_taken_than_a_recovery_looks_through_while_keys_beside_them_are_refused() {
    let redis = Redis::durable();
    let (store, append) = owner(redis.url()).await;
    redis.command(&["ACL", "SETUSER", "default", "-set"]).expect("set");
    for sequence in 1..=DERIVED_BEHIND_MAX {
        store.append(with_key(&append, sequence)).await.expect("the block is taken");
    }
    let next = with_key(&append, DERIVED_BEHIND_MAX + 1);
    let error = store.append(next.clone()).await.expect_err("the first key could be lost for good");
    assert!(matches!(error, StoreError::Unavailable(_)) && error.to_string().contains("NOPERM"), "{error:?}");
    redis.command(&["ACL", "SETUSER", "default", "+set"]).expect("set");
    store.append(next).await.expect("the same append works now");
    let keys = (1..=DERIVED_BEHIND_MAX + 1).map(|sequence| format!("key {sequence}").into()).collect();
    let found = store.get_derived(append.partition, keys).await.expect("read");
    assert!(found.iter().all(Option::is_some), "{found:?}");
    assert_eq!(store.derived_dropped(), 0);
}
