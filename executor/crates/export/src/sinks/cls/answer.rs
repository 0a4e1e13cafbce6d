//! What CLS answers, and whether to come again.

use std::time::Duration;

use http::StatusCode;

use crate::SinkError;
use crate::http_client::{body, retry_after};

/// So much of it goes into a message.
const MESSAGE_CHARS_MAX: usize = 300;
/// When to come back after too much was sent, where the answer does not say it: the SDKs' pause.
const SPEED_PAUSE: Duration = Duration::from_secs(1);
/// What a packet itself can be wrong in; everything else passes, or an operator can mend it.
const WRONG_PACKET: [&str; 6] = [
    "InvalidCompressType",
    "InvalidContent",
    "InvalidContentType",
    "InvalidParam",
    "MissingContent",
    "LogSizeExceed",
];

/// Reads an answer.
pub(super) async fn read(response: reqwest::Response) -> Result<(), SinkError> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(|value| value.chars().take(64).collect::<String>())
    };
    let after = retry_after(response.headers());
    let request = header("x-cls-requestid").unwrap_or_else(|| "unknown".to_owned());
    let body = body(response).await;
    let (code, message) = told(&body);
    let why = format!("CLS answered {status} {code}: {message} (request {request})");
    Err(judge(status, &code, why, after))
}

/// `errorcode` and `errormessage`.
fn told(body: &[u8]) -> (String, String) {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| {
        let text = body.get(name).and_then(serde_json::Value::as_str).unwrap_or("(it did not say)");
        text.chars().take(MESSAGE_CHARS_MAX).collect::<String>()
    };
    (text("errorcode"), text("errormessage"))
}

fn judge(status: StatusCode, code: &str, why: String, after: Option<Duration>) -> SinkError {
    let too_fast = status == StatusCode::TOO_MANY_REQUESTS || code == "SpeedQuotaExceed";
    if too_fast {
        return SinkError::Unavailable { why, after: after.or(Some(SPEED_PAUSE)) };
    }
    let too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
    if too_large || (!status.is_server_error() && WRONG_PACKET.contains(&code)) {
        // It may be for one log, or because there are too many.
        return SinkError::RefusedWhole { why };
    }
    SinkError::Unavailable { why, after }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> bool {
        let status = StatusCode::from_u16(status).expect("a status");
        matches!(judge(status, code, String::new(), None), SinkError::RefusedWhole { .. })
    }

    #[test]
    fn only_what_is_wrong_with_the_packet_is_refused() {
        for (status, code) in [
            (400, "InvalidContent"),
            (400, "InvalidCompressType"),
            (400, "InvalidContentType"),
            (400, "InvalidParam"),
            (400, "MissingContent"),
            (403, "LogSizeExceed"),
            (413, ""),
        ] {
            assert!(refused(status, code), "{status} {code}");
        }
        for (status, code) in [
            (400, "InvalidAuthorization"),
            (400, "MissingAuthorization"),
            (400, "TopicClosed"),
            (401, "AuthFailure.SignatureExpire"),
            (401, "AuthFailure.SecretIdNotFound"),
            (403, "AccountArrears"),
            (403, "ServiceNotActivated"),
            (404, "TopicNotExist"),
            (404, "LogsetNotExist"),
            (429, "SpeedQuotaExceed"),
            (500, "InternalError"),
            (502, ""),
        ] {
            assert!(!refused(status, code), "{status} {code}");
        }
    }

    #[test]
    fn whoever_is_too_fast_comes_back_after_a_second_or_as_told() {
        let after = |told| match judge(StatusCode::TOO_MANY_REQUESTS, "SpeedQuotaExceed", String::new(), told)
        {
            SinkError::Unavailable { after, .. } => after,
            SinkError::Refused { .. } | SinkError::RefusedWhole { .. } => None,
        };
        assert_eq!(after(None), Some(Duration::from_secs(1)));
        assert_eq!(after(Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
    }
}
