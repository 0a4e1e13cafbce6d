//! Functions by the Invoke API of AWS Lambda.
//!
//! Purpose: a state names its function by ARN, or calls `lambda:invoke`; both become `POST
//! /2015-03-31/functions/NAME/invocations` to the region's endpoint, or to the one that configuration gives, which may be
//! anything that speaks this API. Invariants: each call is signed with the credentials of the machine's role; a function's
//! error is the state's, with the function's answer as the cause. What may fail: arguments that name no function, credentials,
//! the call (`Lambda.SdkClientException`), the service (`Lambda.<its error>` for those that Invoke is documented to have,
//! `Lambda.AWSLambdaException` with the code in the cause for others), the function (its `errorType`).

use std::rc::Rc;
use std::time::Duration;

use asl::history::TaskResource;
use asl::{Payload, Str, Value};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use telemetry::CallKind;
use url::Url;

use crate::credentials::{Scheme, Signer};
use crate::errors;
use crate::http::{Client, Inbound, Outbound};
use crate::limits::{RESPONSE, RESPONSE_BYTES_MAX};
use crate::request::{Answer, Call, Failure, Integration, Request};

/// The longest that a function runs, and a little for the way.
const TIMEOUT: Duration = Duration::from_secs(15 * 60 + 10);
/// Errors that are Invoke's own; AWS's clients have a name for no other.
const ERRORS: [&str; 30] = [
    "EC2AccessDeniedException",
    "EC2ThrottledException",
    "EC2UnexpectedException",
    "EFSIOException",
    "EFSMountConnectivityException",
    "EFSMountFailureException",
    "EFSMountTimeoutException",
    "ENILimitReachedException",
    "InvalidParameterValueException",
    "InvalidRequestContentException",
    "InvalidRuntimeException",
    "InvalidSecurityGroupIDException",
    "InvalidSubnetIDException",
    "InvalidZipFileException",
    "KMSAccessDeniedException",
    "KMSDisabledException",
    "KMSInvalidStateException",
    "KMSNotFoundException",
    "RecursiveInvocationException",
    "RequestTooLargeException",
    "ResourceConflictException",
    "ResourceNotFoundException",
    "ResourceNotReadyException",
    "ServiceException",
    "SnapStartException",
    "SnapStartNotReadyException",
    "SnapStartTimeoutException",
    "SubnetIPAddressLimitReachedException",
    "TooManyRequestsException",
    "UnsupportedMediaTypeException",
];
/// The longest name of a region.
const REGION_MAX: usize = 32;
/// Arguments of `lambda:invoke` that are understood.
const ARGUMENTS: [&str; 6] =
    ["FunctionName", "Payload", "Qualifier", "InvocationType", "ClientContext", "LogType"];

/// The integration.
pub struct Lambda {
    client: Rc<Client>,
    signer: Rc<Signer>,
    /// In the place of the region's own.
    endpoint: Option<Url>,
    /// Of functions that are named without one.
    region: String,
}

/// What is asked of Lambda.
#[derive(Debug, PartialEq, Eq)]
struct Invocation {
    function: String,
    region: Option<String>,
    qualifier: Option<String>,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// Whether the answer is wrapped as the API's.
    wrapped: bool,
}

impl Lambda {
    /// With this client and region.
    #[must_use]
    pub fn new(client: Rc<Client>, signer: Rc<Signer>, endpoint: Option<Url>, region: String) -> Self {
        Self { client, signer, endpoint, region }
    }

    async fn invoke(&self, request: &Request) -> Result<Payload, Failure> {
        let invocation = parse(&request.resource, &request.input)?;
        let region = invocation.region.as_deref().unwrap_or(&self.region);
        let outbound = invocation.outbound(self.endpoint.as_ref(), region)?;
        let scheme = Scheme::SigV4 { service: "lambda", region };
        let sent = self.signer.send(&self.client, &outbound, &request.origin, scheme, errors::LAMBDA_AWAY);
        output(sent.await?, invocation.wrapped)
    }
}

