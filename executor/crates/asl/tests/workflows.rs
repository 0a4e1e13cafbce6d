//! Workflows as people write them for Step Functions and ASW: each is accepted, and nothing is remarked upon.
//!
//! `workflows/asl.json` has integrations with their patterns, sagas, polling, callbacks, nested executions, distributed
//! Maps with each reader, JSONata and variables; `workflows/tcsl.json` the shapes of ASW's documentation.

use std::path::Path;

use asl::{Dialect, Program};
use serde_json::Value as Json;

fn check(file: &str, dialect: Dialect, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workflows").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let workflows: Vec<Json> = serde_json::from_str(&text).expect("a list of workflows");
    assert!(workflows.len() >= least, "{} workflows", workflows.len());
    for workflow in workflows {
        let definition = workflow["definition"].to_string();
        let told = match Program::compile(definition.as_bytes(), dialect) {
            Ok(compiled) => compiled.warnings,
            Err(diagnostics) => diagnostics,
        };
        assert!(told.is_empty(), "{}: {told:#?}", workflow["name"]);
    }
}

#[test]
fn workflows_for_step_functions_are_accepted_without_a_remark() {
    check("asl.json", Dialect::Asl, 59);
}

#[test]
fn workflows_for_asw_are_accepted_without_a_remark() {
    check("tcsl.json", Dialect::Tcsl, 15);
}
