//! What a pump promises, with sinks that hang, refuse, are slow, and come back. Time is paused: it passes when everybody
//! waits.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::*;

mod log;

/// What an item weighs in these tests.
const BYTES: usize = 10;

impl Weigh for u32 {
    fn bytes(&self) -> usize {
        BYTES
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Slow(Duration),
    Hangs,
    Down,
    /// Takes the batch and loses the answer.
    Forgets,
    Refuses,
    /// Refuses a batch that has this item in it.
    Dislikes(u32),
    /// Takes the batch, and says that it does not want so many of its records.
    Rejects(u64),
    /// Calls any batch wrong.
    RefusesAny,
    Panics,
}

/// A sink whose moods the test rules.
#[derive(Debug, Clone)]
struct Moody {
    mood: Rc<Cell<Mood>>,
    taken: Rc<RefCell<Vec<Vec<u32>>>>,
    attempts: Rc<Cell<u32>>,
    closed: Rc<Cell<bool>>,
}

impl Sink<u32> for Moody {
    async fn send(&mut self, batch: &Batch<u32>) -> Result<Sent, SinkError> {
        self.attempts.set(self.attempts.get() + 1);
        let take = || self.taken.borrow_mut().push(batch.items.clone());
        match self.mood.get() {
            Mood::Well => take(),
            Mood::Slow(time) => {
                tokio::time::sleep(time).await;
                take();
            }
            Mood::Hangs => std::future::pending().await,
            Mood::Down => return Err(SinkError::unavailable("it is down")),
            Mood::Forgets => {
                take();
                return Err(SinkError::unavailable("the answer was lost"));
            }
            Mood::Refuses => return Err(SinkError::refused("it is wrong")),
            Mood::Dislikes(item) if batch.items.contains(&item) => {
                return Err(SinkError::RefusedWhole { why: "one is wrong".to_owned() });
            }
            Mood::Dislikes(_) => take(),
            Mood::Rejects(rejected) => {
                take();
                return Ok(Sent { bytes: 1, rejected });
            }
            Mood::RefusesAny => return Err(SinkError::RefusedWhole { why: "wrong".to_owned() }),
            Mood::Panics => panic!("the sink is broken"),
        }
        Ok((batch.bytes as u64).into())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.closed.set(true);
        Ok(())
    }
}

struct Rig {
    feed: Feed<u32>,
    sink: Moody,
    metrics: Arc<ExportMetrics>,
    stop: watch::Sender<Option<Instant>>,
    running: JoinHandle<()>,
}

fn options() -> PumpOptions {
    PumpOptions {
        queue_items: 20,
        queue_bytes: 20 * BYTES,
        batch_items: 4,
        batch_bytes: 4 * BYTES,
        batch_age: Duration::from_secs(1),
        send_timeout: Duration::from_secs(10),
        retry: Retry {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
            attempts: u32::MAX,
            age: Duration::from_mins(5),
        },
        latest: false,
    }
}

impl Rig {
    fn start(options: PumpOptions, mood: Mood) -> Self {
        let sink = Moody {
            mood: Rc::new(Cell::new(mood)),
            taken: Rc::default(),
            attempts: Rc::default(),
            closed: Rc::default(),
        };
        let metrics = Arc::<ExportMetrics>::default();
        let (stop, asked) = Stop::new();
        let (feed, pump) =
            pump((Signal::History, "test"), options, Arc::clone(&metrics), sink.clone(), asked);
        Self { feed, sink, metrics, stop, running: spawn_local(pump.run()) }
    }

    fn push(&self, items: std::ops::Range<u32>) -> usize {
        self.feed.push(items)
    }

    fn batches(&self) -> Vec<Vec<u32>> {
        self.sink.taken.borrow().clone()
    }

    fn taken(&self) -> Vec<u32> {
        self.batches().concat()
    }

    async fn stop(self, within: Duration) -> (Moody, Arc<ExportMetrics>) {
        self.stop.send_replace(Some(Instant::now() + within));
        self.running.await.expect("it ends");
        (self.sink, self.metrics)
    }
}

/// Lets the paused time pass.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Runs a test with tasks of its own on this thread.
fn local(test: impl AsyncFnOnce()) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test());
}

