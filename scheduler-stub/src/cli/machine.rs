//! The commands for state machines.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use proto::executor::v1;
use proto::scheduler::v1::{CreateStateMachineRequest, UpdateStateMachineRequest};
use serde_json::{Value, json};
use tonic::Status;

use super::about::About;
use super::client::{Connection, ended, time};
use super::files::read;
use super::{Exit, logging, say};

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
    /// Give a machine a new definition, or change what else is said of it; what it was stays as a version
    Update {
        /// ARN, QRN or name
        machine: String,
        /// The definition; `-` reads stdin [default: as before, where an option says what changes]
        #[arg(required_unless_present_any = ["comment", "retention", "role_arn", "log_level"])]
        file: Option<PathBuf>,
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
            update(connection, &machine, file.as_deref(), about).await
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
        comment: about.comment.unwrap_or_default(),
    };
    let created = connection.client().await?.create(request).await?;
    warn(&created.warnings);
    say(&created.arn);
    Ok(Exit::Ok)
}

async fn update(
    connection: Connection,
    machine: &str,
    file: Option<&Path>,
    about: About,
) -> Result<Exit, Status> {
    let (definition, retention_seconds) = (file.map(read).transpose()?.unwrap_or_default(), about.seconds());
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: MachineOptions,
    }

    #[test]
    fn an_update_needs_a_definition_or_something_else_to_change() {
        let update = |flags: &[&str]| Line::try_parse_from(["x", "update", "orders"].iter().chain(flags));
        for (flags, comment) in [
            (&["--log-level=ALL"][..], None),
            (&["--comment=c"], Some("c")),
            (&["--comment="], Some("")),
            (&["--retention=1h"], None),
            (&["--role-arn="], None),
            (&["f.json"], None),
        ] {
            let command = update(flags).expect("enough is said").options.command;
            let MachineCommand::Update { file, about, .. } = command else { panic!("an update: {flags:?}") };
            assert_eq!((file.is_some(), about.comment.as_deref()), (flags == ["f.json"], comment));
        }
        for flags in [&[][..], &["--scheduler=http://h:1"]] {
            assert!(update(flags).is_err(), "{flags:?}");
        }
    }
}
