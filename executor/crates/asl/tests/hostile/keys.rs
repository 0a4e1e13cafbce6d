//! A key given twice in data: the text is passed on as it came, and whoever looks into it sees the last value.

use asl::history::NoObserver;
use asl::simulate::{Answer, Reply, Request, simulate};
use asl::value::JsonLimits;
use asl::{Outcome, Payload, StartContext, Timestamp};

use super::machine;

const TWICE: &str = r#"{"a":1,"b":0,"a":2}"#;

/// What a state makes of the text, and what its task is given; the task gives the text back.
fn output(state: &str) -> String {
    let ends = r#","Last":{"Type":"Pass","End":true},"First":{"Type":"Fail","Error":"First"}"#;
    let ends = if state.contains("Choice") { ends } else { "" };
    let definition = format!(r#"{{"StartAt":"S","States":{{"S":{{{state}}}{ends}}}}}"#);
    let text = || Payload::check(TWICE.into(), JsonLimits::PAYLOAD).expect("JSON");
    let mut echo = |request: &Request<'_>| {
        assert_eq!(request.input.text(), TWICE, "a task is given the text as it came");
        Reply::now(Answer::Succeeds(text()))
    };
    let start = StartContext::default();
    let ended = simulate(&machine(&definition), start, text(), Timestamp(0), &mut echo, &mut NoObserver);
    match ended.outcome {
        Some(Outcome::Succeeded(output)) => output.text().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_twice_in_data_is_passed_on_and_whoever_looks_sees_the_last() {
    for untouched in [
        r#""Type":"Succeed""#,
        r#""Type":"Task","Resource":"FUNCTION","End":true"#,
        r#""Type":"Choice","Choices":[{"Variable":"$.a","NumericEquals":2,"Next":"Last"}],"Default":"First""#,
        r#""Type":"Choice","QueryLanguage":"JSONata","Default":"First",
            "Choices":[{"Condition":"{% $states.input.a = 2 %}","Next":"Last"}]"#,
    ] {
        assert_eq!(output(untouched), TWICE, "{untouched}");
    }
    for (looks, seen) in [
        (r#""Type":"Pass","InputPath":"$.a""#, "2"),
        (r#""Type":"Pass","Parameters":{"x.$":"$"}"#, r#"{"x":{"a":2,"b":0}}"#),
        (r#""Type":"Pass","Parameters":{"x.$":"States.JsonToString($)"}"#, r#"{"x":"{\"a\":2,\"b\":0}"}"#),
        (r#""Type":"Pass","Result":5,"ResultPath":"$.r""#, r#"{"a":2,"b":0,"r":5}"#),
        (r#""Type":"Pass","Parameters":{"x.$":"$$.Execution.Input.a"}"#, r#"{"x":2}"#),
        (r#""Type":"Pass","QueryLanguage":"JSONata","Output":"{% $states.input.a %}""#, "2"),
        (r#""Type":"Task","Resource":"FUNCTION","ResultSelector":{"x.$":"$.a"}"#, r#"{"x":2}"#),
    ] {
        assert_eq!(output(&format!(r#"{looks},"End":true"#)), seen, "{looks}");
    }
}
