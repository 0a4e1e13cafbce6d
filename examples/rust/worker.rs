//! A worker with two functions: `greet`, which answers at once, and `await-file`, which waits until a file is there.
//!
//! The crate `worker` takes tasks, opens streams again, sends heartbeats and reports outcomes (docs/workers.md); what is left is
//! a function from a task to a result. It is run as
//!
//! ```text
//! cargo run -p examples --bin example-worker -- --node 127.0.0.1:7400 --pool demo
//! ```
//!
//! The first Ctrl-C or SIGTERM lets it finish what it has; a second one ends it at once. Exit status: 0, 1 when a node refuses
//! it, 2 for wrong usage.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use proto::executor::v1::{Task, TaskFailure};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use trust::TlsFlags;
use worker::{Settings, WorkerError};

/// How often `await-file` looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A worker for the functions `greet` and `await-file`.
#[derive(Debug, Parser)]
struct Cli {
    /// Public address of a node; repeat it for each
    #[arg(long, default_value = "127.0.0.1:7400")]
    node: Vec<String>,
    /// The pool that the nodes' --bind sends functions to
    #[arg(long, default_value = "demo")]
    pool: String,
    /// Functions that run at once
    #[arg(long, default_value_t = 64)]
    concurrency: u32,
    #[command(flatten)]
    tls: TlsFlags,
}

/// Runs one task.
async fn call(task: Task) -> Result<Bytes, TaskFailure> {
    let input: Value = serde_json::from_slice(&task.input).map_err(|error| failure("BadInput", error))?;
    // `arn:aws:lambda:eu-west-1:123456789012:function:greet`, or the name alone.
    let name = task.function.rsplit(':').next().unwrap_or_default();
    // Requests that a function makes belong to the execution's trace with these headers (docs/tracing.md).
    let trace = task.trace.as_ref().map(|trace| trace.traceparent.as_str());
    tracing::info!(function = name, trace, "begun");
    let output = match name {
        "greet" => json!({ "greeting": format!("Hello, {}!", input["name"].as_str().unwrap_or("world")) }),
        "await-file" => await_file(&input).await?,
        other => return Err(failure("UnknownFunction", format!("this worker has no {other:?}"))),
    };
    tracing::info!(function = name, "done");
    Ok(output.to_string().into())
}

/// Bounded by the state: when its time is over, the task is cancelled, and this future dropped.
async fn await_file(input: &Value) -> Result<Value, TaskFailure> {
    let path = input["path"].as_str().ok_or_else(|| failure("BadInput", "`path` is missing"))?;
    while !tokio::fs::try_exists(Path::new(path)).await.map_err(|error| failure("NoAccess", error))? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(json!({ "path": path, "found": true }))
}

/// What `Retry` and `Catch` of the state match, and the cause.
fn failure(error: &str, cause: impl ToString) -> TaskFailure {
    TaskFailure { error: error.to_owned(), cause: cause.to_string() }
}

/// The signals that ask the worker to end.
struct Signals(Signal, Signal);

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_ansi(colours).with_writer(std::io::stderr).init();
    match work(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let usage = matches!(error.downcast_ref(), Some(WorkerError::Settings(_)));
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

async fn work(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings {
        nodes: cli.node,
        pool: cli.pool,
        name: format!("example-{}", std::process::id()),
        concurrency: cli.concurrency,
        heartbeat: Some(Duration::from_secs(5)),
        trust: cli.tls.settings().trust()?,
    };
    let mut signals = Signals(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worked = worker::run(settings, call, async { drop(stopped.await) });
    tokio::pin!(worked);
    tokio::select! {
        ended = &mut worked => return Ok(ended?),
        () = signals.next() => drop(stop),
    }
    tokio::select! {
        ended = worked => Ok(ended?),
        () = signals.next() => Err("ended before its tasks were done: others will do them".into()),
    }
}
