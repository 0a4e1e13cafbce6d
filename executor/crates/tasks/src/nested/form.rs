//! How a start is asked for, and how it and its execution's end are told: as AWS's integration (`states:startExecution`), its
//! SDK (`aws-sdk:sfn:startExecution`) and ASW (`asw:StartExecution`) spell it.

use asl::history::TaskResource;
use asl::qrn::{Qrn, Target};
use asl::value::JsonLimits;
use asl::{Payload, Value};
use bytes::Bytes;
use ids::Status;

use super::executions::{Described, Start, Started};
use crate::errors;
use crate::request::{Failure, Origin, Request};

/// Who spells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// The integration; with `.sync:2`, input and output are JSON.
    Integration { as_json: bool },
    /// The SDK.
    Sdk,
    /// ASW.
    Asw,
}

/// How a resource has an execution started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub spelling: Spelling,
    /// Whether its end is waited for.
    pub runs: bool,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub start: Start,
    /// Whether the name is ours: then nobody else has given it.
    pub named_by_us: bool,
}

impl Form {
    /// Of a resource that starts executions.
    pub fn of(resource: &str) -> Option<Self> {
        if resource.starts_with("qrn:") {
            let qrn = Qrn::parse(resource).ok().filter(|qrn| qrn.target == Target::Execution)?;
            return Some(Self { spelling: Spelling::Asw, runs: qrn.sync });
        }
        let TaskResource { service, call, .. } = TaskResource::parse(resource);
        let integration = |as_json| Spelling::Integration { as_json };
        let (spelling, runs) = match (service, call) {
            ("states", "startExecution" | "startExecution.waitForTaskToken") => (integration(false), false),
            ("states", "startExecution.sync") => (integration(false), true),
            ("states", "startExecution.sync:2") => (integration(true), true),
            ("aws-sdk:sfn", "startExecution" | "startExecution.waitForTaskToken") => (Spelling::Sdk, false),
            _ => return None,
        };
        Some(Self { spelling, runs })
    }

    /// The argument that names the machine.
    pub fn machine(self) -> &'static str {
        match self.spelling {
            Spelling::Asw => "StateMachineResourceName",
            Spelling::Integration { .. } | Spelling::Sdk => "StateMachineArn",
        }
    }

    /// Reads the arguments. Without a name the execution is called after the attempt that starts it, so that one that is made
    /// again finds it.
    pub fn parse(self, request: &Request) -> Result<Asked, Failure> {
        let arguments = request.input.value();
        let wrong = |why: String| Failure::runtime(format!("No execution is started: {why}."));
        let known = [self.machine(), "Name", "Input", "TraceHeader"];
        let names = arguments.as_object().into_iter().flat_map(|members| members.keys());
        if let Some(name) = names.map(|name| name.as_str()).find(|name| !known.contains(name)) {
            return Err(wrong(format!("{name} is no argument of {}", request.resource)));
        }
        let text = |name: &str| match arguments.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(other) => Err(wrong(format!("{name} must be a string, and is {}", other.kind()))),
        };
        let machine = text(self.machine())?.filter(|machine| !machine.is_empty());
        let machine = machine.ok_or_else(|| wrong(format!("{} is missing", self.machine())))?;
        let name = text("Name")?.filter(|name| !name.is_empty());
        let input = match arguments.get("Input") {
            None | Some(Value::Null) => Bytes::from_static(b"{}"),
            Some(Value::String(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Some(_) if self.spelling == Spelling::Sdk => {
                return Err(wrong("Input must be a string".to_owned()));
            }
            Some(value) => value.to_string().into(),
        };
        let start = Start {
            machine_arn: machine.to_owned(),
            name: name.map_or_else(|| name_of(&request.origin), str::to_owned),
            input,
            trace: request.origin.names.trace().cloned(),
        };
        Ok(Asked { start, named_by_us: name.is_none() })
    }

    /// What is told of an execution that was started.
    pub fn started(self, started: &Started, origin: &Origin) -> Payload {
        let arn = Value::from(started.execution_arn.as_str());
        let request_id = ("RequestId", Value::from(origin.names.attempt()));
        Payload::from_value(match self.spelling {
            Spelling::Integration { .. } => Value::object([
                ("ExecutionArn", arn),
                ("SdkHttpMetadata", Value::object([("HttpStatusCode", Value::from(200))])),
                ("SdkResponseMetadata", Value::object([request_id])),
                ("StartDate", Value::from(started.at.as_millis())),
            ]),
            Spelling::Sdk => {
                Value::object([("ExecutionArn", arn), ("StartDate", Value::from(started.at.to_text()))])
            }
            Spelling::Asw => {
                let date = ("StartDate", Value::from(started.at.as_millis()));
                Value::object([(
                    "Response",
                    Value::object([("ExecutionResourceName", arn), request_id, date]),
                )])
            }
        })
    }

    /// The execution of which [`Form::started`] was told.
    pub fn execution(self, submitted: &Payload) -> Option<String> {
        let pointer = match self.spelling {
            Spelling::Asw => "/Response/ExecutionResourceName",
            Spelling::Integration { .. } | Spelling::Sdk => "/ExecutionArn",
        };
        Some(submitted.value().pointer(pointer)?.as_str()?.to_owned())
    }

    /// What an execution that has ended becomes.
    pub fn ended(self, described: &Described) -> Result<Payload, Failure> {
        let told = match self.spelling {
            Spelling::Asw => asw(described),
            Spelling::Sdk => aws(described, false),
            Spelling::Integration { as_json } => aws(described, as_json),
        };
        match described.status {
            Status::Succeeded => Ok(Payload::from_value(told)),
            _ => Err(Failure::new(errors::TASK_FAILED, told.to_string())),
        }
    }

    /// The failure of a start to which nobody has answered, as the vendor's client calls it.
    pub fn unanswered(self, message: &str) -> Failure {
        let name = match self.spelling {
            Spelling::Asw => errors::TENCENT_AWAY,
            Spelling::Integration { .. } => errors::STEP_FUNCTIONS_AWAY,
            Spelling::Sdk => errors::SFN_AWAY,
        };
        Failure::new(name, message.to_owned())
    }

    /// The failure of a start, by the code of the API.
    pub fn refused(self, code: &str, message: &str) -> Failure {
        match self.spelling {
            Spelling::Asw => Failure::new(code, message.to_owned()),
            Spelling::Integration { .. } => {
                let cause = format!("{message} (Service: AWSStepFunctions; Error Code: {code})");
                Failure::new(&format!("{}{code}Exception", errors::STEP_FUNCTIONS), cause)
            }
            Spelling::Sdk => {
                let cause = format!("{message} (Service: Sfn; Error Code: {code})");
                Failure::new(&format!("{}{code}Exception", errors::SFN), cause)
            }
        }
    }
}

