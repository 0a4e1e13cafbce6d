//! Everything in one process: a store, a node, a scheduler, workers, and example workflows that run.
//!
//! Nothing here is a shortcut: the parts speak gRPC over loopback ports, as they do when each runs on a
//! machine of its own. Invariants: it ends cleanly at any moment (SIGINT, SIGTERM), leaves nothing behind
//! unless --dir was given, and says by its exit code whether it came to its end.

mod calls;
pub mod examples;
pub mod functions;
mod load;
mod report;
pub mod workers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use executor::config::{Config, StoreConfig};
use executor::node::Node;
use executor::shard::Binding;
use journal::store::Connect;
use proto::executor::v1;
use proto::scheduler::v1::CreateStateMachineRequest;
use tokio::task::JoinSet;
use trust::TlsFlags;
use worker::WorkerError;

use crate::cli::{Exit, say};
use crate::client::Client;
use crate::doors::{Callers, HttpConfig};
use crate::error::Error;
use crate::server::{Scheduler, SchedulerConfig};
use crate::timeline;
use calls::Clouds;
use examples::{CALLING, EXAMPLES};

/// How long each part may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where --serve listens unless told otherwise.
const SERVE_AT: ([u8; 4], u16) = ([127, 0, 0, 1], 7300);
/// Where the front door is with --serve unless told otherwise.
const FRONT_AT: ([u8; 4], u16) = ([127, 0, 0, 1], 7380);

/// Threads of the front door.
const FRONT_THREADS: usize = 1;

/// Workers of the demo pool.
const WORKERS: usize = 2;

const MANUAL: &str = "\
WHAT IT DOES
  Starts an embedded store, a node, a scheduler and a pool of workers in this process, all on
  loopback ports, creates four example machines, runs executions of them, shows how they fared,
  and one of them event by event.

    order-pipeline  STANDARD  Task, Choice, Map with a Parallel inside, Retry, Catch
    approval        STANDARD  Wait and Choice in a loop with a limit
    parcel          STANDARD  an HTTP API behind OAuth, and a Lambda function
    video-caption   STANDARD  TCSL: media and speech jobs that are waited for, and functions

  Workers do the tasks of the first two, thousands of times. Those of the others the node does
  itself, over the network, signed with temporary keys of their roles: it calls stubs of the clouds
  (`scheduler-stub cloud`) and of the authorization service (`scheduler-stub auth`), which check
  what they receive. Some samples fail on purpose: a declined card, an empty order, a rejected
  expense, a parcel that is too heavy, and one that is too valuable.

EXAMPLES
  scheduler-stub quickstart
  scheduler-stub quickstart --serve              stays up, and says what to try; clients
                                                 of Step Functions and ASW are served
  scheduler-stub quickstart --dir ./data --serve executions survive to the next start there";

/// The options of `scheduler-stub quickstart`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub struct Options {
    /// How many executions to run
    #[arg(long, value_name = "COUNT", default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    executions: u32,
    /// Stay up until SIGINT or SIGTERM
    #[arg(long)]
    serve: bool,
    /// Keep the store in this directory [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the store in memory: nothing is written to disk
    #[arg(long, conflicts_with = "dir")]
    memory: bool,
    /// Where the scheduler listens [default: 127.0.0.1:7300 with --serve, else any free port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where clients of Step Functions and ASW are served, on loopback [default: 127.0.0.1:7380 with --serve, else nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    http_listen: Option<SocketAddr>,
    /// Have them sign with keys of this file (docs/front-doors.md) [default: everybody on this machine is let in]
    #[arg(long, value_name = "FILE")]
    access_keys: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsFlags,
}

impl Options {
    /// The front door, if there is to be one.
    fn http(&self) -> Option<HttpConfig> {
        let default = self.serve.then(|| SocketAddr::from(FRONT_AT));
        let callers = match &self.access_keys {
            Some(file) => Callers::Keys { file: file.clone(), auth: None },
            None => Callers::Anybody,
        };
        let config = |listen| HttpConfig { listen, threads: FRONT_THREADS, callers, tls: None };
        self.http_listen.or(default).map(config)
    }
}

/// Everything that runs.
struct Parts {
    node: Node,
    scheduler: Scheduler,
    workers: JoinSet<Result<(), WorkerError>>,
    clouds: Clouds,
    /// Removed when it is dropped; after the node has ended.
    _dir: Option<tempfile::TempDir>,
}

/// Runs the quick start to its end.
pub async fn run(options: Options) -> Exit {
    // What goes wrong in the parts is said on stderr; that they start is said by ourselves.
    if let Err(message) =
        telemetry::logs::init(telemetry::logs::Format::Human, "warn", telemetry::logs::LINES)
    {
        eprintln!("error: {message}");
        return Exit::Internal;
    }
    let mut signals = match crate::cli::signals() {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let mut parts = match start(&options).await {
        Ok(parts) => parts,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Internal;
        }
    };
    let shown = tokio::select! {
        shown = show(&options, &parts) => shown,
        asked = signals.asked_to_end() => Ok(Exit::from(asked)),
    };
    let exit = shown.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        Exit::Internal
    });
    if options.serve && matches!(exit, Exit::Ok | Exit::Finding) {
        signals.asked_to_end().await;
        say("ending");
    }
    parts.workers.abort_all();
    parts.node.drain();
    parts.scheduler.shut_down().await;
    parts.node.wait().await;
    parts.clouds.shut_down().await;
    exit
}

