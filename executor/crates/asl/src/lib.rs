//! The language core: the Amazon States Language and its dialect TCSL.
//!
//! Purpose: parse, validate, compile and step state machines; derive their histories. Invariants: pure — no clock, no
//! randomness, no I/O, no runtime, nothing of ours below it; time enters by events, randomness is drawn from a seed; the
//! same program, input, seed and events always give the same effects. What may fail: compilation, with diagnostics;
//! an execution's own failure is an outcome, not an error of this crate.
//!
//! Rooms, from the ground up: [`value`] (JSON values and payloads), [`variables`] (workflow variables), [`path`]
//! (JSONPath), [`intrinsic`] (`States.*` functions), [`jsonata`] (expressions of the other query language), [`template`]
//! (payload templates), [`condition`] (choice rules), [`qrn`] (what a TCSL resource names), [`program`] (what a definition
//! compiles to), [`references`] (which states refer to which variables), [`definition`] (text to program, with
//! diagnostics), [`map`] (items, batches and results of distributed Maps), [`execution`] (the machine that steps),
//! [`history`] (observers), [`simulate`] (runs in virtual time), [`test_state`] (one state alone).

pub mod condition;
pub mod definition;
pub mod execution;
pub mod history;
pub mod intrinsic;
pub mod jsonata;
pub mod map;
pub mod path;
pub mod program;
pub mod qrn;
pub mod references;
pub mod simulate;
pub mod template;
pub mod test_state;
pub mod timestamp;
pub mod value;
pub mod variables;

pub use definition::{Diagnostic, Severity};
pub use execution::{
    Effect, EffectId, Event, Execution, Family, FixedNames, Machine, NameExecution, Outcome, StartContext,
    TaskPlace,
};
pub use program::{Dialect, Program};
pub use timestamp::Timestamp;
pub use value::{Payload, Str, Value};
