//! The fuzz targets' entry points, fed within `cargo test`: texts out of fragments of each language, and damaged ones.
//! `PROPTEST_CASES` says how many; libFuzzer does it better, see `fuzz/README.md`.

#[path = "../fuzz/src/lib.rs"]
mod entry;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// As many cases as `PROPTEST_CASES` says, or else this many.
fn config(few: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: cases.unwrap_or(few), failure_persistence: None, ..Config::default() }
}

/// Feeds an entry point with its seeds, with each seed damaged, and with fragments in a row.
fn feed(few: u32, entry: fn(&[u8]), seeds: &'static [&str], fragments: &'static [&str]) {
    seeds.iter().for_each(|seed| entry(seed.as_bytes()));
    let pieces = prop::collection::vec(prop::sample::select(fragments.to_vec()), 0..10);
    let place = any::<(prop::sample::Index, u8, u8)>();
    let text = (any::<prop::sample::Index>(), pieces, prop::option::of(place)).prop_map(
        move |(seed, pieces, place)| {
            let Some((at, remove, raw)) = place else { return pieces.concat().into_bytes() };
            let mut text = seed.get(seeds).as_bytes().to_vec();
            let at = at.index(text.len() + 1);
            let end = text.len().min(at + usize::from(remove % 8));
            let insert = if raw < 32 {
                vec![raw]
            } else {
                pieces.into_iter().take(2).collect::<String>().into_bytes()
            };
            text.splice(at..end, insert);
            text
        },
    );
    let run = |text: Vec<u8>| {
        entry(&text);
        Ok(())
    };
    TestRunner::new(config(few)).run(&text, run).unwrap_or_else(|error| panic!("{error}"));
}

const MACHINES: &[&str] = &[
    r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"x.$":"$.a.b[0]"},"Assign":{"v.$":"$.x"},"Next":"B"},
"B":{"Type":"Choice","Choices":[{"Variable":"$v","NumericEquals":1,"Next":"C"}],"Default":"A"},
"C":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:f","TimeoutSeconds":9,"ResultPath":"$.r",
"Retry":[{"ErrorEquals":["E"],"MaxAttempts":2,"JitterStrategy":"FULL"}],
"Catch":[{"ErrorEquals":["States.ALL"],"Next":"D"}],"Next":"D"},
"D":{"Type":"Map","ItemsPath":"$.list","MaxConcurrency":2,"ItemSelector":{"i.$":"$$.Map.Item.Index"},
"ItemProcessor":{"StartAt":"E","States":{"E":{"Type":"Wait","Seconds":1,"End":true}}},"End":true}}}"#,
    r#"{"QueryLanguage":"JSONata","StartAt":"A","States":{"A":{"Type":"Pass","Output":{"n":"{% $states.input.n + 1 %}"},
"Assign":{"v":"{% $states.input.list.n %}"},"Next":"P"},"P":{"Type":"Parallel","Arguments":"{% $v %}","Branches":[
{"StartAt":"B","States":{"B":{"Type":"Succeed"}}},{"StartAt":"C","States":{"C":{"Type":"Fail","Error":"{% 'E' %}"}}}],
"Catch":[{"ErrorEquals":["States.ALL"],"Output":"{% $states.errorOutput %}","Next":"W"}],"End":true},
"W":{"Type":"Wait","Timestamp":"{% $now() %}","End":true}}}"#,
];

const OF_MACHINES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "1e999",
    "-1",
    "\"States\"",
    "\"Type\"",
    "\"Next\"",
    "\"A\"",
    "\"End\"",
    "\"ResultPath\":null,",
    "\"InputPath\":\"$..*\",",
    "\"Assign\":{\"w.$\":\"$v\"},",
    "\"x.$\":\"States.UUID()\",",
    "\\u0000",
    "\"QueryLanguage\":\"JSONata\",",
    "{% 1/0 %}",
    "$$",
    "\"Pass\"",
    "\"Task\"",
    "\"Succeed\"",
    "\n",
    "\u{1f600}",
];

#[test]
fn the_machines_that_are_damaged_are_valid_before() {
    for machine in MACHINES {
        asl::Program::compile(machine.as_bytes(), asl::Dialect::Asl).expect("a valid definition");
    }
}

