//! Compiles a text and compares what is said about it.

use asl::definition::MachineType;
use asl::{Diagnostic, Dialect, Program, Severity};

pub fn compile(text: &str, dialect: Dialect, machine: MachineType) -> Vec<Diagnostic> {
    match Program::compile_for(text.as_bytes(), dialect, machine) {
        Ok(compiled) => {
            assert!(compiled.warnings.iter().all(|one| one.severity == Severity::Warning));
            compiled.warnings
        }
        Err(diagnostics) => {
            assert!(diagnostics.iter().any(|one| one.severity == Severity::Error));
            diagnostics
        }
    }
}

pub fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    let line = |one: &Diagnostic| {
        let severity = match one.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        format!("{}:{} {severity} {one}", one.line, one.column)
    };
    diagnostics.iter().map(line).collect()
}

#[track_caller]
pub fn check_as(dialect: Dialect, machine: MachineType, text: &str, expected: &[&str]) {
    assert_eq!(lines(&compile(text, dialect, machine)), expected, "for {text}");
}

#[track_caller]
pub fn check(text: &str, expected: &[&str]) {
    check_as(Dialect::Asl, MachineType::Standard, text, expected);
}

/// A machine with this one state, named S, on its second line.
pub fn one_state(state: &str) -> String {
    format!("{{\"StartAt\":\"S\",\"States\":{{\"S\":\n{state}}}}}")
}

/// The state stands from column 1 of line 2 on.
#[track_caller]
pub fn check_state(state: &str, expected: &[&str]) {
    check(&one_state(state), expected);
}
