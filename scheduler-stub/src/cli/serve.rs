//! `scheduler-stub serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use executor::config::{RedisFlags, StoreConfig};
use journal::Store;
use trust::{TlsFlags, Trust};

use super::http::HttpFlags;
use super::{Exit, say};
use crate::doors::HttpConfig;
use crate::error::Error;
use crate::names::Naming;
use crate::server::{Scheduler, SchedulerConfig};

const MANUAL: &str = "\
NODES
  A node is known to the scheduler when it reports (`executor serve --scheduler
  http://HOST:PORT`), or when it is named here with --node. One that is named has the partitions of
  its own configuration. Those that report get theirs from the scheduler: evenly by shards, and
  with as few moves as possible when a node joins or leaves. A node that is silent for 1.5 seconds
  takes no more starts; after 2.5 seconds, or 1 second after its connection broke, its partitions go
  to the others. `scheduler-stub nodes` shows who has what.

RESTARTS
  The scheduler may be killed at any time: nodes go on with what they have, and the next one
  listens for 1.5 seconds, adopts what they report, and only then gives out what nobody has. Do not
  run two: nodes follow the one that began last, the other says so and assigns nothing any more.

  A rolling restart goes: the scheduler first (no node has to move for it), then one node after the
  other: SIGTERM, wait for its end (the scheduler moves its partitions to the others, a few at a
  time), start the new one, wait until `scheduler-stub nodes` shows that it serves, then the next.

FRONT DOOR
  With --http-listen clients of AWS Step Functions (SDKs, AWS CLI) and of Tencent ASW speak to the
  scheduler as they are; docs/front-doors.md says how they are pointed to it, and where it differs.
  Calls are signed with keys of --access-keys. Without signatures (--no-auth) it opens on loopback
  alone, and off loopback with a certificate alone.

STORE
  Machines are kept in --store: memory (gone with the process), file (below --store-dir, which no
  node may use at the same time), or redis (may be the same Redis as the nodes'). Executions are
  kept by the nodes, in their store.

METRICS AND HEALTH
  With --metrics a port of its own answers, in plain HTTP:
  /metrics  for Prometheus (docs/metrics.md)
  /healthz  200 while the scheduler serves: its store answers, and a node takes starts; else 503. A
            line says which, and what to do. For people, and for probes that keep load away
  /livez    200 as long as the process answers: for probes that start it again

SIGNALS
  SIGINT, SIGTERM: what was accepted is settled, then the process ends with 0.";

/// The options of `scheduler-stub serve`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct ServeOptions {
    /// Where to listen. Port 0 takes any free port
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "MYRIAD_SCHEDULER_LISTEN",
        default_value = "127.0.0.1:7300"
    )]
    listen: SocketAddr,
    /// Public port of a node; may be given several times
    #[arg(long, value_name = "URL", env = "MYRIAD_NODES", value_delimiter = ',')]
    node: Vec<String>,
    /// Nodes that report before partitions without an owner are given out; 0: whoever reports within 1.5
    /// seconds of the first
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    expect_nodes: usize,
    /// Where machines are kept [default: file where --store-dir is given, redis where --redis-url is, else
    /// memory]
    #[arg(long, value_enum)]
    store: Option<Kind>,
    /// Directory of the file store
    #[arg(long, value_name = "DIR")]
    store_dir: Option<PathBuf>,
    #[command(flatten)]
    redis: RedisFlags,
    /// Region of ARNs and QRNs
    #[arg(long, default_value = "local")]
    region: String,
    /// Account of ARNs, APPID of QRNs
    #[arg(long, default_value = "000000000000")]
    account: String,
    #[command(flatten)]
    http: HttpFlags,
    /// Port of /metrics (Prometheus), /healthz and /livez [default: none]
    #[arg(long, value_name = "ADDRESS:PORT", env = "MYRIAD_SCHEDULER_METRICS")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    tls: TlsFlags,
    /// Keys that seal the tokens of pages, a line `ID KEY` each; the first seals, all open. May be the nodes'
    /// file. Read again when the file changes [default: one key, kept in the store]
    #[arg(long, value_name = "FILE", env = "MYRIAD_CLUSTER_SECRET_FILE")]
    cluster_secret_file: Option<PathBuf>,
    /// Listen where other machines can reach it, without TLS: --listen, if it has no certificate, and --metrics
    #[arg(long)]
    allow_plaintext: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    log: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or target=level
    #[arg(long, default_value = "info", env = "MYRIAD_LOG_LEVEL")]
    log_level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Memory,
    File,
    Redis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl ServeOptions {
    fn scheduler(self, trust: Option<Trust>, http: Option<HttpConfig>) -> SchedulerConfig {
        SchedulerConfig {
            listen: self.listen,
            nodes: self.node,
            expected_nodes: self.expect_nodes,
            naming: Naming { region: self.region, account: self.account },
            trust,
            secret_file: self.cluster_secret_file,
            http,
            metrics: self.metrics,
            ..SchedulerConfig::default()
        }
    }

    /// Whether what is said in plain text stays where it may; `encrypted`: whether nodes and clients speak TLS.
    fn check_plaintext(&self, encrypted: bool) -> Result<(), String> {
        if self.allow_plaintext {
            return Ok(());
        }
        let listen = self.listen;
        if !listen.ip().is_loopback() && !encrypted {
            return Err(format!(
                "--listen {listen}: other machines could reach it, and what they say would not be encrypted; listen on \
                 127.0.0.1, give it certificates (--tls-cert), or accept that with --allow-plaintext"
            ));
        }
        match self.metrics.filter(|metrics| !metrics.ip().is_loopback()) {
            None => Ok(()),
            Some(metrics) => Err(format!(
                "--metrics {metrics}: anyone on the network could read metrics, for this port speaks plain text; stay on \
                 127.0.0.1, or accept that with --allow-plaintext (--listen goes on with TLS where it has a certificate)"
            )),
        }
    }

    fn store(&self) -> Result<StoreConfig, String> {
        let redis = self.redis.config();
        let kind = match (self.store, &self.store_dir, &redis) {
            (Some(kind), ..) => kind,
            (None, Some(_), Some(_)) => {
                return Err("both --store-dir and --redis-url are given: say --store file or --store redis"
                    .to_owned());
            }
            (None, Some(_), None) => Kind::File,
            (None, None, Some(_)) => Kind::Redis,
            (None, None, None) => Kind::Memory,
        };
        match (kind, &self.store_dir, redis) {
            (Kind::Memory, ..) => Ok(StoreConfig::Memory),
            (Kind::File, Some(dir), _) => Ok(StoreConfig::File(dir.clone())),
            (Kind::File, None, _) => Err("--store file needs --store-dir".to_owned()),
            (Kind::Redis, _, Some(redis)) => Ok(StoreConfig::Redis(redis)),
            (Kind::Redis, _, None) => Err("--store redis needs --redis-url".to_owned()),
        }
    }
}

