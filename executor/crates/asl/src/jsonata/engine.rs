//! Evaluation by `jsonata-core`.
//!
//! Invariants: nothing reads a clock or chance of the machine (time and draws come from the scope, and the crate's own
//! time limit stays off: it would let a clock decide); only what the expression names is converted. What may fail: the
//! evaluation, within bounds of depth and length that do not depend on time.

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorError, EvaluatorOptions};
use jsonata_core::value::JValue;

use super::error::Reason;
use super::functions::{Chance, Function};
use super::references::References;
use super::{DEPTH_MAX, SEQUENCE_MAX, convert, plain};
use crate::path::Scope;
use crate::value::Value;

/// An expression as the engine takes it.
#[derive(Debug)]
pub(super) struct Program {
    ast: AstNode,
    functions: Vec<Function>,
}

impl Program {
    pub(super) fn new(ast: AstNode, functions: Vec<Function>) -> Self {
        Self { ast, functions }
    }

    pub(super) fn evaluate(&self, references: &References, scope: &Scope<'_>) -> Result<Value, Reason> {
        let mut context = Context::new();
        bind(&mut context, references, scope);
        let options = EvaluatorOptions {
            timeout_ms: None,
            cancel: None,
            max_stack_depth: Some(DEPTH_MAX),
            max_sequence_length: Some(SEQUENCE_MAX),
        };
        let mut engine = Evaluator::with_options(context, options);
        self.register(&mut engine, scope).map_err(threw)?;
        // There is no document.
        let result = engine.evaluate(&self.ast, &JValue::Undefined).map_err(threw)?;
        convert::from_engine(&result)
    }

    fn register(&self, engine: &mut Evaluator, scope: &Scope<'_>) -> Result<(), EvaluatorError> {
        let needs_chance = self.functions.iter().any(|function| function.needs_chance());
        let chance = Chance::from_draw(if needs_chance { scope.context.draw() } else { 0 });
        self.functions.iter().try_for_each(|function| function.register(engine, scope, &chance))
    }
}

fn bind(context: &mut Context, references: &References, scope: &Scope<'_>) {
    for name in &references.variables {
        if let Some(value) = scope.variables.and_then(|variables| variables.get(name)) {
            context.bind(name.to_string(), convert::to_engine(value));
        }
    }
    if let Some(states) = plain::states_of(references, scope) {
        context.bind("states".to_owned(), convert::to_engine(&states));
    }
}

/// The engine names the function behind the language's own sentence; AWS does not.
fn threw(error: EvaluatorError) -> Reason {
    const NO_FUNCTION: &str = "T1006: Attempted to invoke a non-function";
    let message = error.message();
    Reason::Threw(if message.starts_with(NO_FUNCTION) { NO_FUNCTION } else { message }.to_owned())
}
