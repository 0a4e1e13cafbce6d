//! Bytes that are no proper HTTP, or are HTTP that two readers could understand in two ways.

use std::io::Write as _;
use std::net::Shutdown;

use front::{Connection, Limits};

use crate::support::{Door, asw, sfn};

/// A call whose framing headers are these in place of its own.
fn framed(headers: &str, body: &str) -> String {
    let call = sfn("ListStateMachines", "");
    let (head, _) = call.split_once("Content-Length").expect("its own");
    format!("{head}{headers}\r\n\r\n{body}")
}

/// What is answered to it first; afterwards nothing more comes and the connection ends, whatever else was sent.
fn only_answer(door: &Door, bytes: impl AsRef<[u8]>) -> Option<crate::support::Response> {
    let mut client = door.client();
    client.try_send(bytes);
    let response = client.try_receive();
    if response.is_some() {
        client.ends();
    }
    response
}

#[test]
fn lengths_that_are_none_or_two_are_refused_and_end_the_connection() {
    let door = Door::open();
    for length in
        ["-1", "+2", "2,2", "0x2", "2 2", "", "two", "99999999999999999999", "18446744073709551615", "2.0"]
    {
        let response = only_answer(&door, framed(&format!("Content-Length: {length}"), "{}"));
        // The library has a longest one of its own.
        let refused = response.is_some_and(|response| [400, 413, 431].contains(&response.status));
        assert!(refused, "{length:?}");
    }
    let two = framed("Content-Length: 2\r\nContent-Length: 30", "{}");
    assert_eq!(only_answer(&door, two).expect("an answer").status, 400);
    assert_eq!(door.seen().calls, 0);
    door.is_well();
}

#[test]
fn a_length_that_is_said_twice_alike_is_one_length() {
    let door = Door::open();
    let mut client = door.client();
    client.send(framed("Content-Length: 2\r\nContent-Length: 2", "{}"));
    assert_eq!(client.receive().status, 200);
    assert_eq!(client.call("ListActivities", "{}").status, 200);
}

