//! The program as people and supervisors meet it: exit codes, where settings come from, signals, an absent
//! store.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use testkit::{Process, ProcessOptions, Redis, RedisOptions};

const EXECUTOR: &str = env!("CARGO_BIN_EXE_executor");
/// The hash with the durable keys of an installation.
const DURABLE: &str = "myriad:{durable}:values";
const PATIENCE: Duration = Duration::from_secs(30);
const PASS: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;

fn executor(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let mut child = Command::new(EXECUTOR)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // The program may end before it has read all of it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_manual_and_the_version_go_to_standard_output() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["validate", "--help"], &["--version"]] {
        let output = executor(arguments, &[], "");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
    let manual = text(&executor(&["serve", "--help"], &[], "").stdout);
    for part in ["MYRIAD_LISTEN", "WHAT THE DEFAULTS PROMISE", "SIGNALS", "EXAMPLES", "[default: 1h]"] {
        assert!(manual.contains(part), "{part} in {manual}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    let cases: [(&[&str], &str); 9] = [
        (&["frobnicate"], "frobnicate"),
        (&["serve", "--retention", "soon"], "no duration"),
        (&["serve", "--shards", "0"], "--shards"),
        (&["serve", "--listen", "0.0.0.0:0"], "--allow-plaintext"),
        (&["serve", "--config", "/nowhere.toml"], "/nowhere.toml"),
        (&["serve", "--log-level", "inf"], "did you mean info?"),
        (&["serve", "--traces-otlp", "http://h", "--traces-sample", "-1"], "from 0 to 1"),
        (&["serve", "--traces-otlp", "http://h", "--traces-sample", "10%"], "from 0 to 1"),
        (&["serve", "--no-metrics", "--metrics", "127.0.0.1:0"], "--no-metrics"),
    ];
    for (arguments, part) in cases {
        let output = executor(arguments, &[], "");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "shards = 1\nmax-open = 11\nretention = \"3h\"\n").expect("written");
    let path = file.path().to_str().expect("text");
    let output = executor(
        &["serve", "--print-config", "--shards", "3"],
        &[("MYRIAD_CONFIG", path), ("MYRIAD_SHARDS", "2"), ("MYRIAD_MAX_OPEN", "22")],
        "",
    );
    let metrics = [("MYRIAD_METRICS", "127.0.0.1:1")];
    let none = executor(&["serve", "--print-config", "--no-metrics"], &metrics, "");
    assert!(text(&none.stdout).contains("no-metrics = true"), "{}", text(&none.stderr));
    let printed = text(&output.stdout);
    for line in ["shards = 3", "max-open = 22", "retention = \"3h\""] {
        assert!(printed.contains(line), "{line} in {printed}{}", text(&output.stderr));
    }
}

#[test]
fn an_environment_variable_that_is_no_setting_is_refused() {
    let output = executor(&["serve", "--print-config"], &[("MYRIAD_LISTNE", "x")], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean MYRIAD_LISTEN?"));
}

#[test]
fn validate_reads_standard_input_and_says_by_its_exit_code_whether_all_is_well() {
    let valid = executor(&["validate", "-"], &[], PASS);
    assert_eq!((valid.status.code(), text(&valid.stdout).as_str()), (Some(0), "<stdin>: valid\n"));
    let invalid = executor(&["validate", "--format", "json", "-"], &[], r#"{"StartAt":"Q","States":{}}"#);
    assert_eq!(invalid.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&invalid.stdout).expect("one JSON object");
    assert_eq!(report["valid"], false);
}

#[test]
fn what_cannot_be_written_is_an_error_and_exits_with_3() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let mut command = Command::new(EXECUTOR);
    command.args(["top", "127.0.0.1:1", "--once", "--interval", "100ms"]).stdout(full);
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.starts_with("error: standard output: ") && said.contains("No space"), "{said}");
}

#[test]
fn the_configuration_of_the_operators_manual_is_one() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md"));
    let manual = manual.expect("the manual");
    let example =
        manual.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), example).expect("written");
    let path = file.path().to_str().expect("text");
    let output = executor(&["serve", "--config", path, "--print-config"], &[], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("metrics = \"10.0.0.6:7490\""),
        "`executor top` there asks this port"
    );
}

