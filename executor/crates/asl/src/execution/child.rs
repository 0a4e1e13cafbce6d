//! Child executions of a distributed Map, as their parent asks for them and hears of them.
//!
//! Purpose: a child is an execution of its own, so all that it takes to run one is data: the machine that it runs, what it
//! adds to that, its input. Who runs it, and where, is not the core's to say (see [`super::Family`]). Invariant: names and
//! seeds of children are drawn from the parent's seed, so that a replay gives the same ones. Nothing here fails.

use std::sync::Arc;

use super::context::{Machine, NameExecution, StartContext};
use super::effect::{EffectId, Outcome};
use super::failure::draw;
use crate::map::uuid;
use crate::program::{Distributed, ExecutionType};
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str};

/// The longest an EXPRESS child may run, in seconds.
const EXPRESS_CHILD_SECONDS: u64 = 300;

/// A child execution that is to be run.
#[derive(Debug, Clone)]
pub struct ChildStart {
    /// What all children of a Map Run share.
    pub machine: Arc<Machine>,
    /// What this one adds. Its member is for whoever runs it to say.
    pub start: StartContext,
    /// Its input.
    pub input: Payload,
}

/// Machines of children are told apart by their ARNs, which name the Map.
impl PartialEq for ChildStart {
    fn eq(&self, other: &Self) -> bool {
        self.machine.arn == other.machine.arn && self.start == other.start && self.input == other.input
    }
}

/// A child execution that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildEnded {
    /// The effect that asked for it.
    pub id: EffectId,
    /// How it ended.
    pub outcome: Outcome,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Timestamp,
}

/// The names of a Map's children.
#[derive(Debug)]
struct ChildNames {
    /// Their ARN up to the name.
    arn: Str,
    execution_type: ExecutionType,
    /// The ARN of their Map Run.
    run: Str,
    /// The machine around them.
    parent: Arc<Machine>,
}

impl NameExecution for ChildNames {
    fn arn(&self, start: &StartContext) -> Str {
        let name = self.name(start);
        match self.execution_type {
            ExecutionType::Standard => ecow::eco_format!("{}:{name}", self.arn),
            ExecutionType::Express => ecow::eco_format!("{}:{name}:{name}", self.arn),
        }
    }

    fn name(&self, start: &StartContext) -> Str {
        // Effects count from 1, so that nothing else is drawn with this number.
        uuid(draw(start.seed, 0), draw(!start.seed, 0))
    }

    fn map_run(&self) -> Option<&Str> {
        Some(&self.run)
    }

    /// A token leads to the execution that is known outside; the effect leads on to the child.
    fn task_token(&self, start: &StartContext, task: EffectId) -> Str {
        self.parent.names.task_token(start, task)
    }
}

impl Machine {
    /// What the children of a Map Run of one of its distributed Maps run.
    pub(super) fn of_children(self: &Arc<Self>, distributed: &Distributed, run: &Str) -> Arc<Self> {
        let Distributed { program, label, execution_type, .. } = distributed;
        let (kind, mode_timeout_seconds) = match execution_type {
            ExecutionType::Standard => (":execution:", self.mode_timeout_seconds),
            ExecutionType::Express => (":express:", self.mode_timeout_seconds.min(EXPRESS_CHILD_SECONDS)),
        };
        let arn = self.arn.replacen(":stateMachine:", kind, 1);
        Arc::new(Self {
            program: Arc::clone(program),
            arn: ecow::eco_format!("{}/{label}", self.arn),
            name: self.name.clone(),
            role_arn: self.role_arn.clone(),
            mode_timeout_seconds,
            history_events_max: self.history_events_max,
            names: Box::new(ChildNames {
                arn: ecow::eco_format!("{arn}/{label}"),
                execution_type: *execution_type,
                run: run.clone(),
                parent: Arc::clone(self),
            }),
        })
    }
}
