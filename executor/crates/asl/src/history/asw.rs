//! Collects a history as ASW tells it (`DescribeExecutionHistory`).
//!
//! An ASW history is a list of nodes entered and left: `ExecutionStart`, a bookkeeping event, two events for each state,
//! a bookkeeping event at the end. Tasks have no events of their own, and neither have attempts, branches and iterations.
//! ASW publishes one history, of a flow of Pass and Task states that succeeds; what stands here for other types of
//! states and for failures follows its pattern. Invariants: ids are 1, 2, 3, …; every node that is entered is left, even
//! where its state failed or was given up; what is inside another node is left before it. What may fail: nothing.

use std::collections::HashMap;

use super::{EventKind, Fault, Note, Observer, Record, StateType};
use crate::timestamp::Timestamp;
use crate::value::{Map, Payload, Str, Value};

/// Not a node: the frame of the execution.
const BOOKKEEPING: &str = "Unknown";
/// The step before the first.
const START: &str = "START";
/// The step after the last.
const END: &str = "END";

/// An event of a history, as ASW tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct AswEvent {
    /// `EventId`: from 1, without gaps.
    pub id: u64,
    /// `EventCategory`, for example `PassNodeEnter`.
    pub category: &'static str,
    /// `StepName`: the state's, or `START` or `END`.
    pub step: Str,
    /// `ResourceName`: a Task's, else empty.
    pub resource: Str,
    /// `Timestamp`
    pub at: Timestamp,
    content: Content,
    exception: Option<Value>,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Nothing,
    Start {
        input: Payload,
        role: Str,
    },
    Enter {
        input: Payload,
    },
    Exit {
        output: Option<Payload>,
        /// `None` where nothing follows: the state failed for good.
        next: Option<Str>,
    },
}

impl AswEvent {
    /// `Content`: a JSON text whose members are JSON texts themselves, but `exception`.
    pub fn content(&self) -> String {
        let text = |payload: &Payload| Value::from(payload.text());
        let members = match &self.content {
            Content::Nothing => return "null".to_owned(),
            Content::Start { input, role } => {
                vec![("input", text(input)), ("role", Value::from(role.clone()))]
            }
            Content::Enter { input } => vec![("input", text(input)), ("local_variables", text(input))],
            Content::Exit { output, next } => {
                let output = output.as_ref().map_or_else(|| Value::from("null"), text);
                let next = Value::array(next.iter().map(|name| Value::from(name.clone())));
                let exception = self.exception.clone().unwrap_or_else(|| Value::from(Map::default()));
                vec![
                    ("output", output.clone()),
                    ("exception", exception),
                    ("local_variables", output),
                    ("next", Value::from(next.to_json_string())),
                ]
            }
        };
        Value::from(members.into_iter().collect::<Map>()).to_json_string()
    }

    /// The input or the output that it tells, JSON; `None` for bookkeeping, and for a node without an output.
    pub fn data(&self) -> Option<&Payload> {
        match &self.content {
            Content::Nothing => None,
            Content::Start { input, .. } | Content::Enter { input } => Some(input),
            Content::Exit { output, .. } => output.as_ref(),
        }
    }

    /// `Exception`: empty, or a JSON text with `Error` and `Cause`, as far as there are any.
    pub fn exception(&self) -> String {
        self.exception.as_ref().map(Value::to_json_string).unwrap_or_default()
    }

    /// The event as the API's `ExecutionEvent`; `execution` is the execution's QRN.
    pub fn to_api(&self, execution: &str) -> Value {
        Value::object([
            ("ExecutionResourceName", Value::from(execution)),
            ("EventId", Value::from(self.id)),
            ("EventCategory", Value::from(self.category)),
            ("StepName", Value::from(self.step.clone())),
            ("ResourceName", Value::from(self.resource.clone())),
            ("Timestamp", Value::from(self.at.as_millis().to_string().as_str())),
            ("Content", Value::from(self.content().as_str())),
            ("Exception", Value::from(self.exception().as_str())),
        ])
    }
}

/// A node that was entered and not left.
#[derive(Debug, Clone)]
struct Node {
    state: StateType,
    step: Str,
    resource: Str,
    /// Its event; `None` when that is beyond the bound.
    event: Option<usize>,
    /// Whether its effective input is known.
    begun: bool,
    /// How it failed, where a catcher took over.
    exception: Option<Value>,
}

/// Collects events, up to a bound.
#[derive(Debug, Clone)]
pub struct AswHistory {
    events: Vec<AswEvent>,
    capacity: usize,
    dropped: u64,
    /// By the id of the core's event that it was entered with.
    open: HashMap<u64, Node, foldhash::fast::RandomState>,
    /// The core's event of the last exit, and ours: whoever is entered next on its line follows it.
    left: Option<(u64, usize)>,
}

impl AswHistory {
    /// Keeps the first `capacity` events.
    pub fn new(capacity: usize) -> Self {
        Self { events: Vec::new(), capacity, dropped: 0, open: HashMap::default(), left: None }
    }

    /// What was collected, oldest first.
    pub fn events(&self) -> &[AswEvent] {
        &self.events
    }

    /// What was collected, oldest first.
    pub fn into_events(self) -> Vec<AswEvent> {
        self.events
    }

