//! The checks of derived and durable keys.

use std::time::Duration;

use bytes::Bytes;

use super::{LONG, Subject, acquire, append, block_id, eventually, everything, ids, partition, store, write};
use crate::store::{Append, Derived};

/// See the name.
pub async fn derived_keys_and_lists_are_read_back(subject: &mut impl Subject) {
    let (store, partition) = (store(subject).await, partition(13));
    let generation = acquire(&store, partition).await.generation;
    for sequence in 1..=3u64 {
        let derived = vec![
            Derived::Put { key: "last".into(), value: sequence.to_string().into(), ttl: LONG },
            Derived::Put { key: Bytes::from(vec![0, 255, sequence as u8]), value: Bytes::new(), ttl: LONG },
            Derived::Push { list: "list".into(), value: format!("{sequence}a").into(), ttl: LONG },
            Derived::Push { list: "list".into(), value: format!("{sequence}b").into(), ttl: LONG },
        ];
        write(&store, Append { derived, ..append(partition, block_id(generation, sequence), "block") }).await;
    }
    // Derived writes may come a little after the acknowledgement.
    eventually("the last derived write", || async {
        store.list(partition, "list".into(), 5, 1).await.expect("lists can be read") == ["3b"]
    })
    .await;
    let keys = vec!["last".into(), "absent".into(), Bytes::from(vec![0, 255, 2])];
    let values = store.get_derived(partition, keys).await.expect("keys can be read");
    assert_eq!(values, [Some("3".into()), None, Some(Bytes::new())]);
    let all = store.list(partition, "list".into(), 0, 100).await.expect("lists can be read");
    assert_eq!(all, ["1a", "1b", "2a", "2b", "3a", "3b"]);
    let some = store.list(partition, "list".into(), 2, 3).await.expect("lists can be read");
    assert_eq!(some, ["2a", "2b", "3a"]);
    assert!(store.list(partition, "list".into(), 6, 3).await.expect("lists can be read").is_empty());
    assert!(store.list(partition, "list".into(), 0, 0).await.expect("lists can be read").is_empty());
    assert!(store.list(partition, "absent".into(), 0, 3).await.expect("lists can be read").is_empty());
}

/// See the name.
pub async fn derived_keys_and_lists_are_forgotten_in_time(subject: &mut impl Subject) {
    let (store, partition) = (store(subject).await, partition(14));
    let generation = acquire(&store, partition).await.generation;
    let short = Duration::from_millis(50);
    let derived = vec![
        Derived::Put { key: "short".into(), value: "v".into(), ttl: short },
        Derived::Put { key: "long".into(), value: "v".into(), ttl: LONG },
        Derived::Push { list: "short list".into(), value: "v".into(), ttl: short },
        Derived::Push { list: "renewed list".into(), value: "first".into(), ttl: short },
        Derived::Push { list: "renewed list".into(), value: "second".into(), ttl: LONG },
    ];
    write(&store, Append { derived, ..append(partition, block_id(generation, 1), "block") }).await;
    eventually("the end of a key's and a list's time to live", || async {
        let keys = store.get_derived(partition, vec!["short".into()]).await.expect("keys can be read");
        let list = store.list(partition, "short list".into(), 0, 9).await.expect("lists can be read");
        keys == [None] && list.is_empty()
    })
    .await;
    let keys = store.get_derived(partition, vec!["long".into()]).await.expect("keys can be read");
    assert_eq!(keys, [Some("v".into())]);
    let list = store.list(partition, "renewed list".into(), 0, 9).await.expect("lists can be read");
    assert_eq!(list, ["first", "second"], "a push lets the whole list live on");
    assert_eq!(
        ids(&store, partition, everything(false, 9)).await,
        [block_id(generation, 1)],
        "the log has no end"
    );
}

