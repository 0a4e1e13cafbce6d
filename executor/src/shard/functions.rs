//! What a Task's `Resource` asks a worker to run, and how the worker's answer becomes the task's output.
//!
//! Three spellings name a function: its ARN or QRN as the `Resource` itself, and `arn:aws:states:::lambda:invoke`, of any
//! partition, with the name in `FunctionName`, where the answer is wrapped as the AWS API wraps it. What waits for a job, a
//! token or an activity is for STANDARD executions.

use asl::history::{TaskKind, TaskResource};
use asl::qrn::{Qrn, Target};
use asl::{Payload, Str, Value};
use bytes::{BufMut, Bytes, BytesMut};

/// What a worker is asked to run.
#[derive(Debug)]
pub struct Call {
    /// Name, ARN or QRN.
    pub function: Str,
    /// What it is given.
    pub input: Payload,
    /// Whether the answer is wrapped.
    pub wrapped: bool,
}

/// Error name and cause.
pub type Failure = (Str, Str);

/// What a `Resource` says about how its task runs.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// `lambda:invoke`: the function's name stands in the arguments.
    invoke: bool,
    /// `.waitForTaskToken`: it is over only when its token comes back.
    pub calls_back: bool,
    /// `.sync`: it is over when the job is that it begins.
    runs: bool,
    /// An activity: it is begun by a worker that polls for it.
    pub activity: bool,
}

impl Form {
    /// Of this resource.
    #[must_use]
    pub fn of(resource: &str) -> Self {
        let integration = TaskResource::parse(resource);
        let calls_back = integration.waits_for_token();
        let runs = integration.call.ends_with(".sync") || integration.call.ends_with(".sync:2");
        let invoke = integration.service == "lambda"
            && matches!(integration.call, "invoke" | "invoke.waitForTaskToken");
        let activity = integration.kind == TaskKind::Activity;
        Self { invoke, calls_back, runs, activity }
    }

    /// Why an execution may not have such a task; a STANDARD one may have any.
    #[must_use]
    pub fn refusal(self, standard: bool, resource: &str) -> Option<Failure> {
        let waits = !standard && (self.calls_back || self.runs || self.activity);
        waits.then(|| {
            let cause = format!(
                "EXPRESS executions have no tasks that wait for a job, a token or an activity, as {resource} does: make the state machine \
                 STANDARD."
            );
            ("States.Runtime".into(), cause.into())
        })
    }

    /// The function that the arguments of `lambda:invoke` name; `None` where the resource itself is the name.
    ///
    /// # Errors
    /// The task's failure, when they name none.
    pub fn function(self, input: &Payload) -> Result<Option<Str>, Failure> {
        if !self.invoke {
            return Ok(None);
        }
        match input.value().get("FunctionName") {
            Some(Value::String(function)) => Ok(Some(function.clone())),
            _ => Err(no_function_name()),
        }
    }
}

/// What a worker is asked to run, where `named` is the function that arguments name.
#[must_use]
pub fn call(resource: Str, input: Payload, named: Option<Str>) -> Call {
    let Some(function) = named else { return Call { function: resource, input, wrapped: false } };
    let given = input.value().get("Payload").cloned();
    let input = given.map_or_else(Payload::empty_object, Payload::from_value);
    Call { function, input, wrapped: true }
}

fn no_function_name() -> Failure {
    let cause = "The arguments of lambda:invoke name no function: FunctionName must be a string.";
    ("Lambda.ValidationException".into(), cause.into())
}

/// The setting by which a node serves a resource itself.
fn configured_by(resource: &str) -> Option<&'static str> {
    let scheduler = Some("--scheduler says who starts executions");
    if resource.starts_with("qrn:") {
        return match Qrn::parse(resource).ok()?.target {
            Target::Execution => scheduler,
            Target::Function { .. } | Target::Api { .. } => {
                Some("--tencent-endpoint says where Tencent Cloud's APIs are")
            }
            Target::Other => None,
        };
    }
    if matches!(TaskResource::parse(resource).service, "states" | "aws-sdk:sfn") {
        return scheduler;
    }
    let function = matches!(resource.split(':').collect::<Vec<_>>()[..], [_] | ["arn", _, "lambda", ..]);
    function.then_some("--lambda-endpoint says where functions are invoked")
}

/// The failure of a task whose function no pool serves, and no integration.
#[must_use]
pub fn unbound(function: &str) -> Failure {
    if let Some(problem) = asl::definition::no_such_form(function) {
        return ("States.Runtime".into(), format!("Nobody serves {function}: {problem}.").into());
    }
    let configure = match configured_by(function) {
        Some(setting) => format!(" Or let the node call it: {setting}."),
        None => String::new(),
    };
    let cause = format!(
        "Function not found: {function}. No worker pool is bound to this name: start the node with \
         --bind 'PATTERN=POOL', where PATTERN is the name or a pattern with *, and attach workers to the pool.{configure}"
    );
    ("Lambda.ResourceNotFoundException".into(), cause.into())
}