/// The name of an execution that has none of its own.
fn name_of(origin: &Origin) -> String {
    format!("by-{}", origin.names.attempt())
}

fn text(bytes: &Bytes) -> Value {
    Value::from(String::from_utf8_lossy(bytes).into_owned())
}

/// As JSON; what cannot be read as that, which no execution has, stays text.
fn json(bytes: &Bytes) -> Value {
    let limits = JsonLimits { bytes: usize::MAX, ..JsonLimits::default() };
    Value::parse(bytes, limits).unwrap_or_else(|_| text(bytes))
}

fn aws(described: &Described, as_json: bool) -> Value {
    let data = |bytes: &Bytes| if as_json { json(bytes) } else { text(bytes) };
    let included = || Value::object([("Included", Value::from(true))]);
    let redrivable = if described.not_redrivable.is_none() { "REDRIVABLE" } else { "NOT_REDRIVABLE" };
    let output = described.output.as_ref();
    let members = [
        ("Cause", described.cause.as_deref().map(Value::from)),
        ("Error", described.error.as_deref().map(Value::from)),
        ("ExecutionArn", Some(Value::from(described.execution_arn.as_str()))),
        ("Input", Some(data(&described.input))),
        ("InputDetails", Some(included())),
        ("Name", Some(Value::from(described.name.as_str()))),
        ("Output", output.map(data)),
        ("OutputDetails", output.map(|_| included())),
        ("RedriveCount", Some(Value::from(described.redrive_count))),
        ("RedriveStatus", Some(Value::from(redrivable))),
        ("RedriveStatusReason", described.not_redrivable.as_deref().map(Value::from)),
        ("StartDate", Some(Value::from(described.started.as_millis()))),
        ("StateMachineArn", Some(Value::from(described.machine_arn.as_str()))),
        ("Status", Some(Value::from(described.status.as_str()))),
        ("StopDate", described.stopped.map(|at| Value::from(at.as_millis()))),
    ];
    Value::object(members.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

fn asw(described: &Described) -> Value {
    let members = [
        ("Cause", described.cause.as_deref().map(Value::from)),
        ("Error", described.error.as_deref().map(Value::from)),
        ("ExecutionResourceName", Some(Value::from(described.execution_arn.as_str()))),
        ("Input", Some(text(&described.input))),
        ("Name", Some(Value::from(described.name.as_str()))),
        ("Output", described.output.as_ref().map(text)),
        ("StartDate", Some(Value::from(described.started.as_millis()))),
        ("StateMachineResourceName", Some(Value::from(described.machine_arn.as_str()))),
        ("Status", Some(Value::from(described.status.as_str()))),
        ("StopDate", described.stopped.map(|at| Value::from(at.as_millis()))),
    ];
    let response = Value::object(members.into_iter().filter_map(|(name, value)| Some((name, value?))));
    // An error of the call would stand here under the same name, in another form: this one is the execution's.
    Value::object([("Response", response)])
}
