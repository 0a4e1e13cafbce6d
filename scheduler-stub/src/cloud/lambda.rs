//! AWS Lambda's Invoke API: `POST /2015-03-31/functions/NAME/invocations`, signed with SigV4.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sign::VerifyError;
use zeroize::Zeroizing;

use super::server::{Answer, Received};
use super::{Functions, NO_FUNCTION};
use crate::auth::Issuer;

/// Where functions are.
pub(super) const FUNCTIONS: &str = "/2015-03-31/functions/";

/// Invokes a function for whoever has keys of a role of AWS.
pub(super) fn answer(received: &Received, issuer: &Issuer, functions: Functions, now_ms: u64) -> Answer {
    let secret_of = |claim: &sign::Claim| {
        let (issued, secret) = issuer.open(&claim.id, claim.token.as_deref()?, now_ms)?;
        issued.role.starts_with("arn:").then(|| Zeroizing::new(secret))
    };
    match sign::sigv4::verify(&received.signed(), now_ms / 1_000, secret_of) {
        Ok(claim) if claim.service == "lambda" => {}
        Ok(claim) => {
            let message =
                format!("Credential should be scoped to correct service: 'lambda', not '{}'.", claim.service);
            return refused(StatusCode::FORBIDDEN, "InvalidSignatureException", message);
        }
        Err(error) => return refused(StatusCode::FORBIDDEN, code(error), error.to_string()),
    }
    let name = received.path.strip_prefix(FUNCTIONS).and_then(|rest| rest.strip_suffix("/invocations"));
    let Some(name) = name.filter(|_| received.method == Method::POST) else {
        return refused(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            "there is Invoke alone".to_owned(),
        );
    };
    let name = name.replace("%3A", ":");
    let event =
        if received.body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&received.body) };
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            let message = format!("Could not parse request body into json: {error}");
            return refused(StatusCode::BAD_REQUEST, "InvalidRequestContentException", message);
        }
    };
    let invoked = match received.header("x-amz-invocation-type") {
        "DryRun" => return Answer::new(StatusCode::NO_CONTENT, Value::Null),
        _ => functions(&name, &event),
    };
    match invoked {
        Err((NO_FUNCTION, message)) => refused(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            format!("Function not found: {message}"),
        ),
        Err((kind, message)) => {
            let failed = json!({ "errorType": kind, "errorMessage": message });
            executed(failed).with("x-amz-function-error", "Unhandled")
        }
        Ok(output) => executed(output),
    }
}

fn executed(body: Value) -> Answer {
    Answer::new(StatusCode::OK, body).with("x-amz-executed-version", "$LATEST")
}

fn refused(status: StatusCode, kind: &str, message: String) -> Answer {
    Answer::new(status, json!({ "message": message })).with("x-amzn-errortype", kind)
}

fn code(error: VerifyError) -> &'static str {
    match error {
        VerifyError::Missing(_) => "MissingAuthenticationTokenException",
        VerifyError::Malformed(_) | VerifyError::Unsigned(_) | VerifyError::Twice(_) | VerifyError::Query => {
            "IncompleteSignatureException"
        }
        VerifyError::UnknownKey => "UnrecognizedClientException",
        VerifyError::Skewed | VerifyError::Mismatch => "InvalidSignatureException",
    }
}
