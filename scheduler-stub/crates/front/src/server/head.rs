//! What the line and the headers of a request say: which API is called, and which operation of it.
//!
//! Invariants: a header that decides anything is there once; nothing is guessed. What may fail: everything that is not as both
//! APIs want it, in the words of the API that was called, or in plain HTTP where that is not known.
//! Source: the JSON 1.0 protocol of AWS (smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html); Tencent's API 3.0.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Version};

use crate::fault::{Fault, Kind};
use crate::operations::{Api, Operation};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const ACTION: HeaderName = HeaderName::from_static("x-tc-action");
const VERSION: HeaderName = HeaderName::from_static("x-tc-version");
const REGION: HeaderName = HeaderName::from_static("x-tc-region");
/// Before the operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "AWSStepFunctions.";
/// The one version of ASW's API that there is.
const ASW_VERSION: &str = "2020-07-22";
/// Longer names of regions are none.
const REGION_MAX: usize = 64;

/// Headers by which the door decides, beside those that name the operation: twice, one reader could take the first and another one
/// the last. Those of signatures are the matter of whoever verifies them.
const ONCE: [HeaderName; 6] =
    [header::CONTENT_ENCODING, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::HOST, REGION, VERSION];

/// Why a request is not a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It names no API: HTTP says it.
    Http(StatusCode, &'static str),
    /// In the words of the API that it names.
    Api(Api, Fault),
}

/// Whether line and headers are no longer than they may be.
pub(super) fn measure(parts: &Parts, most: usize) -> Result<(), Refusal> {
    let target = parts.uri.path_and_query().map_or(1, |target| target.as_str().len());
    // With the colon, the space and the end of the line.
    let headers = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    if target + headers.sum::<usize>() > most {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal::Http(status, "the request's line and headers are too long\n"));
    }
    Ok(())
}

/// Which API a request calls, and the name of the operation.
pub(super) fn target(parts: &Parts) -> Result<(Api, &str), Refusal> {
    let headers = &parts.headers;
    let (sfn, asw) = (headers.contains_key(TARGET), headers.contains_key(ACTION));
    let (api, name) = match (sfn, asw) {
        (true, true) => {
            return Err(Refusal::Http(
                StatusCode::BAD_REQUEST,
                "X-Amz-Target and X-TC-Action name two APIs: send one of them\n",
            ));
        }
        (true, false) => (Api::Sfn, TARGET),
        (false, true) => (Api::Asw, ACTION),
        (false, false) if parts.method != Method::POST => {
            return Err(Refusal::Http(
                StatusCode::METHOD_NOT_ALLOWED,
                "here are the Step Functions API and the ASW API: POST / with X-Amz-Target or X-TC-Action\n",
            ));
        }
        (false, false) => {
            return Err(Refusal::Http(
                StatusCode::BAD_REQUEST,
                "the request names no operation: send X-Amz-Target (Step Functions) or X-TC-Action (ASW)\n",
            ));
        }
    };
    let fault = |kind, message: &str| Err(Refusal::Api(api, Fault::new(kind, message)));
    let value = match once(headers, &name) {
        Ok(value) => value.unwrap_or_default(),
        Err(why) => return fault(Kind::UnknownOperation, &why),
    };
    if api == Api::Asw {
        return Ok((api, value));
    }
    match value.strip_prefix(TARGET_PREFIX) {
        Some(operation) => Ok((api, operation)),
        None => fault(Kind::UnknownOperation, "X-Amz-Target must be AWSStepFunctions.<Operation>"),
    }
}

/// The operation that a request calls, once all that can be said of it without its body is as it should be.
pub(super) fn operation(api: Api, name: &str, parts: &Parts) -> Result<&'static Operation, Fault> {
    http(api, parts)?;
    if api == Api::Asw {
        version(&parts.headers)?;
    }
    api.operation(name).ok_or_else(|| {
        let name: String = name.chars().take(80).collect();
        Fault::new(Kind::UnknownOperation, format!("there is no operation {name:?}; see how it is spelt"))
    })
}

