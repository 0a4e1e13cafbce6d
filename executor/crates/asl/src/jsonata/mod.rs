//! JSONata expressions as Step Functions accepts them.
//!
//! Purpose: compile what stands between `{%` and `%}` once, say what it reads from outside, evaluate it against a
//! [`Scope`]. The language is that of the crate `jsonata-core`; what Step Functions adds, replaces and forbids is here, and
//! only this room knows that crate. A plain path (`$states.input.a.b`, `$name.a`) never enters it: it is walked over our
//! values, with exact integers.
//!
//! Invariants: an expression is immutable and cheap to clone; the same expression, scope, instant and draws always give
//! the same result, also the same failure: all bounds are counted, none is a time. What may fail: compiling
//! ([`SyntaxError`]), evaluating ([`Failure`], which is `States.QueryEvaluationError`).

mod convert;
mod engine;
mod error;
mod field;
mod fuel;
mod functions;
mod meter;
mod names;
mod plain;
mod references;
mod url;
mod words;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use error::{Failure, SyntaxError};
pub use field::{Text, delimited};
pub use names::is_function;
pub use references::References;

use engine::Program;
use error::Reason;
use jsonata_core::parser;
use plain::{PlainPath, Walked};
use references::Refusal;

use crate::path::Scope;
use crate::value::{Str, Value};

/// Longest text of an expression in bytes. It also keeps array literals below the 65,536 items from which on the engine
/// would drop some.
pub const TEXT_MAX: usize = 65_536;

/// Deepest nesting of an expression's text: of brackets, and of operators in a row.
pub(crate) const NESTING_MAX: usize = 256;

/// Deepest nesting of evaluations: of the expression, and of functions that call each other.
pub(crate) const DEPTH_MAX: usize = 5_000;

/// Longest sequence that an evaluation may build: as long as an array in a payload can be.
pub(crate) const SEQUENCE_MAX: usize = 131_072;

/// Fuel of an evaluation. A unit is about 100 ns of work, or some dozens of bytes: what is hostile ends within about a
/// second (a few where it compiles large regular expressions), with some hundreds of megabytes at most.
pub(crate) const FUEL: u64 = 1 << 23;

/// A compiled expression. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Expression(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    text: Str,
    references: References,
    plain: Option<PlainPath>,
    program: Program,
}

impl Expression {
    /// Compiles what stands between the delimiters.
    ///
    /// # Errors
    /// When the text is too long, is no JSONata, or asks for something that Step Functions does not have: `$eval`, `$$`,
    /// or a document (`$` and bare names outside of a step, a filter and the like).
    pub fn compile(text: &str) -> Result<Self, SyntaxError> {
        let text = text.trim();
        if text.len() > TEXT_MAX {
            return Err(SyntaxError::TooLarge("has at most 65536 bytes"));
        }
        let grammar = |reason| SyntaxError::Grammar { text: text.to_owned(), reason };
        let ast = parser::parse(text).map_err(|error| grammar(words::of_grammar(&error.to_string())))?;
        let refused = |refusal| match refusal {
            Refusal::Grammar(reason) => grammar(reason),
            Refusal::Forbidden(reason) => SyntaxError::Forbidden { text: text.to_owned(), reason },
        };
        let (references, inside) = references::find(&ast).map_err(refused)?;
        let plain = PlainPath::of(&ast);
        let program = Program::new(ast, &references, &inside).map_err(refused)?;
        Ok(Self(Arc::new(Compiled { text: text.into(), references, plain, program })))
    }

    /// As it was written, without white space around it.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What it reads from outside.
    pub fn references(&self) -> &References {
        &self.0.references
    }

    /// The value of the expression.
    ///
    /// # Errors
    /// `States.QueryEvaluationError` when it gives nothing, a function or a number that is not finite, when a function
    /// or an operator cannot take its arguments, or when it takes more than an evaluation may.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, Failure> {
        self.evaluate_within(FUEL.min(scope.context.fuel()), scope)
    }

    fn evaluate_within(&self, fuel: u64, scope: &Scope<'_>) -> Result<Value, Failure> {
        let result = match self.0.plain.as_ref().map(|path| path.walk(scope)) {
            Some(Walked::Value(value)) => Ok(value),
            Some(Walked::Undefined) => Err(Reason::Undefined),
            Some(Walked::Unknown) | None => self.0.program.evaluate(scope, fuel),
        };
        result.map_err(|reason| Failure::new(&self.0.text, reason))
    }

    /// The failure of a field that takes another type than this value of the expression has. The types are JSON's:
    /// `array`, `boolean`, `null`, `number`, `object`, `string`.
    #[must_use]
    pub fn unexpected(&self, expected: &'static str, value: &Value) -> Failure {
        Failure::new(&self.0.text, Reason::Type { expected, was: value.kind(), value: Some(value.clone()) })
    }
}
