//! Bad input over the wire: a typed error that names what is wrong, and a node that goes on.

use proto::executor::v1;
use tonic::Code;

use crate::support::load::PASS;
use crate::support::node::{Node, start_request};

/// A case: what is sent, the code of the answer, and words that its message must have.
struct Case {
    request: v1::StartExecutionRequest,
    code: Code,
    words: &'static [&'static str],
}

fn input(bytes: impl Into<Vec<u8>>, words: &'static [&'static str]) -> Case {
    let request = v1::StartExecutionRequest { input: bytes.into().into(), ..start_request(PASS, "") };
    Case { request, code: Code::InvalidArgument, words }
}

fn definition(text: &str, words: &'static [&'static str]) -> Case {
    Case { request: start_request(text, "1"), code: Code::InvalidArgument, words }
}

/// A JSON string of so many bytes.
fn string_of(bytes: usize) -> Vec<u8> {
    format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes()
}

fn bad_inputs() -> Vec<Case> {
    vec![
        input(" ", &["not valid JSON"]),
        input("{\"a\":", &["not valid JSON", "byte"]),
        input(*b"\"\xff\"", &["not valid JSON", "byte"]),
        input("\"\\ud800\"", &["not valid JSON", "byte"]),
        input("1e999", &["not valid JSON", "byte"]),
        input("[".repeat(100_000), &["not valid JSON", "byte"]),
        input("1 2", &["not valid JSON", "byte"]),
        input(string_of(262_145), &["262145", "262144"]),
    ]
}

fn bad_definitions() -> Vec<Case> {
    let unknown = v1::StartExecutionRequest {
        definition: Vec::new().into(),
        definition_hash: vec![7; 32].into(),
        ..start_request("", "1")
    };
    let short = v1::StartExecutionRequest { definition_hash: vec![7; 3].into(), ..unknown.clone() };
    let machine = v1::StartExecutionRequest { machine_arn: "no arn".to_owned(), ..start_request(PASS, "1") };
    let name = v1::StartExecutionRequest { name: "x".repeat(81), ..start_request(PASS, "1") };
    vec![
        definition("{", &["definition"]),
        definition(
            r#"{"StartAt":"Nowhere","States":{"P":{"Type":"Pass","End":true}}}"#,
            &["StartAt", "line 1"],
        ),
        definition(&" ".repeat((1 << 20) + 1), &["1048577", "1048576"]),
        definition(&"[".repeat(100_000), &["definition"]),
        Case { request: unknown, code: Code::NotFound, words: &["definition", "PutDefinition"] },
        Case { request: short, code: Code::InvalidArgument, words: &["definition_hash", "32"] },
        Case { request: machine, code: Code::InvalidArgument, words: &["machine_arn"] },
        Case { request: name, code: Code::InvalidArgument, words: &["name", "80"] },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_with_what_is_wrong_and_harms_nobody_else() {
    let mut node = Node::serving(&["--store".to_owned(), "memory".to_owned()], &[]).await;
    let mut client = node.client().await.expect("the node answers");
    let mut problems = Vec::new();
    for case in bad_inputs().into_iter().chain(bad_definitions()) {
        let shown = format!("{:.60?} {:.60?}", case.request.input, case.request.definition);
        let answer = client.start_execution(case.request).await;
        let Err(refusal) = answer else {
            problems.push(format!("{shown} was accepted"));
            continue;
        };
        let message = refusal.message();
        let named = case.words.iter().all(|word| message.contains(word));
        if refusal.code() != case.code || !named || message.len() > 4_096 {
            let code = refusal.code();
            problems.push(format!("{shown}: {code:?} {message:.300?}, not {:?} {:?}", case.code, case.words));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let longest = v1::StartExecutionRequest { input: string_of(262_144).into(), ..start_request(PASS, "") };
    client.start_execution(longest).await.expect("the longest input is accepted");
    assert!(!node.log().contains("panicked"), "{}", node.log());
    assert_eq!(node.terminate().code, Some(0));
}
