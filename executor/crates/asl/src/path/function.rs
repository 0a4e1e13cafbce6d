//! Functions at the end of a path: `$.items.length()`.
//!
//! Of a definite path they take the value, of any other the array of its matches. `concat` and `append` take
//! arguments that AWS does not document; they are refused when the path is parsed.

use super::PathError;
use crate::value::{Number, Value};

/// A function of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Length,
    Size,
    Min,
    Max,
    Avg,
    Sum,
    Stddev,
    Keys,
    First,
    Last,
    Index(i64),
}

impl Function {
    /// For messages.
    pub const NAMES: &'static str =
        "length(), size(), min(), max(), avg(), sum(), stddev(), keys(), first(), last(), index(n)";

    /// The function of this name with this argument's text, if there is one.
    pub fn new(name: &str, argument: &str) -> Option<Self> {
        if name == "index" {
            return argument.parse::<i32>().ok().map(|index| Self::Index(i64::from(index)));
        }
        let function = match name {
            "length" => Self::Length,
            "size" => Self::Size,
            "min" => Self::Min,
            "max" => Self::Max,
            "avg" => Self::Avg,
            "sum" => Self::Sum,
            "stddev" => Self::Stddev,
            "keys" => Self::Keys,
            "first" => Self::First,
            "last" => Self::Last,
            _ => return None,
        };
        argument.is_empty().then_some(function)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Size => "size",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::Sum => "sum",
            Self::Stddev => "stddev",
            Self::Keys => "keys",
            Self::First => "first",
            Self::Last => "last",
            Self::Index(_) => "index",
        }
    }

    /// Applies the function.
    ///
    /// # Errors
    /// When the value is not of a kind that the function takes, or empty where it needs a member.
    pub fn apply(self, value: &Value) -> Result<Value, PathError> {
        let result = match self {
            Self::Length | Self::Size => match value {
                Value::Array(items) => Some(items.len().into()),
                Value::Object(members) => Some(members.len().into()),
                // In characters of UTF-16, as Java counts.
                Value::String(text) if self == Self::Length => Some(text.encode_utf16().count().into()),
                _ => None,
            },
            Self::Keys => {
                value.as_object().map(|members| Value::array(members.keys().map(|key| key.clone().into())))
            }
            Self::First => value.at(0).cloned(),
            Self::Last => value.as_array().and_then(|items| items.last().cloned()),
            Self::Index(index) => super::syntax::Step::Index(index).of(value).cloned(),
            Self::Min | Self::Max | Self::Avg | Self::Sum | Self::Stddev => self.aggregate(value),
        };
        result.ok_or_else(|| {
            PathError::Function(format!("The function {}() cannot take {}", self.name(), describe(value)))
        })
    }

    /// Over the numbers of an array; other items are passed over. Results are doubles, as in Java.
    fn aggregate(self, value: &Value) -> Option<Value> {
        let numbers: Vec<f64> = value.as_array()?.iter().filter_map(Value::as_f64).collect();
        if numbers.is_empty() {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "an array has far fewer than 2^53 items")]
        let count = numbers.len() as f64;
        let sum: f64 = numbers.iter().sum();
        let result = match self {
            Self::Min => numbers.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Max => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Self::Avg => sum / count,
            Self::Stddev => {
                let mean = sum / count;
                (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count).sqrt()
            }
            _ => sum,
        };
        Number::from_f64(result).map(Value::Number)
    }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Array(items) if items.is_empty() => "an empty array",
        Value::Array(_) => "an array without numbers",
        Value::Object(_) => "an object",
        Value::String(_) => "a string",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null => "null",
    }
}
