//! `executor validate` as an author meets it: standard input, directories, several files, wrong usage.

use std::io::Write;
use std::process::{Command, Output, Stdio};

const EXECUTOR: &str = env!("CARGO_BIN_EXE_executor");
const GOOD: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;
const WARNED: &str = r#"{"StartAt":"F","States":{"F":{"Type":"Fail","Error":"States.Mine"}}}"#;
const BAD: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","Next":"Q"},"R":{"Type":"Succeed"}}}"#;

fn validate(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(EXECUTOR)
        .arg("validate")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // The program may end before it has read all of it.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the program ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn file(content: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), content).expect("written");
    let name = file.path().to_str().expect("text").to_owned();
    (file, name)
}

#[test]
fn the_exit_code_is_that_of_the_worst_file_and_all_are_told() {
    let (good, bad, warned) = (file(GOOD), file(BAD), file(WARNED));
    let exit = |arguments: &[&str]| validate(arguments, "").status.code();
    assert_eq!(exit(&[&good.1, &warned.1]), Some(0));
    assert_eq!(exit(&["--deny-warnings", &good.1, &warned.1]), Some(1));
    assert_eq!(exit(&[&good.1, &bad.1, &warned.1]), Some(1));
    let output = validate(&["--format", "json", &bad.1, "/nowhere.json", &good.1], "");
    assert_eq!(output.status.code(), Some(3));
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let valid: Vec<_> = lines.iter().map(|line| line["valid"].as_bool()).collect();
    assert_eq!(valid, [Some(false), Some(false), Some(true)]);
    assert!(
        lines[1]["error"].is_string()
            && lines[0]["diagnostics"].as_array().is_some_and(|list| list.len() == 2)
    );
}

#[test]
fn a_file_of_tcsl_is_read_as_such_beside_one_of_asl() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../scheduler-stub/examples");
    let [asl, tcsl] =
        ["approval.asl.json", "video-caption.tcsl.json"].map(|name| format!("{examples}/{name}"));
    let output = validate(&[&asl, &tcsl], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(validate(&["--dialect", "asl", &tcsl], "").status.code(), Some(1), "what is said wins");
}

#[test]
fn sarif_is_one_log_of_all_files_and_nothing_else() {
    let (good, bad) = (file(GOOD), file(BAD));
    let output = validate(&["--format", "sarif", &bad.1, &good.1, "--stdin-name", "in.json", "-"], WARNED);
    assert_eq!(output.status.code(), Some(1));
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON text");
    let run = &log["runs"][0];
    assert_eq!(run["artifacts"].as_array().map(Vec::len), Some(3));
    assert_eq!(run["results"].as_array().map(Vec::len), Some(3));
    assert_eq!(run["results"][2]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "in.json");
}

#[test]
fn a_directory_is_told_apart_and_what_to_do_about_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = validate(&[directory.path().to_str().expect("text")], "");
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).contains("is a directory; name the files in it"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    for (arguments, part) in [
        (&[][..], "<FILE>"),
        (&["-", "-"], "standard input"),
        (&["--format", "xml", "-"], "sarif"),
        (&["--explain", "NONSENSE"], "MISSING_END_STATE"),
        (&["--explain", "NO_PATH", "-"], "--explain"),
    ] {
        let output = validate(arguments, GOOD);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(part), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_code_is_explained_with_an_example_and_its_repair() {
    let output = validate(&["--explain", "missing_transition_target"], "");
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(told.starts_with("MISSING_TRANSITION_TARGET\n") && told.contains("Repair: "), "{told}");
}

#[test]
fn what_is_not_json_is_told_with_what_it_may_have_been() {
    for (input, note) in [
        ("StartAt: P\n", "looks like YAML"),
        ("\u{feff}{}", "byte order mark"),
        ("{\"StartAt\": \"P\", // start\n}", "no comments"),
        ("{\"StartAt\": \"P\",}", "one too many"),
        ("{'StartAt': 'P'}", "double quotes"),
        ("{\u{201c}StartAt\u{201d}: 1}", "plain double quotes"),
        ("{StartAt: \"P\"}", "Names in JSON stand in double quotes"),
        ("{\"End\": True}", "true, false and null"),
    ] {
        let output = validate(&["-"], input);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{input}");
        assert!(told.contains(note) && told.contains("INVALID_JSON_DESCRIPTION"), "{input}: {told}");
    }
}
