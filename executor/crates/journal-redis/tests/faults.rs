//! The store on a Redis in trouble: killed, full, a replica, frozen, absent; and on a network that loses
//! replies.

use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use ids::PartitionId;
use journal::store::BlockRange;
use journal::{Append, BlockId, Derived, Store, StoreError};
use journal_redis::{RedisConnect, RedisOptions, RedisStore};
use testkit::{AppendFsync, Proxy, Redis, eventually_async, free_port};

const SOON: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3_600);

fn partition() -> PartitionId {
    PartitionId::new(3).expect("a partition")
}

async fn open(url: impl Into<String>) -> RedisStore {
    let connect = RedisConnect::new(RedisOptions::new(url)).expect("a good URL");
    connect.open().await.expect("Redis is there")
}

fn url(proxy: &Proxy) -> String {
    format!("redis://{}", proxy.address())
}

fn id(generation: u64, sequence: u64) -> BlockId {
    BlockId { generation, sequence }
}

fn block(id: BlockId, text: impl Into<Bytes>) -> Append {
    Append { partition: partition(), id, block: text.into(), derived: Vec::new(), trim_below: None }
}

async fn everything(store: &RedisStore) -> Vec<(BlockId, Bytes)> {
    let range = BlockRange { from: id(0, 0), to: id(u64::MAX, u64::MAX), reverse: false, limit: 100_000 };
    store.read(partition(), range).await.expect("the log can be read")
}

/// Repeats an append until its outcome is known, as a writer does.
async fn append_surely(store: &RedisStore, append: &Append) {
    eventually_async("the append succeeds", SOON, || async {
        match store.append(append.clone()).await {
            Err(error) if !error.is_retryable() => panic!("it can never succeed: {error}"),
            other => other,
        }
    })
    .await;
}

#[tokio::test]
async fn kill_9_of_redis_with_always_loses_nothing_acknowledged() {
    let mut redis = Redis::durable();
    let store = open(redis.url()).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    let mut acknowledged = Vec::new();
    for round in 0..5_u64 {
        // The writer goes on until the kill reaches it; the next round begins with a repetition of what was
        // unknown.
        let victim = redis.pid().expect("it runs");
        let killer = std::thread::spawn(move || {
            let kill = std::process::Command::new("kill").args(["-9", &victim.to_string()]).status();
            assert!(kill.is_ok_and(|status| status.success()), "kill -9 {victim}");
        });
        let mut sequence = round * 100_000;
        let unknown = loop {
            sequence += 1;
            let append = block(id(generation, sequence), format!("block {sequence}"));
            match store.append(append.clone()).await {
                Ok(()) => acknowledged.push((append.id, append.block)),
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    break append;
                }
            }
        };
        killer.join().expect("killed");
        redis.restart().expect("it starts again");
        append_surely(&store, &unknown).await;
        acknowledged.push((unknown.id, unknown.block));
    }
    assert_eq!(everything(&store).await, acknowledged, "acknowledged is stored, in order, once");
}

#[tokio::test]
async fn an_append_whose_reply_was_lost_is_repeated_and_stored_once() {
    let redis = Redis::durable();
    let proxy = Proxy::start(redis.address()).expect("a proxy");
    let store = open(url(&proxy)).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    for sequence in 1..=3 {
        let append = block(id(generation, sequence), format!("block {sequence}"));
        proxy.lose_replies(1);
        let lost = store.append(append.clone()).await;
        assert!(matches!(lost, Err(StoreError::Unknown(_))), "{lost:?}");
        append_surely(&store, &append).await;
    }
    assert_eq!(proxy.lost_replies(), 3);
    let stored: Vec<BlockId> = everything(&store).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(stored, [id(generation, 1), id(generation, 2), id(generation, 3)]);
}

