//! Paths, choice rules and places to put results, by themselves: many more of them than inside of machines.

use std::cell::{Cell, RefCell};

use asl::Value;
use asl::condition::Condition;
use asl::path::{Path, ReferencePath, Scope};
use asl::template::Template;
use asl::value::JsonLimits;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value as Json};

use super::generate::{Choices, choices};
use super::intrinsic::{Unfilled, filled};
use super::path::{self, Roots, equal};
use super::{cases, choice};

fn asl(json: &Json) -> Value {
    Value::parse(json.to_string().as_bytes(), JsonLimits::PAYLOAD).expect("JSON")
}

fn json(value: &Value) -> Json {
    serde_json::from_slice(&value.to_json()).expect("JSON")
}

/// What a generated text is evaluated on.
struct Ground {
    input: Json,
    context: Json,
    order_matters: Cell<bool>,
    variables: Map<String, Json>,
}

impl Ground {
    fn new(choices: &mut Choices) -> Self {
        let input = choices.input();
        let state = serde_json::json!({"Name": "S", "EnteredTime": "2024-05-01T10:00:00Z"});
        let context = serde_json::json!({"State": state, "Execution": {"Name": "case", "Input": input}});
        Self { input, context, order_matters: Cell::new(false), variables: Map::new() }
    }

    fn roots(&self) -> Roots<'_> {
        let (input, context, variables) = (&self.input, &self.context, &self.variables);
        Roots { input, context, variables, unordered: &self.order_matters }
    }
}

/// Both answers, if there are any.
fn agree(found: Option<&Json>, expected: Option<&Json>) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) => equal(found, expected),
        (None, None) => true,
        _ => false,
    }
}

#[test]
fn a_path_selects_what_the_reference_selects() {
    // How many selected something, nothing, and a list.
    let seen = RefCell::new([0; 3]);
    let compare = |mut choices: Choices| {
        let ground = Ground::new(&mut choices);
        let text = choices.path();
        let (input, context) = (asl(&ground.input), asl(&ground.context));
        let path = Path::parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let found = path.evaluate(&Scope::new(&input, &context)).ok().map(|value| json(&value));
        let expected = path::value(&text, &ground.roots()).ok();
        prop_assert!(
            agree(found.as_ref(), expected.as_ref()),
            "{} on {}: {:?}, the reference says {:?}",
            text,
            ground.input,
            found,
            expected
        );
        let kind = if found.is_none() { 1 } else { usize::from(!path.is_definite()) * 2 };
        seen.borrow_mut()[kind] += 1;
        // What asks less must not answer otherwise.
        let scope = Scope::new(&input, &context);
        let matches =
            |value: &Json| path.is_definite() || value.as_array().is_some_and(|found| !found.is_empty());
        prop_assert_eq!(path.is_present(&scope), found.as_ref().is_some_and(matches));
        if let Some(value) = path.evaluate_ref(&scope) {
            prop_assert!(agree(Some(&json(value)), found.as_ref()));
        }
        Ok(())
    };
    TestRunner::new(cases(1_000)).run(&choices(120), compare).unwrap_or_else(|error| panic!("{error}"));
    let seen = seen.into_inner();
    assert!(seen.iter().all(|count| *count > 10), "one kind of answers is hardly tested: {seen:?}");
}

#[test]
fn a_rule_holds_where_the_reference_says_so() {
    // How many held, did not, and could not be answered.
    let seen = RefCell::new([0; 3]);
    let compare = |mut choices: Choices| {
        let ground = Ground::new(&mut choices);
        let rule = choices.rule(3);
        let condition = Condition::compile(&asl(&rule)).expect("a valid rule");
        let (input, context) = (asl(&ground.input), asl(&ground.context));
        let found = condition.evaluate(&Scope::new(&input, &context)).ok();
        let expected = choice::holds(&rule, &ground.roots()).ok();
        prop_assert_eq!(found, expected, "{} on {}", rule, ground.input);
        seen.borrow_mut()[found.map_or(2, |holds| usize::from(!holds))] += 1;
        Ok(())
    };
    TestRunner::new(cases(1_000)).run(&choices(120), compare).unwrap_or_else(|error| panic!("{error}"));
    let seen = seen.into_inner();
    assert!(seen.iter().all(|count| *count > 10), "one kind of answers is hardly tested: {seen:?}");
}

#[test]
fn a_template_is_filled_in_as_the_reference_fills_it_in() {
    // How many were filled in, met no value, and failed in a function.
    let seen = RefCell::new([0; 3]);
    let compare = |mut choices: Choices| {
        let ground = Ground::new(&mut choices);
        let template = choices.template(2, &["$$.State.Name", "$$.Execution.Input"]);
        let compiled = Template::compile(&asl(&template)).expect("a valid template");
        let (input, context) = (asl(&ground.input), asl(&ground.context));
        let found = compiled.evaluate(&Scope::new(&input, &context));
        let expected = match filled(&template, &ground.roots()) {
            Err(Unfilled::Unsaid) => return Ok(()),
            expected => expected,
        };
        let same = match (&found, &expected) {
            (Ok(found), Ok(expected)) => equal(&json(found), expected),
            (Err(found), Err(Unfilled::Path)) => found.error == "States.ParameterPathFailure",
            (Err(found), Err(_)) => found.error == "States.IntrinsicFailure",
            _ => false,
        };
        prop_assert!(
            same,
            "{} on {}: {:?}, the reference says {:?}",
            template,
            ground.input,
            found,
            expected
        );
        let kind = match expected {
            Ok(_) => 0,
            Err(Unfilled::Path) => 1,
            Err(_) => 2,
        };
        seen.borrow_mut()[kind] += 1;
        Ok(())
    };
    TestRunner::new(cases(600)).run(&choices(160), compare).unwrap_or_else(|error| panic!("{error}"));
    let seen = seen.into_inner();
    assert!(seen.iter().all(|count| *count > 10), "one kind of answers is hardly tested: {seen:?}");
}

#[test]
fn a_result_is_put_where_the_reference_puts_it_and_nothing_else_changes() {
    let compare = |mut choices: Choices| {
        let ground = Ground::new(&mut choices);
        let (text, new) = (choices.reference_path(), choices.document(1));
        let path = ReferencePath::parse(text).expect("a reference path");
        let before = asl(&ground.input);
        let found = path.set(&before, asl(&new)).ok().map(|value| json(&value));
        let expected = path::put(text, &ground.input, new.clone()).ok();
        prop_assert!(agree(found.as_ref(), expected.as_ref()), "{} of {}", text, ground.input);
        prop_assert!(equal(&json(&before), &ground.input), "the root is somebody else's");
        // What was put is found; putting it again changes nothing; the last of two counts.
        if let Some(put) = found {
            let again = path.set(&asl(&put), asl(&new)).expect("it was put once");
            prop_assert!(equal(&json(&again), &put));
            let scope = (asl(&put), Value::Null);
            prop_assert_eq!(path.get(&Scope::new(&scope.0, &scope.1)).map(json), Some(json(&asl(&new))));
            let other = path.set(&before, Value::from("other")).expect("it was put once");
            let over = path.set(&other, asl(&new)).expect("it was put once");
            prop_assert!(equal(&json(&over), &put));
        }
        Ok(())
    };
    TestRunner::new(cases(400)).run(&choices(80), compare).unwrap_or_else(|error| panic!("{error}"));
}
