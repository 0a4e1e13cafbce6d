//! Many clients, and slow ones: what each can make the door keep is bounded, and the others are served.

use std::net::TcpStream;
use std::time::Duration;

use front::{Connection, Limits};

use crate::support::{Client, Door, asw, sfn};

/// Long enough for whoever speaks at once, and short enough to wait for.
const SOON: Duration = Duration::from_millis(200);

/// A call that the gate holds, with a body of about so many bytes.
fn held(bytes: usize) -> String {
    sfn("GetActivityTask", &format!(r#"{{"activityArn":"a","padding":"{}"}}"#, "x".repeat(bytes)))
}

#[test]
fn headers_that_drip_end_their_connection_and_hold_up_nobody() {
    let door = Door::with(Limits { head_within: SOON, ..Limits::default() });
    let mut slow: Vec<Client> = (0..20).map(|_| door.client()).collect();
    let call = sfn("ListStateMachines", "{}");
    for client in &mut slow {
        client.send(&call[..40]);
    }
    door.is_well();
    for client in &mut slow {
        client.ends();
    }
    // Also the second request of a connection.
    let mut client = door.client();
    assert_eq!(client.call("ListStateMachines", "{}").status, 200);
    client.send("POST / HTTP/1.1\r\n");
    client.ends();
    door.counts.wait(Connection::SlowHead, 21);
    assert_eq!(door.seen().calls, 2);
}

/// A byte now and then does not keep a head alive.
#[test]
fn headers_that_drip_byte_by_byte_have_no_more_time_than_others() {
    let door = Door::with(Limits { head_within: SOON, ..Limits::default() });
    let mut client = door.client();
    client.stream.set_read_timeout(Some(SOON / 10)).expect("set");
    client.send("POST / HTTP/1.1\r\nX-Drip: ");
    let mut sent = 0;
    loop {
        let mut byte = [0];
        match std::io::Read::read(&mut client.stream, &mut byte) {
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(_) => client.try_send("x"),
            Ok(_) => panic!("nothing was asked"),
        }
        sent += 1;
        assert!(sent < 2_000, "it is let drip for ever");
    }
    door.counts.wait(Connection::SlowHead, 1);
}

#[test]
fn a_body_that_drips_is_refused_and_leaves_its_place() {
    let door = Door::with(Limits { body_within: SOON, requests: 2, ..Limits::default() });
    let slow = sfn("ListStateMachines", &" ".repeat(100));
    let mut clients: Vec<Client> = (0..2).map(|_| door.client()).collect();
    for client in &mut clients {
        client.send(&slow[..slow.len() - 50]);
    }
    for client in &mut clients {
        let response = client.receive();
        assert_eq!((response.status, response.error()), (408, "RequestTimeoutException".to_owned()));
        client.ends();
    }
    let mut client = door.client();
    let slow = asw("DescribeFlowServices", &" ".repeat(100));
    client.send(&slow[..slow.len() - 50]);
    let response = client.receive();
    assert_eq!((response.status, response.error()), (200, "InvalidRequest".to_owned()));
    door.is_well();
    assert_eq!(door.seen().calls, 1);
}

#[test]
fn connections_on_which_nothing_happens_are_closed() {
    let door = Door::with(Limits { head_within: SOON, idle_within: SOON, ..Limits::default() });
    let mut silent = door.client();
    let mut idle = door.client();
    assert_eq!(idle.call("ListStateMachines", "{}").status, 200);
    silent.ends();
    idle.ends();
    door.counts.wait(Connection::Idle, 2);
    door.counts.wait(Connection::Closed, 2);
}

/// A call that waits is no idle connection, however long it waits.
#[test]
fn a_connection_whose_call_waits_is_not_idle() {
    let door = Door::with(Limits { head_within: SOON, idle_within: SOON, ..Limits::default() });
    let mut waiting = door.client();
    waiting.send(held(1));
    door.saw("the call waits", |seen| seen.waiting == 1);
    // As many others were closed for their silence in the meantime.
    for _ in 0..3 {
        door.client().ends();
    }
    door.let_go();
    assert_eq!(waiting.receive().status, 200);
}

#[test]
fn thousands_of_idle_connections_make_room_for_whoever_speaks() {
    let door = Door::with(Limits { connections: 16, ..Limits::default() });
    let mut idle: Vec<TcpStream> = Vec::new();
    for round in 0..20 {
        idle.extend((0..100).map(|_| TcpStream::connect(door.address).expect("connects")));
        let response = door.client().call("ListStateMachines", &format!(r#"{{"maxResults":{round}}}"#));
        assert_eq!(response.status, 200);
        if idle.len() > 400 {
            idle.drain(..100);
        }
    }
    assert_eq!(door.seen().calls, 20);
    let most = door.counts.most_open();
    assert!(most <= 16 + 1, "{most} were open at once, with one that came while another one went");
    assert!(door.counts.of(Connection::Evicted) > 1_000, "{}", door.counts.of(Connection::Evicted));
    assert_eq!(door.counts.of(Connection::Refused), 0);
}

#[test]
fn whoever_has_spoken_stays_longer_than_whoever_has_not() {
    let door = Door::with(Limits { connections: 4, ..Limits::default() });
    let mut known: Vec<Client> = (0..3).map(|_| door.client()).collect();
    for client in &mut known {
        assert_eq!(client.call("ListStateMachines", "{}").status, 200);
    }
    for _ in 0..50 {
        let _stranger = TcpStream::connect(door.address).expect("connects");
    }
    door.counts.wait(Connection::Opened, 53);
    for client in &mut known {
        assert_eq!(client.call("ListStateMachines", "{}").status, 200);
    }
}

#[test]
fn when_all_connections_are_busy_a_new_one_is_told_so() {
    let door = Door::with(Limits { connections: 3, ..Limits::default() });
    let mut busy: Vec<Client> = (0..3).map(|_| door.client()).collect();
    for client in &mut busy {
        client.send(held(1));
    }
    door.saw("all are busy", |seen| seen.waiting == 3);
    let mut refused = door.client();
    let response = refused.receive();
    assert_eq!((response.status, response.header("retry-after")), (503, "1"));
    assert!(response.text().contains("all connections are busy"), "{}", response.text());
    refused.ends();
    door.let_go();
    for client in &mut busy {
        assert_eq!(client.receive().status, 200);
    }
    door.is_well();
}

#[test]
fn more_requests_than_there_may_be_are_throttled_in_words_that_clients_try_again_on() {
    let door = Door::with(Limits { requests: 2, ..Limits::default() });
    let mut busy: Vec<Client> = (0..2).map(|_| door.client()).collect();
    for client in &mut busy {
        client.send(held(1));
    }
    door.saw("both wait", |seen| seen.waiting == 2);
    let mut more = door.client();
    let response = more.call("ListStateMachines", "{}");
    assert_eq!((response.status, response.error()), (400, "ThrottlingException".to_owned()));
    assert_eq!(more.action("DescribeFlowServices", "{}").error(), "RequestLimitExceeded");
    door.let_go();
    for client in &mut busy {
        assert_eq!(client.receive().status, 200);
    }
    assert_eq!(more.call("ListStateMachines", "{}").status, 200, "the same connection goes on");
}

/// Whoever is not known holds neither a place nor bytes, however long the body takes that nobody wants.
#[test]
fn strangers_with_long_bodies_leave_places_and_budget_to_callers_with_a_key() {
    let limits = Limits { requests: 1, small_body_bytes: 0, budget_bytes: 1_000, ..Limits::default() };
    let door = Door::with(Limits { body_within: Duration::from_secs(3_600), ..limits });
    let long = sfn("ListStateMachines", &" ".repeat(1_000)).replace("key good", "nobody");
    let mut strangers: Vec<Client> = (0..20).map(|_| door.client()).collect();
    for stranger in &mut strangers {
        stranger.send(&long[..long.len() - 500]);
    }
    door.saw_heads(20);
    door.is_well();
    for stranger in &mut strangers {
        stranger.send(&long[long.len() - 500..]);
        assert_eq!(stranger.receive().error(), "MissingAuthenticationTokenException");
    }
}

#[test]
fn a_length_that_is_too_long_takes_no_place() {
    let limits = Limits { requests: 1, body_bytes: 1_000, ..Limits::default() };
    let door = Door::with(Limits { body_within: Duration::from_secs(3_600), ..limits });
    let long = sfn("ListStateMachines", &" ".repeat(1_001));
    let mut client = door.client();
    client.send(&long[..long.len() - 1]);
    door.is_well();
    client.send(" ");
    assert_eq!(client.receive().status, 413);
}

/// What is refused while it comes is read on only as far as a small number of bytes, whatever was announced.
#[test]
fn a_body_that_is_refused_midway_is_not_read_on_for_long() {
    let limits = Limits { small_body_bytes: 1_000, budget_bytes: 0, ..Limits::default() };
    let door = Door::with(Limits { body_within: Duration::from_secs(3_600), ..limits });
    let mut known = door.client();
    let call = sfn("ListStateMachines", "").replace("Content-Length: 0", "Content-Length: 4000000");
    known.send(call);
    known.send(" ".repeat(400_000));
    let response = known.receive();
    assert_eq!((response.error().as_str(), response.header("connection")), ("ThrottlingException", "close"));
}

#[test]
fn big_bodies_share_a_budget_and_leave_small_ones_their_place() {
    let limits = Limits { small_body_bytes: 1_000, budget_bytes: 100_000, ..Limits::default() };
    let door = Door::with(limits);
    let mut first = door.client();
    first.send(held(60_000));
    door.saw("it waits", |seen| seen.waiting == 1);
    let mut second = door.client();
    second.send(held(60_000));
    assert_eq!(second.receive().error(), "ThrottlingException");
    let mut small: Vec<Client> = (0..200).map(|_| door.client()).collect();
    for client in &mut small {
        client.send(held(900));
    }
    door.saw("the small ones have room", |seen| seen.waiting == 201);
    door.let_go();
    assert_eq!(first.receive().status, 200);
    second.send(held(60_000));
    assert_eq!(second.receive().status, 200, "what was taken was given back");
}

#[test]
fn a_call_without_an_answer_is_given_up_in_time() {
    let door = Door::with(Limits { call_within: SOON, ..Limits::default() });
    let mut client = door.client();
    client.send(held(1));
    let response = client.receive();
    assert_eq!(
        (response.status, response.error()),
        (400, "OutcomeUnknown".to_owned()),
        "it may change something"
    );
    door.saw("its future was dropped", |seen| seen.dropped == 1 && seen.waiting == 0);
    client.send(asw("DescribeFlowServices", "{}"));
    assert_eq!(client.receive().status, 200);
}

#[test]
fn the_call_of_a_caller_that_goes_away_is_dropped_and_its_place_is_free() {
    let door = Door::with(Limits { requests: 1, ..Limits::default() });
    let mut client = door.client();
    client.send(held(1));
    door.saw("it waits", |seen| seen.waiting == 1);
    drop(client);
    door.saw("its future was dropped", |seen| seen.dropped == 1);
    door.counts.wait(Connection::Closed, 1);
    door.is_well();
    let told = door.counts.answered();
    assert_eq!((told[0].operation, told[0].error), (Some("GetActivityTask"), Some("Gone")));
}

/// What it has asked for is not kept for ever.
#[test]
fn a_client_that_does_not_read_its_answers_is_closed() {
    // Neither its idleness nor a body ends it: nothing but that it does not read.
    let door = Door::with(Limits { write_within: SOON, ..Limits::default() });
    let input = "x".repeat(250_000);
    let call = sfn("StartExecution", &format!(r#"{{"stateMachineArn":"a","input":"{input}"}}"#));
    let mut client = door.client();
    client.stream.set_write_timeout(Some(SOON)).expect("set");
    // 75 MB, which no kernel buffers: at some point nothing more is taken.
    client.try_send(call.repeat(300));
    door.counts.wait(Connection::SlowReader, 1);
    door.counts.wait(Connection::Closed, 1);
    assert!(door.seen().calls < 300, "{}", door.seen().calls);
    door.is_well();
}
