//! The context object (`$$`): what all executions of a machine share, what one adds, and the object itself, built only
//! when something looks at it.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::sync::Arc;

use super::budget::Spent;
use super::effect::EffectId;
use super::failure::draw;
use super::redrive::Redrives;
use crate::path::{ContextSource, Scope};
use crate::program::Program;
use crate::timestamp::Timestamp;
use crate::value::{Map, Payload, Str, Value};
use crate::variables::Variables;

/// What all executions of a machine share. Made once for each machine (and shard, so that the count of its references is
/// not contended), then only read.
#[derive(Debug)]
pub struct Machine {
    /// What they run.
    pub program: Arc<Program>,
    /// `$$.StateMachine.Id`: the ARN or QRN.
    pub arn: Str,
    /// `$$.StateMachine.Name`
    pub name: Str,
    /// `$$.Execution.RoleArn`
    pub role_arn: Str,
    /// The longest an execution may run, in seconds, by its mode; the definition's `TimeoutSeconds` may be shorter.
    pub mode_timeout_seconds: u64,
    /// Events of the history at which an execution fails (25,000 for STANDARD). It is also what ends an endless loop, so
    /// it has a value for EXPRESS too. At most `u32::MAX - 16`.
    pub history_events_max: u64,
    /// Spells names; asked only when something looks at them.
    pub names: Box<dyn NameExecution>,
}

impl Machine {
    /// The region in the machine's ARN or QRN, empty where it has none.
    pub fn region(&self) -> &str {
        self.arn.split(':').nth(3).unwrap_or_default()
    }
}

/// What one execution adds. Everything else about it is spelt from this by [`NameExecution`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartContext {
    /// The node's id of the execution; its children have the same.
    pub key: [u64; 2],
    /// The caller's name, if there is one.
    pub name: Option<Arc<str>>,
    /// All randomness of the execution is drawn from this.
    pub seed: u64,
    /// Whether others have their turn before it enters its first state.
    pub waits: bool,
    /// Whether it keeps what it takes to be redriven, see [`super::Event::Redrive`]: only a replay needs to.
    pub keeps: bool,
    /// Which member of its family it is (see [`super::Family`]): its effects carry the number. 0 is the execution itself.
    pub member: u32,
}

/// Spells the names of a machine's executions. Most executions never look at their own, so they are made on demand.
pub trait NameExecution: fmt::Debug + Send + Sync {
    /// `$$.Execution.Id`: the ARN or QRN.
    fn arn(&self, start: &StartContext) -> Str;
    /// `$$.Execution.Name`
    fn name(&self, start: &StartContext) -> Str;
    /// The ARN of the Map Run whose child executions these are.
    fn map_run(&self) -> Option<&Str> {
        None
    }
    /// `$$.Task.Token` of a task that waits for one, or the text by which an activity's worker names its task.
    fn task_token(&self, start: &StartContext, task: EffectId) -> Str;
    /// Whether [`NameExecution::context`] gives another `$$` than the one that it is given.
    fn has_own_context(&self) -> bool {
        false
    }
    /// `$$`, where it is not the one that was made for the state.
    fn context(&self, made: Value) -> Value {
        made
    }
}

/// Names that are known beforehand: for a single execution, as in tests and local runs.
#[derive(Debug, Clone)]
pub struct FixedNames {
    /// `$$.Execution.Id`
    pub arn: Str,
    /// `$$.Execution.Name`
    pub name: Str,
}

impl NameExecution for FixedNames {
    fn arn(&self, _: &StartContext) -> Str {
        self.arn.clone()
    }

    fn name(&self, _: &StartContext) -> Str {
        self.name.clone()
    }

    fn task_token(&self, start: &StartContext, task: EffectId) -> Str {
        let [high, low] = start.key;
        ecow::eco_format!("{high:016x}{low:016x}{:016x}", task.0)
    }
}

/// What is true of the execution as a whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub machine: &'a Arc<Machine>,
    pub start: &'a StartContext,
    pub started_at: Timestamp,
    pub input: &'a Payload,
    pub redrives: Redrives,
}

/// An item, as an item selector sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapItem<'a> {
    pub index: u64,
    pub value: &'a Value,
    /// Of a member of an object.
    pub key: Option<&'a Str>,
    pub source: &'a str,
}

