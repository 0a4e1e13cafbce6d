//! JSONPath as AWS accepts it (Jayway's dialect), and reference paths.
//!
//! Why a parser of our own: jsonpath-rust reads RFC 9535 and refuses `$.a-b`, `\.`, `.length()`, `=~`, `$$.`
//! and `$name`, which AWS accepts, and swallows Jayway's filter operators silently. Definite paths compile to
//! a straight walk without allocation; everything else is a query over lists of nodes.
//!
//! Invariants: a definite path gives one value or is missing; any other path gives an array, empty where
//! nothing matches. Parsing nests at most 32 deep, evaluation visits a bounded number of values. What may
//! fail: parsing ([`PathSyntaxError`]), evaluation ([`PathError`]), setting ([`SetError`]).

mod error;
mod evaluate;
mod filter;
mod filter_parse;
mod function;
mod operator;
mod parse;
mod reference;
mod syntax;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use error::{EvalError, PathError, PathSyntaxError};
pub(crate) use evaluate::VISITS_MAX;
pub use reference::{ReferencePath, SetError};
use syntax::{Query, Step};

use crate::timestamp::Timestamp;
use crate::value::{Str, Value};
use crate::variables::Variables;

/// What paths, templates and expressions are evaluated against.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// What `$` means in JSONPath, and `$states.input` in JSONata.
    pub input: &'a Value,
    /// The execution around it.
    pub context: &'a dyn ContextSource,
    /// What `$name` means; `None` while no variable has been assigned.
    pub variables: Option<&'a Variables>,
    /// `$states.result`, where the state has one.
    pub result: Option<&'a Value>,
    /// `$states.errorOutput`, in a catcher.
    pub error_output: Option<&'a Value>,
}

impl<'a> Scope<'a> {
    /// With an input and a context, and nothing else.
    pub fn new(input: &'a Value, context: &'a dyn ContextSource) -> Self {
        Self { input, context, variables: None, result: None, error_output: None }
    }
}

/// What an evaluation may ask of the execution around it.
pub trait ContextSource {
    /// The context object (`$$`). Most executions never look at it, so it is built on demand.
    fn context(&self) -> &Value;

    /// A member of the context object, where the rest of it need not be built.
    fn context_member(&self, name: &str) -> Option<&Value> {
        match self.context() {
            Value::Object(members) => members.get(name),
            _ => None,
        }
    }

    /// The instant of the event that is being handled: `$now()`, `$millis()`.
    fn now(&self) -> Timestamp;

    /// Uniform in 64 bits, another one each time; the same in a replay. All randomness of evaluations comes from here.
    fn draw(&self) -> u64;

    /// Counts units of work (a unit is about 100 ns) that an evaluation has done.
    fn spend(&self, _units: u64) {}

    /// Units of work that there are left.
    fn fuel(&self) -> u64 {
        u64::MAX
    }
}

/// A value is its own context object, at the epoch, without luck; handy in tests.
impl ContextSource for Value {
    fn context(&self) -> &Value {
        self
    }

    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn draw(&self) -> u64 {
        0
    }
}

/// Visits of a path that are a unit of work.
const VISITS_PER_UNIT: usize = 4;
/// Bytes of texts and trees, read or made, that are a unit of work.
const BYTES_PER_UNIT: usize = 64;

/// Units of work for so many bytes.
#[inline]
pub(crate) fn units_of(bytes: usize) -> u64 {
    (bytes / BYTES_PER_UNIT) as u64
}

/// Where a path starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// `$`
    Input,
    /// `$$`
    Context,
    /// `$name`: a workflow variable.
    Variable(Str),
}

/// A compiled path. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Path {
    text: Str,
    root: Root,
    plan: Plan,
}

#[derive(Debug, Clone)]
enum Plan {
    /// A definite path of keys and indexes.
    Walk(Arc<[Step]>),
    /// Anything else.
    Query(Arc<Query>),
}

