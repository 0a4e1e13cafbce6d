//! Every example runs to its end in virtual time, with the quick start's own functions.

use std::sync::Arc;
use std::time::Duration;

use asl::execution::{FixedNames, Machine};
use asl::history::{AswHistory, NoObserver, Observer};
use asl::qrn::{Qrn, Target};
use asl::simulate::{Answer, Reply, Request, simulate};
use asl::{Outcome, Payload, Program, StartContext, Timestamp};
use scheduler_stub::cloud::Services;
use scheduler_stub::quickstart::examples::{CALLING, EXAMPLES, Example};
use scheduler_stub::quickstart::functions;
use serde_json::{Value, json};

const BEGAN: Timestamp = Timestamp(1_700_000_000_000);

fn payload(text: &str) -> Payload {
    Payload::check(text.to_owned().into(), asl::value::JsonLimits::PAYLOAD).expect("JSON")
}

fn example(name: &str) -> &'static Example {
    EXAMPLES.iter().chain(&CALLING).find(|example| example.name == name).expect("an example")
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

/// How long jobs of the clouds take, in milliseconds.
const JOB_MS: u64 = 30_000;

fn services() -> Services {
    Services::new(functions::call, Duration::from_millis(JOB_MS))
}

/// What the stub's services answer; a component that waits for a job is answered when it is done.
fn served(services: &Services, request: &Request<'_>) -> Reply {
    let Ok(Target::Api { service, action }) = Qrn::parse(request.resource).map(|qrn| qrn.target) else {
        return Reply::now(answer(request));
    };
    let (action, after_millis) = match action {
        "audioSeparate" => ("ProcessMedia", 0),
        "checkMpsJob" => ("DescribeTaskDetail", JOB_MS),
        "generalASR" => ("CreateRecTask", 0),
        "checkASR" => ("DescribeTaskStatus", JOB_MS),
        action => (action, 0),
    };
    let body = serde_json::from_slice(request.input.bytes()).expect("JSON");
    let now = u64::try_from(request.at.0).expect("a time") + after_millis;
    let envelope = services.call(service, action, &body, now).to_string();
    Reply { after_millis, ..Reply::now(Answer::Succeeds(payload(&envelope))) }
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
    let services = services();
    run(name, &inputs[number], |request| served(&services, request))
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
    for (number, video, frames) in [(0, "5285890", 2), (1, "5285891", 0)] {
        let services = services();
        let inputs = example("video-caption").inputs().expect("a JSON array");
        let (outcome, seconds) = run("video-caption", &inputs[number], |request| served(&services, request));
        let captioned = succeeded(&outcome);
        assert_eq!((&captioned["captions"], &captioned["format"]), (&json!(2 + frames), &json!("vtt")));
        assert_eq!(seconds, 60.0, "one job after the other, two parts at once");
        let asked = services.call("vod", "DescribeMediaInfos", &json!({ "FileIds": [video] }), 0);
        let stored = &asked["Response"]["MediaInfoSet"][0]["SubtitleInfo"]["SubtitleSet"][0];
        assert_eq!(stored["Id"], captioned["subtitle"], "they stand with the video: {asked}");
    }
}

#[test]
fn a_video_without_sound_gets_no_captions() {
    let services = services();
    let inputs = example("video-caption").inputs().expect("a JSON array");
    let (outcome, _) = run("video-caption", &inputs[0], |request| {
        let silent = |text: &str| payload(&text.replace(".mp3", ".txt"));
        match served(&services, request) {
            Reply { answer: Answer::Succeeds(output), after_millis, .. } => {
                Reply { after_millis, ..Reply::now(Answer::Succeeds(silent(output.text()))) }
            }
            other => other,
        }
    });
    assert_eq!(error(&outcome), "NoCaptions");
}

#[test]
fn a_parcel_is_rated_and_insured_or_not_sent() {
    let ended = |number: usize, status: u16| {
        let inputs = example("parcel").inputs().expect("a JSON array");
        run("parcel", &inputs[number], |request| match request.resource.as_str() {
            "arn:aws:states:::http:invoke" if status == 200 => {
                let rate = json!({ "ResponseBody": { "price": 7, "days": 2 }, "StatusCode": 200 });
                Reply::now(Answer::Succeeds(payload(&rate.to_string())))
            }
            "arn:aws:states:::http:invoke" => {
                let error = format!("States.Http.StatusCode.{status}");
                Reply::now(Answer::Fails(error.as_str().into(), "too heavy".into()))
            }
            _ => Reply::now(answer(request)),
        })
        .0
    };
    let sent = succeeded(&ended(0, 200));
    assert_eq!((&sent["rate"]["price"], &sent["insurance"]["premium"]), (&json!(7), &json!(1)));
    assert_eq!(error(&ended(1, 422)), "ParcelNotSent");
    assert_eq!(error(&ended(2, 200)), "ParcelNotSent");
}

#[test]
fn the_tcsl_example_has_no_warnings_and_a_history_in_asws_form() {
    let example = example("video-caption");
    assert_eq!(example.dialect, asl::Dialect::Tcsl);
    let compiled = Program::compile(example.definition.as_bytes(), example.dialect).expect("it compiles");
    assert_eq!(compiled.warnings, []);
    let inputs = example.inputs().expect("a JSON array");
    let mut history = AswHistory::new(1_000);
    let services = services();
    let served = |request: &Request<'_>| served(&services, request);
    let (outcome, _) = observed("video-caption", &inputs[0], served, &mut history);
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
