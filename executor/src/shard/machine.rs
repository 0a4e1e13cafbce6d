//! The machines that a shard runs, and the seam to the language core.
//!
//! Invariants: a machine is looked up once per batch, not once per execution; the table is bounded, what has no open
//! execution may be forgotten and made again; an execution's ARN is spelt, and a task's token sealed, only when its definition
//! looks at it. What may fail: an ARN that is none.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use asl::history::{NoObserver, Observer};
use asl::{
    Dialect, Effect, EffectId, Event, Family, NameExecution, Payload, Program, StartContext, Str, Timestamp,
};
use ids::{BatchId, ExecutionId, IdError, MachineName, Mode, PartitionId};
use journal::block::MachineRef;
use journal::{BlockBuilder, Derived, index};
use telemetry::{MachineMetrics, ShardMetrics};

use super::observe::{StateCells, cells_of};
use super::token::TaskToken;
use crate::limits;
use crate::secret::ClusterSecret;

/// A machine with everything its executions share.
#[derive(Debug)]
pub struct Machine {
    pub key: MachineRef,
    pub name: MachineName,
    /// Its ARN or QRN, for those whom its executions' histories and traces are told.
    pub told_as: Arc<str>,
    pub metrics: Arc<MachineMetrics>,
    /// Of its states, by their places.
    pub cells: Box<[StateCells]>,
    /// The language core's part.
    core: Arc<asl::Machine>,
    /// Its index in the block that is being built, and which block that is.
    in_block: Cell<(u64, u32)>,
}

/// Spells the names of a machine's executions, and seals the tokens of their tasks.
struct Names {
    machine: MachineName,
    mode: Mode,
    secret: Arc<ClusterSecret>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Names({})", self.machine)
    }
}

impl NameExecution for Names {
    fn arn(&self, start: &StartContext) -> Str {
        let Some(id) = id_of(start.key) else { return Str::new() };
        let generated = id.to_string();
        let name = start.name.as_deref().unwrap_or(&generated);
        self.machine.execution(self.mode, name, id).into()
    }

    fn name(&self, start: &StartContext) -> Str {
        match &start.name {
            Some(name) => (&**name).into(),
            None => id_of(start.key).map(|id| id.to_string()).unwrap_or_default().into(),
        }
    }

    fn task_token(&self, start: &StartContext, task: EffectId) -> Str {
        let Some(id) = id_of(start.key) else { return Str::new() };
        // Whoever has reached the store, which every execution comes from, has the secret.
        self.secret.with(|secret| TaskToken::of_callback(id, task).seal_text(secret)).unwrap_or_default()
    }
}

/// The id as the language core keeps it.
pub(super) fn key_of(id: ExecutionId) -> [u64; 2] {
    let batch = id.batch;
    let high = u64::from(batch.partition.get()) << 32 | u64::from(batch.incarnation);
    [high, batch.sequence() << 8 | u64::from(id.index)]
}

/// The id of a key that [`key_of`] made.
pub(super) fn id_of([high, low]: [u64; 2]) -> Option<ExecutionId> {
    let partition = PartitionId::new(u32::try_from(high >> 32).ok()?).ok()?;
    let batch = BatchId::new(partition, high as u32, low >> 8).ok()?;
    Some(batch.execution(low as u8))
}

/// What tells one execution of a machine from another.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    pub id: ExecutionId,
    /// The caller's.
    pub name: Option<&'a str>,
    pub seed: u64,
    pub start_time_ms: u64,
    /// Whether others have their turn before it enters its first state.
    pub waits: bool,
    /// Whether it keeps what it takes to be redriven.
    pub keeps: bool,
}

/// A Unix time as the language counts it.
#[must_use]
pub fn timestamp_of_ms(unix_ms: u64) -> Timestamp {
    Timestamp(i64::try_from(unix_ms).unwrap_or(i64::MAX))
}

/// The millisecond at which a timer is due; instants before 1970 are due at once.
#[must_use]
pub fn ms_of(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0)
}

/// The dialect of a record's byte.
#[must_use]
pub fn dialect_of(byte: u8) -> Dialect {
    if byte == 1 { Dialect::Tcsl } else { Dialect::Asl }
}

impl Machine {
    /// A machine that is counted nowhere, for a replay.
    ///
    /// # Errors
    /// [`IdError::Name`] when its ARN is none.
    pub fn alone(
        key: MachineRef,
        program: Arc<Program>,
        secret: &Arc<ClusterSecret>,
    ) -> Result<Self, IdError> {
        Self::new(key, program, secret, Arc::default)
    }