/// `X-TC-Region`.
pub(super) fn region(api: Api, headers: &HeaderMap) -> Result<Option<String>, Fault> {
    if api == Api::Sfn {
        return Ok(None);
    }
    let Some(region) = headers.get(REGION) else { return Ok(None) };
    let named = |text: &&str| {
        text.len() <= REGION_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match region.to_str().ok().filter(named) {
        Some(region) => Ok(Some(region.to_owned()).filter(|region| !region.is_empty())),
        None => Err(Fault::new(Kind::UnsupportedRegion, "X-TC-Region is no name of a region")),
    }
}

/// Whether a peer waits for a sign before it sends the body.
pub(super) fn expects(headers: &HeaderMap) -> bool {
    headers.contains_key(header::EXPECT)
}

/// Whether the body's length is said piece by piece.
pub(super) fn is_chunked(parts: &Parts) -> bool {
    parts.version != Version::HTTP_2 && parts.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Where HTTP/2 and absolute targets say whom they call, as `Host`, which signatures are over.
///
/// # Errors
/// They say two things.
pub(super) fn host(parts: &mut Parts) -> Result<(), &'static str> {
    let Some(authority) = parts.uri.authority() else { return Ok(()) };
    match parts.headers.get(header::HOST) {
        Some(host) if host.as_bytes() != authority.as_str().as_bytes() => {
            Err("Host and the request's target name two hosts")
        }
        Some(_) => Ok(()),
        None => {
            let host =
                HeaderValue::from_str(authority.as_str()).map_err(|_| "the target's host is no host")?;
            parts.headers.insert(header::HOST, host);
            Ok(())
        }
    }
}

/// What both APIs want of HTTP.
fn http(api: Api, parts: &Parts) -> Result<(), Fault> {
    let headers = &parts.headers;
    let refuse = |kind, message: &str| Err(Fault::new(kind, message));
    if parts.method != Method::POST {
        return refuse(Kind::MethodNotAllowed, "calls are POST, with the input as JSON in the body");
    }
    if parts.uri.path() != "/" {
        return refuse(Kind::MalformedRequest, "calls go to the path /");
    }
    for name in &ONCE {
        if let Err(why) = once(headers, name) {
            return refuse(Kind::MalformedRequest, &why);
        }
    }
    if !headers.contains_key(header::HOST) {
        return refuse(Kind::MalformedRequest, "the header Host is missing");
    }
    // A length that is said once at the beginning cannot be understood in two ways. No client of either API needs another.
    if is_chunked(parts) {
        return refuse(Kind::LengthRequired, "send Content-Length in place of Transfer-Encoding");
    }
    let encoding = headers.get(header::CONTENT_ENCODING).filter(|value| value.as_bytes() != b"identity");
    if encoding.is_some() {
        return refuse(Kind::UnsupportedMediaType, "bodies are taken without Content-Encoding alone");
    }
    let expected = match api {
        Api::Sfn => "application/x-amz-json-1.0",
        Api::Asw => "application/json",
    };
    let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !of_type(found, expected) {
        return refuse(Kind::UnsupportedMediaType, &format!("Content-Type must be {expected}"));
    }
    Ok(())
}

/// Whether a `Content-Type` is this, in UTF-8 where it says an encoding.
fn of_type(found: &str, expected: &str) -> bool {
    let (found, parameters) = found.split_once(';').unwrap_or((found, ""));
    let parameters = parameters.trim().to_ascii_lowercase();
    found.trim().eq_ignore_ascii_case(expected)
        && matches!(parameters.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"")
}

fn version(headers: &HeaderMap) -> Result<(), Fault> {
    match headers.get(VERSION) {
        Some(version) if version.as_bytes() == ASW_VERSION.as_bytes() => Ok(()),
        Some(_) => Err(Fault::new(Kind::UnknownVersion, format!("X-TC-Version must be {ASW_VERSION}"))),
        None => {
            let message = format!("the header X-TC-Version is missing: send {ASW_VERSION}");
            Err(Fault::new(Kind::MissingParameter, message))
        }
    }
}

/// The value of a header that may be there once; says why where it is there twice or is no ASCII.
fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(format!("the header {name} is there twice: send it once"));
    }
    value.to_str().map(Some).map_err(|_| format!("the header {name} is no visible ASCII"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library's buffer is a rougher bound: a head that comes in pieces may be longer than it.
    #[test]
    fn a_head_is_measured_to_the_byte_with_its_target() {
        let parts =
            http::Request::post("/?a=1").header("x-one", "12345").body(()).expect("a request").into_parts().0;
        let length = "/?a=1".len() + "x-one: 12345\r\n".len();
        assert_eq!(measure(&parts, length), Ok(()));
        let refused = measure(&parts, length - 1).expect_err("it is longer");
        assert!(
            matches!(refused, Refusal::Http(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, _)),
            "{refused:?}"
        );
    }
}