impl Invocation {
    /// The request that is made, to be signed.
    fn outbound(&self, endpoint: Option<&Url>, region: &str) -> Result<Outbound, Failure> {
        // It becomes a part of a host's name, and may come from an execution's data.
        if !is_region(region) {
            return Err(validation(&format!("{region:?} is no region: write one such as us-east-1")));
        }
        let named = || Url::parse(&format!("https://lambda.{region}.{}", aws_domain(region)));
        let url = endpoint.cloned().map_or_else(named, Ok);
        let mut url = url.map_err(|error| validation(&format!("The region {region} is none: {error}")))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["2015-03-31", "functions", self.function.as_str(), "invocations"]);
        }
        if let Some(qualifier) = &self.qualifier {
            url.query_pairs_mut().append_pair("Qualifier", qualifier);
        }
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in &self.headers {
            let value = HeaderValue::try_from(value)
                .map_err(|_| validation(&format!("{name} is no text of a header")))?;
            headers.insert(*name, value);
        }
        Ok(Outbound {
            method: Method::POST,
            url,
            headers,
            body: self.body.clone(),
            timeout: TIMEOUT,
            response_bytes_max: RESPONSE_BYTES_MAX,
            redirects_max: 0,
            lane: Some(self.function.to_string()),
        })
    }
}

impl Integration for Lambda {
    fn kind(&self) -> CallKind {
        CallKind::Lambda
    }

    fn serves(&self, resource: &str) -> bool {
        let TaskResource { service, call, .. } = TaskResource::parse(resource);
        let named = || matches!(resource.split(':').collect::<Vec<_>>()[..], ["arn", _, "lambda", ..]);
        (service, call.trim_end_matches(".waitForTaskToken")) == ("lambda", "invoke") || named()
    }

    fn target(&self, request: &Request) -> Str {
        match request.input.value().get("FunctionName") {
            Some(Value::String(function)) if TaskResource::parse(&request.resource).service == "lambda" => {
                function.clone()
            }
            _ => request.resource.clone(),
        }
    }

    fn begin<'a>(&'a self, request: &'a Request) -> Call<'a, Answer> {
        Box::pin(async move { self.invoke(request).await.map(Answer::Output) })
    }

    fn complete<'a>(&'a self, request: &'a Request, _: &'a Payload) -> Call<'a, Payload> {
        Box::pin(async move {
            Err(Failure::runtime(format!(
                "{} begins no job whose end could be waited for.",
                request.resource
            )))
        })
    }
}

/// Reads the resource and its arguments.
fn parse(resource: &str, input: &Payload) -> Result<Invocation, Failure> {
    let integration = TaskResource::parse(resource);
    if integration.service != "lambda" {
        let (function, region, qualifier) = name_parts(resource);
        let body = input.bytes().clone();
        return Ok(Invocation { function, region, qualifier, headers: Vec::new(), body, wrapped: false });
    }
    let arguments = input.value();
    let unknown = arguments.as_object().into_iter().flat_map(|members| members.keys());
    if let Some(unknown) = unknown.map(|name| name.as_str()).find(|name| !ARGUMENTS.contains(name)) {
        return Err(validation(&format!("{unknown} is no argument of lambda:invoke")));
    }
    let text = |name| match arguments.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| validation(&format!("{name} must be a text"))),
    };
    let name = text("FunctionName")?.ok_or_else(|| validation("FunctionName is missing"))?;
    let (function, region, in_name) = name_parts(name);
    let mut headers = Vec::new();
    for (argument, header) in [
        ("InvocationType", "x-amz-invocation-type"),
        ("ClientContext", "x-amz-client-context"),
        ("LogType", "x-amz-log-type"),
    ] {
        headers.extend(text(argument)?.map(|value| (header, value.to_owned())));
    }
    let body = arguments.get("Payload").map_or_else(Bytes::new, |payload| payload.to_string().into());
    let qualifier = text("Qualifier")?.map(str::to_owned).or(in_name);
    Ok(Invocation { function, region, qualifier, headers, body, wrapped: true })
}

/// Name, region and qualifier of `NAME[:QUALIFIER]` or of an ARN.
fn name_parts(name: &str) -> (String, Option<String>, Option<String>) {
    let parts: Vec<&str> = name.split(':').collect();
    match parts[..] {
        ["arn", _, "lambda", region, account, "function", function, ref rest @ ..] => {
            let region = (!region.is_empty()).then(|| region.to_owned());
            let arn = format!("{}:{}:lambda:{}:{account}:function:{function}", parts[0], parts[1], parts[3]);
            (arn, region, rest.first().map(|qualifier| (*qualifier).to_owned()))
        }
        [function, qualifier] => (function.to_owned(), None, Some(qualifier.to_owned())),
        _ => (name.to_owned(), None, None),
    }
}

