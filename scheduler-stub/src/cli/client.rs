//! The commands for people.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use asl::Timestamp;
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::{self, DescribeExecutionResponse, ExecutionStatus, ExecutionSummary};
use proto::scheduler::v1::{CreateStateMachineRequest, UpdateStateMachineRequest};
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;
use trust::{TlsFlags, Trust};

use super::about::About;
use super::logging;
use super::{Exit, complain, say};
use crate::client::Client;
use crate::dispatch::endpoint;
use crate::error::Error;
use crate::timeline;

/// Between two looks at an execution that is waited for.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Bytes that are read of a file or of stdin; the scheduler's own limits are below.
const FILE_BYTES_MAX: u64 = 4 << 20;

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

/// `machine …`
#[derive(Debug, Args)]
pub(super) struct MachineOptions {
    #[command(subcommand)]
    command: MachineCommand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Resumes after a crash, up to a year.
    Standard,
    /// At least once, up to five minutes.
    Express,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dialect {
    /// The Amazon States Language.
    Asl,
    /// Tencent's dialect.
    Tcsl,
}

#[derive(Debug, Subcommand)]
enum MachineCommand {
    /// Create a machine of a definition
    Create {
        /// Its name: 1 to 80 characters
        name: String,
        /// The definition; `-` reads stdin
        file: PathBuf,
        /// How executions are kept
        #[arg(long = "type", value_enum, default_value_t = Mode::Standard)]
        mode: Mode,
        /// The language of the definition [default: tcsl for files that end in .tcsl.json, else asl]
        #[arg(long, value_enum)]
        dialect: Option<Dialect>,
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        connection: Connection,
    },
    /// Give a machine a new definition; the old one stays as a version
    Update {
        /// ARN, QRN or name
        machine: String,
        /// The definition; `-` reads stdin
        file: PathBuf,
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a machine and its definition, as JSON
    Describe {
        /// ARN, QRN or name
        machine: String,
        /// Which version; 0 is the newest
        #[arg(long, default_value_t = 0)]
        version: u32,
        #[command(flatten)]
        connection: Connection,
    },
    /// List all machines
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Delete a machine; its executions go on
    Delete {
        /// ARN, QRN or name
        machine: String,
        #[command(flatten)]
        connection: Connection,
    },
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

/// Reads a file or stdin, whole. The process does nothing else meanwhile, so blocking is no harm.
pub(super) fn read(path: &Path) -> Result<Bytes, Status> {
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
    };
    match read {
        Ok(length) if length as u64 > FILE_BYTES_MAX => {
            Err(Status::invalid_argument(format!("{}: more than {FILE_BYTES_MAX} bytes", path.display())))
        }
        Ok(_) => Ok(text.into()),
        Err(error) => Err(Status::invalid_argument(format!("{} cannot be read: {error}", path.display()))),
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// `machine create|update|describe|list|delete`
pub(super) async fn machine(options: MachineOptions) -> Exit {
    let result = match options.command {
        MachineCommand::Create { name, file, mode, dialect, about, connection } => {
            create(connection, name, file, mode, dialect, about).await
        }
        MachineCommand::Update { machine, file, about, connection } => {
            update(connection, &machine, &file, about).await
        }
        MachineCommand::Describe { machine, version, connection } => {
            describe_machine(connection, &machine, version).await
        }
        MachineCommand::List { connection } => list_machines(connection).await,
        MachineCommand::Delete { machine, connection } => delete(connection, &machine).await,
    };
    ended(result)
}

async fn create(
    connection: Connection,
    name: String,
    file: PathBuf,
    mode: Mode,
    dialect: Option<Dialect>,
    about: About,
) -> Result<Exit, Status> {
    let is_tcsl = file.to_string_lossy().ends_with(".tcsl.json");
    let dialect = dialect.unwrap_or(if is_tcsl { Dialect::Tcsl } else { Dialect::Asl });
    let request = CreateStateMachineRequest {
        name,
        definition: read(&file)?,
        mode: match mode {
            Mode::Standard => v1::Mode::Standard.into(),
            Mode::Express => v1::Mode::Express.into(),
        },
        dialect: match dialect {
            Dialect::Asl => v1::Dialect::Asl.into(),
            Dialect::Tcsl => v1::Dialect::Tcsl.into(),
        },
        retention_seconds: about.seconds().unwrap_or_default(),
        logging: about.logging.said(),
        role_arn: about.role_arn.unwrap_or_default(),
        comment: about.comment,
    };
    let created = connection.client().await?.create(request).await?;
    warn(&created.warnings);
    say(&created.arn);
    Ok(Exit::Ok)
}

async fn update(connection: Connection, machine: &str, file: &Path, about: About) -> Result<Exit, Status> {
    let (definition, retention_seconds) = (read(file)?, about.seconds());
    let mut client = connection.client().await?;
    let arn = client.arn_of(machine).await?;
    let (logging, About { comment, role_arn, .. }) = (about.logging.said(), about);
    let request = UpdateStateMachineRequest {
        arn: arn.clone(),
        definition,
        comment,
        retention_seconds,
        role_arn,
        logging,
    };
    let updated = client.update(request).await?;
    warn(&updated.warnings);
    say(&format!("{arn} is at version {}", updated.version));
    Ok(Exit::Ok)
}

async fn describe_machine(connection: Connection, machine: &str, version: u32) -> Result<Exit, Status> {
    let mut client = connection.client().await?;
    let arn = client.arn_of(machine).await?;
    let machine = client.machine(&arn, version).await?;
    let hash: String = machine.definition_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let definition: Value = serde_json::from_slice(&machine.definition).unwrap_or_default();
    let described = json!({
        "stateMachineArn": machine.arn,
        "name": machine.name,
        "type": v1::Mode::try_from(machine.mode).unwrap_or_default().as_str_name().trim_start_matches("MODE_"),
        "dialect": v1::Dialect::try_from(machine.dialect).unwrap_or_default().as_str_name().trim_start_matches("DIALECT_"),
        "version": machine.version,
        "creationDate": time(machine.creation_time_ms),
        "updateDate": time(machine.update_time_ms),
        "roleArn": machine.role_arn,
        "comment": machine.comment,
        "retentionSeconds": machine.retention_seconds,
        "loggingConfiguration": logging::described(machine.logging.unwrap_or_default()),
        "definitionSha256": hash,
        "definition": definition,
    });
    say(&format!("{described:#}"));
    Ok(Exit::Ok)
}

async fn list_machines(connection: Connection) -> Result<Exit, Status> {
    let machines = connection.client().await?.machines().await?;
    if machines.is_empty() {
        say("no machines yet: `scheduler-stub machine create NAME FILE` makes one");
    }
    for machine in machines {
        let mode = v1::Mode::try_from(machine.mode).unwrap_or_default().as_str_name();
        let (mode, created) = (mode.trim_start_matches("MODE_"), time(machine.creation_time_ms));
        let version = format!("v{}", machine.version);
        let role = if machine.role_arn.is_empty() { "" } else { "  as " };
        say(&format!(
            "{:<24} {mode:<9} {version:>5}  {created}  {}{role}{}",
            machine.name, machine.arn, machine.role_arn
        ));
    }
    Ok(Exit::Ok)
}

async fn delete(connection: Connection, machine: &str) -> Result<Exit, Status> {
    let mut client = connection.client().await?;
    let arn = client.arn_of(machine).await?;
    client.delete(&arn).await?;
    say(&format!("{arn} is deleted"));
    Ok(Exit::Ok)
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