/// Whatever of it a proxy before the door takes for a body, and whatever for the next request: the door answers once and
/// reads nothing more.
#[test]
fn chunks_beside_a_length_or_without_one_smuggle_nothing() {
    let door = Door::open();
    let hidden = sfn("DeleteStateMachine", r#"{"stateMachineArn":"arn:aws:states:r:1:stateMachine:a"}"#);
    for headers in [
        "Content-Length: 7\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 7",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "transfer-encoding:\tchunked",
        "Content-Length: 7\r\nTransfer-Encoding: identity",
        "Content-Length: 7\r\nTransfer-Encoding: chunked, identity",
        "Content-Length: 7\r\nTransfer-Encoding: xchunked",
        "Content-Length: 7\r\nTransfer-Encoding : chunked",
        "Content-Length: 7\r\n Transfer-Encoding: chunked",
    ] {
        let response = only_answer(&door, framed(headers, &format!("2\r\n{{}}\r\n0\r\n\r\n{hidden}")));
        let status = response.map(|response| response.status);
        assert!(matches!(status, Some(400 | 411)), "{headers:?}: {status:?}");
    }
    for chunks in ["-1\r\n", "ffffffffffffffff1\r\n{}", "2;x=\"\r\n{}\r\n", "2\n{}\n0\n\n", "zz\r\n", "\r\n"]
    {
        let response = only_answer(&door, framed("Transfer-Encoding: chunked", &format!("{chunks}{hidden}")));
        assert_eq!(response.expect("an answer").error(), "MalformedHttpRequestException", "{chunks:?}");
    }
    assert_eq!(door.seen().calls, 0);
    door.is_well();
}

#[test]
fn heads_that_are_no_http_are_refused_and_end_the_connection() {
    let door = Door::open();
    let call = sfn("ListStateMachines", "{}");
    for (what, bytes) in [
        ("a space before the colon", call.replace("Host:", "Host :")),
        ("a folded line", call.replace("Host: localhost", "Host: local\r\n host")),
        ("a NUL in a value", call.replace("localhost", "local\0host")),
        ("a CR in a value", call.replace("localhost", "local\rhost")),
        ("a header without a name", call.replace("Host:", ":")),
        ("a header without a colon", call.replace("Host: localhost", "Host")),
        ("HTTP/3", call.replace("HTTP/1.1", "HTTP/3.0")),
        ("no version", call.replace(" HTTP/1.1", "")),
        ("two spaces", call.replace("POST /", "POST  /")),
        ("a target with a space", call.replace("POST /", "POST / x")),
        ("no target", call.replace("POST / ", "POST ")),
        ("a method that is none", call.replace("POST", "PO(ST")),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".to_owned() + &"x".repeat(512)),
        ("nothing that anybody speaks", "\0".repeat(600)),
    ] {
        let response = only_answer(&door, &bytes);
        assert!(response.as_ref().is_none_or(|response| response.status == 400), "{what}: {response:?}");
    }
    assert_eq!(door.seen().calls, 0);
    assert!(door.counts.of(Connection::Broken) >= 10, "{}", door.counts.of(Connection::Broken));
    door.is_well();
}

#[test]
fn bytes_that_are_no_text_in_headers_are_refused() {
    let door = Door::open();
    for header in ["X-Amz-Target: AWSStepFunctions.ListActivities", "Authorization: key good"] {
        let call = sfn("ListActivities", "{}");
        assert!(call.contains(header));
        let mut bytes = call.into_bytes();
        let at =
            bytes.windows(header.len()).position(|found| found == header.as_bytes()).expect("it is there");
        bytes[at + header.len() - 1] = 0xff;
        let mut client = door.client();
        client.send(&bytes);
        let response = client.receive();
        assert_eq!(response.status, 400, "{header}");
        assert!(response.error().ends_with("Exception"), "{header}: {}", response.text());
    }
    assert_eq!(door.seen().calls, 0);
}

#[test]
fn heads_that_are_too_long_are_refused_by_size_and_by_number() {
    let door = Door::open();
    let call = sfn("ListStateMachines", "{}");
    let with = |more: String| call.replace("Host:", &format!("{more}Host:"));
    let long = |bytes: usize| with(format!("X-Long: {}\r\n", "x".repeat(bytes)));
    let many = |count: usize| with((0..count).map(|number| format!("X-{number}: 1\r\n")).collect());
    for (what, bytes) in [
        ("a long header", long(16 << 10)),
        ("a very long header", long(1 << 20)),
        ("many headers", many(64)),
        ("thousands of headers", many(50_000)),
        ("a long target", call.replace("POST /", &format!("POST /?{}", "x".repeat(16 << 10)))),
        ("a very long target", call.replace("POST /", &format!("POST /{}", "x".repeat(1 << 20)))),
    ] {
        let mut client = door.client();
        client.try_send(&bytes);
        let status = client.try_receive().map(|response| response.status);
        // Who sends on beyond what is read may lose the answer to the connection's end.
        let lost = bytes.len() > 100_000;
        assert!(matches!(status, Some(414 | 431)) || (lost && status.is_none()), "{what}: {status:?}");
    }
    for (what, bytes) in [("a header that fits", long(15 << 10)), ("headers that fit", many(50))] {
        let mut client = door.client();
        client.send(&bytes);
        assert_eq!(client.receive().status, 200, "{what}");
    }
    assert_eq!(door.seen().calls, 2);
}

#[test]
fn bodies_that_are_too_long_are_refused_and_their_senders_hear_it() {
    let door = Door::with(Limits { body_bytes: 100_000, ..Limits::default() });
    let body = |bytes: usize| {
        let frame = r#"{"nextToken":""}"#.len();
        format!(r#"{{"nextToken":"{}"}}"#, "x".repeat(bytes - frame))
    };
    let mut client = door.client();
    let response = client.call("ListStateMachines", &body(100_000));
    assert_eq!(response.error(), "ValidationException", "it is taken, and too long for a token");
    let response = client.call("ListStateMachines", &body(100_001));
    assert_eq!((response.status, response.error()), (413, "RequestEntityTooLargeException".to_owned()));
    assert!(response.text().contains("100000 bytes"), "{}", response.text());
    client.send(asw("StopExecution", &body(100_001)));
    let response = client.receive();
    assert_eq!((response.status, response.error()), (200, "RequestSizeLimitExceeded".to_owned()));
    // What says that it is without end is not waited for.
    let mut client = door.client();
    client.send(framed("Content-Length: 1000000000000", "{"));
    client.stream.write_all(&vec![b' '; 300_000]).expect("taken, and thrown away");
    assert_eq!(client.receive().status, 413);
    assert_eq!(door.seen().calls, 0);
}

#[test]
fn a_client_that_asks_first_is_told_at_once_that_its_body_is_too_long() {
    let door = Door::with(Limits { body_bytes: 100_000, ..Limits::default() });
    let mut client = door.client();
    client.send(framed("Content-Length: 100001\r\nExpect: 100-continue", ""));
    assert_eq!(client.receive().status, 413);
    client.ends();
    let mut client = door.client();
    client.send(
        framed("Content-Length: 2\r\nExpect: 100-continue", "").replace("ListStateMachines", "Nothing"),
    );
    assert_eq!(client.receive().error(), "UnknownOperationException");
    client.ends();
}

#[test]
fn a_body_that_breaks_off_reaches_nobody_and_bytes_beyond_it_are_no_part_of_it() {
    let door = Door::open();
    let mut client = door.client();
    client.send(framed("Content-Length: 10", "{}"));
    client.stream.shutdown(Shutdown::Write).expect("shut");
    while client.more() {}
    let said = String::from_utf8(client.take_unread()).expect("text");
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
    assert_eq!(door.seen().calls, 0);
    let mut client = door.client();
    client.send(framed("Content-Length: 2", "{}}\r\n\r\n"));
    assert_eq!(client.receive().status, 200);
    assert_eq!(client.receive().status, 400, "the rest is no request");
    client.ends();
}

#[test]
fn old_http_is_answered_and_its_connection_ends() {
    let door = Door::open();
    let mut client = door.client();
    client.send(sfn("ListStateMachines", "{}").replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(client.receive().status, 200);
    client.ends();
    let chunked = framed("Transfer-Encoding: chunked", "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(only_answer(&door, chunked).expect("an answer").status, 400);
}
