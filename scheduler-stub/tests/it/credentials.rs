//! Credentials from end to end: a node, the authorization service and the clouds are processes that know each other by their
//! flags and files alone. The stub of the clouds verifies every signature, and takes no key that has expired.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use proto::executor::v1;
use proto::executor::v1::executor_client::ExecutorClient;
use scheduler_stub::auth::Issuer;
use tempfile::TempDir;
use testkit::process::built_binary;
use testkit::{Process, ProcessOptions, eventually_async, free_ports};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Channel;
use trust::Secret;

use crate::sts;

const PATIENCE: Duration = Duration::from_secs(60);
const SHARDS: u16 = 2;
const AWS_ROLE: &str = "arn:aws:iam::000000000000:role/pay";
const TENCENT_ROLE: &str = "qcs::cam::uin/1:roleName/film";
const CONNECTION: &str = "arn:aws:events:local:000000000000:connection/carrier/1";

/// Processes, on ports of their own.
struct World {
    folder: TempDir,
    base: u16,
    processes: Vec<Process>,
}

fn start(name: &str, program: PathBuf, words: Vec<String>, env: Vec<(String, String)>) -> Process {
    let options = ProcessOptions { env, ..ProcessOptions::new(name, program, words) };
    Process::start(&options).unwrap_or_else(|error| panic!("{error}"))
}

impl World {
    /// The stub of the clouds alone.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut world = Self { folder, base: free_ports(SHARDS + 4), processes: Vec::new() };
        let key = trust::draw_key().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        world.write("keys", &format!("1 {key}\n"));
        world.write("client", "s3cret-one\n");
        let listen = world.address(1).to_string();
        let files = ["keys", "client"].map(|name| world.path(name).display().to_string());
        let cloud = world.stub(&[
            "cloud",
            "--listen",
            &listen,
            "--secret-file",
            &files[0],
            "--client-secret-file",
            &files[1],
        ]);
        world.processes.push(cloud);
        world.processes[0].wait_for_line("cloud listens", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        world
    }

    fn stub(&self, words: &[&str]) -> Process {
        let owned = words.iter().map(|&word| word.to_owned()).collect();
        start(words[0], env!("CARGO_BIN_EXE_scheduler-stub").into(), owned, Vec::new())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whole or not at all, as operators are told to.
    fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, self.path(name)).expect("renamed");
    }

    fn address(&self, offset: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.base + offset))
    }

    fn cloud(&self) -> String {
        format!("http://{}", self.address(1))
    }

    /// The authorization service, whose keys are good for so long.
    fn auth(&self, lifetime: &str) -> Process {
        let (listen, keys) = (self.address(0).to_string(), self.path("keys").display().to_string());
        let mut auth = self.stub(&[
            "auth",
            "--listen",
            &listen,
            "--secret-file",
            &keys,
            "--lifetime",
            lifetime,
            "--role",
            AWS_ROLE,
            "--role",
            TENCENT_ROLE,
        ]);
        auth.wait_for_line("auth listens", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        auth
    }

    fn issuer(&self) -> Issuer {
        Issuer::new(Secret::read(&self.path("keys")).expect("keys"))
    }

    /// A node that calls the clouds.
    async fn node(&self, more: &[&str], env: Vec<(String, String)>) -> Node {
        let (public, metrics, data) = (self.address(2), self.address(3), self.base + 4);
        let cloud = self.cloud();
        let (listen, scraped, data, shards) =
            (public.to_string(), metrics.to_string(), data.to_string(), SHARDS.to_string());
        let flags = [
            ["--listen", &listen],
            ["--metrics", &scraped],
            ["--data-port-base", &data],
            ["--shards", &shards],
            ["--partitions", "4"],
            ["--store", "memory"],
            ["--egress-allow", "127.0.0.1"],
            ["--lambda-endpoint", &cloud],
            ["--tencent-endpoint", &cloud],
        ];
        let words = ["serve"].into_iter().chain(flags.into_iter().flatten()).chain(more.iter().copied());
        let program = built_binary("executor", "executor").unwrap_or_else(|error| panic!("{error}"));
        let mut process = start("node", program, words.map(str::to_owned).collect(), env);
        process.wait_for_line("serving=true", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let client = ExecutorClient::connect(format!("http://{public}")).await.expect("the node answers");
        Node { process, client, metrics }
    }
}

struct Node {
    process: Process,
    client: ExecutorClient<Channel>,
    metrics: SocketAddr,
}

/// What is executed.
#[derive(Clone)]
struct Work {
    definition: String,
    dialect: v1::Dialect,
    role: &'static str,
}

fn one_task(resource: &str, more: &str) -> String {
    format!(
        r#"{{"StartAt":"A","States":{{"A":{{"Type":"Task","Resource":"{resource}"{more},"End":true}}}}}}"#
    )
}

fn function(more: &str) -> Work {
    let definition = one_task("arn:aws:lambda:local:000000000000:function:insure-parcel", more);
    Work { definition, dialect: v1::Dialect::Asl, role: AWS_ROLE }
}

fn cloud_function() -> Work {
    let resource = "qrn:qcs:asw:ap-guangzhou:1300000000:sdk:json:qcloud:scf:Invoke/ocr-frames";
    Work { definition: one_task(resource, ""), dialect: v1::Dialect::Tcsl, role: TENCENT_ROLE }
}

fn rates(cloud: &str) -> Work {
    let more = format!(
        r#","Parameters":{{"ApiEndpoint":"{cloud}/api/rates","Method":"GET","QueryParameters":{{"city":"Oslo","grams":1000}},
        "Authentication":{{"ConnectionArn":"{CONNECTION}"}}}}"#
    );
    Work { definition: one_task("arn:aws:states:::http:invoke", &more), dialect: v1::Dialect::Asl, role: "" }
}

