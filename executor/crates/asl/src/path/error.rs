//! What can go wrong with a path, in AWS's words where they are recorded.

use super::Path;
use crate::value::{Str, Value};

/// A text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at character {column} of the path '{text}'")]
pub struct PathSyntaxError {
    /// The whole text.
    pub text: String,
    /// Character of the text where it stops being a path, from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

/// A path gives no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A definite path names nothing. The text says how far it leads, in the words of AWS and its JSONPath
    /// library: `No results for path: $['a']`.
    #[error("{0}")]
    Missing(String),
    /// A function of the path cannot take what it got.
    #[error("{0}")]
    Function(String),
    /// The path visits more values than any path may.
    #[error("the path visits more than {0} values of the input")]
    TooMuchWork(usize),
    /// The paths of one template select more values together than those of any template may.
    #[error("the paths of the field select more than {0} values")]
    TooManyMatches(usize),
}

/// An evaluation failed: what the state's error will be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {message}")]
pub struct EvalError {
    /// Error name, for example [`EvalError::RUNTIME`].
    pub error: &'static str,
    /// The cause, without the sentence that names the state.
    pub message: String,
    /// The field of a JSONata state that could not be evaluated, as the history's `EvaluationFailed` names it.
    pub location: Option<Str>,
}

impl EvalError {
    /// Not retried, not caught.
    pub const RUNTIME: &'static str = "States.Runtime";
    /// A path of a payload template gives no value.
    pub const PARAMETER_PATH_FAILURE: &'static str = "States.ParameterPathFailure";
    /// An intrinsic function cannot take what it is given.
    pub const INTRINSIC_FAILURE: &'static str = "States.IntrinsicFailure";
    /// `ResultPath` does not apply to the state's input.
    pub const RESULT_PATH_MATCH_FAILURE: &'static str = "States.ResultPathMatchFailure";

    /// A field of a JSONata state gives no value, or none that the field takes.
    pub const QUERY_EVALUATION_ERROR: &'static str = "States.QueryEvaluationError";

    /// What a state makes of its data is longer, or nested deeper, than may be passed on.
    pub const DATA_LIMIT_EXCEEDED: &'static str = "States.DataLimitExceeded";

    /// This error with this message.
    pub fn new(error: &'static str, message: impl Into<String>) -> Self {
        Self { error, message: message.into(), location: None }
    }

    /// `States.Runtime` with this message.
    pub fn runtime(message: impl Into<String>) -> Self {
        Self::new(Self::RUNTIME, message)
    }

    /// `States.QueryEvaluationError` with this message, for this field of a JSONata state.
    pub fn query(field: &str, message: impl Into<String>) -> Self {
        Self { location: Some(field.into()), ..Self::new(Self::QUERY_EVALUATION_ERROR, message) }
    }

    /// For states that cannot catch a template's path that leads nowhere: there it ends the execution as what it is, a
    /// mistake of the definition.
    #[must_use]
    pub fn uncaught(self) -> Self {
        match self.error {
            Self::PARAMETER_PATH_FAILURE => Self::runtime(self.message),
            _ => self,
        }
    }

    /// For `InputPath`, `OutputPath`, `TimeoutSecondsPath` and the like.
    pub fn invalid_path(path: &Path, error: &PathError) -> Self {
        Self::runtime(format!("Invalid path '{}' : {error}", path.text()))
    }

    /// For a field that a path has to fill: `Parameters`' `x.$`, `ErrorPath`, `CausePath`.
    pub fn not_found(path: &Path, field: &str, input: &Value) -> Self {
        Self::runtime(format!(
            "The JSONPath '{}' specified for the field '{field}' could not be found in the input '{input}'",
            path.text()
        ))
    }

    /// For the paths of a choice rule.
    pub fn invalid_condition_path(path: &Path) -> Self {
        Self::runtime(format!(
            "Invalid path '{}': The choice state's condition path references an invalid value.",
            path.text()
        ))
    }
}
