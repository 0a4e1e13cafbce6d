//! Precedence, unknown keys, and what each error says.

use std::time::Duration;

use clap::{CommandFactory, Parser};

use super::*;
use crate::shard::Binding;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    options: Options,
}

fn flags(arguments: &[&str]) -> Options {
    let arguments = std::iter::once("serve").chain(arguments.iter().copied());
    Command::try_parse_from(arguments).expect("flags that parse").options
}

fn file_with(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("written");
    file
}

fn refused(arguments: &[&str], file: Option<&str>) -> String {
    let file = file.map(file_with);
    let path = file.as_ref().map(tempfile::NamedTempFile::path);
    flags(arguments).resolve(path).expect_err("refused").to_string()
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let file = file_with("shards = 3\nretention = \"2h\"\nbind = [\"a=b\"]\nmax-bytes = 4096\n");
    let (config, _) = flags(&["--shards", "2"]).resolve(Some(file.path())).expect("good");
    assert_eq!((config.shards, config.retention, config.max_bytes), (2, Duration::from_hours(2), 4_096));
    assert_eq!(config.bindings, [Binding { pattern: "a".into(), pool: "b".into() }]);
    assert_eq!(config.partitions, Config::default().partitions);
}

#[test]
fn a_metrics_port_and_none_cannot_both_be_asked_for_in_one_place() {
    let both = "metrics = \"127.0.0.1:1\"\nno-metrics = true\n";
    assert!(refused(&[], Some(both)).contains("`no-metrics`"));
    for (file, flag, port) in [
        ("no-metrics = true\n", "--metrics=127.0.0.1:2", true),
        ("metrics = \"127.0.0.1:1\"\n", "--no-metrics", false),
    ] {
        let file = file_with(file);
        let (config, _) = flags(&[flag]).resolve(Some(file.path())).expect("the flag wins");
        assert_eq!(config.metrics.is_some(), port, "{flag}");
    }
}

#[test]
fn every_flag_is_a_key_and_an_environment_variable_of_the_same_name() {
    let command = Command::command();
    let mut of_flags = Vec::new();
    for argument in command.get_arguments().filter(|argument| argument.get_long() != Some("help")) {
        let long = argument.get_long().expect("settings have long names");
        let environment = argument.get_env().expect("settings have variables");
        assert_eq!(environment.to_str(), Some(variable(long).as_str()));
        of_flags.push(long.to_owned());
    }
    let mut keys: Vec<String> = file::KEYS.iter().map(|key| (*key).to_owned()).collect();
    of_flags.sort_unstable();
    keys.sort_unstable();
    assert_eq!(of_flags, keys);
}

/// Settings of every kind, as many as go together.
const FULL: &[&str] = &[
    "--listen=127.0.0.1:1",
    "--data-port-base=2",
    "--advertise=h",
    "--allow-plaintext",
    "--connections-max=3",
    "--scheduler=http://s",
    "--node-id=n",
    "--shards=4",
    "--partitions=5",
    "--max-open=60",
    "--max-bytes=7KiB",
    "--bind=x*=y",
    "--bind=z=w",
    "--tls-allow=node=n",
    "--tls-allow-file=/a",
    "--objects-dir=/o",
    "--connections=/c",
    "--egress-allow=10.0.0.0/8",
    "--egress-allow-private",
    "--egress-ca=/e",
    "--lambda-endpoint=http://l",
    "--aws-region=r",
    "--tencent-endpoint=http://t",
    "--tencent-version=live=2018-08-01",
    "--tencent-region=q",
    "--credentials=auth,aws-sts",
    "--auth-service=http://a",
    "--aws-sts-endpoint=http://s",
    "--tencent-sts-endpoint=http://u",
    "--default-role=arn:aws:iam::1:role/x",
    "--traces-otlp=http://t",
    "--traces-otlp-headers-file=/t",
    "--traces-sample=0.5",
    "--traces-follow=7",
    "--history-files=/h",
    "--history-file-size=1MiB",
    "--history-file-age=2m",
    "--history-files-total=3GiB",
    "--history-cls=https://c",
    "--history-cls-topic=t",
    "--history-cls-keys-file=/k",
    "--history-redis=redis://r",
    "--history-redis-stream=x",
    "--history-redis-entries=5",
    "--history-redis-password-file=/p",
    "--history-kafka=k:1,k:2",
    "--history-kafka-topic=u",
    "--history-kafka-tls",
    "--history-kafka-user=v",
    "--history-kafka-password-file=/w",
    "--history-kafka-compression=gzip",
    "--history-queue=9MiB",
    "--history-retry=7m",
    "--history-otlp=http://o",
    "--history-otlp-headers-file=/i",
    "--metrics-otlp=http://o",
    "--metrics-otlp-headers-file=/i",
    "--metrics-otlp-interval=12s",
    "--metrics-cloudwatch=us-east-1",
    "--metrics-cloudwatch-keys-file=/j",
    "--metrics-cloudwatch-namespace=A/B",
    "--metrics-cloudwatch-endpoint=http://w",
    "--metrics-cloudwatch-interval=13s",
    "--metrics-tencent=https://m",
    "--metrics-tencent-keys-file=/l",
    "--metrics-tencent-interval=2m",
    "--store=file",
    "--store-dir=/d",
    "--state-dir=/s",
    "--retention=8s",
    "--archive=s3://b/p",
    "--archive-retention=9h",
    "--archive-endpoint=https://e",
    "--archive-region=r",
    "--metrics=127.0.0.1:9",
    "--log=json",
    "--log-level=debug",
    "--log-limit=12",
    "--drain-notice=10ms",
    "--drain-deadline=11s",
];