async fn start(options: &Options) -> Result<Parts, Error> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Error::unavailable(format!("{what}: {error}"));
    let (store_config, dir) = match &options.dir {
        Some(path) => (StoreConfig::File(path.clone()), None),
        None if options.memory => (StoreConfig::Memory, None),
        None => {
            let dir = tempfile::Builder::new().prefix("myriad-").tempdir();
            let dir = dir.map_err(|error| failed("no temporary directory, give one with --dir", &error))?;
            (StoreConfig::File(dir.path().to_owned()), Some(dir))
        }
    };
    let trust = crate::cli::trust(&options.tls)?;
    let connect: Arc<dyn Connect> = executor::store::open(&store_config)?;
    let store = connect.connect().await?;
    let durability = store.durability().await?;

    let clouds = Clouds::start(trust.clone())?;
    let bindings = workers::FUNCTIONS.iter();
    let bindings =
        bindings.map(|function| Binding { pattern: (*function).into(), pool: workers::POOL.into() });
    let config = Config {
        node_id: "quickstart".into(),
        store: store_config,
        bindings: bindings.collect(),
        integrations: clouds.integrations(),
        tls: options.tls.settings(),
        ..Config::embedded()
    };
    let node = Node::start(config, connect).map_err(|error| failed("the node", &error))?;
    if !tokio::time::timeout(PATIENCE, node.ready()).await.unwrap_or(false) {
        return Err(Error::unavailable(format!("the node did not become ready within {PATIENCE:?}")));
    }
    let public = node.addresses().public.to_string();
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let default = if options.serve { SocketAddr::from(SERVE_AT) } else { free };
    let config = SchedulerConfig {
        listen: options.listen.unwrap_or(default),
        nodes: vec![public.clone()],
        trust: trust.clone(),
        http: options.http(),
        ..SchedulerConfig::default()
    };
    let scheduler = Scheduler::start(config, store).await?;
    scheduler.directory().wait_for_shards(PATIENCE).await?;

    let mut pool = JoinSet::new();
    for number in 0..WORKERS {
        pool.spawn(workers::serve(public.clone(), format!("worker-{number}"), trust.clone()));
    }
    let shards = node.addresses().data.len();
    say(&format!("store      {} ({})", durability.store, durability.detail));
    say(&format!("node       {public}, {shards} shards"));
    say(&format!("scheduler  {}", scheduler.address()));
    if let Some(url) = scheduler.http_url() {
        say(&format!("front door {url}"));
    }
    say(&format!("workers    {WORKERS}, pool {:?}", workers::POOL));
    say(&format!("clouds     {clouds}"));
    Ok(Parts { node, scheduler, workers: pool, clouds, _dir: dir })
}

async fn show(options: &Options, parts: &Parts) -> Result<Exit, Error> {
    let address = parts.scheduler.address().to_string();
    let trust = crate::cli::trust(&options.tls)?;
    let mut client = Client::connect(&address, trust.as_ref()).await?;
    say("");
    let mut machines = Vec::with_capacity(EXAMPLES.len() + CALLING.len());
    for example in EXAMPLES.iter().chain(&CALLING) {
        let arn = create(&mut client, example).await?;
        say(&format!("machine    {arn}\n           from {}", example.file));
        machines.push(arn);
    }
    let calling = machines.split_off(EXAMPLES.len());
    say("");
    let public = parts.node.addresses().public.to_string();
    let ran = load::run(&client, (&public, trust), &machines, options.executions as usize).await?;
    say(&report::render(&ran));
    let Some(sample) = &ran.sample else {
        return Err(Error::unavailable("no execution was acknowledged"));
    };
    match client.history(sample).await {
        Ok(events) => {
            say(&format!("One of them, event by event ({sample}):\n\n{}", timeline::render(&events)))
        }
        Err(status) => eprintln!("warning: the history of {sample}: {}", status.message()),
    }
    let called = parts.clouds.tour(&client, &calling).await?;
    say(&report::next_steps(options.serve, &address, parts.scheduler.http_url(), sample));
    Ok(if ran.is_complete() && called { Exit::Ok } else { Exit::Finding })
}

async fn create(client: &mut Client, example: &examples::Example) -> Result<String, Error> {
    let dialect = match example.dialect {
        asl::Dialect::Asl => v1::Dialect::Asl,
        asl::Dialect::Tcsl => v1::Dialect::Tcsl,
    };
    let request = CreateStateMachineRequest {
        name: example.name.into(),
        definition: example.definition.as_bytes().into(),
        mode: v1::Mode::from(example.mode).into(),
        dialect: dialect.into(),
        role_arn: String::new(),
        comment: format!("from {}", example.file),
        ..CreateStateMachineRequest::default()
    };
    match client.create(request).await {
        Ok(created) => Ok(created.arn),
        Err(status) => Err(Error::unavailable(format!("{}: {}", example.name, status.message()))),
    }
}
