//! `executor serve`: a node as a process.

use std::path::PathBuf;

use archive::ArchiveError;
use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use trust::TrustError;

use super::Exit;
use crate::config::{Config, ConfigError, Options, StoreConfig};
use crate::integrations::IntegrationError;
use crate::node::{Drained, Node, StartError};
use crate::store;

const MANUAL: &str = "\
WHERE SETTINGS COME FROM
  Each setting is taken from its flag, else from its environment variable, else from the file of
  --config, else it has its default. The file is TOML, with the flags' names as keys:

    listen = \"127.0.0.1:7400\"
    store = \"redis\"
    redis-url = \"redis://127.0.0.1:6379\"
    bind = [\"arn:aws:lambda:*:function:ocr-*=ocr\"]

  A key or a MYRIAD_ variable that is no setting is an error. --print-config prints the outcome as
  such a file, with *** in the place of a password.

WHAT THE DEFAULTS PROMISE
  memory   nothing survives the process: for trying out
  file     an acknowledged execution survives kill -9 and the loss of power; it lives on this
           machine's disk
  redis    an acknowledged execution survives what Redis survives: with `appendfsync always` kill
           -9 of every process and the loss of power. The node reads Redis' settings at start and
           says in its log which promise they keep
  Only loopback is listened on, unless --allow-plaintext is said.

TRUST
  With --tls-cert, --tls-key, --tls-ca and --tls-allow (or --tls-allow-file) every gRPC port speaks
  TLS 1.2 or 1.3, asks for a certificate of the authority, and gives its holder the roles that its
  names have:
    caller     starts, stops, describes, lists      scheduler  the same, and ids for batches
    worker     takes tasks (worker:POOL: of a pool)  node       reports to the scheduler
    operator   everything but taking tasks and reporting
  Servers are known by role as well (node, scheduler), not by address. The scheduler has the same
  flags. Files are looked at every 5 s; a connection ends when they give its peer other roles or
  none, or when its certificate expires.

WHOSE STORE IT IS
  The first node of a cluster writes a record into its store: the cluster's id, its number of
  partitions, the format of its blocks. A node that is configured for another number of partitions,
  or too old for the format, says what to do and ends with exit code 2; a store that cannot be
  reached yet is waited for. With --state-dir the node remembers the
  id: a store that is empty although it should not be, or that belongs to another cluster, is
  refused after a restart too. --accept-empty-store begins a new cluster in an empty store. While it
  runs, a node whose store is emptied writes nothing into it and says NOT_SERVING.

OBJECTS OF DISTRIBUTED MAPS
  --objects-dir DIR serves s3:getObject, s3:listObjectsV2 and s3:putObject: the object s3://b/x/y is
  the file DIR/b/x/y. Buckets are folders that must be there; symbolic links are not followed;
  objects have 64 MiB at most. Nodes of one installation need the same files. Files that begin
  with .myriad- are unfinished ones and no objects: what a crash has left of them can be deleted.

WHAT TASKS CALL
  A task whose function is bound to a pool (--bind) is done by its workers. Others are called by the
  node itself: http:invoke always, functions with --lambda-endpoint, Tencent Cloud's APIs and
  functions with --tencent-endpoint, states:startExecution with --scheduler. Only public addresses
  are called, after redirects too, unless --egress-allow or --egress-allow-private says more. Calls
  of cloud APIs are signed with temporary credentials of the machine's role, which --credentials
  gets. --connections names a file such as

    [[connection]]
    arn = \"arn:aws:events:us-east-1:123456789012:connection/pay/1\"
    hosts = [\"pay.example\", \"*.pay.example\"]
    api-key = { header = \"x-api-key\", value = { file = \"/etc/myriad/pay-key\" } }

  with basic = { user, password } or oauth = { token-url, client-id, client-secret } in the place of
  api-key. Nothing of it goes to other hosts, nor over plain http without insecure = true; roles =
  [\"ARN\"] keeps it from machines with other roles. Secrets are { file = \"PATH\" } or
  { env = \"VARIABLE\" }, and never stand in the file.
  Keys that may assume roles come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
  AWS_SESSION_TOKEN, or TENCENTCLOUD_SECRET_ID, TENCENTCLOUD_SECRET_KEY and TENCENTCLOUD_TOKEN.

SEVERAL NODES
  Nodes with one Redis, one --redis-prefix and one --scheduler share the partitions of their
  cluster: the scheduler says which node has which, and a node begins without any. Whatever the
  scheduler says, the store takes the writes of a partition's last owner only. While the scheduler
  is away nodes go on with what they have. A node of another store or cluster, with another number
  of partitions, or whose address leads elsewhere, gets none: its log, the scheduler's and
  `scheduler-stub nodes` say why. --scheduler needs the redis store. A node without --scheduler has
  all partitions: start one only. Calls for a partition that a node does not have are refused as
  NotOwner.

HEALTH
  The port of --metrics answers /healthz with 200 while the node serves and with 503 while it does
  not, with a line that says why: for people, and for probes that keep load away. /livez is 200 as
  long as the process answers: for probes that start it again.

SIGNALS
  SIGTERM, SIGINT  drain: health says NOT_SERVING; the scheduler moves the partitions elsewhere, for
                   half of --drain-deadline at most; then starts are refused, what is acknowledged
                   is made durable, streams end; exit 0 within --drain-deadline, else 3 (nothing
                   acknowledged is lost: it is recovered from the store)
  a second one     exit at once, 3

EXAMPLES
  executor serve --store-dir ./data --bind 'arn:aws:lambda:*=workers'
  MYRIAD_SHARDS=4 executor serve --config /etc/myriad.toml --log json
  curl -s 127.0.0.1:7490/healthz";

/// The options of `executor serve`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct ServeOptions {
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "MYRIAD_CONFIG", help_heading = "Configuration")]
    config: Option<PathBuf>,
    /// Print the configuration as it would be used, and exit
    #[arg(long, help_heading = "Configuration")]
    print_config: bool,
    #[command(flatten)]
    options: Options,
}

/// Runs until a signal, or a Drain call, has ended the node.
pub(super) fn run(options: ServeOptions) -> Exit {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if asks_for_a_port_and_none(&options.options) {
        return refuse(
            &"--no-metrics (also the environment variable MYRIAD_NO_METRICS): --metrics asks for a port: leave one of them out",
        );
    }
    let resolved =
        Options::check_environment(names).and_then(|()| options.options.resolve(options.config.as_deref()));
    let (config, options_used) = match resolved {
        Ok(resolved) => resolved,
        Err(error) => return refuse(&error),
    };
    if let Some(message) = stands_alone(&config) {
        return refuse(&message);
    }
    if options.print_config {
        return print(&config, &options_used);
    }
    let (log, level, lines) = (options_used.log(), options_used.log_level(), options_used.log_limit());
    if let Err(error) = telemetry::logs::init(log.into(), level, lines) {
        return refuse(&error);
    }
    // Before anything is started: a signal that comes early must drain too, not kill.
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("error: the signals cannot be watched: {error}");
            return Exit::Internal;
        }
    };
    let connect = match store::open(&config.store) {
        Ok(connect) => connect,
        Err(error) => {
            eprintln!("error: {}: {error}", config.store.describe());
            return Exit::Internal;
        }
    };
    let node = match Node::start(config, connect) {
        Ok(node) => node,
        Err(error) => {
            eprintln!("error: {error}");
            return exit_of_start(&error);
        }
    };
    supervise(&node, signals)
}

