//! The ack ledger of a kill test: a thread that writes acknowledgements down and syncs them, many at a time.
//!
//! Invariant: an acknowledgement is passed on, counted and checked only once its line is on the disk.

use std::sync::Arc;
use std::thread::JoinHandle;

use ids::{BatchId, ExecutionId};
use testkit::AckLedger;
use tokio::sync::mpsc;

use super::shared::Shared;
use super::workload::{Kind, RESENT_RUNS};
use crate::error::Error;

/// Acknowledgements that wait for the disk; beyond that replies are read no further.
const QUEUE: usize = 65_536;
/// Lines of one sync.
const GROUP: usize = 8_192;

/// Acknowledged executions that follow each other: run `first_run + i` is execution `(batch, first_index + i)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Of which machine.
    pub kind: Kind,
    /// The first run.
    pub first_run: u64,
    /// How many.
    pub count: u32,
    /// Where they are.
    pub batch: BatchId,
    /// The first one's place there.
    pub first_index: u32,
}

impl Ack {
    /// One of them.
    #[must_use]
    pub fn execution(&self, offset: u32) -> Option<ExecutionId> {
        ExecutionId::new(self.batch, self.first_index + offset).ok()
    }

    /// As the ledger has it: machine, first run, how many, id of the first.
    #[must_use]
    pub fn line(&self) -> String {
        let first = self.execution(0).map_or_else(|| "?".to_owned(), |id| id.to_string());
        format!("{} {} {} {first}", self.kind.name(), self.first_run, self.count)
    }

    /// How many executions a line of the ledger holds.
    #[must_use]
    pub fn count_of(line: &str) -> Option<u64> {
        let mut words = line.split(' ');
        Kind::of(words.next()?)?;
        words.nth(1)?.parse().ok()
    }
}

/// The thread's two ends.
#[derive(Debug)]
pub(super) struct Acks {
    /// Acknowledgements as they come.
    pub received: mpsc::Sender<Ack>,
    /// The same once they are on the disk.
    pub synced: mpsc::Receiver<Ack>,
    /// Ends when nobody can send any more; gives the ledger back.
    pub thread: JoinHandle<AckLedger>,
}

/// Starts the thread.
pub(super) fn spawn(shared: Arc<Shared>, mut ledger: AckLedger) -> Result<Acks, Error> {
    let (received, mut incoming) = mpsc::channel(QUEUE);
    let (outgoing, synced) = mpsc::channel(QUEUE);
    let write = move || {
        let mut group: Vec<Ack> = Vec::with_capacity(GROUP);
        while incoming.blocking_recv_many(&mut group, GROUP) > 0 {
            if let Err(error) = ledger.record(group.iter().map(Ack::line)) {
                shared.fault(&format!("the ledger cannot be written: {error}"));
                break;
            }
            for through_scheduler in [true, false] {
                let these = group.iter().filter(|ack| (ack.first_run < RESENT_RUNS) == through_scheduler);
                let count: u64 = these.map(|ack| u64::from(ack.count)).sum();
                if count > 0 {
                    shared.acknowledge(count, through_scheduler);
                }
            }
            shared.acknowledged_by(group.iter().map(|ack| ack.batch.partition.get()));
            for ack in group.drain(..) {
                if outgoing.blocking_send(ack).is_err() {
                    return ledger;
                }
            }
        }
        ledger
    };
    let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(write);
    let thread = thread.map_err(|error| Error::Process(format!("no thread for the ledger: {error}")))?;
    Ok(Acks { received, synced, thread })
}

#[cfg(test)]
mod tests {
    use ids::PartitionId;

    use super::*;

    #[tokio::test]
    async fn an_acknowledgement_is_on_the_disk_before_it_is_passed_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("acks");
        let shared = Arc::new(Shared::new(1, 1, directory.path().to_owned()));
        let mut acks = spawn(Arc::clone(&shared), AckLedger::open(&path).expect("opened")).expect("a thread");
        let batch = BatchId::new(PartitionId::new(3).expect("in range"), 1, 9).expect("in range");
        let ack = Ack { kind: Kind::Pass, first_run: 40, count: 5, batch, first_index: 2 };
        acks.received.send(ack).await.expect("the thread runs");
        assert_eq!(acks.synced.recv().await, Some(ack));
        let written = std::fs::read_to_string(&path).expect("a file");
        assert_eq!(written, format!("{}\n", ack.line()));
        assert_eq!(Ack::count_of(written.trim_end()), Some(5));
        drop(acks.received);
        assert_eq!(acks.synced.recv().await, None);
    }
}
