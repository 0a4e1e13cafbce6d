//! What the three formats say, and how the command ends.

use serde_json::Value as Json;

use super::*;

const BAD: &[u8] =
    b"{\n  \"StartAt\": \"P\",\n  \"States\": {\"P\": {\"Type\": \"Pass\", \"Result\": {\"a.$\": \"$.b\"}, \"Next\": \"a/b\"},\n  \
      \"Q\": {\"Type\": \"Succeed\", \"Nonsense\": 1}}\n}";
const WARNED: &[u8] = br#"{"StartAt":"P","States":{"P":{"Type":"Pass","Result":{"a.$":"$.b"},"End":true}}}"#;

fn options(arguments: &[&str]) -> ValidateOptions {
    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: ValidateOptions,
    }
    let arguments = std::iter::once("validate").chain(arguments.iter().copied());
    <Command as clap::Parser>::try_parse_from(arguments).expect("flags that parse").options
}

fn checked(text: &[u8]) -> Outcome {
    check(text.to_vec(), "x", &options(&["x"]))
}

#[test]
fn a_problem_is_shown_with_its_line_and_a_caret() {
    let shown = human(&checked(BAD), Exit::Finding, "x.json", Style::Plain);
    assert!(shown.contains("x.json:3:") && shown.contains('^') && shown.contains("error"), "{shown}");
    assert!(shown.ends_with("3 errors, 1 warning\n"), "{shown}");
}

#[test]
fn json_has_each_problem_with_both_spellings_of_its_place() {
    let report: Json = serde_json::from_str(&report::line("x.json", &checked(BAD))).expect("one object");
    assert_eq!((report["file"].as_str(), report["valid"].as_bool()), (Some("x.json"), Some(false)));
    let problems = report["diagnostics"].as_array().expect("a list");
    let field =
        problems.iter().find(|one| one["message"] == "Field 'Nonsense' is not supported").expect("told");
    assert_eq!(
        (field["location"].as_str(), field["pointer"].as_str()),
        (Some("/States/Q"), Some("/States/Q/Nonsense"))
    );
    assert_eq!(
        (field["line"].as_u64(), field["column"].as_u64(), field["length"].as_u64()),
        (Some(4), Some(28), Some(10))
    );
}

#[test]
fn a_file_that_cannot_be_read_is_in_every_report() {
    let outcome = Outcome::Unreadable("gone".into());
    assert_eq!(report::line("x", &outcome), "{\"file\":\"x\",\"valid\":false,\"error\":\"gone\"}\n");
    let mut log = sarif::Log::default();
    log.add("x", &outcome);
    let log: Json = serde_json::from_str(&log.text()).expect("JSON");
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    assert_eq!(invocation["toolExecutionNotifications"][0]["message"]["text"], "x: gone");
    assert_eq!(outcome.exit(false), Exit::Internal);
}