/// A value that cannot work, on the command line or in a file, has to be changed; a file that cannot be read may be there later.
fn exit_of_start(error: &StartError) -> Exit {
    match error {
        StartError::Config(ConfigError::Value { .. })
        | StartError::Integrations(
            IntegrationError::Config(_) | IntegrationError::File { .. } | IntegrationError::Keys { .. },
        )
        | StartError::Trust(TrustError::Settings(_) | TrustError::Allow(_))
        | StartError::Archive(ArchiveError::Setting { .. }) => Exit::Usage,
        _ => Exit::Internal,
    }
}

/// A port from the environment is what a flag may take back.
fn asks_for_a_port_and_none(options: &Options) -> bool {
    let both = options.metrics.is_some() && options.no_metrics == Some(true);
    both && std::env::var_os("MYRIAD_METRICS").is_none()
}

/// Why a node that follows a scheduler cannot have this store.
fn stands_alone(config: &Config) -> Option<String> {
    let scheduler = config.scheduler.as_ref()?;
    let alone = matches!(config.store, StoreConfig::Memory | StoreConfig::File(_));
    alone.then(|| {
        format!(
            "--scheduler {scheduler} (also the environment variable MYRIAD_SCHEDULER) makes this node one of a cluster, \
             and its store is {}, in which no other node finds what this one acknowledges: give it the cluster's Redis \
             (--redis-url), or run it by itself, without a scheduler; `scheduler-stub serve --node URL` sends starts to \
             such a node",
            config.store.describe()
        )
    })
}

fn refuse(error: &dyn std::fmt::Display) -> Exit {
    eprintln!("error: {error}");
    Exit::Usage
}

#[allow(clippy::print_stdout, reason = "this is what was asked for")]
fn print(config: &Config, options: &Options) -> Exit {
    match options.print(config) {
        Ok(text) => {
            print!("{text}");
            Exit::Ok
        }
        Err(error) => {
            eprintln!("error: the configuration cannot be printed: {error}");
            Exit::Internal
        }
    }
}

/// The signals that end the process, and the runtime that waits for them.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        drop(entered);
        Ok(Self { runtime, terminate, interrupt })
    }
}

/// The first signal drains, the second one ends the process.
fn supervise(node: &Node, signals: Signals) -> Exit {
    let Signals { runtime, mut terminate, mut interrupt } = signals;
    runtime.block_on(async {
        tokio::select! {
            drained = node.wait() => return exit_of(&drained),
            () = either(&mut terminate, &mut interrupt) => {}
        }
        tracing::info!("signal received: draining; another one ends the process at once");
        node.drain();
        tokio::select! {
            drained = node.wait() => exit_of(&drained),
            () = either(&mut terminate, &mut interrupt) => {
                tracing::error!("second signal: the process ends now; what is acknowledged is recovered from the store");
                Exit::Internal
            }
        }
    })
}

async fn either(term: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn exit_of(drained: &Drained) -> Exit {
    match drained {
        Drained::Clean => Exit::Ok,
        Drained::Refused { why } => refuse(why),
        Drained::Cut { .. } => Exit::Internal,
    }
}
