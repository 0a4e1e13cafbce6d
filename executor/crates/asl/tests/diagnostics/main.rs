//! What is said about bad definitions: code, line and column, place and words.

mod check;
mod drawing;
mod explanations;
mod fields;
mod machine;
mod remarks;
mod robust;
mod states;
mod tcsl;
mod text;
