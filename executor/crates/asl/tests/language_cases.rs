//! Runs the language cases of `cases/` (see its README) with virtual time and mocked tasks.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use asl::definition::code;
use asl::execution::{FixedNames, Machine, Outcome, StartContext};
use asl::history::{AswEvent, AswHistory, Collector, Note, Observer, Record};
use asl::map::ResultObject;
use asl::simulate::{Answer, Reply, Request, Services, Simulated, simulate};
use asl::{Dialect, Payload, Program, Severity, Str, TaskPlace, Timestamp, Value};
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

/// Every execution starts at this instant.
const START: &str = "2024-01-01T00:00:00Z";
/// Enough for every case but those of the bound itself.
const EVENTS_MAX: u64 = 25_000;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Terminal states and Choice need no `End`.
fn with_end(state: &Json) -> Json {
    let mut state = state.clone();
    let kind = state["Type"].as_str().unwrap_or_default().to_owned();
    if !["Choice", "Succeed", "Fail"].contains(&kind.as_str()) && state["Next"].is_null() {
        state["End"] = json!(true);
    }
    state
}

/// `StartAt` is S, or else the first name in the alphabet.
fn machine_of(states: &Json) -> Json {
    let names = states.as_object().expect("an object of states");
    let first = names.keys().find(|name| *name == "S").or_else(|| names.keys().min()).expect("a state");
    json!({"StartAt": first, "States": states})
}

/// The text of a case's definition.
fn definition(case: &Json) -> String {
    if let Some(machine) = case.get("machine") {
        return machine.as_str().map_or_else(|| machine.to_string(), str::to_owned);
    }
    if let Some(states) = case.get("states") {
        return machine_of(states).to_string();
    }
    if let Some(state) = case.get("state") {
        return machine_of(&json!({"S": with_end(state)})).to_string();
    }
    let mut rule = case["rule"].clone();
    rule["Next"] = json!("Yes");
    let choice = json!({"Type": "Choice", "Choices": [rule], "Default": "No"});
    let end = |result: bool| json!({"Type": "Pass", "Result": result, "End": true});
    json!({"StartAt": "S", "States": {"S": choice, "Yes": end(true), "No": end(false)}}).to_string()
}

/// The mocked outcomes of each state, in the order of its attempts.
struct Mocks {
    outcomes: HashMap<String, Vec<Json>>,
    taken: HashMap<String, usize>,
    missing: Vec<String>,
    /// Of S3: bucket and key to the text.
    objects: BTreeMap<String, String>,
    written: Vec<String>,
}

impl Services for Mocks {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        self.reply(request)
    }

    fn read(&mut self, request: &Request<'_>) -> Result<Bytes, Str> {
        let parameter = |name: &str| {
            request.input.value().get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let bucket = parameter("Bucket") + "/";
        if request.resource.ends_with(":s3:listObjectsV2") {
            let keys = self.objects.keys().filter_map(|name| name.strip_prefix(&bucket));
            let contents: Vec<Json> = keys.map(|key| json!({"Key": key})).collect();
            return Ok(Bytes::from(json!({"Contents": contents}).to_string()));
        }
        let object = self.objects.get(&(bucket + &parameter("Key")));
        Ok(Bytes::from(object.ok_or("no such object")?.clone()))
    }

    fn write(&mut self, _: &TaskPlace, bucket: &str, objects: Vec<ResultObject>) -> Result<(), Str> {
        if bucket == "missing" {
            return Err("no such bucket".into());
        }
        let name = |object: ResultObject| object.key.rsplit('/').next().unwrap_or_default().to_owned();
        self.written.extend(objects.into_iter().map(name));
        Ok(())
    }
}

impl Mocks {
    fn new(case: &Json) -> Self {
        let listed = case["mocks"].as_object().cloned().unwrap_or_default();
        let outcomes = listed
            .into_iter()
            .map(|(state, outcomes)| (state, outcomes.as_array().cloned().unwrap_or_default()))
            .collect();
        let objects = case["objects"].as_object().cloned().unwrap_or_default();
        let text = |text: &Json| text.as_str().unwrap_or_default().to_owned();
        let objects = objects.iter().map(|(name, object)| (name.clone(), text(object))).collect();
        Self { outcomes, taken: HashMap::new(), missing: Vec::new(), objects, written: Vec::new() }
    }

