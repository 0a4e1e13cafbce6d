//! Intrinsic functions: `States.Format('{}', $.a)` and its like, in JSONPath states.
//!
//! A call is parsed once, when a definition is compiled: functions are found by name, paths compiled, escapes
//! resolved. An evaluation allocates what the functions build and nothing else. Rooms: `parse` (text to call),
//! `function` (the table of all 18, and what a function is given), `error`, and one for each family of functions as
//! the developer guide groups them: `array`, `encoding` (Base64, hashes), `json`, `math`, `text`, `unique`.
//!
//! Invariants: at most [`CALLS_MAX`] calls in one text; the number of arguments fits the function; chance comes from
//! [`ContextSource::draw`](crate::path::ContextSource::draw) alone; what the functions of one template read and build
//! is bounded by [`Work`]. What may fail: parsing, with the character where the text stops being a call; evaluating, with
//! `States.IntrinsicFailure`, or `States.ParameterPathFailure` where an argument's path names nothing.

mod array;
mod encoding;
mod error;
mod function;
mod json;
mod math;
mod parse;
mod text;
mod unique;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use error::Failure;
pub use error::{IntrinsicSyntaxError, Work};
use function::{Arguments, Function};
use smallvec::SmallVec;

use crate::path::{EvalError, Path, PathError, Scope};
use crate::value::{Str, Value};

/// Calls in one text, the outermost included, as the developer guide counts them.
pub const CALLS_MAX: usize = 10;

/// A compiled call of an intrinsic function. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intrinsic {
    text: Str,
    call: Arc<Call>,
}

#[derive(Debug)]
struct Call {
    function: &'static Function,
    /// The first argument of `States.Format` where it is written out: what stands around the `{}`s. It is not among the
    /// arguments.
    pattern: Option<Box<[Str]>>,
    arguments: Box<[Argument]>,
    /// Where the call stands in the whole text, in bytes.
    span: Range<usize>,
}

#[derive(Debug)]
enum Argument {
    /// `'text'`, a number, `true`, `false`, `null`.
    Literal(Value),
    /// `$...`, `$$...`, `$name...`
    Path(Path),
    /// A call inside of the call.
    Call(Call),
}

impl Intrinsic {
    /// Compiles a call.
    ///
    /// # Errors
    /// When the text is no call of an intrinsic function, or has more calls than one text may have.
    pub fn parse(text: &str) -> Result<Self, IntrinsicSyntaxError> {
        let call = parse::intrinsic(text)?;
        Ok(Self { text: text.into(), call: Arc::new(call) })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Name of the outermost function: `States.Format`.
    pub fn name(&self) -> &'static str {
        self.call.function.name
    }

    /// Whether `ErrorPath` and `CausePath` of a Fail state may call it: the outermost function is one of the seven that
    /// the developer guide lists there.
    pub fn is_allowed_in_fail(&self) -> bool {
        self.call.function.in_fail
    }

    /// The names of the functions that are allowed in a Fail state.
    pub fn names_in_fail() -> impl Iterator<Item = &'static str> {
        function::FUNCTIONS.iter().filter(|function| function.in_fail).map(|function| function.name)
    }

    /// The paths among the arguments, those of inner calls included, in the order of the text.
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        self.call.collect_paths(&mut paths);
        paths
    }

    /// Calls the function.
    ///
    /// # Errors
    /// `States.IntrinsicFailure` when a function cannot take what it is given; `States.ParameterPathFailure` when the
    /// path of an argument gives no value.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        let mut work = Work::default();
        let value = self.evaluate_within(scope, &mut work);
        scope.context.spend(work.units());
        value
    }

    /// Calls the function as a part of a larger evaluation, whose bound it shares.
    ///
    /// # Errors
    /// As [`Intrinsic::evaluate`].
    pub fn evaluate_within(&self, scope: &Scope<'_>, work: &mut Work) -> Result<Value, EvalError> {
        self.call.evaluate(&self.text, scope, work)
    }
}

impl Call {
    /// Recursion is as deep as calls are nested, [`CALLS_MAX`] at most.
    fn evaluate(&self, text: &str, scope: &Scope<'_>, work: &mut Work) -> Result<Value, EvalError> {
        let mut values: SmallVec<[Value; 4]> = SmallVec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            values.push(match argument {
                Argument::Literal(value) => value.clone(),
                Argument::Path(path) => {
                    work.value_of(path, scope).map_err(|error| self.no_value(text, path, scope, &error))?
                }
                Argument::Call(call) => call.evaluate(text, scope, work)?,
            });
        }
        let mut arguments = Arguments { values: &values, pattern: self.pattern.as_deref(), scope, work };
        (self.function.apply)(&mut arguments).map_err(|failure| self.failed(text, &failure))
    }

    fn failed(&self, text: &str, failure: &Failure) -> EvalError {
        self.error(EvalError::INTRINSIC_FAILURE, text, failure)
    }

    fn no_value(&self, text: &str, path: &Path, scope: &Scope<'_>, error: &PathError) -> EvalError {
        let reason = match error {
            PathError::Missing(_) => {
                let (path, input) = (path.text(), scope.input);
                format!(
                    "The JsonPath argument for the field '{path}' could not be found in the input '{input}'"
                )
            }
            other => format!("Invalid path '{}': {other}", path.text()),
        };
        self.error(EvalError::PARAMETER_PATH_FAILURE, text, &reason)
    }

    /// In the words of AWS, which name the call.
    fn error(&self, name: &'static str, text: &str, reason: &dyn std::fmt::Display) -> EvalError {
        let call = text.get(self.span.clone()).unwrap_or(text);
        EvalError::new(name, format!("The function '{call}' had the following error: {reason}"))
    }

    fn collect_paths<'a>(&'a self, paths: &mut Vec<&'a Path>) {
        for argument in &self.arguments {
            match argument {
                Argument::Literal(_) => {}
                Argument::Path(path) => paths.push(path),
                Argument::Call(call) => call.collect_paths(paths),
            }
        }
    }
}
