//! HTTP/2: good clients by prior knowledge, and floods in frames that no client would send.

use std::time::Duration;

use bytes::Bytes;
use front::Limits;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::{Client, Door, PATIENCE};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// HPACK without a table and without Huffman's code: literal names and values.
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            let length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).expect("short"));
            } else {
                block.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128 + 128).expect("a byte"));
                    rest /= 128;
                }
                block.push(u8::try_from(rest).expect("a byte"));
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn call<'a>(target: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    let mut headers = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "h"),
        ("authorization", "key good"),
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", target),
    ];
    headers.extend_from_slice(more);
    block(&headers)
}

const HELD: &str = "AWSStepFunctions.GetActivityTask";
const BODY: &[u8] = br#"{"activityArn":"a"}"#;

/// A client that has begun to speak HTTP/2.
fn begun(door: &Door) -> Client {
    let mut client = door.client();
    client.send(PREFACE);
    client.send(frame(SETTINGS, 0, 0, &[]));
    client
}

/// The next frame: kind, flags, stream, payload; `None` at the connection's end.
fn next_frame(client: &mut Client, unread: &mut Vec<u8>) -> Option<(u8, u32, Vec<u8>)> {
    loop {
        if unread.len() >= 9 {
            let length = usize::from(unread[0]) << 16 | usize::from(unread[1]) << 8 | usize::from(unread[2]);
            if unread.len() >= 9 + length {
                let frame: Vec<u8> = unread.drain(..9 + length).collect();
                let stream = u32::from_be_bytes(frame[5..9].try_into().expect("four"));
                return Some((frame[3], stream, frame[9..].to_vec()));
            }
        }
        if !client.more() {
            return None;
        }
        unread.append(&mut client.take_unread());
    }
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[payload.len() - 4..].try_into().expect("four"))
}

/// Reads until the connection is told to end, and returns why.
fn goes_away(client: &mut Client) -> u32 {
    let mut unread = Vec::new();
    while let Some((kind, _, payload)) = next_frame(client, &mut unread) {
        if kind == GOAWAY {
            return u32::from_be_bytes(payload[4..8].try_into().expect("four"));
        }
    }
    panic!("the connection ended without a word");
}

async fn connected(door: &Door) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(door.address).await.expect("connects");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("http://door.test:80/")
        .header("authorization", "key good")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "AWSStepFunctions.ListStateMachines")
        .body(Full::new(body.into()))
        .expect("a request")
}

