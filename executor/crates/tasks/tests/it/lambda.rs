//! Lambda's Invoke API, on a server that verifies each signature as AWS does.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tasks::lambda::Lambda;
use tasks::{Failure, Origin};
use url::Url;

use crate::credentials::{Cached, Issuer, NOW_MS, signer};
use crate::peers::{Answered, Peer, Received, answer, ask, client, http, json, origin};

const INVOKE: &str = "arn:aws:states:::lambda:invoke";
const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function";

fn with(mut answer: Answered, name: &'static str, value: &'static str) -> Answered {
    answer.headers_mut().insert(name, value.parse().expect("a value"));
    answer
}

/// The functions of the test.
fn invoked(received: &Received, region: &str) -> Answered {
    let (path, query) = received.target.split_once('?').unwrap_or((&received.target, ""));
    let function =
        path.strip_prefix("/2015-03-31/functions/").and_then(|rest| rest.strip_suffix("/invocations"));
    let function = function.unwrap_or_default().rsplit(':').next().unwrap_or_default();
    match function {
        "echo" => with(json(received.body.clone()), "x-amz-executed-version", "7"),
        "where" => json(format!(r#"["{region}","{query}","{}"]"#, received.header("x-amz-invocation-type"))),
        "fails" => with(
            json(r#"{"errorType":"TooPoor","errorMessage":"no money"}"#),
            "x-amz-function-error",
            "Unhandled",
        ),
        "dies" => with(json(r#"{"errorMessage":"it timed out"}"#), "x-amz-function-error", "Unhandled"),
        "void" => answer(202, "application/json", ""),
        "half" => json(r#"{"half":"#),
        "busy" => with(
            answer(429, "application/json", r#"{"message":"Rate Exceeded."}"#),
            "x-amzn-errortype",
            "TooManyRequestsException",
        ),
        "down" => answer(502, "text/html", "<html>"),
        "moved" => {
            Response::builder().status(307).header("location", "/else").body("".into()).expect("an answer")
        }
        _ => with(
            answer(404, "application/json", r#"{"Message":"Function not found"}"#),
            "x-amzn-errortype",
            "ResourceNotFoundException:http://internal.amazon.com/",
        ),
    }
}

async fn lambda_of(issuer: &Arc<Issuer>) -> Peer {
    let issuer = Arc::clone(issuer);
    http(move |received| {
        let claim = sign::sigv4::verify(&received.signed(), NOW_MS / 1_000, |claim| issuer.secret_of(claim));
        match claim {
            Ok(claim) if claim.service == "lambda" => invoked(&received, &claim.region),
            Err(sign::VerifyError::UnknownKey) => with(
                answer(
                    403,
                    "application/json",
                    r#"{"message":"The security token included in the request is expired"}"#,
                ),
                "x-amzn-errortype",
                "ExpiredTokenException",
            ),
            other => with(
                answer(403, "application/json", format!(r#"{{"message":"{other:?}"}}"#)),
                "x-amzn-errortype",
                "InvalidSignatureException",
            ),
        }
    })
    .await
}

struct World {
    issuer: Arc<Issuer>,
    peer: Peer,
    lambda: Lambda,
    cached: Rc<Cached>,
}

async fn world() -> World {
    let issuer = Arc::<Issuer>::default();
    let peer = lambda_of(&issuer).await;
    let (signer, cached) = signer(&issuer);
    let endpoint = Url::parse(&peer.url("")).expect("a URL");
    let lambda = Lambda::new(client(), signer, Some(endpoint), "us-east-1".to_owned());
    World { issuer, peer, lambda, cached }
}

impl World {
    async fn ask(&self, resource: &str, input: &str) -> Result<String, Failure> {
        ask(&self.lambda, resource, input).await
    }
}

#[tokio::test]
async fn a_function_gets_what_its_state_says_and_its_answer_is_the_output() {
    let world = world().await;
    for payload in [r#"{"a":[1,"ü"]}"#, "[]", "null", r#""text""#, "7", "true"] {
        let direct = world.ask(&format!("{ARN}:echo"), payload).await.expect("an output");
        assert_eq!(direct, payload, "the effective input is the event");
        let input = format!(r#"{{"FunctionName":"echo","Payload":{payload}}}"#);
        let invoked = world.ask(INVOKE, &input).await.expect("an output");
        assert_eq!(invoked, format!(r#"{{"ExecutedVersion":"7","Payload":{payload},"StatusCode":200}}"#));
    }
    let none = world.ask(INVOKE, r#"{"FunctionName":"echo"}"#).await.expect("an output");
    assert!(none.contains(r#""Payload":null"#), "{none}");
    assert_eq!(world.issuer.issued(), 1, "all of them with the same keys");
}

#[tokio::test]
async fn region_qualifier_and_kind_of_invocation_reach_the_service_signed() {
    let world = world().await;
    let told = world.ask(&format!("{ARN}:where:live"), "{}").await.expect("an output");
    assert_eq!(told, r#"["eu-west-1","Qualifier=live",""]"#);
    for (input, expected) in [
        (r#"{"FunctionName":"where"}"#, r#"["us-east-1","",""]"#),
        (r#"{"FunctionName":"where:3"}"#, r#"["us-east-1","Qualifier=3",""]"#),
        (
            r#"{"FunctionName":"where","Qualifier":"$LATEST","InvocationType":"RequestResponse"}"#,
            r#"["us-east-1","Qualifier=%24LATEST","RequestResponse"]"#,
        ),
    ] {
        let told = world.ask(INVOKE, input).await.expect("an output");
        assert!(told.contains(&format!(r#""Payload":{expected}"#)), "{told}");
    }
    let later = world.ask(INVOKE, r#"{"FunctionName":"void","InvocationType":"Event"}"#).await;
    assert!(later.expect("an output").contains(r#""StatusCode":202"#));
}

#[tokio::test]
async fn failures_have_the_names_that_aws_gives_them() {
    let world = world().await;
    for (function, error, cause) in [
        ("fails", "TooPoor", r#"{"errorType":"TooPoor","errorMessage":"no money"}"#),
        ("dies", "Lambda.Unknown", r#"{"errorMessage":"it timed out"}"#),
        ("half", "Lambda.Unknown", "not valid JSON"),
        ("busy", "Lambda.TooManyRequestsException", "Rate Exceeded. (Service: Lambda, Status Code: 429"),
        ("down", "Lambda.ServiceException", "<html> (Service: Lambda, Status Code: 502"),
        ("moved", "Lambda.AWSLambdaException", "Status Code: 307"),
        ("nobody", "Lambda.ResourceNotFoundException", "Function not found"),
    ] {
        let failure = world.ask(&format!("{ARN}:{function}"), "{}").await.expect_err(function);
        assert_eq!(failure.error, error);
        assert!(failure.cause.contains(cause), "{function}: {}", failure.cause);
    }
    assert_eq!(world.peer.counts().asked, 7, "nothing is asked twice");
}

#[tokio::test]
async fn keys_that_have_expired_are_fetched_anew_and_the_call_is_made_once_more() {
    let world = world().await;
    world.ask(&format!("{ARN}:echo"), "1").await.expect("an output");
    world.issuer.expire();
    world.cached.advance(Duration::from_secs(30));
    world.ask(&format!("{ARN}:echo"), "2").await.expect("an output with other keys");
    assert_eq!((world.issuer.issued(), world.peer.counts().asked), (2, 3));
    // Other keys would be no better, so soon after the last ones: the failure is told, and nobody is asked for keys.
    world.issuer.expire();
    let failure = world.ask(&format!("{ARN}:echo"), "3").await.expect_err("refused");
    assert_eq!(failure.error, "Lambda.AWSLambdaException");
    assert!(failure.cause.contains("Error Code: ExpiredTokenException"), "{}", failure.cause);
    assert_eq!((world.issuer.issued(), world.peer.counts().asked), (2, 4));
    let told = format!("{failure:?}");
    assert!(!told.contains("hidden-") && !told.contains("veiled-"), "{told}");
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_an_error_of_permissions() {
    let world = world().await;
    let input = asl::Payload::from_checked("{}".into());
    let stranger = Origin { role_arn: "arn:aws:iam::999999999999:role/else".into(), ..origin() };
    let request = tasks::Request { resource: format!("{ARN}:echo").as_str().into(), input, origin: stranger };
    let failure = tasks::Integration::begin(&world.lambda, &request).await.expect_err("no keys");
    assert_eq!(failure.error, "States.Permissions");
    assert!(failure.cause.contains("trusts somebody else"), "{}", failure.cause);
    assert_eq!(world.peer.counts().asked, 0);
}

#[tokio::test]
async fn what_is_no_role_is_asked_of_nobody_though_something_may_be_known_by_its_name() {
    let world = world().await;
    for name in ["oauth:orders", "environment:aws", "7"] {
        let input = asl::Payload::from_checked("{}".into());
        let origin = Origin { role_arn: name.into(), ..origin() };
        let request = tasks::Request { resource: format!("{ARN}:echo").as_str().into(), input, origin };
        let failure = tasks::Integration::begin(&world.lambda, &request).await.expect_err("no keys");
        assert_eq!(failure.error, "States.Permissions");
        assert!(failure.cause.contains(name), "{}", failure.cause);
    }
    assert_eq!((world.issuer.issued(), world.peer.counts().asked), (0, 0));
}

#[tokio::test]
async fn a_service_that_breaks_is_an_error_of_the_client() {
    let issuer = Arc::<Issuer>::default();
    let peer = crate::peers::raw(|stream| async move { drop(stream) }).await;
    let endpoint = Url::parse(&peer.url("")).expect("a URL");
    let lambda = Lambda::new(client(), signer(&issuer).0, Some(endpoint), "us-east-1".to_owned());
    let failure = ask(&lambda, &format!("{ARN}:echo"), "{}").await.expect_err("no answer");
    assert_eq!(failure.error, "Lambda.SdkClientException");
}
