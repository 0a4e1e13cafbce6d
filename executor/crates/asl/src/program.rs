//! What a definition compiles to: immutable, shared by content hash, and cheap to step.
//!
//! Invariants: every index is valid for its graph; every path, template and condition is compiled; nothing
//! here is looked up by name at run time. Built only by [`crate::definition`].

use std::sync::Arc;

use crate::condition::Condition;
use crate::intrinsic::Intrinsic;
use crate::jsonata::Expression;
use crate::map::{ItemBatcher, ItemReader, ResultWriter};
use crate::path::{Path, ReferencePath};
use crate::template::Template;
use crate::timestamp::Timestamp;
use crate::value::{Str, Value};

/// Which language a definition is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// The Amazon States Language, as Step Functions runs it.
    #[default]
    Asl,
    /// Tencent's dialect, as ASW runs it.
    Tcsl,
}

/// A compiled definition.
#[derive(Debug)]
pub struct Program {
    /// The dialect it was compiled as.
    pub dialect: Dialect,
    /// SHA-256 of the bytes of the definition, also where this is a part of it.
    pub hash: [u8; 32],
    /// `TimeoutSeconds` of the machine.
    pub timeout_seconds: Option<u64>,
    /// The top-level states.
    pub root: Arc<Graph>,
    /// Whether a distributed Map is in it, at any depth, so that it may ask for child executions.
    pub has_children: bool,
}

impl Program {
    /// Its states with those in branches and Maps, also distributed ones: their names and places are its own.
    #[must_use]
    pub fn states(&self) -> Vec<&State> {
        let (mut states, mut graphs) = (Vec::new(), vec![&self.root]);
        while let Some(graph) = graphs.pop() {
            for state in &graph.states {
                states.push(state);
                match &state.kind {
                    Kind::Parallel { branches } => graphs.extend(branches),
                    Kind::Map(map) => graphs.push(&map.processor),
                    _ => {}
                }
            }
        }
        states
    }
}

/// Index of a state in its graph.
pub type StateIndex = u16;

/// A `States` object: the machine's, a branch's or an item processor's.
#[derive(Debug)]
pub struct Graph {
    /// `StartAt`.
    pub start: StateIndex,
    /// In the order of the definition.
    pub states: Box<[State]>,
}

impl Graph {
    /// As deep as the definition nests Parallel and Map states.
    pub(crate) fn has_children(&self) -> bool {
        self.states.iter().any(|state| match &state.kind {
            Kind::Parallel { branches } => branches.iter().any(|branch| branch.has_children()),
            Kind::Map(map) => map.distributed.is_some() || map.processor.has_children(),
            _ => false,
        })
    }
}

/// A state.
#[derive(Debug)]
pub struct State {
    /// Its name, unique in the machine.
    pub name: Str,
    /// Its number, unique in the machine too and small: for whoever keeps something for each state.
    pub place: u32,
    /// What it does.
    pub kind: Kind,
    /// How its data flow.
    pub flow: DataFlow,
    /// `Assign`; of a Choice, for when no rule matches.
    pub assign: Option<Template>,
    /// What follows. [`Next::Nothing`] for Choice, Succeed and Fail.
    pub next: Next,
    /// `Retry`, for Task, Parallel and Map.
    pub retry: Box<[Retrier]>,
    /// `Catch`, for Task, Parallel and Map.
    pub catch: Box<[Catcher]>,
}

impl State {
    /// A state that is never left: stands for the others where one state is tested alone.
    pub(crate) fn parked(name: Str) -> Self {
        let flow = JsonPathFlow {
            input_path: Selection::Whole,
            parameters: None,
            result_selector: None,
            result_path: ResultPath::Replace,
            output_path: Selection::Whole,
        };
        Self {
            name,
            place: 0,
            kind: Kind::Wait(Wait::Seconds(Dynamic::Constant(u64::from(u32::MAX)))),
            flow: DataFlow::JsonPath(flow),
            assign: None,
            next: Next::End,
            retry: Box::default(),
            catch: Box::default(),
        }
    }
}

