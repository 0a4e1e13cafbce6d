//! What is asked of executions, and what is told of them. That they run is tested beside the scheduler.

use std::cell::RefCell;
use std::collections::VecDeque;

use asl::{Timestamp, Value};
use bytes::Bytes;
use ids::{Status, TraceContext};

use super::*;
use crate::request::Origin;
use crate::request::tests::Traced;

const MACHINE: &str = "arn:aws:states:eu-west-1:123456789012:stateMachine:child";
const EXECUTION: &str = "arn:aws:states:eu-west-1:123456789012:execution:child:monday";
const BEGAN: Timestamp = Timestamp(1_700_000_000_250);

/// Answers in a given order, and remembers what it was asked.
#[derive(Default)]
struct Script {
    starts: RefCell<VecDeque<Result<Started, Refusal>>>,
    looks: RefCell<VecDeque<Result<Described, Refusal>>>,
    /// Whether a machine is STANDARD.
    modes: RefCell<VecDeque<Result<bool, Refusal>>>,
    asked: RefCell<Vec<String>>,
}

impl Executions for Script {
    fn start(&self, start: Start) -> Reply<'_, Started> {
        let input = String::from_utf8_lossy(&start.input).into_owned();
        let trace = start.trace.map(|trace| format!(" in {}", trace.traceparent())).unwrap_or_default();
        self.asked.borrow_mut().push(format!("start {} {} {input}{trace}", start.machine_arn, start.name));
        let answer = self.starts.borrow_mut().pop_front().expect("a start that was foreseen");
        Box::pin(std::future::ready(answer))
    }

    fn is_standard(&self, machine_arn: String) -> Reply<'_, bool> {
        self.asked.borrow_mut().push(format!("mode of {machine_arn}"));
        let answer = self.modes.borrow_mut().pop_front().expect("a question that was foreseen");
        Box::pin(std::future::ready(answer))
    }

    fn describe(&self, execution: String) -> Reply<'_, Described> {
        self.asked.borrow_mut().push(format!("describe {execution}"));
        let answer = self.looks.borrow_mut().pop_front().expect("a look that was foreseen");
        Box::pin(std::future::ready(answer))
    }

    fn stop(&self, execution: String, cause: String) -> Reply<'_, ()> {
        self.asked.borrow_mut().push(format!("stop {execution}: {cause}"));
        Box::pin(std::future::ready(Ok(())))
    }
}

fn started() -> Started {
    Started { execution_arn: EXECUTION.to_owned(), at: BEGAN }
}

