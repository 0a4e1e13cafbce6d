//! What is made of a node that does not answer, and tokens of lists.

use std::net::SocketAddr;

use executor::clock::{Clock, ManualClock};
use proto::executor::v1::{self, DescribeNodeRequest};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::directory::Report;
use crate::error::OUTCOME_UNKNOWN;

const PLACE: &str = "9:a place in the order";

fn secret() -> Secret {
    Secret::from_key(&[7; 32])
}

fn asked(machine: &str, token: &str) -> ListExecutionsRequest {
    let (machine_arn, next_token) = (machine.to_owned(), token.to_owned());
    ListExecutionsRequest { machine_arn, next_token, ..ListExecutionsRequest::default() }
}

#[test]
fn of_a_connection_that_broke_only_a_question_is_told_to_be_asked_again() {
    let told = |kind: Kind| {
        let broke = Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::BrokenPipe)));
        assert_eq!(broke.code(), Code::Unknown);
        let told = kind.heard(broke, "h:1");
        let details = told.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone());
        (told.code(), reason, details.retry_info().is_some())
    };
    assert_eq!(told(Kind::Question), (Code::Unavailable, Some("Unavailable".into()), true));
    assert_eq!(told(Kind::Change), (Code::Unavailable, Some(OUTCOME_UNKNOWN.into()), false));
}

#[test]
fn a_change_that_was_not_answered_in_time_is_told_as_unknown() {
    for late in [Status::deadline_exceeded("late"), Status::cancelled("Timeout expired")] {
        assert_eq!(Kind::Question.heard(late.clone(), "h:1").code(), late.code());
        let told = Kind::Change.heard(late, "h:1");
        let reason = told.get_error_details().error_info().map(|info| info.reason.clone());
        assert_eq!((told.code(), reason), (Code::Unavailable, Some(OUTCOME_UNKNOWN.to_owned())));
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_is_told_with_its_address_and_that_nothing_was_asked_of_it() {
    // Bound and not listened on: the system refuses connections, and nobody else can take the port.
    let refusing = bound();
    let node = refusing.local_addr().expect("bound").to_string();
    for kind in [Kind::Question, Kind::Change] {
        let refused = unreached(refusing.local_addr().expect("bound")).await;
        let told = kind.heard(refused, &node);
        let details = told.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str());
        assert_eq!((told.code(), reason), (Code::Unavailable, Some("Unavailable")), "{told}");
        assert!(details.retry_info().is_some(), "nothing was begun: {told}");
        let words = told.message();
        assert!(words.contains(&node) && words.contains("Connection refused"), "{words}");
        assert!(words.contains("scheduler-stub nodes"), "{words}");
    }
}

fn bound() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    socket
}

/// What a call of a node comes to that cannot be reached.
async fn unreached(node: SocketAddr) -> Status {
    let mut client = NodeClients::default().client(&node.to_string()).expect("an address");
    client.describe_node(DescribeNodeRequest {}).await.expect_err("nobody is reached")
}

#[tokio::test]
async fn a_node_that_refuses_connections_or_is_silent_has_begun_nothing() {
    let refusing = bound();
    let silent = bound().listen(1).expect("it listens");
    let address = silent.local_addr().expect("an address");
    // What is not accepted fills the queue, so that the system answers nobody else, as a host without power.
    let mut queued = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queued.push(connected.expect("queued"));
    }
    for node in [refusing.local_addr().expect("bound"), address] {
        let status = unreached(node).await;
        assert!(began_nothing(&status), "{status:?}");
    }
    let broke = Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::BrokenPipe)));
    assert!(!began_nothing(&broke), "it may have begun");
}

#[tokio::test]
async fn a_change_that_did_not_reach_its_node_is_made_on_the_next_one_that_has_the_partition() {
    let (away, clock) = (bound(), ManualClock::at_ms(1_000));
    let directory = Arc::new(Directory::new(Clock::Manual(clock.clone())));
    let heard = |public_address: &str| {
        clock.advance(Duration::from_millis(1));
        let shard = v1::Shard { partitions: vec![0], ..v1::Shard::default() };
        directory.observe(Report {
            node_id: "one".into(),
            public_address: public_address.to_owned(),
            shards: vec![shard],
            partitions: 1,
            serving: true,
            managed: false,
            draining: false,
            condition: String::new(),
        })
    };
    heard(&away.local_addr().expect("bound").to_string());
    let sealed = Arc::new(ClusterSecret::from_key(&[7; 32]));
    let forward = Forward::new(Arc::clone(&directory), NodeClients::default(), sealed);
    let attempts = AtomicUsize::new(0);
    let call = |mut client: ExecutorClient<Channel>| {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed);
        let heard = &heard;
        async move {
            if attempt > 0 {
                return Ok(Response::new(()));
            }
            let answer = client.describe_node(DescribeNodeRequest {}).await;
            heard("another:1");
            answer.map(|_| Response::new(()))
        }
    };
    let partition = PartitionId::new(0).expect("in range");
    let answer = forward.to_owner(|_| Some(partition), Kind::Change, call).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(attempts.into_inner(), 2);
}

#[test]
fn a_nodes_own_words_stay() {
    for kind in [Kind::Question, Kind::Change] {
        assert_eq!(kind.heard(Status::internal("a bug"), "h:1").code(), Code::Internal);
        assert_eq!(kind.heard(Status::not_found("none"), "h:1").code(), Code::NotFound);
    }
}

#[test]
fn the_end_of_a_list_has_no_token_and_its_beginning_needs_none() {
    assert_eq!(seal(&secret(), &asked("m", ""), ""), "");
    assert_eq!(open(&secret(), &asked("m", "")).expect("the beginning"), "");
}

#[test]
fn a_token_that_was_made_up_changed_or_given_for_another_question_is_refused() {
    let token = seal(&secret(), &asked("m", ""), PLACE);
    assert_eq!(open(&secret(), &asked("m", &token)).expect("our own token"), PLACE);
    let other_limit = ListExecutionsRequest { max_results: 7, ..asked("m", &token) };
    assert_eq!(open(&secret(), &other_limit).expect("the limit is no part of the question"), PLACE);
    let of_a_node = secret().seal_text("list m 0", PLACE);
    let changed = format!("{}0", &token[..token.len() - 1]);
    let changed = if changed == token { format!("{}1", &token[..token.len() - 1]) } else { changed };
    for wrong in ["abc", PLACE, &of_a_node, &changed] {
        assert!(open(&secret(), &asked("m", wrong)).is_err(), "{wrong}");
    }
    assert!(open(&secret(), &asked("other", &token)).is_err(), "of another machine");
    let failed = ListExecutionsRequest { status: 3, ..asked("m", &token) };
    assert!(open(&secret(), &failed).is_err(), "of another status");
    assert!(open(&Secret::from_key(&[8; 32]), &asked("m", &token)).is_err(), "of another cluster");
}
