//! The thread on which everything is made ready and sent.
//!
//! Invariants: it has a runtime of its own and nothing of a shard's; once it is told to stop it ends by the deadline, or is
//! left behind. What may fail: starting the thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use telemetry::{ExportMetrics, Signal};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

/// How much longer than its deadline a stop waits for the thread to say that it has ended.
const GRACE: Duration = Duration::from_secs(2);

/// How often a stop says what it waits for.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// A sink by what it takes and by its name, and its cells.
pub(crate) type Named = ((Signal, &'static str), Arc<ExportMetrics>);

/// Waits for the pumps of these sinks, and says now and then for which ones.
pub(crate) async fn until_ended(pumps: Vec<JoinHandle<()>>, sinks: &[Named]) {
    let mut ended = std::pin::pin!(join_all(pumps));
    loop {
        tokio::select! {
            // One that has panicked has said so.
            _ = &mut ended => return,
            () = tokio::time::sleep(PROGRESS_EVERY) => {}
        }
        for ((signal, sink), metrics) in sinks {
            let (signal, waiting) = (signal.as_str(), metrics.queue_items.get());
            if waiting > 0 {
                tracing::info!(signal, sink, waiting, "the end of the node waits for the sink");
            }
        }
    }
}

/// Tells when to stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    /// One for tests and for those who stop by themselves: whoever has the other end says by when.
    #[must_use]
    pub fn new() -> (watch::Sender<Option<Instant>>, Self) {
        let asked = watch::Sender::new(None);
        let stop = Self(asked.subscribe());
        (asked, stop)
    }

    /// By when everything has to be over, once that is asked for. Where nobody can ask any more there is no time left.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let asked = *self.0.borrow();
        asked.or_else(|| self.0.has_changed().is_err().then(Instant::now))
    }

    /// Waits until it is asked for.
    pub async fn asked(&mut self) -> Instant {
        let asked = self.0.wait_for(Option::is_some).await;
        asked.ok().and_then(|deadline| *deadline).unwrap_or_else(Instant::now)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Exporter {
    stop: watch::Sender<Option<Instant>>,
    ended: oneshot::Receiver<()>,
}

impl Exporter {
    /// Starts the thread. What `make` gives is run there, tasks of `spawn_local` beside it, and ends soon after the stop
    /// was asked for.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made.
    pub fn start<M, F>(name: &str, make: M) -> io::Result<Self>
    where
        M: FnOnce(Stop) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, asked) = Stop::new();
        let (ending, ended) = oneshot::channel();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async move { make(asked).await });
            // A disk that hangs must not keep it.
            runtime.shutdown_background();
            // Nobody may be waiting.
            let _ = ending.send(());
        })?;
        Ok(Self { stop, ended })
    }

    /// Lets everything that waits be sent within this time. Whether it ended by then.
    pub async fn stop(self, within: Duration) -> bool {
        self.stop.send_replace(Some(Instant::now() + within));
        matches!(tokio::time::timeout(within + GRACE, self.ended).await, Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_waits_for_what_is_still_to_be_done() {
        let (done, seen) = std::sync::mpsc::sync_channel(1);
        let exporter = Exporter::start("test", |mut stop| async move {
            let deadline = stop.asked().await;
            tokio::task::yield_now().await;
            done.send(deadline > Instant::now()).expect("somebody looks");
        });
        assert!(exporter.expect("a thread").stop(Duration::from_secs(30)).await);
        assert_eq!(seen.try_recv(), Ok(true));
    }

    #[tokio::test]
    async fn where_nobody_can_ask_any_more_there_is_no_time_left() {
        let (asked, mut stop) = Stop::new();
        assert_eq!(stop.deadline(), None);
        drop(asked);
        assert!(stop.deadline().is_some_and(|deadline| deadline <= Instant::now()));
        assert!(stop.asked().await <= Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_left_behind() {
        let exporter = Exporter::start("test", |_| std::future::pending()).expect("a thread");
        assert!(!exporter.stop(Duration::from_secs(5)).await);
    }
}
