//! From a definition's text to a [`Program`], with all problems at once.
//!
//! Purpose: [`Program::compile`] reads the text with positions, checks it against the language's rules, and
//! builds the program. Invariants: a program is built only from a definition without an error; the same
//! text, dialect and type give the same diagnostics in the order of the text; nothing here panics or
//! recurses beyond [`DEPTH_MAX`] levels whatever the text. What may fail: the definition, with diagnostics
//! that carry code, message, place, line and column. Codes and words are those of Step Functions where they
//! are known.
//!
//! Rooms: `json` (the reader), `findings` (problems and places), `fields` (which fields stand where),
//! `compile` (machine and graphs), `states` (one state), `alone` (one without a machine), `errors` (Retry
//! and Catch), `choice` (rules), `map` (Map states), `distributed` (what only distributed ones have), `flow` (paths and
//! templates), `query` (JSONata),
//! `assign` and `scopes` (variables), `tcsl` (what the dialect has and has not), `suggest` (what a misspelt name may have
//! meant), `remarks`, `integrations` and `unused` (warnings about what is allowed and hardly meant), `render`
//! (diagnostics for people),
//! `catalog` (what each code means).

use std::sync::Arc;

use crate::program::{Dialect, Program};
use compile::Whole;

mod alone;
mod assign;
pub mod catalog;
mod choice;
mod compile;
mod distributed;
mod errors;
mod fields;
mod findings;
mod flow;
mod graph;
mod integrations;
mod json;
mod map;
mod query;
mod remarks;
mod render;
mod scopes;
mod states;
mod suggest;
mod tcsl;
mod unused;

pub use alone::TESTED_STATE;
pub use findings::FINDINGS_MAX;
pub use integrations::no_such_form;
pub use json::{DEPTH_MAX, JsonProblem, JsonProblemKind, explain as explain_json};
pub use render::{Style, render};

/// The longest definition, in bytes.
pub const DEFINITION_BYTES_MAX: usize = 1 << 20;

/// What the compiled regular expressions in the paths of one definition may take, in bytes.
pub(super) const PATTERNS_BYTES_MAX: usize = 16 << 20;
/// The longest name of a state, in characters.
pub const STATE_NAME_MAX: usize = 80;
/// The most states of one graph, so that an index fits [`crate::program::StateIndex`].
pub const STATES_MAX: usize = u16::MAX as usize;

/// Stable codes of diagnostics. What each means, and which are those of `ValidateStateMachineDefinition`:
/// [`catalog`].
pub mod code {
    /// The text is not JSON.
    pub const INVALID_JSON_DESCRIPTION: &str = "INVALID_JSON_DESCRIPTION";
    /// A field is missing, unknown, or has a wrong value.
    pub const SCHEMA_VALIDATION_FAILED: &str = "SCHEMA_VALIDATION_FAILED";
    /// TCSL: a Task's `Resource` is neither a QRN nor an ARN. In ASL that is a schema error, as in AWS's answers,
    /// although its documentation has this code.
    pub const INVALID_RESOURCE: &str = "INVALID_RESOURCE";
    /// No state ends the workflow, the branch or the item processor.
    pub const MISSING_END_STATE: &str = "MISSING_END_STATE";
    /// The same state name twice in one machine.
    pub const DUPLICATE_STATE_NAME: &str = "DUPLICATE_STATE_NAME";
    /// A state name that is too long, or empty.
    pub const INVALID_STATE_NAME: &str = "INVALID_STATE_NAME";
    /// The same `Label` twice in one machine.
    pub const DUPLICATE_LABEL_NAME: &str = "DUPLICATE_LABEL_NAME";
    /// A `Label` that is too long, empty, or holds other characters than it may.
    pub const INVALID_LABEL_NAME: &str = "INVALID_LABEL_NAME";
    /// A transition to a state that is not there; also a state that nothing leads to.
    pub const MISSING_TRANSITION_TARGET: &str = "MISSING_TRANSITION_TARGET";
    /// Arrays and objects nested too deeply.
    pub const TOO_DEEPLY_NESTED: &str = "TOO_DEEPLY_NESTED";
    /// Warning: a field looks like a path, but its name has no `.$`.
    pub const NO_DOLLAR: &str = "NO_DOLLAR";
    /// Warning: a value looks like a path, but the field's name does not end in `Path`.
    pub const NO_PATH: &str = "NO_PATH";
    /// Warning: a path in a Pass state's `Result` stays text.
    pub const PASS_RESULT_IS_STATIC: &str = "PASS_RESULT_IS_STATIC";
    /// Warning, TCSL: `Type` is spelt in other letters.
    pub const TYPE_SPELLING: &str = "TYPE_SPELLING";
    /// Not JSONata.
    pub const INVALID_JSONATA_EXPRESSION: &str = "INVALID_JSONATA_EXPRESSION";
    /// JSONata that Step Functions does not have, or not in this field.
    pub const UNSUPPORTED_JSONATA_EXPRESSION: &str = "UNSUPPORTED_JSONATA_EXPRESSION";
    /// Warning: a Task's integration is nearly one of Step Functions.
    pub const MISSPELT_INTEGRATION: &str = "MISSPELT_INTEGRATION";
    /// Warning: an error's name begins with `States.`, but the language has no such error.
    pub const UNKNOWN_ERROR_NAME: &str = "UNKNOWN_ERROR_NAME";
    /// Warning: a Fail state's `Error` begins with `States.`, which is the language's own.
    pub const RESERVED_ERROR_NAME: &str = "RESERVED_ERROR_NAME";
    /// Warning: an earlier entry of `Retry` or `Catch` has the same error's name.
    pub const REPEATED_ERROR_NAME: &str = "REPEATED_ERROR_NAME";
    /// Warning: a variable is assigned and never read.
    pub const UNUSED_VARIABLE: &str = "UNUSED_VARIABLE";
    /// Warning: from this state no terminal state can be reached.
    pub const ENDLESS_LOOP: &str = "ENDLESS_LOOP";
    /// Warning, TCSL: a field of ASL that ASW does not document.
    pub const UNDOCUMENTED_FIELD: &str = "UNDOCUMENTED_FIELD";
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The definition is refused.
    Error,
    /// The definition is accepted; its author should know.
    Warning,
}