#[test]
fn run_takes_the_flag_for_virtual_time_and_mocks_that_it_refuses_exit_with_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, content: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).expect("written");
        file.to_str().expect("text").to_owned()
    };
    let (machine, mocks) = (write("m.asl.json", PASS), write("mocks.json", r#"{"Q": [{"output": 1}]}"#));
    assert_eq!(executor(&["run", &machine, "--virtual-time"], &[], "").status.code(), Some(0));
    let refused = executor(&["run", &machine, "--mocks", &mocks], &[], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("Q: the machine has no such state"), "{}", text(&refused.stderr));
}

#[test]
fn run_and_test_state_take_a_definition_from_standard_input_once() {
    let run = executor(&["run", "-"], &[], PASS);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let tested = executor(&["test-state", "-", "--state", "P"], &[], PASS);
    assert!(text(&tested.stdout).starts_with("SUCCEEDED"), "{}", text(&tested.stderr));
    for arguments in [&["run", "-", "--input", "@-"][..], &["test-state", "-", "--mock", "@-"]] {
        let output = executor(arguments, &[], PASS);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains("only once"), "{}", text(&output.stderr));
    }
}

#[test]
fn validate_names_a_file_that_cannot_be_read_and_goes_on_with_the_others() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), PASS).expect("written");
    let output = executor(&["validate", "/nowhere.json", file.path().to_str().expect("text")], &[], "");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("/nowhere.json"));
    assert!(text(&output.stdout).contains("valid"));
}

fn serve(arguments: &[&str]) -> Process {
    serve_partitions("2", arguments)
}

fn serve_partitions(count: &str, arguments: &[&str]) -> Process {
    let fixed =
        ["serve", "--listen", "127.0.0.1:0", "--data-port-base", "0", "--shards", "1", "--partitions", count];
    let arguments = fixed.iter().chain(arguments).map(|argument| (*argument).to_owned());
    let options = ProcessOptions::new("executor", EXECUTOR, arguments);
    Process::start(&options).expect("the program starts")
}

#[test]
fn a_termination_signal_drains_and_exits_with_0() {
    let mut node = serve(&["--metrics", "127.0.0.1:0"]);
    node.wait_for_line("serving=true", PATIENCE).expect("serves");
    node.terminate().expect("signalled");
    let exit = node.wait_exit(PATIENCE).expect("ends");
    assert_eq!(exit.code, Some(0), "{}", node.tail());
    assert!(node.log().contains("drained"), "{}", node.tail());
}

#[test]
fn a_second_signal_ends_the_process_at_once_with_3() {
    let mut node = serve(&["--no-metrics", "--drain-notice", "1h", "--drain-deadline", "2h"]);
    node.wait_for_line("serving=true", PATIENCE).expect("serves");
    node.terminate().expect("signalled");
    node.wait_for_line("drain begins", PATIENCE).expect("drains");
    node.terminate().expect("signalled");
    assert_eq!(node.wait_exit(PATIENCE).expect("ends").code, Some(3), "{}", node.tail());
}

#[test]
fn a_drain_beyond_its_deadline_says_so_and_exits_with_3() {
    let mut node = serve(&["--no-metrics", "--drain-notice", "1h", "--drain-deadline", "1ms"]);
    node.wait_for_line("serving=true", PATIENCE).expect("serves");
    node.terminate().expect("signalled");
    assert_eq!(node.wait_exit(PATIENCE).expect("ends").code, Some(3), "{}", node.tail());
    assert!(node.log().contains("cut short"), "{}", node.tail());
}

#[test]
fn a_node_without_its_redis_says_which_one_and_serves_once_it_is_there() {
    let mut redis = Redis::start(RedisOptions::default()).expect("redis-server is installed");
    let url = redis.url();
    redis.stop().expect("stops");
    let mut node = serve(&["--redis-url", &url, "--no-metrics"]);
    let line = node.wait_for_line("the store cannot be reached", PATIENCE).expect("says so");
    assert!(line.contains(&redis.port().to_string()), "{line}");
    redis.restart().expect("starts again");
    node.wait_for_line("serving=true", PATIENCE).expect("serves");
    node.wait_for_line("an acknowledged execution", PATIENCE).expect("says what it promises");
}