#[tokio::test]
async fn a_derived_list_entry_whose_reply_was_lost_is_pushed_once() {
    let redis = Redis::durable();
    let proxy = Proxy::start(redis.address()).expect("a proxy");
    let store = open(url(&proxy)).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    let push = |value: &str| Derived::Push { list: "list".into(), value: value.to_owned().into(), ttl: HOUR };
    let first = Append { derived: vec![push("one"), push("two")], ..block(id(generation, 1), "block") };
    store.append(first).await.expect("appended");
    // The entries of the first block travel with the second append or with the timer, whichever comes first.
    proxy.lose_replies(1);
    let second = Append { derived: vec![push("three")], ..block(id(generation, 2), "block") };
    append_surely(&store, &second).await;
    let list = eventually_async("the list is complete", SOON, || async {
        let list = store.list(partition(), "list".into(), 0, 10).await.map_err(|error| error.to_string())?;
        if list.len() < 3 { Err(format!("{list:?}")) } else { Ok(list) }
    })
    .await;
    assert_eq!(list, ["one", "two", "three"]);
    assert_eq!(proxy.lost_replies(), 1);
}

#[tokio::test]
async fn a_reply_that_breaks_off_in_the_middle_is_a_lost_one() {
    let redis = Redis::durable();
    let proxy = Proxy::start(redis.address()).expect("a proxy");
    let store = open(url(&proxy)).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    let append = block(id(generation, 1), vec![7; 100_000]);
    proxy.break_replies(1);
    let lost = store.append(append.clone()).await;
    assert!(matches!(lost, Err(StoreError::Unknown(_))), "{lost:?}");
    append_surely(&store, &append).await;
    let range = BlockRange { from: id(0, 0), to: id(u64::MAX, u64::MAX), reverse: false, limit: 10 };
    proxy.break_replies(1);
    let half = store.read(partition(), range).await.expect_err("half a block is no block");
    assert!(half.is_retryable(), "{half:?}");
    assert_eq!(proxy.replies_to_break(), 0);
    let stored = eventually_async("the log is read", SOON, || store.read(partition(), range)).await;
    assert!(stored == [(append.id, append.block)], "it is stored once");
}

