//! `executor test-state`: one state alone, with a mock of what its work gives.
//!
//! Purpose: a thin shell over [`asl::test_state`], which answers as `TestState` of Step Functions does. Nothing is called
//! and no time passes. What may fail: reading files, and a request whose parts do not go together.

mod report;

use std::path::{Path, PathBuf};

use asl::definition::{Style, render};
use asl::test_state::{
    Configuration, ErrorOutput, FieldValidation, Identity, InspectionLevel, Mock, Rejection, Status,
    TestState, test,
};
use asl::value::{JsonLimits, Map};
use asl::{Payload, Str, Timestamp, Value};
use clap::{Args, ValueEnum};

use super::dialect::{self, DialectName};
use super::files::{self, read, read_whole};
use super::{Exit, Refusal, show};
use crate::limits;

const MANUAL: &str = "\
WHAT IS TESTED
  FILE holds one state, or a machine when --state names a state of it, at any depth. The state is
  evaluated as in an execution; what its work gives is mocked, nothing is called and no time
  passes.

MOCK
  One object, as TestState of Step Functions takes it; Task, Parallel and Map states need one,
  others take none.
    --mock '{\"result\": {\"paid\": true}}'                        what the work gives
    --mock '{\"errorOutput\": {\"error\": \"Busy\", \"cause\": \"x\"}}'  how it fails: Retry and Catch apply
  result: JSON, or a text that holds it; of Parallel an array with an item for each branch, of Map
  an array, with a ResultWriter an object.
  fieldValidationMode: what AWS's services give is compared with their published shapes. STRICT:
  required fields are there and all conform (the default)    PRESENT: those that are there conform
  NONE: any JSON

WHAT HAS HAPPENED BEFORE
  --retrier-retry-count 2           the retrier that takes the error has retried twice
  --map-iteration-failure-count 3   three items of a Map have failed
  --map-item-reader-data @rows.csv  what a distributed Map's ItemReader reads
  --error-caused-by-state Pay       the state inside of the Parallel or Map state that fails
  --context replaces the context object that is made; it needs a mock, and may hold Execution,
  State, StateMachine, Task.

OUTPUT
  human  the status, then the data after each field in the order in which they flow; a value that
         is as it was before says so
  json   {\"status\", \"output\", \"error\", \"cause\", \"nextState\", \"inspectionData\"}: as TestState
         answers, but with JSON in place of texts that hold JSON
  status: SUCCEEDED, FAILED, RETRIABLE (a retrier would try again), CAUGHT_ERROR (a catcher takes
  over)

EXIT CODES
  0  the state is left: SUCCEEDED or CAUGHT_ERROR
  1  the definition is invalid, or the state is not left: FAILED or RETRIABLE
  2  wrong usage, or what was given does not go together    3  a file cannot be read

EXAMPLES
  executor test-state pass.asl.json --input '{\"order\": 7}'
  executor test-state order.asl.json --state Pay \\
    --input @order.json --mock '{\"result\": {\"paid\": true}}'
  executor test-state order.asl.json --state Pay \\
    --mock @busy.json --retrier-retry-count 2 --format json
  executor test-state order.asl.json --state Each \\
    --input '{\"rows\": [1, 2]}' --mock '{\"result\": [1, 4]}'
  executor test-state order.asl.json --state Ship \\
    --variables '{\"carrier\": \"a\"}' --mock '{\"result\": {}}'";

/// The options of `executor test-state`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct TestStateOptions {
    /// File with the definition of a state, or with --state of a machine; - is standard input, here and wherever a file
    /// is named
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The state of the machine that is tested
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// Input of the state: JSON, or @FILE
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// What the state's work gives: JSON, or @FILE
    #[arg(long, value_name = "JSON")]
    mock: Option<String>,
    /// How much is told of the data between the state's fields
    #[arg(long, value_name = "LEVEL", default_value = "debug", ignore_case = true)]
    inspection_level: Level,
    /// Variables that the state sees: a JSON object, or @FILE
    #[arg(long, value_name = "JSON")]
    variables: Option<String>,
    /// The context object: JSON, or @FILE
    #[arg(long, value_name = "JSON")]
    context: Option<String>,
    /// How often the retrier that takes the mocked error has retried
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    retrier_retry_count: u32,
    /// How many iterations of the Map have failed
    #[arg(long, value_name = "NUMBER")]
    map_iteration_failure_count: Option<u64>,
    /// What the Map's reader reads: the text, or @FILE
    #[arg(long, value_name = "TEXT")]
    map_item_reader_data: Option<String>,
    /// The state inside of a Parallel or Map state that the mocked error comes from
    #[arg(long, value_name = "NAME")]
    error_caused_by_state: Option<String>,
    /// Tell the secrets of HTTP requests; refused beside a mock, as in TestState
    #[arg(long)]
    reveal_secrets: bool,
    /// Language of the definition [default: tcsl for files that end in .tcsl.json, else asl]
    #[arg(long, value_name = "DIALECT", ignore_case = true)]
    dialect: Option<DialectName>,
    /// When the test begins, in virtual time
    #[arg(long, value_name = "TIMESTAMP", default_value = "2024-01-01T00:00:00Z")]
    start: String,
    /// How the answer is shown
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Status and output
    Info,
    /// Also the data after each field
    Debug,
    /// As debug: HTTP requests, which AWS adds, are mocked here
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One object
    Json,
}

/// Tests the state and shows how it went.
pub(super) fn run(options: &TestStateOptions) -> Exit {
    show(execute(options))
}

