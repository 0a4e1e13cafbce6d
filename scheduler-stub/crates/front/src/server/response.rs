//! Answers as HTTP, in the form of the API that was called.
//!
//! Invariants: ASW's `Content-Type` is `application/json` and nothing more, for its SDK for Python takes an error for a success
//! otherwise; every answer of an API names its request. Nothing here fails.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::head::Refusal;
use crate::call::Answer;
use crate::operations::Api;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// What the gate answered.
pub(super) fn of_answer(api: Api, answer: &Answer, request_id: &str) -> Response<Bytes> {
    let body = match api {
        Api::Sfn => answer.as_bytes().clone(),
        Api::Asw => enveloped(answer, request_id),
    };
    of_api(api, StatusCode::OK, body, request_id)
}

/// What was refused; `close` ends the connection.
pub(super) fn of_refusal(why: &Refusal, close: bool, request_id: &str) -> Response<Bytes> {
    let mut response = match why {
        Refusal::Api(api, fault) => {
            let body = fault.body(*api, request_id).into();
            let mut response = of_api(*api, fault.status(*api), body, request_id);
            if *api == Api::Sfn {
                response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(fault.kind().sfn()));
            }
            response
        }
        Refusal::Http(status, text) => {
            let mut response = Response::new(Bytes::from_static(text.as_bytes()));
            *response.status_mut() = *status;
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, plain);
            response
        }
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if close {
        // HTTP/2 has no such header, and the library leaves it out there.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn of_api(api: Api, status: StatusCode, body: Bytes, request_id: &str) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let content_type = match api {
        Api::Sfn => "application/x-amz-json-1.0",
        Api::Asw => "application/json",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// `{"Response": {…, "RequestId": "…"}}` around the members of an answer.
fn enveloped(answer: &Answer, request_id: &str) -> Bytes {
    let members = answer.as_bytes();
    let members = &members[1..members.len() - 1];
    let comma = if members.iter().all(u8::is_ascii_whitespace) { "" } else { "," };
    let mut body = Vec::with_capacity(members.len() + request_id.len() + 32);
    body.extend_from_slice(b"{\"Response\":{");
    body.extend_from_slice(members);
    body.extend_from_slice(format!("{comma}\"RequestId\":\"{request_id}\"}}}}").as_bytes());
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enveloped_text(answer: &Answer) -> String {
        String::from_utf8(enveloped(answer, "1-2").to_vec()).expect("text")
    }

    #[test]
    fn an_answer_of_asw_has_its_request_id_beside_its_members() {
        let none = enveloped_text(&Answer::empty());
        assert_eq!(none, r#"{"Response":{"RequestId":"1-2"}}"#);
        let one = Answer::json(Bytes::from_static(br#"{"Name":"a}"}"#)).expect("an object");
        assert_eq!(enveloped_text(&one), r#"{"Response":{"Name":"a}","RequestId":"1-2"}}"#);
        let spaced = Answer::json(Bytes::from_static(b"{ }")).expect("an object");
        assert_eq!(enveloped_text(&spaced), r#"{"Response":{ "RequestId":"1-2"}}"#);
    }

    #[test]
    fn what_is_no_object_is_no_answer() {
        for wrong in ["", "{", "}", "[]", "null", " {}"] {
            assert!(Answer::json(Bytes::from_static(wrong.as_bytes())).is_err(), "{wrong:?}");
        }
    }
}
