//! `executor run`: one execution on this machine, without a node, in virtual time.
//!
//! Services answer what a file of mocks says; waits, retries and timeouts move the clock and never sleep. The same core
//! runs here as in a node, so what is seen here is what will happen there. The history has the form of the dialect.

mod mocks;
mod timeline;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use asl::definition::{MachineType, Style, render};
use asl::history::{AswHistory, Collector};
use asl::simulate::{Simulated, simulate};
use asl::{Dialect, FixedNames, Machine, Outcome, Payload, Program, StartContext, Timestamp};
use bytes::Bytes;
use clap::Args;
use mocks::Mocks;
use timeline::Told;

use super::dialect::{self, DialectName};
use super::files::{self, read, read_whole};
use super::{Exit, Refusal, show};
use crate::limits;
use crate::objects::Objects;

/// Bytes of one character in UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

const MANUAL: &str = "\
MOCKS
  A JSON object: the name of a Task state to the answers that its attempts get, one after the
  other; the last one again and again. Tasks without answers return their input.
    {\"Pay\": [{\"error\": \"Busy\", \"cause\": \"try later\"}, {\"output\": {\"paid\": true}, \"seconds\": 2}],
     \"Ship\": [{\"hang\": true}]}
  output: the result    error, cause: the failure    hang: true, no answer, so that timeouts pass
  seconds: how long it takes. An answer has one of output, failure, hang and file; each name is
  that of a state, at any depth.
  A distributed Map's reader takes its objects from the answers of the Map, one for each object or
  page of a listing:
    {\"Each\": [{\"file\": \"items.csv\"}], \"List\": [{\"output\": {\"Contents\": [{\"Key\": \"a\"}]}}]}
  file: the object, its name counts from the folder of the mocks
  output: the object, a text as it is, all else as JSON
  Maps without answers read below --objects-dir, and what a ResultWriter writes goes there; without
  that folder it is dropped.

OUTPUT
  A line for each event: virtual time since the start, event id, type and what it tells; then the
  outcome. With --json the history and the outcome as one JSON object. Of TCSL the history is
  ASW's (DescribeExecutionHistory), else it is that of Step Functions (GetExecutionHistory).

EXIT CODES
  0  the execution succeeded    1  the definition is invalid, or the execution did not succeed
  2  wrong usage                3  a file cannot be read

EXAMPLES
  executor run order.asl.json --input '{\"items\": [1, 2]}'
  executor run order.asl.json --input @input.json --mocks mocks.json
  executor run caption.json --dialect tcsl --json";

/// The options of `executor run`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct RunOptions {
    /// File with the definition; - is standard input, here and wherever a file is named
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Input: JSON, or @FILE
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// File with the answers of tasks
    #[arg(long, value_name = "FILE")]
    mocks: Option<PathBuf>,
    /// Folder whose files BUCKET/KEY are the objects that distributed Maps read and write
    #[arg(long, value_name = "DIR")]
    objects_dir: Option<PathBuf>,
    /// Language of the definition [default: tcsl for files that end in .tcsl.json, else asl]
    #[arg(long, value_name = "DIALECT", ignore_case = true)]
    dialect: Option<DialectName>,
    /// The machine is of type EXPRESS
    #[arg(long)]
    express: bool,
    /// Waits, retries and timeouts take no real time: they never do here, so that the flag changes nothing
    #[arg(long)]
    virtual_time: bool,
    /// When the execution starts, in virtual time
    #[arg(long, value_name = "TIMESTAMP", default_value = "2024-01-01T00:00:00Z")]
    start: String,
    /// Seed of retry jitter
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Print the history and the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the execution and shows it.
pub(super) fn run(options: &RunOptions) -> Exit {
    show(execute(options))
}

fn execute(options: &RunOptions) -> Result<(String, Exit), Refusal> {
    let dialect = dialect::of(options.dialect, &options.file);
    let given = options.input.strip_prefix('@').map(Path::new);
    files::stdin_once([Some(options.file.as_path()), given, options.mocks.as_deref()].into_iter().flatten())?;
    let program = compile(options, dialect)?;
    let input = input(&options.input, dialect)?;
    let start = Timestamp::parse(&options.start)
        .map_err(|error| (Exit::Usage, format!("error: --start {}: {error}", options.start)))?;
    let mut mocks = match &options.mocks {
        None => Mocks::default(),
        Some(file) => {
            let folder = file.parent().unwrap_or(Path::new(""));
            Mocks::parse(&read_whole(file, limits::DEFINITION_BYTES_MAX)?, folder)
                .and_then(|mocks| mocks.of_states(&program.root))
                .map_err(|problem| (Exit::Usage, format!("error: {}: {problem}", file.display())))?
        }
    };
    if let Some(dir) = &options.objects_dir {
        let refused = |error| (Exit::Internal, format!("error: {error}"));
        mocks.objects = Some(Objects::open(dir).map_err(refused)?);
    }
    let machine = Arc::new(machine(program, options.express));
    let most = usize::try_from(machine.history_events_max).unwrap_or(usize::MAX);
    let context = StartContext { seed: options.seed, ..StartContext::default() };
    let execution = machine.names.arn(&context);
    let (told, Simulated { outcome, at, .. }) = match dialect {
        Dialect::Asl => {
            let mut history = Collector::new(most);
            let ended = simulate(&machine, context, input, start, &mut mocks, &mut history);
            (Told::StepFunctions(history.into_events()), ended)
        }
        Dialect::Tcsl => {
            let mut history = AswHistory::new(most);
            let ended = simulate(&machine, context, input, start, &mut mocks, &mut history);
            (Told::Asw(history.into_events()), ended)
        }
    };
    let exit = if matches!(outcome, Some(Outcome::Succeeded(_))) { Exit::Ok } else { Exit::Finding };
    let shown = if options.json {
        timeline::json(&told, outcome.as_ref(), &execution)
    } else {
        timeline::human(&told, outcome.as_ref(), start, at)
    };
    Ok((shown, exit))
}

fn compile(options: &RunOptions, dialect: Dialect) -> Result<Arc<Program>, Refusal> {
    let text = read(&options.file, limits::DEFINITION_BYTES_MAX)?;
    let machine = if options.express { MachineType::Express } else { MachineType::Standard };
    match Program::compile_for(&text, dialect, machine) {
        Ok(compiled) => Ok(compiled.program),
        Err(problems) => {
            let name = options.file.display().to_string();
            Err((Exit::Finding, render(&text, &problems, &name, Style::Plain)))
        }
    }
}

fn input(given: &str, dialect: Dialect) -> Result<Payload, Refusal> {
    let longest = match dialect {
        Dialect::Asl => limits::INPUT_BYTES_MAX,
        Dialect::Tcsl => limits::TCSL_INPUT_CHARS_MAX * CHARACTER_BYTES_MAX,
    };
    let (name, text) = match given.strip_prefix('@') {
        Some(file) => (file, read_whole(Path::new(file), longest)?),
        None => ("--input", given.as_bytes().to_vec()),
    };
    // What a node says to a start with this input.
    crate::shard::check_input(&Bytes::from(text), dialect).map_err(|problem| {
        let hint = if Path::new(given).is_file() {
            format!("; to read a file, write @{given}")
        } else {
            String::new()
        };
        (Exit::Usage, format!("error: {name}: {problem}{hint}"))
    })
}

fn machine(program: Arc<Program>, express: bool) -> Machine {
    let (mode_timeout_seconds, history_events_max) = if express {
        (limits::EXPRESS_SECONDS_MAX, limits::EXPRESS_HISTORY_EVENTS_MAX)
    } else {
        (limits::STANDARD_SECONDS_MAX, limits::STANDARD_HISTORY_EVENTS_MAX)
    };
    let [arn, name, execution, role_arn] = match program.dialect {
        Dialect::Asl => [
            "arn:aws:states:local:000000000000:stateMachine:machine",
            "machine",
            "arn:aws:states:local:000000000000:execution:machine:run",
            "arn:aws:iam::000000000000:role/local",
        ],
        Dialect::Tcsl => [
            "qrn:qcs:asw:local:000000000000:http:json:flowmachine:machine:local000",
            "machine",
            "qrn:qcs:asw:local:000000000000:execution:local000:run",
            "qcs::cam::uin/000000000000:roleName/local",
        ],
    };
    Machine {
        program,
        arn: arn.into(),
        name: name.into(),
        role_arn: role_arn.into(),
        mode_timeout_seconds,
        history_events_max,
        names: Box::new(FixedNames { arn: execution.into(), name: "run".into() }),
    }
}

#[cfg(test)]
mod tests {
    use asl::Value;
    use asl::value::JsonLimits;

    use super::*;

    const RETRIED: &str = r#"{"StartAt": "Pay", "States": {"Pay": {"Type": "Task", "End": true,
        "Resource": "arn:aws:lambda:us-east-1:123456789012:function:pay",
        "Retry": [{"ErrorEquals": ["Busy"], "IntervalSeconds": 60}]}}}"#;

    fn options(file: PathBuf, mocks: PathBuf, json: bool) -> RunOptions {
        RunOptions {
            file,
            input: r#"{"order": 7}"#.into(),
            mocks: Some(mocks),
            objects_dir: None,
            dialect: None,
            express: false,
            virtual_time: false,
            start: "2024-01-01T00:00:00Z".into(),
            seed: 1,
            json,
        }
    }

    fn in_files(definition: &str, mocks: &str, json: bool) -> (String, Exit) {
        let folder = tempfile::tempdir().unwrap();
        let (file, answers) = (folder.path().join("m.asl.json"), folder.path().join("mocks.json"));
        std::fs::write(&file, definition).unwrap();
        std::fs::write(&answers, mocks).unwrap();
        let options = options(file, answers, json);
        execute(&options).unwrap_or_else(|(exit, message)| (message, exit))
    }

    #[test]
    fn a_run_shows_each_event_with_its_virtual_time_and_the_outcome() {
        let (shown, exit) =
            in_files(RETRIED, r#"{"Pay": [{"error": "Busy"}, {"output": "done", "seconds": 2}]}"#, false);
        assert_eq!(exit, Exit::Ok, "{shown}");
        let expected = [
            "+0 ms",
            "TaskStateEntered  Pay",
            "LambdaFunctionFailed  Busy",
            "+60000 ms",
            "+62000 ms",
            "SUCCEEDED after 62 s",
            "\"done\"",
        ];
        for part in expected {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
    }

    const TCSL: &str = r#"{"StartAt": "Send", "States": {"Send": {"Type": "task", "End": true,
        "Resource": "qrn:qcs:asw:gz:1:sdk:json:qcloud:mps:ProcessMedia"}}}"#;

    /// A run of a file with this name.
    fn named(name: &str, mocks: &str, dialect: Option<DialectName>, json: bool) -> (String, Exit) {
        let folder = tempfile::tempdir().unwrap();
        let (file, answers) = (folder.path().join(name), folder.path().join("mocks.json"));
        std::fs::write(&file, TCSL).unwrap();
        std::fs::write(&answers, mocks).unwrap();
        let options = RunOptions { dialect, ..options(file, answers, json) };
        execute(&options).unwrap_or_else(|(exit, message)| (message, exit))
    }

    #[test]
    fn a_tcsl_run_shows_the_history_and_the_status_of_asw() {
        let mocks = r#"{"Send": [{"output": {"Response": {}}, "seconds": 2}]}"#;
        let (shown, exit) = named("m.tcsl.json", mocks, None, false);
        assert_eq!(exit, Exit::Ok, "{shown}");
        let expected = [
            "   +0 ms     1  ExecutionStart  START  {\"order\": 7}\n",
            "   +0 ms     3  TaskNodeEnter  Send  qrn:qcs:asw:gz:1:sdk:json:qcloud:mps:ProcessMedia  {\"order\": 7}\n",
            "+2000 ms     5  Unknown  END\n",
            "SUCCEED after 2 s\n",
        ];
        for part in expected {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        let (shown, _) = named("m.json", mocks, Some(DialectName::Tcsl), true);
        let told = Value::parse(shown.as_bytes(), JsonLimits::default()).unwrap();
        let text = |pointer: &str| told.pointer(pointer).and_then(Value::as_str);
        assert_eq!((text("/status"), text("/history/4/StepName")), (Some("SUCCEED"), Some("END")));
        assert_eq!(text("/history/2/EventCategory"), Some("TaskNodeEnter"));
        assert_eq!(named("m.json", mocks, None, false).1, Exit::Finding, "no ASL");
    }

    #[test]
    fn a_mock_that_answers_with_an_error_in_its_envelope_fails_the_task() {
        let mocks =
            r#"{"Send": [{"output": {"Response": {"Error": {"Code": "Busy", "Message": "later"}}}}]}"#;
        let (shown, exit) = named("m.tcsl.json", mocks, None, false);
        assert_eq!(exit, Exit::Finding);
        assert!(shown.contains("FAILED after 0 s: Busy: later"), "{shown}");
        assert!(shown.contains(r#"TaskNodeExit  Send"#), "{shown}");
    }

    #[test]
    fn an_input_that_is_the_name_of_a_file_is_refused_with_a_hint() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let name = file.path().to_str().unwrap();
        let (exit, message) = input(name, Dialect::Asl).unwrap_err();
        assert!(exit == Exit::Usage && message.ends_with(&format!("write @{name}")), "{message}");
        let (_, message) = input("/nowhere", Dialect::Asl).unwrap_err();
        assert!(!message.contains('@'), "{message}");
    }

    #[test]
    fn an_input_is_as_long_as_its_dialect_allows() {
        let text = |characters: usize| format!("\"{}\"", "\u{5b57}".repeat(characters - 2));
        assert!(input(&text(524_288), Dialect::Tcsl).is_ok());
        let (exit, message) = input(&text(524_289), Dialect::Tcsl).unwrap_err();
        assert!(exit == Exit::Usage && message.contains("524289 characters"), "{message}");
        assert!(input(&text(87_384), Dialect::Asl).is_err());
    }

    #[test]
    fn a_failed_run_is_a_finding_with_error_and_cause() {
        let mocks = r#"{"Pay": [{"error": "Broken", "cause": "no luck"}]}"#;
        let (shown, exit) = in_files(RETRIED, mocks, false);
        assert_eq!(exit, Exit::Finding);
        assert!(shown.contains("FAILED after 0 s: Broken: no luck"), "{shown}");
        let (shown, exit) = in_files(RETRIED, mocks, true);
        assert_eq!(exit, Exit::Finding);
        let told = Value::parse(shown.as_bytes(), JsonLimits::default()).unwrap();
        assert_eq!(told.get("error").and_then(Value::as_str), Some("Broken"));
        assert_eq!(told.pointer("/history/0/type").and_then(Value::as_str), Some("ExecutionStarted"));
    }

    #[test]
    fn a_distributed_map_reads_what_the_mocks_give_it() {
        let definition = r#"{"StartAt": "Each", "States": {"Each": {"Type": "Map", "End": true,
            "ItemReader": {"Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}, "Parameters": {}},
            "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
                "StartAt": "I", "States": {"I": {"Type": "Succeed"}}}}}}"#;
        let (shown, exit) = in_files(definition, r#"{"Each": [{"output": "a\nx\n"}]}"#, false);
        assert_eq!(exit, Exit::Ok, "{shown}");
        assert!(shown.contains(r#"[{"a":"x"}]"#), "{shown}");
        // The only files beside the mocks are the mocks and the definition.
        let (shown, exit) = in_files(definition, r#"{"Each": [{"file": "mocks.json"}]}"#, false);
        assert_eq!(exit, Exit::Ok, "{shown}");
        for (mocks, told) in [("{}", "no object"), (r#"{"Each": [{"file": "absent"}]}"#, "absent")] {
            let (shown, exit) = in_files(definition, mocks, false);
            assert_eq!(exit, Exit::Finding);
            assert!(shown.contains("States.ItemReaderFailed") && shown.contains(told), "{shown}");
        }
    }

    #[test]
    fn a_task_that_never_answers_is_told_as_such() {
        let (shown, exit) = in_files(RETRIED, r#"{"Pay": [{"hang": true}]}"#, false);
        assert_eq!(exit, Exit::Finding);
        assert!(shown.contains("still waits"), "{shown}");
    }

    #[test]
    fn an_invalid_definition_is_shown_with_its_problems() {
        let (shown, exit) = in_files("{}", "{}", false);
        assert_eq!(exit, Exit::Finding);
        assert!(shown.contains("These fields are required"), "{shown}");
    }

    #[test]
    fn mocks_that_would_be_passed_over_are_refused_with_state_and_entry() {
        for (entry, part) in [
            (r#"{"seconds": "5"}"#, "seconds is a number from 0 to 10^9, not \"5\""),
            (r#"{"seconds": -1}"#, "not -1"),
            (r#"{"hang": "yes"}"#, "hang is true or false, not \"yes\""),
            (r#"{"error": 7}"#, "error is a text, not 7"),
            (r#"{"cause": null}"#, "cause is a text, not null"),
            (r#"{"file": []}"#, "file is a text, not []"),
            (r#"{"outptu": 1}"#, "did you mean \"output\"?"),
            (r#"{"output": 1, "error": "Busy"}"#, "output and error or cause do not go together"),
            (r#"{"output": 1, "hang": true}"#, "output and hang do not"),
            ("7", "an answer is an object"),
        ] {
            let (shown, exit) =
                in_files(RETRIED, &format!(r#"{{"Pay": [{{"output": 1}}, {entry}]}}"#), false);
            assert_eq!(exit, Exit::Usage, "{entry}: {shown}");
            assert!(
                shown.contains("mocks.json: Pay: answer 2: ") && shown.contains(part),
                "{entry}: {shown}"
            );
        }
    }

    #[test]
    fn mocks_of_states_that_the_machine_lacks_are_refused() {
        let nested = r#"{"StartAt": "Both", "States": {"Both": {"Type": "Parallel", "End": true, "Branches": [
            {"StartAt": "Each", "States": {"Each": {"Type": "Map", "ItemsPath": "$.items", "End": true,
                "ItemProcessor": {"StartAt": "Ship", "States": {"Ship": {"Type": "Pass", "End": true}}}}}}]}}}"#;
        let (shown, exit) = in_files(nested, r#"{"Shpi": [{"output": 1}]}"#, false);
        assert_eq!(exit, Exit::Usage, "{shown}");
        assert!(shown.contains(r#"Shpi: the machine has no such state; did you mean "Ship"?"#), "{shown}");
        let known = r#"{"Ship": [{"output": 1}], "Each": [{"output": 1}], "Both": [{"output": 1}]}"#;
        assert_ne!(in_files(nested, known, false).1, Exit::Usage, "names at any depth");
    }

    #[test]
    fn mocks_of_another_shape_are_refused() {
        for mocks in ["[]", r#"{"Pay": 1}"#, r#"{"Pay": []}"#, r#"{"Pay": [{"outptu": 1}]}"#, "{"] {
            let (shown, exit) = in_files(RETRIED, mocks, false);
            assert_eq!(exit, Exit::Usage, "{shown}");
            assert!(shown.contains("mocks.json"), "{shown}");
        }
    }
}