#[test]
fn a_batch_is_sent_when_it_is_full_by_number_or_when_its_oldest_has_waited() {
    local(async || {
        let rig = Rig::start(options(), Mood::Well);
        assert_eq!(rig.push(0..6), 6);
        tokio::task::yield_now().await;
        assert_eq!(rig.batches(), [[0, 1, 2, 3]], "the full one went at once, the rest waits");
        pass(2).await;
        assert_eq!(rig.batches(), [vec![0, 1, 2, 3], vec![4, 5]]);
        assert_eq!((rig.metrics.items.get(), rig.metrics.latency.snapshot().count()), (6, 2));
        assert_eq!((rig.metrics.bytes.get(), rig.metrics.queue_bytes.get()), (60, 0));
    });
}

#[test]
fn a_batch_weighs_no_more_than_it_may_and_what_never_fits_is_dropped() {
    local(async || {
        let rig = Rig::start(PumpOptions { batch_bytes: 25, ..options() }, Mood::Well);
        rig.push(0..4);
        pass(2).await;
        assert_eq!(rig.batches(), [[0, 1], [2, 3]]);
        let rig = Rig::start(PumpOptions { batch_bytes: BYTES - 1, ..options() }, Mood::Well);
        assert_eq!((rig.push(0..3), rig.metrics.dropped_for(DropReason::TooLarge).0), (0, 3));
    });
}

#[test]
fn a_sink_that_is_down_for_minutes_gets_what_fits_in_order_and_the_rest_is_counted() {
    local(async || {
        let rig = Rig::start(options(), Mood::Down);
        for begin in (0..100).step_by(10) {
            rig.push(begin..begin + 10);
            pass(10).await;
            assert!(rig.metrics.queue_items.get() <= 20 && rig.metrics.queue_bytes.get() <= 200);
        }
        assert_eq!((rig.metrics.queue_items.get(), rig.metrics.queue_bytes.get()), (20, 200));
        assert_eq!(rig.metrics.dropped_for(DropReason::QueueFull).0, 80);
        assert!(rig.metrics.lag_ms.get() > 80_000, "{} ms", rig.metrics.lag_ms.get());
        // Doubling pauses: many fewer attempts than the shortest pause would give.
        assert!((10..60).contains(&rig.sink.attempts.get()), "{} attempts", rig.sink.attempts.get());
        assert_eq!(u64::from(rig.sink.attempts.get()), rig.metrics.failures.get());
        assert_eq!(rig.metrics.failures.get(), rig.metrics.retries.get() + 1, "it waits for the next one");
        rig.sink.mood.set(Mood::Well);
        pass(10).await;
        assert_eq!(rig.taken(), (0..20).collect::<Vec<_>>());
        assert_eq!((rig.metrics.queue_items.get(), rig.metrics.queue_bytes.get()), (0, 0));
        assert_eq!(rig.push(200..204), 4, "there is room again");
    });
}

#[test]
fn a_sink_that_hangs_is_left_after_its_time_and_gets_the_same_batch_again() {
    local(async || {
        let rig = Rig::start(options(), Mood::Hangs);
        rig.push(0..4);
        pass(9).await;
        assert_eq!((rig.sink.attempts.get(), rig.metrics.retries.get()), (1, 0));
        pass(2).await;
        assert_eq!((rig.sink.attempts.get(), rig.metrics.retries.get()), (2, 1));
        rig.sink.mood.set(Mood::Well);
        pass(15).await;
        assert_eq!(rig.batches(), [[0, 1, 2, 3]]);
    });
}

#[test]
fn a_lost_answer_gives_the_batch_twice_and_nothing_out_of_order() {
    local(async || {
        let rig = Rig::start(options(), Mood::Forgets);
        rig.push(0..4);
        tokio::task::yield_now().await;
        rig.sink.mood.set(Mood::Well);
        rig.push(4..8);
        pass(3).await;
        assert_eq!(rig.batches(), [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]);
    });
}