/// The domain in which a region of AWS has its endpoints.
#[must_use]
pub fn aws_domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// Whether a text may be the name of a region, which becomes a part of a host's.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=REGION_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn validation(why: &str) -> Failure {
    Failure::new(errors::LAMBDA_ARGUMENTS, format!("The function is not invoked: {why}."))
}

/// What an answer becomes.
fn output(answer: Inbound, wrapped: bool) -> Result<Payload, Failure> {
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let body = std::str::from_utf8(&answer.body).unwrap_or_default();
    let value = || Value::parse(&answer.body, RESPONSE);
    if !answer.status.is_success() {
        let code = header("x-amzn-errortype").and_then(|kind| kind.split(':').next());
        let known = match code {
            Some(code) => ERRORS.iter().copied().find(|known| *known == code),
            None => nameless(answer.status.as_u16()),
        };
        let message = value().ok().and_then(|value| {
            ["Message", "message"].into_iter().find_map(|name| value.get(name)?.as_str().map(str::to_owned))
        });
        let message = message.unwrap_or_else(|| body.to_owned());
        let request = header("x-amzn-requestid").unwrap_or("none");
        let status = answer.status.as_u16();
        let code = code.filter(|_| known.is_none());
        let code = code.map(|code| format!(" Error Code: {code},")).unwrap_or_default();
        let cause =
            format!("{message} (Service: Lambda, Status Code: {status},{code} Request ID: {request})");
        let name = known.map(|known| format!("{}{known}", errors::LAMBDA));
        return Err(Failure::new(name.as_deref().unwrap_or(errors::LAMBDA_OTHER), cause));
    }
    if header("x-amz-function-error").is_some() {
        let error = value().ok().and_then(|value| Some(value.get("errorType")?.as_str()?.to_owned()));
        return Err(Failure::new(error.as_deref().unwrap_or(errors::LAMBDA_UNKNOWN), body.to_owned()));
    }
    let version = Value::from(header("x-amz-executed-version").unwrap_or("$LATEST"));
    let payload = if answer.body.is_empty() { Ok(Value::Null) } else { value() };
    let payload = payload.map_err(|error| {
        Failure::new(errors::LAMBDA_UNKNOWN, format!("The function's output is not valid JSON: {error}."))
    })?;
    if !wrapped {
        return Ok(Payload::from_value(payload));
    }
    let status = Value::from(u32::from(answer.status.as_u16()));
    let members = [("ExecutedVersion", version), ("Payload", payload), ("StatusCode", status)];
    // Of a call that asked for it (`LogType`).
    let log = header("x-amz-log-result").map(|log| ("LogResult", Value::from(log)));
    Ok(Payload::from_value(Value::object(members.into_iter().chain(log))))
}

