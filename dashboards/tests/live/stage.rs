//! A node under load with everything around it: Redis behind a proxy, a worker, an HTTP target, and a Prometheus that scrapes
//! it each second.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashboards::prometheus::{self, Range, Series};
use proto::executor::v1;
use proto::executor::v1::executor_client::ExecutorClient;
use tempfile::TempDir;
use testkit::{Process, ProcessOptions, Proxy, Redis, eventually, eventually_async, free_port, free_ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tonic::transport::Channel;

/// Bound of every wait but those that are promised to be shorter.
pub const PATIENCE: Duration = Duration::from_secs(120);
const SHARDS: u16 = 2;
/// One of each kind of execution is started so often.
const PACE: Duration = Duration::from_millis(100);
const TARGET_FAILS_EACH: u64 = 10;
const WORKER_FAILS_EACH: u64 = 10;

/// See the module.
pub struct Stage {
    pub proxy: Proxy,
    pub target: Target,
    pub node: Process,
    pub prometheus: SocketAddr,
    _prometheus: Process,
    _redis: Redis,
    _folder: TempDir,
}

/// The ARN of a machine of the load.
pub fn arn(machine: &str) -> String {
    format!("arn:aws:states:us-east-1:123456789012:stateMachine:{machine}")
}

impl Stage {
    pub async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let redis = Redis::durable();
        let proxy = Proxy::start(redis.address()).expect("a proxy");
        let (node, public, metrics) = node(&format!("redis://{}", proxy.address()));
        let client = eventually_async("the node answers", PATIENCE, || async {
            ExecutorClient::connect(format!("http://{public}")).await.map_err(|error| error.to_string())
        })
        .await;
        let target = Target::open().await;
        work(public);
        load(&client, target.address);
        let (server, prometheus) = prometheus(folder.path(), metrics);
        Self { proxy, target, node, prometheus, _prometheus: server, _redis: redis, _folder: folder }
    }

    /// What a panel would get for the last so many seconds.
    pub fn ask(&self, expr: &str, seconds: f64) -> Result<Vec<Series>, prometheus::AskError> {
        prometheus::query_range(self.prometheus, &substituted(expr), self.last(seconds)?)
    }

    /// The last so many seconds, by Prometheus' clock.
    pub fn last(&self, seconds: f64) -> Result<Range, prometheus::AskError> {
        let now = prometheus::get(self.prometheus, "/api/v1/query", &[("query", "time()")])?;
        let end = now["result"][0].as_f64().unwrap_or_default();
        Ok(Range { start: end - seconds, end, step: (seconds / 120.0).max(1.0) })
    }

    /// The value of a query now.
    pub fn now(&self, expr: &str) -> Option<f64> {
        self.ask(expr, 1.0).ok()?.first()?.last()
    }
}

/// A query with everything selected, and intervals that fit scrapes of a second.
fn substituted(expr: &str) -> String {
    let one = format!(r#"machine="{}""#, arn("order"));
    [("$__rate_interval", "15s"), ("$__range", "2m"), (r#"machine="$machine""#, one.as_str())]
        .into_iter()
        .chain(["$job", "$instance", "$machine", "$target"].map(|variable| (variable, ".+")))
        .fold(expr.to_owned(), |text, (variable, value)| text.replace(variable, value))
}

/// A node on free ports; its public port, and that of its metrics.
fn node(store: &str) -> (Process, SocketAddr, SocketAddr) {
    let base = free_ports(SHARDS + 2);
    let address = |offset: u16| SocketAddr::from(([127, 0, 0, 1], base + offset));
    let flags = [
        ("--listen", address(0).to_string()),
        ("--metrics", address(1).to_string()),
        ("--data-port-base", address(2).port().to_string()),
        ("--shards", SHARDS.to_string()),
        ("--partitions", "4".to_owned()),
        ("--node-id", "node-under-load".to_owned()),
        ("--redis-url", store.to_owned()),
        ("--egress-allow", "127.0.0.1".to_owned()),
        ("--bind", "*:function:greet=demo".to_owned()),
    ];
    let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    let program =
        testkit::process::built_binary("executor", "executor").unwrap_or_else(|error| panic!("{error}"));
    let arguments = std::iter::once("serve".to_owned()).chain(flags);
    let node = Process::start(&ProcessOptions::new("executor", program, arguments));
    (node.unwrap_or_else(|error| panic!("{error}")), address(0), address(1))
}

/// Prometheus, with the rules of the repository made quick: they wait for seconds where they would wait for minutes.
fn prometheus(folder: &Path, metrics: SocketAddr) -> (Process, SocketAddr) {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("prometheus/rules");
    for entry in std::fs::read_dir(rules).expect("rules") {
        let path = entry.expect("a readable entry").path();
        let text = std::fs::read_to_string(&path).expect("rules");
        let quick = |line: &str| {
            if line.trim().starts_with("for: ") { "        for: 2s".to_owned() } else { line.to_owned() }
        };
        let text: String = text.lines().map(|line| quick(line) + "\n").collect();
        // The windows of alerts; those of records have their length in their name.
        let text = if text.contains("- record: ") {
            text
        } else {
            text.replace("[5m]", "[15s]").replace("[1m]", "[10s]")
        };
        std::fs::write(folder.join(path.file_name().expect("a name")), text).expect("written");
    }
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: ['*.yml']\n\
         scrape_configs:\n  - job_name: myriad\n    static_configs: [{{targets: ['{metrics}']}}]\n"
    );
    std::fs::write(folder.join("prometheus.yaml"), config).expect("written");
    let arguments = [
        format!("--config.file={}", folder.join("prometheus.yaml").display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address={address}"),
        "--log.level=warn".to_owned(),
    ];
    let server = Process::start(&ProcessOptions::new("prometheus", "prometheus", arguments));
    let server = server.unwrap_or_else(|error| panic!("{error}: Debian's package `prometheus`"));
    eventually("Prometheus listens", PATIENCE, || TcpStream::connect(address));
    (server, address)
}

/// An HTTP API that fails now and then, or always.
pub struct Target {
    pub address: SocketAddr,
    pub fails: Arc<AtomicBool>,
}

impl Target {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, fails) = (listener.local_addr().expect("an address"), Arc::new(AtomicBool::new(false)));
        let (always, asked) = (Arc::clone(&fails), Arc::new(AtomicU64::new(1)));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (always, asked) = (Arc::clone(&always), Arc::clone(&asked));
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        let fails = always.load(Ordering::Relaxed)
                            || asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(TARGET_FAILS_EACH);
                        let line = if fails { "500 Internal Server Error" } else { "200 OK" };
                        let answer = format!(
                            "HTTP/1.1 {line}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
                        );
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, fails }
    }
}

