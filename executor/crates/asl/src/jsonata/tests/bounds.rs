//! Hostile expressions end, after work that is counted.

use super::super::{SEQUENCE_MAX, TEXT_MAX};
use super::{compile, refused, shown, value};
use crate::jsonata::{Expression, SyntaxError};
use crate::path::Scope;
use crate::value::Value;

/// Little, for builds without optimisation.
const FUEL: u64 = 1 << 16;

fn within(fuel: u64, text: &str) -> String {
    let input = Value::object([("s", Value::from("x".repeat(20_000)))]);
    shown(compile(text).evaluate_within(fuel, &Scope::new(&input, &Value::Null)))
}

/// Values that share their parts, so that a few lines of text mean more items than there are atoms.
fn shared(constructor: &str) -> String {
    format!("$reduce([1..60], function($a, $i) {{ {constructor} }}, 0)")
}

#[test]
fn endless_and_exponential_expressions_run_out_of_fuel() {
    let arrays = shared("[[$a], [$a]]");
    let objects = shared("{'a': $a, 'b': $a}");
    let list = "$x := [1..5000]; $o := $x.{'a': {'a': $x}}";
    for text in [
        "($f := function() { $f() }; $f())".to_owned(),
        "($f := function($n) { $n = 0 ? 0 : (function() { $f($n - 1) })() }; $f(1e9))".to_owned(),
        "(function($x) { $x($x) })(function($x) { $x($x) })".to_owned(),
        "[1..5000].([1..5000].(1))".to_owned(),
        "[1..5000][[1..5000] = 1]".to_owned(),
        "$map([1..5000], function() { $map([1..5000], function() { 1 }) })".to_owned(),
        "$reduce([1..5000], $append)".to_owned(),
        "($g := $append(?, ?); $reduce([1..5000], $g))".to_owned(),
        "$reduce([1..60], function($a, $i) { [$a, $a] }, 1)".to_owned(),
        "$reduce([1..60], function($a, $i) { $a & $a }, 'x')".to_owned(),
        "$pad('', 2000000000)".to_owned(),
        "$join([1..5000].('x'), $states.input.s)".to_owned(),
        "$replace($states.input.s, 'x', $states.input.s)".to_owned(),
        "$replace($states.input.s, /x/, function() { $states.input.s })".to_owned(),
        "[1..5000].$split($states.input.s, '')".to_owned(),
        "$match($states.input.s, /x/)".to_owned(),
        "$contains('a', /((\\w{100}){100}){100}/)".to_owned(),
        "($r := /(x+x+)+y/; $map([1..5000], function() { $r($states.input.s) }))".to_owned(),
        "$distinct([1..5000])".to_owned(),
        "$keys([1..5000].{$string($): 1})".to_owned(),
        "$map([1..5000], $distinct) & $map([1..5000], function() { $range(1, 5000, 1) })".to_owned(),
        format!("$string({arrays})"),
        format!("{objects} = {objects}"),
        format!("{objects}.**"),
        format!("{objects} ~> |a|{{'c': 1}}|"),
        format!("{{ {objects}: 1}}"),
        format!("{arrays} ? 1 : 2"),
        format!("$filter([1], function() {{ {arrays} }})"),
        format!("{}.x", shared("[[$a], [$a]]").replace(", 0)", ", {'x': 1})")),
        format!("({list}; $map($x, function() {{ $x.a.a }}))"),
        format!("({list}; $o.a.a)"),
        format!("({list}; $x.$x)"),
        format!("({list}; $x.($o[0]).a.a)"),
        format!("({list}; $x.[$o[0]].a.a)"),
        format!("({list}; ($x.($o[0])).a.a)"),
        format!("([{objects}]).*"),
        format!("[{objects}].*"),
        format!("[{objects}].**"),
        format!("[1].[{objects}].**"),
        format!("({list}; $o{{'k': a.a}})"),
        format!("({list}; $map($x, function() {{ $count($x) }}))"),
        format!("({list}; $map($x, function() {{ $x{{'k': $}} }}))"),
        format!("({list}; $map($x, function() {{ $x#$i }}))"),
        format!("({list}; $map($x, function() {{ $x^($) }}))"),
        format!("({list}; [{}])", vec!["$x"; 500].join(",")),
    ] {
        assert!(within(FUEL, &text).contains("more work or memory"), "{text}: {}", within(FUEL, &text));
    }
}