    /// Events beyond the bound.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Adds an event and says where; `None` beyond the bound.
    fn push(&mut self, event: AswEvent) -> Option<usize> {
        let at = self.events.len();
        if at >= self.capacity {
            self.dropped += 1;
            return None;
        }
        self.events.push(AswEvent { id: at as u64 + 1, ..event });
        Some(at)
    }

    /// An event of the frame around the nodes.
    fn frame(
        &mut self,
        at: Timestamp,
        category: &'static str,
        step: &'static str,
        content: Content,
        exception: Option<Value>,
    ) {
        let (step, resource) = (Str::from(step), Str::default());
        self.push(AswEvent { id: 0, category, step, resource, at, content, exception });
    }

    fn enter(&mut self, at: Timestamp, record: &Record<'_>) {
        let EventKind::StateEntered { state, name, input, resource, .. } = record.kind else { return };
        if let Some((_, left)) = self.left.take_if(|(exited, _)| *exited == record.previous)
            && let Some(AswEvent { content: Content::Exit { next, .. }, .. }) = self.events.get_mut(left)
        {
            *next = Some(name.clone());
        }
        let resource = resource.cloned().unwrap_or_default();
        let event = self.push(AswEvent {
            id: 0,
            category: entered(state),
            step: name.clone(),
            resource: resource.clone(),
            at,
            content: Content::Enter { input: input.clone() },
            exception: None,
        });
        let step = name.clone();
        self.open.insert(record.id, Node { state, step, resource, event, begun: false, exception: None });
    }

    fn leave(&mut self, at: Timestamp, node: Node, output: Option<&Payload>) -> Option<usize> {
        let Node { state, step, resource, exception, .. } = node;
        let next = output.map(|_| Str::from(END));
        let content = Content::Exit { output: output.cloned(), next };
        self.push(AswEvent { id: 0, category: left(state), step, resource, at, content, exception })
    }

    fn end(&mut self, at: Timestamp, exception: Option<Value>) {
        self.frame(at, BOOKKEEPING, END, Content::Nothing, exception);
    }
}

impl Observer for AswHistory {
    fn event(&mut self, record: &Record<'_>) {
        let at = record.at;
        match &record.kind {
            EventKind::ExecutionStarted { input, role_arn } => {
                let content = Content::Start { input: (*input).clone(), role: (*role_arn).clone() };
                self.frame(at, "ExecutionStart", START, content, None);
                self.frame(at, BOOKKEEPING, START, Content::Nothing, None);
            }
            EventKind::StateEntered { .. } => self.enter(at, record),
            EventKind::StateExited { output, entered, .. } => {
                let Some(node) = self.open.remove(entered) else { return };
                self.left = self.leave(at, node, Some(output)).map(|left| (record.id, left));
            }
            EventKind::ExecutionSucceeded { .. } => self.end(at, None),
            EventKind::ExecutionFailed(fault) | EventKind::ExecutionAborted(fault) => {
                self.end(at, exception_of(*fault));
            }
            // Step Functions tells no error here; ASW, which has no status for it, has to say what failed.
            EventKind::ExecutionTimedOut(fault) => {
                let timeout = || Value::object([("Error", Value::from("States.Timeout"))]);
                self.end(at, exception_of(*fault).or_else(|| Some(timeout())));
            }
            _ => {}
        }
    }

    fn note(&mut self, at: Timestamp, note: &Note<'_>) {
        match note {
            Note::Input { entered, input } => {
                let Some(node) = self.open.get_mut(entered).filter(|node| !node.begun) else { return };
                node.begun = true;
                if let Some(event) = node.event.and_then(|event| self.events.get_mut(event)) {
                    event.content = Content::Enter { input: (*input).clone() };
                }
            }
            Note::Caught { entered, fault, .. } => {
                if let Some(node) = self.open.get_mut(entered) {
                    node.exception = exception_of(*fault);
                }
            }
            Note::Abandoned { entered, fault, .. } => {
                if let Some(mut node) = self.open.remove(entered) {
                    node.exception = exception_of(*fault);
                    self.leave(at, node, None);
                }
            }
            Note::Retried { .. } => {}
        }
    }
}

/// `{"Error", "Cause"}`, as far as there are any; ASW publishes no example of one.
fn exception_of(fault: Fault<'_>) -> Option<Value> {
    let texts = [("Error", fault.error), ("Cause", fault.cause)].into_iter();
    let members: Map = texts.filter_map(|(name, text)| Some((name, Value::from(text?.clone())))).collect();
    (!members.is_empty()).then(|| Value::from(members))
}

fn entered(state: StateType) -> &'static str {
    match state {
        StateType::Choice => "ChoiceNodeEnter",
        StateType::Fail => "FailNodeEnter",
        StateType::Map => "MapNodeEnter",
        StateType::Parallel => "ParallelNodeEnter",
        StateType::Pass => "PassNodeEnter",
        StateType::Succeed => "SucceedNodeEnter",
        StateType::Task => "TaskNodeEnter",
        StateType::Wait => "WaitNodeEnter",
    }
}

fn left(state: StateType) -> &'static str {
    match state {
        StateType::Choice => "ChoiceNodeExit",
        StateType::Fail => "FailNodeExit",
        StateType::Map => "MapNodeExit",
        StateType::Parallel => "ParallelNodeExit",
        StateType::Pass => "PassNodeExit",
        StateType::Succeed => "SucceedNodeExit",
        StateType::Task => "TaskNodeExit",
        StateType::Wait => "WaitNodeExit",
    }
}
