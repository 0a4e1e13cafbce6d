//! Requests that are HTTP, and no call: each is refused in the form of the API that it names, and nobody behind the door hears of it.

use front::Outcome;

use crate::support::{Client, Door, Response, asw, request, sfn};

const HOST: &str = "Host: h";
const KEY: &str = "Authorization: key good";
const SFN_TYPE: &str = "Content-Type: application/x-amz-json-1.0";
const ASW_TYPE: &str = "Content-Type: application/json";
const TARGET: &str = "X-Amz-Target: AWSStepFunctions.ListStateMachines";
const ACTION: &str = "X-TC-Action: DescribeFlowServices";
const VERSION: &str = "X-TC-Version: 2020-07-22";

/// Sends it; then the connection ends if that was said, and takes a good call if not.
fn refused(door: &Door, request: &str) -> Response {
    let mut client = door.client();
    client.send(request);
    let response = client.receive();
    assert_eq!(door.seen().calls, 0, "{request:?}");
    goes_on_or_ends(&mut client, &response);
    response
}

fn goes_on_or_ends(client: &mut Client, response: &Response) {
    if response.header("connection") == "close" {
        client.ends();
    } else {
        assert_eq!(client.call("ListActivities", "{}").status, 200);
    }
}

/// The error in the form of Step Functions, where a status says it too.
fn sfn_says(request: &str, status: u16, error: &str, words: &str) {
    let door = Door::open();
    let response = refused(&door, request);
    let found = (response.status, response.error());
    assert_eq!(found, (status, error.to_owned()), "{request:?}: {}", response.text());
    assert_eq!(response.header("content-type"), "application/x-amz-json-1.0", "{request:?}");
    assert!(
        response.json()["message"].as_str().is_some_and(|text| text.contains(words)),
        "{}",
        response.text()
    );
    let told = &door.counts.answered()[0];
    assert_eq!(told.error, Some(error), "it is counted by its name");
    assert_eq!(told.outcome, Outcome::Refused, "{error} is its caller's affair");
    assert_eq!(response.header("x-amzn-errortype"), error);
}

