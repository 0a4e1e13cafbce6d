//! The quick start, whole, as somebody sees it who tries it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{Process, ProcessOptions};

/// As long as a machine may take that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A quick start whose temporary files are in `temporary`.
fn start(temporary: &Path, arguments: &[&str]) -> Process {
    let mut options = ProcessOptions::new("quickstart", env!("CARGO_BIN_EXE_scheduler-stub"), ["quickstart"]);
    options.args.extend(arguments.iter().map(ToString::to_string));
    options.env.push(("TMPDIR".to_owned(), temporary.display().to_string()));
    Process::start(&options).expect("it starts")
}

/// The exit code, once there is one; nothing is left behind.
fn code(mut process: Process, temporary: &Path) -> Option<i32> {
    let exit = process.wait_exit(PATIENCE).expect("it ends");
    let left: Vec<_> = std::fs::read_dir(temporary).expect("a directory").collect();
    assert!(left.is_empty(), "{left:?} is left\n{}", process.log());
    exit.code
}

#[test]
fn a_quick_start_that_is_ended_before_its_end_says_so_by_its_exit_code_and_leaves_nothing_behind() {
    for (is_interrupted, expected) in [(true, 130), (false, 143)] {
        let temporary = tempfile::tempdir().expect("a directory");
        // More executions than it can run until it is asked to end.
        let mut process = start(temporary.path(), &["--executions", "1000000"]);
        process.wait_for_line("machine ", PATIENCE).expect("it has begun");
        let sent = if is_interrupted { process.interrupt() } else { process.terminate() };
        sent.expect("it runs");
        assert_eq!(code(process, temporary.path()), Some(expected));
    }
}

#[test]
fn a_quick_start_that_stays_up_has_done_what_it_was_asked_to_when_it_is_ended() {
    let temporary = tempfile::tempdir().expect("a directory");
    let arguments =
        ["--executions", "40", "--serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let mut process = start(temporary.path(), &arguments);
    process.wait_for_line("It stays up until Ctrl-C", PATIENCE).expect("it serves");
    process.interrupt().expect("it runs");
    assert_eq!(code(process, temporary.path()), Some(0));
}

#[test]
fn the_quick_start_runs_its_examples_on_workers_and_on_services_that_check_signatures() {
    let program = env!("CARGO_BIN_EXE_scheduler-stub");
    let ran = Command::new(program).args(["quickstart", "--executions", "40"]).output().expect("it runs");
    let (shown, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{shown}\n{errors}");
    let lines = |name: &str, status: &str| {
        shown.lines().filter(|line| line.trim_start().starts_with(name) && line.contains(status)).count()
    };
    assert_eq!(lines("parcel", "SUCCEEDED"), 1, "{shown}\n{errors}");
    assert_eq!(lines("parcel", "FAILED"), 2, "{shown}\n{errors}");
    assert!(shown.contains("ParcelNotSent: {\"message\":\"the parcel is too heavy\"}"), "{shown}\n{errors}");
    assert!(shown.contains("a parcel worth 50000 is sent in person"), "{shown}\n{errors}");
    assert_eq!(lines("video-caption", "SUCCEEDED"), 2, "{shown}\n{errors}");
    let told = shown.lines().filter(|line| line.trim_start().starts_with("SeparateAudio "));
    let in_order = |line: &str| {
        let tasks = [
            "SeparateAudio ",
            "→ AwaitAudio ",
            "→ RecogniseSpeech ×2 ",
            "→ AwaitSpeech ×2 ",
            "→ StoreCaptions ",
        ];
        tasks
            .iter()
            .map(|task| line.find(task))
            .is_sorted_by(|before, next| before.is_some() && before < next)
    };
    let told: Vec<&str> = told.collect();
    assert!(told.len() == 2 && told.iter().all(|line| in_order(line)), "{told:#?}");
    assert!(shown.contains("40 executions in"), "{shown}\n{errors}");
    assert!(errors.is_empty(), "nothing is complained about: {errors}");
}
