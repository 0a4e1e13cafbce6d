//! The commands for executions, and how each command reaches the scheduler.

use std::time::Duration;

use asl::Timestamp;
use clap::{Args, ValueEnum};
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::{DescribeExecutionResponse, ExecutionStatus, ExecutionSummary};
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;
use trust::{TlsFlags, Trust};

use super::{Exit, complain, say};
use crate::client::Client;
use crate::dispatch::endpoint;
use crate::error::Error;
use crate::timeline;

/// Between two looks at an execution that is waited for.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(super) struct Connection {
    /// Address of the scheduler
    #[arg(long, value_name = "URL", env = "MYRIAD_SCHEDULER", default_value = "http://127.0.0.1:7300")]
    scheduler: String,
    #[command(flatten)]
    tls: TlsFlags,
}

impl Connection {
    /// A connection to a node, whose address the scheduler has given.
    pub(super) async fn node(&self, address: &str) -> Result<ExecutorClient<Channel>, Status> {
        let trust = super::trust(&self.tls)?;
        let towards = trust.as_ref().map(Trust::towards_nodes);
        let channel = trust::channel(&endpoint(address)?, towards.as_ref()).await;
        channel.map(ExecutorClient::new).map_err(|error| {
            let why = trust::with_causes(&error.to_string(), &error);
            Status::unavailable(format!("no node answers at {address} ({why}): see `scheduler-stub nodes`"))
        })
    }

    pub(super) async fn client(&self) -> Result<Client, Status> {
        let wrong = |error: Error| match error {
            Error::Invalid { message, .. } => Status::invalid_argument(format!("--scheduler: {message}")),
            error => error.into(),
        };
        let trust = super::trust(&self.tls).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Client::connect(&self.scheduler, trust.as_ref()).await.map_err(wrong)
    }
}

/// `stop`
#[derive(Debug, Args)]
pub(super) struct StopOptions {
    /// Id, ARN or QRN
    execution: String,
    /// Error name to record
    #[arg(long, default_value = "", hide_default_value = true)]
    error: String,
    /// Cause to record
    #[arg(long, default_value = "", hide_default_value = true)]
    cause: String,
    #[command(flatten)]
    connection: Connection,
}

/// `redrive`
#[derive(Debug, Args)]
pub(super) struct RedriveOptions {
    /// Id, ARN or QRN
    execution: String,
    /// Names this redrive: asked for again with the same token, it is done once
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    client_token: String,
    #[command(flatten)]
    connection: Connection,
}

