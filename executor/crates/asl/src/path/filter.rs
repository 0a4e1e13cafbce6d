//! Filters: `[?(@.price < 10 && @.tags anyof ['a'])]`.
//!
//! The operators are Jayway's. A comparison between different types is false, and `!=` its opposite; a path
//! that names nothing equals nothing, not even another such path. `=~` takes Java's regular expressions as
//! far as a linear-time engine has them; others are refused when the path is parsed.

use std::cmp::Ordering;

use super::evaluate::{Work, value_of};
use super::syntax::Query;
use super::{PathError, filter_parse};
use crate::value::Value;

/// What a filter asks of a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    And(Box<[Filter]>),
    Or(Box<[Filter]>),
    Not(Box<Filter>),
    /// An operand alone: a path that names something, or `true`.
    Exists(Operand),
    Compare(Operand, Operator, Operand),
    Matches(Operand, Pattern),
}

/// A side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Constant(Value),
    /// `@...`
    Node(Query),
    /// `$...`
    Root(Query),
}

/// Of Jayway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    SubsetOf,
    AnyOf,
    NoneOf,
    Contains,
    Size,
    Empty,
}

/// A compiled regular expression; it has to match the whole text.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub regex: regex_lite::Regex,
    /// What a character of a text costs, in visits: matching takes time in proportion to the pattern too.
    pub visits: usize,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Filter {
    /// Reads a filter behind its `?`.
    pub fn parse(parser: &mut super::parse::Parser<'_>) -> Result<Self, super::PathSyntaxError> {
        filter_parse::filter(parser)
    }

    /// Whether a node passes.
    pub fn matches<'a>(&self, node: &'a Value, work: &mut Work<'a>) -> Result<bool, PathError> {
        work.visit(1)?;
        match self {
            Self::And(parts) => {
                for part in parts {
                    if !part.matches(node, work)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(parts) => {
                for part in parts {
                    if part.matches(node, work)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(part) => Ok(!part.matches(node, work)?),
            Self::Exists(operand) => operand.exists(node, work),
            Self::Compare(left, operator, right) => {
                let (left, right) = (left.value(node, work)?, right.value(node, work)?);
                Ok(operator.holds(left.as_ref(), right.as_ref()))
            }
            Self::Matches(left, pattern) => Ok(match left.value(node, work)? {
                Some(Value::String(text)) => {
                    work.visit(text.len().saturating_mul(pattern.visits))?;
                    pattern.regex.is_match(&text)
                }
                _ => false,
            }),
        }
    }
}

impl Operand {
    /// `None` when a path names nothing, or a function cannot take what it got.
    fn value<'a>(&self, node: &'a Value, work: &mut Work<'a>) -> Result<Option<Value>, PathError> {
        let (query, from) = match self {
            Self::Constant(value) => return Ok(Some(value.clone())),
            Self::Node(query) => (query, node),
            Self::Root(query) => (query, work.root),
        };
        match value_of(query, from, work) {
            Err(PathError::Function(_)) => Ok(None),
            result => result,
        }
    }

    fn exists<'a>(&self, node: &'a Value, work: &mut Work<'a>) -> Result<bool, PathError> {
        let value = self.value(node, work)?;
        Ok(match (self, value) {
            (Self::Constant(_), value) => value == Some(Value::Bool(true)),
            (Self::Node(query) | Self::Root(query), Some(Value::Array(matches))) if !query.definite => {
                !matches.is_empty()
            }
            (_, value) => value.is_some(),
        })
    }
}

impl Operator {
    fn holds(self, left: Option<&Value>, right: Option<&Value>) -> bool {
        let (Some(left), Some(right)) = (left, right) else {
            return matches!(self, Self::NotEqual | Self::NotIn | Self::NoneOf);
        };
        let order = compare(left, right);
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
            Self::In => right.as_array().is_some_and(|set| set.contains(left)),
            Self::NotIn => right.as_array().is_none_or(|set| !set.contains(left)),
            Self::SubsetOf => sets(left, right, |left, right| left.iter().all(|item| right.contains(item))),
            Self::AnyOf => sets(left, right, |left, right| left.iter().any(|item| right.contains(item))),
            Self::NoneOf => sets(left, right, |left, right| !left.iter().any(|item| right.contains(item))),
            Self::Contains => match (left, right) {
                (Value::Array(items), item) => items.contains(item),
                (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
                _ => false,
            },
            Self::Size => match (size(left), right) {
                (Some(left), Value::Number(right)) => right.as_u64() == u64::try_from(left).ok(),
                (Some(left), right) => size(right) == Some(left),
                (None, _) => false,
            },
            Self::Empty => size(left).is_some_and(|size| right.as_bool() == Some(size == 0)),
        }
    }
}

/// Order of two numbers or two strings; nothing else is ordered.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => Some(left.compare(*right)),
        // Java compares code units of UTF-16.
        (Value::String(left), Value::String(right)) => Some(left.encode_utf16().cmp(right.encode_utf16())),
        _ => None,
    }
}

fn sets(left: &Value, right: &Value, test: impl Fn(&[Value], &[Value]) -> bool) -> bool {
    left.as_array().zip(right.as_array()).is_some_and(|(left, right)| test(left, right))
}

fn size(value: &Value) -> Option<usize> {
    match value {
        Value::Array(items) => Some(items.len()),
        Value::String(text) => Some(text.encode_utf16().count()),
        _ => None,
    }
}