/// The failure of a task whose worker answered with something that is no JSON.
#[must_use]
pub fn no_json(problem: &asl::value::JsonError) -> Failure {
    ("Lambda.Unknown".into(), format!("The worker's output is not valid JSON: {problem}.").into())
}

/// A function's output as the task's.
#[must_use]
pub fn output(output: Payload, wrapped: bool) -> Payload {
    if !wrapped {
        return output;
    }
    let (before, after) = (r#"{"ExecutedVersion":"$LATEST","Payload":"#, r#","StatusCode":200}"#);
    let mut text = BytesMut::with_capacity(before.len() + output.len() + after.len());
    text.put_slice(before.as_bytes());
    text.put_slice(output.bytes());
    text.put_slice(after.as_bytes());
    Payload::from_checked(Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVOKE: &str = "arn:aws:states:::lambda:invoke";

    fn payload(text: &'static str) -> Payload {
        Payload::from_checked(Bytes::from_static(text.as_bytes()))
    }

    fn called(resource: &str, input: Payload) -> Result<Call, Failure> {
        let named = Form::of(resource).function(&input)?;
        Ok(call(resource.into(), input, named))
    }

    #[test]
    fn a_function_named_by_its_resource_gets_the_input_as_it_is() {
        let call = called("arn:aws:lambda:r:1:function:pay", payload(r#"{"a":1}"#)).expect("a call");
        assert_eq!((call.function.as_str(), call.wrapped), ("arn:aws:lambda:r:1:function:pay", false));
        assert_eq!(output(payload("[1]"), call.wrapped).text(), "[1]");
    }

    #[test]
    fn lambda_invoke_takes_the_name_from_its_arguments_and_wraps_the_answer() {
        for invoke in [
            INVOKE,
            "arn:aws-cn:states:::lambda:invoke",
            "arn:aws-us-gov:states:::lambda:invoke",
            "arn:aws:states:::lambda:invoke.waitForTaskToken",
        ] {
            let arguments = payload(r#"{"FunctionName":"pay","Payload":{"a":1}}"#);
            let call = called(invoke, arguments).expect("a call");
            assert_eq!((call.function.as_str(), call.input.text()), ("pay", r#"{"a":1}"#));
            let wrapped = output(payload("7"), call.wrapped);
            assert_eq!(wrapped.text(), r#"{"ExecutedVersion":"$LATEST","Payload":7,"StatusCode":200}"#);
        }
    }

    #[test]
    fn a_form_that_nobody_has_is_told_with_those_that_there_are_and_a_name_without_a_pool_with_what_to_configure()
     {
        let (error, cause) = unbound("arn:aws:states:::lambda:invoke.sync");
        assert_eq!(error, "States.Runtime");
        assert!(cause.contains("lambda:invoke.waitForTaskToken") && !cause.contains("--bind"), "{cause}");
        let (error, cause) = unbound("arn:aws:states:::sqs:sendMessage");
        assert_eq!(error, "Lambda.ResourceNotFoundException");
        assert!(cause.contains("--bind"), "{cause}");
    }

    #[test]
    fn lambda_invoke_without_a_name_fails_the_task() {
        for arguments in ["[]", "{}", r#"{"FunctionName":7}"#] {
            let (error, cause) = called(INVOKE, payload(arguments)).expect_err("no name");
            assert_eq!(error, "Lambda.ValidationException");
            assert!(cause.contains("FunctionName"), "{cause}");
        }
    }

    #[test]
    fn who_is_not_served_is_told_the_setting_that_would_serve_it() {
        for (resource, setting) in [
            ("arn:aws:lambda:r:1:function:pay", Some("--lambda-endpoint")),
            ("pay", Some("--lambda-endpoint")),
            ("arn:aws:states:::states:startExecution.sync:2", Some("--scheduler")),
            ("arn:aws:states:::aws-sdk:sfn:startExecution", Some("--scheduler")),
            ("qrn:qcs:asw:gz:1:sdk:json:qcloud:asw:StartExecution.sync", Some("--scheduler")),
            ("qrn:qcs:asw:gz:1:sdk:json:qcloud:scf:Invoke/pay", Some("--tencent-endpoint")),
            ("qrn:qcs:asw:gz:1:sdk:json:qcloud:cvm:DescribeZones", Some("--tencent-endpoint")),
            ("qrn:qcs:k8s:gz:1:pod", None),
            ("arn:aws:states:::sqs:sendMessage", None),
        ] {
            let (_, cause) = unbound(resource);
            let told = cause.split_once("Or let the node call it: ").and_then(|told| told.1.split_once(' '));
            assert_eq!(told.map(|told| told.0), setting, "{cause}");
        }
    }
}