#[tokio::test]
async fn a_client_that_speaks_http2_at_once_has_many_calls_on_one_connection() {
    let door = Door::open();
    let sender = connected(&door).await;
    let calls = (0..100).map(|number| {
        let mut sender = sender.clone();
        async move {
            sender.ready().await.expect("ready");
            let response =
                sender.send_request(post(format!(r#"{{"maxResults":{number}}}"#))).await.expect("answered");
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.0");
            let body = response.into_body().collect().await.expect("whole").to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body["input"]["maxResults"], number);
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(door.seen().calls, 100);
    assert_eq!(door.counts.of(front::Connection::Opened), 1);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_without_a_length_too() {
    let door = Door::with(Limits { body_bytes: 10_000, ..Limits::default() });
    let mut sender = connected(&door).await;
    let response = sender.send_request(post(vec![b' '; 12_000])).await.expect("answered");
    assert_eq!(response.status(), 413);
    let (streamed, _) = post(Bytes::new()).into_parts();
    let pieces =
        (0..12).map(|_| Ok::<_, std::io::Error>(hyper::body::Frame::data(Bytes::from(vec![b' '; 1_000]))));
    let stream = TcpStream::connect(door.address).await.expect("connects");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(pieces));
    let response = sender.send_request(Request::from_parts(streamed, body)).await.expect("answered");
    assert_eq!(response.status(), 413);
    assert_eq!(door.seen().calls, 0);
}

#[test]
fn more_streams_than_there_may_be_are_refused_and_the_others_go_on() {
    let door = Door::with(Limits { streams: 4, ..Limits::default() });
    let mut client = begun(&door);
    for stream in 0..4 {
        client.send(frame(HEADERS, END_HEADERS, 2 * stream + 1, &call(HELD, &[])));
        client.send(frame(DATA, END_STREAM, 2 * stream + 1, BODY));
    }
    door.saw("all of them wait", |seen| seen.waiting == 4);
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 9, &call(HELD, &[])));
    let mut unread = Vec::new();
    let refused = loop {
        let (kind, stream, payload) = next_frame(&mut client, &mut unread).expect("not the end");
        if kind == RST_STREAM {
            break (stream, code(&payload));
        }
    };
    assert_eq!(refused, (9, REFUSED_STREAM));
    door.let_go();
    let mut answered = 0;
    while answered < 4 {
        let (kind, _, _) = next_frame(&mut client, &mut unread).expect("not the end");
        answered += usize::from(kind == HEADERS);
    }
    assert_eq!(door.seen().calls, 4);
}

#[test]
fn streams_that_are_given_up_as_soon_as_they_begin_end_the_connection() {
    let door = Door::open();
    let mut client = begun(&door);
    let mut flood = Vec::new();
    for stream in 0..2_000 {
        flood.extend(frame(HEADERS, END_HEADERS, 2 * stream + 1, &call(HELD, &[])));
        flood.extend(frame(RST_STREAM, 0, 2 * stream + 1, &8u32.to_be_bytes()));
    }
    client.try_send(flood);
    assert_eq!(goes_away(&mut client), ENHANCE_YOUR_CALM);
    assert_eq!(door.seen().calls, 0);
    door.is_well();
}

#[test]
fn headers_without_end_end_the_connection() {
    let door = Door::open();
    let mut client = begun(&door);
    client.send(frame(HEADERS, 0, 1, &call(HELD, &[])));
    for number in 0..2_000 {
        let name = format!("x-{number}");
        client.try_send(frame(CONTINUATION, 0, 1, &block(&[(&name, &"x".repeat(1_000))])));
    }
    let mut unread = Vec::new();
    while next_frame(&mut client, &mut unread).is_some() {}
    assert_eq!(door.seen().calls, 0);
    door.is_well();
}

#[test]
fn headers_that_are_too_long_are_refused() {
    let door = Door::open();
    let mut client = begun(&door);
    let long = "x".repeat(9_000);
    let headers = call(HELD, &[("x-long", &long), ("x-longer", &long)]);
    let (first, rest) = headers.split_at(16_000);
    client.send(frame(HEADERS, END_STREAM, 1, first));
    client.send(frame(CONTINUATION, END_HEADERS, 1, rest));
    let mut unread = Vec::new();
    let stream = loop {
        let (kind, stream, _) = next_frame(&mut client, &mut unread).expect("not the end");
        if kind == HEADERS || kind == RST_STREAM {
            break stream;
        }
    };
    assert_eq!(stream, 1, "it is told so");
    assert_eq!(door.seen().calls, 0);
}

/// A call whose answer is longer than the client's window, so that it is not written until the client reads.
fn asks_for_much(client: &mut Client) {
    let window = 1_000u32.to_be_bytes();
    client.send(frame(SETTINGS, 0, 0, &[&[0, 4], &window[..]].concat()));
    let body = format!(r#"{{"stateMachineArn":"a","input":"{}"}}"#, "x".repeat(20_000));
    client.send(frame(HEADERS, END_HEADERS, 1, &call("AWSStepFunctions.StartExecution", &[])));
    let (first, last) = body.as_bytes().split_at(10_000);
    client.send(frame(DATA, 0, 1, first));
    client.send(frame(DATA, END_STREAM, 1, last));
}

#[test]
fn an_answer_has_its_place_until_it_is_read() {
    let limits = Limits { requests: 1, write_within: Duration::from_secs(3_600), ..Limits::default() };
    let door = Door::with(limits);
    let (mut client, mut unread) = (begun(&door), Vec::new());
    asks_for_much(&mut client);
    let mut read = 0;
    while read < 1_000 {
        let (kind, _, payload) = next_frame(&mut client, &mut unread).expect("not the end");
        read += if kind == DATA { payload.len() } else { 0 };
    }
    assert_eq!(door.client().call("ListStateMachines", "{}").error(), "ThrottlingException");
    client.send(frame(WINDOW_UPDATE, 0, 1, &1_000_000u32.to_be_bytes()));
    while read < 20_000 {
        let (kind, _, payload) = next_frame(&mut client, &mut unread).expect("not the end");
        read += if kind == DATA { payload.len() } else { 0 };
    }
    testkit::eventually("the place is free", PATIENCE, || {
        let response = door.client().call("ListStateMachines", "{}");
        if response.status == 200 { Ok(()) } else { Err(response.error()) }
    });
}

/// Neither pings nor other streams are progress of an answer.
#[test]
fn who_does_not_read_an_answer_is_cut_off_whatever_else_he_does() {
    let soon = Duration::from_millis(200);
    let door = Door::with(Limits { requests: 1, write_within: soon, ..Limits::default() });
    let mut client = begun(&door);
    asks_for_much(&mut client);
    client.stream.set_read_timeout(Some(soon / 10)).expect("set");
    let mut pings = 0;
    loop {
        let mut buffer = [0; 16 << 10];
        match std::io::Read::read(&mut client.stream, &mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            _ => client.try_send(frame(PING, 0, 0, &[0; 8])),
        }
        pings += 1;
        assert!(pings < 1_000_000, "it is let ping for ever");
    }
    door.counts.wait(front::Connection::SlowReader, 1);
    door.counts.wait(front::Connection::Closed, 1);
    door.is_well();
}

#[test]
fn frames_that_mean_nothing_end_the_connection() {
    let door = Door::open();
    for (what, bytes) in [
        ("a body before its headers", frame(DATA, END_STREAM, 1, BODY)),
        ("a stream of the server's", frame(HEADERS, END_HEADERS, 2, &call(HELD, &[]))),
        ("a block that is none", frame(HEADERS, END_HEADERS, 1, &[0xff; 64])),
        ("a frame that is too long", frame(DATA, 0, 1, &[0; 100_000])),
        ("a window of nothing", frame(8, 0, 0, &[0; 4])),
    ] {
        let mut client = begun(&door);
        client.try_send(bytes);
        assert_ne!(goes_away(&mut client), 0, "{what}");
    }
    assert_eq!(door.seen().calls, 0);
    door.is_well();
}

#[test]
fn headers_that_http2_does_not_know_or_that_are_there_twice_are_refused() {
    let door = Door::open();
    for more in [
        &[("transfer-encoding", "chunked")][..],
        &[("connection", "close")],
        &[("X-Upper", "1")],
        &[(":path", "/other")],
        &[("content-length", "5")],
        &[("x-amz-target", "AWSStepFunctions.ListActivities")],
        &[("host", "other")],
    ] {
        let mut client = begun(&door);
        client.send(frame(HEADERS, END_HEADERS, 1, &call("AWSStepFunctions.ListActivities", more)));
        client.try_send(frame(DATA, END_STREAM, 1, b"{}"));
        let mut unread = Vec::new();
        let refused = loop {
            let Some((kind, _, payload)) = next_frame(&mut client, &mut unread) else { break true };
            match kind {
                RST_STREAM | GOAWAY => break true,
                DATA => break payload.windows(6).any(|text| text == b"__type"),
                _ => {}
            }
        };
        assert!(refused, "{more:?}");
    }
    assert_eq!(door.seen().calls, 0);
}

#[test]
fn a_connection_without_a_stream_is_idle_whatever_frames_it_sends() {
    let door = Door::with(Limits {
        head_within: std::time::Duration::from_millis(200),
        idle_within: std::time::Duration::from_millis(200),
        ..Limits::default()
    });
    let mut client = begun(&door);
    client.stream.set_read_timeout(Some(std::time::Duration::from_millis(20))).expect("set");
    let mut pings = 0;
    loop {
        let mut buffer = [0; 1_024];
        match std::io::Read::read(&mut client.stream, &mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            _ => client.try_send(frame(6, 0, 0, &[0; 8])),
        }
        pings += 1;
        assert!(pings < 1_000_000, "it is let ping for ever");
    }
    door.counts.wait(front::Connection::Idle, 1);
}
