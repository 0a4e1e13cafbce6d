//! `ValidateStateMachineDefinition`: what is wrong with a definition, without a machine.
//!
//! Invariant: big definitions and tests of states run beside the scheduler's own threads, at most [`AT_ONCE`] of them. What may
//! fail: there being as many already.

use asl::definition::MachineType;
use asl::{Diagnostic, Dialect, Program, Severity};
use front::{Answer, Call, Fault, Kind};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::unserved;

/// Definitions that are compiled and states that are tested at the same time, in the whole process.
const AT_ONCE: usize = 2;

/// A definition of so many bytes is compiled beside the scheduler's threads.
const BIG: usize = 64 << 10;

/// Diagnostics where the call says no number, and at most (Step Functions).
const DIAGNOSTICS_MAX: usize = 100;

/// Work for the processor is bounded by what there is of it, so all doors share this.
static ROOM: Semaphore = Semaphore::const_new(AT_ONCE);

/// Does what keeps a processor busy for a while, without keeping others waiting.
///
/// # Errors
/// [`Kind::Throttling`] while as much as may be is done already.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let Ok(room) = ROOM.try_acquire() else {
        let message =
            format!("{AT_ONCE} definitions are being looked at, which is the most: try again in a moment");
        return Err(Fault::new(Kind::Throttling, message));
    };
    // The work goes on when its caller goes away, and takes its room with it.
    let done = tokio::task::spawn_blocking(move || {
        let _room = room;
        work()
    });
    done.await.map_err(|_| {
        Fault::new(Kind::Internal, "the scheduler failed at this call, and has told its log how")
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    definition: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    severity: Option<String>,
    max_results: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Problem {
    severity: &'static str,
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    location: String,
}

#[derive(Debug, Serialize)]
struct Output {
    result: &'static str,
    diagnostics: Vec<Problem>,
    truncated: bool,
}

fn validate(input: &Input) -> Output {
    let machine = match input.kind.as_deref() {
        Some("EXPRESS") => MachineType::Express,
        _ => MachineType::Standard,
    };
    let (result, mut found) = match Program::compile_for(input.definition.as_bytes(), Dialect::Asl, machine) {
        Ok(compiled) => ("OK", compiled.warnings),
        Err(found) => ("FAIL", found),
    };
    if input.severity.as_deref() != Some("WARNING") {
        found.retain(|problem| problem.severity == Severity::Error);
    }
    let most = input.max_results.filter(|most| *most > 0).unwrap_or(DIAGNOSTICS_MAX).min(DIAGNOSTICS_MAX);
    let truncated = found.len() > most;
    found.truncate(most);
    let told = |problem: Diagnostic| Problem {
        severity: match problem.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "WARNING",
        },
        code: problem.code,
        message: problem.message,
        location: problem.location,
    };
    Output { result, diagnostics: found.into_iter().map(told).collect(), truncated }
}

/// Definitions.
pub(super) async fn serve(call: Call) -> Result<Answer, Fault> {
    if call.operation.name != "ValidateStateMachineDefinition" {
        return Err(unserved(&call));
    }
    let input: Input = call.read()?;
    let output =
        if input.definition.len() > BIG { aside(move || validate(&input)).await? } else { validate(&input) };
    Answer::of(&output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(definition: &str, severity: Option<&str>, max_results: Option<usize>) -> Output {
        validate(&Input {
            definition: definition.to_owned(),
            kind: None,
            severity: severity.map(str::to_owned),
            max_results,
        })
    }

    const WRONG: &str =
        r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"C":{"Type":"Wait","End":true}}}"#;

    #[test]
    fn a_definition_with_errors_fails_with_as_many_of_them_as_are_asked_for() {
        let all = told(WRONG, None, None);
        assert_eq!((all.result, all.truncated), ("FAIL", false));
        assert!(
            all.diagnostics.len() >= 2 && all.diagnostics.iter().all(|problem| problem.severity == "ERROR")
        );
        let one = told(WRONG, Some("WARNING"), Some(1));
        assert_eq!((one.diagnostics.len(), one.truncated), (1, true));
    }

    #[test]
    fn warnings_are_told_where_they_are_asked_for_and_fail_nothing() {
        let odd = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"x":"$.a"},"End":true}}}"#;
        let quiet = told(odd, None, None);
        let loud = told(odd, Some("WARNING"), None);
        assert_eq!((quiet.result, quiet.diagnostics.len()), ("OK", 0));
        let severities: Vec<_> = loud.diagnostics.iter().map(|problem| problem.severity).collect();
        assert_eq!((loud.result, &severities[..]), ("OK", &["WARNING"][..]));
    }
}
