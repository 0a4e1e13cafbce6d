//! Machines in Step Functions' API: created, updated, described, listed and deleted.
//!
//! Invariant: what is told of a machine's logging and tracing is what was said; where histories and traces go is the nodes'
//! configuration. What may fail: whatever the core refuses, and customers' keys, which there are none of here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use front::{Answer, Call, Fault, Kind};
use ids::{LogLevel, Logging, Mode};
use serde::{Deserialize, Serialize};

use super::answer::{page, seconds, text, token};
use super::fault::fault;
use super::{Doors, unserved};
use crate::error::Error;
use crate::templates::{
    About, AboutChange, Change, Described, NewTemplate, Qualifier, Stored, Summary, parse,
};

/// The one kind of encryption that there is here.
const AWS_OWNED_KEY: &str = "AWS_OWNED_KEY";

/// `LoggingConfiguration`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LoggingConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<String>,
    include_execution_data: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    destinations: Vec<LogDestination>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogDestination {
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_watch_logs_log_group: Option<LogGroup>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogGroup {
    #[serde(skip_serializing_if = "Option::is_none")]
    log_group_arn: Option<String>,
}

impl LoggingConfiguration {
    /// What is said of a machine.
    pub(super) fn of(logging: Logging, about: &About) -> Self {
        let group = |arn: &String| LogDestination {
            cloud_watch_logs_log_group: Some(LogGroup { log_group_arn: Some(arn.clone()) }),
        };
        Self {
            level: Some(logging.level.as_str().to_owned()),
            include_execution_data: logging.include_data,
            destinations: about.log_destinations.iter().map(group).collect(),
        }
    }

    /// As machines keep it: the level, and the ARNs of log groups.
    fn read(self) -> Result<(Logging, Vec<String>), Error> {
        let level = match &self.level {
            None => LogLevel::Off,
            Some(level) => {
                let known = LogLevel::ALL.into_iter().find(|known| known.as_str() == level);
                let message = "loggingConfiguration.level is ALL, ERROR, FATAL or OFF";
                known.ok_or_else(|| Error::invalid("InvalidLoggingConfiguration", message))?
            }
        };
        let arns = self.destinations.into_iter().map(|destination| {
            let arn = destination.cloud_watch_logs_log_group.and_then(|group| group.log_group_arn);
            let message =
                "each of loggingConfiguration.destinations has a cloudWatchLogsLogGroup with its logGroupArn";
            arn.ok_or_else(|| Error::invalid("InvalidLoggingConfiguration", message))
        });
        Ok((Logging { level, include_data: self.include_execution_data }, arns.collect::<Result<_, _>>()?))
    }
}

/// `TracingConfiguration`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TracingConfiguration {
    enabled: bool,
}

impl TracingConfiguration {
    /// What is said of a machine.
    pub(super) fn of(about: &About) -> Self {
        Self { enabled: about.tracing }
    }
}

/// `EncryptionConfiguration`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EncryptionConfiguration {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    #[serde(skip_serializing)]
    kms_key_id: Option<String>,
}

impl EncryptionConfiguration {
    /// What is said of everything here: the caller has no keys of its own.
    pub(super) const OWNED: Self = Self { kind: Cow::Borrowed(AWS_OWNED_KEY), kms_key_id: None };
}

/// One of `tags`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Tag {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
}

impl Tag {
    /// As resources keep them.
    pub(super) fn map(tags: Vec<Self>) -> BTreeMap<String, String> {
        tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
    }

    /// As the API lists them.
    pub(super) fn list(tags: BTreeMap<String, String>) -> Vec<Self> {
        tags.into_iter().map(|(key, value)| Self { key, value }).collect()
    }
}

/// How the API calls a machine's mode.
pub(super) fn kind(mode: Mode) -> &'static str {
    match mode {
        Mode::Standard => "STANDARD",
        Mode::Express | Mode::SyncExpress => "EXPRESS",
    }
}