/// A problem of a definition, in AWS's words where known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Refused, or only remarked upon.
    pub severity: Severity,
    /// Stable code, one of [`code`].
    pub code: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The place as AWS spells it, for example `/States/Pay/Choices[0]/Next`; `/` is the whole definition;
    /// empty where AWS names none.
    pub location: String,
    /// The place as a JSON pointer (RFC 6901), for example `/States/Pay/Choices/0/Next`. Goes on where AWS's
    /// spelling stops at a whole state or template; empty is the whole definition.
    pub pointer: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What we can add to AWS's words: the reason, or what to do; often empty.
    pub note: String,
    /// How much of the line is meant, in characters; at least 1.
    pub length: u32,
}

/// `CODE: message at location`, as AWS joins them in the message of an InvalidDefinition error.
impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let location = if self.location.is_empty() { "null" } else { &self.location };
        write!(f, "{}: {} at {location}", self.code, self.message)
    }
}

/// Diagnostics in the order of AWS's answers: what has no location is told last.
pub fn in_aws_order(diagnostics: &[Diagnostic]) -> impl Iterator<Item = &Diagnostic> {
    let of = |located: bool| diagnostics.iter().filter(move |one| one.location.is_empty() != located);
    of(true).chain(of(false))
}

/// The message of AWS's InvalidDefinition error: all errors among these.
pub fn invalid_definition(diagnostics: &[Diagnostic]) -> String {
    let errors = in_aws_order(diagnostics).filter(|one| one.severity == Severity::Error);
    let told: Vec<String> = errors.map(ToString::to_string).collect();
    format!("Invalid State Machine Definition: '{}'", told.join(", "))
}

/// The type of a machine, which decides what its tasks may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MachineType {
    /// Durable, up to a year.
    #[default]
    Standard,
    /// At least once, up to five minutes; no `.sync`, `.waitForTaskToken`, activities or distributed Map.
    Express,
}

/// What a compilation gives.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Ready to run.
    pub program: Arc<Program>,
    /// What the author should know.
    pub warnings: Vec<Diagnostic>,
}

impl Program {
    /// Compiles a definition for a STANDARD machine.
    ///
    /// # Errors All problems of the definition (at most [`FINDINGS_MAX`]), warnings among them, in the
    /// order of the text.
    pub fn compile(definition: &[u8], dialect: Dialect) -> Result<Compiled, Vec<Diagnostic>> {
        compile::compile(definition, dialect, MachineType::Standard, Whole::Machine)
    }

    /// Compiles the definition of one state, which need not say what the states are that it leads to. Its name is
    /// [`TESTED_STATE`].
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_state(definition: &[u8], dialect: Dialect) -> Result<Compiled, Vec<Diagnostic>> {
        compile::compile(definition, dialect, MachineType::Standard, Whole::State)
    }

    /// Compiles a definition for a machine of this type.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_for(
        definition: &[u8],
        dialect: Dialect,
        machine: MachineType,
    ) -> Result<Compiled, Vec<Diagnostic>> {
        compile::compile(definition, dialect, machine, Whole::Machine)
    }
}
