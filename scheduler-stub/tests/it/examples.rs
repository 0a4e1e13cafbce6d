//! Every example runs to its end in virtual time, with the quick start's own functions.

use std::sync::Arc;

use asl::execution::{FixedNames, Machine};
use asl::history::{AswHistory, NoObserver, Observer};
use asl::simulate::{Answer, Reply, Request, simulate};
use asl::{Outcome, Payload, Program, StartContext, Timestamp};
use scheduler_stub::quickstart::examples::{EXAMPLES, Example};
use scheduler_stub::quickstart::functions;
use serde_json::Value;

const BEGAN: Timestamp = Timestamp(1_700_000_000_000);

fn payload(text: &str) -> Payload {
    Payload::check(text.to_owned().into(), asl::value::JsonLimits::PAYLOAD).expect("JSON")
}

fn example(name: &str) -> &'static Example {
    EXAMPLES.iter().find(|example| example.name == name).expect("an example")
}

/// Which function a task names: its resource, or what `lambda:invoke` is asked to invoke.
fn answer(request: &Request<'_>) -> Answer {
    let input: Value = serde_json::from_slice(request.input.bytes()).expect("JSON");
    let wrapped = request.resource == "arn:aws:states:::lambda:invoke";
    let (function, input) = if wrapped {
        (input["FunctionName"].as_str().expect("a name").to_owned(), input["Payload"].clone())
    } else {
        (request.resource.to_string(), input)
    };
    match functions::call(&function, &input) {
        Ok(output) if wrapped => Answer::Succeeds(payload(
            &serde_json::json!({ "Payload": output, "StatusCode": 200 }).to_string(),
        )),
        Ok(output) => Answer::Succeeds(payload(&output.to_string())),
        Err((error, cause)) => Answer::Fails(error.into(), cause.into()),
    }
}

/// The outcome, and the seconds of virtual time that it took.
fn run(name: &str, input: &str, services: impl FnMut(&Request<'_>) -> Reply) -> (Outcome, f64) {
    observed(name, input, services, &mut NoObserver)
}

fn observed(
    name: &str,
    input: &str,
    mut services: impl FnMut(&Request<'_>) -> Reply,
    observer: &mut impl Observer,
) -> (Outcome, f64) {
    let example = example(name);
    let compiled = Program::compile(example.definition.as_bytes(), example.dialect).expect("it compiles");
    let machine = Arc::new(Machine {
        program: compiled.program,
        arn: "arn:aws:states:local:000000000000:stateMachine:example".into(),
        name: example.name.into(),
        role_arn: "".into(),
        mode_timeout_seconds: 86_400,
        history_events_max: 25_000,
        names: Box::new(FixedNames { arn: "arn".into(), name: "name".into() }),
    });
    let start = StartContext { seed: 7, ..StartContext::default() };
    let ended = simulate(&machine, start, payload(input), BEGAN, &mut services, observer);
    let millis = ended.at.0 - BEGAN.0;
    (ended.outcome.expect("it ends"), millis as f64 / 1_000.0)
}

fn succeeded(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Succeeded(output) => serde_json::from_slice(output.bytes()).expect("JSON"),
        other => panic!("not succeeded: {other:?}"),
    }
}

fn error(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed { error, .. } => error.as_deref().unwrap_or_default().to_owned(),
        other => panic!("not failed: {other:?}"),
    }
}

fn sample(name: &str, number: usize) -> (Outcome, f64) {
    let inputs = example(name).inputs().expect("a JSON array");
    run(name, &inputs[number], |request| Reply::now(answer(request)))
}