#[test]
fn a_node_with_another_number_of_partitions_than_its_store_is_told_the_right_one_and_exits_with_2() {
    let redis = Redis::start(RedisOptions::default()).expect("redis-server is installed");
    let at = |count: &str| serve_partitions(count, &["--redis-url", &redis.url(), "--no-metrics"]);
    let mut node = at("8");
    node.wait_for_line("serving=true", PATIENCE).expect("serves");
    node.terminate().expect("signalled");
    assert_eq!(node.wait_exit(PATIENCE).expect("ends").code, Some(0), "{}", node.tail());
    let mut node = at("16");
    let line = node.wait_for_line("start it with --partitions 8", PATIENCE).expect("says so");
    assert!(line.contains(&redis.port().to_string()), "{line}");
    assert_eq!(node.wait_exit(PATIENCE).expect("ends").code, Some(2), "{}", node.tail());
    assert!(!node.log().contains("serving=true"), "{}", node.tail());
}

#[test]
fn a_node_that_follows_a_scheduler_with_a_store_of_its_own_is_refused_with_both_settings_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().to_str().expect("text");
    let memory = executor(&["serve"], &[("MYRIAD_SCHEDULER", "http://127.0.0.1:7300")], "");
    let file = executor(&["serve", "--scheduler", "http://127.0.0.1:7300", "--store-dir", dir], &[], "");
    for (output, store) in [(memory, "memory"), (file, "file")] {
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(
            ["MYRIAD_SCHEDULER", "--redis-url", store].iter().all(|part| message.contains(part)),
            "{message}"
        );
    }
}

#[test]
fn a_store_that_only_newer_or_only_older_programs_can_read_is_refused() {
    let redis = Redis::start(RedisOptions::default()).expect("redis-server is installed");
    let serve = || serve(&["--redis-url", &redis.url(), "--no-metrics"]);
    let mut node = serve();
    node.wait_for_line("serving=true", PATIENCE).expect("serves");
    node.kill9();
    let record = redis.command(&["HGET", DURABLE, "cluster"]).expect("answers");
    assert!(record.contains("format=2") && record.contains("readable-from=2"), "{record}");
    let newer = record.replace("format=2", "format=200").replace("readable-from=2", "readable-from=200");
    redis.command(&["HSET", DURABLE, "cluster", &newer]).expect("answers");
    let mut node = serve();
    let line = node.wait_for_line("start a newer one", PATIENCE).expect("says so");
    assert!(line.contains("format 200"), "{line}");
    node.kill9();
    // Back in the version that wrote it, and then a store of one that is too old for this program.
    redis.command(&["HSET", DURABLE, "cluster", &record]).expect("answers");
    let mut node = serve();
    node.wait_for_line("serving=true", PATIENCE).expect("serves");
    node.kill9();
    let older = record.replace("format=2", "format=1").replace("readable-from=2", "readable-from=1");
    redis.command(&["HSET", DURABLE, "cluster", &older]).expect("answers");
    let mut node = serve();
    let line = node.wait_for_line("start a version in between", PATIENCE).expect("says so");
    assert!(line.contains("format 1"), "{line}");
    assert!(!node.log().contains("serving=true"), "nothing is begun: {}", node.tail());
    assert_eq!(redis.command(&["HGET", DURABLE, "cluster"]).expect("answers"), older, "nothing is written");
}

#[test]
fn a_port_in_use_is_named_and_exits_with_3() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = executor(&["serve", "--listen", &address, "--no-metrics", "--data-port-base", "0"], &[], "");
    assert_eq!(output.status.code(), Some(3));
    let message = text(&output.stderr);
    assert!(message.contains("--listen") && message.contains(&address), "{message}");
}