/// The ARN of a published version.
pub(super) fn version_arn(machine: &str, number: u32) -> String {
    format!("{machine}:{number}")
}

/// Labels of Maps are no machines to this operation.
pub(super) fn check_unlabelled(arn: &str) -> Result<(), Fault> {
    if !parse(arn).is_ok_and(|parsed| matches!(parsed.qualifier, Some(Qualifier::Label(_)))) {
        return Ok(());
    }
    let message = "the ARN has the label of a Map behind its machine's name: name the state machine alone";
    Err(Fault::new(Kind::Validation, message).with_detail("reason", "API_DOES_NOT_SUPPORT_LABELED_ARNS"))
}

pub(super) fn check_encryption(said: Option<EncryptionConfiguration>) -> Result<(), Error> {
    match said {
        Some(said) if said.kind != AWS_OWNED_KEY || said.kms_key_id.is_some() => {
            let message = "encryptionConfiguration: data are encrypted by the store, with the store's keys: leave it out, or say \
                           AWS_OWNED_KEY without a kmsKeyId";
            Err(Error::invalid("InvalidEncryptionConfiguration", message))
        }
        _ => Ok(()),
    }
}

/// Whether a version is to be published, and with which description.
fn publish(publish: bool, description: Option<String>) -> Result<Option<Option<String>>, Error> {
    match (publish, description) {
        (true, description) => Ok(Some(description)),
        (false, None) => Ok(None),
        (false, Some(_)) => {
            let message = "versionDescription is that of a version: say publish, too, or leave it out";
            Err(Error::invalid("ValidationException", message))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    name: String,
    definition: String,
    role_arn: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    logging_configuration: LoggingConfiguration,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tracing_configuration: TracingConfiguration,
    #[serde(default)]
    publish: bool,
    version_description: Option<String>,
    encryption_configuration: Option<EncryptionConfiguration>,
}

impl Create {
    fn read(self) -> Result<NewTemplate, Error> {
        check_encryption(self.encryption_configuration)?;
        let (logging, log_destinations) = self.logging_configuration.read()?;
        Ok(NewTemplate {
            mode: if self.kind.as_deref() == Some("EXPRESS") { Mode::Express } else { Mode::Standard },
            role_arn: self.role_arn,
            logging,
            about: About {
                tracing: self.tracing_configuration.enabled,
                log_destinations,
                ..About::default()
            },
            tags: Tag::map(self.tags),
            publish: publish(self.publish, self.version_description)?,
            role_may_differ: true,
            ..NewTemplate::new(self.name, self.definition)
        })
    }
}

async fn create_state_machine(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output<'a> {
        state_machine_arn: &'a str,
        creation_date: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        state_machine_version_arn: Option<String>,
    }
    let new = call.read::<Create>()?.read().map_err(|error| fault(&call, error))?;
    let stored = doors.templates.create(new).await;
    let Stored { template, published, .. } = stored.map_err(|error| fault(&call, error))?;
    Answer::of(&Output {
        state_machine_arn: &template.arn,
        creation_date: seconds(template.created_ms),
        state_machine_version_arn: published.map(|number| version_arn(&template.arn, number)),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    state_machine_arn: String,
    #[serde(default)]
    definition: String,
    role_arn: Option<String>,
    logging_configuration: Option<LoggingConfiguration>,
    tracing_configuration: Option<TracingConfiguration>,
    #[serde(default)]
    publish: bool,
    version_description: Option<String>,
    encryption_configuration: Option<EncryptionConfiguration>,
}

impl Update {
    fn read(self) -> Result<(String, Change), Error> {
        check_encryption(self.encryption_configuration)?;
        let logging = self.logging_configuration.map(LoggingConfiguration::read).transpose()?;
        let (logging, log_destinations) = logging.unzip();
        let tracing = self.tracing_configuration.map(|tracing| tracing.enabled);
        let change = Change {
            definition: self.definition.into(),
            role_arn: self.role_arn,
            logging,
            about: AboutChange { tracing, log_destinations, ..AboutChange::default() },
            publish: publish(self.publish, self.version_description)?,
            ..Change::default()
        };
        Ok((self.state_machine_arn, change))
    }
}

async fn update_state_machine(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        update_date: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        state_machine_version_arn: Option<String>,
    }
    let (arn, change) = call.read::<Update>()?.read().map_err(|error| fault(&call, error))?;
    check_unlabelled(&arn)?;
    let stored = doors.templates.update(&arn, change).await;
    let Stored { template, published, .. } = stored.map_err(|error| fault(&call, error))?;
    Answer::of(&Output {
        update_date: seconds(template.updated_ms),
        revision_id: template.revision_id(),
        state_machine_version_arn: published.map(|number| version_arn(&template.arn, number)),
    })
}

async fn describe_state_machine(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output<'a> {
        state_machine_arn: String,
        name: &'a str,
        status: &'static str,
        definition: &'a str,
        role_arn: &'a str,
        #[serde(rename = "type")]
        kind: &'static str,
        creation_date: f64,
        logging_configuration: LoggingConfiguration,
        tracing_configuration: TracingConfiguration,
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        encryption_configuration: EncryptionConfiguration,
    }
    let described = doors.templates.describe_as(call.text("stateMachineArn").unwrap_or_default()).await;
    let Described { template, description, revision_id, label } =
        described.map_err(|error| fault(&call, error))?;
    let arn = match (template.published(), &label) {
        (Some(number), _) => format!("{}:{number}", template.arn),
        (None, Some(label)) => format!("{}/{label}", template.arn),
        (None, None) => template.arn.clone(),
    };
    Answer::of(&Output {
        state_machine_arn: arn,
        name: &template.name,
        status: "ACTIVE",
        definition: text(&template.definition)?,
        role_arn: &template.role_arn,
        kind: kind(template.mode),
        creation_date: seconds(template.created_ms),
        logging_configuration: LoggingConfiguration::of(template.logging, &template.about),
        tracing_configuration: TracingConfiguration { enabled: template.about.tracing },
        label,
        revision_id,
        description,
        encryption_configuration: EncryptionConfiguration::OWNED,
    })
}

async fn list_state_machines(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        state_machine_arn: String,
        name: String,
        #[serde(rename = "type")]
        kind: &'static str,
        creation_date: f64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        state_machines: Vec<Line>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    let asked: Asked = call.read()?;
    let listed = doors.templates.list(page(asked.max_results), asked.token()).await;
    let (machines, next) = listed.map_err(|error| fault(&call, error))?;
    let line = |Summary { arn, name, mode, created_ms, .. }: Summary| Line {
        state_machine_arn: arn,
        name,
        kind: kind(mode),
        creation_date: seconds(created_ms),
    };
    Answer::of(&Output { state_machines: machines.into_iter().map(line).collect(), next_token: token(next) })
}

/// Which page a call asks for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    pub(super) max_results: Option<u32>,
    next_token: Option<String>,
}

impl Asked {
    /// The token of the page; empty for the first one.
    pub(super) fn token(&self) -> &str {
        self.next_token.as_deref().unwrap_or_default()
    }
}

/// One that does not exist is as good as deleted (Step Functions).
async fn delete_state_machine(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let arn = call.text("stateMachineArn").unwrap_or_default();
    check_unlabelled(arn)?;
    match doors.templates.delete(arn).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(Answer::empty()),
        Err(error) => Err(fault(&call, error)),
    }
}

/// Machines.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match call.operation.name {
        "CreateStateMachine" => create_state_machine(doors, call).await,
        "UpdateStateMachine" => update_state_machine(doors, call).await,
        "DescribeStateMachine" => describe_state_machine(doors, call).await,
        "ListStateMachines" => list_state_machines(doors, call).await,
        "DeleteStateMachine" => delete_state_machine(doors, call).await,
        _ => Err(unserved(&call)),
    }
}
