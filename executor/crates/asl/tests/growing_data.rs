//! Loops whose data grow with every turn end with an error, on the stack of a shard's thread.

use std::sync::Arc;

use asl::history::NoObserver;
use asl::{
    Dialect, Effect, Execution, FixedNames, Machine, Outcome, Payload, Program, StartContext, Timestamp,
};

/// Runs a definition that never waits, and says how it ended.
fn run(definition: &str) -> (String, String) {
    let compiled = Program::compile(definition.as_bytes(), Dialect::Asl).expect("the definition is accepted");
    let machine = Arc::new(Machine {
        program: compiled.program,
        arn: "arn:aws:states:us-east-1:123456789012:stateMachine:loop".into(),
        name: "loop".into(),
        role_arn: "".into(),
        mode_timeout_seconds: 300,
        history_events_max: 25_000,
        names: Box::new(FixedNames { arn: "e".into(), name: "e".into() }),
    });
    let mut effects = Vec::new();
    let (start, input) = (StartContext::default(), Payload::empty_object());
    Execution::start(&machine, start, input, Timestamp(0), &mut effects, &mut NoObserver);
    match effects.pop() {
        Some(Effect::Finished(Outcome::Failed { error, cause })) => {
            (error.unwrap_or_default().to_string(), cause.unwrap_or_default().to_string())
        }
        other => panic!("the execution did not fail: {other:?}"),
    }
}

/// State `A`, again and again.
fn looped(state: &str) -> String {
    format!(
        r#"{{"StartAt":"A","States":{{"A":{{{state},"Next":"Again"}},
        "Again":{{"Type":"Choice","Default":"A","Choices":[{{"Variable":"$.z","IsPresent":true,"Next":"End"}}]}},
        "End":{{"Type":"Succeed"}}}}}}"#
    )
}

#[test]
fn a_loop_that_wraps_its_input_each_turn_ends_at_the_depth_of_values() {
    for state in [
        r#""Type":"Pass","Parameters":{"x.$":"$"}"#,
        r#""Type":"Pass","Parameters":{"a":[{"x.$":"$"}]}"#,
        r#""Type":"Parallel","Branches":[{"StartAt":"B","States":{"B":{"Type":"Succeed"}}}]"#,
    ] {
        let (error, cause) = run(&looped(state));
        assert_eq!(error, "States.DataLimitExceeded", "{cause}");
        assert!(cause.contains("nested deeper than 512 levels"), "{cause}");
    }
}

#[test]
fn a_loop_that_doubles_its_input_each_turn_ends_at_the_length_of_payloads() {
    let (error, cause) = run(&looped(r#""Type":"Pass","Parameters":{"left.$":"$","right.$":"$"}"#));
    assert_eq!(error, "States.DataLimitExceeded");
    assert!(cause.contains("a size exceeding the maximum number of bytes service limit"), "{cause}");
}
