//! Plain paths: `$states.input.a.b[0]`, `$name.a`. They are walked over our values and never enter the engine.
//!
//! Invariant: where a walk gives an answer, the engine would give the same, apart from integers, which stay exact here.
//! It gives none where a step meets an array: then JSONata maps, flattens and unwraps, and that is the engine's business.

use jsonata_core::ast::{AstNode, PathStep, Stage, UnaryOp};

use super::references::References;
use crate::path::Scope;
use crate::value::{Map, Str, Value};

/// A compiled plain path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlainPath {
    root: Root,
    steps: Box<[Step]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    /// `$states`
    States,
    Input,
    Context,
    Result,
    ErrorOutput,
    /// A member of `$states` that is never there.
    Nothing,
    Variable(Str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(Str),
    /// From the end when negative.
    Index(i64),
}

/// Where a walk leads.
pub(super) enum Walked {
    Value(Value),
    Undefined,
    /// Only the engine knows.
    Unknown,
}

impl PlainPath {
    /// The path, if the expression is a plain one.
    pub(super) fn of(ast: &AstNode) -> Option<Self> {
        match ast {
            AstNode::Variable(name) => Self::of_steps(name, &[]),
            AstNode::Path { steps } => {
                let (first, rest) = steps.split_first()?;
                let AstNode::Variable(name) = &first.node else { return None };
                if !is_simple(first) {
                    return None;
                }
                if first.stages.is_empty() {
                    return Self::of_steps(name, rest);
                }
                let mut steps = Vec::new();
                push_indexes(first, &mut steps)?;
                (name != "states" && rest.is_empty())
                    .then(|| Self { root: Root::Variable(name.as_str().into()), steps: steps.into() })
            }
            _ => None,
        }
    }

    fn of_steps(variable: &str, rest: &[PathStep]) -> Option<Self> {
        let mut steps = Vec::with_capacity(rest.len());
        for step in rest {
            let AstNode::Name(key) = &step.node else { return None };
            if !is_simple(step) {
                return None;
            }
            steps.push(Step::Key(key.as_str().into()));
            push_indexes(step, &mut steps)?;
        }
        (!matches!(variable, "" | "$")).then(|| Self::from(variable, steps))
    }

    /// `$variable.key.key`
    pub(super) fn of_keys<'a>(variable: &str, keys: impl Iterator<Item = &'a str>) -> Self {
        Self::from(variable, keys.map(|key| Step::Key(key.into())).collect())
    }

    fn from(variable: &str, mut steps: Vec<Step>) -> Self {
        let root = match (variable, steps.first()) {
            ("states", None) => Root::States,
            ("states", Some(Step::Key(member))) => {
                let root = Root::member(member);
                steps.remove(0);
                root
            }
            (name, _) => Root::Variable(name.into()),
        };
        Self { root, steps: steps.into() }
    }

    /// Walks.
    pub(super) fn walk(&self, scope: &Scope<'_>) -> Walked {
        let (found, steps) = match (&self.root, &*self.steps) {
            (Root::Context, [Step::Key(name), rest @ ..]) => (scope.context.context_member(name), rest),
            (root, steps) => (root.value(scope), steps),
        };
        let mut value = match found {
            Some(value) => value,
            None if self.root == Root::States => return Walked::Value(states(scope)),
            // It may be the name of a function.
            None if matches!(self.root, Root::Variable(_)) => return Walked::Unknown,
            None => return Walked::Undefined,
        };
        for step in steps {
            let next = match (step, value) {
                (Step::Key(key), Value::Object(members)) => members.get(key),
                (Step::Key(_), Value::Array(_)) => return Walked::Unknown,
                (Step::Key(_), _) => None,
                (Step::Index(index), Value::Array(items)) => item(items, *index),
                // A single value is an array of itself.
                (Step::Index(0 | -1), single) => Some(single),
                (Step::Index(_), _) => None,
            };
            match next {
                Some(next) => value = next,
                None => return Walked::Undefined,
            }
        }
        Walked::Value(value.clone())
    }
}

impl Root {
    fn member(name: &str) -> Self {
        match name {
            "input" => Self::Input,
            "context" => Self::Context,
            "result" => Self::Result,
            "errorOutput" => Self::ErrorOutput,
            _ => Self::Nothing,
        }
    }

    fn value<'a>(&self, scope: &Scope<'a>) -> Option<&'a Value> {
        match self {
            Self::Input => Some(scope.input),
            Self::Context => Some(scope.context.context()),
            Self::Result => scope.result,
            Self::ErrorOutput => scope.error_output,
            Self::Variable(name) => scope.variables?.get(name),
            Self::States | Self::Nothing => None,
        }
    }
}

/// `$states` with the members that there are.
fn states(scope: &Scope<'_>) -> Value {
    let all = References { states: true, ..References::default() };
    states_of(&all, scope).unwrap_or_default()
}

/// `$states` with those of its members that are read; `None` when none is.
pub(super) fn states_of(read: &References, scope: &Scope<'_>) -> Option<Value> {
    let mut states = Map::with_capacity(4);
    let mut set = |is_read: bool, name: &'static str, value: Option<&Value>| {
        if let (true, Some(value)) = (is_read || read.states, value) {
            states.insert(name, value.clone());
        }
    };
    set(read.input, "input", Some(scope.input));
    // Built on demand, so not asked for in vain.
    if read.context || read.states {
        set(true, "context", Some(scope.context.context()));
    }
    set(read.result, "result", scope.result);
    set(read.error_output, "errorOutput", scope.error_output);
    (!states.is_empty()).then(|| states.into())
}

fn item(items: &[Value], index: i64) -> Option<&Value> {
    let place = if index < 0 { index.checked_add(i64::try_from(items.len()).ok()?)? } else { index };
    items.get(usize::try_from(place).ok()?)
}

/// Neither `@` nor `#`, nor anything that `%` needs.
pub(super) fn is_simple(step: &PathStep) -> bool {
    step.focus.is_none()
        && step.index_var.is_none()
        && step.ancestor_label.is_none()
        && !step.is_tuple
        && !step.inner_tuple
}

fn push_indexes(step: &PathStep, steps: &mut Vec<Step>) -> Option<()> {
    for stage in &step.stages {
        let Stage::Filter(predicate) = stage else { return None };
        steps.push(Step::Index(integer(predicate)?));
    }
    Some(())
}

/// A literal index. Fractions are for the engine.
#[allow(clippy::cast_possible_truncation, reason = "range and integrality are checked")]
fn integer(predicate: &AstNode) -> Option<i64> {
    match predicate {
        AstNode::Number(number) if number.fract() == 0.0 && number.abs() < 1e9 => Some(*number as i64),
        AstNode::Unary { op: UnaryOp::Negate, operand } => match **operand {
            AstNode::Number(_) => integer(operand).map(|index| -index),
            _ => None,
        },
        _ => None,
    }
}
