//! Whatever the text: an answer, and no panic.

use asl::definition::{Style, render};
use asl::{Diagnostic, Dialect, Program};
use proptest::prelude::*;

/// Has every type of state and every kind of field.
const SEED: &str = r#"{"Comment":"c","StartAt":"A","TimeoutSeconds":9,"Version":"1.0","States":{"A":{"Type":"Task",
"Resource":"arn:aws:states:us-east-1:123456789012:activity:a","InputPath":"$.a[0]['b']",
"Parameters":{"x.$":"$.a[?(@.b > 1)]","y":[{"z.$":"$$.Execution.Id"}]},
"ResultSelector":{"r.$":"$..q"},"ResultPath":"$.r\\.s","TimeoutSeconds":60,
"HeartbeatSecondsPath":"$.h","Credentials":{"RoleArn.$":"$.role"},"Retry":[{"ErrorEquals":["E"],
"BackoffRate":1.5,"JitterStrategy":"FULL"},{"ErrorEquals":["States.ALL"]}],
"Catch":[{"ErrorEquals":["States.ALL"],"ResultPath":null,"Next":"F"}],"Next":"B"},
"B":{"Type":"Choice","Choices":[{"Not":{"And":[{"Variable":"$.a","IsPresent":true},
{"Variable":"$.b","StringMatches":"a\\*b*"}]},"Next":"C"},{"Variable":"$.t",
"TimestampLessThanPath":"$.u","Next":"D"}],"Default":"F"},"C":{"Type":"Wait",
"Timestamp":"2024-01-01T00:00:00Z","Next":"D"},"D":{"Type":"Parallel","Branches":[{"StartAt":"P",
"States":{"P":{"Type":"Pass","Result":{"\u00e9":null},"End":true}}}],"Next":"E"},"E":{"Type":"Map",
"ItemsPath":"$.a[1]","MaxConcurrency":3,"ItemSelector":{"v.$":"$$.Map.Item.Value"},
"ItemProcessor":{"ProcessorConfig":{"Mode":"INLINE"},"StartAt":"I","States":{"I":{"Type":"Succeed",
"OutputPath":null}}},"End":true},"F":{"Type":"Fail","ErrorPath":"$.e","Cause":"c"}}}"#;

/// Small pieces that a mutation puts in.
const PIECES: [&str; 18] = [
    "{", "}", "[", "]", "\"", ":", ",", "\\", "\n", "\u{7ed3}", "$", ".$", "null", "1e999", "-", "\u{0}",
    "true", "States.",
];

fn every_answer(text: &[u8]) {
    for dialect in [Dialect::Asl, Dialect::Tcsl] {
        let diagnostics = match Program::compile(text, dialect) {
            Ok(compiled) => compiled.warnings,
            Err(diagnostics) => {
                assert!(!diagnostics.is_empty());
                diagnostics
            }
        };
        let lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
        let inside = |one: &Diagnostic| (1..=lines).contains(&(one.line as usize)) && one.column >= 1;
        assert!(diagnostics.iter().all(inside), "{diagnostics:?}");
        assert!(diagnostics.is_sorted_by_key(|one| (one.line, one.column)), "{diagnostics:?}");
        render(text, &diagnostics, "f", Style::Plain);
    }
}

#[test]
fn the_seed_is_a_valid_definition() {
    Program::compile(SEED.as_bytes(), Dialect::Asl).expect("valid");
}

#[test]
fn a_template_with_very_many_fields_is_compiled() {
    let fields: Vec<String> = (0..60_000).map(|number| format!("\"{number}.$\":\"$\"")).collect();
    let text = format!(
        "{{\"StartAt\":\"S\",\"States\":{{\"S\":{{\"Type\":\"Pass\",\"End\":true,\"Parameters\":{{{}}}}}}}}}",
        fields.join(",")
    );
    Program::compile(text.as_bytes(), Dialect::Asl).expect("valid");
}

proptest! {
    #[test]
    fn a_damaged_definition_has_an_answer(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, 0..PIECES.len()), 1..4),
    ) {
        let mut text = SEED.as_bytes().to_vec();
        for (at, length, piece) in damage {
            let start = at.index(text.len().max(1)).min(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, PIECES[piece].bytes());
        }
        every_answer(&text);
    }

    #[test]
    fn a_definition_whose_values_are_swapped_has_an_answer(
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let mut root: serde_json::Value = serde_json::from_str(SEED).expect("valid");
        let pointers = pointers(&root);
        let value = root.pointer(from.get::<String>(&pointers)).expect("a place").clone();
        *root.pointer_mut(to.get::<String>(&pointers)).expect("a place") = value;
        every_answer(root.to_string().as_bytes());
    }

    #[test]
    fn any_bytes_have_an_answer(text in prop::collection::vec(any::<u8>(), 0..64)) {
        every_answer(&text);
    }
}

/// The JSON pointers of all values.
fn pointers(root: &serde_json::Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut at = 0;
    while at < found.len() {
        let here = found[at].clone();
        match root.pointer(&here) {
            Some(serde_json::Value::Object(members)) => {
                let escaped = |name: &String| name.replace('~', "~0").replace('/', "~1");
                found.extend(members.keys().map(|name| format!("{here}/{}", escaped(name))));
            }
            Some(serde_json::Value::Array(items)) => {
                found.extend((0..items.len()).map(|index| format!("{here}/{index}")));
            }
            _ => {}
        }
        at += 1;
    }
    found
}