/// What the specification demands of the parts that are used here.
#[test]
fn sarif_has_rules_levels_regions_and_artifacts_that_fit_together() {
    let mut log = sarif::Log::default();
    log.add("a b.json", &checked(BAD));
    log.add("w.json", &checked(WARNED));
    log.add("good.json", &checked(br#"{"StartAt":"P","States":{"P":{"Type":"Succeed"}}}"#));
    let log: Json = serde_json::from_str(&log.text()).expect("JSON");
    assert_eq!((log["version"].as_str(), log["runs"].as_array().map(Vec::len)), (Some("2.1.0"), Some(1)));
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let artifacts = run["artifacts"].as_array().expect("artifacts");
    let results = run["results"].as_array().expect("results");
    assert_eq!(
        (artifacts.len(), results.len(), run["columnKind"].as_str()),
        (3, 5, Some("unicodeCodePoints"))
    );
    for rule in rules {
        assert!(rule["id"].is_string() && rule["help"]["text"].is_string(), "{rule}");
        assert!(
            ["error", "warning"].contains(&rule["defaultConfiguration"]["level"].as_str().expect("a level"))
        );
    }
    for result in results {
        let rule = &rules[result["ruleIndex"].as_u64().expect("an index") as usize];
        assert_eq!(rule["id"], result["ruleId"], "{result}");
        assert!(["error", "warning"].contains(&result["level"].as_str().expect("a level")), "{result}");
        assert!(!result["message"]["text"].as_str().expect("a text").is_empty(), "{result}");
        let place = &result["locations"][0]["physicalLocation"];
        let artifact = &place["artifactLocation"];
        let listed = &artifacts[artifact["index"].as_u64().expect("an index") as usize];
        assert_eq!(listed["location"]["uri"], artifact["uri"]);
        let region = &place["region"];
        let number = |field: &str| region[field].as_u64().expect("a number");
        assert!(number("startLine") >= 1 && number("startColumn") >= 1, "{region}");
        assert!(number("endColumn") > number("startColumn"), "{region}");
    }
    assert_eq!(results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "a%20b.json");
}

#[test]
fn warnings_are_denied_only_where_asked() {
    let warned = checked(WARNED);
    assert_eq!((warned.exit(false), warned.exit(true)), (Exit::Ok, Exit::Finding));
    assert!(human(&warned, Exit::Ok, "w", Style::Plain).ends_with("w: valid\n"));
    assert!(
        human(&warned, Exit::Finding, "w", Style::Plain).ends_with("w: valid, but warnings are denied\n")
    );
    let good = checked(br#"{"StartAt":"P","States":{"P":{"Type":"Succeed"}}}"#);
    assert_eq!(good.exit(true), Exit::Ok);
}

#[test]
fn each_files_name_says_its_dialect_where_nothing_else_does() {
    // Types of states in small letters are TCSL's.
    let tcsl = br#"{"StartAt":"P","States":{"P":{"Type":"succeed"}}}"#;
    let exit = |name: &str, said: &[&str]| check(tcsl.to_vec(), name, &options(said)).exit(false);
    let both = ["a.tcsl.json", "a.asl.json"];
    assert_eq!(both.map(|name| exit(name, &both)), [Exit::Ok, Exit::Finding]);
    let asl = ["--dialect", "asl", "a.tcsl.json"];
    assert_eq!(both.map(|name| exit(name, &asl)), [Exit::Finding; 2], "what is said wins");
}

#[test]
fn the_type_and_the_dialect_are_read_in_any_case() {
    let text = br#"{"StartAt":"T","States":{"T":{"Type":"Task","End":true,"Resource":"arn:aws:states:::sqs:sendMessage.waitForTaskToken"}}}"#;
    assert_eq!(check(text.to_vec(), "x", &options(&["--type", "STANDARD", "x"])).exit(false), Exit::Ok);
    assert_eq!(check(text.to_vec(), "x", &options(&["--type", "EXPRESS", "x"])).exit(false), Exit::Finding);
    let spelt = br#"{"StartAt":"P","States":{"P":{"Type":"succeed"}}}"#;
    assert_eq!(check(spelt.to_vec(), "x", &options(&["--dialect", "TCSL", "x"])).exit(false), Exit::Ok);
    assert_eq!(checked(spelt).exit(false), Exit::Finding);
}

#[test]
fn a_hundred_thousand_brackets_are_a_diagnostic_and_no_crash() {
    let Outcome::Checked { valid, diagnostics, .. } = checked("[".repeat(100_000).as_bytes()) else {
        panic!("checked")
    };
    assert!(!valid && !diagnostics.is_empty());
}

#[test]
fn a_definition_that_is_too_long_is_read_no_further() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), vec![b' '; DEFINITION_BYTES_MAX + 4_096]).expect("written");
    let text = files::bytes(file.path(), DEFINITION_BYTES_MAX).expect("readable");
    assert_eq!(text.len(), DEFINITION_BYTES_MAX + 1);
    assert_eq!(checked(&text).exit(false), Exit::Finding);
}
