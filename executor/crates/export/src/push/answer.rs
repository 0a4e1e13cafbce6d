//! Refusals of clouds: whether to come again before the next push is due.

use std::fmt;

use http::StatusCode;

use crate::SinkError;

/// So much of what a service says goes into a message.
const MESSAGE_CHARS_MAX: usize = 300;
/// Parts of codes that say "not now".
const PASSING: [&str; 5] =
    ["Throttl", "RequestLimitExceeded", "Unavailable", "InternalError", "InternalService"];

/// What a service has answered instead of taking a request.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub status: StatusCode,
    pub code: Option<&'a str>,
    pub message: Option<&'a str>,
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code.is_none() && self.message.is_none() {
            return write!(f, "{}, not as this API does: is the endpoint right?", self.status);
        }
        let shown = |text: Option<&str>| {
            text.unwrap_or("(it did not say)").chars().take(MESSAGE_CHARS_MAX).collect::<String>()
        };
        write!(f, "{} {}: {}", self.status, shown(self.code), shown(self.message))
    }
}

pub(super) fn judge(who: &str, answer: &Answer<'_>) -> SinkError {
    let why = format!("{who} answered {answer}");
    let passes = answer.code.is_some_and(|code| PASSING.iter().any(|part| code.contains(part)));
    if passes || answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
        return SinkError::unavailable(why);
    }
    SinkError::refused(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_answers_otherwise_may_be_somebody_else() {
        let error = judge("it", &Answer { status: StatusCode::OK, code: None, message: None });
        assert!(
            error.to_string().contains("it answered 200 OK, not as this API does: is the endpoint right?")
        );
    }

    #[test]
    fn what_passes_is_tried_again_and_what_is_wrong_is_refused() {
        let refused = |status, code| {
            let status = StatusCode::from_u16(status).expect("a status");
            let error = judge("it", &Answer { status, code, message: None });
            matches!(error, SinkError::Refused { .. })
        };
        for (status, code) in [
            (400, Some("Throttling")),
            (400, Some("ThrottlingException")),
            (200, Some("RequestLimitExceeded.UinLimitExceeded")),
            (200, Some("InternalError.CallbackFail")),
            (500, Some("InternalServiceFault")),
            (503, None),
            (429, None),
        ] {
            assert!(!refused(status, code), "{status} {code:?}");
        }
        for (status, code) in [
            (400, Some("InvalidParameterValueException")),
            (403, Some("AccessDenied")),
            (200, Some("AuthFailure.SecretIdNotFound")),
            (200, Some("LimitExceeded.MetricQuotaExceeded")),
            (404, None),
        ] {
            assert!(refused(status, code), "{status} {code:?}");
        }
    }
}