/// A worker that fails now and then.
fn work(node: SocketAddr) {
    let settings = worker::Settings {
        nodes: vec![node.to_string()],
        pool: "demo".to_owned(),
        name: "worker".to_owned(),
        concurrency: 16,
        heartbeat: None,
        trust: None,
    };
    let asked = Arc::new(AtomicU64::new(1));
    let handler = move |_: v1::Task| {
        let fails = asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(WORKER_FAILS_EACH);
        async move {
            if fails {
                let error = "Greeting.Failed".to_owned();
                return Err(v1::TaskFailure { error, cause: "now and then".to_owned() });
            }
            Ok(Bytes::from_static(b"\"hello\""))
        }
    };
    tokio::spawn(async move { worker::run(settings, handler, std::future::pending()).await });
}

/// All kinds of executions: those that pass, work, wait, fan out, fail, take too long and are stopped.
fn load(client: &ExecutorClient<Channel>, target: SocketAddr) {
    let order = ORDER.replace("TARGET", &target.to_string());
    let machines = [
        ("order", order, v1::Mode::Standard),
        ("pass", PASS.to_owned(), v1::Mode::Express),
        ("fan-out", FAN_OUT.to_owned(), v1::Mode::Standard),
        ("too-long", TOO_LONG.to_owned(), v1::Mode::Standard),
        ("stopped", WAITS.to_owned(), v1::Mode::Standard),
    ];
    for (name, definition, mode) in machines {
        let mut client = client.clone();
        tokio::spawn(async move {
            let mut beat = tokio::time::interval(PACE);
            beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for number in 0_u64.. {
                beat.tick().await;
                let request = v1::StartExecutionRequest {
                    machine_arn: arn(name),
                    definition: definition.clone().into(),
                    mode: mode.into(),
                    input: format!(r#"{{"n":{}}}"#, number % 8).into(),
                    ..Default::default()
                };
                // A start that is refused, or whose node hangs, is no concern of this load.
                let started = tokio::time::timeout(PATIENCE, client.start_execution(request)).await;
                if let (Ok(Ok(started)), "stopped") = (started, name) {
                    let execution = started.into_inner().execution_id;
                    let stop = v1::StopExecutionRequest { execution, ..Default::default() };
                    let _ = tokio::time::timeout(PATIENCE, client.stop_execution(stop)).await;
                }
            }
        });
    }
}

const PASS: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;
const WAITS: &str = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":3600,"End":true}}}"#;
const TOO_LONG: &str =
    r#"{"StartAt":"W","TimeoutSeconds":1,"States":{"W":{"Type":"Wait","Seconds":3600,"End":true}}}"#;
const FAN_OUT: &str = r#"{"StartAt":"Both","States":{
    "Both":{"Type":"Parallel","Branches":[{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}},
        {"StartAt":"B","States":{"B":{"Type":"Wait","Seconds":1,"End":true}}}],"Next":"Each"},
    "Each":{"Type":"Map","ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Pass","End":true}}},"End":true}}}"#;
const ORDER: &str = r#"{"StartAt":"Check","States":{
    "Check":{"Type":"Choice","Choices":[{"Variable":"$.n","NumericEquals":0,"Next":"Refuse"}],"Default":"Greet"},
    "Refuse":{"Type":"Fail","Error":"Order.Refused","Cause":"nobody orders nothing"},
    "Greet":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:greet","ResultPath":null,
        "Retry":[{"ErrorEquals":["States.ALL"],"IntervalSeconds":1,"MaxAttempts":2}],"Next":"Call"},
    "Call":{"Type":"Task","Resource":"arn:aws:states:::http:invoke","Parameters":{"ApiEndpoint":"http://TARGET/",
        "Method":"GET"},"ResultPath":null,"Catch":[{"ErrorEquals":["States.ALL"],"ResultPath":null,"Next":"Pause"}],"Next":"Pause"},
    "Pause":{"Type":"Wait","Seconds":1,"Next":"Done"},
    "Done":{"Type":"Succeed"}}}"#;
