//! How a door is opened and shut.

use std::net::TcpStream;
use std::time::Duration;

use front::{Connection, Error, Limits};

use crate::support::{Door, sfn};

fn held() -> String {
    sfn("GetActivityTask", r#"{"activityArn":"a"}"#)
}

#[test]
fn a_call_under_way_is_answered_while_the_door_is_shut_and_nobody_else_is_let_in() {
    let mut door = Door::open();
    let mut idle = door.client();
    assert_eq!(idle.call("ListStateMachines", "{}").status, 200);
    let mut client = door.client();
    client.send(held());
    door.saw("it waits", |seen| seen.waiting == 1);
    let front = door.front.take().expect("it is open");
    let shutting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(front.shut_down());
    });
    idle.ends();
    assert!(TcpStream::connect(door.address).is_err(), "nobody listens");
    door.let_go();
    let response = client.receive();
    assert_eq!((response.status, response.header("connection")), (200, "close"));
    client.ends();
    shutting.join().expect("it is shut");
    assert_eq!(door.counts.of(Connection::Opened), door.counts.of(Connection::Closed));
}

#[test]
fn a_call_that_does_not_end_does_not_hold_the_door_open() {
    let mut door = Door::with(Limits { drain_within: Duration::from_millis(100), ..Limits::default() });
    let mut client = door.client();
    client.send(held());
    let mut half = door.client();
    half.send(&held()[..50]);
    door.saw("it waits", |seen| seen.waiting == 1);
    door.shut_down();
    assert_eq!(door.seen().dropped, 1);
    client.ends();
    half.ends();
}

#[test]
fn a_door_that_is_dropped_is_shut() {
    let mut door = Door::open();
    let mut client = door.client();
    assert_eq!(client.call("ListStateMachines", "{}").status, 200);
    drop(door.front.take());
    client.ends();
}

#[test]
fn a_taken_address_is_refused_although_doors_share_theirs_between_threads() {
    let door = Door::open();
    let error = Door::start(Limits::default(), &door.address.to_string(), None, false).err();
    assert!(matches!(&error, Some(Error::Listen { address, .. }) if *address == door.address), "{error:?}");
    let said = error.expect("an error").to_string();
    assert!(said.contains(&door.address.to_string()) && said.contains("choose another"), "{said}");
}

#[test]
fn off_loopback_there_is_no_door_without_tls_or_for_everybody() {
    let error = Door::start(Limits::default(), "0.0.0.0:0", None, false).err();
    assert!(matches!(error, Some(Error::NoTls(_))), "{error:?}");
    Door::start(Limits::default(), "127.0.0.1:0", None, true)
        .expect("on loopback everybody may be let in")
        .is_well();
}

#[test]
fn limits_that_cannot_work_are_refused_with_which() {
    let some = Limits::default;
    for (limits, words) in [
        (Limits { connections: 0, ..some() }, "connections"),
        (Limits { requests: 0, ..some() }, "requests"),
        (Limits { head_bytes: 100, ..some() }, "head_bytes"),
        (Limits { headers: 100_000, ..some() }, "headers"),
    ] {
        let error = Door::start(limits, "127.0.0.1:0", None, false).err().expect("refused");
        assert!(error.to_string().contains(words), "{error}");
    }
}
