//! The catalog of codes: complete, true, and the same as the page in the documents.

use std::path::PathBuf;

use asl::definition::{MachineType, catalog};

use crate::check::compile;

#[test]
fn every_code_is_explained_and_no_other() {
    let source = include_str!("../../src/definition/mod.rs");
    let mut codes: Vec<&str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const ")?.split_once(": &str = \""))
        .map(|(name, value)| {
            assert_eq!(value.trim_end_matches("\";"), name, "a code is spelt as its constant");
            name
        })
        .collect();
    let mut explained: Vec<&str> = catalog::all().iter().map(|one| one.code).collect();
    codes.sort_unstable();
    explained.sort_unstable();
    assert_eq!(explained, codes);
}

#[test]
fn an_example_gives_its_code_and_the_repaired_one_gives_nothing() {
    for one in catalog::all() {
        let Some(example) = &one.example else { continue };
        let found = compile(example.broken, one.dialect, MachineType::Standard);
        let own = found.iter().find(|found| found.code == one.code);
        assert_eq!(own.map(|found| found.severity), Some(one.severity), "{}: {found:?}", one.code);
        let repaired = compile(example.repaired, one.dialect, MachineType::Standard);
        assert!(repaired.is_empty(), "{}: {repaired:?}", one.code);
    }
}

#[test]
fn a_code_is_found_in_any_case_and_explained_with_example_and_repair() {
    let text = catalog::explain("missing_end_state").expect("known").to_string();
    assert!(text.starts_with("MISSING_END_STATE\nError, as in Step Functions.\n"), "{text}");
    assert!(
        text.contains("Example:") && text.contains("Repair: ") && text.contains("\"End\": true"),
        "{text}"
    );
    assert!(catalog::explain("NO_SUCH_CODE").is_none());
}

/// `UPDATE_DOCS=1` writes the page.
#[test]
fn the_page_of_the_documents_is_what_the_catalog_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../docs/diagnostics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, catalog::page()).expect("written");
    }
    let page = std::fs::read_to_string(&path).expect("docs/diagnostics.md is there");
    assert!(page == catalog::page(), "docs/diagnostics.md is old: run this test with UPDATE_DOCS=1");
}