/// The context object as one state sees it, built when first asked for.
pub(super) struct Context<'a> {
    pub facts: Facts<'a>,
    pub state: &'a str,
    pub entered_at: Timestamp,
    /// For states that can be retried.
    pub retry_count: Option<u32>,
    /// For tasks that wait for a token, and activities.
    pub task: Option<EffectId>,
    /// Only while a Map's item selector is evaluated.
    pub item: Option<MapItem<'a>>,
    /// The instant of the event that is being handled.
    pub now: Timestamp,
    /// Draws of the execution so far.
    pub draws: &'a Cell<u64>,
    /// What this run has worked so far.
    pub spent: &'a Spent,
    /// What `$name` means.
    pub variables: Option<Arc<Variables>>,
    pub built: OnceCell<Box<Built>>,
}

/// The context object and its members, each built when first asked for: most who look want one of them.
#[derive(Default)]
pub(super) struct Built {
    whole: OnceCell<Value>,
    execution: OnceCell<Value>,
    machine: OnceCell<Value>,
    state: OnceCell<Value>,
    task: OnceCell<Value>,
    map: OnceCell<Value>,
}

impl ContextSource for Context<'_> {
    fn context(&self) -> &Value {
        self.built.get_or_init(Box::default).whole.get_or_init(|| self.build())
    }

    fn context_member(&self, name: &str) -> Option<&Value> {
        if self.facts.machine.names.has_own_context() {
            return self.context().as_object()?.get(name);
        }
        let built = self.built.get_or_init(Box::default);
        match name {
            "Execution" => Some(built.execution.get_or_init(|| self.execution())),
            "StateMachine" => Some(built.machine.get_or_init(|| self.machine())),
            "State" => Some(built.state.get_or_init(|| self.state())),
            "Task" => self.task.map(|task| built.task.get_or_init(|| self.task(task))),
            "Map" => self.item.map(|item| built.map.get_or_init(|| map(item))),
            _ => None,
        }
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn draw(&self) -> u64 {
        let number = self.draws.get();
        self.draws.set(number + 1);
        draw(self.facts.start.seed.rotate_left(32), number)
    }

    fn spend(&self, units: u64) {
        self.spent.spend(units);
    }

    fn fuel(&self) -> u64 {
        self.spent.fuel()
    }
}

impl Context<'_> {
    /// What an expression sees that is evaluated on this input.
    pub fn scope<'s>(&'s self, input: &'s Value) -> Scope<'s> {
        Scope { variables: self.variables.as_deref(), ..Scope::new(input, self) }
    }

    fn build(&self) -> Value {
        let mut context = Map::with_capacity(5);
        context.insert("Execution", self.execution());
        context.insert("StateMachine", self.machine());
        context.insert("State", self.state());
        if let Some(task) = self.task {
            context.insert("Task", self.task(task));
        }
        if let Some(item) = self.item {
            context.insert("Map", map(item));
        }
        self.facts.machine.names.context(Value::from(context))
    }

    fn execution(&self) -> Value {
        let Facts { machine, start, started_at, input, redrives } = self.facts;
        let members = [
            ("Id", Value::from(machine.names.arn(start))),
            ("Input", input.value().clone()),
            ("StartTime", time(started_at)),
            ("Name", Value::from(machine.names.name(start))),
            ("RoleArn", Value::from(machine.role_arn.clone())),
            ("RedriveCount", Value::from(i64::from(redrives.count))),
        ];
        let redriven = redrives.at.map(|at| ("RedriveTime", time(at)));
        Value::from(members.into_iter().chain(redriven).collect::<Map>())
    }

    fn machine(&self) -> Value {
        let machine = self.facts.machine;
        Value::object([("Id", machine.arn.clone().into()), ("Name", machine.name.clone().into())])
    }

    fn state(&self) -> Value {
        let mut state = Map::with_capacity(3);
        state.insert("Name", Value::from(self.state));
        state.insert("EnteredTime", time(self.entered_at));
        if let Some(retries) = self.retry_count {
            state.insert("RetryCount", Value::from(i64::from(retries)));
        }
        Value::from(state)
    }

    fn task(&self, task: EffectId) -> Value {
        let Facts { machine, start, .. } = self.facts;
        Value::object([("Token", Value::from(machine.names.task_token(start, task)))])
    }
}

fn map(item: MapItem<'_>) -> Value {
    let MapItem { index, value, key, source } = item;
    let mut item = Map::with_capacity(4);
    item.insert("Index", Value::from(index));
    if let Some(key) = key {
        item.insert("Key", Value::from(key.clone()));
    }
    item.insert("Value", value.clone());
    item.insert("Source", Value::from(source));
    Value::object([("Item", Value::from(item))])
}

fn time(at: Timestamp) -> Value {
    Value::from(at.to_text())
}