impl Path {
    /// Compiles a path.
    ///
    /// # Errors
    /// When the text is no path, or asks for something that AWS's dialect does not have.
    pub fn parse(text: &str) -> Result<Self, PathSyntaxError> {
        let (root, query) = parse::path(text)?;
        let walk: Option<Arc<[Step]>> = query.as_walk();
        let plan = walk.map_or_else(|| Plan::Query(Arc::new(query)), Plan::Walk);
        Ok(Self { text: text.into(), root, plan })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it starts.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The variable that it starts at.
    pub(crate) fn variables(&self, found: &mut dyn FnMut(&Str)) {
        if let Root::Variable(name) = &self.root {
            found(name);
        }
    }

    /// What the compiled regular expressions of its filters take at most, in bytes.
    pub(crate) fn pattern_bytes(&self) -> usize {
        match &self.plan {
            Plan::Walk(_) => 0,
            Plan::Query(query) => query.pattern_bytes(),
        }
    }

    /// Whether it names at most one value, so that its result is that value and not an array of matches.
    pub fn is_definite(&self) -> bool {
        match &self.plan {
            Plan::Walk(_) => true,
            Plan::Query(query) => query.definite,
        }
    }

    /// Whether it is the root alone: `$`, `$$` or `$name`.
    pub fn is_root(&self) -> bool {
        matches!(&self.plan, Plan::Walk(steps) if steps.is_empty())
    }

    /// The value that the path selects: of a definite path that value, of any other an array of all matches.
    ///
    /// # Errors
    /// When a definite path names nothing, a function cannot take its argument, or the work has no bound.
    #[inline]
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, PathError> {
        self.evaluate_within(scope, &mut { VISITS_MAX })
    }

    /// The value that the path selects, as a part of a larger evaluation, whose visits it shares.
    ///
    /// # Errors
    /// As [`Path::evaluate`].
    #[inline]
    pub(crate) fn evaluate_within(&self, scope: &Scope<'_>, visits: &mut usize) -> Result<Value, PathError> {
        match self.evaluate_ref(scope) {
            Some(value) => Ok(value.clone()),
            None => self.search(scope, visits),
        }
    }

    /// What is no straight walk, or leads nowhere.
    #[inline(never)]
    fn search(&self, scope: &Scope<'_>, visits: &mut usize) -> Result<Value, PathError> {
        match &self.plan {
            Plan::Walk(steps) => Err(PathError::Missing(self.missing(steps, scope))),
            Plan::Query(query) => {
                let missing = || format!("No results for path: {}", self.normalised());
                let root = self.root_value(scope).ok_or_else(|| PathError::Missing(missing()))?;
                let before = *visits;
                let found = evaluate::evaluate(query, root, visits, &missing);
                scope.context.spend(((before - *visits) / VISITS_PER_UNIT) as u64);
                found
            }
        }
    }

    /// How far the walk leads: the last step may be absent, one before it may be, or meet a value without
    /// members.
    #[cold]
    fn missing(&self, steps: &[Step], scope: &Scope<'_>) -> String {
        let mut way = self.root_text();
        let Some(mut value) = self.root_value(scope) else {
            return format!("No results for path: {}", self.normalised());
        };
        for (at, step) in steps.iter().enumerate() {
            let before = way.len();
            step.write(&mut way);
            match (step.of(value), step, value) {
                (Some(next), _, _) => value = next,
                (None, Step::Key(_), Value::Object(_)) if at + 1 < steps.len() => {
                    return format!("Missing property in path {way}");
                }
                (None, Step::Key(_), other) if !matches!(other, Value::Object(_)) => {
                    let (parent, property) = way.split_at(before);
                    let kind = other.kind();
                    return format!(
                        "Expected to find an object with property {property} in path {parent} but found '{kind}'"
                    );
                }
                _ => break,
            }
        }
        format!("No results for path: {}", self.normalised())
    }

    /// What a plain definite path names, without cloning. `None` when it names nothing, and for paths with
    /// filters, wildcards, unions, descent or functions.
    #[inline]
    pub fn evaluate_ref<'a>(&self, scope: &Scope<'a>) -> Option<&'a Value> {
        let Plan::Walk(steps) = &self.plan else { return None };
        let (mut value, steps) = match (&self.root, &**steps) {
            (Root::Context, [Step::Key(name), rest @ ..]) => (scope.context.context_member(name)?, rest),
            (_, steps) => (self.root_value(scope)?, steps),
        };
        for step in steps.iter() {
            value = step.of(value)?;
        }
        Some(value)
    }

    /// Whether a definite path names something, or any other path has a match.
    pub fn is_present(&self, scope: &Scope<'_>) -> bool {
        match &self.plan {
            Plan::Walk(_) => self.evaluate_ref(scope).is_some(),
            Plan::Query(query) => match self.evaluate(scope) {
                Ok(Value::Array(matches)) if !query.definite => !matches.is_empty(),
                result => result.is_ok(),
            },
        }
    }

    #[inline]
    fn root_value<'a>(&self, scope: &Scope<'a>) -> Option<&'a Value> {
        match &self.root {
            Root::Input => Some(scope.input),
            Root::Context => Some(scope.context.context()),
            Root::Variable(name) => scope.variables?.get(name),
        }
    }

    /// In bracket notation, as Jayway and AWS name a path in messages: `$['a'][0]`.
    fn normalised(&self) -> String {
        let mut text = self.root_text();
        match &self.plan {
            Plan::Walk(steps) => steps.iter().for_each(|step| step.write(&mut text)),
            Plan::Query(query) => query.write(&mut text),
        }
        text
    }

    fn root_text(&self) -> String {
        match &self.root {
            Root::Input | Root::Context => "$".to_owned(),
            Root::Variable(name) => format!("${name}"),
        }
    }
}