    fn new(
        key: MachineRef,
        program: Arc<Program>,
        secret: &Arc<ClusterSecret>,
        metrics: impl FnOnce() -> Arc<MachineMetrics>,
    ) -> Result<Self, IdError> {
        let name = MachineName::parse(&key.arn)?;
        let standard = key.mode == Mode::Standard;
        let (mode_timeout_seconds, history_events_max) = if standard {
            (limits::STANDARD_SECONDS_MAX, limits::STANDARD_HISTORY_EVENTS_MAX)
        } else {
            (limits::EXPRESS_SECONDS_MAX, limits::EXPRESS_HISTORY_EVENTS_MAX)
        };
        let core = Arc::new(asl::Machine {
            program,
            arn: key.arn.as_str().into(),
            name: name.name().into(),
            role_arn: key.role_arn.as_str().into(),
            mode_timeout_seconds,
            history_events_max,
            names: Box::new(Names { machine: name.clone(), mode: key.mode, secret: Arc::clone(secret) }),
        });
        let (told_as, metrics, cells) = (key.arn.as_str().into(), metrics(), Box::default());
        Ok(Self { key, name, told_as, metrics, cells, core, in_block: Cell::new((0, 0)) })
    }

    /// Whether outcomes are journalled.
    #[must_use]
    pub fn is_standard(&self) -> bool {
        self.key.mode == Mode::Standard
    }

    /// Its own ARN or QRN, and that of its role; empty where it has none.
    #[must_use]
    pub fn arns(&self) -> (Str, Str) {
        (self.core.arn.clone(), self.core.role_arn.clone())
    }

    /// What it runs.
    #[must_use]
    pub fn program(&self) -> &Arc<Program> {
        &self.core.program
    }

    /// What finds an execution by the name that its caller gave it; only STANDARD names are looked up.
    #[must_use]
    pub fn name_entry(&self, name: Option<&str>, id: ExecutionId, ttl: Duration) -> Option<Derived> {
        let name = name.filter(|_| self.is_standard())?;
        Some(index::name_entry(self.name.execution_segment(), name, id, ttl))
    }

    /// Starts an execution, whose children will run where it does. Its time is the one at which its start was accepted,
    /// live as in a replay.
    pub fn begin(
        &self,
        beginning: &Beginning<'_>,
        input: Payload,
        effects: &mut Vec<Effect>,
        observer: &mut impl Observer,
    ) -> Family {
        let start = StartContext {
            key: key_of(beginning.id),
            name: beginning.name.map(Into::into),
            seed: beginning.seed,
            waits: beginning.waits,
            keeps: beginning.keeps,
            ..StartContext::default()
        };
        let now = timestamp_of_ms(beginning.start_time_ms);
        Family::start(&self.core, start, input, now, effects, observer)
    }

    /// Its index in the block under construction. `serial` names the block within the shard, so that the table is asked
    /// once per block.
    pub fn index_in(&self, builder: &mut BlockBuilder, serial: u64) -> u32 {
        let (known, index) = self.in_block.get();
        if known == serial {
            return index;
        }
        let index = builder.machine(&self.key);
        self.in_block.set((serial, index));
        index
    }
}

/// The machines of a shard.
#[derive(Debug)]
pub struct Machines {
    known: HashMap<MachineRef, Rc<Machine>, foldhash::fast::RandomState>,
    secret: Arc<ClusterSecret>,
}

impl Machines {
    /// None yet. The secret seals the tokens of their tasks.
    #[must_use]
    pub fn new(secret: Arc<ClusterSecret>) -> Self {
        Self { known: HashMap::default(), secret }
    }

    /// A machine that was seen before.
    #[must_use]
    pub fn get(&self, key: &MachineRef) -> Option<Rc<Machine>> {
        self.known.get(key).map(Rc::clone)
    }

    /// A machine seen for the first time.
    ///
    /// # Errors
    /// [`IdError::Name`] when its ARN is none.
    pub fn add(
        &mut self,
        key: MachineRef,
        program: Arc<Program>,
        metrics: &ShardMetrics,
    ) -> Result<Rc<Machine>, IdError> {
        if self.known.len() >= limits::SHARD_MACHINES_MAX {
            self.known.retain(|_, machine| Rc::strong_count(machine) > 1);
        }
        let mut machine = Machine::new(key.clone(), program, &self.secret, || metrics.machine(&key.arn))?;
        machine.cells = cells_of(machine.program(), &machine.metrics);
        let machine = Rc::new(machine);
        self.known.insert(key, Rc::clone(&machine));
        Ok(machine)
    }
}

/// Tells an execution something while nobody looks. A replay of the same events by the same function gives the same effects.
pub fn handle_unobserved(execution: &mut Family, event: Event, now: Timestamp, effects: &mut Vec<Effect>) {
    execution.handle(event, now, effects, &mut NoObserver);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_language_core() {
        let partition = PartitionId::new(1_023).expect("in range");
        let id = BatchId::new(partition, u32::MAX, (1 << 40) - 1).expect("in range").execution(255);
        assert_eq!(id_of(key_of(id)), Some(id));
    }
}