    fn reply(&mut self, request: &Request<'_>) -> Reply {
        let state = request.place.state.to_string();
        let attempt = self.taken.entry(state.clone()).or_default();
        let outcome = self.outcomes.get(&state).and_then(|outcomes| outcomes.get(*attempt));
        *attempt += 1;
        let Some(outcome) = outcome else {
            self.missing.push(format!("attempt {attempt} of '{state}'"));
            return Reply::now(Answer::Never);
        };
        let text = |field: &str| Str::from(outcome[field].as_str().unwrap_or_default());
        let answer = if outcome["hang"] == json!(true) {
            Answer::Never
        } else if outcome.get("error").is_some() {
            Answer::Fails(text("error"), text("cause"))
        } else if let Some(bytes) = outcome["bytes"].as_u64() {
            let text = "x".repeat(usize::try_from(bytes).expect("a length") - 2);
            Answer::Succeeds(Payload::from_value(Value::from(text.as_str())))
        } else {
            Answer::Succeeds(Payload::from_value(value(&outcome["output"])))
        };
        let millis = |field: &str| outcome[field].as_u64().unwrap_or_default() * 1_000;
        Reply { after_millis: millis("after"), heartbeat_millis: millis("heartbeat"), ..Reply::now(answer) }
    }
}

fn value(json: &Json) -> Value {
    Value::parse(json.to_string().as_bytes(), asl::value::JsonLimits::PAYLOAD).expect("a case is JSON")
}

fn machine(program: Arc<Program>) -> Arc<Machine> {
    let arn = Str::from("arn:aws:states:us-east-1:123456789012:execution:machine:case");
    Arc::new(Machine {
        program,
        arn: "arn:aws:states:us-east-1:123456789012:stateMachine:machine".into(),
        name: "machine".into(),
        role_arn: "arn:aws:iam::123456789012:role/role".into(),
        mode_timeout_seconds: 31_536_000,
        history_events_max: EVENTS_MAX,
        names: Box::new(FixedNames { arn, name: "case".into() }),
    })
}

/// One run, told in both forms.
struct Both(Collector, AswHistory);

impl Observer for Both {
    fn event(&mut self, record: &Record<'_>) {
        self.0.event(record);
        self.1.event(record);
    }

    fn note(&mut self, at: Timestamp, note: &Note<'_>) {
        self.1.note(at, note);
    }
}

/// An event of ASW's form in one line: `TaskNodeExit Pay > Ship ! Busy` was left for Ship after the error Busy.
fn asw_line(event: &AswEvent) -> String {
    let mut line = format!("{} {}", event.category, event.step);
    let content: Json = serde_json::from_str(&event.content()).expect("content is JSON");
    if let Some(next) = content["next"].as_str() {
        let next: Vec<String> = serde_json::from_str(next).expect("next is a JSON list of names");
        line.extend(next.iter().map(|name| format!(" > {name}")));
    }
    if !event.exception().is_empty() {
        let exception: Json = serde_json::from_str(&event.exception()).expect("an exception is JSON");
        assert!(content.is_null() || content["exception"] == exception, "{line} tells one exception");
        line.push_str(&format!(" ! {}", exception["Error"].as_str().unwrap_or_default()));
    }
    line
}

/// What is wrong with any history in ASW's form: ids, frame, nodes entered and not left, or left out of turn.
fn asw_problem(events: &[AswEvent]) -> Option<String> {
    let lines: Vec<String> = events.iter().map(asw_line).collect();
    let framed = lines.len() > 2
        && lines[0] == "ExecutionStart START"
        && lines[1] == "Unknown START"
        && lines[lines.len() - 1].starts_with("Unknown END");
    if !framed || events.iter().zip(1..).any(|(event, id)| event.id != id) {
        return Some(format!("ASW's frame or ids are wrong: {lines:?}"));
    }
    let mut open: HashMap<(&str, &str), i64> = HashMap::new();
    for event in &events[2..events.len() - 1] {
        let entered = event.category.strip_suffix("NodeEnter");
        let kind = entered.or(event.category.strip_suffix("NodeExit"))?;
        let count = open.entry((kind, &event.step)).or_default();
        *count += if entered.is_some() { 1 } else { -1 };
        if *count < 0 {
            return Some(format!("{} is left before it is entered: {lines:?}", event.step));
        }
    }
    open.values().any(|count| *count != 0).then(|| format!("a node is never left: {lines:?}"))
}

