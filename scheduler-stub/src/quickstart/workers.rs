//! A worker inside the process, over the real protocol: the streams that a worker in any other program and language would
//! use.

use bytes::Bytes;
use proto::executor::v1::{Task, TaskFailure};
use trust::Trust;
use worker::{Settings, WorkerError};

use super::functions;

/// The pool of the quick start's workers.
pub const POOL: &str = "demo";

/// What the quick start's node binds to it: functions by their ARN, and one that an example invokes by its name.
pub const FUNCTIONS: [&str; 2] = ["arn:aws:lambda:local:*", "reserve-stock"];

/// Functions that a worker runs at once.
const CONCURRENCY: u32 = 512;

/// Works for a node until it is dropped.
///
/// # Errors
/// The node refuses the worker.
pub async fn serve(node: String, name: String, trust: Option<Trust>) -> Result<(), WorkerError> {
    let settings = Settings {
        nodes: vec![node],
        pool: POOL.to_owned(),
        name,
        concurrency: CONCURRENCY,
        heartbeat: None,
        trust,
    };
    worker::run(settings, run, std::future::pending()).await
}

async fn run(task: Task) -> Result<Bytes, TaskFailure> {
    let answer = match serde_json::from_slice(&task.input) {
        Ok(input) => functions::call(&task.function, &input),
        Err(error) => Err(("BadRequest", error.to_string())),
    };
    let failed = |(error, cause): functions::Failure| TaskFailure { error: error.to_owned(), cause };
    answer.map(|output| output.to_string().into()).map_err(failed)
}