/// `describe`
#[derive(Debug, Args)]
pub(super) struct ExecutionOptions {
    /// Id, ARN or QRN
    execution: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatusFilter {
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Aborted,
}

/// `list`
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// ARN, QRN or name of the machine
    machine: String,
    /// Only those with this status
    #[arg(long, value_enum)]
    status: Option<StatusFilter>,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HistoryFormat {
    /// One line an event, indented.
    Timeline,
    /// One JSON object a line, in the shape of the Step Functions API.
    Json,
}

/// `history`
#[derive(Debug, Args)]
pub(super) struct HistoryOptions {
    /// Id, ARN or QRN
    execution: String,
    /// How events look
    #[arg(long, value_enum, default_value_t = HistoryFormat::Timeline)]
    format: HistoryFormat,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn time(ms: u64) -> String {
    if ms == 0 { "-".to_owned() } else { Timestamp(i64::try_from(ms).unwrap_or(i64::MAX)).to_string() }
}

/// `EXECUTION_STATUS_TIMED_OUT` is `TIMED_OUT` to people.
fn status_name(number: i32) -> String {
    let name = ExecutionStatus::try_from(number).unwrap_or_default().as_str_name();
    name.trim_start_matches("EXECUTION_STATUS_").to_owned()
}

pub(super) fn ended(result: Result<Exit, Status>) -> Exit {
    result.unwrap_or_else(|status| complain(&status))
}

/// `stop`
pub(super) async fn stop(options: StopOptions) -> Exit {
    let run = async {
        let mut client = options.connection.client().await?;
        let at = client.stop(&options.execution, &options.error, &options.cause).await?;
        let found = client.describe(&options.execution).await?.summary.unwrap_or_default();
        if found.status == ExecutionStatus::Aborted as i32 {
            say(&format!("stopped at {}", time(at)));
        } else {
            say(&format!("had already ended at {}: {}", time(at), status_name(found.status)));
        }
        Ok(Exit::Ok)
    };
    ended(run.await)
}

/// `redrive`
pub(super) async fn redrive(options: RedriveOptions) -> Exit {
    let run = async {
        let mut client = options.connection.client().await?;
        let at = client.redrive(&options.execution, &options.client_token).await?;
        say(&format!("redriven at {}", time(at)));
        Ok(Exit::Ok)
    };
    ended(run.await)
}

/// `describe`
pub(super) async fn describe(options: ExecutionOptions) -> Exit {
    let run = async {
        let execution = options.connection.client().await?.describe(&options.execution).await?;
        say(&described(&execution));
        Ok(Exit::Ok)
    };
    ended(run.await)
}

pub(super) fn described(execution: &DescribeExecutionResponse) -> String {
    let summary = execution.summary.clone().unwrap_or_default();
    let ExecutionSummary {
        execution_arn,
        execution_id,
        machine_arn,
        status,
        start_time_ms,
        stop_time_ms,
        ..
    } = summary;
    let mut lines = vec![
        format!("execution  {execution_arn}"),
        format!("id         {execution_id}"),
        format!("machine    {machine_arn}"),
        format!("status     {}", status_name(status)),
        format!("started    {}", time(start_time_ms)),
    ];
    if stop_time_ms != 0 {
        let took = stop_time_ms.saturating_sub(start_time_ms);
        lines.push(format!("stopped    {} (after {took} ms)", time(stop_time_ms)));
    }
    lines.push(format!("input      {}", String::from_utf8_lossy(&execution.input)));
    if let Some(output) = &execution.output {
        lines.push(format!("output     {}", String::from_utf8_lossy(output)));
    }
    for (label, text) in [("error", &execution.error), ("cause", &execution.cause)] {
        if let Some(text) = text {
            lines.push(format!("{label:<10} {text}"));
        }
    }
    lines.join("\n")
}

/// `list`
pub(super) async fn list(options: ListOptions) -> Exit {
    let run = async {
        let mut client = options.connection.client().await?;
        let arn = client.arn_of(&options.machine).await?;
        let status = match options.status {
            None => ExecutionStatus::Unspecified,
            Some(StatusFilter::Running) => ExecutionStatus::Running,
            Some(StatusFilter::Succeeded) => ExecutionStatus::Succeeded,
            Some(StatusFilter::Failed) => ExecutionStatus::Failed,
            Some(StatusFilter::TimedOut) => ExecutionStatus::TimedOut,
            Some(StatusFilter::Aborted) => ExecutionStatus::Aborted,
        };
        let executions = client.list(&arn, status, options.limit).await?;
        if executions.is_empty() {
            say("no executions");
        }
        for execution in executions {
            let took = match execution.stop_time_ms {
                0 => String::new(),
                stopped => format!("{} ms", stopped.saturating_sub(execution.start_time_ms)),
            };
            let (status, started) = (status_name(execution.status), time(execution.start_time_ms));
            say(&format!("{status:<10} {started}  {took:>10}  {}", execution.execution_arn));
        }
        Ok(Exit::Ok)
    };
    ended(run.await)
}

/// `history`
pub(super) async fn history(options: HistoryOptions) -> Exit {
    let run = async {
        let events = options.connection.client().await?.history(&options.execution).await?;
        if options.format == HistoryFormat::Timeline {
            say(timeline::render(&events).trim_end());
            return Ok(Exit::Ok);
        }
        for event in events {
            let details: Value = serde_json::from_slice(&event.details).unwrap_or_default();
            let line = json!({
                "id": event.id,
                "previousEventId": event.previous_event_id,
                "timestamp": time(event.timestamp_ms),
                "type": event.r#type,
                "details": details,
            });
            say(&line.to_string());
        }
        Ok(Exit::Ok)
    };
    ended(run.await)
}
