//! What a node calls by itself, as its configuration says.

use std::io::Write as _;
use std::sync::Arc;

use executor::config::{Config, IntegrationOptions};
use executor::node::{Node, StartError};
use journal::memory::MemoryStore;
use proto::executor::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{PATIENCE, TestNode, config, request, start};

const CONNECTION: &str = "arn:aws:events:us-east-1:123456789012:connection/pay/1";

/// A server that answers those who have its key, and its URL.
async fn api() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let (status, body) = if head.contains("x-api-key: s3cret\r\n") {
                ("200 OK", "{}")
            } else {
                ("403 Forbidden", "no")
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

async fn serving(integrations: IntegrationOptions) -> TestNode {
    let test = start(Config { integrations, ..config() }, Arc::new(MemoryStore::new())).await;
    let ready = tokio::time::timeout(PATIENCE, test.node.ready()).await;
    assert_eq!(ready, Ok(true), "the node serves");
    test
}

fn loopback() -> IntegrationOptions {
    IntegrationOptions { egress_allow: vec!["127.0.0.1".to_owned()], ..Default::default() }
}

#[tokio::test]
async fn an_http_task_shows_the_key_of_its_connection_and_no_history_does() {
    let url = api().await;
    let mut secret = tempfile::NamedTempFile::new().expect("a file");
    writeln!(secret, "s3cret").expect("written");
    let mut connections = tempfile::NamedTempFile::new().expect("a file");
    let path = secret.path().display();
    writeln!(
        connections,
        "[[connection]]\narn = '{CONNECTION}'\nhosts = ['127.0.0.1']\ninsecure = true\n\
         api-key = {{ header = 'x-api-key', value = {{ file = '{path}' }} }}"
    )
    .expect("written");
    let options = IntegrationOptions { connections: Some(connections.path().to_owned()), ..loopback() };
    let mut test = serving(options).await;
    let definition: &'static str = format!(
        r#"{{"StartAt":"A","States":{{"A":{{"Type":"Task","Resource":"arn:aws:states:::http:invoke","Parameters":{{
        "ApiEndpoint":"{url}/pay","Method":"POST","Authentication":{{"ConnectionArn":"{CONNECTION}"}}}},"End":true}}}}}}"#
    )
    .leak();
    for mode in [v1::Mode::Standard, v1::Mode::Express] {
        let request = v1::StartExecutionRequest { mode: mode.into(), ..request(definition.as_bytes(), "{}") };
        let started = test.client.start_execution(request).await.expect("started").into_inner();
        let ended = test.ended(&started.execution_id).await;
        let output = String::from_utf8_lossy(ended.output.as_deref().unwrap_or_default()).into_owned();
        assert!(output.contains(r#""StatusCode":200"#) && !output.contains("s3cret"), "{ended:?}");
    }
}

#[tokio::test]
async fn a_function_without_anybodys_credentials_is_not_invoked_and_the_cause_says_what_to_configure() {
    let options = IntegrationOptions { lambda_endpoint: Some(api().await), ..loopback() };
    const ELSEWHERE: &[u8] = br#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":
        "arn:aws:lambda:us-east-1:123456789012:function:elsewhere","End":true}}}"#;
    let mut test = serving(options).await;
    for (role, part) in [("", "--default-role"), ("arn:aws:iam::1:role/r", "--credentials")] {
        let request = v1::StartExecutionRequest { role_arn: role.to_owned(), ..request(ELSEWHERE, "{}") };
        let started = test.client.start_execution(request).await.expect("started");
        let ended = test.ended(&started.into_inner().execution_id).await;
        assert_eq!(ended.error.as_deref(), Some("States.Permissions"), "{ended:?}");
        assert!(ended.cause.as_deref().is_some_and(|cause| cause.contains(part)), "{ended:?}");
    }
}

#[tokio::test]
async fn a_node_whose_connections_cannot_be_read_does_not_start() {
    let integrations = IntegrationOptions { connections: Some("/no/such/file".into()), ..Default::default() };
    let refused = Node::start(Config { integrations, ..config() }, Arc::new(MemoryStore::new()));
    let error = refused.expect_err("refused");
    assert!(
        matches!(error, StartError::Integrations(_)) && error.to_string().contains("/no/such/file"),
        "{error}"
    );
}
