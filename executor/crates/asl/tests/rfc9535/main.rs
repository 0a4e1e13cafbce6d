//! The compliance suite of RFC 9535 against the path evaluator.
//!
//! The Amazon States Language speaks Jayway's JSONPath (<https://states-language.net/spec.html#path>,
//! <https://github.com/json-path/JsonPath>), which is older than the RFC. Where the two differ, `differences` lists how
//! and why, by what a selector uses and never by its name. The list is exact: a selector that differs and is not listed
//! fails, and so does a listed one that agrees.
//!
//! The suite is not part of this repository. It is run where `../shared/conformance` beside the workspace has it.

mod differences;
mod selector;

use asl::path::{Path, Scope};
use asl::value::{JsonLimits, Value};
use differences::{DIFFERENCES, Kind};

/// A test of the suite.
struct Case<'a> {
    selector: &'a str,
    /// `None` for a selector that the RFC refuses.
    document: Option<&'a Value>,
    /// The answers that the RFC allows: lists of nodes.
    answers: Vec<&'a Value>,
}

fn suite() -> Option<Value> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../../shared/conformance/jsonpath-cts.json");
    let Ok(text) = std::fs::read(file) else {
        println!("skipped: the suite of RFC 9535 is not at {file}");
        return None;
    };
    Some(Value::parse(&text, JsonLimits { depth: 512, bytes: usize::MAX }).expect("the suite is JSON"))
}

fn cases(suite: &Value) -> Vec<Case<'_>> {
    let tests = suite.get("tests").and_then(Value::as_array).expect("the suite has tests");
    let case = |test| {
        let member = |name| Value::get(test, name);
        let invalid = member("invalid_selector").is_some();
        let answers = match member("results").and_then(Value::as_array) {
            Some(answers) => answers.iter().collect(),
            None => member("result").into_iter().collect(),
        };
        Case {
            selector: member("selector").and_then(Value::as_str).expect("a test has a selector"),
            document: member("document").filter(|_| !invalid),
            answers,
        }
    };
    tests.iter().map(case).collect()
}

/// How our answer differs from the RFC's; `None` where it does not.
fn difference(case: &Case<'_>) -> Option<Kind> {
    let path = Path::parse(case.selector);
    let Some(document) = case.document else { return path.is_ok().then_some(Kind::Reads) };
    let Ok(path) = path else { return Some(Kind::Refuses) };
    // A definite path gives its value itself, and nothing where the RFC gives an empty list.
    let answer = match path.evaluate(&Scope::new(document, &Value::Null)) {
        Ok(value) if path.is_definite() => Value::array([value]),
        Ok(matches) => matches,
        Err(_) => Value::array([]),
    };
    (!case.answers.contains(&&answer)).then_some(Kind::Answers)
}

#[test]
fn the_dialect_differs_from_the_rfc_where_it_says_so_and_nowhere_else() {
    let Some(suite) = suite() else { return };
    let cases = cases(&suite);
    let (mut agree, mut wrong) = (0, String::new());
    let mut used = vec![0; DIFFERENCES.len()];
    for case in &cases {
        let found = difference(case);
        let listed: Vec<usize> =
            (0..DIFFERENCES.len()).filter(|at| (DIFFERENCES[*at].applies)(case)).collect();
        for at in &listed {
            used[*at] += 1;
            if found != Some(DIFFERENCES[*at].kind) {
                wrong.push_str(&format!(
                    "\n  {:?} is listed ({}), but: {found:?}",
                    case.selector, DIFFERENCES[*at].what
                ));
            }
        }
        match found {
            None => agree += 1,
            Some(kind) if listed.is_empty() => {
                wrong.push_str(&format!("\n  {:?} {kind:?}, and is not listed", case.selector));
            }
            Some(_) => {}
        }
    }
    println!("{agree} of {} selectors of the suite of RFC 9535 agree; the others:", cases.len());
    for (difference, count) in DIFFERENCES.iter().zip(&used) {
        println!("{count:5}  {:?}: {}. {}", difference.kind, difference.what, difference.why);
        if *count == 0 {
            wrong.push_str(&format!("\n  no selector shows: {}", difference.what));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(agree > 0, "the suite has selectors");
}

#[test]
fn a_difference_is_seen_and_agreement_too() {
    let (document, one, two) =
        (Value::array([1.into(), 2.into()]), Value::array([1.into()]), Value::array([2.into()]));
    let case = |selector, valid: bool, answer| Case {
        selector,
        document: valid.then_some(&document),
        answers: vec![answer],
    };
    assert_eq!(difference(&case("$[0]", true, &one)), None);
    assert_eq!(difference(&case("$[0]", true, &two)), Some(Kind::Answers));
    assert_eq!(difference(&case("$[:1]", true, &one)), None);
    assert_eq!(difference(&case("$[:1:1]", true, &one)), Some(Kind::Refuses));
    assert_eq!(difference(&case("$[0]", false, &one)), Some(Kind::Reads));
    assert_eq!(difference(&case("$[", false, &one)), None);
}