#[test]
fn an_order_is_priced_reserved_charged_and_confirmed() {
    let (outcome, _) = sample("order-pipeline", 1);
    let confirmed = succeeded(&outcome);
    assert_eq!(confirmed["status"], "CONFIRMED");
    assert_eq!(confirmed["charged"], 148.0);
    assert_eq!(confirmed["carrier"], "courier");
    assert_eq!(confirmed["reservations"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_declined_card_gives_the_stock_back_and_is_not_retried() {
    let mut calls = Vec::new();
    let inputs = example("order-pipeline").inputs().expect("a JSON array");
    let (outcome, seconds) = run("order-pipeline", &inputs[2], |request| {
        calls.push(request.resource.rsplit(':').next().unwrap_or_default().to_owned());
        Reply::now(answer(request))
    });
    assert_eq!(error(&outcome), "CardDeclined");
    assert_eq!(calls.iter().filter(|call| *call == "charge-card").count(), 1, "{calls:?}");
    assert_eq!(calls.last().map(String::as_str), Some("release-stock"));
    assert!(seconds < 0.001, "{seconds}");
}

#[test]
fn an_order_without_items_is_rejected() {
    assert_eq!(error(&sample("order-pipeline", 3).0), "OrderRejected");
}

#[test]
fn a_busy_stock_service_is_asked_again_with_growing_pauses() {
    let mut busy = 2;
    let inputs = example("order-pipeline").inputs().expect("a JSON array");
    let (outcome, seconds) = run("order-pipeline", &inputs[2].replace("20", "2000"), |request| {
        if request.resource == "arn:aws:states:::lambda:invoke" && busy > 0 {
            busy -= 1;
            return Reply::now(Answer::Fails("StockServiceBusy".into(), "try later".into()));
        }
        Reply::now(answer(request))
    });
    assert_eq!(succeeded(&outcome)["status"], "CONFIRMED");
    assert!((seconds - 2.5).abs() < 0.001, "1 s and 1.5 s were due, it took {seconds} s");
}

#[test]
fn what_is_out_of_stock_is_caught_by_name() {
    let order = r#"{"orderId":"A-9","delivery":"standard","card":{"token":"t","limit":9},"address":{"city":"X"},
        "items":[{"sku":"tea","quantity":100,"unitPrice":1}]}"#;
    assert_eq!(error(&run("order-pipeline", order, |request| Reply::now(answer(request))).0), "OutOfStock");
}

#[test]
fn an_expense_is_approved_by_rule_by_manager_by_board_or_rejected() {
    let (by_rule, seconds) = sample("approval", 0);
    assert_eq!((succeeded(&by_rule)["answer"]["by"].as_str(), seconds as u32), (Some("rule"), 0));
    let (by_manager, seconds) = sample("approval", 1);
    assert_eq!((succeeded(&by_manager)["answer"]["by"].as_str(), seconds as u32), (Some("manager"), 1));
    let (rejected, seconds) = sample("approval", 2);
    assert_eq!((error(&rejected).as_str(), seconds as u32), ("ExpenseRejected", 2));
    let (by_board, seconds) = sample("approval", 3);
    assert_eq!((succeeded(&by_board)["answer"]["by"].as_str(), seconds as u32), (Some("board"), 3));
}

#[test]
fn a_video_gets_captions_of_its_sound_and_of_its_frames() {
    for (number, frames) in [(0, 2), (1, 0)] {
        let (outcome, _) = sample("video-caption", number);
        let merged = succeeded(&outcome);
        let captions = merged["captions"].as_u64().expect("a count");
        assert!((2 + frames..=4 + frames).contains(&captions), "{merged}");
        assert_eq!(merged["format"], "vtt");
    }
}

#[test]
fn the_tcsl_example_has_no_warnings_and_a_history_in_asws_form() {
    let example = example("video-caption");
    assert_eq!(example.dialect, asl::Dialect::Tcsl);
    let compiled = Program::compile(example.definition.as_bytes(), example.dialect).expect("it compiles");
    assert_eq!(compiled.warnings, []);
    let inputs = example.inputs().expect("a JSON array");
    let mut history = AswHistory::new(1_000);
    let answer = |request: &Request<'_>| Reply::now(answer(request));
    let (outcome, _) = observed("video-caption", &inputs[0], answer, &mut history);
    succeeded(&outcome);
    let events = history.events();
    let count = |category: &str| events.iter().filter(|event| event.category == category).count();
    for kind in ["Task", "Map", "Parallel", "Choice"] {
        let (entered, left) = (count(&format!("{kind}NodeEnter")), count(&format!("{kind}NodeExit")));
        assert!(entered > 0 && entered == left, "{kind}: entered {entered} times, left {left} times");
    }
    let last = events.last().expect("an event");
    assert_eq!((last.category, last.step.as_str()), ("Unknown", "END"));
}
