//! The histories of executions, from the shards' pages to the sinks.
//!
//! Invariants: lines are made once, here, and shared by all sinks; the lines of an execution keep their order on the way to
//! each sink; between two looks at the intakes, and between rounds of a busy one, sinks get their turn. At a stop all that
//! the shards have offered goes to the sinks first, then these are stopped. What may fail: starting.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use telemetry::{ExportMetrics, IntakeMetrics};
use tokio::time::Instant;

use crate::line::{Line, lines};
use crate::{Exporter, Feed, Intake, IntakeBounds, Outlet, Page, PumpOptions, Sink, Stop, intake, pump};

/// How often the intakes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// So many pages are made into lines before sinks get their turn.
const PAGES_PER_TURN: usize = 64;

/// A sink before it runs: made on the exporter's thread.
type Make = Box<dyn FnOnce(Stop) -> (Feed<Arc<Line>>, LocalBoxFuture<'static, ()>) + Send>;

/// Sinks of histories, to be started together.
#[derive(Default)]
pub struct History {
    sinks: Vec<(Make, Arc<ExportMetrics>)>,
    bounds: IntakeBounds,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("sinks", &self.sinks.len()).field("bounds", &self.bounds).finish()
    }
}

impl History {
    /// Without sinks yet; each shard's intake has these bounds.
    #[must_use]
    pub fn new(bounds: IntakeBounds) -> Self {
        Self { sinks: Vec::new(), bounds }
    }

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
        S: Sink<Arc<Line>> + 'static,
        M: FnOnce() -> S + Send + 'static,
    {
        let cells = Arc::clone(&metrics);
        let make: Make = Box::new(move |stop| {
            let (feed, pump) = pump(name, options, cells, make(), stop);
            (feed, Box::pin(pump.run()))
        });
        self.sinks.push((make, metrics));
        self
    }

    /// Starts the thread, and gives an intake for each shard.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self, shards: usize) -> io::Result<(Exporter, Vec<Intake<Page>>)> {
        let ring = |_| {
            let cells = Arc::<IntakeMetrics>::default();
            self.sinks.iter().for_each(|(_, metrics)| metrics.share_intake(&cells));
            intake(self.bounds, cells)
        };
        let (intakes, outlets): (Vec<_>, Vec<_>) = (0..shards).map(ring).unzip();
        let sinks = self.sinks.into_iter().map(|(make, _)| make).collect();
        let exporter = Exporter::start("history-export", move |stop| run(outlets, sinks, stop))?;
        Ok((exporter, intakes))
    }
}

/// Until it is stopped and the sinks have ended.
async fn run(outlets: Vec<Outlet<Page>>, sinks: Vec<Make>, mut stop: Stop) {
    let (stop_sinks, sinks_asked) = Stop::new();
    let (feeds, pumps): (Vec<_>, Vec<_>) = sinks.into_iter().map(|make| make(sinks_asked.clone())).unzip();
    let pumps: Vec<_> = pumps.into_iter().map(tokio::task::spawn_local).collect();
    while stop.deadline().is_none() {
        if round(&outlets, &feeds).await == 0 {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.asked() => {}
            }
        }
    }
    let deadline = stop.asked().await;
    while round(&outlets, &feeds).await > 0 && Instant::now() < deadline {}
    stop_sinks.send_replace(Some(deadline));
    for ended in join_all(pumps).await {
        if let Err(error) = ended {
            tracing::error!(%error, "a sink of histories has ended by itself");
        }
    }
}

/// Brings some of what waits in the intakes to the sinks. How many pages.
async fn round(outlets: &[Outlet<Page>], feeds: &[Feed<Arc<Line>>]) -> usize {
    let mut pages = 0;
    for outlet in outlets {
        for page in std::iter::from_fn(|| outlet.take()).take(PAGES_PER_TURN) {
            pages += 1;
            for line in lines(&page).map(Arc::new) {
                for feed in feeds {
                    feed.push(Arc::clone(&line));
                }
            }
        }
        tokio::task::yield_now().await;
    }
    pages
}
