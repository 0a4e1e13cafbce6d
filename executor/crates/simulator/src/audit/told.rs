//! What leaves a process, held against the log.
//!
//! Invariant: nobody is told what is not durable, and no task leaves twice that may leave once. What may fail: the product.

use super::*;

/// The execution that a mark of an input stands for, unless that is a name.
fn id_of_mark(mark: &str) -> Option<ExecutionId> {
    let mut numbers = mark.strip_prefix('p')?.split('.').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let partition = PartitionId::new(u32::try_from(next()?).ok()?).ok()?;
    let batch = BatchId::new(partition, u32::try_from(next()?).ok()?, next()?).ok()?;
    Some(batch.execution(u8::try_from(next()?).ok()?))
}

impl Audit {
    /// Somebody is told that an execution is accepted.
    ///
    /// # Errors
    /// It is not durable.
    pub fn acknowledge(&mut self, id: ExecutionId) -> Result<(), Violation> {
        if !self.known.contains_key(&id) {
            return Err(format!("{id} was acknowledged, and is not in the log"));
        }
        self.acknowledged.insert(id);
        Ok(())
    }

    /// A process tells its watchers how an execution has ended.
    ///
    /// # Errors
    /// That is not durable, or not what the log says, or was told before.
    pub fn completed(
        &mut self,
        process: u32,
        id: ExecutionId,
        status: v1::ExecutionStatus,
    ) -> Result<(), Violation> {
        if self.losses.touch(id) {
            return Ok(());
        }
        let known = self.known.get(&id);
        let mut ends = known.into_iter().flat_map(Known::ends);
        if !ends.any(|(durable, _)| v1::ExecutionStatus::from(*durable) == status) {
            return Err(format!("watchers were told that {id} is {status:?}; the log says {known:?}"));
        }
        let redrives = known.map_or(0, |known| known.past.len());
        if !self.told.insert((process, id, redrives)) {
            return Err(format!("process {process} told its watchers twice of the end of {id}"));
        }
        Ok(())
    }

    /// A process tells a watcher the outcome of an execution.
    ///
    /// # Errors
    /// It is not what the log says.
    pub fn outcome(&self, id: ExecutionId, output: Option<&Bytes>) -> Result<(), Violation> {
        let mut ends = self.known.get(&id).into_iter().flat_map(Known::ends);
        let same = |(status, payload): &(Status, Bytes)| match output {
            Some(output) => *status == Status::Succeeded && payload == output,
            None => *status != Status::Succeeded,
        };
        if ends.any(same) || self.losses.touch(id) {
            return Ok(());
        }
        Err(format!("watchers were told another outcome of {id} than the log has"))
    }

    /// A process gives a task to a worker.
    ///
    /// `stale_us`: how long ago another one has taken the partition, by the clock of a process that is no longer its owner.
    ///
    /// A process cannot know that it was followed before it asks the store, and asks before it hands out anything when it
    /// has not heard from the store for a lease ([`executor::limits::LEASE`]). What the store has confirmed to it, it has
    /// confirmed before another one took the partition. So for a lease from then a repeated hand-out cannot be helped: the
    /// outcome was journalled by an owner of which this one does not know. It is counted. At any other time, and by the
    /// owner, which has read that outcome in the log, it is a failure.
    ///
    /// # Errors
    /// The log has the task's outcome, and the process owns the log or should have asked whether it does.
    pub fn given_out(&mut self, input: &[u8], process: u32, stale_us: Option<u64>) -> Result<(), Violation> {
        let Some(key) = task_key(input) else { return Err("a task without its key".to_owned()) };
        self.given_out_once(&key, process)?;
        let outcome_of = self.outcomes.get(&key);
        if outcome_of.is_none_or(|id| self.losses.touch(*id)) {
            return Ok(());
        }
        let lease_us = executor::limits::LEASE.as_micros() as u64;
        if stale_us.is_none_or(|stale_us| stale_us > lease_us) {
            return Err(format!(
                "task {key} was given out again, though its outcome is in the log: stale for {stale_us:?} us"
            ));
        }
        self.stale_tasks += 1;
        Ok(())
    }

    /// A task of a synchronous execution is given out by the process that began it, and by no other one.
    fn given_out_once(&mut self, key: &str, process: u32) -> Result<(), Violation> {
        let mark = key.split('/').next().unwrap_or_default();
        let Some(id) = id_of_mark(mark).filter(|id| !self.losses.touch(*id)) else { return Ok(()) };
        let machine = self.batches.get(&id.batch).and_then(|(batch, _)| {
            batch.machines.get(*batch.machine_index.get(usize::from(id.index))? as usize)
        });
        if machine.is_none_or(|machine| machine.mode() != v1::Mode::SyncExpress) {
            return Ok(());
        }
        let first = *self.sync.entry(mark.to_owned()).or_insert(process);
        if first == process {
            return Ok(());
        }
        Err(format!("task {key} of a synchronous execution was given out by process {first} and {process}"))
    }

    /// What somebody is told who asks for an execution.
    ///
    /// # Errors
    /// A status that the log does not have.
    pub fn described(&self, id: ExecutionId, status: v1::ExecutionStatus) -> Result<(), Violation> {
        let known = self.known.get(&id);
        let mut durable = known.into_iter().flat_map(Known::ends);
        let ended = status != v1::ExecutionStatus::Running;
        let is_durable = durable.any(|(durable, _)| v1::ExecutionStatus::from(*durable) == status);
        if ended && !is_durable && !self.losses.touch(id) {
            let durable = known.and_then(|known| known.end.as_ref());
            return Err(format!("{id} was described as {status:?}; the log says {durable:?}"));
        }
        Ok(())
    }
}
