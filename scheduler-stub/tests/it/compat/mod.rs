//! docs/front-doors.md is what the door's own table of operations says, and what clients have tried.

mod differences;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use differences::DIFFERENCES;
use front::{Api, Call, Caller, Gate as _, Kind, Operation};
use journal::memory::MemoryStore;
use journal::store::Connect;
use scheduler_stub::{Scheduler, SchedulerConfig};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/front-doors.md");
const HEAD: &str = include_str!("head.md");
/// What the clients of PyPI were answered, written by their run.
const COVERED: &str = include_str!("../../clients/covered.txt");
const APIS: [(Api, &str); 2] = [(Api::Sfn, "Step Functions"), (Api::Asw, "ASW")];

/// Answers by `api Operation`.
fn covered() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let lines = COVERED.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(operation, answers)| (operation, answers.split(' ').collect())).collect()
}

fn page() -> String {
    let covered = covered();
    let mut text = HEAD.to_owned();
    for (api, name) in APIS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "## {name}\n\nMembers with `*` have to be there; errors in bold were raised with the client of PyPI. Every operation was called with it.\n"
        );
        for difference in of(api, "*") {
            let _ = writeln!(text, "* {difference}");
        }
        let _ =
            writeln!(text, "\n| operation | right | members | errors | differences |\n|---|---|---|---|---|");
        for operation in api.operations() {
            let answers = covered.get(&*key(api, operation)).cloned().unwrap_or_default();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                operation.name,
                operation.right.as_str(),
                members(operation),
                errors(api, operation, &answers),
                of(api, operation.name).collect::<Vec<_>>().join(" ")
            );
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn key(api: Api, operation: &Operation) -> String {
    format!("{} {}", api.as_str(), operation.name)
}

fn of(api: Api, operation: &'static str) -> impl Iterator<Item = &'static str> {
    DIFFERENCES
        .iter()
        .filter(move |(of, name, _)| *of == api.as_str() && *name == operation)
        .map(|(.., text)| *text)
}

fn members(operation: &Operation) -> String {
    let member =
        |member: &front::Member| format!("{}{}", member.name, if member.required { "*" } else { "" });
    let members: Vec<String> = operation.members.iter().map(member).collect();
    members.join(", ")
}

/// Those that the model names, and those that were raised besides.
fn errors(api: Api, operation: &Operation, answers: &BTreeSet<&str>) -> String {
    let never = [Kind::KmsAccessDenied, Kind::KmsInvalidState, Kind::KmsThrottling];
    let named = operation.errors.iter().filter(|kind| !never.contains(kind)).map(|kind| kind.code(api));
    let raised = answers.iter().copied().filter(|answer| *answer != "ok");
    let all: BTreeSet<&str> = named.chain(raised).collect();
    let spelt = |name: &str| if answers.contains(name) { format!("**{name}**") } else { name.to_owned() };
    all.into_iter().map(spelt).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_page_of_the_front_doors_is_what_the_table_of_operations_and_the_clients_say() {
    if std::env::var_os("UPDATE_FRONT_DOORS").is_some() {
        std::fs::write(PAGE, page()).expect("it can be written");
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(written == page(), "docs/front-doors.md is old: UPDATE_FRONT_DOORS=1 writes it");
}

#[test]
fn every_difference_is_of_an_operation_that_there_is() {
    for (api, name, _) in DIFFERENCES {
        let of = APIS.iter().find(|(known, _)| known.as_str() == *api).expect("an API").0;
        assert!(*name == "*" || of.operation(name).is_some(), "{api} {name}");
    }
}

#[test]
fn clients_have_made_every_operation_and_no_other() {
    let all: BTreeSet<String> = APIS
        .iter()
        .flat_map(|(api, _)| api.operations().iter().map(|operation| key(*api, operation)))
        .collect();
    let covered = covered();
    let made: BTreeSet<String> = covered.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(made, all);
    let never: Vec<&str> =
        covered.iter().filter(|(_, answers)| !answers.contains("ok")).map(|(name, _)| *name).collect();
    // See its difference.
    assert_eq!(never, ["sfn UpdateMapRun"]);
}

#[tokio::test]
async fn every_operation_of_the_table_is_served() {
    let store = MemoryStore::new().connect().await.expect("memory");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let scheduler = Scheduler::start(SchedulerConfig { listen, ..SchedulerConfig::default() }, store).await;
    let scheduler = scheduler.expect("it starts");
    for (api, operation) in APIS.iter().flat_map(|(api, _)| api.operations().iter().map(|one| (*api, one))) {
        let call = Call {
            api,
            operation,
            input: serde_json::json!({}),
            caller: Caller::anonymous(),
            request_id: "r".to_owned(),
            region: None,
        };
        // Whatever it says of an input that lacks everything.
        if let Err(fault) = scheduler.gate().call(call).await {
            assert_ne!(fault.kind(), Kind::UnknownOperation, "{}", operation.name);
        }
    }
}
