//! One state alone, tested: what `TestState` of Step Functions answers.
//!
//! Purpose: [`test`] takes the definition of a state (or of a machine, and a state's name in it), an input, and a mock of
//! what the state's work gives, and says how the state ends, where it leads, and what its data were between its fields.
//! Invariants: pure; the state is evaluated, retried and caught by the code that executions run, which is only watched
//! and told the outcome of the work; time is virtual. What may fail: the request, with a [`Rejection`] in AWS's words where
//! they are known; a failure of the state is an answer.
//!
//! Rooms: `checks` (which requests go together), `context` (a given context object), `results` (mocked results against
//! the shapes of services), `isolate` (the state out of its machine), `inspector` (what is seen), `run` (to the end).

mod checks;
mod context;
mod inspector;
mod isolate;
mod results;
mod run;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::definition::{Diagnostic, invalid_definition};
use crate::program::Dialect;
use crate::timestamp::Timestamp;
use crate::value::{Map, Payload, Str, Value};

/// What to test, and how.
#[derive(Debug, Clone)]
pub struct TestState<'a> {
    /// The definition of a state; with a [`Self::state_name`] that of a machine. JSON.
    pub definition: &'a [u8],
    /// The language of the definition.
    pub dialect: Dialect,
    /// Which state of the machine, at any depth.
    pub state_name: Option<Str>,
    /// The state's raw input.
    pub input: Payload,
    /// The variables that the state sees.
    pub variables: Option<Map>,
    /// The context object, in place of one that is made; only beside a mock.
    pub context: Option<Value>,
    /// What the state's work gives.
    pub mock: Option<Mock>,
    /// What has happened before.
    pub configuration: Configuration,
    /// How much of the data flow the answer tells.
    pub level: InspectionLevel,
    /// Whether secrets of HTTP requests are told; not beside a mock.
    pub reveal_secrets: bool,
    /// What the context object is made from.
    pub identity: Identity,
    /// When the test begins.
    pub now: Timestamp,
}

/// What the state's work gives: one of result and error.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mock {
    /// The result, JSON.
    pub result: Option<String>,
    /// The error.
    pub error_output: Option<ErrorOutput>,
    /// How closely the result is held to the shape of the service's.
    pub validation: FieldValidation,
}

/// A mocked error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorOutput {
    /// Its name; required.
    pub error: Option<Str>,
    /// Its cause.
    pub cause: Option<Str>,
}

/// How closely a mocked result is held to the shape of the service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Required fields are there, and all that are there conform.
    #[default]
    Strict,
    /// All fields that are there conform.
    Present,
    /// Any JSON will do.
    None,
}

/// What has happened before the state, and inside of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// How often the retrier that takes the mocked error has retried.
    pub retrier_retry_count: u32,
    /// The state inside of a Parallel or Map state that the mocked error comes from.
    pub error_caused_by_state: Option<Str>,
    /// How many iterations of a Map failed.
    pub map_iteration_failure_count: Option<u64>,
    /// What the reader of a distributed Map reads, as it is at its source.
    pub map_item_reader_data: Option<String>,
}

/// How much of the data flow the answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InspectionLevel {
    /// Nothing.
    #[default]
    Info,
    /// The data after each field.
    Debug,
    /// As `Debug`; in AWS also requests and responses of HTTP tasks, which a mock has not.
    Trace,
}

/// Names for the context object that is made.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The region in ARNs.
    pub region: Str,
    /// The account in ARNs.
    pub account: Str,
    /// The machine's name.
    pub machine: Str,
    /// The execution's name.
    pub execution: Str,
    /// The role's name.
    pub role: Str,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            region: "local".into(),
            account: "000000000000".into(),
            machine: "machine".into(),
            execution: "test".into(),
            role: "local".into(),
        }
    }
}

/// How the state ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Tested {
    /// In one word.
    pub status: Status,
    /// What it passes on, where it is left.
    pub output: Option<Payload>,
    /// The error's name; also of one that is caught or retried.
    pub error: Option<Str>,
    /// The error's cause.
    pub cause: Option<Str>,
    /// The state that follows.
    pub next_state: Option<Str>,
    /// The members of `inspectionData`, in the order in which the data flow; `None` at [`InspectionLevel::Info`].
    pub inspection: Option<Map>,
}

/// How the state ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is left by `Next` or `End`.
    Succeeded,
    /// It failed for good.
    Failed,
    /// It failed, and a retrier would try again.
    Retriable,
    /// It failed, and a catcher takes over.
    CaughtError,
}

impl Status {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Retriable => "RETRIABLE",
            Self::CaughtError => "CAUGHT_ERROR",
        }
    }
}

/// Why nothing was tested.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejection {
    /// The error code of the API: `ValidationException` or `InvalidDefinition`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Whether a mock would repair it.
    pub needs_mock: bool,
    /// What is wrong with the definition, where it is that.
    pub diagnostics: Vec<Diagnostic>,
}

impl Rejection {
    fn validation(message: impl Into<String>) -> Self {
        Self {
            code: "ValidationException",
            message: message.into(),
            needs_mock: false,
            diagnostics: Vec::new(),
        }
    }

    fn definition(diagnostics: Vec<Diagnostic>) -> Self {
        let message = invalid_definition(&diagnostics);
        Self { code: "InvalidDefinition", message, needs_mock: false, diagnostics }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Rejection {}

/// Tests a state.
///
/// # Errors
/// When the definition is invalid, or the parts of the request do not go together.
pub fn test(request: &TestState<'_>) -> Result<Tested, Rejection> {
    let (program, around) = isolate::compile(request)?;
    let work = checks::check(request, isolate::tested(&program))?;
    run::run(request, program, around, work)
}
