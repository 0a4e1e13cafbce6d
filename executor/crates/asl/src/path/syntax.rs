//! What a path is made of.

use std::sync::Arc;

use super::filter::Filter;
use super::function::Function;
use crate::value::{Str, Value};

/// One step of a straight walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Member of an object.
    Key(Str),
    /// Item of an array; negative counts from the end.
    Index(i64),
}

impl Step {
    #[inline]
    pub fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match (self, value) {
            (Self::Key(key), Value::Object(members)) => members.get(key),
            (Self::Index(index), Value::Array(items)) => items.get(resolve(*index, items.len())?),
            _ => None,
        }
    }

    pub fn write(&self, out: &mut String) {
        match self {
            Self::Key(key) => {
                out.push_str("['");
                out.push_str(key);
                out.push_str("']");
            }
            Self::Index(index) => {
                out.push('[');
                out.push_str(&index.to_string());
                out.push(']');
            }
        }
    }
}

/// The place of an index in an array of this length, counting negative ones from the end.
#[inline]
pub(super) fn resolve(index: i64, len: usize) -> Option<usize> {
    if index >= 0 {
        usize::try_from(index).ok().filter(|at| *at < len)
    } else {
        len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    }
}

/// Selects nodes from nodes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Segment {
    /// `.a`, `['a']`, `[0]`
    Step(Step),
    /// `['a','b']`
    Keys(Box<[Str]>),
    /// `[0,1]`
    Indexes(Box<[i64]>),
    /// `[1:3]`, `[-3:]`
    Slice(Option<i64>, Option<i64>),
    /// `.*`, `[*]`
    Wildcard,
    /// `..`: the node itself and everything below it, parents first.
    Descend,
    /// `[?(...)]`
    Filter(Box<Filter>),
}

/// A path beyond a straight walk.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Query {
    pub segments: Box<[Segment]>,
    /// Applied to the value of a definite path, and to the array of matches of any other.
    pub function: Option<Function>,
    /// The result is one value, not an array of matches.
    pub definite: bool,
}

impl Query {
    pub fn new(segments: Vec<Segment>, function: Option<Function>) -> Self {
        let definite = function.is_some() || selects_one(&segments);
        Self { segments: segments.into(), function, definite }
    }

    /// The steps, if there is nothing else.
    pub fn as_walk(&self) -> Option<Arc<[Step]>> {
        if self.function.is_some() {
            return None;
        }
        let steps: Option<Vec<Step>> = self
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Step(step) => Some(step.clone()),
                _ => None,
            })
            .collect();
        steps.map(Into::into)
    }

    /// Whether the segments select at most one value.
    pub fn base_is_definite(&self) -> bool {
        selects_one(&self.segments)
    }

    /// What the compiled regular expressions of its filters take at most, in bytes.
    pub fn pattern_bytes(&self) -> usize {
        let of = |segment: &Segment| match segment {
            Segment::Filter(filter) => filter.pattern_bytes(),
            _ => 0,
        };
        self.segments.iter().map(of).sum()
    }

    /// In bracket notation.
    pub fn write(&self, out: &mut String) {
        for segment in &self.segments {
            match segment {
                Segment::Step(step) => step.write(out),
                Segment::Keys(keys) => {
                    let keys: Vec<String> = keys.iter().map(|key| format!("'{key}'")).collect();
                    out.push_str(&format!("[{}]", keys.join(",")));
                }
                Segment::Indexes(indexes) => {
                    let indexes: Vec<String> = indexes.iter().map(i64::to_string).collect();
                    out.push_str(&format!("[{}]", indexes.join(",")));
                }
                Segment::Slice(from, to) => {
                    let bound =
                        |bound: &Option<i64>| bound.map(|bound| bound.to_string()).unwrap_or_default();
                    out.push_str(&format!("[{}:{}]", bound(from), bound(to)));
                }
                Segment::Wildcard => out.push_str("[*]"),
                Segment::Descend => out.push_str(".."),
                Segment::Filter(_) => out.push_str("[?]"),
            }
        }
        if let Some(function) = &self.function {
            out.push_str(&format!(".{}()", function.name()));
        }
    }
}

/// Several keys at the end make one object of those members, as Jayway has it.
fn selects_one(segments: &[Segment]) -> bool {
    let Some((last, before)) = segments.split_last() else { return true };
    matches!(last, Segment::Step(_) | Segment::Keys(_))
        && before.iter().all(|segment| matches!(segment, Segment::Step(_)))
}
