//! What failures are called, where no service was asked, and in docs/tasks.md.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sign::Keys;
use tasks::lambda::Lambda;
use tasks::tencent::{Tencent, TencentSettings};
use tasks::{CredentialSource, Failure, Integration, Signer, errors};
use telemetry::CallKind;
use token_cache::Provider;
use token_cache::providers::{AwsSts, HttpTransport, TencentSts};
use url::Url;

use crate::credentials::Cached;
use crate::peers::{Peer, answer, ask, client, http, json, raw};

const HOUR: Duration = Duration::from_hours(1);
const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:f";
const API: &str = "qrn:qcs:asw:ap-guangzhou:1250000000:sdk:json:qcloud:cvm:DescribeZones";

fn transport() -> Arc<HttpTransport> {
    // Another test may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Arc::new(HttpTransport::new(reqwest::Client::builder().no_proxy()).expect("a client"))
}

fn keys() -> Keys {
    Keys { id: "ours".to_owned(), secret: "hidden".to_owned().into(), token: None }
}

fn signer(provider: impl FnOnce(token_cache::Now) -> Arc<dyn Provider>) -> Rc<Signer> {
    let source = Cached::new(provider) as Rc<dyn CredentialSource>;
    Rc::new(Signer::new(source, "".into()))
}

/// Functions whose keys this STS gives.
fn lambda(sts: &Peer, service: &Peer) -> Lambda {
    let url = sts.url("/");
    let signer =
        signer(|now| Arc::new(AwsSts::new(transport(), url, "eu-west-1".to_owned(), keys(), HOUR, now)));
    Lambda::new(client(), signer, Url::parse(&service.url("")).ok(), "eu-west-1".to_owned())
}

/// APIs whose keys this STS gives.
fn tencent(sts: &Peer, service: &Peer) -> Tencent {
    let url = sts.url("/");
    let sts = move |now| TencentSts::new(transport(), url, "ap-guangzhou", keys(), HOUR, now);
    let signer = signer(|now| Arc::new(sts(now).expect("a provider")));
    let endpoint = Url::parse(&service.url("")).ok();
    Tencent::new(client(), signer, TencentSettings { endpoint, ..TencentSettings::default() })
}

async fn refused(integration: &impl Integration, resource: &str) -> Failure {
    ask(integration, resource, "{}").await.expect_err("nobody gives keys")
}

#[tokio::test]
async fn a_task_whose_role_nobody_gives_keys_for_at_the_moment_fails_as_when_its_service_is_away() {
    let service = http(|_| json("{}")).await;
    let broken = raw(|stream| async move { drop(stream) }).await;
    let down = http(|_| answer(503, "text/html", "<html>")).await;
    for sts in [broken, down] {
        let failure = refused(&lambda(&sts, &service), FUNCTION).await;
        assert_eq!(failure.error, "Lambda.SdkClientException", "{failure:?}");
        let failure = refused(&tencent(&sts, &service), API).await;
        assert_eq!(failure.error, "ClientError.NetworkError", "{failure:?}");
        assert!(failure.cause.starts_with("Nothing was sent: "), "{failure:?}");
    }
    assert_eq!(service.counts().asked, 0);
}

#[tokio::test]
async fn a_task_whose_role_is_refused_fails_otherwise_than_when_its_service_is_away() {
    let service = http(|_| json("{}")).await;
    let aws = http(|_| {
        let denied = "<Code>AccessDenied</Code><Message>no trust.</Message>";
        answer(403, "text/xml", format!("<ErrorResponse><Error>{denied}</Error></ErrorResponse>"))
    });
    let failure = refused(&lambda(&aws.await, &service), FUNCTION).await;
    assert_eq!(failure.error, "States.Permissions");
    assert!(failure.cause.contains("no trust."), "{failure:?}");
    let cloud = http(|_| {
        json(
            r#"{"Response":{"Error":{"Code":"UnauthorizedOperation","Message":"no trust"},"RequestId":"1"}}"#,
        )
    });
    let failure = refused(&tencent(&cloud.await, &service), API).await;
    assert_eq!(failure.error, "States.Permissions");
    assert_eq!(service.counts().asked, 0);
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the code calls failures: integration and name. One that begins names ends in an ellipsis.
fn called() -> BTreeSet<(String, String)> {
    let label = |kind: CallKind| CallKind::ALL.iter().find(|(known, _)| *known as u8 == kind as u8);
    let shown = |name: &str| if name.ends_with('.') { format!("{name}\u{2026}") } else { name.to_owned() };
    let all = errors::ALL.iter().flat_map(|(kind, names)| names.iter().map(move |name| (*kind, *name)));
    all.map(|(kind, name)| (label(kind).expect("a label").1.to_owned(), shown(name))).collect()
}

/// What the table of failures has: its first cell names integrations, its second one failures.
fn explained() -> BTreeSet<(String, String)> {
    let text = read("../../../docs/tasks.md");
    let table = text.split("\n## Failures\n").nth(1).expect("a section of failures");
    let rows = table.split("\n## ").next().into_iter().flat_map(str::lines);
    let mut explained = BTreeSet::new();
    for row in rows.filter(|row| row.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        for integration in names(cells[0]) {
            explained.extend(names(cells[1]).into_iter().map(|name| (integration.clone(), name)));
        }
    }
    explained
}

#[test]
fn each_failure_is_explained_and_each_that_is_explained_can_be_met() {
    let (called, explained) = (called(), explained());
    let missing: Vec<_> = called.difference(&explained).collect();
    let unknown: Vec<_> = explained.difference(&called).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not explained: {missing:?}; never met: {unknown:?}");
}

fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            let text = std::fs::read_to_string(&path).expect("a source");
            found.push((path.display().to_string(), text));
        }
    }
}

#[test]
fn failures_have_their_names_from_one_list() {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 10);
    let families = ["\"States.", "\"Events.", "\"Lambda.", "\"StepFunctions.", "\"Sfn.", "\"ClientError."];
    for (path, text) in found {
        if path.ends_with("errors.rs") || path.ends_with("tests.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let named = families.iter().any(|family| line.contains(family));
            assert!(
                !named && !line.contains("Failure::new(\""),
                "{path}: {line}: give it a name in errors.rs"
            );
        }
    }
}