/// The error in the form of ASW, in HTTP 200.
fn asw_says(request: &str, error: &str, words: &str) {
    let response = refused(&Door::open(), request);
    let found = (response.status, response.error());
    assert_eq!(found, (200, error.to_owned()), "{request:?}: {}", response.text());
    assert_eq!(response.header("content-type"), "application/json", "{request:?}");
    let envelope = response.json();
    assert_eq!(envelope["Response"]["RequestId"], response.header("x-amzn-requestid"));
    let message = envelope["Response"]["Error"]["Message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "{message}");
}

#[test]
fn a_request_that_names_no_api_or_both_is_told_so_in_plain_text() {
    let door = Door::open();
    for (request, status, words) in [
        (request(&[HOST, KEY, SFN_TYPE], "{}"), 400, "names no operation"),
        (request(&[HOST, KEY, SFN_TYPE, TARGET, ACTION, VERSION], "{}"), 400, "name two APIs"),
        (request(&[HOST, "X-Amz-Target: ", "X-TC-Action: "], "{}"), 400, "name two APIs"),
        ("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 405, "POST /"),
        ("DELETE / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 405, "POST /"),
        ("BREW / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 405, "POST /"),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 405, "POST /"),
    ] {
        let mut client = door.client();
        client.send(&request);
        let response = client.receive();
        assert_eq!(response.status, status, "{request:?}");
        assert!(response.text().contains(words), "{request:?}: {}", response.text());
        assert_eq!(response.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(response.header("allow"), if status == 405 { "POST" } else { "" });
        goes_on_or_ends(&mut client, &response);
    }
    let told = door.counts.answered();
    assert!(told.iter().any(|told| told.api.is_none() && told.error == Some("Http")), "{told:?}");
}

#[test]
fn a_call_with_another_method_or_path_is_refused_in_the_apis_words() {
    let call = sfn("ListStateMachines", "{}");
    for method in ["GET", "PUT", "PATCH"] {
        let other = call.replace("POST", method);
        sfn_says(&other, 405, "MalformedHttpRequestException", "calls are POST");
    }
    sfn_says(&call.replace("POST /", "POST /v1"), 400, "MalformedHttpRequestException", "path /");
    let action = asw("DescribeFlowServices", "{}");
    asw_says(&action.replace("POST", "GET"), "UnsupportedProtocol", "calls are POST");
    asw_says(&action.replace("POST /", "POST //"), "InvalidRequest", "path /");
}

#[test]
fn an_operation_that_there_is_not_is_named_and_refused() {
    for name in ["GetTheMoon", "listStateMachines", "", "ListStateMachines ,x", "DescribeFlowServices"] {
        sfn_says(&sfn(name, "{}"), 400, "UnknownOperationException", "there is no operation");
    }
    let other = sfn("ListStateMachines", "{}").replace("AWSStepFunctions.", "DynamoDB_20120810.");
    sfn_says(&other, 400, "UnknownOperationException", "AWSStepFunctions.<Operation>");
    for name in ["GetTheMoon", "describeFlowServices", "", "ListStateMachines"] {
        asw_says(&asw(name, "{}"), "InvalidAction", "there is no operation");
    }
    let long = sfn(&"x".repeat(8_000), "{}");
    let response = refused(&Door::open(), &long);
    assert!(response.body.len() < 512, "what was sent is not sent back: {}", response.body.len());
}

#[test]
fn a_header_that_decides_something_may_be_there_once() {
    let sfn = [HOST, KEY, SFN_TYPE, TARGET];
    for (twice, error) in [
        (TARGET, "UnknownOperationException"),
        ("X-Amz-Target: AWSStepFunctions.DeleteStateMachine", "UnknownOperationException"),
        ("Host: other", "MalformedHttpRequestException"),
        (SFN_TYPE, "MalformedHttpRequestException"),
    ] {
        sfn_says(&request(&[&sfn[..], &[twice]].concat(), "{}"), 400, error, "twice");
    }
    let encoding = "Content-Encoding: identity";
    let both = request(&[&sfn[..], &[encoding, encoding]].concat(), "{}");
    sfn_says(&both, 400, "MalformedHttpRequestException", "twice");
    let asw = [HOST, KEY, ASW_TYPE, ACTION, VERSION];
    asw_says(&request(&[&asw[..], &["X-TC-Action: StopExecution"]].concat(), "{}"), "InvalidAction", "twice");
    asw_says(&request(&[&asw[..], &[VERSION]].concat(), "{}"), "InvalidRequest", "twice");
    let region = "X-TC-Region: 1";
    asw_says(&request(&[&asw[..], &[region, region]].concat(), "{}"), "InvalidRequest", "twice");
}

#[test]
fn a_request_must_say_whom_it_calls() {
    sfn_says(
        &request(&[KEY, SFN_TYPE, TARGET], "{}"),
        400,
        "MalformedHttpRequestException",
        "Host is missing",
    );
    let absolute = request(&[HOST, KEY, SFN_TYPE, TARGET], "{}").replace("POST /", "POST http://other/");
    sfn_says(&absolute, 400, "MalformedHttpRequestException", "two hosts");
    let door = Door::open();
    let mut client = door.client();
    client.send(request(&[KEY, SFN_TYPE, TARGET], "{}").replace("POST /", "POST http://h/"));
    assert_eq!(client.receive().status, 200, "an absolute target says it too");
}

#[test]
fn a_body_that_is_encoded_or_of_another_type_is_refused() {
    let of = |content_type: &str| request(&[HOST, KEY, TARGET, content_type], "{}");
    for wrong in [
        "X-Other: 1",
        "Content-Type: application/json",
        "Content-Type: application/x-amz-json-1.1",
        "Content-Type: application/x-amz-json-1.0; charset=latin1",
        "Content-Type: application/x-amz-json-1.0, application/json",
        "Content-Type: text/plain",
        "Content-Type: ",
    ] {
        sfn_says(&of(wrong), 415, "MalformedHttpRequestException", "application/x-amz-json-1.0");
    }
    let action = |content_type: &str| request(&[HOST, KEY, ACTION, VERSION, content_type], "{}");
    for wrong in ["X-Other: 1", "Content-Type: multipart/form-data; boundary=x", SFN_TYPE] {
        asw_says(&action(wrong), "UnsupportedProtocol", "application/json");
    }
    for encoding in ["gzip", "identity, gzip", "br"] {
        let encoding = format!("Content-Encoding: {encoding}");
        let encoded = request(&[HOST, KEY, TARGET, SFN_TYPE, &encoding], "{}");
        sfn_says(&encoded, 415, "MalformedHttpRequestException", "Content-Encoding");
    }
}

#[test]
fn the_version_and_the_region_of_asw_are_looked_at() {
    asw_says(&request(&[HOST, KEY, ASW_TYPE, ACTION], "{}"), "MissingParameter", "X-TC-Version");
    let other = "X-TC-Version: 2017-03-12";
    asw_says(&request(&[HOST, KEY, ASW_TYPE, ACTION, other], "{}"), "NoSuchVersion", "2020-07-22");
    for region in ["ap guangzhou", "ap:guangzhou", "\u{e9}", &"a".repeat(65)] {
        let region = format!("X-TC-Region: {region}");
        let other = request(&[HOST, KEY, ASW_TYPE, ACTION, VERSION, &region], "{}");
        let response = refused(&Door::open(), &other);
        assert!(
            ["UnsupportedRegion", "InvalidRequest"].contains(&response.error().as_str()),
            "{region}: {}",
            response.text()
        );
    }
}

#[test]
fn a_body_that_is_no_input_is_refused_with_what_is_wrong() {
    let start = |body: &str| sfn("StartExecution", body);
    for (body, words) in [
        ("", "empty"),
        ("{", "no JSON object"),
        ("[]", "no JSON object"),
        ("null", "no JSON object"),
        ("{\"stateMachineArn\":\"a\"}}", "trailing characters"),
        ("{\"stateMachineArn\":\"a\",\"stateMachineArn\":\"b\"}", "twice"),
        ("{\"stateMachineArn\":1}", "must be a text"),
        ("{\"stateMachineArn\":\"\\ud800\"}", "no JSON object"),
        ("stateMachineArn=a", "no JSON object"),
    ] {
        sfn_says(&start(body), 400, "SerializationException", words);
    }
    let deep = format!("{{\"x\":{}", "[".repeat(1 << 20));
    sfn_says(&start(&deep), 400, "SerializationException", "recursion limit");
    asw_says(&asw("StopExecution", &deep), "InvalidParameter", "recursion limit");
    sfn_says(&start("{}"), 400, "ValidationException", "stateMachineArn");
    asw_says(&asw("StopExecution", "{}"), "MissingParameter", "ExecutionQrn");
    asw_says(&asw("StopExecution", "{\"executionArn\":\"a\"}"), "UnknownParameter", "executionArn");
    let door = Door::open();
    let mut client = door.client();
    let mut bytes = start("{\"stateMachineArn\":\"abc\"}").into_bytes();
    let at = bytes.len() - 4;
    bytes[at] = 0xff;
    client.send(&bytes);
    let response = client.receive();
    assert_eq!((response.status, response.error()), (400, "SerializationException".to_owned()));
    assert!(response.text().contains("not in UTF-8 from byte 21"), "{}", response.text());
    assert_eq!(door.seen().calls, 0);
}