#[test]
fn a_file_with_a_secret_is_looked_at_at_the_start() {
    let wrong = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(wrong.path(), "s3cret").expect("written");
    let wrong = wrong.path().to_str().expect("text");
    let cases: [(&[&str], &str); 4] = [
        (&["--history-otlp", "http://127.0.0.1:9"], "--history-otlp-headers-file"),
        (&["--history-cls", "http://127.0.0.1:9", "--history-cls-topic", "t"], "--history-cls-keys-file"),
        (&["--metrics-cloudwatch", "us-east-1"], "--metrics-cloudwatch-keys-file"),
        (&["--traces-otlp", "http://127.0.0.1:9"], "--traces-otlp-headers-file"),
    ];
    for (sink, setting) in cases {
        for (file, code) in [("/nowhere/secret", 3), (wrong, 2)] {
            let node = [
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--data-port-base",
                "0",
                "--no-metrics",
                "--shards",
                "1",
            ];
            let arguments = [&node[..], sink, &[setting, file]].concat();
            let output = executor(&arguments, &[], "");
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
            assert!(message.contains(&format!("error: {setting}: {file}: ")), "{message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }
}

#[test]
fn a_value_that_cannot_work_exits_with_2_and_a_place_that_cannot_be_used_with_3() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let below = format!("file://{}/archive", file.path().display());
    let connections = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(connections.path(), "[[connection]]\narn = 'a'\nhosts = ['h']\n").expect("written");
    let connections = connections.path().to_str().expect("text");
    let role = "arn:aws:iam::123456789012:role/r";
    let cases: [(&[&str], i32, &str); 10] = [
        (&["--connections", connections], 2, "line 2, column 7: "),
        (&["--connections", "/no/such/file"], 3, "/no/such/file: "),
        (&["--default-role", role], 2, "--default-role: nobody gives"),
        (&["--credentials", "aws-sts", "--aws-sts-endpoint", "sts"], 2, "--aws-sts-endpoint: "),
        (&["--archive", "/var/lib/x"], 2, "\"/var/lib/x\""),
        (&["--archive", "s3://"], 2, "\"s3://\""),
        (&["--archive", "file://var/lib/x"], 2, "from the root on"),
        (&["--archive", &below], 3, "cannot be used"),
        (&["--tls-cert", "x.pem"], 2, "--tls-key"),
        (
            &["--tls-cert", "x.pem", "--tls-key", "x.key", "--tls-ca", "x.pem", "--tls-allow", "node=x"],
            3,
            "x.pem",
        ),
    ];
    for (arguments, code, part) in cases {
        let mut node = serve(&[arguments, &["--no-metrics"]].concat());
        assert_eq!(
            node.wait_exit(PATIENCE).expect("ends").code,
            Some(code),
            "{arguments:?}: {}",
            node.tail()
        );
        assert!(node.log().contains(part), "{arguments:?}: {}", node.tail());
    }
}

#[test]
fn a_configuration_that_cannot_be_read_says_which_line_of_which_file_and_exits_with_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let cases: [(&[u8], &[&str]); 4] = [
        (b"shards = 2\nlisen = \"127.0.0.1:1\"", &["`lisen` is no setting", "`listen`"]),
        (b"shards = 2\nlisten = 5", &["line 2, `listen`: ", "`5`, expected socket address"]),
        (b"listen = ", &["line 1, `listen`: "]),
        (b"\xff\xfe", &["UTF-8"]),
    ];
    for (bytes, parts) in cases {
        let path = dir.path().join("node.toml");
        std::fs::write(&path, bytes).expect("written");
        let output = executor(&["serve", "--config", path.to_str().expect("text")], &[], "");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        let all = parts.iter().chain(&["node.toml"]).all(|part| message.contains(part));
        assert!(all, "{parts:?} in {message}");
    }
    let output = executor(&["serve", "--config", dir.path().to_str().expect("text")], &[], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("directory"), "{}", text(&output.stderr));
}

#[test]
fn a_store_directory_that_cannot_be_used_says_what_to_do_and_exits_with_3() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    std::fs::write(path("file"), "").expect("written");
    let used = path("used");
    let mut node = serve(&["--store-dir", &used, "--no-metrics"]);
    node.wait_for_line("serving=true", PATIENCE).expect("serves");
    let holder = format!("process {} uses the directory", node.pid());
    for (place, part) in [(path("file"), "choose a directory"), (used, holder.as_str())] {
        let mut other = serve(&["--store-dir", &place, "--no-metrics"]);
        assert_eq!(other.wait_exit(PATIENCE).expect("ends").code, Some(3), "{}", other.tail());
        assert!(other.log().contains(&place) && other.log().contains(part), "{part} in {}", other.log());
    }
    assert!(node.try_exit().is_none(), "the node that has the directory goes on");
}

