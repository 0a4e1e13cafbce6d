//! What can go wrong with an expression, in AWS's words where they are recorded.

use crate::path::EvalError;
use crate::value::{Str, Value};

/// A text is no expression that Step Functions accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// A string opens or closes an expression and does not do both.
    #[error(
        "a JSONata expression starts with '{{%' and ends with '%}}', without white space around them, but the string \
         is '{0}'"
    )]
    Delimiters(String),
    /// Not JSONata. The reason begins with the error code of the language where it has one.
    #[error("{reason} in the JSONata expression '{text}'")]
    Grammar {
        /// The expression.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// JSONata that Step Functions does not have.
    #[error("{reason} in the JSONata expression '{text}'")]
    Forbidden {
        /// The expression.
        text: String,
        /// What is not allowed in it, and what to write instead.
        reason: String,
    },
    /// Longer or deeper than an expression may be.
    #[error("a JSONata expression {0}")]
    TooLarge(&'static str),
}

/// An evaluation failed: `States.QueryEvaluationError`.
///
/// [`Failure::in_field`] makes the state's error of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    expression: Str,
    reason: Reason,
}

/// Why an evaluation failed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reason {
    /// The expression gives nothing.
    Undefined,
    /// The engine's error, with the code of the language where it has one.
    Threw(String),
    /// The field takes another type.
    Type { expected: &'static str, was: &'static str, value: Option<Value> },
}

impl Failure {
    /// The error name of every failure.
    pub const ERROR: &'static str = "States.QueryEvaluationError";

    pub(super) fn new(expression: &Str, reason: Reason) -> Self {
        Self { expression: expression.clone(), reason }
    }

    /// The error of a state in whose field the expression stands. The field is written from the state downwards,
    /// with slashes: `Output/FunctionResult`.
    #[must_use]
    pub fn in_field(&self, field: &str) -> EvalError {
        EvalError::query(field, self.text(Some(field)))
    }

    fn text(&self, field: Option<&str>) -> String {
        let subject = match field {
            Some(field) => {
                format!("The JSONata expression '{}' specified for the field '{field}'", self.expression)
            }
            None => format!("The JSONata expression '{}'", self.expression),
        };
        match &self.reason {
            Reason::Undefined => format!("{subject} returned nothing (undefined)."),
            Reason::Threw(message) => format!("{subject} threw an error during evaluation. {message}"),
            Reason::Type { expected, was, value: Some(value) } => format!(
                "{subject} returned an unexpected result type. Expected '{expected}', but was '{was}' for value: {value}"
            ),
            Reason::Type { expected, was, value: None } => {
                format!(
                    "{subject} returned an unexpected result type. Expected '{expected}', but was '{was}'"
                )
            }
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text(None))
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for EvalError {
    fn from(failure: Failure) -> Self {
        Self::new(Failure::ERROR, failure.text(None))
    }
}
