//! The compliance suite of RFC 9535 against the path evaluator.
//!
//! AWS speaks Jayway's dialect, which is older than the RFC, so a selector is left out by what it uses, never
//! by its name. Left out, because Jayway has another answer or refuses it:
//! * several selectors of different kinds in one pair of brackets, slices with a step, several keys (Jayway
//!   makes an object of them), filters among other selectors;
//! * white space outside of brackets;
//! * filters that compare two paths which both name nothing (equal in the RFC, never equal in Jayway), and
//!   comparisons by an order of anything but numbers and strings (`<=` holds between equal values of any type
//!   in the RFC);
//! * the RFC's functions in filters;
//! * integers beyond 32 bits;
//! * texts that the RFC refuses and Jayway reads: any characters in dotted names, control characters and
//!   unknown escapes in quotes, leading zeros, comparisons of lists and of constants, bare words as strings.
//!
//! The suite is not part of this repository. It is run where `../shared/conformance` beside the workspace has
//! it.

use asl::path::{Path, Scope};
use asl::value::{JsonLimits, Value};

fn suite() -> Option<Value> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../../shared/conformance/jsonpath-cts.json");
    let Ok(text) = std::fs::read(file) else {
        println!("skipped: the suite of RFC 9535 is not at {file}");
        return None;
    };
    Some(Value::parse(&text, JsonLimits { depth: 512, bytes: usize::MAX }).expect("the suite is JSON"))
}

/// Whether Jayway and the RFC give the selector the same meaning.
fn agrees(selector: &str) -> bool {
    let spaced = selector.starts_with(char::is_whitespace) || {
        // White space between a root or a bracket and what follows it.
        let tight: String = selector.split_whitespace().collect::<Vec<_>>().join(" ");
        ["$ ", "] [", "] .", ". ", " ."].iter().any(|pattern| tight.contains(pattern))
    };
    let brackets = selector.matches('[').count();
    let mixed = selector.contains(',') || selector.matches(':').count() > 1;
    let functions =
        ["length(", "count(", "match(", "search(", "value("].iter().any(|name| selector.contains(name));
    let big = ["9007199254740991", "113667776004"].iter().any(|number| selector.contains(number));
    let left_out = spaced || functions || big || mixed && brackets > 0;
    !left_out
}

/// Whether a filter's comparison has the same meaning in both.
fn same_comparison(selector: &str) -> bool {
    let ordered_equal = selector.contains("<=") || selector.contains(">=");
    let two_paths = selector.matches(['@', '$']).count() > 2 && selector.contains("==");
    let unordered = ["null", "true", "false", "@.d"].iter().any(|word| selector.contains(word));
    let left_out = two_paths || ordered_equal && unordered;
    !left_out
}

#[test]
fn selectors_that_mean_the_same_in_both_dialects_select_the_same() {
    let Some(suite) = suite() else { return };
    let (mut run, mut failures) = (0, Vec::new());
    for case in suite.get("tests").and_then(Value::as_array).expect("the suite has tests") {
        let selector = case.get("selector").and_then(Value::as_str).expect("a test has a selector");
        if case.get("invalid_selector").is_some() || !agrees(selector) || !same_comparison(selector) {
            continue;
        }
        run += 1;
        let document = case.get("document").expect("a valid selector has a document");
        let accepted: Vec<&Value> = match case.get("results").and_then(Value::as_array) {
            Some(results) => results.iter().collect(),
            None => case.get("result").into_iter().collect(),
        };
        let answer = match Path::parse(selector) {
            Err(error) => Err(error.to_string()),
            Ok(path) => {
                let scope = Scope::new(document, &Value::Null);
                // A definite path gives its value itself, and nothing where the RFC gives an empty list.
                Ok(match path.evaluate(&scope) {
                    Ok(value) if path.is_definite() => Value::array([value]),
                    Ok(matches) => matches,
                    Err(_) => Value::array([]),
                })
            }
        };
        if !answer.as_ref().is_ok_and(|answer| accepted.contains(&answer)) {
            let name = case.get("name").and_then(Value::as_str).unwrap_or_default();
            failures.push(format!("{name}: {selector} gave {answer:?}"));
        }
    }
    assert!(run > 200, "only {run} selectors of the suite were run");
    assert!(failures.is_empty(), "{} of {run} failed:\n{}", failures.len(), failures.join("\n"));
}

/// Whether a selector that the RFC refuses is one that Jayway reads, or may read.
fn jayway_reads(selector: &str) -> bool {
    let control_or_escape = selector.contains(|character: char| character.is_control() || character == '\\');
    let leading_zero = ["$[01]", "$[-0]", "$[-01]"].contains(&selector);
    let any_name = selector
        .strip_prefix("$.")
        .is_some_and(|name| name.chars().all(char::is_alphanumeric) || name == "&");
    let compares = ["==", "!=", "<="].iter().any(|operator| selector.contains(operator));
    let lists = ["*", "..", "[0:0]", "[0, 0]", "['a', 'a']"].iter().any(|list| selector.contains(list));
    let constants =
        selector.starts_with("$[?") && !selector.contains('@') && selector.matches('$').count() == 1;
    let bare_word = ["==True", "==False", "==Null"].iter().any(|word| selector.contains(word));
    control_or_escape || leading_zero || bare_word || any_name || compares && lists || constants
}

#[test]
fn selectors_that_are_invalid_in_both_dialects_are_refused() {
    let Some(suite) = suite() else { return };
    let (mut run, mut read) = (0, Vec::new());
    for case in suite.get("tests").and_then(Value::as_array).expect("the suite has tests") {
        let selector = case.get("selector").and_then(Value::as_str).expect("a test has a selector");
        if case.get("invalid_selector").is_none() || jayway_reads(selector) {
            continue;
        }
        run += 1;
        if Path::parse(selector).is_ok() {
            read.push(selector);
        }
    }
    assert!(run > 80, "only {run} selectors of the suite were run");
    assert!(read.is_empty(), "{} of {run} were read: {read:?}", read.len());
}
