//! Definitions of the recorded corpus: each is accepted or refused as recorded. The corpus lies beside the
//! workspace and not in it; where it is absent the tests say so and check nothing.

use std::path::{Path, PathBuf};

use asl::definition::MachineType;
use asl::{Diagnostic, Dialect, Program, Severity};
use serde_json::{Value as Json, json};

fn corpus(file: &str) -> Option<Vec<Json>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?.to_owned();
    let beside: PathBuf = workspace.parent()?.join("shared/conformance").join(file);
    let named = std::env::var_os("CONFORMANCE_DIR").map(|directory| PathBuf::from(directory).join(file));
    let path = named.unwrap_or(beside);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no recorded corpus at {}", path.display());
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a case is JSON")).collect())
}

fn compile(case: &Json) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let mut text = match &case["definition"] {
        Json::String(text) => text.clone(),
        definition => definition.to_string(),
    };
    // Where a whole text of the definition is a placeholder, the concrete name stands in for it.
    for pair in case["replacements"].as_array().into_iter().flatten() {
        text = text.replace(&pair[1].to_string(), &pair[0].to_string());
    }
    let machine = if case["sm_type"] == "EXPRESS" { MachineType::Express } else { MachineType::Standard };
    Program::compile_for(text.as_bytes(), Dialect::Asl, machine).map(|compiled| compiled.warnings)
}

fn list(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|one| format!("\n    {one} [{}]", one.note)).collect()
}

/// Counts the cases of a kind whose verdict is as recorded.
fn verdicts(cases: &[Json], kind: &str, accepted: bool) -> (usize, usize, String) {
    let (mut right, mut all, mut wrong) = (0, 0, String::new());
    for case in cases.iter().filter(|case| case["kind"] == kind) {
        let verdict = compile(case);
        all += 1;
        if verdict.is_ok() == accepted {
            right += 1;
        } else {
            let diagnostics = verdict.unwrap_or_else(|diagnostics| diagnostics);
            wrong.push_str(&format!("\n  {}:{}", case["id"], list(&diagnostics)));
        }
    }
    (right, all, wrong)
}

#[test]
fn recorded_definitions_are_accepted_and_refused() {
    let Some(cases) = corpus("validation_dev.jsonl") else { return };
    let (right, all, wrong) = verdicts(&cases, "accept", true);
    eprintln!("accepted as recorded: {right} of {all}{wrong}");
    let (refused, bad, missed) = verdicts(&cases, "reject", false);
    eprintln!("refused as recorded: {refused} of {bad}{missed}");
    assert!(right == all && right >= 69, "{right} of {all} are accepted{wrong}");
    assert!(refused == bad && refused >= 35, "{refused} of {bad} are refused{missed}");
}

#[test]
fn recorded_executions_have_definitions_that_compile() {
    let Some(cases) = corpus("dev.jsonl") else { return };
    let (right, all, wrong) = verdicts(&cases, "execution", true);
    eprintln!("compiled: {right} of {all}{wrong}");
    assert!(right == all && right >= 500, "{right} of {all} compile{wrong}");
}

#[test]
fn recorded_refusals_have_the_recorded_words() {
    let Some(cases) = corpus("dev.jsonl") else { return };
    let mut compared = 0;
    for case in cases.iter().filter(|case| case["kind"] == "create_error") {
        let Err(diagnostics) = compile(case) else { panic!("accepted: {}", case["id"]) };
        let Some(message) = case["expected"]["create_error"]["message"].as_str() else { continue };
        let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error);
        let words: Vec<String> = errors.map(ToString::to_string).collect();
        let ours = format!("Invalid State Machine Definition: '{}'", words.join(", "));
        assert_eq!(ours, message, "for {}", case["id"]);
        compared += 1;
    }
    eprintln!("refusals with equal words: {compared}");
    assert!(compared >= 1);
}

#[test]
fn recorded_validations_have_the_recorded_diagnostics() {
    let Some(cases) = corpus("dev.jsonl") else { return };
    let mut compared = 0;
    for case in cases.iter().filter(|case| case["kind"] == "validate") {
        let diagnostics = compile(case).unwrap_or_else(|diagnostics| diagnostics);
        let ours: Vec<Json> = diagnostics
            .iter()
            .filter(|one| one.severity == Severity::Error)
            .map(|one| {
                let location = (!one.location.is_empty()).then_some(&one.location);
                let mut shown = json!({"severity": "ERROR", "code": one.code, "message": one.message});
                if let Some(location) = location {
                    shown["location"] = json!(location);
                }
                shown
            })
            .collect();
        assert_eq!(json!(ours), case["expected"]["validation"]["diagnostics"], "for {}", case["id"]);
        compared += 1;
    }
    eprintln!("validations with equal diagnostics: {compared}");
    assert!(compared >= 10);
}
