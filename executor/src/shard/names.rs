//! Names that callers gave to STANDARD executions: who holds a name now.
//!
//! As in Step Functions: a start of a name whose execution runs with the same input, byte for byte, is answered with that
//! execution; with another input, or once it has ended, it is refused as `ExecutionAlreadyExists`. Inputs are compared by
//! SHA-256, for an open execution no longer has its input; after a recovery the log gives it again.
//!
//! The owner of a name's partition is its only writer and decides. Invariants: a name is held from the moment its start is
//! taken until its entry beside the log is certain to be found, and somewhat longer, so that no start falls between the
//! memory and the store; an execution whose name was given to another one since is not redriven. Bounded by admission and by time. What may fail: asking the store, and then the batch is refused
//! until it answers. A name is unique within its partition: dispatchers send it where [`ids::partition_of_name`] says.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use ids::{ExecutionId, PartitionId};
use journal::{Opened, Store, StoreError, index};
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::answer::refusal;
use super::core::{Landed, Shard};
use super::machine::Machine;
use super::start::Taken;
use super::validate;

/// How long a name stays in memory after its end is durable.
const LINGER_MS: u64 = 30_000;

/// Who has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub id: ExecutionId,
    /// SHA-256 of its input while it runs.
    input: Option<[u8; 32]>,
}

impl Holder {
    /// Somebody who has ended.
    #[must_use]
    pub fn ended(id: ExecutionId) -> Self {
        Self { id, input: None }
    }

    /// Whether a start with this input is answered with the holder.
    #[must_use]
    pub fn runs_with(&self, input: &[u8]) -> bool {
        self.input.is_some_and(|own| own == <[u8; 32]>::from(Sha256::digest(input)))
    }
}

/// The names of one shard.
#[derive(Debug, Default)]
pub struct Names {
    held: HashMap<String, Holder, foldhash::fast::RandomState>,
    lingering: VecDeque<(u64, String, ExecutionId)>,
}

fn key(machine: &str, name: &str) -> String {
    // Neither may contain a slash.
    [machine, "/", name].concat()
}

impl Names {
    /// Who holds the name, if that is known in memory.
    #[must_use]
    pub fn holder(&self, machine: &str, name: &str) -> Option<Holder> {
        if self.held.is_empty() {
            return None;
        }
        self.held.get(&key(machine, name)).copied()
    }

    /// Gives a name to an execution that begins with this input.
    pub fn hold(&mut self, machine: &str, name: &str, id: ExecutionId, input: &[u8]) {
        let input = Some(Sha256::digest(input).into());
        self.held.insert(key(machine, name), Holder { id, input });
    }

    /// The holder's end is durable: the store knows from now on.
    pub fn ended(&mut self, machine: &str, name: &str, id: ExecutionId, now_ms: u64) {
        let key = key(machine, name);
        self.held.insert(key.clone(), Holder::ended(id));
        self.lingering.push_back((now_ms + LINGER_MS, key, id));
    }

    /// Forgets the names of executions that do not exist any more.
    pub fn forget_holders(&mut self, lost: &HashSet<ExecutionId>) {
        if !lost.is_empty() {
            self.held.retain(|_, holder| !lost.contains(&holder.id));
        }
    }

    /// Forgets the names of a partition: its next owner knows them.
    pub fn forget_partition(&mut self, partition: PartitionId) {
        self.held.retain(|_, holder| holder.id.batch.partition != partition);
        self.lingering.retain(|(_, _, id)| id.batch.partition != partition);
    }

    /// Forgets what has lingered long enough: the store knows for how much longer it is taken.
    pub fn forget(&mut self, now_ms: u64) {
        while let Some((until_ms, ..)) = self.lingering.front()
            && *until_ms <= now_ms
            && let Some((_, key, id)) = self.lingering.pop_front()
        {
            if self.held.get(&key) == Some(&Holder::ended(id)) {
                self.held.remove(&key);
            }
        }
    }
}

/// Whom the store gives an execution's name to, if to another one since.
pub(super) async fn other_holder(
    store: &dyn Store,
    machine: &Machine,
    opened: &Opened,
) -> Result<Option<ExecutionId>, StoreError> {
    let Some(name) = opened.name.as_deref() else { return Ok(None) };
    let (segment, partition) = (machine.name.execution_segment(), opened.id.batch.partition);
    let holder = index::lookup_name(store, partition, segment, name).await?;
    Ok(holder.filter(|holder| *holder != opened.id))
}