#[test]
fn what_a_sink_refuses_is_dropped_at_once_and_does_not_stand_in_the_way() {
    local(async || {
        let rig = Rig::start(options(), Mood::Refuses);
        rig.push(0..4);
        tokio::task::yield_now().await;
        rig.sink.mood.set(Mood::Well);
        rig.push(4..8);
        pass(1).await;
        assert_eq!(
            (rig.batches(), rig.metrics.dropped_for(DropReason::Refused).0),
            (vec![vec![4, 5, 6, 7]], 4)
        );
        assert_eq!(rig.metrics.retries.get(), 0);
    });
}

#[test]
fn a_batch_is_given_up_after_its_age_or_its_attempts() {
    local(async || {
        let rig = Rig::start(options(), Mood::Down);
        rig.push(0..4);
        pass(270).await;
        assert_eq!(rig.metrics.dropped_for(DropReason::GaveUp).0, 0);
        pass(60).await;
        assert_eq!((rig.metrics.dropped_for(DropReason::GaveUp).0, rig.metrics.queue_items.get()), (4, 0));
        let retry = Retry { attempts: 3, ..options().retry };
        let rig = Rig::start(PumpOptions { retry, ..options() }, Mood::Down);
        rig.push(0..4);
        pass(60).await;
        assert_eq!((rig.sink.attempts.get(), rig.metrics.dropped_for(DropReason::GaveUp).0), (3, 4));
    });
}

#[test]
fn a_slow_or_hanging_sink_does_not_hold_up_another() {
    local(async || {
        let well = Rig::start(options(), Mood::Well);
        let slow = Rig::start(options(), Mood::Slow(Duration::from_secs(3)));
        let hangs = Rig::start(options(), Mood::Hangs);
        for begin in (0..40).step_by(4) {
            for rig in [&well, &slow, &hangs] {
                rig.push(begin..begin + 4);
            }
            pass(1).await;
        }
        assert_eq!(well.taken(), (0..40).collect::<Vec<_>>());
        pass(30).await;
        let seen = slow.taken();
        assert!(seen.is_sorted() && seen.len() >= 12, "{seen:?}");
        assert_eq!(seen.len() as u64 + slow.metrics.dropped_for(DropReason::QueueFull).0, 40);
        assert_eq!((hangs.taken(), hangs.metrics.dropped_for(DropReason::QueueFull).0), (vec![], 20));
    });
}

#[test]
fn a_stop_sends_what_waits_without_waiting_for_a_full_batch_and_closes_the_sink() {
    local(async || {
        let rig = Rig::start(options(), Mood::Well);
        rig.push(0..6);
        let begin = Instant::now();
        let (sink, metrics) = rig.stop(Duration::from_secs(60)).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!((sink.taken.borrow().concat(), sink.closed.get()), ((0..6).collect(), true));
        assert_eq!(metrics.dropped_for(DropReason::Closing).0, 0);
    });
}

#[test]
fn a_stop_ends_at_its_deadline_and_counts_what_is_left() {
    for mood in [Mood::Hangs, Mood::Down] {
        local(async || {
            let rig = Rig::start(options(), mood);
            rig.push(0..10);
            pass(3).await;
            let begin = Instant::now();
            let (sink, metrics) = rig.stop(Duration::from_secs(5)).await;
            // The clock of timers counts in milliseconds.
            assert!(begin.elapsed() < Duration::from_millis(5_010), "{mood:?}: {:?}", begin.elapsed());
            assert_eq!(
                (metrics.dropped_for(DropReason::Closing).0, metrics.queue_items.get()),
                (10, 0),
                "{mood:?}"
            );
            assert!(sink.closed.get(), "{mood:?}");
        });
    }
}

#[test]
fn a_sink_that_comes_back_during_a_stop_still_gets_everything() {
    local(async || {
        let rig = Rig::start(options(), Mood::Down);
        rig.push(0..10);
        pass(60).await;
        rig.sink.mood.set(Mood::Well);
        let (sink, metrics) = rig.stop(Duration::from_secs(1)).await;
        assert_eq!(sink.taken.borrow().concat(), (0..10).collect::<Vec<_>>());
        assert_eq!(metrics.dropped_for(DropReason::Closing).0, 0);
    });
}