#[tokio::test]
async fn a_list_entry_of_which_redis_does_not_tell_whether_it_is_there_is_not_pushed_again() {
    let redis = Redis::durable();
    let proxy = Proxy::start(redis.address()).expect("a proxy");
    let store = open(url(&proxy)).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    let right = |right: &str| redis.command(&["ACL", "SETUSER", "default", right]).expect("set");
    right("-lpos");
    let derived = vec![Derived::Push { list: "list".into(), value: "one".into(), ttl: HOUR }];
    store.append(Append { derived, ..block(id(generation, 1), "block") }).await.expect("appended");
    proxy.lose_replies(1);
    append_surely(&store, &block(id(generation, 2), "block")).await;
    let list = || store.list(partition(), "list".into(), 0, 10);
    let error = eventually_async("the reply is lost, and the entry looked for", SOON, || async {
        match list().await {
            Err(error) if error.to_string().contains("NOPERM") => Ok(error),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    right("+lpos");
    assert_eq!(eventually_async("it is looked for", SOON, list).await, ["one"]);
    assert_eq!((proxy.lost_replies(), store.derived_dropped()), (1, 0));
}

#[tokio::test]
async fn a_stale_owner_is_fenced_and_writes_nothing_derived() {
    let redis = Redis::durable();
    let (old, new) = (open(redis.url()).await, open(redis.url()).await);
    let stale = old.acquire(partition()).await.expect("acquired").generation;
    let fresh = new.acquire(partition()).await.expect("acquired").generation;
    let put = |value: &'static str| Derived::Put { key: "pointer".into(), value: value.into(), ttl: HOUR };
    let right = Append { derived: vec![put("new")], ..block(id(fresh, 1), "new") };
    new.append(right).await.expect("the owner writes");
    assert_eq!(
        new.get_derived(partition(), vec!["pointer".into()]).await.expect("read"),
        [Some("new".into())]
    );
    let late = Append { derived: vec![put("old")], ..block(id(stale, 1), "old") };
    let refused = old.append(late).await;
    let Err(StoreError::Fenced { last, attempted, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((attempted, last), (id(stale, 1), id(fresh, 1)));
    let pointer = old.get_derived(partition(), vec!["pointer".into()]).await.expect("read");
    assert_eq!(pointer, [Some("new".into())]);
}

#[tokio::test]
async fn the_log_has_no_time_to_live_and_the_derived_have() {
    let redis = Redis::durable();
    let store = open(redis.url()).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    let derived = vec![
        Derived::Put { key: "k".into(), value: "v".into(), ttl: HOUR },
        Derived::Push { list: "l".into(), value: "v".into(), ttl: HOUR },
    ];
    store.append(Append { derived, ..block(id(generation, 1), "block") }).await.expect("appended");
    store.list(partition(), "l".into(), 0, 1).await.expect("derived writes are sent before they are read");
    let keys = redis.command(&["KEYS", "*"]).expect("keys");
    let mut kinds = Vec::new();
    for key in keys.lines() {
        let ttl: i64 = redis.command(&["PTTL", key]).expect("a reply").parse().expect("a number");
        assert_eq!(ttl > 0, !key.ends_with(":log"), "{key}: {ttl}");
        assert!(key.starts_with("myriad:{p3."), "{key}");
        kinds.push(key.rsplit(':').next().unwrap_or_default().to_owned());
    }
    kinds.sort();
    assert_eq!(kinds, ["k", "l", "log"]);
}

#[tokio::test]
async fn redis_absent_at_connect_is_told_with_its_address() {
    let port = free_port();
    let connect = RedisConnect::new(RedisOptions::new(format!("redis://127.0.0.1:{port}"))).expect("good");
    let Err(error) = connect.open().await else { panic!("nothing listens there") };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("check that it runs"), "{text}");
}

#[tokio::test]
async fn a_reader_who_goes_away_half_way_loses_no_derived_write() {
    let redis = Redis::durable();
    let store = open(redis.url()).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    let derived = vec![Derived::Put { key: "pointer".into(), value: "there".into(), ttl: HOUR }];
    let append = Append { derived, ..block(id(generation, 1), "block") };
    store.append(append).await.expect("appended");
    // The read takes along what waits, and is dropped before the connection has sent it.
    let mut read = store.get_derived(partition(), vec!["pointer".into()]);
    let waits = std::future::poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending())).await;
    assert!(waits, "it had no time to answer");
    drop(read);
    let found = store.get_derived(partition(), vec!["pointer".into()]).await.expect("read");
    assert_eq!(found, [Some(Bytes::from("there"))]);
}

#[tokio::test]
async fn a_reader_finds_the_last_of_very_many_keys_beside_a_block() {
    let redis = Redis::durable();
    let store = open(redis.url()).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    let key = |number: u64| Bytes::from(format!("key {number}"));
    for sequence in 1..=3 {
        let put = |number| Derived::Put { key: key(number), value: "there".into(), ttl: HOUR };
        let derived = (sequence * 20_000..(sequence + 1) * 20_000).map(put).collect();
        store.append(Append { derived, ..block(id(generation, sequence), "block") }).await.expect("appended");
        let found = store.get_derived(partition(), vec![key((sequence + 1) * 20_000 - 1)]).await;
        assert_eq!(found.expect("read"), [Some("there".into())]);
    }
}

#[tokio::test]
async fn out_of_memory_is_unavailable_and_goes_by_when_there_is_more() {
    let options = testkit::RedisOptions { maxmemory: Some(3_000_000), ..Default::default() };
    let redis = Redis::start(options).unwrap_or_else(|error| panic!("{error}"));
    let store = open(redis.url()).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    let mut sequence = 0;
    let (refused, error) = loop {
        sequence += 1;
        assert!(sequence < 1_000, "it never fills");
        let append = block(id(generation, sequence), vec![7; 100_000]);
        match store.append(append.clone()).await {
            Ok(()) => {}
            Err(error) => break (append, error),
        }
    };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("OOM") && error.to_string().contains("raise maxmemory"), "{error}");
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).expect("no memory at all");
    let put = store.put("key".into(), "value".into()).await;
    assert!(matches!(put, Err(StoreError::Unavailable(_))), "{put:?}");
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).expect("more memory");
    store.append(refused).await.expect("the same append works now");
    let blocks = everything(&store).await;
    assert_eq!(blocks.last().map(|(id, _)| id.sequence), Some(sequence));
    assert_eq!(blocks.len() as u64, sequence);
}