#[test]
fn what_answers_and_is_no_redis_is_called_that_and_a_signal_ends_the_start() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            // The client may have gone already.
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let mut node = serve(&["--redis-url", &format!("redis://{address}"), "--no-metrics"]);
    let line = node.wait_for_line("does not speak Redis's protocol", PATIENCE).expect("says so");
    assert!(line.contains(&address.to_string()), "{line}");
    node.terminate().expect("signalled");
    assert_eq!(node.wait_exit(PATIENCE).expect("ends").code, Some(0), "{}", node.tail());
}

#[test]
fn a_redis_that_wants_a_password_is_said_and_served_once_it_lets_the_node_in() {
    let user = ("user".to_owned(), "node on >wanted ~* +@all".to_owned());
    let redis =
        Redis::start(RedisOptions { extra: vec![user], ..Default::default() }).expect("redis-server runs");
    let url = format!("redis://node:offered@127.0.0.1:{}", redis.port());
    let mut node = serve(&["--redis-url", &url, "--no-metrics"]);
    node.wait_for_line("check user and password", PATIENCE).expect("says so");
    redis.command(&["ACL", "SETUSER", "node", ">offered"]).expect("the password is changed");
    node.wait_for_line("serving=true", PATIENCE).expect("serves");
    node.wait_for_line("store reached", PATIENCE).expect("says what it promises");
    assert!(!node.log().contains("offered"), "a password is never told: {}", node.log());
}

/// A machine with a Task that is retried and caught, and a Map.
const ORDER: &str = r#"{"StartAt": "Pay", "States": {
    "Pay": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "InputPath": "$.order",
        "ResultSelector": {"paid.$": "$.Payload"}, "ResultPath": "$.payment",
        "Retry": [{"ErrorEquals": ["Busy"], "IntervalSeconds": 3, "MaxAttempts": 2}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Refund"}], "Next": "Each"},
    "Each": {"Type": "Map", "ItemsPath": "$.rows", "Next": "Refund",
        "ItemProcessor": {"StartAt": "Row", "States": {"Row": {"Type": "Pass", "End": true}}}},
    "Refund": {"Type": "Succeed"}}}"#;