impl Shard {
    /// Whom memory gives an execution's name to, if to another one since.
    pub(super) fn other_holder(&self, machine: &Machine, opened: &Opened) -> Option<ExecutionId> {
        let holder = self.names.holder(machine.name.execution_segment(), opened.name.as_deref()?)?;
        Some(holder.id).filter(|holder| *holder != opened.id)
    }

    /// Asks the store which names of a batch are taken; the batch is started when it has answered.
    pub(super) fn check_names(
        &mut self,
        log: usize,
        machines: &[(Rc<Machine>, u32)],
        batch: v1::StartBatch,
        acks: &mpsc::Sender<v1::StartAck>,
    ) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let mut asked = Vec::new();
        for (at, name) in batch.name.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let machine = batch.machine_index.get(at).map_or(0, |index| *index as usize);
            if let Some((machine, _)) = machines.get(machine).filter(|(machine, _)| machine.is_standard()) {
                asked.push((at, machine.name.execution_segment().to_owned(), name.clone()));
            }
        }
        let (partition, tenure) = (self.logs[log].partition, self.logs[log].tenure);
        let (acks, batch) = (acks.clone(), Box::new(batch));
        self.loading += 1;
        self.flights.push(Box::pin(async move {
            let store = &*store;
            let answers = asked.iter().map(async |(at, machine, name)| {
                let holder = index::lookup_name(store, partition, machine, name).await?;
                Ok(holder.map(|holder| (*at, holder)))
            });
            let result = futures_util::future::try_join_all(answers).await;
            let result = result.map(|holders: Vec<Option<_>>| holders.into_iter().flatten().collect());
            Landed::NamesChecked { tenure, batch, acks, result }
        }));
    }

    /// The store has answered.
    pub(super) fn names_checked(
        &mut self,
        tenure: u64,
        batch: v1::StartBatch,
        acks: &mpsc::Sender<v1::StartAck>,
        result: Result<Taken, StoreError>,
    ) {
        self.loading -= 1;
        match result {
            Ok(taken) => {
                let partition = validate::id(&batch).map(|id| id.partition);
                let log = partition.ok().and_then(|partition| self.log_at(partition));
                // Another owner may have given a name since it was asked for.
                let taken = log.filter(|log| self.lasts(*log, tenure)).map(|_| taken);
                self.start_checked(batch, acks, taken);
            }
            Err(error) => {
                let all = (0, batch.input.len() as u32);
                let refusal = refusal(Reason::StoreUnavailable, "StoreUnavailable", error.to_string());
                let retry_after_ms = self.admission.retry_after_ms();
                self.refuse(acks, batch.id, all, v1::StartRefusal { retry_after_ms, ..refusal });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ids::{BatchId, PartitionId};

    use super::*;

    fn id(index: u8) -> ExecutionId {
        BatchId::new(PartitionId::new(0).expect("in range"), 1, 1).expect("in range").execution(index)
    }

    #[test]
    fn a_name_is_held_until_a_while_after_its_end() {
        let mut names = Names::default();
        names.hold("orders", "monday", id(0), b"1");
        assert_eq!(names.holder("orders", "monday").map(|holder| holder.id), Some(id(0)));
        assert_eq!(names.holder("orders", "tuesday"), None);
        names.ended("orders", "monday", id(0), 1_000);
        names.forget(1_000 + LINGER_MS - 1);
        assert_eq!(names.holder("orders", "monday"), Some(Holder::ended(id(0))));
        names.forget(1_000 + LINGER_MS);
        assert_eq!(names.holder("orders", "monday"), None);
    }

    #[test]
    fn only_what_runs_with_the_very_same_input_answers_for_its_name() {
        let mut names = Names::default();
        names.hold("orders", "monday", id(0), b"{}");
        let holder = names.holder("orders", "monday").expect("held");
        assert!(holder.runs_with(b"{}") && !holder.runs_with(b"{ }"));
        names.ended("orders", "monday", id(0), 1_000);
        assert!(!names.holder("orders", "monday").expect("lingers").runs_with(b"{}"));
    }
}
