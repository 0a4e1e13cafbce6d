//! A tested state gives what an execution of it gives.

use proptest::prelude::*;

use super::*;
use crate::execution::{FixedNames, Machine, Outcome, StartContext};
use crate::history::NoObserver;
use crate::program::Program;
use crate::simulate::{Answer, Reply, Request, simulate};

/// What an execution of a machine with this state alone gives.
fn executed(definition: &str, input: &Value, result: &Value) -> Result<Value, Option<Str>> {
    let machine = format!(r#"{{"StartAt": "StateName", "States": {{"StateName": {definition}}}}}"#);
    let program = Program::compile(machine.as_bytes(), Dialect::Asl).unwrap().program;
    let machine = Machine {
        program,
        arn: "a".into(),
        name: "m".into(),
        role_arn: "r".into(),
        mode_timeout_seconds: 300,
        history_events_max: 1_000,
        names: Box::new(FixedNames { arn: "a".into(), name: "n".into() }),
    };
    let mut services = |_: &Request<'_>| Reply::now(Answer::Succeeds(Payload::from_value(result.clone())));
    let input = Payload::from_value(input.clone());
    let context = StartContext::default();
    let simulated =
        simulate(&std::sync::Arc::new(machine), context, input, Timestamp(0), &mut services, &mut NoObserver);
    match simulated.outcome {
        Some(Outcome::Succeeded(output)) => Ok(output.into_value()),
        Some(Outcome::Failed { error, .. }) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from)
    ];
    let members = |inner| prop::collection::vec(("[a-c]", inner), 0..4).prop_map(Value::object);
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from), members(inner)]
    })
}

proptest! {
    #[test]
    fn a_tested_state_gives_what_an_execution_gives(input in data(), result in data()) {
        const RESOURCE: &str = r#""Resource": "arn:aws:lambda:us-east-1:123456789012:function:f""#;
        for fields in [
            r#""Type": "Pass", "InputPath": "$.a", "ResultPath": "$.b""#.to_owned(),
            r#""Type": "Pass", "Parameters": {"x.$": "$.a"}, "OutputPath": "$.x""#.to_owned(),
            format!(r#""Type": "Task", {RESOURCE}, "ResultSelector": {{"x.$": "$.a"}}, "ResultPath": "$.c""#),
            format!(r#""Type": "Task", {RESOURCE}, "QueryLanguage": "JSONata", "Output": "{{% $states.result.a %}}""#),
        ] {
            let definition = format!(r#"{{{fields}, "End": true}}"#);
            let mock = fields.contains("Task").then(|| gives(&result.to_json_string())).flatten();
            let input_payload = Payload::from_value(input.clone());
            let tested = test(&TestState { mock, input: input_payload, ..request(&definition, "{}") }).unwrap();
            let seen = match tested.output {
                Some(output) => Ok(output.into_value()),
                None => Err(tested.error),
            };
            prop_assert_eq!(seen, executed(&definition, &input, &result), "{}", definition);
        }
    }
}