/// Runs `executor test-state` on a file with this definition: exit code, standard output and standard error.
fn test_state(definition: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), definition).expect("written");
    let path = file.path().to_str().expect("text");
    let output = executor(&[&["test-state", path][..], arguments].concat(), &[], "");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_tested_state_is_shown_with_its_data_in_the_order_in_which_they_flow() {
    let arguments = ["--state", "Pay", "--input", r#"{"order": {"id": 7}}"#];
    let paid = ["--mock", r#"{"result": {"Payload": true}}"#];
    let (code, shown, _) = test_state(ORDER, &[&arguments[..], &paid].concat());
    assert_eq!(code, Some(0), "{shown}");
    let mut rest = shown.as_str();
    for part in [
        "SUCCEEDED -> Each",
        r#"input                {"order":{"id":7}}"#,
        r#"afterInputPath       {"id":7}"#,
        "afterParameters      (the same)",
        r#"result               {"Payload":true}"#,
        r#"afterResultSelector  {"paid":true}"#,
        r#"afterResultPath      {"order":{"id":7},"payment":{"paid":true}}"#,
        "output               (the same)",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} in\n{shown}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_tested_states_errors_are_retried_and_caught_as_json_tells() {
    let busy =
        ["--state", "Pay", "--input", r#"{"order": 1}"#, "--mock", r#"{"errorOutput": {"error": "Busy"}}"#];
    let with_json = [&busy[..], &["--format", "json"]].concat();
    let (code, told, _) = test_state(ORDER, &with_json);
    assert_eq!(code, Some(1));
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["status"], "RETRIABLE");
    assert_eq!(told["inspectionData"]["errorDetails"]["retryBackoffIntervalSeconds"], 3);
    let (code, told, _) = test_state(ORDER, &[&with_json[..], &["--retrier-retry-count", "2"]].concat());
    assert_eq!(code, Some(0));
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((told["status"].as_str(), told["nextState"].as_str()), (Some("CAUGHT_ERROR"), Some("Refund")));
    assert_eq!(told["output"]["Error"], "Busy");
}

#[test]
fn a_test_that_cannot_be_made_says_why_and_what_to_do() {
    for (arguments, code, part) in [
        (&[][..], 1, "--state says which of its states is tested"),
        (&["--state", "Pay"], 2, "--mock says what"),
        (&["--state", "Each"], 2, "--mock says what"),
        (&["--state", "Refund", "--mock", r#"{"result": 1}"#], 2, "'Succeed' is not supported"),
        (&["--state", "Nobody"], 2, "no state 'Nobody'"),
        (&["--state", "Pay", "--mock", r#"{"reslut": 1}"#], 2, r#"no "reslut""#),
        (
            &["--state", "Pay", "--mock", r#"{"result": {"StatusCode": "1"}}"#],
            2,
            "'StatusCode' must be a number",
        ),
        (&["--state", "Refund", "--input", "{"], 2, "--input is not JSON"),
        (&["--state", "Refund", "--input", "@/nowhere.json"], 3, "/nowhere.json"),
        (&["--state", "Refund", "--variables", "[]"], 2, "--variables is a JSON object"),
    ] {
        let (exit, shown, message) = test_state(ORDER, arguments);
        assert_eq!(exit, Some(code), "{arguments:?}: {message}");
        assert!(shown.is_empty() && message.contains(part), "{arguments:?}: {message}");
    }
    let (exit, _, message) = test_state(r#"{"Type": "Pass"}"#, &[]);
    assert_eq!(exit, Some(1));
    assert!(message.contains("/States/StateName") && !message.contains("--state"), "{message}");
}

#[test]
fn a_state_alone_is_tested_with_its_variables_and_the_manual_says_how() {
    let state = r#"{"Type": "Pass", "Parameters": {"to.$": "$name"}, "Next": "Anywhere"}"#;
    let (code, shown, message) =
        test_state(state, &["--variables", r#"{"name": "x"}"#, "--inspection-level", "info"]);
    assert_eq!(code, Some(0), "{message}");
    assert_eq!(shown, "SUCCEEDED -> Anywhere\n\n  output  {\"to\":\"x\"}\n");
    let manual = text(&executor(&["test-state", "--help"], &[], "").stdout);
    for part in ["WHAT IS TESTED", "MOCK", "OUTPUT", "EXIT CODES", "EXAMPLES", "--map-item-reader-data"] {
        assert!(manual.contains(part), "{part} in {manual}");
    }
}

#[test]
fn a_run_reads_and_writes_objects_below_a_folder() {
    let folder = tempfile::tempdir().expect("a directory");
    let definition = r#"{"StartAt":"Each","States":{"Each":{"Type":"Map","End":true,
        "ItemReader":{"Resource":"arn:aws:states:::s3:getObject","ReaderConfig":{"InputType":"JSON"},
            "Parameters":{"Bucket":"in","Key":"items.json"}},
        "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"EXPRESS"},
            "StartAt":"I","States":{"I":{"Type":"Succeed"}}},
        "ResultWriter":{"Resource":"arn:aws:states:::s3:putObject","Parameters":{"Bucket":"out","Prefix":"run"},
            "WriterConfig":{"Transformation":"COMPACT","OutputType":"JSON"}}}}}"#;
    let file = folder.path().join("each.asl.json");
    std::fs::write(&file, definition).expect("a file");
    for bucket in ["in", "out"] {
        std::fs::create_dir(folder.path().join(bucket)).expect("a bucket");
    }
    std::fs::write(folder.path().join("in/items.json"), "[1, 2]").expect("a file");
    let (file, objects) = (file.display().to_string(), folder.path().display().to_string());
    let output = executor(&["run", &file, "--objects-dir", &objects, "--json"], &[], "");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(shown["status"], "SUCCEEDED", "{shown}");
    let manifest = shown["output"]["ResultWriterDetails"]["Key"].as_str().expect("a key");
    let results = folder.path().join("out").join(manifest).with_file_name("SUCCEEDED_0.json");
    assert_eq!(std::fs::read_to_string(results).expect("written"), "[1,2]");
    let output = executor(&["run", &file], &[], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("--objects-dir"), "{}", text(&output.stdout));
    for command in [&["run", &file][..], &["serve", "--listen", "127.0.0.1:0", "--no-metrics"]] {
        let output = executor(&[command, &["--objects-dir", "/nowhere/objects"]].concat(), &[], "");
        assert_eq!(output.status.code(), Some(3), "{command:?}");
        let message = text(&output.stderr);
        assert!(message.contains("--objects-dir") && message.contains("/nowhere/objects"), "{message}");
    }
}
