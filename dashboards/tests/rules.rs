//! Rules as Prometheus' own tools see them: `promtool` of Debian's package `prometheus`.

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use support::folder;

fn files(of: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join("prometheus").join(of)).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{of} is empty");
    files
}

/// Runs promtool; what it says, where it is not content.
fn promtool(arguments: &[&str], files: &[PathBuf]) -> Result<(), String> {
    let output = Command::new("promtool").args(arguments).args(files).output();
    let output = output.expect("promtool is installed: Debian's package `prometheus`");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn promtool_has_nothing_to_say_against_rules_and_configuration() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &files("rules"))
        .unwrap_or_else(|said| panic!("{said}"));
    promtool(&["check", "config"], &[folder().join("prometheus/prometheus.yml")])
        .unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn promtool_takes_the_examples_of_the_operators_manual() {
    let manual = std::fs::read_to_string(folder().join("../docs/operations.md")).expect("the manual");
    let examples: Vec<&str> =
        manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2, "{examples:?}");
    for example in examples {
        let check: &[&str] = if example.starts_with("groups:") {
            &["check", "rules", "--lint=all", "--lint-fatal"]
        } else {
            &["check", "config"]
        };
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), example).expect("written");
        promtool(check, &[file.path().to_owned()]).unwrap_or_else(|said| panic!("{said}\n{example}"));
    }
}

#[test]
fn alerts_fire_when_they_should_and_are_silent_when_they_should() {
    promtool(&["test", "rules"], &files("tests")).unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() {
    let read =
        |of| files(of).iter().map(|file| std::fs::read_to_string(file).expect("text")).collect::<String>();
    let (rules, tests) = (read("rules"), read("tests"));
    let after = |text: &str, start: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.trim().strip_prefix(start)).map(str::to_owned).collect()
    };
    let cases = after(&tests, "- name: ");
    for alert in after(&rules, "- alert: ") {
        for wanted in [format!("{alert} fires"), format!("{alert} stays silent")] {
            assert!(cases.contains(&wanted), "no case: {wanted}");
        }
    }
    // What a case is called is what it expects.
    for case in tests.split("- name: ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("lines");
        let silent = rest.contains("exp_samples: []");
        assert!(silent == name.contains(" stays silent") && silent != name.contains(" fires"), "{name}");
        let alert = name.split(' ').next().expect("a word");
        assert!(silent || rest.contains(&format!(r#"labels: '{{alertname="{alert}"}}'"#)), "{name}");
    }
}
