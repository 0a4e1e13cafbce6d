//! Evaluation by `jsonata-core`.
//!
//! Invariants: nothing reads a clock or chance of the machine (time and draws come from the scope, and the crate's own
//! time limit stays off: it would let a clock decide, where fuel decides); only what the expression names is converted, and
//! where an array is in the way of a name, all of the member of `$states` or variable that it begins with. What may fail:
//! the evaluation, within bounds of depth, length and fuel that do not depend on time.

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorError, EvaluatorOptions};
use jsonata_core::value::JValue;

use super::error::Reason;
use super::fuel::Fuel;
use super::functions::Chance;
use super::meter::{self, Metered, hoist, prelude};
use super::plain::Walked;
use super::references::{Inside, Only, References, Refusal};
use super::{DEPTH_MAX, SEQUENCE_MAX, convert, plain, references, words};
use crate::path::Scope;
use crate::value::Value;

/// An expression as the engine takes it.
#[derive(Debug)]
pub(super) struct Program {
    /// With plain paths taken out, where there are any.
    lean: Option<Tree>,
    full: Tree,
    only: Only,
}

#[derive(Debug)]
struct Tree {
    metered: Metered,
    reads: References,
}

impl Program {
    /// # Errors
    /// When something cannot be bounded.
    pub(super) fn new(ast: AstNode, reads: &References, inside: &Inside) -> Result<Self, Refusal> {
        let metered = meter::weave(ast.clone(), inside, true).map_err(Refusal::Forbidden)?;
        let lean = if metered.hoisted.is_empty() {
            None
        } else {
            let reads = references::of_woven(&metered.ast)?;
            Some(Tree { metered, reads })
        };
        let full = Tree {
            metered: meter::weave(ast, inside, false).map_err(Refusal::Forbidden)?,
            reads: reads.clone(),
        };
        Ok(Self { lean, full, only: inside.only(reads) })
    }

    pub(super) fn evaluate(&self, scope: &Scope<'_>, fuel: u64) -> Result<Value, Reason> {
        let lean = self.lean.as_ref().and_then(|lean| Some((lean, lean.hoisted(scope)?)));
        let result = match lean {
            Some((lean, context)) => lean.evaluate(context, scope, fuel),
            None => self.full.evaluate(Context::new(), scope, fuel),
        };
        result.map_err(|reason| match reason {
            Reason::Threw(message) => Reason::Threw(words::of_language(&message, &self.only)),
            other => other,
        })
    }
}

impl Tree {
    /// The hoisted paths' values; none when only the engine knows one of them.
    fn hoisted(&self, scope: &Scope<'_>) -> Option<Context> {
        let mut context = Context::new();
        for (place, hoisted) in self.metered.hoisted.iter().enumerate() {
            let value = match hoisted.path.walk(scope) {
                Walked::Value(value) => convert::to_engine(&value),
                Walked::Undefined if !hoisted.filtered => JValue::Undefined,
                Walked::Undefined | Walked::Unknown => return None,
            };
            context.bind(hoist::variable(place), value);
        }
        Some(context)
    }

    fn evaluate(&self, mut context: Context, scope: &Scope<'_>, fuel: u64) -> Result<Value, Reason> {
        self.bind(&mut context, scope);
        let options = EvaluatorOptions {
            timeout_ms: None,
            cancel: None,
            max_stack_depth: Some(DEPTH_MAX),
            max_sequence_length: Some(SEQUENCE_MAX),
        };
        let mut engine = Evaluator::with_options(context, options);
        let (most, fuel) = (fuel, Fuel::of(fuel));
        self.register(&mut engine, scope, &fuel).map_err(threw)?;
        // There is no document.
        let result = engine.evaluate(&self.metered.ast, &JValue::Undefined);
        // What was refused was not done.
        scope.context.spend(fuel.burnt().min(most));
        convert::from_engine(&result.map_err(threw)?)
    }

    fn register(&self, engine: &mut Evaluator, scope: &Scope<'_>, fuel: &Fuel) -> Result<(), EvaluatorError> {
        fuel.register(engine)?;
        let functions = &self.metered.functions;
        let needs_chance = functions.iter().any(|function| function.needs_chance());
        let chance = Chance::from_draw(if needs_chance { scope.context.draw() } else { 0 });
        functions.iter().try_for_each(|function| function.register(engine, scope, &chance, fuel))
    }

    fn bind(&self, context: &mut Context, scope: &Scope<'_>) {
        for name in &self.reads.variables {
            if let Some(value) = scope.variables.and_then(|variables| variables.get(name)) {
                let is_function = self.metered.values.contains(&name.as_str());
                let name = if is_function { prelude::variable(name) } else { name.to_string() };
                context.bind(name, convert::to_engine(value));
            }
        }
        if let Some(states) = plain::states_of(&self.reads, scope) {
            context.bind("states".to_owned(), convert::to_engine(&states));
        }
    }
}

fn threw(error: EvaluatorError) -> Reason {
    Reason::Threw(error.message().to_owned())
}