/// What follows a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The state at this index.
    State(StateIndex),
    /// `End: true`.
    End,
    /// Not of this state's type to say.
    Nothing,
}

/// How data go through a state, in the query language that it is written in.
#[derive(Debug)]
pub enum DataFlow {
    /// `QueryLanguage: JSONPath`
    JsonPath(JsonPathFlow),
    /// `QueryLanguage: JSONata`
    Jsonata(JsonataFlow),
}

/// Arguments and Output. What is absent passes data on as they are.
#[derive(Debug)]
pub struct JsonataFlow {
    /// `Arguments` of Task and Parallel.
    pub arguments: Option<Template>,
    /// `Output`; of a Choice, for when no rule matches.
    pub output: Option<Template>,
}

/// InputPath, Parameters, ResultSelector, ResultPath, OutputPath. A state without any of them touches no
/// tree.
#[derive(Debug)]
pub struct JsonPathFlow {
    /// `InputPath`
    pub input_path: Selection,
    /// `Parameters` (of a Map with an item selector in the legacy spelling: see [`MapState::item_selector`]).
    pub parameters: Option<Template>,
    /// `ResultSelector`
    pub result_selector: Option<Template>,
    /// `ResultPath`
    pub result_path: ResultPath,
    /// `OutputPath`
    pub output_path: Selection,
}

/// `InputPath` or `OutputPath`.
#[derive(Debug)]
pub enum Selection {
    /// Absent, or `$`.
    Whole,
    /// `null`: the empty object.
    Empty,
    /// What the path selects.
    Path(Path),
}

/// `ResultPath`.
#[derive(Debug)]
pub enum ResultPath {
    /// Absent, or `$`: the result replaces the input.
    Replace,
    /// `null`: the result is dropped, the raw input goes on.
    Discard,
    /// The result is put into the raw input at this place.
    At(ReferencePath),
}

/// What a state does.
#[derive(Debug)]
pub enum Kind {
    /// Passes its input, or `Result`, on.
    Pass {
        /// `Result`
        result: Option<Value>,
    },
    /// Work done elsewhere.
    Task(Box<TaskState>),
    /// Chooses what follows: the first rule whose condition holds.
    Choice {
        /// `Choices`
        rules: Box<[ChoiceRule]>,
        /// `Default`
        default: Option<StateIndex>,
    },
    /// Waits.
    Wait(Wait),
    /// Ends its graph with success.
    Succeed,
    /// Ends its graph with an error.
    Fail {
        /// `Error` or `ErrorPath`
        error: Option<Text>,
        /// `Cause` or `CausePath`
        cause: Option<Text>,
    },
    /// Runs all branches on the same input.
    Parallel {
        /// `Branches`
        branches: Box<[Arc<Graph>]>,
    },
    /// Runs one graph on every item.
    Map(Box<MapState>),
}

/// A text of a Fail state.
#[derive(Debug, Clone)]
pub enum Text {
    /// Written in the definition.
    Constant(Str),
    /// `ErrorPath` or `CausePath`: a path.
    Path(Path),
    /// `ErrorPath` or `CausePath`: a call of an intrinsic function.
    Intrinsic(Intrinsic),
    /// From a JSONata expression.
    Expression(Expression),
}

/// A constant of the definition, or what gives it at run time.
#[derive(Debug, Clone)]
pub enum Dynamic<T> {
    /// Written in the definition.
    Constant(T),
    /// From a `...Path` field.
    Path(Path),
    /// From a JSONata expression.
    Expression(Expression),
}

/// `Task`.
#[derive(Debug)]
pub struct TaskState {
    /// `Resource`: an ARN, or in TCSL a QRN.
    pub resource: Str,
    /// `TimeoutSeconds` or `TimeoutSecondsPath`
    pub timeout_seconds: Option<Dynamic<u64>>,
    /// `HeartbeatSeconds` or `HeartbeatSecondsPath`
    pub heartbeat_seconds: Option<Dynamic<u64>>,
    /// `Credentials`
    pub credentials: Option<Template>,
}

