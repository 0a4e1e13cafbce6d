//! A node under load with everything around it: Redis behind a proxy, a worker, an HTTP target, a collector of what it exports,
//! a scheduler with clients at its front door, and a Prometheus that scrapes node and scheduler.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use dashboards::prometheus::{self, Range, Series};
use proto::executor::v1::executor_client::ExecutorClient;
use tempfile::TempDir;
use testkit::{Process, ProcessOptions, Proxy, Redis, eventually, eventually_async, free_port, free_ports};

use crate::door;
use crate::load;
use crate::load::arn;
use crate::peer::Peer;

/// Bound of every wait but those that are promised to be shorter.
pub const PATIENCE: Duration = Duration::from_secs(120);
const SHARDS: u16 = 2;
const TARGET_FAILS_EACH: u64 = 30;

/// How Prometheus is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Often, so that every panel has data soon; with the rules as they are.
    Often,
    /// As often as `prometheus/prometheus.yml` says; with rules that wait for seconds where they would wait for minutes.
    AsGiven,
}

impl Watch {
    /// Seconds between two scrapes.
    fn scrapes(self) -> u32 {
        match self {
            Self::Often => 1,
            Self::AsGiven => 5,
        }
    }

    /// What Grafana takes for `$__rate_interval`: four scrapes, or more where they are so near.
    fn rates(self) -> &'static str {
        match self {
            Self::Often => "15s",
            Self::AsGiven => "20s",
        }
    }
}

/// See the module.
pub struct Stage {
    pub proxy: Proxy,
    pub target: Peer,
    pub collector: Peer,
    pub node: Process,
    pub scheduler: Process,
    pub prometheus: SocketAddr,
    watch: Watch,
    _prometheus: Process,
    _redis: Redis,
    _folder: TempDir,
}

impl Stage {
    pub async fn open(watch: Watch) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let redis = Redis::durable();
        let proxy = Proxy::start(redis.address()).expect("a proxy");
        let (target, collector) = (Peer::api(TARGET_FAILS_EACH).await, Peer::collector().await);
        let store = format!("redis://{}", proxy.address());
        let (node, public, metrics) = node(folder.path(), &store, target.address, collector.address);
        let client = eventually_async("the node answers", PATIENCE, || async {
            ExecutorClient::connect(format!("http://{public}")).await.map_err(|error| error.to_string())
        })
        .await;
        load::work(public);
        let (scheduler, front, of_scheduler) = door::scheduler(folder.path(), public).await;
        let (server, prometheus) = prometheus(folder.path(), metrics, of_scheduler, watch);
        load::start(&client, target.address);
        door::call(front).await;
        Self {
            proxy,
            target,
            collector,
            node,
            scheduler,
            prometheus,
            watch,
            _prometheus: server,
            _redis: redis,
            _folder: folder,
        }
    }

    /// What a panel would get.
    pub fn ask(&self, expr: &str, range: Range) -> Result<Vec<Series>, prometheus::AskError> {
        prometheus::query_range(self.prometheus, &substituted(expr, self.watch.rates()), range)
    }

    /// The last so many seconds, by Prometheus' clock.
    pub fn last(&self, seconds: f64) -> Result<Range, prometheus::AskError> {
        let now = prometheus::get(self.prometheus, "/api/v1/query", &[("query", "time()")])?;
        let end = now["result"][0].as_f64().unwrap_or_default();
        Ok(Range { start: end - seconds, end, step: (seconds / 120.0).max(1.0) })
    }

    /// The value of a query now.
    pub fn now(&self, expr: &str) -> Option<f64> {
        self.ask(expr, self.last(1.0).ok()?).ok()?.first()?.last()
    }
}

/// A query with everything selected.
fn substituted(expr: &str, rates: &str) -> String {
    let one = format!(r#"machine="{}""#, arn("order"));
    [("$__rate_interval", rates), ("$__range", "2m"), (r#"machine="$machine""#, one.as_str())]
        .into_iter()
        .chain(["$job", "$instance", "$machine", "$target"].map(|variable| (variable, ".+")))
        .fold(expr.to_owned(), |text, (variable, value)| text.replace(variable, value))
}

/// A node on free ports; its public port, and that of its metrics.
fn node(
    folder: &Path,
    store: &str,
    target: SocketAddr,
    collector: SocketAddr,
) -> (Process, SocketAddr, SocketAddr) {
    let connections = folder.join("connections.toml");
    std::fs::write(&connections, "").expect("written");
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
        ("--lambda-endpoint", format!("http://{target}")),
        ("--credentials", "environment".to_owned()),
        ("--connections", connections.display().to_string()),
        ("--history-files", folder.join("history").display().to_string()),
        ("--history-otlp", format!("http://{collector}")),
        ("--metrics-otlp", format!("http://{collector}")),
        ("--metrics-otlp-interval", "1s".to_owned()),
        ("--traces-otlp", format!("http://{collector}")),
        ("--traces-sample", "1".to_owned()),
    ];
    let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    let program =
        testkit::process::built_binary("executor", "executor").unwrap_or_else(|error| panic!("{error}"));
    let arguments = std::iter::once("serve".to_owned()).chain(flags);
    let mut options = ProcessOptions::new("executor", program, arguments);
    let keys = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "for-the-target-alone")];
    options.env = keys.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let node = Process::start(&options);
    (node.unwrap_or_else(|error| panic!("{error}")), address(0), address(1))
}

/// The text of a file of rules that waits for seconds where it would wait for minutes.
fn quick(text: &str) -> String {
    let line = |line: &str| {
        if line.trim().starts_with("for: ") { "        for: 2s\n".to_owned() } else { format!("{line}\n") }
    };
    let text: String = text.lines().map(line).collect();
    // The windows of alerts; those of records have their length in their name.
    if text.contains("- record: ") {
        return text;
    }
    text.replace("[5m]", "[20s]").replace("[1m]", "[15s]")
}

fn prometheus(folder: &Path, node: SocketAddr, scheduler: SocketAddr, watch: Watch) -> (Process, SocketAddr) {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("prometheus/rules");
    for entry in std::fs::read_dir(files).expect("rules") {
        let path = entry.expect("a readable entry").path();
        let text = std::fs::read_to_string(&path).expect("rules");
        let text = if watch == Watch::AsGiven { quick(&text) } else { text };
        std::fs::write(folder.join(path.file_name().expect("a name")), text).expect("written");
    }
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let seconds = watch.scrapes();
    let config = format!(
        "global: {{scrape_interval: {seconds}s, scrape_timeout: 1s, evaluation_interval: {seconds}s}}\nrule_files: ['*.yml']\n\
         scrape_configs:\n  - job_name: myriad\n    static_configs: [{{targets: ['{node}']}}]\n  \
         - job_name: scheduler\n    static_configs: [{{targets: ['{scheduler}']}}]\n"
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
