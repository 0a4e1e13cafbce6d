//! Tencent Cloud's API 3.0, on a server that verifies each signature as the vendor does.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use asl::Value;
use asl::value::JsonLimits;
use tasks::Failure;
use tasks::tencent::{Tencent, TencentSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::credentials::{Cached, Issuer, NOW_MS, signer};
use crate::peers::{Answered, Peer, Received, answer, ask, client, head, http, json, raw};

const API: &str = "qrn:qcs:asw:ap-guangzhou:1300000000:sdk:json:qcloud";

fn error(code: &str, message: &str) -> Answered {
    json(format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"{message}"}},"RequestId":"r"}}}}"#))
}

/// What the function returns, as `scf:InvokeFunction` tells it.
fn invoked(body: &Value) -> Answered {
    let text = |name| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let result = match text("FunctionName") {
        "echo" => {
            [("RetMsg", Value::from(text("Event"))), ("ErrMsg", "".into()), ("InvokeResult", 0_u32.into())]
        }
        "whose" => {
            let named = format!("{} of {}", text("Qualifier"), text("Namespace"));
            [("RetMsg", Value::from(named.as_str())), ("ErrMsg", "".into()), ("InvokeResult", 0_u32.into())]
        }
        "fails" => {
            [("RetMsg", "".into()), ("ErrMsg", "division by zero".into()), ("InvokeResult", 1_u32.into())]
        }
        "lost" => return json(r#"{"Response":{"RequestId":"r"}}"#),
        "gateway" => return answer(502, "application/json", r#"{"message":"Bad gateway"}"#),
        _ => return error("ResourceNotFound.Function", "no such function"),
    };
    json(format!(r#"{{"Response":{{"Result":{},"RequestId":"r"}}}}"#, Value::object(result)))
}

/// The service behind the signature. Jobs have ended at the third look.
fn serve(received: &Received, service: &str, looks: &AtomicUsize) -> Answered {
    let body = Value::parse(&received.body, JsonLimits::default()).expect("JSON");
    let (action, version) = (received.header("x-tc-action"), received.header("x-tc-version"));
    match (service, action, version) {
        ("scf", "InvokeFunction", "2018-04-16") => invoked(&body),
        ("asr", "CreateRecTask", "2019-06-14") => {
            json(r#"{"Response":{"Data":{"TaskId":7},"RequestId":"r"}}"#)
        }
        ("asr", "DescribeTaskStatus", "2019-06-14") => {
            assert_eq!(body.to_string(), r#"{"TaskId":7}"#);
            let status = looks.fetch_add(1, Ordering::SeqCst);
            let data = format!(r#"{{"Status":{status},"Result":"hello"}}"#);
            json(format!(r#"{{"Response":{{"Data":{data},"RequestId":"r"}}}}"#))
        }
        ("mps", "ProcessMedia", "2019-06-12") => json(r#"{"Response":{"TaskId":"t-1","RequestId":"r"}}"#),
        ("mps", "DescribeTaskDetail", "2019-06-12") => {
            let states = ["WAITING", "PROCESSING", "FINISH"];
            let state = states[looks.fetch_add(1, Ordering::SeqCst)];
            json(format!(r#"{{"Response":{{"Status":"{state}","RequestId":"r"}}}}"#))
        }
        ("cdb", "DescribeZones", "2017-03-20") => {
            json(format!(r#"{{"Response":{{"Region":"{}"}}}}"#, received.header("x-tc-region")))
        }
        ("cvm", "Half", _) => json(r#"{"Response":"#),
        ("cvm", "Html", _) => answer(200, "text/html", "<html>"),
        ("cvm", "Bare", _) => json(r#"{"message":"who are you?"}"#),
        ("cvm", "Limited", _) => answer(429, "application/json", r#"{"Response":{"RequestId":"r"}}"#),
        ("cvm", "Gateway", _) => answer(502, "application/json", r#"{"message":"Bad gateway"}"#),
        ("cvm", "Lost", _) => answer(503, "application/json", r#"{"Response":{"RequestId":"r"}}"#),
        _ => error("InvalidAction", &format!("{service} {action} {version}")),
    }
}

struct World {
    issuer: Arc<Issuer>,
    peer: Peer,
    looks: Arc<AtomicUsize>,
    tencent: Tencent,
    cached: Rc<Cached>,
}

async fn world() -> World {
    let issuer = Arc::<Issuer>::default();
    let looks = Arc::<AtomicUsize>::default();
    let (known, looked) = (Arc::clone(&issuer), Arc::clone(&looks));
    let peer = http(move |received| {
        match sign::tc3::verify(&received.signed(), NOW_MS / 1_000, |claim| known.secret_of(claim)) {
            Ok(claim) => serve(&received, &claim.service, &looked),
            Err(refusal) => error(refusal.tencent_code(), &refusal.to_string()),
        }
    })
    .await;
    let (signer, cached) = signer(&issuer);
    let endpoint = Some(Url::parse(&peer.url("")).expect("a URL"));
    let versions = HashMap::from([("cdb".to_owned(), "2017-03-20".to_owned())]);
    let tencent = Tencent::new(client(), signer, TencentSettings { endpoint, versions });
    World { issuer, peer, looks, tencent, cached }
}

impl World {
    async fn ask(&self, call: &str, input: &str) -> Result<String, Failure> {
        ask(&self.tencent, &format!("{API}:{call}"), input).await
    }
}

#[tokio::test]
async fn a_function_gets_its_event_and_gives_what_it_returned() {
    let world = world().await;
    for event in [r#"{"values":[1,2,3]}"#, "[]", "null", r#""text""#, "7"] {
        assert_eq!(world.ask("scf:Invoke/echo", event).await.expect("an output"), event);
    }
    for (call, whose) in
        [("scf:Invoke/whose", r#""$DEFAULT of default""#), ("scf:Invoke/whose/3/media", r#""3 of media""#)]
    {
        assert_eq!(world.ask(call, "{}").await.expect("an output"), whose);
    }
    let failure = world.ask("scf:Invoke/fails", "{}").await.expect_err("it fails");
    assert_eq!((failure.error.as_str(), failure.cause.as_str()), ("FunctionError", "division by zero"));
    let failure = world.ask("scf:Invoke/nobody", "{}").await.expect_err("there is none");
    assert_eq!(failure.error, "ResourceNotFound.Function");
    assert_eq!(world.issuer.issued(), 1, "all of them with the same keys");
}

#[tokio::test]
async fn an_api_gives_its_whole_envelope_errors_among_them() {
    let world = world().await;
    let created = world.ask("asr:CreateRecTask", r#"{"Url":"http://a/b"}"#).await.expect("an envelope");
    assert_eq!(created, r#"{"Response":{"Data":{"TaskId":7},"RequestId":"r"}}"#);
    assert_eq!(world.ask("asr:generalASR", "{}").await.expect("an envelope"), created, "a component");
    assert_eq!(
        world.ask("cdb:DescribeZones", "{}").await.expect("an envelope"),
        r#"{"Response":{"Region":"ap-guangzhou"}}"#,
        "a version that configuration gives"
    );
    let refused =
        world.ask("cvm:Nothing", "{}").await.expect("an envelope, in which the language finds the error");
    assert!(refused.contains(r#""Code":"InvalidAction","Message":"cvm Nothing 2017-03-12""#), "{refused}");
    let failure = world.ask("none:Nothing", "{}").await.expect_err("no version");
    assert_eq!(failure.error, "States.Runtime");
    assert!(failure.cause.contains("--tencent-version none=DATE"), "{}", failure.cause);
}

#[tokio::test]
async fn what_is_no_envelope_is_no_success_whatever_json_it_is() {
    let world = world().await;
    for (call, expected) in [
        ("cvm:Half", "ParseResponseError"),
        ("cvm:Html", "ParseResponseError"),
        ("cvm:Bare", "ParseResponseError"),
        ("cvm:Limited", "ParseResponseError"),
        ("cvm:Gateway", "NetworkError"),
        ("cvm:Lost", "NetworkError"),
        ("scf:Invoke/lost", "ParseResponseError"),
        ("scf:Invoke/gateway", "NetworkError"),
    ] {
        let failure = world.ask(call, "{}").await.expect_err(call);
        assert_eq!(failure.error.as_str(), format!("ClientError.{expected}"), "{call}: {}", failure.cause);
    }
}

#[tokio::test]
async fn components_that_check_a_job_ask_until_it_has_ended() {
    let world = world().await;
    tokio::time::pause();
    let done = world.ask("asr:checkASR", r#"{"TaskId":7}"#).await.expect("an envelope");
    assert_eq!(done, r#"{"Response":{"Data":{"Status":2,"Result":"hello"},"RequestId":"r"}}"#);
    assert_eq!(world.looks.swap(0, Ordering::SeqCst), 3);
    let done = world.ask("mps:checkMpsJob", r#"{"TaskId":"t-1"}"#).await.expect("an envelope");
    assert_eq!(done, r#"{"Response":{"Status":"FINISH","RequestId":"r"}}"#);
    assert_eq!(world.looks.load(Ordering::SeqCst), 3);
}

/// A service that gives no answer so often, and then says that the job has ended.
async fn silent_at_first(times: usize) -> Tencent {
    let asked = Arc::<AtomicUsize>::default();
    let peer = raw(move |mut stream: TcpStream| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        async move {
            head(&mut stream).await;
            let mut body = [0; r#"{"TaskId":"t-1"}"#.len()];
            stream.read_exact(&mut body).await.expect("a body");
            if number >= times {
                let body = r#"{"Response":{"Status":"FINISH"}}"#;
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.expect("the client reads");
            }
        }
    })
    .await;
    unsigned(&peer)
}

/// Of a service that looks at no signature.
fn unsigned(peer: &Peer) -> Tencent {
    let endpoint = Some(Url::parse(&peer.url("")).expect("a URL"));
    let settings = TencentSettings { endpoint, ..TencentSettings::default() };
    Tencent::new(client(), signer(&Arc::default()).0, settings)
}

#[tokio::test]
async fn a_look_at_a_job_that_gets_no_answer_is_made_again_for_some_minutes() {
    let (patient, gone) = (silent_at_first(6).await, silent_at_first(1_000).await);
    tokio::time::pause();
    let look =
        |tencent| async move { ask(tencent, &format!("{API}:mps:checkMpsJob"), r#"{"TaskId":"t-1"}"#).await };
    assert_eq!(look(&patient).await.expect("an envelope"), r#"{"Response":{"Status":"FINISH"}}"#);
    assert_eq!(look(&gone).await.expect_err("nobody answers").error, "ClientError.NetworkError");
}

#[tokio::test]
async fn a_look_at_a_job_that_does_not_tell_its_state_is_made_again() {
    let looks = AtomicUsize::default();
    let peer = http(move |_| match looks.fetch_add(1, Ordering::SeqCst) {
        0 => answer(502, "application/json", r#"{"message":"Bad gateway"}"#),
        1 => json(r#"{"message":"not yet"}"#),
        2 => json(r#"{"Response":{"RequestId":"r"}}"#),
        3 => error("RequestLimitExceeded.UinLimitExceeded", "too many"),
        4 => error("InternalError", "a bad moment"),
        5 => json(r#"{"Response":{"Status":"PROCESSING"}}"#),
        6 => json(r#"{"Response":{"Status":"FINISH"}}"#),
        7 => error("InvalidParameter", "no such job"),
        _ => error("InternalError", "for ever"),
    })
    .await;
    let tencent = unsigned(&peer);
    tokio::time::pause();
    let call = format!("{API}:mps:checkMpsJob");
    let look = || ask(&tencent, &call, r#"{"TaskId":"t-1"}"#);
    assert_eq!(look().await.expect("an envelope"), r#"{"Response":{"Status":"FINISH"}}"#);
    assert!(look().await.expect("an envelope").contains("InvalidParameter"), "an error is an answer");
    assert!(look().await.expect("an envelope").contains("for ever"), "it is not asked for without end");
}

#[tokio::test]
async fn keys_that_have_expired_are_fetched_anew_and_the_call_is_made_once_more() {
    let world = world().await;
    world.ask("scf:Invoke/echo", "1").await.expect("an output");
    world.issuer.expire();
    world.cached.advance(Duration::from_secs(30));
    assert_eq!(world.ask("scf:Invoke/echo", "2").await.expect("an output with other keys"), "2");
    assert_eq!((world.issuer.issued(), world.peer.counts().asked), (2, 3));
    world.issuer.expire();
    let failure = world.ask("scf:Invoke/echo", "3").await.expect_err("others would be no better so soon");
    assert_eq!(failure.error, "AuthFailure.SecretIdNotFound");
    let told = format!("{failure:?}");
    assert!(!told.contains("hidden-") && !told.contains("veiled-"), "{told}");
}