/// A top-level rule of a Choice.
#[derive(Debug)]
pub struct ChoiceRule {
    /// When it matches.
    pub condition: Guard,
    /// `Assign`, in place of the state's.
    pub assign: Option<Template>,
    /// `Output` of a JSONata state, in place of the state's.
    pub output: Option<Template>,
    /// `Next`
    pub next: StateIndex,
}

/// When a rule of a Choice matches.
#[derive(Debug)]
pub enum Guard {
    /// A rule of a JSONPath state.
    Rule(Condition),
    /// `Condition` of a JSONata state.
    Condition(Dynamic<bool>),
}

/// The four forms of Wait.
#[derive(Debug)]
pub enum Wait {
    /// `Seconds` or `SecondsPath`
    Seconds(Dynamic<u64>),
    /// `Timestamp` or `TimestampPath`
    Until(Dynamic<Timestamp>),
}

/// `Map`.
#[derive(Debug)]
pub struct MapState {
    /// `ItemProcessor`, or the legacy `Iterator`.
    pub processor: Arc<Graph>,
    /// `ItemsPath`; `None` is `$`.
    pub items_path: Option<Path>,
    /// `Items` of a JSONata state; absent, the items are the input.
    pub items: Option<Template>,
    /// `ItemSelector`, or the legacy `Parameters`.
    pub item_selector: Option<Template>,
    /// `MaxConcurrency` or `MaxConcurrencyPath`; 0 is no limit. In TCSL the default is 1.
    pub max_concurrency: Dynamic<u32>,
    /// `ProcessorConfig.Mode: DISTRIBUTED`; `None` is an inline Map.
    pub distributed: Option<Box<Distributed>>,
}

/// What makes a Map distributed.
#[derive(Debug)]
pub struct Distributed {
    /// What the child executions run: the item processor as a program of its own.
    pub program: Arc<Program>,
    /// `ProcessorConfig.ExecutionType`
    pub execution_type: ExecutionType,
    /// `Label`, or one made from the state's name: unique in the machine.
    pub label: Str,
    /// `ItemReader`; without one the items come from the state's data.
    pub reader: Option<ItemReader>,
    /// `ItemBatcher`
    pub batcher: Option<ItemBatcher>,
    /// `ResultWriter`
    pub writer: Option<ResultWriter>,
    /// `ToleratedFailureCount` or `ToleratedFailureCountPath`
    pub tolerated_count: Option<Dynamic<i64>>,
    /// `ToleratedFailurePercentage` or `ToleratedFailurePercentagePath`
    pub tolerated_percentage: Option<Dynamic<f64>>,
}

/// What the child executions of a distributed Map are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionType {
    /// `STANDARD`
    Standard,
    /// `EXPRESS`
    Express,
}

/// An entry of `Retry`.
#[derive(Debug)]
pub struct Retrier {
    /// `ErrorEquals`
    pub error_equals: Box<[Str]>,
    /// `IntervalSeconds`, default 1.
    pub interval_seconds: u64,
    /// `MaxAttempts`, default 3; 0 is never.
    pub max_attempts: u64,
    /// `BackoffRate`, default 2.
    pub backoff_rate: f64,
    /// `MaxDelaySeconds`
    pub max_delay_seconds: Option<u64>,
    /// `JitterStrategy: FULL`
    pub full_jitter: bool,
}

/// An entry of `Catch`.
#[derive(Debug)]
pub struct Catcher {
    /// `ErrorEquals`
    pub error_equals: Box<[Str]>,
    /// `ResultPath` of a JSONPath state: where the error output goes in the raw input.
    pub result_path: ResultPath,
    /// `Assign`, in place of the state's.
    pub assign: Option<Template>,
    /// `Output` of a JSONata state; absent, the error output goes on.
    pub output: Option<Template>,
    /// `Next`
    pub next: StateIndex,
}
