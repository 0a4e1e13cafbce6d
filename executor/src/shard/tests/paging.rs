//! Histories, page by page, of executions that go on.

use proto::executor::v1::Mode;

use super::*;

/// Ids of a history's events, page by page of this size; each page is one replay.
async fn ids(shard: &TestShard, form: v1::HistoryForm, reverse: bool, size: usize) -> Vec<u64> {
    let (mut seen, mut place) = (Vec::new(), None);
    loop {
        let cut = HistoryCut { reverse, size, place };
        let ask = |reply| Command::History { execution: execution(1, 0), form, cut, reply };
        let page = shard.ask(ask).await.expect("a page");
        assert!(page.events.len() <= size);
        seen.extend(page.events.iter().map(|event| event.id));
        match page.next {
            Some(next) => place = Some(next),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn every_event_is_on_one_page_whatever_the_size_the_order_and_the_form() {
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, two, Mode::Standard, &["1"])).await;
    for _ in 0..2 {
        let task = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
        shard.succeed(1, &task.token, "1").await;
    }
    world.clock.advance(TICK);
    shard.settled().await;
    for (form, all) in [(v1::HistoryForm::StepFunctions, 12), (v1::HistoryForm::Asw, 7)] {
        let forward: Vec<u64> = (1..=all).collect();
        let backward: Vec<u64> = (1..=all).rev().collect();
        for size in [1, 5, 12, 100] {
            assert_eq!(ids(&shard, form, false, size).await, forward, "{form:?} {size}");
            assert_eq!(ids(&shard, form, true, size).await, backward, "{form:?} {size}");
        }
        for reverse in [false, true] {
            let cut = HistoryCut { reverse, size: 3, place: Some(usize::MAX) };
            let ask = |reply| Command::History { execution: execution(1, 0), form, cut, reply };
            let behind = shard.ask(ask).await.expect_err("there is no such place");
            assert!(matches!(behind, Error::Invalid { code: "InvalidToken", .. }), "{behind}");
        }
    }
}