fn status(described: &v1::DescribeExecutionResponse) -> v1::ExecutionStatus {
    described.summary.as_ref().expect("a summary").status()
}

fn succeeded(described: &v1::DescribeExecutionResponse) -> Result<(), String> {
    if status(described) == v1::ExecutionStatus::Succeeded { Ok(()) } else { Err(format!("{described:?}")) }
}

impl Node {
    async fn begin(&self, work: &Work) -> String {
        let request = v1::StartExecutionRequest {
            machine_arn: "arn:aws:states:local:000000000000:stateMachine:m".to_owned(),
            definition: Bytes::from(work.definition.clone()),
            mode: v1::Mode::Standard.into(),
            dialect: work.dialect.into(),
            input: Bytes::from_static(br#"{"city":"Oslo","value":80}"#),
            role_arn: work.role.to_owned(),
            ..Default::default()
        };
        self.client.clone().start_execution(request).await.expect("started").into_inner().execution_id
    }

    async fn end(&self, execution: &str) -> v1::DescribeExecutionResponse {
        eventually_async("the execution ends", PATIENCE, async || {
            let request = v1::DescribeExecutionRequest { execution: execution.to_owned() };
            let described = self.client.clone().describe_execution(request).await;
            let described = described.map_err(|status| status.to_string())?.into_inner();
            if status(&described) == v1::ExecutionStatus::Running {
                Err("it runs".to_owned())
            } else {
                Ok(described)
            }
        })
        .await
    }

    async fn run(&self, work: &Work) -> v1::DescribeExecutionResponse {
        self.end(&self.begin(work).await).await
    }

    async fn history(&self, execution: &str) -> String {
        let request =
            v1::GetExecutionHistoryRequest { execution: execution.to_owned(), ..Default::default() };
        format!(
            "{:?}",
            self.client.clone().get_execution_history(request).await.expect("a history").into_inner()
        )
    }

    /// The sum of a metric's series; `series` may name labels.
    async fn metric(&self, series: &str) -> f64 {
        let mut stream = tokio::net::TcpStream::connect(self.metrics).await.expect("the metrics port");
        let request = "GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        let lines = text.lines().filter(|line| line.starts_with(series));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    async fn no_call_is_left(&self) {
        eventually_async("no call is under way", PATIENCE, async || {
            match self.metric("executor_calls_under_way").await {
                0.0 => Ok(()),
                left => Err(left.to_string()),
            }
        })
        .await;
    }

    fn says_nothing_of(&self, secrets: &[&str]) {
        let log = self.process.log();
        assert!(!log.is_empty());
        for secret in secrets {
            assert!(!log.contains(secret), "a secret is in the log");
        }
    }
}

fn variables(vendor: [&str; 3], id: &str, secret: &str, token: Option<&str>) -> Vec<(String, String)> {
    let values = [Some(id), Some(secret), token];
    let given =
        vendor.into_iter().zip(values).filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    given.collect()
}

const AWS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
const TENCENT: [&str; 3] = ["TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN"];

async fn serves_both_clouds(world: &World, flags: &[&str], env: Vec<(String, String)>, secrets: &[&str]) {
    let node = world.node(flags, env).await;
    for work in [function(""), cloud_function()] {
        succeeded(&node.run(&work).await).unwrap_or_else(|ended| panic!("{flags:?}: {ended}"));
    }
    node.no_call_is_left().await;
    node.says_nothing_of(secrets);
}

#[tokio::test]
async fn the_authorization_service_gives_a_node_keys_that_both_clouds_take() {
    let world = World::new();
    let _auth = world.auth("1h");
    let url = format!("http://{}", world.address(0));
    serves_both_clouds(&world, &["--credentials", "auth", "--auth-service", &url], Vec::new(), &[]).await;
}

#[tokio::test]
async fn the_sts_of_each_vendor_gives_a_node_keys_that_its_cloud_takes() {
    let world = World::new();
    let url = format!("http://{}/", sts::start(world.issuer()).await);
    let (id, secret) = sts::OWN;
    let env = [variables(AWS, id, secret, None), variables(TENCENT, id, secret, None)].concat();
    let flags =
        ["--credentials", "aws-sts,tencent-sts", "--aws-sts-endpoint", &url, "--tencent-sts-endpoint", &url];
    serves_both_clouds(&world, &flags, env, &[secret]).await;
}

#[tokio::test]
async fn the_keys_of_a_nodes_environment_sign_by_themselves() {
    let world = World::new();
    let issuer = world.issuer();
    let (aws, tencent) = (sts::issue(&issuer, AWS_ROLE, 1), sts::issue(&issuer, TENCENT_ROLE, 2));
    let env = [
        variables(AWS, &aws.id, &aws.secret, Some(&aws.token)),
        variables(TENCENT, &tencent.id, &tencent.secret, Some(&tencent.token)),
    ]
    .concat();
    let secrets = [&aws.secret, &tencent.secret, &aws.token].map(String::as_str);
    serves_both_clouds(&world, &["--credentials", "environment"], env, &secrets).await;
}

#[tokio::test]
async fn keys_are_renewed_ahead_and_a_service_that_was_away_longer_than_they_live_is_asked_again_when_it_is_back()
 {
    const UNAVAILABLE: &str = "executor_credentials_failures_total{reason=\"unavailable\"";
    let world = World::new();
    let mut auth = world.auth("4s");
    let url = format!("http://{}", world.address(0));
    let node = world.node(&["--credentials", "auth", "--auth-service", &url], Vec::new()).await;
    eventually_async("keys are renewed again and again", PATIENCE, async || {
        // Keys of so short a life may be late where the machine is slow.
        succeeded(&node.run(&function("")).await)?;
        let renewed = node.metric("executor_credentials_refreshes_total").await;
        if renewed >= 3.0 { Ok(()) } else { Err(format!("{renewed} times")) }
    })
    .await;
    assert_eq!(node.metric(UNAVAILABLE).await.to_string(), "0");

    auth.kill9();
    let failed = eventually_async("the last keys expire", PATIENCE, async || {
        let ended = node.run(&function("")).await;
        if succeeded(&ended).is_ok() { Err("they are good still") } else { Ok(ended) }
    })
    .await;
    let cause = failed.cause.as_deref().unwrap_or_default();
    assert!(cause.contains("no credentials for") && cause.contains(AWS_ROLE), "{failed:?}");
    let retry =
        r#","Retry":[{"ErrorEquals":["States.ALL"],"IntervalSeconds":1,"MaxAttempts":1000,"BackoffRate":1}]"#;
    let patient = node.begin(&function(retry)).await;
    eventually_async("an attempt fails", PATIENCE, async || {
        let history = node.history(&patient).await;
        if history.contains("no credentials for") { Ok(()) } else { Err(history) }
    })
    .await;

    let _auth = world.auth("4s");
    succeeded(&node.end(&patient).await).unwrap_or_else(|ended| panic!("{ended}"));
    eventually_async("calls are signed again", PATIENCE, async || succeeded(&node.run(&function("")).await))
        .await;
    node.no_call_is_left().await;
}

fn connections(secret: &Path, cloud: &str) -> String {
    let secret = secret.display();
    format!(
        "[[connection]]\narn = '{CONNECTION}'\nhosts = ['127.0.0.1']\ninsecure = true\noauth = {{ token-url = \
         '{cloud}/oauth/token', client-id = 'myriad', client-secret = {{ file = '{secret}' }} }}\n"
    )
}

#[tokio::test]
async fn a_secret_of_a_connection_is_replaced_while_the_node_runs_and_a_broken_file_changes_nothing() {
    let world = World::new();
    world.write("secret", "s3cret-one\n");
    let text = connections(&world.path("secret"), &world.cloud());
    world.write("connections", &text);
    let file = world.path("connections").display().to_string();
    let node = world.node(&["--connections", &file], Vec::new()).await;
    let work = rates(&world.cloud());
    succeeded(&node.run(&work).await).unwrap_or_else(|ended| panic!("{ended}"));

    world.write("secret", "s3cret-two\n");
    let failed = eventually_async("the secret is replaced, and with it the token", PATIENCE, async || {
        let ended = node.run(&work).await;
        if succeeded(&ended).is_ok() { Err("the former is in force") } else { Ok(ended) }
    })
    .await;
    let cause = failed.cause.as_deref().unwrap_or_default();
    assert!(cause.contains("invalid_client") && !cause.contains("s3cret"), "{failed:?}");
    world.write("secret", "s3cret-one\n");
    eventually_async("the good secret is back", PATIENCE, async || succeeded(&node.run(&work).await)).await;

    world.write("connections", &text.replace("hosts", "host"));
    eventually_async("the broken file is noticed", PATIENCE, async || {
        let failing = node.metric("executor_reload_failing{what=\"connections\"}").await;
        if failing > 0.0 { Ok(()) } else { Err("not yet") }
    })
    .await;
    succeeded(&node.run(&work).await).unwrap_or_else(|ended| panic!("{ended}"));
    assert!(node.process.log().contains("changed connections cannot be used"));
    world.write("connections", &text.replace("['127.0.0.1']", "[]"));
    eventually_async("the log says what is wrong now", PATIENCE, async || {
        let log = node.process.log();
        if log.contains("`hosts` names none") { Ok(()) } else { Err(log) }
    })
    .await;
    node.no_call_is_left().await;
    node.says_nothing_of(&["s3cret"]);
}
