//! Blocks that a store confirmed and lost, as a replica does that takes over without them.
//!
//! Invariants that the product is held to: while the owner lives, what it still holds is written again under the same ids
//! and as it was, and by the time at which it takes the partition anew it has counted exactly the rest. Executions with
//! records in the rest are *touched*: nothing is promised of them any more; of all others, everything. What is lost
//! together with its owner is lost for good, and counted here alone. What may fail: the product.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ids::{ExecutionId, PartitionId};
use journal::BlockId;

use crate::audit::Violation;
use crate::process::Process;
use crate::world::World;

/// What is missing of one log.
#[derive(Debug)]
struct Missing {
    owner: u32,
    blocks: BTreeMap<BlockId, Bytes>,
    /// Blocks that its owner had counted before.
    counted: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Losses {
    missing: BTreeMap<PartitionId, Missing>,
    touched: BTreeSet<ExecutionId>,
    /// Partitions that have lost blocks. What travelled beside these is lost, too: index entries of executions that are kept,
    /// among them. They are durable and go on; looking them up is promised again when the next owner has read the log.
    partitions: BTreeSet<PartitionId>,
    /// Blocks that were lost; of these: that were counted, and that were lost with their owner.
    pub counts: [u64; 3],
}

impl Losses {
    /// Whether every log that went back is mended.
    #[must_use]
    pub fn are_settled(&self) -> bool {
        self.missing.is_empty()
    }

    /// For people.
    #[must_use]
    pub fn what_is_missing(&self) -> String {
        let logs = self.missing.iter().map(|(partition, missing)| (partition, missing.blocks.keys()));
        format!("went back: {:?}", logs.collect::<Vec<_>>())
    }

    /// Whether a lost block had something of this execution.
    #[must_use]
    pub fn touch(&self, id: ExecutionId) -> bool {
        self.touched.contains(&id)
    }

    /// Whether an execution is found as ever: its partition has lost nothing.
    #[must_use]
    pub fn is_found(&self, id: ExecutionId) -> bool {
        !self.partitions.contains(&id.batch.partition)
    }

    /// Nothing is promised of this execution any more; `false` when that was so before.
    pub fn forgive(&mut self, id: ExecutionId) -> bool {
        self.touched.insert(id)
    }

    /// Whether a process has not yet mended a log.
    #[must_use]
    pub fn concern(&self, process: u32) -> bool {
        self.missing.values().any(|missing| missing.owner == process)
    }

    /// Whether this is a block that was lost and is written again.
    ///
    /// # Errors
    /// Another one stands where it was.
    pub fn is_mended(
        &mut self,
        (partition, id): (PartitionId, BlockId),
        bytes: &Bytes,
    ) -> Result<bool, Violation> {
        let Some(missing) = self.missing.get_mut(&partition) else { return Ok(false) };
        match missing.blocks.remove(&id) {
            Some(lost) if lost != *bytes => {
                Err(format!("block {id} of {partition} was confirmed and lost, and is another one now"))
            }
            lost => Ok(lost.is_some()),
        }
    }

    fn went_back(&mut self, partition: PartitionId, missing: Missing) {
        self.counts[0] += missing.blocks.len() as u64;
        self.missing.insert(partition, missing);
    }

    /// A process is gone: gives what is lost with it.
    pub fn owner_is_gone(&mut self, process: u32) -> Vec<Bytes> {
        let gone = self.missing.extract_if(.., |_, missing| missing.owner == process);
        let mut lost = Vec::new();
        for (partition, missing) in gone {
            // What travelled beside them is lost though they may have no records.
            self.partitions.extend((!missing.blocks.is_empty()).then_some(partition));
            lost.extend(missing.blocks.into_values());
        }
        self.counts[2] += lost.len() as u64;
        lost
    }

    /// A partition is taken: gives what is lost of it. Whoever has mended it says how many blocks it has counted until now.
    ///
    /// # Errors
    /// Its owner, who mends it, has counted something else.
    pub fn taken(
        &mut self,
        process: u32,
        partition: PartitionId,
        counted: Option<u64>,
    ) -> Result<Vec<Bytes>, Violation> {
        let Some(missing) = self.missing.remove(&partition) else { return Ok(Vec::new()) };
        let lost: Vec<Bytes> = missing.blocks.into_values().collect();
        self.partitions.extend((!lost.is_empty()).then_some(partition));
        let Some(counted) = counted.filter(|_| missing.owner == process) else {
            // It was given back before its owner could see that it went back.
            self.counts[2] += lost.len() as u64;
            return Ok(lost);
        };
        let told = counted - missing.counted;
        if told != lost.len() as u64 {
            let lost = lost.len();
            return Err(format!(
                "partition {partition} has lost {lost} blocks; its owner has counted {told}"
            ));
        }
        self.counts[1] += told;
        Ok(lost)
    }
}

impl World {
    /// A replica takes over that lacks some of the last blocks of a log. It has the mark of the present owner, who lives.
    pub(crate) fn fail_over(&mut self, group: usize) {
        let partitions = self.groups[group].partitions.clone();
        let partition = *self.rng.pick(&partitions);
        self.goes_back(partition);
    }

    /// As [`World::fail_over`], of this partition.
    pub(crate) fn goes_back(&mut self, partition: PartitionId) {
        let blocks = self.rng.between(1, self.options.replica_lacks);
        let owner = self.desk.with(|image| image.owner(partition).0);
        let Some(process) = self.processes.get(&owner).filter(|_| !self.healed) else { return };
        let lives = process.has(partition) && process.paused_until_us.is_none();
        if !lives || self.audit.losses.concern(owner) {
            return;
        }
        let counted = process.blocks_lost();
        let lost = self.desk.with(|image| image.go_back(partition, blocks));
        self.trace.note(self.now_us, "goes back", [u64::from(partition.get()), lost.len() as u64]);
        if !lost.is_empty() {
            let missing = Missing { owner, blocks: lost.into_iter().collect(), counted };
            self.audit.losses.went_back(partition, missing);
        }
    }

    /// Tells the audit who has taken partitions.
    pub(crate) fn look_who_has_taken_what(&mut self) -> Result<(), Violation> {
        for (caller, partition, mended) in self.desk.with(|image| std::mem::take(&mut image.acquired)) {
            let counted = self.processes.get(&caller).filter(|_| mended).map(Process::blocks_lost);
            self.audit.taken(caller, partition, counted)?;
        }
        Ok(())
    }
}
