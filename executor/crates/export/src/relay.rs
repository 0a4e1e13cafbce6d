//! From the shards' intakes to sinks, on a thread of its own.
//!
//! Invariants: what a sink takes is made once, here, and shared by all sinks; what an execution tells keeps its order on the
//! way to each sink; between two looks at the intakes, and between rounds of a busy one, sinks get their turn. At a stop all
//! that the shards have offered goes to the sinks first, then these are stopped; what the deadline leaves in the intakes is counted.
//! What may fail: starting.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use telemetry::{DropReason, ExportMetrics, IntakeMetrics, Signal};
use tokio::time::Instant;

use crate::exporter::{Named, until_ended};
use crate::line::{Line, lines};
use crate::{
    Exporter, Feed, Intake, IntakeBounds, Outlet, Page, PumpOptions, Sink, SpanPage, Stop, Weigh, intake,
    pump,
};

/// How long the intakes are left alone after a look at which one of them was filling,
const LOOK_SOON: Duration = Duration::from_millis(25);
/// or none: each look costs a wake-up.
const LOOK_LATER: Duration = Duration::from_millis(100);
/// So much is taken out of an intake before sinks get their turn.
const TAKEN_PER_TURN: usize = 64;

/// A sink before it runs: made on the exporter's thread.
type Make<I> = Box<dyn FnOnce(Stop) -> (Feed<Arc<I>>, LocalBoxFuture<'static, ()>) + Send>;

/// Adds what of an offer goes to the sinks.
type Split<T, I> = fn(T, &mut Vec<Arc<I>>);

/// Sinks, to be started together.
pub struct Relay<T, I> {
    signal: Signal,
    thread: &'static str,
    split: Split<T, I>,
    sinks: Vec<(Make<I>, Named)>,
    bounds: IntakeBounds,
}

/// Histories: pages come in, lines go out.
pub type History = Relay<Page, Line>;

/// Traces.
pub type Traces = Relay<SpanPage, SpanPage>;

impl<T, I> std::fmt::Debug for Relay<T, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { thread, sinks, bounds, .. } = self;
        f.debug_struct("Relay")
            .field("thread", thread)
            .field("sinks", &sinks.len())
            .field("bounds", bounds)
            .finish_non_exhaustive()
    }
}

impl History {
    /// Without sinks yet; each shard's intake has these bounds.
    #[must_use]
    pub fn new(bounds: IntakeBounds) -> Self {
        let split: Split<Page, Line> = |page, items| items.extend(lines(&page).map(Arc::new));
        Self { signal: Signal::History, thread: "history-export", split, sinks: Vec::new(), bounds }
    }
}

impl Traces {
    /// Without sinks yet; each shard's intake has these bounds.
    #[must_use]
    pub fn new(bounds: IntakeBounds) -> Self {
        let split: Split<SpanPage, SpanPage> = |page, items| items.push(Arc::new(page));
        Self { signal: Signal::Spans, thread: "traces-export", split, sinks: Vec::new(), bounds }
    }
}

impl<T: Weigh + Send + 'static, I: Weigh + 'static> Relay<T, I> {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sinks.is_empty()
    }

    /// One more sink, called `name` in logs. It is made on the exporter's thread.
    #[must_use]
    pub fn and<S, M>(
        mut self,
        name: &'static str,
        options: PumpOptions,
        metrics: Arc<ExportMetrics>,
        make: M,
    ) -> Self
    where
        S: Sink<Arc<I>> + 'static,
        M: FnOnce() -> S + Send + 'static,
    {
        let (named, cells) = ((self.signal, name), Arc::clone(&metrics));
        let make: Make<I> = Box::new(move |stop| {
            let (feed, pump) = pump(named, options, cells, make(), stop);
            (feed, Box::pin(pump.run()))
        });
        self.sinks.push((make, (named, metrics)));
        self
    }

    /// Starts the thread, and gives an intake for each shard.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self, shards: usize) -> io::Result<(Exporter, Vec<Intake<T>>)> {
        let ring = |_| {
            let cells = Arc::<IntakeMetrics>::default();
            self.sinks.iter().for_each(|(_, (_, metrics))| metrics.share_intake(&cells));
            intake(self.bounds, cells)
        };
        let (intakes, outlets): (Vec<_>, Vec<_>) = (0..shards).map(ring).unzip();
        let Self { thread, split, sinks, .. } = self;
        let exporter = Exporter::start(thread, move |stop| run(outlets, split, sinks, stop))?;
        Ok((exporter, intakes))
    }
}

