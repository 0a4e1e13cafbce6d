//! Whether a scheduler can do what it is asked, and in a sentence why not: `/healthz`, and the gauges that say the same.
//!
//! Invariants: the store is asked every [`ASK_EVERY`], whoever asks here, and however often; one that does not answer within
//! [`ANSWERS_WITHIN`] is taken for one that is away; its inner words stand in the log alone. Nothing here fails.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use journal::{Store, StoreError};
use telemetry::SchedulerState;

use crate::ailments;
use crate::directory::Directory;
use crate::ownership::Ownership;

/// How often the store is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct Readiness {
    directory: Arc<Directory>,
    ownership: Arc<Ownership>,
    store: Arc<dyn Store>,
    /// Whether the store answered when it was asked last. Not before it has been asked.
    store_answers: AtomicBool,
}

impl Readiness {
    /// Nothing has been asked yet.
    pub fn new(directory: &Arc<Directory>, ownership: &Arc<Ownership>, store: &Arc<dyn Store>) -> Self {
        Self {
            directory: Arc::clone(directory),
            ownership: Arc::clone(ownership),
            store: Arc::clone(store),
            store_answers: AtomicBool::new(false),
        }
    }

    /// Asks the store again and again. Ends when it is dropped.
    pub async fn keep_asking(&self) {
        let mut known = true;
        loop {
            let late = || {
                let message = format!("no answer within {} s", ANSWERS_WITHIN.as_secs());
                Err(StoreError::Unavailable(message))
            };
            let asked = tokio::time::timeout(ANSWERS_WITHIN, self.store.ping()).await;
            let asked = asked.unwrap_or_else(|_| late());
            let answers = asked.is_ok();
            self.store_answers.store(answers, Ordering::Relaxed);
            match (std::mem::replace(&mut known, answers), asked) {
                (true, Err(error)) => {
                    tracing::warn!(%error, "the store does not answer: machines cannot be made, changed or looked up");
                }
                (false, Ok(())) => tracing::info!("the store answers again"),
                (true, Ok(())) | (false, Err(_)) => {}
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Whether it serves, and in a line what it does or why it does not.
    pub fn explain(&self) -> (bool, Cow<'static, str>) {
        let standing = self.ownership.standing();
        if standing.replaced_by != 0 {
            let by = standing.replaced_by;
            let why = format!(
                "replaced by incarnation {by}: nodes follow the scheduler that began later; stop this one"
            );
            return (false, why.into());
        }
        let state = self.gauges();
        if !state.store_available {
            let why = "store down: the store of the machines does not answer; the log has its words";
            return (false, why.into());
        }
        match state {
            SchedulerState { shards_serving: 0, .. } => {
                (false, format!("no node takes starts: {}", ailments::told(&self.directory)).into())
            }
            SchedulerState { shards_serving, partitions_unserved: 0, .. } => {
                (true, format!("serving; shards that take starts: {shards_serving}").into())
            }
            SchedulerState { shards_serving, partitions_unserved, .. } => {
                let both = format!(
                    "serving; shards that take starts: {shards_serving}; partitions that none of them serves: \
                     {partitions_unserved}, see `scheduler-stub nodes`"
                );
                (true, both.into())
            }
        }
    }

    /// The same for programs.
    pub fn state(&self) -> SchedulerState {
        SchedulerState { ready: self.explain().0, ..self.gauges() }
    }

    fn gauges(&self) -> SchedulerState {
        let view = self.directory.view();
        SchedulerState {
            ready: false,
            store_available: self.store_answers.load(Ordering::Relaxed),
            shards_serving: view.shards.iter().filter(|shard| !shard.partitions.is_empty()).count(),
            partitions_unserved: view.owners.iter().filter(|owner| owner.is_none()).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use executor::clock::{Clock, ManualClock};
    use futures_util::FutureExt as _;
    use journal::memory::MemoryStore;
    use proto::executor::v1;
    use proto::scheduler::v1 as scheduler;

    use super::*;
    use crate::directory::{HEARTBEAT, Report, SILENT_BEATS};

    struct Scene {
        clock: ManualClock,
        store: MemoryStore,
        directory: Arc<Directory>,
        ownership: Arc<Ownership>,
        readiness: Readiness,
    }

    fn scene() -> Scene {
        let clock = ManualClock::at_ms(1_000);
        let store = MemoryStore::new();
        let directory = Arc::new(Directory::new(Clock::Manual(clock.clone())));
        let ownership = Arc::new(Ownership::new(Arc::clone(&directory), Clock::Manual(clock.clone()), 0));
        let kept: Arc<dyn Store> = Arc::new(store.clone());
        let readiness = Readiness::new(&directory, &ownership, &kept);
        Scene { clock, store, directory, ownership, readiness }
    }

    impl Scene {
        /// A node of one shard reports that it serves so many partitions of four.
        fn reports(&self, serves: u32) {
            let shard = v1::Shard {
                data_address: "h:2".to_owned(),
                partitions: (0..serves).collect(),
                ..v1::Shard::default()
            };
            self.directory.observe(Report {
                node_id: "n".to_owned(),
                public_address: "h:1".to_owned(),
                shards: vec![shard],
                partitions: 4,
                serving: true,
                managed: true,
                draining: false,
                condition: String::new(),
            });
        }

        fn says(&self, ready: bool, words: &[&str]) {
            let (is, said) = self.readiness.explain();
            assert!(is == ready && words.iter().all(|word| said.contains(word)), "{is}: {said}");
            assert_eq!(self.readiness.state().ready, ready);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scheduler_is_ready_while_its_store_answers_and_a_node_takes_starts() {
        let scene = scene();
        let mut asking = Box::pin(scene.readiness.keep_asking());
        scene.says(false, &["store down"]);
        assert!((&mut asking).now_or_never().is_none());
        scene.says(false, &["no node takes starts: none reports", "executor serve --scheduler"]);
        scene.reports(3);
        scene.says(true, &["shards that take starts: 1", "none of them serves: 1", "scheduler-stub nodes"]);
        scene.reports(4);
        assert_eq!(scene.readiness.explain(), (true, "serving; shards that take starts: 1".into()));
        scene.store.set_unavailable(Some("CLUSTERDOWN"));
        tokio::time::advance(ASK_EVERY).await;
        assert!((&mut asking).now_or_never().is_none());
        scene.says(false, &["store down"]);
        assert!(!scene.readiness.explain().1.contains("CLUSTERDOWN"), "the log has the store's words");
        scene.store.set_unavailable(None);
        tokio::time::advance(ASK_EVERY).await;
        assert!((&mut asking).now_or_never().is_none());
        scene.says(true, &["serving"]);
        scene.clock.advance(HEARTBEAT * SILENT_BEATS);
        scene.directory.sweep();
        scene.says(false, &["no node takes starts", "h:1 is away"]);
    }

    #[tokio::test]
    async fn a_scheduler_that_was_replaced_is_not_ready_and_says_by_whom() {
        let scene = scene();
        scene.ownership.registered(3);
        let (directives, _heard) = tokio::sync::mpsc::channel(1);
        let report = scheduler::NodeReport {
            public_address: "h:1".to_owned(),
            scheduler_incarnation: 7,
            ..scheduler::NodeReport::default()
        };
        let place = directives.reserve_owned().await.expect("open");
        scene.ownership.reported(1, &report, 4, place);
        scene.says(false, &["replaced by incarnation 7", "stop this one"]);
    }
}