fn usage(message: &str) -> Exit {
    eprintln!("error: {message}");
    Exit::Usage
}

/// Runs until a signal.
pub(super) async fn run(options: ServeOptions) -> Exit {
    let trust = match super::trust(&options.tls) {
        Ok(trust) => trust,
        Err(error) => return usage(&error.to_string()),
    };
    if let Err(message) = options.check_plaintext(trust.is_some()) {
        return usage(&message);
    }
    let store_config = match options.store() {
        Ok(store) => store,
        Err(message) => return usage(&message),
    };
    let http = match options.http.config() {
        Ok(http) => http,
        Err(message) => return usage(&message),
    };
    let format = match options.log {
        LogFormat::Human => telemetry::logs::Format::Human,
        LogFormat::Json => telemetry::logs::Format::Json,
    };
    if let Err(message) = telemetry::logs::init(format, &options.log_level, telemetry::logs::LINES) {
        return usage(&message);
    }
    let mut signals = match super::signals() {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    // A store that is not there yet is waited for: in a cluster it comes back without anybody restarting the scheduler.
    let opened = tokio::select! {
        opened = open(&store_config) => opened,
        _ = signals.asked_to_end() => return Exit::Ok,
    };
    let store = match opened {
        Ok(store) => store,
        Err(error) => {
            eprintln!("error: {}: {error}", store_config.describe());
            return Exit::Internal;
        }
    };
    let started = tokio::select! {
        started = Scheduler::start(options.scheduler(trust, http), store) => started,
        _ = signals.asked_to_end() => return Exit::Ok,
    };
    let scheduler = match started {
        Ok(scheduler) => scheduler,
        Err(error @ Error::Invalid { .. }) => return usage(&error.to_string()),
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Internal;
        }
    };
    if let Some(url) = scheduler.http_url() {
        say(&format!("front door listens on {url}"));
    }
    if let Some(address) = scheduler.metrics_address() {
        say(&format!("metrics on http://{address}/metrics"));
    }
    say(&format!("scheduler listens on {}", scheduler.address()));
    signals.asked_to_end().await;
    scheduler.shut_down().await;
    Exit::Ok
}

async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, journal::StoreError> {
    executor::store::patient(executor::store::open(config)?, config.describe()).connect().await
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: ServeOptions,
    }

    fn checked(flags: &[&str], encrypted: bool) -> Result<(), String> {
        let cli = Cli::parse_from(["serve"].iter().chain(flags));
        cli.options.check_plaintext(encrypted)
    }

    #[test]
    fn ports_that_others_can_reach_in_plain_text_are_opened_only_where_that_is_accepted() {
        let open = ["--metrics", "0.0.0.0:7390"];
        assert!(checked(&open, true).is_err_and(|message| message.contains("--metrics 0.0.0.0:7390")));
        assert!(
            checked(&["--listen", "0.0.0.0:1"], false).is_err_and(|message| message.contains("--listen"))
        );
        for fine in [&["--metrics", "127.0.0.1:0"][..], &[], &["--metrics", "0.0.0.0:1", "--allow-plaintext"]]
        {
            assert_eq!(checked(fine, false), Ok(()), "{fine:?}");
        }
        assert_eq!(checked(&["--listen", "0.0.0.0:1"], true), Ok(()));
    }
}