fn execute(options: &TestStateOptions) -> Result<(String, Exit), Refusal> {
    let given = [&options.variables, &options.context, &options.mock, &options.map_item_reader_data];
    let given = given.into_iter().flatten().chain([&options.input]);
    let named = given.filter_map(|given| given.strip_prefix('@')).map(Path::new);
    files::stdin_once(named.chain([options.file.as_path()]))?;
    let definition = read(&options.file, limits::DEFINITION_BYTES_MAX)?;
    let start = Timestamp::parse(&options.start)
        .map_err(|error| (Exit::Usage, format!("error: --start {}: {error}", options.start)))?;
    let json = |option: &str, given: &Option<String>| match given {
        None => Ok(None),
        Some(given) => value(option, given).map(Some),
    };
    let request = TestState {
        definition: &definition,
        dialect: dialect::of(options.dialect, &options.file),
        state_name: options.state.as_deref().map(Str::from),
        input: Payload::from_value(value("--input", &options.input)?),
        variables: json("--variables", &options.variables)?.map(variables).transpose()?,
        context: json("--context", &options.context)?,
        mock: json("--mock", &options.mock)?.map(|given| mock(&given)).transpose()?,
        configuration: Configuration {
            retrier_retry_count: options.retrier_retry_count,
            error_caused_by_state: options.error_caused_by_state.as_deref().map(Str::from),
            map_iteration_failure_count: options.map_iteration_failure_count,
            map_item_reader_data: options.map_item_reader_data.as_deref().map(reader_data).transpose()?,
        },
        level: match options.inspection_level {
            Level::Info => InspectionLevel::Info,
            Level::Debug => InspectionLevel::Debug,
            Level::Trace => InspectionLevel::Trace,
        },
        reveal_secrets: options.reveal_secrets,
        identity: Identity::default(),
        now: start,
    };
    let tested = test(&request).map_err(|rejection| refusal(options, &definition, &rejection))?;
    let exit = match tested.status {
        Status::Succeeded | Status::CaughtError => Exit::Ok,
        Status::Failed | Status::Retriable => Exit::Finding,
    };
    let shown = match options.format {
        Format::Human => report::human(&tested),
        Format::Json => report::json(tested),
    };
    Ok((shown, exit))
}

/// Why nothing was tested: problems of the definition, each in its place, or what does not go together.
fn refusal(options: &TestStateOptions, definition: &[u8], rejection: &Rejection) -> Refusal {
    if !rejection.diagnostics.is_empty() {
        let name = options.file.display().to_string();
        let mut shown = render(definition, &rejection.diagnostics, &name, Style::Plain);
        if options.state.is_none() && is_machine(definition) {
            shown.push_str("hint: this is a machine; --state says which of its states is tested\n");
        }
        return (Exit::Finding, shown);
    }
    let mut message = format!("error: {}", rejection.message);
    if rejection.needs_mock {
        message.push_str("\nhint: nothing is called from here; --mock says what the state's work gives");
    }
    (Exit::Usage, message)
}

fn is_machine(definition: &[u8]) -> bool {
    Value::parse(definition, JsonLimits::default()).is_ok_and(|value| value.get("States").is_some())
}

/// JSON, or @FILE.
fn value(option: &str, given: &str) -> Result<Value, Refusal> {
    let (name, text) = match given.strip_prefix('@') {
        Some(file) => (file, read_whole(Path::new(file), limits::INPUT_BYTES_MAX)?),
        None => (option, given.as_bytes().to_vec()),
    };
    Value::parse(&text, JsonLimits::PAYLOAD).map_err(|error| wrong(format!("{name} is not JSON: {error}")))
}

/// A text, or @FILE.
fn reader_data(given: &str) -> Result<String, Refusal> {
    let Some(file) = given.strip_prefix('@') else { return Ok(given.to_owned()) };
    let text = read_whole(Path::new(file), limits::INPUT_BYTES_MAX)?;
    String::from_utf8(text).map_err(|_| wrong(format!("{file} is not UTF-8")))
}

fn variables(given: Value) -> Result<Map, Refusal> {
    match given {
        Value::Object(variables) => Ok(Map::clone(&variables)),
        _ => Err(wrong("--variables is a JSON object: names, and their values".to_owned())),
    }
}

fn mock(given: &Value) -> Result<Mock, Refusal> {
    const FIELDS: [&str; 3] = ["result", "errorOutput", "fieldValidationMode"];
    let fields = members(given, "--mock", &FIELDS)?;
    let error_output = match fields.get("errorOutput") {
        None => None,
        Some(output) => {
            let output = members(output, "errorOutput of --mock", &["error", "cause"])?;
            let text = |key: &str| output.get(key).and_then(Value::as_text).cloned();
            Some(ErrorOutput { error: text("error"), cause: text("cause") })
        }
    };
    let validation = match fields.get("fieldValidationMode").map(|mode| mode.as_str().unwrap_or_default()) {
        None | Some("STRICT") => FieldValidation::Strict,
        Some("PRESENT") => FieldValidation::Present,
        Some("NONE") => FieldValidation::None,
        Some(_) => {
            return Err(wrong("fieldValidationMode of --mock is STRICT, PRESENT or NONE".to_owned()));
        }
    };
    let result = fields.get("result").map(|result| match result {
        Value::String(text) => text.to_string(),
        json => json.to_json_string(),
    });
    Ok(Mock { result, error_output, validation })
}

/// The members of an object that has no others than these.
fn members<'v>(given: &'v Value, what: &str, known: &[&str]) -> Result<&'v Map, Refusal> {
    let fields = given.as_object().ok_or_else(|| wrong(format!("{what} is a JSON object")))?;
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(fields),
        Some(unknown) => Err(wrong(format!("{what} has {}, but no {unknown:?}", known.join(", ")))),
    }
}

fn wrong(problem: String) -> Refusal {
    (Exit::Usage, format!("error: {problem}"))
}
