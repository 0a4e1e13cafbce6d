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
    let alerts = after(&rules, "- alert: ");
    let wanted: BTreeSet<String> =
        alerts.iter().flat_map(|alert| [format!("{alert} fires"), format!("{alert} stays silent")]).collect();
    assert_eq!(after(&tests, "- name: "), wanted);
    // What a case is called is what it expects.
    for case in tests.split("- name: ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("lines");
        let silent = rest.contains("exp_samples: []");
        assert_eq!(silent, name.ends_with(" stays silent"), "{name}");
        let alert = name.split(' ').next().expect("a word");
        assert!(silent || rest.contains(&format!(r#"labels: '{{alertname="{alert}"}}'"#)), "{name}");
    }
}