fn described(status: Status) -> Described {
    let ended = status.is_terminal();
    let (good, bad) = (status == Status::Succeeded, ended && status != Status::Succeeded);
    Described {
        execution_arn: EXECUTION.to_owned(),
        machine_arn: MACHINE.to_owned(),
        name: "monday".to_owned(),
        status,
        started: BEGAN,
        stopped: ended.then_some(Timestamp(1_700_000_001_000)),
        input: Bytes::from_static(br#"{"n":1}"#),
        output: good.then(|| Bytes::from_static(br#"{"Arg1":"argument1"}"#)),
        error: bad.then(|| "SomeFailure".to_owned()),
        cause: bad.then(|| "It failed.".to_owned()),
        redrive_count: 0,
        not_redrivable: good.then(|| "Execution is SUCCEEDED and cannot be redriven".to_owned()),
    }
}

fn away() -> Refusal {
    Refusal::Unavailable { message: "nobody answers".to_owned(), retry_after: None }
}

fn unknown() -> Refusal {
    Refusal::Unknown { message: "it may have been started".to_owned() }
}

fn refused(code: &str) -> Refusal {
    Refusal::Refused { code: code.to_owned(), message: "because".to_owned() }
}

fn request(resource: &str, arguments: &str) -> Request {
    Request {
        resource: resource.into(),
        input: Payload::from_checked(Bytes::copy_from_slice(arguments.as_bytes())),
        origin: Origin {
            names: Rc::new(("arn:aws:states:eu-west-1:123456789012:execution:parent:x-1", "x-1-2a")),
            machine_arn: "arn:aws:states:eu-west-1:123456789012:stateMachine:parent".into(),
            role_arn: "".into(),
            machine_role_arn: "".into(),
        },
    }
}

fn integration(call: &str) -> String {
    format!("arn:aws:states:::states:startExecution{call}")
}

fn arguments(more: &str) -> String {
    format!(r#"{{"StateMachineArn":"{MACHINE}"{more}}}"#)
}

fn on(script: Script) -> (Rc<Script>, Nested) {
    let script = Rc::new(script);
    (Rc::clone(&script), Nested::new(script))
}

async fn begun(script: Script, request: Request) -> (Result<Answer, Failure>, Vec<String>) {
    let (script, nested) = on(script);
    let answer = nested.begin(&request).await;
    (answer, script.asked.take())
}

async fn ended(call: &str, status: Status) -> Result<Payload, Failure> {
    let looks = [Err(away()), Ok(described(Status::Running)), Ok(described(status))].into();
    let (_, nested) = on(Script { looks: RefCell::new(looks), ..Script::default() });
    let request = request(&integration(call), &arguments(""));
    let submitted = Payload::from_value(Value::object([("ExecutionArn", Value::from(EXECUTION))]));
    nested.complete(&request, &submitted).await
}

#[tokio::test(start_paused = true)]
async fn a_start_has_the_states_name_and_input_or_the_attempts_and_an_empty_object() {
    for (resource, more, asked) in [
        ("", r#","Name":"monday","Input":{"n":1}"#, r#"monday {"n":1}"#),
        ("", "", "by-x-1-2a {}"),
        (".sync", r#","Input":null,"Name":null"#, "by-x-1-2a {}"),
        (".sync:2", r#","Input":"\"text\"""#, r#"by-x-1-2a "text""#),
        (".waitForTaskToken", r#","Input":[1]"#, "by-x-1-2a [1]"),
    ] {
        let script = Script { starts: RefCell::new([Ok(started())].into()), ..Script::default() };
        let (answer, told) = begun(script, request(&integration(resource), &arguments(more))).await;
        assert_eq!(told, [format!("start {MACHINE} {asked}")]);
        let told = concat!(
            r#"{"ExecutionArn":"arn:aws:states:eu-west-1:123456789012:execution:child:monday","#,
            r#""SdkHttpMetadata":{"HttpStatusCode":200},"SdkResponseMetadata":{"RequestId":"x-1-2a"},"#,
            r#""StartDate":1700000000250}"#
        );
        match answer.expect("an answer") {
            Answer::Submitted(output) => assert_eq!((output.text(), resource.contains("sync")), (told, true)),
            Answer::Output(output) => assert_eq!((output.text(), resource.contains("sync")), (told, false)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_is_started_goes_on_in_the_trace_of_who_starts_it() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let script = Script { starts: RefCell::new([Ok(started())].into()), ..Script::default() };
    let mut request = request(&integration(""), &arguments(""));
    request.origin.names = Rc::new(Traced(TraceContext::parse(PARENT, "").expect("a context")));
    let (_, told) = begun(script, request).await;
    assert_eq!(told, [format!("start {MACHINE} by-a {{}} in {PARENT}")]);
}

#[tokio::test(start_paused = true)]
async fn arguments_that_start_nothing_are_told_by_name() {
    for (arguments, words) in [
        ("{}", "StateMachineArn is missing"),
        ("7", "StateMachineArn is missing"),
        (r#"{"StateMachineArn":7}"#, "StateMachineArn must be a string"),
        (&arguments(r#","Name":{}"#), "Name must be a string"),
        (&arguments(r#","Imput":{}"#), "Imput is no argument"),
    ] {
        let failure =
            begun(Script::default(), request(&integration(""), arguments)).await.0.expect_err(words);
        assert!(failure.error == "States.Runtime" && failure.cause.contains(words), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_nobody_answers_is_made_again_and_a_refused_one_fails_the_task() {
    let starts = [Err(away()), Err(away()), Ok(started())].into();
    let script = Script { starts: RefCell::new(starts), ..Script::default() };
    let (answer, asked) = begun(script, request(&integration(""), &arguments(""))).await;
    assert!(answer.is_ok());
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|again| *again == asked[0]), "{asked:?}");

    let starts = std::iter::repeat_with(|| Err(away())).take(1_000).collect();
    let script = Script { starts: RefCell::new(starts), ..Script::default() };
    let (answer, asked) = begun(script, request(&integration(""), &arguments(""))).await;
    assert_eq!(answer.expect_err("given up").error, "StepFunctions.SdkClientException");
    assert!(asked.len() < 30, "{}", asked.len());

    for (resource, error) in [
        (integration(""), "StepFunctions.StateMachineDoesNotExistException"),
        ("arn:aws:states:::aws-sdk:sfn:startExecution".to_owned(), "Sfn.StateMachineDoesNotExistException"),
    ] {
        let starts = [Err(refused("StateMachineDoesNotExist"))].into();
        let script = Script { starts: RefCell::new(starts), ..Script::default() };
        let failure = begun(script, request(&resource, &arguments(""))).await.0.expect_err("refused");
        assert!(failure.error == error && failure.cause.starts_with("because"), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_of_unknown_outcome_is_made_again_only_where_that_starts_nothing_twice() {
    for (mode, repeated) in
        [(Ok(true), true), (Ok(false), false), (Err(refused("StateMachineDoesNotExist")), false)]
    {
        let starts = RefCell::new([Err(unknown()), Ok(started())].into());
        let modes = RefCell::new([Err(away()), mode].into());
        let script = Script { starts, modes, ..Script::default() };
        let (answer, asked) = begun(script, request(&integration(""), &arguments(""))).await;
        assert_eq!(
            asked.iter().filter(|asked| asked.starts_with("start")).count(),
            1 + usize::from(repeated)
        );
        match answer {
            Ok(_) => assert!(repeated),
            Err(failure) => {
                assert!(!repeated && failure.cause.starts_with("it may have been started"), "{failure:?}");
                assert_eq!(failure.error, "StepFunctions.SdkClientException");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_execution_of_the_attempts_own_name_that_has_ended_is_found_again_and_anothers_is_not() {
    let taken = || RefCell::new([Err(refused("ExecutionAlreadyExists"))].into());
    let looks = || RefCell::new([Ok(described(Status::Succeeded))].into());
    // A token in the input may be spelt anew.
    for input in [r#","Input":{"n":1}"#, r#","Input":{"n":2}"#] {
        let ours = request(&integration(".sync"), &arguments(input));
        let script = Script { starts: taken(), looks: looks(), ..Script::default() };
        let (answer, asked) = begun(script, ours).await;
        assert!(matches!(answer, Ok(Answer::Submitted(_))), "{answer:?}");
        assert_eq!(asked[1], "describe arn:aws:states:eu-west-1:123456789012:execution:child:by-x-1-2a");
    }

    // An execution is called after its machine, whatever version or alias of it was asked for.
    for behind in [":3", ":PROD"] {
        let arguments = format!(r#"{{"StateMachineArn":"{MACHINE}{behind}"}}"#);
        let script = Script { starts: taken(), looks: looks(), ..Script::default() };
        let (answer, asked) = begun(script, request(&integration(".sync"), &arguments)).await;
        assert!(matches!(answer, Ok(Answer::Submitted(_))), "{answer:?}");
        assert_eq!(asked[1], "describe arn:aws:states:eu-west-1:123456789012:execution:child:by-x-1-2a");
    }

    let named = request(&integration(".sync"), &arguments(r#","Input":{"n":1},"Name":"monday""#));
    let script = Script { starts: taken(), looks: looks(), ..Script::default() };
    let failure = begun(script, named).await.0.expect_err("it is another's");
    assert_eq!(failure.error, "StepFunctions.ExecutionAlreadyExistsException");
}

#[tokio::test(start_paused = true)]
async fn what_the_attempt_has_started_is_looked_for_until_its_partition_has_moved() {
    let taken = || Err(refused("ExecutionAlreadyExists"));
    let looks = RefCell::new([Err(away()), Ok(described(Status::Running))].into());
    let script = Script { starts: RefCell::new([taken(), taken()].into()), looks, ..Script::default() };
    let (answer, _) = begun(script, request(&integration(".sync"), &arguments(""))).await;
    assert!(matches!(answer, Ok(Answer::Submitted(_))), "{answer:?}");

    let looks = RefCell::new([Err(refused("ExecutionDoesNotExist"))].into());
    let script = Script { starts: RefCell::new([taken()].into()), looks, ..Script::default() };
    let failure = begun(script, request(&integration(".sync"), &arguments(""))).await.0.expect_err("gone");
    assert_eq!(failure.error, "StepFunctions.ExecutionAlreadyExistsException");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_execution_is_the_tasks_with_its_output_as_text_or_as_json() {
    let told = |input: &str, output: &str| {
        format!(
            r#"{{"ExecutionArn":"{EXECUTION}","Input":{input},"InputDetails":{{"Included":true}},"Name":"monday","Output":{output},"OutputDetails":{{"Included":true}},"RedriveCount":0,"RedriveStatus":"NOT_REDRIVABLE","RedriveStatusReason":"Execution is SUCCEEDED and cannot be redriven","StartDate":1700000000250,"StateMachineArn":"{MACHINE}","Status":"SUCCEEDED","StopDate":1700000001000}}"#
        )
    };
    let text = ended(".sync", Status::Succeeded).await.expect("an output");
    assert_eq!(text.text(), told(r#""{\"n\":1}""#, r#""{\"Arg1\":\"argument1\"}""#));
    let json = ended(".sync:2", Status::Succeeded).await.expect("an output");
    assert_eq!(json.text(), told(r#"{"n":1}"#, r#"{"Arg1":"argument1"}"#));
    for status in [Status::Failed, Status::TimedOut, Status::Aborted] {
        let failure = ended(".sync", status).await.expect_err("a failure");
        let cause = Payload::from_checked(Bytes::from(failure.cause.to_string()));
        let member = |name| cause.value().get(name).and_then(Value::as_str).unwrap_or_default();
        assert_eq!(failure.error, "States.TaskFailed");
        assert_eq!((member("Error"), member("Status")), ("SomeFailure", status.as_str()));
        assert_eq!((member("Cause"), member("RedriveStatus")), ("It failed.", "REDRIVABLE"));
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_execution_that_is_not_there_is_followed_no_longer() {
    let request = request(&integration(".sync"), &arguments(""));
    let submitted = Payload::from_value(Value::object([("ExecutionArn", Value::from(EXECUTION))]));
    let looks = [Err(refused("AccessDenied")), Err(refused("Internal")), Ok(described(Status::Succeeded))];
    let (_, nested) = on(Script { looks: RefCell::new(looks.into()), ..Script::default() });
    assert!(nested.complete(&request, &submitted).await.is_ok());

    let looks = [Err(refused("ExecutionDoesNotExist"))];
    let (_, nested) = on(Script { looks: RefCell::new(looks.into()), ..Script::default() });
    let failure = nested.complete(&request, &submitted).await.expect_err("it is gone");
    assert_eq!((&*failure.error, &*failure.cause), ("States.TaskFailed", "because"));
}

#[tokio::test(start_paused = true)]
async fn asw_is_told_in_its_envelope() {
    let resource = "qrn:qcs:asw:ap-guangzhou:1250000000:sdk:json:qcloud:asw:StartExecution";
    let machine = "qrn:qcs:asw:ap-guangzhou:1250000000:http:json:flowmachine:child:abcd1234";
    let arguments = format!(r#"{{"StateMachineResourceName":"{machine}","Input":"{{}}"}}"#);
    let start = || Script { starts: RefCell::new([Ok(started())].into()), ..Script::default() };
    let (answer, asked) = begun(start(), request(resource, &arguments)).await;
    assert_eq!(asked, [format!("start {machine} by-x-1-2a {{}}")]);
    let Ok(Answer::Output(told)) = answer else { panic!("{answer:?}") };
    let arn = told.value().pointer("/Response/ExecutionResourceName").and_then(Value::as_str);
    assert_eq!(arn, Some(EXECUTION));

    let request = request(&format!("{resource}.sync"), &arguments);
    let looks = RefCell::new([Ok(described(Status::Succeeded)), Ok(described(Status::Failed))].into());
    let (script, nested) = on(Script { looks, ..start() });
    let Ok(Answer::Submitted(submitted)) = nested.begin(&request).await else { panic!("it runs") };
    let output = nested.complete(&request, &submitted).await.expect("an output");
    let member = output.value().pointer("/Response/Output").and_then(Value::as_str);
    assert_eq!(member, Some(r#"{"Arg1":"argument1"}"#));
    assert_eq!(
        nested.complete(&request, &submitted).await.expect_err("a failure").error,
        "States.TaskFailed"
    );
    nested.stop(&request, &submitted).await.expect("stopped");
    let last = script.asked.borrow().last().cloned().unwrap_or_default();
    assert!(last.starts_with(&format!("stop {EXECUTION}: ")) && last.contains(":parent:"), "{last}");
}

#[test]
fn other_resources_are_not_served() {
    for resource in [
        "arn:aws:states:::states:startExecution.sync:3",
        "arn:aws:states:::states:stopExecution",
        "arn:aws:states:::lambda:invoke",
        "arn:aws:states:::aws-sdk:sfn:startExecution.sync",
        "qrn:qcs:asw:gz:1:sdk:json:qcloud:asr:CreateRecTask",
    ] {
        assert!(Form::of(resource).is_none(), "{resource}");
    }
}