/// Until it is stopped and the sinks have ended.
async fn run<T: Weigh, I: Weigh + 'static>(
    outlets: Vec<Outlet<T>>,
    split: Split<T, I>,
    sinks: Vec<(Make<I>, Named)>,
    mut stop: Stop,
) {
    let (stop_sinks, sinks_asked) = Stop::new();
    let (makes, named): (Vec<_>, Vec<_>) = sinks.into_iter().unzip();
    let (feeds, pumps): (Vec<_>, Vec<_>) = makes.into_iter().map(|make| make(sinks_asked.clone())).unzip();
    let pumps = pumps.into_iter().map(tokio::task::spawn_local).collect();
    while stop.deadline().is_none() {
        let pause = if outlets.iter().any(Outlet::fills) { LOOK_SOON } else { LOOK_LATER };
        while stop.deadline().is_none() && round(&outlets, split, &feeds).await > 0 {}
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.asked() => {}
        }
    }
    let deadline = stop.asked().await;
    while Instant::now() < deadline && round(&outlets, split, &feeds).await > 0 {}
    stop_sinks.send_replace(Some(deadline));
    count_left(&outlets, &named);
    until_ended(pumps, &named).await;
}

/// What the deadline has left in the intakes is lost for each sink.
fn count_left<T: Weigh>(outlets: &[Outlet<T>], sinks: &[Named]) {
    for left in outlets.iter().flat_map(|outlet| std::iter::from_fn(|| outlet.take())) {
        for (_, metrics) in sinks {
            metrics.drop_items(DropReason::Closing, left.items(), left.records());
        }
    }
}

/// Brings some of what waits in the intakes to the sinks. How many offers.
async fn round<T, I: Weigh>(outlets: &[Outlet<T>], split: Split<T, I>, feeds: &[Feed<Arc<I>>]) -> usize {
    let mut taken = 0;
    let mut items = Vec::new();
    for outlet in outlets {
        for offer in std::iter::from_fn(|| outlet.take()).take(TAKEN_PER_TURN) {
            taken += 1;
            split(offer, &mut items);
        }
        if !items.is_empty() {
            for feed in feeds {
                // What it does not take, it counts.
                feed.push(items.iter().cloned());
            }
            items.clear();
        }
        tokio::task::yield_now().await;
    }
    taken
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;
    use crate::page::tests::page_of;
    use crate::{Batch, Sent, SinkError};

    /// Holds up the thread until it may go on.
    struct Blocks {
        entered: SyncSender<()>,
        go_on: Receiver<()>,
    }

    impl Sink<Arc<Line>> for Blocks {
        async fn send(&mut self, batch: &Batch<Arc<Line>>) -> Result<Sent, SinkError> {
            // Later calls find nobody, and go on.
            let _ = self.entered.send(());
            let _ = self.go_on.recv();
            Ok((batch.bytes as u64).into())
        }
    }

    #[tokio::test]
    async fn what_a_stop_finds_in_the_intakes_when_there_is_no_time_left_is_counted() {
        let (entered, at_work) = sync_channel(1);
        let (may_go_on, go_on) = sync_channel(1);
        let cells = Arc::<ExportMetrics>::default();
        let options = PumpOptions { batch_items: 1, ..PumpOptions::default() };
        let history = History::new(IntakeBounds::default());
        let history = history.and("test", options, Arc::clone(&cells), || Blocks { entered, go_on });
        let (exporter, intakes) = history.start(1).expect("started");
        assert!(intakes[0].offer(page_of("a", 1)));
        at_work.recv().expect("it is sent");
        drop(at_work);
        for _ in 0..100 {
            assert!(intakes[0].offer(page_of("b", 3)));
        }
        let stopped = async { exporter.stop(Duration::ZERO).await };
        let released = async { may_go_on.send(()).expect("it waits") };
        assert!(tokio::join!(stopped, released).0);
        assert_eq!((cells.offered(), cells.dropped_for(DropReason::Closing)), (101, (100, 300)));
        assert_eq!(cells.items.get() + cells.queue_items.get(), 1);
    }
}
