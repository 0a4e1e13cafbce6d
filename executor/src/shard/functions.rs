//! What a Task's `Resource` asks a worker to run, and how the worker's answer becomes the task's output.
//!
//! Three spellings name a function: its ARN or QRN as the `Resource` itself, and `arn:aws:states:::lambda:invoke`, of any
//! partition, with the name in `FunctionName`, where the answer is wrapped as the AWS API wraps it.

use asl::history::TaskResource;
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

/// The call of a task.
///
/// # Errors
/// The task's failure, when `lambda:invoke` names no function.
pub fn call(resource: Str, input: Payload) -> Result<Call, Failure> {
    let integration = TaskResource::parse(&resource);
    if (integration.service, integration.call) != ("lambda", "invoke") {
        return Ok(Call { function: resource, input, wrapped: false });
    }
    let Value::Object(arguments) = input.value() else {
        return Err(no_function_name());
    };
    let Some(Value::String(function)) = arguments.get("FunctionName") else {
        return Err(no_function_name());
    };
    let function = function.clone();
    let given = arguments.get("Payload").cloned();
    let input = given.map_or_else(Payload::empty_object, Payload::from_value);
    Ok(Call { function, input, wrapped: true })
}

fn no_function_name() -> Failure {
    let cause = "The arguments of lambda:invoke name no function: FunctionName must be a string.";
    ("Lambda.ValidationException".into(), cause.into())
}

/// The failure of a task whose function no pool serves.
#[must_use]
pub fn unbound(function: &str) -> Failure {
    let cause = format!(
        "Function not found: {function}. No worker pool is bound to this name: start the node with \
         --bind 'PATTERN=POOL', where PATTERN is the name or a pattern with *, and attach workers to the pool."
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

    #[test]
    fn a_function_named_by_its_resource_gets_the_input_as_it_is() {
        let call = call("arn:aws:lambda:r:1:function:pay".into(), payload(r#"{"a":1}"#)).expect("a call");
        assert_eq!((call.function.as_str(), call.wrapped), ("arn:aws:lambda:r:1:function:pay", false));
        assert_eq!(output(payload("[1]"), call.wrapped).text(), "[1]");
    }

    #[test]
    fn lambda_invoke_takes_the_name_from_its_arguments_and_wraps_the_answer() {
        for invoke in [INVOKE, "arn:aws-cn:states:::lambda:invoke", "arn:aws-us-gov:states:::lambda:invoke"] {
            let arguments = payload(r#"{"FunctionName":"pay","Payload":{"a":1}}"#);
            let call = call(invoke.into(), arguments).expect("a call");
            assert_eq!((call.function.as_str(), call.input.text()), ("pay", r#"{"a":1}"#));
            let wrapped = output(payload("7"), call.wrapped);
            assert_eq!(wrapped.text(), r#"{"ExecutedVersion":"$LATEST","Payload":7,"StatusCode":200}"#);
        }
    }

    #[test]
    fn lambda_invoke_without_a_name_fails_the_task() {
        for arguments in ["[]", "{}", r#"{"FunctionName":7}"#] {
            let (error, cause) = call(INVOKE.into(), payload(arguments)).expect_err("no name");
            assert_eq!(error, "Lambda.ValidationException");
            assert!(cause.contains("FunctionName"), "{cause}");
        }
    }
}
