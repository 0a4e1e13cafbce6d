//! Many iterations, many paths, many turns.

use asl::{Outcome, Value};

use super::{EVENTS_MAX, failure, looped, run};

fn numbers(count: i64) -> Value {
    Value::array((0..count).map(Value::from))
}

/// A Map over the execution's whole input, around this item processor.
fn map(fields: &str, processor: &str) -> String {
    format!(
        r#"{{"StartAt":"M","States":{{"M":{{"Type":"Map","ItemsPath":"$$.Execution.Input",{fields}"End":true,
        "ItemProcessor":{processor}}}}}}}"#
    )
}

const TASK: &str = r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"FUNCTION","End":true}}}"#;

#[test]
fn a_map_over_very_many_items_ends_at_the_history_s_bound() {
    let pass = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;
    let (outcome, counted) = run(&map("", pass), numbers(40_000));
    assert!(failure(&outcome).1.contains("maximum number of history events"), "{outcome:?}");
    assert!(counted.events > EVENTS_MAX / 2);
}

#[test]
fn maps_over_many_items_inside_of_each_other_have_a_bounded_number_of_tasks_alive() {
    // 1,000 times 1,000 items: forty iterations of each are alive, which each have forty alive.
    let inner = map("", TASK).replace("\"M\"", "\"Inner\"");
    let (outcome, counted) = run(&map("", &inner), numbers(1_000));
    assert!(failure(&outcome).1.contains("maximum number of history events"), "{outcome:?}");
    assert!(counted.tasks <= EVENTS_MAX / 4, "{} tasks", counted.tasks);
}

#[test]
fn results_of_iterations_that_are_too_long_together_fail_the_map() {
    let format = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","Parameters":{"x.$":"States.Format('TEXT{}', $)"},"End":true}}}"#;
    let (outcome, counted) = run(&map("", &format.replace("TEXT", &"x".repeat(1_000))), numbers(300));
    let (error, cause) = failure(&outcome);
    assert_eq!(error, "States.DataLimitExceeded", "{cause}");
    assert!(counted.events > 300 * 4, "all iterations were over");
}

#[test]
fn results_of_iterations_are_not_kept_without_a_bound() {
    // A selector could make little of them in the end.
    let pass = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","Result":"TEXT","End":true}}}"#;
    let fields = r#""ResultSelector":{"n.$":"$.length()"},"#;
    let (outcome, counted) = run(&map(fields, &pass.replace("TEXT", &"x".repeat(250_000))), numbers(2_000));
    let (error, cause) = failure(&outcome);
    assert_eq!(error, "States.DataLimitExceeded", "{cause}");
    assert!(counted.events < 400 * 4, "{} events", counted.events);
    // As many small ones are no problem.
    let (outcome, _) = run(&map(fields, &pass.replace("TEXT", "x")), numbers(2_000));
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
}

#[test]
fn the_paths_of_one_template_select_a_bounded_number_of_values() {
    let fields: Vec<String> = (0..2_000).map(|number| format!(r#""{number}.$":"$..*""#)).collect();
    let definition = looped(&format!(r#""Type":"Pass","Parameters":{{{}}}"#, fields.join(",")));
    let (outcome, counted) = run(&definition, numbers(20_000));
    let (error, cause) = failure(&outcome);
    assert_eq!(error, "States.Runtime");
    assert!(cause.contains("select more than 1048576 values"), "{cause}");
    assert!(counted.events < 10);
    let calls: Vec<String> =
        (0..2_000).map(|number| format!(r#""{number}.$":"States.Array($..*)""#)).collect();
    let definition = looped(&format!(r#""Type":"Pass","Parameters":{{{}}}"#, calls.join(",")));
    assert_eq!(failure(&run(&definition, numbers(20_000)).0).0, "States.Runtime");
}

#[test]
fn loops_of_every_state_that_takes_no_time_end_at_the_history_s_bound() {
    for state in [
        r#""Type":"Pass""#,
        r#""Type":"Wait","Seconds":0"#,
        r#""Type":"Wait","Timestamp":"1960-01-01T00:00:00Z""#,
        r#""Type":"Parallel","ResultPath":null,"Branches":[{"StartAt":"B","States":{"B":{"Type":"Succeed"}}}]"#,
        r#""Type":"Map","ItemsPath":"$.none","ResultPath":null,"ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Succeed"}}}"#,
        r#""Type":"Task","Resource":"FUNCTION""#,
    ] {
        let (outcome, counted) = run(&looped(state), Value::object([("none", Value::array([]))]));
        let (error, cause) = failure(&outcome);
        assert_eq!(error, "States.Runtime", "{state}");
        assert!(cause.contains("maximum number of history events (25000)"), "{cause}");
        assert!(counted.events > EVENTS_MAX - 10, "{} events", counted.events);
    }
}
