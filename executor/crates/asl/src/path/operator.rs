//! The operators between the two sides of a filter's comparison.
//!
//! They are Jayway's. A comparison between different types is false, and `!=` its opposite; a path that names nothing
//! equals nothing, not even another such path. Invariant: what an operator looks at is charged as visits, so that no two
//! lists are compared for longer than a path may take. What may fail: the visits.

use std::cmp::Ordering;

use super::PathError;
use super::evaluate::Work;
use crate::value::Value;

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

impl Operator {
    /// Whether the sides stand in this relation; `None` is the side of a path that names nothing.
    ///
    /// # Errors
    /// When no visits are left.
    pub fn holds(
        self,
        left: Option<&Value>,
        right: Option<&Value>,
        work: &mut Work<'_>,
    ) -> Result<bool, PathError> {
        let (Some(left), Some(right)) = (left, right) else {
            return Ok(matches!(self, Self::NotEqual | Self::NotIn | Self::NoneOf));
        };
        Ok(match self {
            Self::Equal => equal(left, right, work)?,
            Self::NotEqual => !equal(left, right, work)?,
            Self::Less => compare(left, right, work)? == Some(Ordering::Less),
            Self::LessOrEqual => compare(left, right, work)?.is_some_and(Ordering::is_le),
            Self::Greater => compare(left, right, work)? == Some(Ordering::Greater),
            Self::GreaterOrEqual => compare(left, right, work)?.is_some_and(Ordering::is_ge),
            Self::In => contains(right, left, work)? == Some(true),
            Self::NotIn => contains(right, left, work)? != Some(true),
            Self::SubsetOf => any(left, right, false, work)? == Some(false),
            Self::AnyOf => any(left, right, true, work)? == Some(true),
            Self::NoneOf => any(left, right, true, work)? == Some(false),
            Self::Contains => match (left, right) {
                (Value::String(text), Value::String(part)) => {
                    work.read(text.len())?;
                    text.contains(part.as_str())
                }
                (list, item) => contains(list, item, work)? == Some(true),
            },
            Self::Size => match (size(left, work)?, right) {
                (Some(left), Value::Number(right)) => right.as_u64() == u64::try_from(left).ok(),
                (Some(left), right) => size(right, work)? == Some(left),
                (None, _) => false,
            },
            Self::Empty => size(left, work)?.is_some_and(|size| right.as_bool() == Some(size == 0)),
        })
    }
}

/// Equality of values, a visit for each pair that is looked at. Recursion is as deep as the values.
fn equal(left: &Value, right: &Value, work: &mut Work<'_>) -> Result<bool, PathError> {
    work.visit(1)?;
    match (left, right) {
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (left, right) in left.iter().zip(right.iter()) {
                if !equal(left, right, work)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Object(left), Value::Object(right)) if left.len() == right.len() => {
            for (key, left) in left.iter() {
                let same = right.get(key).map(|right| equal(left, right, work)).transpose()?;
                if same != Some(true) {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => Ok(false),
        (Value::String(left), Value::String(right)) if left.len() == right.len() => {
            work.read(left.len())?;
            Ok(left == right)
        }
        _ => Ok(left == right),
    }
}

/// Order of two numbers or two strings; nothing else is ordered.
fn compare(left: &Value, right: &Value, work: &mut Work<'_>) -> Result<Option<Ordering>, PathError> {
    Ok(match (left, right) {
        (Value::Number(left), Value::Number(right)) => Some(left.compare(*right)),
        (Value::String(left), Value::String(right)) => {
            work.read(left.len().min(right.len()))?;
            // Java compares code units of UTF-16.
            Some(left.encode_utf16().cmp(right.encode_utf16()))
        }
        _ => None,
    })
}

/// Whether a list has an item equal to this one; `None` if it is no list.
fn contains(list: &Value, item: &Value, work: &mut Work<'_>) -> Result<Option<bool>, PathError> {
    let Value::Array(items) = list else { return Ok(None) };
    for candidate in items.iter() {
        if equal(candidate, item, work)? {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

/// Whether any item of the left list is in the right one, or, with `wanted` false, is not; `None` unless both are lists.
fn any(left: &Value, right: &Value, wanted: bool, work: &mut Work<'_>) -> Result<Option<bool>, PathError> {
    let (Value::Array(left), Value::Array(_)) = (left, right) else { return Ok(None) };
    for item in left.iter() {
        if contains(right, item, work)? == Some(wanted) {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

fn size(value: &Value, work: &mut Work<'_>) -> Result<Option<usize>, PathError> {
    Ok(match value {
        Value::Array(items) => Some(items.len()),
        Value::String(text) => {
            work.read(text.len())?;
            Some(text.encode_utf16().count())
        }
        _ => None,
    })
}
