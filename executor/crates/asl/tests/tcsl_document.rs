//! `docs/tcsl.md` says what the code does: its tables are read and compared with what definitions get.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use asl::definition::{MachineType, code};
use asl::execution::{FixedNames, Machine};
use asl::history::AswHistory;
use asl::qrn::{Qrn, Target};
use asl::simulate::{Answer, Reply, Request, simulate};
use asl::{Dialect, Payload, Program, StartContext, Timestamp};

fn at_root(path: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The part of the page below a heading.
fn section(heading: &str) -> String {
    let page = at_root("docs/tcsl.md");
    let start = format!("\n## {heading}\n");
    let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("no section {heading}"));
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

/// The cells of a section's table, without its head.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let text = section(heading);
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(2);
    let rows: Vec<Vec<String>> = lines
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(rows.len() > 3, "{heading} has a table");
    rows
}

fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_difference_has_a_case_that_is_run() {
    let topic: serde_json::Value =
        serde_json::from_str(&at_root("executor/crates/asl/cases/tcsl.json")).expect("cases");
    let cases = topic["cases"].as_array().expect("cases");
    let tcsl = |name: &str| cases.iter().any(|case| case["name"] == name && case["dialect"] == "TCSL");
    for row in rows("Differences") {
        assert!(tcsl(&row[2]), "no TCSL case is named {:?}", row[2]);
    }
}

/// What a field of a state is in TCSL.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Standing {
    Documented,
    Warned,
    NotTcsl,
    Unknown,
}

fn standing(kind: &str, field: &str) -> Standing {
    let value = if field == "Type" { format!("\"{kind}\"") } else { format!("\"{kind}\",\"{field}\":null") };
    let text = format!("{{\"StartAt\":\"S\",\"States\":{{\"S\":{{\"Type\":{value}}}}}}}");
    let found = match Program::compile_for(text.as_bytes(), Dialect::Tcsl, MachineType::Standard) {
        Ok(compiled) => compiled.warnings,
        Err(found) => found,
    };
    let said = |message: String| found.iter().any(|one| one.message == message);
    if said(format!("Field '{field}' is not part of TCSL")) {
        Standing::NotTcsl
    } else if said(format!("Field '{field}' is not supported")) {
        Standing::Unknown
    } else if found.iter().any(|one| one.code == code::UNDOCUMENTED_FIELD) {
        Standing::Warned
    } else {
        Standing::Documented
    }
}

#[test]
fn the_table_of_fields_is_what_definitions_get() {
    let (_, list) = section("Fields")
        .split_once("No part of TCSL")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("the list of what is no part of TCSL");
    let refused = quoted(&list);
    let mut table: BTreeMap<String, [BTreeSet<String>; 2]> = BTreeMap::new();
    for row in rows("Fields") {
        table.insert(row[0].clone(), [quoted(&row[1]), quoted(&row[2])]);
    }
    let all: BTreeSet<&String> = table.values().flatten().flatten().chain(&refused).collect();
    assert!(all.len() > 30, "{all:?}");
    for (kind, [documented, warned]) in &table {
        for field in &all {
            let expected = match field {
                field if documented.contains(*field) => Standing::Documented,
                field if warned.contains(*field) => Standing::Warned,
                field if refused.contains(*field) => Standing::NotTcsl,
                _ => Standing::Unknown,
            };
            assert_eq!(standing(kind, field), expected, "{field} of {kind}");
        }
    }
}

#[test]
fn the_table_of_resources_is_what_qrns_are_read_as() {
    for row in rows("Resources") {
        let resource = row[0].trim_matches('`');
        let called = match Qrn::parse(resource).map(|qrn| qrn.target) {
            Ok(Target::Function { .. }) => "function",
            Ok(Target::Api { .. }) => "cloud API",
            Ok(Target::Execution) => "execution",
            Ok(Target::Other) => "other",
            Err(error) => panic!("{resource}: {error}"),
        };
        assert_eq!(called, row[1], "{resource}");
    }
}

/// One state of each type.
const EVERY_TYPE: &str = r#"{"StartAt": "Pass", "States": {
    "Pass": {"Type": "Pass", "Next": "Wait"},
    "Wait": {"Type": "Wait", "Seconds": 1, "Next": "Task"},
    "Task": {"Type": "Task", "Resource": "qrn:qcs:asw:gz:1:sdk:json:qcloud:scf:Invoke/f", "Next": "Map"},
    "Map": {"Type": "Map", "ItemsPath": "$.items", "ResultPath": null, "Next": "Both",
        "Iterator": {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}},
    "Both": {"Type": "Parallel", "ResultPath": null, "Next": "Which",
        "Branches": [{"StartAt": "Only", "States": {"Only": {"Type": "Pass", "End": true}}}]},
    "Which": {"Type": "Choice", "Default": "Fail", "Choices": [{"Variable": "$.none", "IsPresent": true, "Next": "Fail"}]},
    "Fail": {"Type": "Fail"}}}"#;

#[test]
fn the_table_of_events_names_every_category_and_every_member() {
    let compiled = Program::compile(EVERY_TYPE.as_bytes(), Dialect::Tcsl).expect("a definition");
    let machine = Arc::new(Machine {
        program: compiled.program,
        arn: "m".into(),
        name: "m".into(),
        role_arn: "r".into(),
        mode_timeout_seconds: 300,
        history_events_max: 1_000,
        names: Box::new(FixedNames { arn: "e".into(), name: "e".into() }),
    });
    let mut history = AswHistory::new(1_000);
    let mut echo = |request: &Request<'_>| Reply::now(Answer::Succeeds(request.input.clone()));
    let input = Payload::from_checked(r#"{"items":[1]}"#.as_bytes().to_vec().into());
    simulate(&machine, StartContext::default(), input, Timestamp(0), &mut echo, &mut history);
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in history.events() {
        let content: serde_json::Value = serde_json::from_str(&event.content()).expect("JSON");
        let members = match content.as_object() {
            Some(members) => members.keys().cloned().collect(),
            None => BTreeSet::from([content.to_string()]),
        };
        told.insert(event.category.to_owned(), members);
    }
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows("History") {
        for category in quoted(&row[0]) {
            written.insert(category, quoted(&row[2]));
        }
    }
    assert_eq!(told, written);
}
