//! The store in memory passes the suite, and fails as tests tell it to.

use std::future::Future;
use std::pin::Pin;

use super::*;
use crate::conformance::Subject;

impl Subject for MemoryStore {
    fn connect(&self) -> Arc<dyn Connect> {
        Arc::new(self.clone())
    }

    fn reopen(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { false })
    }
}

async fn subject() -> MemoryStore {
    MemoryStore::new()
}

crate::store_conformance!(subject);

fn append(sequence: u64) -> Append {
    Append {
        partition: PartitionId::new(1).expect("in range"),
        id: BlockId { generation: 1, sequence },
        block: Bytes::from_static(b"block"),
        derived: Vec::new(),
        trim_below: None,
    }
}

#[tokio::test]
async fn scripted_faults_come_in_order_and_a_lost_reply_was_written() {
    let store = MemoryStore::new();
    store.fail_next(Fault::Refuse(StoreError::Unavailable("full".to_owned())));
    store.fail_next(Fault::LoseReply);
    assert!(matches!(store.append(append(1)).await, Err(StoreError::Unavailable(_))));
    assert_eq!(store.block_count(append(1).partition), 0);
    assert!(matches!(store.append(append(1)).await, Err(StoreError::Unknown(_))));
    assert_eq!(store.block_count(append(1).partition), 1);
    assert!(store.append(append(1)).await.is_ok(), "sent again, it is the same block");
}

#[tokio::test]
async fn while_unavailable_every_call_says_why() {
    let store = MemoryStore::new();
    store.set_unavailable(Some("down for a test"));
    for error in [store.append(append(1)).await.err(), store.get("key".into()).await.err()] {
        assert!(matches!(error, Some(StoreError::Unavailable(why)) if why == "down for a test"));
    }
    store.set_unavailable(None);
    assert!(store.append(append(1)).await.is_ok());
}

#[tokio::test]
async fn held_appends_wait_until_they_are_released() {
    let store = MemoryStore::new();
    store.hold_appends();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.append(append(1)).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    store.release_appends();
    assert!(waiting.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn expired_keys_are_cleared_away_by_later_appends() {
    let store = MemoryStore::new();
    let derived =
        |number: u64, ttl| Derived::Put { key: number.to_string().into(), value: Bytes::new(), ttl };
    for sequence in 1..=100 {
        let derived = vec![derived(sequence, std::time::Duration::ZERO)];
        store.append(Append { derived, ..append(sequence) }).await.expect("written");
    }
    let left = lock(store.partition(append(1).partition)).derived.len();
    assert!(left < 20, "{left} of 100 expired keys are left");
}

#[tokio::test]
async fn a_log_that_went_back_takes_nothing_until_it_is_acquired_above_what_was_confirmed() {
    let store = MemoryStore::new();
    let partition = append(1).partition;
    for generation in 1..=3 {
        assert_eq!(store.acquire(partition).await.expect("acquired").generation, generation);
    }
    let block = |generation, sequence| Append { id: BlockId { generation, sequence }, ..append(sequence) };
    for sequence in 1..=4 {
        store.append(block(3, sequence)).await.expect("written");
    }
    let (confirmed, kept) = (block(3, 4).id, block(3, 2).id);
    store.go_back(partition, kept);
    let refused = store.append(block(3, 5)).await;
    let Err(StoreError::WentBack { confirmed: was, top, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((was, top, store.block_count(partition)), (confirmed, Some(kept), 2));
    store.go_back(partition, BlockId::default());
    assert_eq!(store.top(partition).await.expect("there"), None);
    let acquired = store.acquire(partition).await.expect("acquired");
    assert_eq!((acquired.generation, acquired.last), (4, None));
    store.append(block(4, 1)).await.expect("the new owner writes");
}