/// See the name.
pub async fn durable_keys_are_put_read_and_compared(subject: &mut impl Subject) {
    let store = store(subject).await;
    let get = || async { store.get("a key".into()).await.expect("keys can be read") };
    assert_eq!(get().await, None);
    store.put("a key".into(), "one".into()).await.expect("it is put");
    assert_eq!(get().await, Some("one".into()));
    store.put("a key".into(), "two".into()).await.expect("it is put again");
    assert_eq!(get().await, Some("two".into()));
    let steps: [(Option<&'static str>, Option<&'static str>, bool); 7] = [
        (Some("one"), Some("three"), false),
        (None, Some("three"), false),
        (Some("two"), Some("three"), true),
        (Some("three"), None, true),
        (Some("three"), Some("four"), false),
        (None, Some(""), true),
        (Some(""), Some("five"), true),
    ];
    for (expected, value, result) in steps {
        let (expected_bytes, value_bytes) = (expected.map(Bytes::from), value.map(Bytes::from));
        let before = get().await;
        let done = store.compare_and_put("a key".into(), expected_bytes, value_bytes.clone()).await;
        assert_eq!(done.expect("it can be compared"), result, "{expected:?} -> {value:?}");
        assert_eq!(get().await, if result { value_bytes } else { before }, "{expected:?} -> {value:?}");
    }
}

/// See the name.
pub async fn durable_keys_are_scanned_in_order_and_in_pages(subject: &mut impl Subject) {
    let store = store(subject).await;
    let mut expected = Vec::new();
    for number in (0..25u8).rev() {
        let key = Bytes::from([b"scan/".as_slice(), &[number * 10]].concat());
        store.put(key.clone(), number.to_string().into()).await.expect("it is put");
        expected.push((key, Bytes::from(number.to_string())));
    }
    expected.reverse();
    for other in ["scan", "scan.", "scan0", "sc", "zzz"] {
        store.put(other.into(), "other".into()).await.expect("it is put");
    }
    let scan = |after, limit| store.scan("scan/".into(), after, limit);
    assert_eq!(scan(None, 100).await.expect("a scan"), expected);
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = scan(after, 7).await.expect("a page");
        assert!(page.len() <= 7);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        pages.extend(page);
    }
    assert_eq!(pages, expected);
    let gone = Some(Bytes::from_static(b"scan/\x05"));
    assert_eq!(scan(gone, 1).await.expect("a page"), expected[1..2], "`after` need not be there");
    let removed = store.compare_and_put(expected[0].0.clone(), Some(expected[0].1.clone()), None).await;
    assert!(removed.expect("it can be compared"));
    assert_eq!(scan(None, 1).await.expect("a page"), expected[1..2]);
    assert!(store.scan("absent".into(), None, 10).await.expect("a scan").is_empty());
    assert!(scan(None, 0).await.expect("a scan").is_empty());
}

/// See the name.
pub async fn counters_rise_by_one_under_concurrency(subject: &mut impl Subject) {
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let store = store(subject).await;
        tasks.push(tokio::spawn(async move {
            let mut values = Vec::new();
            for _ in 0..10 {
                values.push(store.increment("counter".into()).await.expect("it rises"));
            }
            values
        }));
    }
    let mut values = Vec::new();
    for task in tasks {
        values.extend(task.await.expect("no panic"));
    }
    values.sort_unstable();
    assert_eq!(values, (1..=40).collect::<Vec<u64>>());
}

/// See the name.
pub async fn of_two_that_compare_and_put_one_wins(subject: &mut impl Subject) {
    for round in 0..5 {
        let key = format!("race {round}");
        let mut tasks = Vec::new();
        for number in 0..4 {
            let (store, key) = (store(subject).await, Bytes::from(key.clone()));
            tasks.push(tokio::spawn(async move {
                store
                    .compare_and_put(key, None, Some(number.to_string().into()))
                    .await
                    .expect("it can be compared")
            }));
        }
        let mut winners = Vec::new();
        for (number, task) in tasks.into_iter().enumerate() {
            if task.await.expect("no panic") {
                winners.push(number.to_string());
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let value = store(subject).await.get(key.into()).await.expect("keys can be read");
        assert_eq!(value, Some(winners[0].clone().into()));
    }
}