/// What a case's execution did, in the fields of a case.
fn run(case: &Json, program: Arc<Program>) -> Result<Map<String, Json>, String> {
    let input = case.get("input").cloned().unwrap_or_else(|| json!({}));
    let start = Timestamp::parse(START).expect("a timestamp");
    let mut mocks = Mocks::new(case);
    let bound = EVENTS_MAX as usize + 16;
    let mut told = Both(Collector::new(bound), AswHistory::new(bound));
    let Simulated { outcome, at, .. } = simulate(
        &machine(program),
        StartContext { seed: 7, ..StartContext::default() },
        Payload::from_value(value(&input)),
        start,
        &mut mocks,
        &mut told,
    );
    if !mocks.missing.is_empty() {
        return Err(format!("no mock for {}", mocks.missing.join(", ")));
    }
    let mut found = Map::new();
    let text = |text: Option<Str>| text.map_or(Json::Null, |text| json!(text.as_str()));
    let (status, error, cause) = match outcome.ok_or("the execution does not end")? {
        Outcome::Succeeded(output) => {
            let output = serde_json::from_slice(output.bytes()).map_err(|error| error.to_string())?;
            found.insert("output".into(), output);
            ("SUCCEEDED", Json::Null, Json::Null)
        }
        Outcome::Failed { error, cause } => ("FAILED", text(error), text(cause)),
        Outcome::TimedOut { error, cause } => ("TIMED_OUT", text(error), text(cause)),
        Outcome::Aborted { error, cause } => ("ABORTED", text(error), text(cause)),
    };
    found.insert("status".into(), json!(status));
    found.insert("error".into(), error);
    found.insert("cause".into(), cause);
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    found.insert("seconds".into(), json!(at.millis_since(start) as f64 / 1_000.0));
    let Both(collector, asw) = told;
    if let Some(problem) = asw_problem(asw.events()) {
        return Err(problem);
    }
    found.insert("asw".into(), json!(asw.events().iter().map(asw_line).collect::<Vec<_>>()));
    let kinds: Vec<&str> = collector.events().iter().map(|event| event.kind).collect();
    found.insert("events".into(), json!(kinds));
    found.insert("written".into(), json!(mocks.written));
    Ok(found)
}

/// Equal as JSON Schema has it: 1 equals 1.0.
fn equal(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => left.as_f64() == right.as_f64(),
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => left == right,
    }
}

/// What is wrong with a case's outcome; `None` when nothing is.
fn verdict(case: &Json) -> Option<String> {
    let dialect = if case["dialect"] == "TCSL" { Dialect::Tcsl } else { Dialect::Asl };
    let compiled = Program::compile(definition(case).as_bytes(), dialect);
    if let Some(code) = case["refused"].as_str() {
        return match compiled {
            Ok(_) => Some(format!("accepted, expected {code}")),
            Err(found) => {
                let errors = found.iter().filter(|one| one.severity == Severity::Error);
                let others: Vec<_> = errors.filter(|one| one.code != code).collect();
                (!others.is_empty()).then(|| format!("refused otherwise: {others:?}"))
            }
        };
    }
    let (program, warnings) = match compiled {
        Ok(compiled) => (compiled.program, compiled.warnings),
        Err(found) => return Some(format!("refused: {found:?}")),
    };
    let mut found = match run(case, program) {
        Ok(found) => found,
        Err(problem) => return Some(problem),
    };
    found.insert("warned".into(), json!(warnings.iter().map(|one| one.code).collect::<Vec<_>>()));
    let status = match (case.get("status"), case.get("error")) {
        (Some(status), _) => status.clone(),
        (None, Some(_)) => json!("FAILED"),
        (None, None) => json!("SUCCEEDED"),
    };
    let mut expected = Map::from_iter([("status".to_owned(), status)]);
    for field in ["output", "error", "cause", "seconds", "events", "asw", "warned", "written"] {
        if let Some(value) = case.get(field) {
            expected.insert(field.into(), value.clone());
        }
    }
    let differs = |(field, value): (String, Json)| {
        let actual = found.get(&field).unwrap_or(&Json::Null);
        (!equal(actual, &value)).then(|| format!("{field} is {actual}, expected {value}"))
    };
    let problems: Vec<String> = expected.into_iter().filter_map(differs).collect();
    let cause = found.get("cause").filter(|_| !problems.is_empty()).map(|cause| format!("cause {cause}"));
    (!problems.is_empty()).then(|| problems.into_iter().chain(cause).collect::<Vec<_>>().join("; "))
}