#[test]
fn recursion_sequences_and_results_have_bounds_of_their_own() {
    let failed = |text: &str| within(u64::MAX, text);
    assert!(failed("($f := function($n) { 1 + $f($n) }; $f(1))").contains("D1011: "));
    assert!(failed(&format!("[1..{}]", SEQUENCE_MAX + 1)).contains("D2015: "));
    assert_eq!(within(u64::MAX, &format!("$count([1..{SEQUENCE_MAX}])")), SEQUENCE_MAX.to_string());
    let nested = |depth: usize| format!("$reduce([1..{depth}], function($a, $i) {{ {{'a': $a}} }}, 0)");
    assert!(compile(&nested(512)).evaluate(&Scope::new(&Value::Null, &Value::Null)).is_ok());
    assert!(failed(&nested(513)).contains("nested deeper than 512 levels"));
    assert!(
        failed("$reduce([1..20], function($a, $i) { $a & $a }, 'xx')").contains("longer than 1048576 bytes")
    );
}

#[test]
fn a_text_is_bounded_and_so_are_the_arrays_that_are_written_in_it() {
    let spaced = |len: usize| format!("1{}+1", " ".repeat(len - 3));
    assert_eq!(refused(&spaced(TEXT_MAX)), "accepted");
    assert_eq!(refused(&spaced(TEXT_MAX + 1)), "a JSONata expression has at most 65536 bytes");
    let array = format!("[{}1]", "1,".repeat(65_535));
    assert!(matches!(Expression::compile(&array), Err(SyntaxError::TooLarge(_))));
    let array = format!("$count([{}1])", "1,".repeat(30_000));
    assert_eq!(within(u64::MAX, &array), "30001");
}

#[test]
fn deep_texts_are_refused_or_evaluated() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("-", ""), ("{'a':", "}"), ("function(){", "}"), ("$f(", ")")]
    {
        for depth in [100, 900, 5_000] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            if let Ok(expression) = Expression::compile(&text) {
                let _ = expression.evaluate(&Scope::new(&Value::Null, &Value::Null));
            }
        }
    }
    for chain in ["1+1", "$x~>$x", "$a.a", "$x[0]"] {
        let (first, rest) = chain.split_at(chain.len() / 2);
        let text = format!("{first}{}", rest.repeat(900));
        if let Ok(expression) = Expression::compile(&text) {
            let _ = expression.evaluate(&Scope::new(&Value::Null, &Value::Null));
        }
    }
}

/// A replay burns what the first run burnt.
#[test]
fn the_fuel_that_an_evaluation_takes_depends_on_nothing_else() {
    let text = "$map([1..50], function($x) { {'s': $string($x), 'r': $random()} })";
    let suffices = |fuel: u64| !within(fuel, text).contains("more work or memory");
    let takes = || {
        let (mut short, mut enough) = (0, 1 << 16);
        while short + 1 < enough {
            let middle = u64::midpoint(short, enough);
            if suffices(middle) { enough = middle } else { short = middle }
        }
        enough
    };
    assert!((500..20_000).contains(&takes()), "{}", takes());
    assert_eq!(takes(), takes());
}

/// What a payload can hold is far from the bounds.
#[test]
fn ordinary_work_on_a_full_payload_has_fuel_enough() {
    let items = (0..2_000_i64)
        .map(|id| Value::object([("id", Value::from(id)), ("name", Value::from(format!("n{id}")))]));
    let input = Value::object([("items", Value::array(items))]);
    for (text, expected) in [
        ("$count($states.input.items[id > 999])", "1000"),
        ("$sum($map($states.input.items, function($i) { $i.id }))", "1999000"),
        ("$count($reduce($states.input.items, function($a, $i) { $append($a, {'id': $i.id}) }, []))", "2000"),
        ("$count($keys($states.input.items{name: id}))", "2000"),
        ("$count($filter($states.input.items, function($i) { $contains($i.name, /9$/) }))", "200"),
        ("$states.input.items^(>id)[0].id", "1999"),
        ("$length($join($states.input.items.name, ','))", "10889"),
        ("$count($states.input.items ~> |$|{'x': 1}|)", "2000"),
    ] {
        assert_eq!(shown(compile(text).evaluate(&Scope::new(&input, &Value::Null))), expected, "{text}");
    }
}

#[test]
fn a_date_without_a_year_would_read_the_clock() {
    assert!(within(FUEL, "$toMillis('12:30', '[H01]:[m01]')").contains("has to hold the year"));
    assert_eq!(within(FUEL, "$toMillis('1970-01-01', '[Y0001]-[M01]-[D01]')"), "0");
    assert_eq!(within(FUEL, "$toMillis('1970-01-01T00:00:00.001Z')"), "1");
    assert!(within(FUEL, "$toMillis('[Y', '[[Y')").contains("has to hold the year"));
}

#[test]
fn an_expression_can_be_shared_by_threads() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    shared(&compile("$map([1], function($x) { $x })"));
    assert_eq!(value("1"), Value::from(1_i64));
}