#[tokio::test]
async fn a_full_redis_takes_an_append_that_trims() {
    let options = testkit::RedisOptions { maxmemory: Some(3_000_000), ..Default::default() };
    let redis = Redis::start(options).unwrap_or_else(|error| panic!("{error}"));
    let store = open(redis.url()).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    // Ten times what fits, of which the last two blocks are wanted.
    for sequence in 1..=300_u64 {
        let below = sequence.saturating_sub(2).max(1);
        let append = block(id(generation, sequence), vec![7; 100_000]);
        let append = Append { trim_below: Some(id(generation, below)), ..append };
        store.append(append).await.unwrap_or_else(|error| panic!("block {sequence}: {error}"));
    }
    let blocks = everything(&store).await;
    assert_eq!(blocks.last().map(|(id, _)| id.sequence), Some(300));
    assert!(blocks.len() < 10, "{} blocks are left", blocks.len());
}

#[tokio::test]
async fn a_full_redis_stops_blocks_before_keys_beside_them_are_lost() {
    const KEYS: u64 = 300;
    let options = testkit::RedisOptions { maxmemory: Some(3_000_000), ..Default::default() };
    let redis = Redis::start(options).unwrap_or_else(|error| panic!("{error}"));
    let store = open(redis.url()).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    let key = |sequence: u64, number: u64| Bytes::from(format!("key {sequence} {number}"));
    let beside = |sequence: u64| {
        let put = |number| Derived::Put { key: key(sequence, number), value: vec![7; 64].into(), ttl: HOUR };
        let below = sequence.saturating_sub(2).max(1);
        let append = block(id(generation, sequence), vec![7; 100_000]);
        Append { trim_below: Some(id(generation, below)), derived: (0..KEYS).map(put).collect(), ..append }
    };
    // Of more keys than may wait, the log itself always has room.
    let mut refused = None;
    let mut sequence = 0;
    while refused.is_none() && sequence < 300 {
        sequence += 1;
        match store.append(beside(sequence)).await {
            Ok(()) => {}
            Err(error) => refused = Some(error),
        }
    }
    let error = refused.expect("keys are written, or blocks are not");
    assert!(matches!(error, StoreError::Unavailable(_)) && error.to_string().contains("OOM"), "{error:?}");
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).expect("more memory");
    store.append(beside(sequence)).await.expect("the same append works now");
    for sequence in 1..=sequence {
        let keys = (0..KEYS).map(|number| key(sequence, number)).collect();
        let found = store.get_derived(partition(), keys).await.expect("all can be written");
        assert!(found.iter().all(Option::is_some), "a key beside block {sequence} is lost");
    }
    assert_eq!(store.derived_dropped(), 0);
}

#[tokio::test]
async fn a_server_that_refuses_all_appends_is_not_connected_to_over_and_over() {
    let redis = Redis::durable();
    let store = open(redis.url()).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]).expect("a replica now");
    let connections = || {
        let stats = redis.command(&["INFO", "stats"]).expect("told");
        let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.expect("a line").trim().parse::<u64>().expect("a number")
    };
    let before = connections();
    let refused = async {
        loop {
            let error = store.append(block(id(generation, 1), "block")).await.expect_err("read only");
            assert!(error.to_string().contains("READONLY"), "{error}");
        }
    };
    tokio::time::timeout(Duration::from_secs(1), refused).await.expect_err("it goes on");
    // The pauses between them double from 20 ms on; without pauses there are hundreds.
    let made = connections() - before;
    assert!(made < 20, "{made} connections in a second");
}

#[tokio::test]
async fn a_replica_is_unavailable_until_it_is_promoted() {
    let (master, redis) = (Redis::durable(), Redis::durable());
    let store = open(redis.url()).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    // A master that never answers: the data stays.
    drop(master);
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]).expect("a replica now");
    let append = block(id(generation, 1), "block");
    let error = store.append(append.clone()).await.expect_err("read only");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("READONLY"), "{error}");
    assert!(!store.durability().await.expect("readable").survives_process_kill);
    redis.command(&["REPLICAOF", "NO", "ONE"]).expect("a master again");
    store.append(append).await.expect("written");
}

#[tokio::test]
async fn a_redis_that_stands_still_gives_an_unknown_outcome_and_one_entry() {
    let redis = Redis::durable();
    let mut options = RedisOptions::new(redis.url());
    options.response_timeout = Duration::from_millis(200);
    options.connect_timeout = Duration::from_millis(200);
    let store = RedisConnect::new(options).expect("good").open().await.expect("there");
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    redis.freeze().expect("it stands still");
    let append = block(id(generation, 1), "block");
    let lost = store.append(append.clone()).await;
    assert!(matches!(lost, Err(StoreError::Unknown(_))), "{lost:?}");
    let again = store.append(append.clone()).await;
    assert!(matches!(again, Err(StoreError::Unavailable(_))), "no new connection is answered: {again:?}");
    redis.thaw().expect("it goes on");
    append_surely(&store, &append).await;
    assert_eq!(everything(&store).await, [(append.id, append.block)]);
}

