//! What an answer becomes.

use asl::{Payload, Value};
use http::header::CONTENT_TYPE;

use crate::errors;
use crate::http::Inbound;
use crate::limits::RESPONSE;
use crate::request::Failure;

/// Content types that are no text.
const NO_TEXT: [&str; 4] = ["application/octet-stream", "audio/", "image/", "video/"];

/// The task's output.
///
/// # Errors
/// `States.Http.StatusCode.NNN` with the body as the cause, for a status of 300 and above; `States.Runtime` for what is no text.
pub(super) fn output(answer: Inbound) -> Result<Payload, Failure> {
    let status = answer.status;
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let begins = |with: &str| kind.get(..with.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(with));
    let is_text = !NO_TEXT.into_iter().any(begins);
    let text = std::str::from_utf8(&answer.body).ok().filter(|_| is_text || answer.body.is_empty());
    if status.as_u16() >= 300 {
        let cause = text.unwrap_or("The answer's body is no text.");
        let name = format!("{}{}", errors::HTTP_STATUS, status.as_u16());
        return Err(Failure::new(&name, cause.to_owned()));
    }
    let Some(text) = text else {
        let kind = if kind.is_empty() { "none" } else { kind };
        return Err(Failure::runtime(format!("The HTTP task's answer is no text (content type: {kind}).")));
    };
    let body = Value::parse(text.as_bytes(), RESPONSE).unwrap_or_else(|_| Value::from(text));
    let output = [
        ("Headers", headers(&answer.headers)),
        ("ResponseBody", body),
        ("StatusCode", Value::from(u32::from(status.as_u16()))),
        ("StatusText", Value::from(status.canonical_reason().unwrap_or_default())),
    ];
    Ok(Payload::from_value(Value::object(output)))
}

fn headers(headers: &http::HeaderMap) -> Value {
    let values = |name| {
        let values = headers.get_all(name).iter();
        Value::array(values.map(|value| Value::from(&*String::from_utf8_lossy(value.as_bytes()))))
    };
    let mut names: Vec<_> = headers.keys().collect();
    names.sort_unstable_by_key(|name| name.as_str());
    Value::object(names.into_iter().map(|name| (name.as_str(), values(name))))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, kind: &'static str, body: &'static [u8]) -> Result<Payload, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().expect("a value"));
        let status = StatusCode::from_u16(status).expect("a status");
        output(Inbound { status, headers, body: Bytes::from_static(body) })
    }

    #[test]
    fn json_is_a_value_and_any_other_text_is_a_text() {
        let json = answer(200, "application/json", br#"{"a":1}"#).expect("an output");
        let expected = r#"{"Headers":{"content-type":["application/json"]},"ResponseBody":{"a":1},"StatusCode":200,"StatusText":"OK"}"#;
        assert_eq!(json.text(), expected);
        let text = answer(201, "text/plain", b"done").expect("an output");
        assert_eq!(text.value().get("ResponseBody").and_then(Value::as_str), Some("done"));
    }

    #[test]
    fn a_status_that_says_no_is_a_failure_with_the_body_as_cause() {
        let failure = answer(503, "application/json", br#"{"why":"busy"}"#).expect_err("a failure");
        assert_eq!(
            (failure.error.as_str(), failure.cause.as_str()),
            ("States.Http.StatusCode.503", r#"{"why":"busy"}"#)
        );
    }

    #[test]
    fn what_is_no_text_fails_the_task() {
        for (kind, body) in [("image/png", &b"x"[..]), ("text/plain", b"\xff\xfe")] {
            assert_eq!(answer(200, kind, body).expect_err("no text").error, "States.Runtime");
        }
    }
}
