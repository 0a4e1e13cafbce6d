//! What is known when the strikes are over: what has no end, what ended without a word, what is there no more.
//!
//! Invariant: nothing is told from a total that can be told of each execution. What may fail: a store that cannot be read,
//! which is a fault.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use testkit::AckLedger;

use super::acks::Ack;
use super::checker::Checker;
use super::logs::{Condemned, SharedLogs};
use super::{Checked, CrashStore, Run, locked};
use crate::error::Error;
use crate::load::unix_ms;

/// How long the logs may take to show the last terminal records.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);
/// Ends of nodes after which an execution is blamed for them.
const DEATHS: usize = 3;

impl Run<'_> {
    /// Until every acknowledged execution has its terminal record, or no more come.
    pub(super) async fn wait_for_the_logs(&self, logs: &SharedLogs) {
        let until = Instant::now() + CLOSED_WITHIN;
        while locked(logs).unclosed().0 > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the logs have not shown closed is lost, whatever Describe has said of it; only where files are kept for less than
    /// the run can it have expired unseen.
    pub(super) async fn settle(&self, checked: &Checked, duration: Duration) {
        if self.settings.cluster.store == CrashStore::File {
            let options = journal::file::FileOptions::new(self.addresses.directory.join("store"));
            let read = async {
                self.follower(&checked.logs).read_all(&journal::file::FileStore::open(options)?).await
            };
            if let Err(error) = read.await {
                self.shared.fault(&error.to_string());
            }
        }
        if self.settings.cluster.store == CrashStore::File && self.settings.cluster.retention < duration {
            self.shared.expired.store(locked(&checked.logs).unseen(), Relaxed);
            return;
        }
        let (unclosed, named) = locked(&checked.logs).unclosed();
        if unclosed > 0 {
            let named = named.join(", ");
            self.shared
                .fault(&format!("{unclosed} acknowledged executions have no terminal record: {named}"));
        }
        self.judge_leftovers(&checked.logs);
        self.judge_condemned(&checked.logs);
    }

    /// What ended without an acknowledgement was started by a call whose answer nobody has.
    fn judge_leftovers(&self, logs: &SharedLogs) {
        let (shared, parted) = (&self.shared, self.shared.all_parted());
        let (left, wrong) = locked(logs).leftovers(|run| shared.is_unanswered(run), &parted);
        wrong.iter().for_each(|wrong| shared.fault(wrong));
        shared.unacknowledged.store(left, Relaxed);
    }

    /// Who is blamed for the ends of its nodes has met three of them between its start and its end.
    fn judge_condemned(&self, logs: &SharedLogs) {
        for Condemned { id, start_ms, stop_ms } in locked(logs).condemned() {
            let kills = self.shared.node_kills(*start_ms, *stop_ms);
            if kills < DEATHS {
                self.shared.fault(&format!(
                    "execution {id} was blamed for the ends of its nodes, of which {kills} were killed while it ran"
                ));
            }
        }
    }

    /// Everything is killed and started anew. What was seen once must be there still: what ended less than the retention ago
    /// has its terminal record, and the sample is described as before.
    pub(super) async fn look_once_more(&self, checker: &Arc<Checker>, logs: &SharedLogs) {
        let well = !self.shared.is_faulty() || self.settings.keep_going;
        if let Some(driver) = self.driver.as_ref().filter(|_| well)
            && let Err(error) = driver.start_anew(Arc::clone(&self.shared)).await
        {
            self.shared.fault(&format!("started anew at the end: {error}"));
            return;
        }
        if let Some(url) = self.addresses.redis_url.clone()
            && let Err(error) = self.compare_logs(url, logs).await
        {
            self.shared.fault(&format!("the logs cannot be read once more: {error}"));
        }
        if well {
            Arc::clone(checker).finish().await;
        }
    }

    async fn compare_logs(&self, url: String, logs: &SharedLogs) -> Result<(), Error> {
        let store = journal_redis::RedisConnect::new(journal_redis::RedisOptions::new(url))?;
        let stored = crate::suite::readback::read(&store).await?;
        let (wanted, gone) = locked(logs).kept.lacking(unix_ms(), |id| stored.has_closed(id));
        self.shared.kept.store(wanted - gone.len() as u64, Relaxed);
        if !gone.is_empty() {
            let named: Vec<String> = gone.iter().take(10).map(ToString::to_string).collect();
            self.shared.fault(&format!(
                "{} of {wanted} terminal records are LOST: the logs had them, and have them no more: {}",
                gone.len(),
                named.join(", ")
            ));
        }
        Ok(())
    }

    /// The file must say what was counted.
    pub(super) fn read_ledger(&self, ledger: &AckLedger) {
        let counted = self.shared.acknowledged.load(Relaxed);
        let sum = || -> Result<u64, String> {
            let mut sum = 0;
            for line in ledger.lines().map_err(|error| error.to_string())? {
                sum += Ack::count_of(&line.map_err(|error| error.to_string())?).unwrap_or(0);
            }
            Ok(sum)
        };
        match sum() {
            Ok(written) if written == counted => {}
            Ok(written) => self
                .shared
                .fault(&format!("the ledger holds {written} acknowledgements, {counted} were counted")),
            Err(error) => self.shared.fault(&error),
        }
    }
}
