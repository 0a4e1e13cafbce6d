//! A log that went back behind the store's back: after the connection was lost it is noticed before a block is sent.

use bytes::Bytes;
use ids::PartitionId;
use journal::{Append, BlockId, Store, StoreError};
use journal_redis::{RedisConnect, RedisOptions, RedisStore, partition_tag};
use testkit::Redis;

fn partition() -> PartitionId {
    PartitionId::new(3).expect("a partition")
}

fn block(generation: u64, sequence: u64) -> Append {
    let id = BlockId { generation, sequence };
    let block = Bytes::from(format!("block {id}"));
    Append { partition: partition(), id, block, derived: Vec::new(), trim_below: None }
}

async fn open(redis: &Redis) -> RedisStore {
    let connect = RedisConnect::new(RedisOptions::new(redis.url())).expect("a good URL");
    connect.open().await.expect("Redis is there")
}

fn say(redis: &Redis, words: &[&str]) -> String {
    redis.command(words).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends an append on the connection that comes after one that was cut.
async fn append_after_a_cut(redis: &Redis, store: &RedisStore, append: &Append) -> Result<(), StoreError> {
    say(redis, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    loop {
        match store.append(append.clone()).await {
            Err(StoreError::Unknown(_) | StoreError::Unavailable(_)) => {}
            known => return known,
        }
    }
}

#[tokio::test]
async fn a_log_that_lost_confirmed_blocks_takes_no_other_until_it_is_acquired_above_them() {
    let redis = Redis::durable();
    let store = open(&redis).await;
    let log = format!("myriad:{{{}}}:log", partition_tag(partition()));
    assert_eq!(store.acquire(partition()).await.expect("acquired").generation, 1);
    store.append(block(1, 1)).await.expect("written");
    say(&redis, &["COPY", &log, &format!("{log}:copy")]);
    append_after_a_cut(&redis, &store, &block(1, 2)).await.expect("a cut alone loses nothing");
    say(&redis, &["RENAME", &format!("{log}:copy"), &log]);
    for _ in 0..2 {
        let refused = append_after_a_cut(&redis, &store, &block(1, 3)).await;
        let Err(error) = refused else { panic!("it would hide that 1-2 is missing") };
        assert!(!error.is_retryable(), "{error:?}");
        let StoreError::WentBack { partition: which, confirmed, top } = error else { panic!("{error:?}") };
        assert_eq!((which, confirmed, top), (partition(), block(1, 2).id, Some(block(1, 1).id)));
    }
    assert_eq!(say(&redis, &["XLEN", &log]), "2", "the mark and 1-1: nothing was sent");
    assert_eq!(store.acquire(partition()).await.expect("acquired").generation, 2);
    store.append(block(2, 1)).await.expect("the new owner writes");
}

#[tokio::test]
async fn a_log_that_is_gone_is_told_and_acquired_above_all_that_was_confirmed() {
    let redis = Redis::durable();
    let store = open(&redis).await;
    for generation in 1..=3 {
        assert_eq!(store.acquire(partition()).await.expect("acquired").generation, generation);
    }
    say(&redis, &["FLUSHALL"]);
    let refused = append_after_a_cut(&redis, &store, &block(3, 1)).await;
    let Err(StoreError::WentBack { confirmed, top, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((confirmed, top), (BlockId { generation: 3, sequence: 0 }, None));
    assert_eq!(store.top(partition()).await.expect("it answers"), None);
    assert_eq!(store.acquire(partition()).await.expect("acquired").generation, 4);
}

#[tokio::test]
async fn a_block_whose_reply_was_lost_is_no_step_back_whether_it_was_written_or_not() {
    let redis = Redis::durable();
    let (store, other) = (open(&redis).await, open(&redis).await);
    let generation = store.acquire(partition()).await.expect("acquired").generation;
    store.append(block(generation, 1)).await.expect("written");
    // Written, as far as the first connection knows, by nobody.
    other.append(block(generation, 2)).await.expect("written");
    append_after_a_cut(&redis, &store, &block(generation, 2)).await.expect("the very block is there");
    append_after_a_cut(&redis, &store, &block(generation, 3)).await.expect("written now");
}

#[tokio::test]
async fn an_owner_that_knows_where_its_log_ends_writes_again_what_was_lost_and_acquires_above_it() {
    let redis = Redis::durable();
    let store = open(&redis).await;
    let log = format!("myriad:{{{}}}:log", partition_tag(partition()));
    store.acquire(partition()).await.expect("acquired");
    say(&redis, &["COPY", &log, &format!("{log}:copy")]);
    store.append(block(1, 1)).await.expect("written");
    store.append(block(1, 2)).await.expect("written");
    say(&redis, &["RENAME", &format!("{log}:copy"), &log]);
    assert!(append_after_a_cut(&redis, &store, &block(1, 3)).await.is_err());
    store.accept(partition(), block(1, 1).id, block(1, 1).id).await.expect("it answers");
    let refused = store.append(block(1, 1)).await;
    assert!(matches!(refused, Err(StoreError::WentBack { .. })), "that is not where it ends: {refused:?}");
    let mark = BlockId { generation: 1, sequence: 0 };
    store.accept(partition(), mark, block(1, 1).id).await.expect("it answers");
    for sequence in 1..=3 {
        store.append(block(1, sequence)).await.expect("written again");
    }
    let acquired = store.acquire(partition()).await.expect("acquired");
    assert_eq!((acquired.generation, acquired.last), (2, Some(block(1, 3).id)));
}

#[tokio::test]
async fn a_store_that_was_emptied_under_a_connection_that_lives_on_gets_no_block() {
    let redis = Redis::durable();
    let store = open(&redis).await;
    store.acquire(partition()).await.expect("acquired");
    store.append(block(1, 1)).await.expect("written");
    say(&redis, &["FLUSHALL"]);
    let refused = store.append(block(1, 2)).await;
    let Err(StoreError::WentBack { confirmed, top, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((confirmed, top), (block(1, 1).id, None));
    assert_eq!(say(&redis, &["DBSIZE"]), "0");
}

/// A log of which an earlier owner wrote `1-1` and an owner `2-1` to `2-3`, and that has then gone back over the mark `2-0`.
async fn gone_back_over_a_mark(redis: &Redis) -> RedisStore {
    let (earlier, owner) = (open(redis).await, open(redis).await);
    let log = format!("myriad:{{{}}}:log", partition_tag(partition()));
    earlier.acquire(partition()).await.expect("acquired");
    earlier.append(block(1, 1)).await.expect("written");
    say(redis, &["COPY", &log, &format!("{log}:copy")]);
    assert_eq!(owner.acquire(partition()).await.expect("acquired").generation, 2);
    for sequence in 1..=3 {
        owner.append(block(2, sequence)).await.expect("written");
    }
    say(redis, &["RENAME", &format!("{log}:copy"), &log]);
    owner
}

fn other(sequence: u64) -> Append {
    Append { block: Bytes::from(format!("of another owner, {sequence}")), ..block(2, sequence) }
}

#[tokio::test]
async fn an_owner_whose_very_generation_was_given_again_is_fenced_however_far_its_successor_is() {
    for written in [0, 2, 3, 5] {
        let redis = Redis::durable();
        let owner = gone_back_over_a_mark(&redis).await;
        let next = open(&redis).await;
        assert_eq!(next.acquire(partition()).await.expect("acquired").generation, 2, "the mark was lost");
        for sequence in 1..=written {
            next.append(other(sequence)).await.expect("written");
        }
        let refused = append_after_a_cut(&redis, &owner, &block(2, 4)).await;
        assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{written}: {refused:?}");
        let told = owner.top(partition()).await;
        assert!(matches!(told, Err(StoreError::Fenced { .. })), "an idle one hears it, too: {told:?}");
        append_after_a_cut(&redis, &next, &other(written + 1)).await.expect("it is its log");
        let stranger = open(&redis).await.top(partition()).await.expect("whoever has no log is told");
        assert_eq!(stranger, Some(other(written + 1).id));
    }
}

#[tokio::test]
async fn an_owner_that_mends_its_log_takes_its_mark_before_it_writes_behind_a_gap() {
    let (end, from) = (block(1, 1).id, block(2, 3).id);
    let redis = Redis::durable();
    let owner = gone_back_over_a_mark(&redis).await;
    assert!(append_after_a_cut(&redis, &owner, &block(2, 4)).await.is_err());
    owner.accept(partition(), end, from).await.expect("nobody else has taken it");
    let next = open(&redis).await;
    assert_eq!(next.acquire(partition()).await.expect("acquired").generation, 3);
    let refused = owner.append(block(2, 3)).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");

    let redis = Redis::durable();
    let owner = gone_back_over_a_mark(&redis).await;
    assert!(append_after_a_cut(&redis, &owner, &block(2, 4)).await.is_err());
    let next = open(&redis).await;
    assert_eq!(next.acquire(partition()).await.expect("acquired").generation, 2);
    next.append(other(1)).await.expect("written");
    for _ in 0..2 {
        let refused = owner.accept(partition(), end, from).await;
        assert!(matches!(refused, Err(StoreError::Fenced { .. })), "another one was quicker: {refused:?}");
    }
    assert!(owner.append(block(2, 3)).await.is_err());
}