#[test]
fn definitions() {
    feed(100, entry::definition, MACHINES, OF_MACHINES);
}

#[test]
fn executions() {
    feed(150, entry::execution, MACHINES, OF_MACHINES);
}

#[test]
fn paths() {
    feed(
        1_500,
        entry::path,
        &[
            "$.a.b[0]",
            "$..n",
            "$$.State.Name",
            "$.list[?(@.n > 1 && !@.x || @.n in [1,'x'])].n",
            "$.list.length()",
            "$v.x[-1]",
        ],
        &[
            "$",
            "$$",
            "$v",
            "@",
            ".",
            "..",
            "a",
            "b",
            "n",
            "list",
            "*",
            "[",
            "]",
            "[0]",
            "[-1]",
            "[1:]",
            "[:2]",
            "[0,1]",
            "['a']",
            "['a','b']",
            "[?(",
            ")]",
            "==",
            "!=",
            "<",
            "=~ /a.*/i",
            " in ",
            " size ",
            "&&",
            "||",
            "!",
            "'x'",
            "1",
            "1e9",
            ".length()",
            ".index(1)",
            ".min()",
            "\\",
            "\\u00e9",
            "'",
            "\"",
            " ",
            "é",
            "\u{1f600}",
        ],
    );
}

#[test]
fn intrinsic_functions() {
    feed(
        1_000,
        entry::intrinsic,
        &[
            "States.Format('{} and {}', $.n, 'x')",
            "States.ArrayPartition($.list, 1)",
            "States.JsonMerge($.a, $, false)",
            "States.MathRandom(1, 9, 5)",
            "States.Hash(States.JsonToString($), 'SHA-1')",
            "States.StringToJson('{\"a\":1}')",
        ],
        &[
            "States.Format",
            "States.Array",
            "States.ArrayRange",
            "States.MathAdd",
            "States.StringSplit",
            "States.UUID",
            "States.Base64Decode",
            "States.ArrayUnique",
            "(",
            ")",
            ",",
            "'",
            "'{}'",
            "\\'",
            "\\",
            "$",
            "$.list",
            "$..*",
            "$$.State",
            "1",
            "-1",
            "1e308",
            "0.5",
            "null",
            "true",
            " ",
            "é",
            "[?(@.n == 1)]",
        ],
    );
}

#[test]
fn templates() {
    feed(
        600,
        entry::template,
        &[
            r#"{"a.$":"$.n","b":[{"c.$":"States.Array($.list[*])"},"$.x"],"d":{"e.$":"$$.State.Name"}}"#,
            r#"{"a":"{% $states.input.n %}","b":["{% [1..3] %}",1],"{% x %}":"{% $uuid() %}"}"#,
        ],
        &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a.$\"",
            "\"b\"",
            "\"$.a\"",
            "\"$..*\"",
            "\"States.UUID()\"",
            "\"{% $states.input %}\"",
            "\"{% 1 %}\"",
            "\"{%\"",
            "1",
            "null",
            "\"a\":1",
            "\".$\"",
        ],
    );
}

#[test]
fn jsonata_expressions() {
    feed(
        250,
        entry::jsonata,
        &[
            "$states.input.list.n",
            "$sum($states.input.list.n) & 'x'",
            "$map([1..3], function($x) { $x * 2 })",
            "$v ~> $string",
        ],
        &[
            "$states",
            ".input",
            ".list",
            ".n",
            "$v",
            "$sum",
            "$map",
            "$now()",
            "$random()",
            "function($x){$x}",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ":",
            ",",
            ";",
            ":=",
            "..",
            "+",
            "-",
            "*",
            "/",
            "%",
            "&",
            "=",
            "?",
            "~>",
            "^",
            "**",
            "1",
            "'x'",
            "/a+/",
            "$$",
            "$",
        ],
    );
}

#[test]
fn payloads() {
    feed(
        1_500,
        entry::payload,
        &[
            r#"{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00",null,true],"b":{}}"#,
            "[[[[]]]]",
            "\"\\u0000\"",
            "18446744073709551616",
        ],
        &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            "\\u",
            "d800",
            "0",
            "-",
            ".",
            "e",
            "1",
            "9",
            "null",
            "true",
            " ",
            "\u{1f600}",
        ],
    );
}