#[test]
fn what_is_printed_is_a_file_that_gives_the_same_configuration() {
    let (config, options) = flags(FULL).resolve(None).expect("good");
    let printed = options.print(&config).expect("printable");
    let file = file_with(&printed);
    let (again, options) = flags(&[]).resolve(Some(file.path())).expect("good");
    assert_eq!((again, options.log(), options.log_level()), (config, LogFormat::Json, "debug"), "{printed}");
    assert_eq!(options.log_limit(), 12);
}

#[test]
fn a_printed_configuration_holds_no_password() {
    let (config, options) = flags(&["--redis-url", "redis://u:secret@h:1"]).resolve(None).expect("good");
    let printed = options.print(&config).expect("printable");
    assert!(printed.contains("***") && !printed.contains("secret"), "{printed}");
}

#[test]
fn an_unknown_key_is_an_error_that_suggests_the_nearest() {
    let error = refused(&[], Some("listne = \"127.0.0.1:1\"\n"));
    assert!(error.contains("`listne` is no setting; did you mean `listen`?"), "{error}");
}

#[test]
fn a_wrong_value_in_a_file_is_shown_with_its_line() {
    let error = refused(&[], Some("shards = 1\nretention = \"soon\"\n"));
    assert!(error.contains("line 2") && error.contains("is no duration"), "{error}");
    let error = refused(&[], Some("shards = [\n"));
    assert!(error.contains("line 1") || error.contains("line 2"), "{error}");
}

#[test]
fn a_line_that_is_no_toml_is_numbered_and_not_shown_for_it_may_hold_a_password() {
    let error = refused(&[], Some("shards = 2\nredis-url = redis://me:hunter2@h\n"));
    assert!(error.contains("line 2, `redis-url`: ") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = flags(&[]).resolve(Some("/nowhere/myriad.toml".as_ref())).expect_err("absent").to_string();
    assert!(error.starts_with("/nowhere/myriad.toml: the configuration cannot be read"), "{error}");
}

#[test]
fn a_place_without_a_kind_says_the_kind_of_the_store() {
    let store = |arguments: &[&str]| flags(arguments).resolve(None).expect("good").0.store;
    assert_eq!(store(&[]), StoreConfig::Memory);
    assert_eq!(store(&["--store-dir", "/d"]), StoreConfig::File("/d".into()));
    assert_eq!(store(&["--redis-url", "redis://h"]), StoreConfig::Redis("redis://h".into()));
    let more = ["--redis-url", "redis://h", "--redis-prefix", "p", "--redis-declared-appendfsync", "always"];
    let StoreConfig::Redis(redis) = store(&more) else { panic!("another store") };
    assert_eq!((redis.prefix.as_str(), redis.declared_appendfsync), ("p", Some(DeclaredAppendFsync::Always)));
    let files =
        ["--redis-password-file", "/p", "--redis-ca", "/ca", "--redis-cert", "/c", "--redis-key", "/k"];
    let arguments = [&["--redis-url", "rediss://h"][..], &files].concat();
    let StoreConfig::Redis(redis) = store(&arguments) else { panic!("another store") };
    let paths = [redis.password_file, redis.ca, redis.cert, redis.key];
    assert_eq!(
        paths.map(|path| path.expect("given")),
        ["/p", "/ca", "/c", "/k"].map(std::path::PathBuf::from)
    );
    assert!(refused(&["--store", "redis"], None).starts_with("--redis-url"));
    assert!(refused(&["--store", "file"], None).starts_with("--store-dir"));
    assert!(refused(&["--store-dir", "/d", "--redis-url", "redis://h"], None).starts_with("--store"));
}

#[test]
fn an_archive_keeps_for_90_days_and_its_settings_make_no_sense_without_one() {
    let (config, _) = flags(&["--archive", "file:///a"]).resolve(None).expect("good");
    assert_eq!(config.archive.expect("an archive").retention, Duration::from_hours(90 * 24));
    let refused = refused(&["--archive-region", "r"], None);
    assert!(refused.starts_with("--archive-region: there is no archive"), "{refused}");
}

#[test]
fn a_binding_splits_at_its_last_equals_sign() {
    let (config, _) = flags(&["--bind", "arn:*:f=x=pool,g=other"]).resolve(None).expect("good");
    let pools: Vec<_> = config.bindings.iter().map(|b| (b.pattern.as_str(), b.pool.as_str())).collect();
    assert_eq!(pools, [("arn:*:f=x", "pool"), ("g", "other")]);
    for text in ["nothing", "=pool", "pattern="] {
        assert!(refused(&["--bind", text], None).contains("PATTERN=POOL"));
    }
}

#[test]
fn a_variable_that_is_no_setting_is_an_error_unless_kubernetes_made_it() {
    let check = |name: &str| Options::check_environment(std::iter::once(name.to_owned()));
    for name in ["MYRIAD_LISTEN", "MYRIAD_CONFIG", "MYRIAD_SERVICE_HOST", "MYRIAD_PORT_7400_TCP", "PATH"] {
        assert!(check(name).is_ok(), "{name}");
    }
    let error = check("MYRIAD_LISTNE").expect_err("no setting").to_string();
    assert!(error.contains("did you mean MYRIAD_LISTEN?"), "{error}");
}