#[tokio::test]
async fn a_reset_connection_comes_back_by_itself() {
    let redis = Redis::durable();
    let proxy = Proxy::start(redis.address()).expect("a proxy");
    let store = open(url(&proxy)).await;
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    for sequence in 1..=5 {
        proxy.reset();
        append_surely(&store, &block(id(generation, sequence), "block")).await;
    }
    assert_eq!(everything(&store).await.len(), 5);
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_being_told() {
    let options = testkit::RedisOptions {
        extra: vec![("user".to_owned(), "worker on >right ~* +@all".to_owned())],
        ..Default::default()
    };
    let redis = Redis::start(options).unwrap_or_else(|error| panic!("{error}"));
    let url = |password: &str| format!("redis://worker:{password}@127.0.0.1:{}", redis.port());
    open(url("right")).await;
    let connect = RedisConnect::new(RedisOptions::new(url("wrongsecret"))).expect("a good URL");
    let Err(error) = connect.open().await else { panic!("the password is wrong") };
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("check user and password"), "{error}");
    assert!(!error.to_string().contains("wrongsecret"), "{error}");
}

#[tokio::test]
async fn durability_is_read_from_the_server() {
    let redis = Redis::durable();
    let store = open(redis.url()).await;
    let durability = store.durability().await.expect("readable");
    assert!(durability.survives_process_kill && durability.survives_power_loss, "{}", durability.detail);
    assert!(durability.settings.contains(&("appendfsync", "always".to_owned())), "{durability:?}");
    redis.command(&["CONFIG", "SET", "appendfsync", "everysec"]).expect("set");
    let durability = store.durability().await.expect("readable");
    assert!(!durability.survives_process_kill, "{}", durability.detail);
    assert!(durability.detail.contains("CONFIG SET appendfsync always"), "{}", durability.detail);
}

#[tokio::test]
async fn where_config_is_denied_the_declaration_counts() {
    let options = testkit::RedisOptions {
        extra: vec![("rename-command".to_owned(), "CONFIG hidden".to_owned())],
        ..Default::default()
    };
    let redis = Redis::start(options).unwrap_or_else(|error| panic!("{error}"));
    let durability = open(redis.url()).await.durability().await.expect("readable");
    assert!(!durability.survives_process_kill && durability.detail.contains("declare"), "{durability:?}");
    let mut options = RedisOptions::new(redis.url());
    options.declared_appendfsync = Some(journal_redis::AppendFsync::Always);
    let store = RedisConnect::new(options.clone()).expect("good").open().await.expect("there");
    assert!(store.durability().await.expect("readable").survives_process_kill);
    let memory_only = testkit::RedisOptions {
        appendfsync: AppendFsync::Off,
        extra: vec![("rename-command".to_owned(), "CONFIG hidden".to_owned())],
        ..Default::default()
    };
    let redis = Redis::start(memory_only).unwrap_or_else(|error| panic!("{error}"));
    let connect = RedisConnect::new(RedisOptions { url: redis.url(), ..options }).expect("good");
    let durability = connect.open().await.expect("there").durability().await.expect("readable");
    assert!(!durability.survives_process_kill, "INFO contradicts the declaration: {durability:?}");
}

#[tokio::test]
async fn installations_with_other_prefixes_do_not_meet() {
    let redis = Redis::durable();
    let mut stores = Vec::new();
    for prefix in ["one", "other"] {
        let options = RedisOptions { prefix: prefix.to_owned(), ..RedisOptions::new(redis.url()) };
        stores.push(RedisConnect::new(options).expect("good").open().await.expect("there"));
    }
    for store in &stores {
        assert_eq!(store.acquire(partition()).await.expect("acquired").generation, 1);
        store.append(block(id(1, 1), "block")).await.expect("written");
        assert_eq!(store.increment("counter".into()).await.expect("raised"), 1);
    }
}
