//! Texts that are no JSON, and the bounds of a text.

use asl::definition::{DEFINITION_BYTES_MAX, DEPTH_MAX, MachineType};
use asl::{Dialect, Program};

use crate::check::{check, compile, one_state};

#[test]
fn a_text_that_is_no_json_is_refused_with_its_place() {
    check("", &["1:1 error SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object at null"]);
    check(" \n ", &["1:1 error SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object at null"]);
    check("[]", &["1:1 error SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object at null"]);
    let found = compile("{\n  \"StartAt\" \"S\"\n}", Dialect::Asl, MachineType::Standard);
    assert_eq!((found[0].code, found[0].line, found[0].column), ("INVALID_JSON_DESCRIPTION", 2, 13));
    let words =
        "Unexpected character ('\"' (code 34)): was expecting a colon to separate field name and value";
    assert_eq!(found[0].message.lines().next(), Some(words));
}

#[test]
fn the_location_of_malformed_json_is_spelt_as_recorded() {
    let found = compile("not a definition", Dialect::Asl, MachineType::Standard);
    assert_eq!(found[0].location, "[Source: (String)\"not a definition\"; line: 1, column: 4]");
    assert!(found[0].message.ends_with("\n at [Source: (String)\"not a definition\"; line: 1, column: 4]"));
}

#[test]
fn bad_utf8_is_refused_at_its_byte() {
    let found = Program::compile(b"{\n \"\xff\"}", Dialect::Asl).expect_err("refused");
    assert_eq!((found[0].code, found[0].line, found[0].column), ("INVALID_JSON_DESCRIPTION", 2, 3));
    assert_eq!(found[0].message, "Invalid UTF-8 byte 0xff at offset 4");
}

#[test]
fn a_definition_may_have_a_mebibyte_and_no_byte_more() {
    let text = one_state("{\"Type\":\"Succeed\"}");
    let padded = |length: usize| text.clone() + &" ".repeat(length - text.len());
    check(&padded(DEFINITION_BYTES_MAX), &[]);
    check(
        &padded(DEFINITION_BYTES_MAX + 1),
        &["1:1 error SCHEMA_VALIDATION_FAILED: The definition is longer than 1048576 bytes at null"],
    );
}

#[test]
fn deep_nesting_is_refused_without_a_crash() {
    let found = compile(&"[".repeat(100_000), Dialect::Asl, MachineType::Standard);
    assert_eq!((found[0].code, found[0].column), ("TOO_DEEPLY_NESTED", DEPTH_MAX as u32 + 1));
    let found = compile(&"{\"a\":".repeat(100_000), Dialect::Asl, MachineType::Standard);
    assert_eq!(found[0].code, "TOO_DEEPLY_NESTED");
}

#[test]
fn nested_parallels_are_compiled_to_the_limit_of_nesting() {
    let mut graph = "{\"StartAt\":\"S0\",\"States\":{\"S0\":{\"Type\":\"Succeed\"}}}".to_owned();
    for level in 1..=(DEPTH_MAX - 3) / 4 {
        graph = format!(
            "{{\"StartAt\":\"S{level}\",\"States\":{{\"S{level}\":{{\"Type\":\"Parallel\",\"End\":true,\
             \"Branches\":[{graph}]}}}}}}"
        );
    }
    check(&graph, &[]);
}

#[test]
fn the_regular_expressions_of_a_definition_have_a_common_bound() {
    let definition = |count: usize, pattern: &str| {
        let fields: Vec<String> =
            (0..count).map(|field| format!("\"{field}.$\":\"$[?(@ =~ /{pattern}/)]\"")).collect();
        let template = fields.join(",");
        one_state(&format!(
            "{{\"Type\":\"Pass\",\"InputPath\":\"$[?(@ =~ /a{{1,200}}/)]\",\"Parameters\":{{{template}}},\"End\":true}}"
        ))
    };
    assert!(compile(&definition(600, "a{1,9}"), Dialect::Asl, MachineType::Standard).is_empty());
    let found = compile(&definition(2_000, "a{1,200}"), Dialect::Asl, MachineType::Standard);
    assert!(!found.is_empty() && found.len() < 1_999, "{} are refused", found.len());
    assert_eq!(found[0].code, "SCHEMA_VALIDATION_FAILED");
    assert!(found[0].note.contains("more than 16777216 bytes"), "{}", found[0].note);
}
