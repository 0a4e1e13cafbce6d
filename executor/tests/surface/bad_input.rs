//! What is refused, with which code, and what the message names. Afterwards the node still works.

use bytes::Bytes;
use proto::executor::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::{ORDERS, PASS, PATIENCE, TestNode, node, refused, request};

const INPUT_MAX: usize = 262_144;
const DEFINITION_MAX: usize = 1 << 20;

async fn still_works(test: &mut TestNode) {
    let started = test.start(PASS, "{}").await;
    test.ended(&started.execution_id).await;
}

async fn refused_input(test: &mut TestNode, input: impl Into<Bytes>) -> String {
    let (code, reason, message) = refused(test.client.start_execution(request(PASS, input)).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidExecutionInput"), "{message}");
    message
}

#[tokio::test]
async fn input_that_is_no_json_is_refused_with_the_place() {
    let mut test = node().await;
    let wrong: [&'static [u8]; 9] = [
        b"{",
        b"[1,]",
        b"{\"a\":\"\xff\"}",
        br#""\ud800""#,
        br#"{"\udc00":1}"#,
        b"1e999",
        b"-1e400",
        b"nul",
        b"{} {}",
    ];
    for input in wrong {
        let message = refused_input(&mut test, input).await;
        assert!(message.contains("byte"), "{message}");
    }
    still_works(&mut test).await;
}

#[tokio::test]
async fn an_input_a_hundred_thousand_deep_is_refused() {
    let mut test = node().await;
    refused_input(&mut test, "[".repeat(100_000)).await;
    let closed = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused_input(&mut test, closed).await;
    still_works(&mut test).await;
}

#[tokio::test]
async fn an_input_may_be_as_long_as_the_limit_and_no_byte_longer() {
    let mut test = node().await;
    let of_length = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    let longest =
        test.client.start_execution(request(PASS, of_length(INPUT_MAX))).await.expect("at the limit");
    let described = test.ended(&longest.into_inner().execution_id).await;
    assert_eq!(described.output.map(|output| output.len()), Some(INPUT_MAX));
    let message = refused_input(&mut test, of_length(INPUT_MAX + 1)).await;
    assert!(message.contains("262144") || message.contains("262,144"), "{message}");
}

#[tokio::test]
async fn a_definition_may_be_as_long_as_the_limit_and_no_byte_longer() {
    let mut test = node().await;
    let of_length = |length: usize| {
        let mut text = PASS.to_vec();
        text.resize(length, b' ');
        v1::PutDefinitionRequest { definition: text.into(), ..Default::default() }
    };
    assert!(test.client.put_definition(of_length(DEFINITION_MAX)).await.is_ok());
    let (code, reason, message) = refused(test.client.put_definition(of_length(DEFINITION_MAX + 1)).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidDefinition"));
    assert!(message.contains("1048577") && message.contains("1048576"), "{message}");
}

#[tokio::test]
async fn a_message_beyond_the_transport_s_limit_ends_only_its_own_call() {
    let mut test = node().await;
    let huge = v1::PutDefinitionRequest { definition: vec![b' '; 5 << 20].into(), ..Default::default() };
    let (code, ..) = refused(test.client.put_definition(huge).await);
    assert_eq!(code, Code::OutOfRange);
    still_works(&mut test).await;
}

#[tokio::test]
async fn a_definition_is_refused_with_every_problem_and_its_place() {
    let mut test = node().await;
    let definition =
        Bytes::from_static(br#"{"StartAt":"Q","States":{"P":{"Type":"Pass"},"S":{"Type":"Nope"}}}"#);
    let put = v1::PutDefinitionRequest { definition, ..Default::default() };
    let status = test.client.put_definition(put).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = tonic_types::StatusExt::get_error_details(&status);
    let problems = &details.bad_request().expect("a BadRequest").field_violations;
    assert!(problems.len() >= 2, "{problems:?}");
    assert!(problems.iter().any(|problem| problem.field.contains("/States/")), "{problems:?}");
}

#[tokio::test]
async fn a_definition_a_hundred_thousand_deep_is_refused() {
    let mut test = node().await;
    let put = v1::PutDefinitionRequest { definition: "[".repeat(100_000).into(), ..Default::default() };
    let (code, reason, _) = refused(test.client.put_definition(put).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidDefinition"));
    still_works(&mut test).await;
}

#[tokio::test]
async fn an_unknown_definition_is_named_with_what_to_do() {
    let mut test = node().await;
    let unknown = v1::StartExecutionRequest {
        definition: Bytes::new(),
        definition_hash: Bytes::from_static(&[7; 32]),
        ..request(PASS, "{}")
    };
    let (code, reason, message) = refused(test.client.start_execution(unknown.clone()).await);
    assert_eq!((code, reason.as_str()), (Code::NotFound, "DefinitionDoesNotExist"));
    assert!(message.contains("PutDefinition"), "{message}");
    let neither = v1::StartExecutionRequest { definition_hash: Bytes::new(), ..unknown };
    let (code, reason, _) = refused(test.client.start_execution(neither).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidDefinition"));
}

#[tokio::test]
async fn names_and_arns_that_are_none_are_refused() {
    let mut test = node().await;
    let long = format!("{ORDERS}{}", "x".repeat(300));
    for arn in ["", "orders", "arn:aws:s3:::bucket", long.as_str()] {
        let wrong = v1::StartExecutionRequest { machine_arn: arn.to_owned(), ..request(PASS, "{}") };
        let (code, reason, _) = refused(test.client.start_execution(wrong).await);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidArn"), "{arn}");
    }
    for role in ["orders", "arn:aws:iam::123456789012:user/orders", long.as_str()] {
        let wrong = v1::StartExecutionRequest { role_arn: role.to_owned(), ..request(PASS, "{}") };
        let (code, reason, message) = refused(test.client.start_execution(wrong).await);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidArn"), "{role}");
        assert!(message.contains("`role_arn`"), "{message}");
    }
    for name in ["a b", "a:b", "a\u{7}b", &"n".repeat(81)] {
        let wrong = v1::StartExecutionRequest { name: name.to_owned(), ..request(PASS, "{}") };
        let (code, reason, _) = refused(test.client.start_execution(wrong).await);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidName"), "{name:?}");
    }
    let longest = v1::StartExecutionRequest { name: "n".repeat(80), ..request(PASS, "{}") };
    assert!(test.client.start_execution(longest).await.is_ok());
}

#[tokio::test]
async fn an_execution_that_nobody_started_is_not_found() {
    let mut test = node().await;
    let known = test.start(PASS, "{}").await.execution_id;
    let (code, reason, _) = refused(test.describe("nonsense").await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidArn"));
    let other = "arn:aws:states:us-east-1:123456789012:execution:orders:never";
    let (code, reason, _) = refused(test.describe(other).await);
    assert_eq!((code, reason.as_str()), (Code::NotFound, "ExecutionDoesNotExist"));
    let id: ids::ExecutionId = known.parse().expect("an id");
    let elsewhere = ids::BatchId::new(id.batch.partition, id.batch.incarnation + 9, 1).expect("in range");
    let (code, ..) = refused(test.describe(&elsewhere.execution(0).to_string()).await);
    assert_eq!(code, Code::NotFound);
    let beyond = ids::BatchId::new(ids::PartitionId::new(900).expect("in range"), 1, 1).expect("in range");
    let (code, ..) = refused(test.describe(&beyond.execution(0).to_string()).await);
    assert_eq!(code, Code::NotFound);
}

#[tokio::test]
async fn pages_and_tokens_out_of_range_are_refused() {
    let mut test = node().await;
    let list = |max_results, token: &str| v1::ListExecutionsRequest {
        machine_arn: ORDERS.to_owned(),
        max_results,
        next_token: token.to_owned(),
        ..Default::default()
    };
    let (code, _, message) = refused(test.client.list_executions(list(1_001, "")).await);
    assert!(code == Code::InvalidArgument && message.contains("1000"), "{message}");
    let (code, reason, _) = refused(test.client.list_executions(list(1, "made up")).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidToken"));
}

#[tokio::test]
async fn a_page_s_token_is_refused_once_it_is_changed_or_asks_something_else() {
    let mut test = node().await;
    for _ in 0..2 {
        test.start(PASS, "{}").await;
    }
    let list = |machine_arn: &str, next_token: &str| v1::ListExecutionsRequest {
        machine_arn: machine_arn.to_owned(),
        max_results: 1,
        next_token: next_token.to_owned(),
        ..Default::default()
    };
    let token = test.client.list_executions(list(ORDERS, "")).await.expect("listed").into_inner().next_token;
    assert!(!token.is_empty(), "there is a second page");
    let last = token.len() - 1;
    let changed = format!("{}{}", &token[..last], if token.ends_with('0') { '1' } else { '0' });
    for (machine, token) in [(ORDERS, changed.as_str()), (&ORDERS.replace("orders", "others"), &token)] {
        let (code, reason, _) = refused(test.client.list_executions(list(machine, token)).await);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidToken"), "{machine} {token}");
    }
    test.client.list_executions(list(ORDERS, &token)).await.expect("the token as it was given");
}

#[tokio::test]
async fn garbage_on_the_socket_ends_that_connection_alone() {
    let mut test = node().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4_096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff",
    ] {
        let mut socket = TcpStream::connect(test.node.addresses().public).await.expect("connects");
        // The node may close before all of it is written.
        let _ = socket.write_all(garbage).await;
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "the node closes the connection");
    }
    still_works(&mut test).await;
}
