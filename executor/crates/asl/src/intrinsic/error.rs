//! What can go wrong with an intrinsic function, and the bound of its work.

use crate::path::{EvalError, Path, PathError, Scope, VISITS_MAX, units_of};
use crate::value::{JsonLimits, LimitExceeded, Value};

/// A text is no call of an intrinsic function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at character {column} of the intrinsic function '{text}'")]
pub struct IntrinsicSyntaxError {
    /// The whole text.
    pub text: String,
    /// Character of the text where it stops being a call, from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

/// A function cannot take what it is given. Positions count arguments from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("Argument {position} must be {expected}, but it is of type {found}")]
    Kind { position: usize, expected: &'static str, found: &'static str },
    #[error("Argument {position} must be {expected}, but it is {found}")]
    Value { position: usize, expected: &'static str, found: String },
    #[error("Argument {position} must have at most {limit} characters, but it has {found}")]
    Characters { position: usize, limit: usize, found: usize },
    #[error("Argument {position} is too large: {reason}")]
    Size { position: usize, reason: LimitExceeded },
    #[error("The result is longer than {0} bytes")]
    Result(usize),
    #[error("The array would have {found} items; at most {limit} are allowed")]
    Items { limit: usize, found: u128 },
    #[error("The index {index} is out of bounds for an array of length {length}")]
    Index { index: i64, length: usize },
    #[error("The template has {places} occurrences of {{}}, but {given} values are given for them")]
    Places { places: usize, given: usize },
    #[error("Argument {position} is no valid JSON: {reason}")]
    Json { position: usize, reason: crate::value::JsonError },
    #[error("Argument {position} is no valid Base64 text: {reason}")]
    Base64 { position: usize, reason: base64::DecodeError },
    #[error("Argument {position} decodes to bytes that are no text in UTF-8")]
    NoText { position: usize },
    #[error("Deep merging is not supported: argument {position} must be false")]
    DeepMerge { position: usize },
    #[error("The start number {start} must be less than the end number {end}")]
    EmptyRange { start: i64, end: i64 },
    #[error("The functions of one field read and build more than {WORK_MAX} bytes")]
    Work,
}

/// What the functions of one template may read and build: sixty-four payloads of the largest size. Without it a
/// definition of the largest size could call for gigabytes.
const WORK_MAX: usize = 64 * JsonLimits::PAYLOAD_BYTES;

/// What the paths of one template may visit, and how many matches they may keep: a few times what a single one may. One
/// path's bound does not bound ten thousands of them.
const VISITS: usize = 4 * VISITS_MAX;
const MATCHES_MAX: usize = 1 << 20;

/// What the results of JSONata expressions in one template may take before the next is evaluated, in bytes of JSON:
/// sixteen payloads of the largest size.
const JSONATA_RESULTS_BYTES_MAX: usize = 4 << 20;

/// The bytes that the functions of one evaluation may still read and build, the values that its paths may still visit and
/// keep, and the bytes that its JSONata expressions may still give.
#[derive(Debug, Clone)]
pub struct Work {
    left: usize,
    visits: usize,
    matches: usize,
    results: usize,
}

impl Default for Work {
    fn default() -> Self {
        Self { left: WORK_MAX, visits: VISITS, matches: MATCHES_MAX, results: JSONATA_RESULTS_BYTES_MAX }
    }
}

impl Work {
    /// The value of a path. A plain definite one costs nothing: its value is shared.
    ///
    /// # Errors
    /// As [`Path::evaluate`], within what is left of the bounds.
    pub(crate) fn value_of(&mut self, path: &Path, scope: &Scope<'_>) -> Result<Value, PathError> {
        let mut visits = self.visits.min(VISITS_MAX);
        let before = visits;
        let value = path.evaluate_within(scope, &mut visits);
        self.visits -= before - visits;
        let value = value?;
        if let Value::Array(matches) = &value
            && !path.is_definite()
        {
            let left = self.matches.checked_sub(matches.len());
            self.matches = left.ok_or(PathError::TooManyMatches(MATCHES_MAX))?;
        }
        Ok(value)
    }

    /// Units of work that the functions have done; paths and expressions count theirs themselves.
    pub(crate) fn units(&self) -> u64 {
        units_of(WORK_MAX - self.left)
    }

    /// Whether another JSONata expression may be evaluated.
    ///
    /// # Errors
    /// `States.DataLimitExceeded`, when those before it gave more than a template's may.
    pub(crate) fn more_results(&self) -> Result<(), EvalError> {
        if self.results > 0 {
            return Ok(());
        }
        let message =
            format!("The expressions of the field give more than {JSONATA_RESULTS_BYTES_MAX} bytes.");
        Err(EvalError::new(EvalError::DATA_LIMIT_EXCEEDED, message))
    }

    /// Takes the result of a JSONata expression from the bound. One alone may be longer: whoever asked for it has a bound
    /// of its own.
    pub(crate) fn gave(&mut self, result: &Value) {
        let limits = JsonLimits { bytes: self.results, ..JsonLimits::default() };
        self.results = match result {
            Value::String(text) => self.results.saturating_sub(text.len()),
            Value::Array(_) | Value::Object(_) => {
                result.measure(limits).map_or(0, |measured| self.results - measured.bytes)
            }
            _ => self.results,
        };
    }

    /// Takes its part of the bound, before it is used.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Failure> {
        self.left = self.left.checked_sub(bytes).ok_or(Failure::Work)?;
        Ok(())
    }

    /// For an array that is about to be built.
    pub(super) fn items(&mut self, count: usize) -> Result<(), Failure> {
        self.spend(count.saturating_mul(size_of::<Value>()))
    }

    /// For a tree that is about to be walked; refuses what is larger or deeper than a payload.
    pub(super) fn walk(&mut self, position: usize, value: &Value) -> Result<(), Failure> {
        match value.measure(JsonLimits::PAYLOAD) {
            Ok(measured) => self.spend(measured.bytes),
            Err(reason) => Err(Failure::Size { position, reason }),
        }
    }
}
