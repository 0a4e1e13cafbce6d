//! `scheduler-stub start`.

use std::path::Path;

use clap::Args;
use proto::executor::v1::{DescribeExecutionResponse, ExecutionStatus};
use proto::scheduler::v1::StartExecutionRequest;
use tonic::Status;

use super::client::{Connection, LOOK_EVERY, described, ended};
use super::files::read;
use super::logging::Logging;
use super::trace::Trace;
use super::{Exit, say};

/// `start`
#[derive(Debug, Args)]
pub(super) struct StartOptions {
    /// ARN, QRN or name of the machine
    machine: String,
    /// JSON; `@FILE` reads a file, `-` reads stdin
    #[arg(long, default_value = "{}")]
    input: String,
    /// Name of the execution: 1 to 80 characters [default: generated]
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Wait until it has ended, and show how; exit 1 if it did not succeed
    #[arg(long)]
    wait: bool,
    /// Run it synchronously, and show how it ended, as --wait does: EXPRESS machines only, at most once
    #[arg(long, conflicts_with = "wait")]
    sync: bool,
    #[command(flatten)]
    logging: Logging,
    #[command(flatten)]
    trace: Trace,
    #[command(flatten)]
    connection: Connection,
}

/// Starts one execution.
pub(super) async fn start(options: StartOptions) -> Exit {
    ended(run(options).await)
}

async fn run(options: StartOptions) -> Result<Exit, Status> {
    let input = match options.input.strip_prefix('@') {
        Some(file) => read(Path::new(file))?,
        None if options.input == "-" => read(Path::new("-"))?,
        None => options.input.clone().into(),
    };
    let mut client = options.connection.client().await?;
    let arn = client.arn_of(&options.machine).await?;
    let request = StartExecutionRequest {
        state_machine_arn: arn,
        name: options.name,
        input: input.clone(),
        logging: options.logging.said(),
        trace: options.trace.said(),
    };
    if options.sync {
        let ended = client.start_sync_as(request).await?;
        return Ok(show(&DescribeExecutionResponse {
            summary: ended.summary,
            input,
            output: ended.output,
            error: ended.error,
            cause: ended.cause,
            ..DescribeExecutionResponse::default()
        }));
    }
    let started = client.start_as(request).await?;
    say(&started.execution_arn);
    if !options.wait {
        return Ok(Exit::Ok);
    }
    loop {
        let execution = client.describe(&started.execution_arn).await?;
        let status = execution.summary.as_ref().map(|summary| summary.status).unwrap_or_default();
        if status != ExecutionStatus::Running as i32 {
            return Ok(show(&execution));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Shows how an execution ended.
fn show(execution: &DescribeExecutionResponse) -> Exit {
    say(&described(execution));
    let status = execution.summary.as_ref().map(|summary| summary.status).unwrap_or_default();
    if status == ExecutionStatus::Succeeded as i32 { Exit::Ok } else { Exit::Finding }
}