#[test]
fn a_stop_tries_on_until_its_deadline_however_long_the_pauses_were() {
    local(async || {
        let rig = Rig::start(options(), Mood::Down);
        rig.push(0..10);
        pass(60).await;
        let mood = Rc::clone(&rig.sink.mood);
        spawn_local(async move {
            pass(3).await;
            mood.set(Mood::Well);
        });
        let (sink, metrics) = rig.stop(Duration::from_secs(5)).await;
        assert_eq!(sink.taken.borrow().concat(), (0..10).collect::<Vec<_>>());
        assert_eq!(metrics.dropped_for(DropReason::Closing).0, 0);
        // As often as once a second at least, and not without a pause.
        let rig = Rig::start(options(), Mood::Down);
        rig.push(0..4);
        pass(60).await;
        let before = rig.sink.attempts.get();
        let (sink, _) = rig.stop(Duration::from_secs(5)).await;
        assert!(
            (5..20).contains(&(sink.attempts.get() - before)),
            "{} attempts",
            sink.attempts.get() - before
        );
    });
}

#[test]
fn one_wrong_item_of_a_batch_costs_itself_alone_and_the_order_stays() {
    local(async || {
        let wide = PumpOptions { batch_items: 16, batch_bytes: 16 * BYTES, ..options() };
        let rig = Rig::start(wide, Mood::Dislikes(5));
        rig.push(0..16);
        pass(2).await;
        assert_eq!(rig.taken(), (0..16).filter(|item| *item != 5).collect::<Vec<_>>());
        assert_eq!(rig.metrics.dropped_for(DropReason::Refused), (1, 1));
        assert_eq!((rig.metrics.queue_items.get(), rig.metrics.queue_bytes.get()), (0, 0));
        assert_eq!(rig.push(16..36), 20, "all of the room is there again");
    });
}

#[test]
fn a_sink_that_calls_everything_wrong_is_not_asked_about_each_item() {
    local(async || {
        let options = PumpOptions {
            queue_items: 1 << 12,
            queue_bytes: 1 << 20,
            batch_items: 1 << 12,
            batch_bytes: 1 << 20,
            ..options()
        };
        let rig = Rig::start(options, Mood::RefusesAny);
        rig.push(0..4_000);
        pass(2).await;
        assert_eq!(rig.metrics.dropped_for(DropReason::Refused).0, 4_000);
        assert!(rig.sink.attempts.get() < 200, "{} attempts", rig.sink.attempts.get());
    });
}

#[test]
fn what_a_peer_rejects_of_a_batch_is_counted_once() {
    local(async || {
        let rig = Rig::start(options(), Mood::Rejects(3));
        rig.push(0..4);
        pass(2).await;
        assert_eq!(rig.metrics.records.get() + rig.metrics.dropped_for(DropReason::Refused).1, 4);
        assert_eq!((rig.metrics.items.get(), rig.metrics.records.get()), (4, 1));
    });
}

#[test]
fn where_only_the_latest_counts_it_waits_alone_and_what_failed_makes_room() {
    local(async || {
        let latest = PumpOptions {
            latest: true,
            queue_items: 2,
            batch_items: 1,
            batch_age: Duration::ZERO,
            ..options()
        };
        let rig = Rig::start(latest, Mood::Down);
        for item in 0..4 {
            rig.push(item..item + 1);
            tokio::task::yield_now().await;
        }
        rig.sink.mood.set(Mood::Well);
        let (sink, metrics) = rig.stop(Duration::from_secs(2)).await;
        assert_eq!(sink.taken.borrow().concat(), [3], "the last one is what leaves at the end");
        assert_eq!(
            (metrics.dropped_for(DropReason::QueueFull).0, metrics.dropped_for(DropReason::GaveUp).0),
            (2, 1)
        );
    });
}