/// What an error is that says no code.
fn nameless(status: u16) -> Option<&'static str> {
    match status {
        404 => Some("ResourceNotFoundException"),
        429 => Some("TooManyRequestsException"),
        500.. => Some("ServiceException"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:pay";

    fn payload(text: &'static str) -> Payload {
        Payload::from_checked(Bytes::from_static(text.as_bytes()))
    }

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Inbound {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let (status, headers) = (StatusCode::from_u16(status).expect("a status"), headers.collect());
        Inbound { status, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn a_function_is_named_by_its_arn_or_by_an_argument() {
        let direct = parse(&format!("{ARN}:live"), &payload("[1]")).expect("an invocation");
        assert_eq!((direct.function.as_str(), direct.region.as_deref()), (ARN, Some("eu-west-1")));
        assert_eq!(
            (direct.qualifier.as_deref(), &direct.body[..], direct.wrapped),
            (Some("live"), &b"[1]"[..], false)
        );
        let invoke = parse(
            "arn:aws:states:::lambda:invoke",
            &payload(r#"{"FunctionName":"pay:7","Payload":{"a":1},"InvocationType":"Event"}"#),
        )
        .expect("an invocation");
        assert_eq!((invoke.function.as_str(), invoke.qualifier.as_deref()), ("pay", Some("7")));
        assert_eq!(invoke.headers, [("x-amz-invocation-type", "Event".to_owned())]);
        assert_eq!((&invoke.body[..], invoke.wrapped), (&br#"{"a":1}"#[..], true));
        for wrong in [r#"{}"#, r#"{"FunctionName":7}"#, r#"{"FunctionName":"f","Payloud":1}"#] {
            let failure = parse("arn:aws:states:::lambda:invoke", &payload(wrong)).expect_err(wrong);
            assert_eq!(failure.error, "Lambda.ValidationException");
        }
    }

    #[test]
    fn a_region_has_its_own_endpoint_and_one_that_is_configured_serves_them_all() {
        let invocation = parse(&format!("{ARN}:live"), &payload("{}")).expect("an invocation");
        let sent = |endpoint: Option<&str>| {
            let endpoint = endpoint.map(|url| Url::parse(url).expect("a URL"));
            invocation.outbound(endpoint.as_ref(), "eu-west-1").expect("a request").url.to_string()
        };
        let path = format!("2015-03-31/functions/{ARN}/invocations?Qualifier=live");
        assert_eq!(sent(None), format!("https://lambda.eu-west-1.amazonaws.com/{path}"));
        assert_eq!(sent(Some("http://h:1/base/")), format!("http://h:1/base/{path}"));
        let china = invocation.outbound(None, "cn-north-1").expect("a request").url;
        assert_eq!(china.host_str(), Some("lambda.cn-north-1.amazonaws.com.cn"));
    }

    #[test]
    fn an_answer_is_the_output_and_an_error_is_the_states_own() {
        assert_eq!(output(answer(200, &[], r#"{"a":1}"#), false).expect("an output").text(), r#"{"a":1}"#);
        let wrapped = output(answer(200, &[("x-amz-executed-version", "3")], "7"), true).expect("an output");
        assert_eq!(wrapped.text(), r#"{"ExecutedVersion":"3","Payload":7,"StatusCode":200}"#);
        let logged = output(answer(200, &[("x-amz-log-result", "bG9n")], "7"), true).expect("an output");
        assert_eq!(logged.value().get("LogResult").and_then(Value::as_str), Some("bG9n"));
        let body = r#"{"errorType":"TooPoor","errorMessage":"no money"}"#;
        let failed = output(answer(200, &[("x-amz-function-error", "Unhandled")], body), false);
        let failed = failed.expect_err("the function failed");
        assert_eq!((failed.error.as_str(), failed.cause.as_str()), ("TooPoor", body));
        let absent = answer(
            404,
            &[("x-amzn-errortype", "ResourceNotFoundException:")],
            r#"{"Message":"Function not found"}"#,
        );
        let absent = output(absent, false).expect_err("no function");
        assert_eq!(absent.error, "Lambda.ResourceNotFoundException");
        assert!(
            absent.cause.starts_with("Function not found (Service: Lambda, Status Code: 404"),
            "{}",
            absent.cause
        );
        assert_eq!(
            output(answer(429, &[], ""), false).expect_err("throttled").error,
            "Lambda.TooManyRequestsException"
        );
    }

    #[test]
    fn an_error_that_is_not_invokes_own_has_the_name_of_them_all_and_its_code_in_the_cause() {
        let told = |kind| {
            let failure = output(answer(403, &[("x-amzn-errortype", kind)], r#"{"Message":"no"}"#), true);
            let Failure { error, cause } = failure.expect_err("a failure");
            (error.to_string(), cause.to_string())
        };
        let (error, cause) = told("AccessDeniedException:http://internal/");
        assert_eq!(error, "Lambda.AWSLambdaException");
        let expected =
            "no (Service: Lambda, Status Code: 403, Error Code: AccessDeniedException, Request ID: none)";
        assert_eq!(cause, expected);
        let (error, cause) = told("KMSDisabledException");
        assert_eq!(error, "Lambda.KMSDisabledException");
        assert_eq!(cause, "no (Service: Lambda, Status Code: 403, Request ID: none)");
    }

    #[test]
    fn a_region_that_is_none_names_no_host() {
        for region in ["evil.example/", "evil.example#", "EU", "user@evil", &"r".repeat(33)] {
            let arn = format!("arn:aws:lambda:{region}:1:function:f");
            let input = Payload::from_value(Value::object([("FunctionName", Value::from(arn.as_str()))]));
            for (resource, input) in [("arn:aws:states:::lambda:invoke", &input), (&arn, &payload("{}"))] {
                let invocation = parse(resource, input).expect("an invocation");
                let region = invocation.region.as_deref().unwrap_or_default();
                let failure = invocation.outbound(None, region).expect_err(&arn);
                assert_eq!(failure.error, "Lambda.ValidationException");
            }
        }
    }
}