/// A case has one definition and something to expect.
fn well_formed(case: &Json) -> bool {
    let count = |fields: &[&str]| fields.iter().filter(|field| case.get(field).is_some()).count();
    count(&["machine", "states", "state", "rule"]) == 1
        && count(&["output", "error", "status", "refused"]) >= 1
        && case["name"].is_string()
}

#[track_caller]
fn check_file(file: &str) {
    let text = std::fs::read_to_string(directory().join(file)).expect("the file of cases");
    let topic: Json = serde_json::from_str(&text).expect("the file is JSON");
    assert!(topic["cite"].as_str().is_some_and(|cite| cite.starts_with("https://")), "{file} cites a page");
    let cases = topic["cases"].as_array().expect("cases");
    let mut wrong = String::new();
    for case in cases {
        assert!(well_formed(case), "{case}");
        let problem = match (verdict(case), case["pending"] == true) {
            (None, true) => Some("passes: it is pending no more, and docs/language.md is old".to_owned()),
            (problem, pending) => problem.filter(|_| !pending),
        };
        if let Some(problem) = problem {
            wrong.push_str(&format!("\n  {}: {problem}", case["name"]));
        }
    }
    assert!(wrong.is_empty(), "{}: {} cases, wrong:{wrong}", topic["topic"], cases.len());
}

macro_rules! topics {
    ($($topic:ident),* $(,)?) => {
        $(#[test]
        fn $topic() {
            check_file(concat!(stringify!($topic), ".json"));
        })*

        #[test]
        fn every_file_of_cases_is_run() {
            let mut files: Vec<String> = std::fs::read_dir(directory())
                .expect("the directory of cases")
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .filter(|name| name != "README.md")
                .collect();
            files.sort();
            assert_eq!(files, [$(concat!(stringify!($topic), ".json")),*]);
        }
    };
}

topics!(
    choice,
    choice_operators,
    context,
    intrinsics,
    jsonata,
    limits,
    map,
    map_run,
    parallel,
    pass,
    paths,
    tasks,
    tcsl,
    templates,
    variables,
    wait,
);

#[test]
fn a_wrong_expectation_is_found() {
    let case = |expectation: &str| {
        serde_json::from_str::<Json>(&format!(
            "{{\"state\": {{\"Type\": \"Wait\", \"Seconds\": 1}}, {expectation}}}"
        ))
        .expect("JSON")
    };
    assert_eq!(verdict(&case("\"output\": {}, \"seconds\": 1")), None);
    for expectation in [
        "\"output\": 1",
        "\"error\": \"E\"",
        "\"output\": {}, \"seconds\": 2",
        "\"output\": {}, \"events\": []",
        "\"output\": {}, \"asw\": []",
        "\"output\": {}, \"warned\": [\"NO_PATH\"]",
    ] {
        assert!(verdict(&case(expectation)).is_some(), "{expectation}");
    }
    let refused = case(&format!("\"refused\": \"{}\"", code::SCHEMA_VALIDATION_FAILED));
    assert!(verdict(&refused).is_some());
}
