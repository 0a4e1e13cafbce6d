//! Filters: `[?(@.price < 10 && @.tags anyof ['a'])]`.
//!
//! What operators mean is in `operator`. `=~` takes Java's regular expressions as
//! far as a linear-time engine has them; others are refused when the path is parsed.

use super::evaluate::{Work, value_of};
use super::operator::Operator;
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

    /// What its compiled regular expressions take at most, in bytes. It recurses as deep as filters nest.
    pub fn pattern_bytes(&self) -> usize {
        let of = |operand: &Operand| match operand {
            Operand::Constant(_) => 0,
            Operand::Node(query) | Operand::Root(query) => query.pattern_bytes(),
        };
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().map(Self::pattern_bytes).sum(),
            Self::Not(part) => part.pattern_bytes(),
            Self::Exists(operand) => of(operand),
            Self::Compare(left, _, right) => of(left) + of(right),
            Self::Matches(left, pattern) => of(left) + pattern.visits * filter_parse::PATTERN_BYTES_PER_VISIT,
        }
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
                operator.holds(left.as_ref(), right.as_ref(), work)
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
