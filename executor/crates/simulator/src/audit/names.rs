//! Names: who is told that one is taken, or given to an execution that runs.
//!
//! Invariant that the product is held to: whoever is refused a name, or answered with an execution that has it, is so
//! because there is such an execution, and it is another one. A refusal may come before that one is durable: it is counted.
//! What may fail: the product.

use super::*;

/// What was asked for: the machine, the name and the input of a start.
struct Asked<'a> {
    arn: &'a str,
    name: &'a str,
    input: &'a Bytes,
}

impl Audit {
    fn asked(&self, id: ExecutionId) -> Option<Asked<'_>> {
        let (batch, _) = self.batches.get(&id.batch)?;
        let at = usize::from(id.index);
        let machine = batch.machines.get(*batch.machine_index.get(at)? as usize)?;
        let (name, input) = (batch.name.get(at)?, batch.input.get(at)?);
        Some(Asked { arn: &machine.arn, name, input })
    }

    /// A start is refused for its name.
    ///
    /// # Errors
    /// Nobody else has it.
    pub fn name_refused(&mut self, id: ExecutionId) -> Result<(), Violation> {
        let Some(Asked { arn, name, .. }) = self.asked(id) else { return Ok(()) };
        let holder = self.names.get(&(arn.to_owned(), name.to_owned()));
        if holder.is_some_and(|holder| *holder != id) || !self.losses.is_found(id) {
            return Ok(());
        }
        let (partition, holder) = (id.batch.partition, holder.copied());
        let others = self.batches.keys().filter(|batch| batch.partition == partition);
        let starts = others.flat_map(|batch| (0..=u8::MAX).map(|index| batch.execution(index)));
        let mut unknown = starts.filter(|other| *other != id && !self.known.contains_key(other));
        if unknown.any(|other| self.asked(other).is_some_and(|asked| (asked.arn, asked.name) == (arn, name)))
        {
            self.refused_early += 1;
            return Ok(());
        }
        Err(format!("{id} was refused, for another has the name {name:?} of {arn}; the log has {holder:?}"))
    }

    /// A start is answered with an execution that runs.
    ///
    /// # Errors
    /// That has another name, machine or input, or is the very one that is started.
    pub fn runs_already(&self, id: ExecutionId, running: ExecutionId) -> Result<(), Violation> {
        let (Some(asked), Some(other)) = (self.asked(id), self.asked(running)) else {
            return Err(format!("{id} was answered with {running}, which nobody started"));
        };
        let same = asked.arn == other.arn && asked.name == other.name && asked.input == other.input;
        if same && id != running {
            return Ok(());
        }
        Err(format!("{id} was answered with {running}, which is another start"))
    }
}
