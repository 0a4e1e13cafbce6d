//! Who is let in by the desk, and what each key may do.

mod reload;
mod rights;

use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Method, Request};
use sign::{Keys, Unsigned};
use zeroize::Zeroizing;

use super::*;

const SECRET: &str = "made-up-secret-of-a-key-0001";
const OTHER: &str = "made-up-secret-of-a-key-0002";
const NOW: u64 = 1_795_767_330;
const GRANT: &str = "[[key.grant]]\nrights = ['read', 'start', 'manage']\n";

/// A desk with a credentials file.
struct World<C = NoChecks> {
    folder: tempfile::TempDir,
    desk: Desk<C>,
}

fn key(id: &str, secret: &str, more: &str) -> String {
    format!("[[key]]\nid = '{id}'\nsecret = '{secret}'\naccount = '123456789012'\n{more}\n")
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("credentials.toml")
}

fn world(file: &str) -> World {
    asking(file, None)
}

fn asking<C: Checks>(file: &str, checks: Option<C>) -> World<C> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(path(&folder), file).expect("written");
    let desk = Desk::open(&path(&folder), checks).expect("a desk");
    World { folder, desk }
}

/// One key that may everything.
fn usual() -> World {
    world(&key("AKIA1", SECRET, GRANT))
}

/// A request and what it is signed with.
#[derive(Clone)]
struct Call {
    api: Api,
    id: &'static str,
    secret: &'static str,
    token: Option<&'static str>,
    action: &'static str,
    service: &'static str,
    region: &'static str,
    at: u64,
    body: &'static str,
}

const SFN: Call = Call {
    api: Api::Sfn,
    id: "AKIA1",
    secret: SECRET,
    token: None,
    action: "StartExecution",
    service: "states",
    region: "eu-central-1",
    at: NOW,
    body: "{}",
};
const ASW: Call = Call { api: Api::Asw, service: "asw", ..SFN };

impl Call {
    fn signed(&self) -> Parts {
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        };
        let (url, body, method) = ("http://127.0.0.1:8083/", self.body.as_bytes(), &Method::POST);
        let token = self.token.map(|token| Zeroizing::new(token.to_owned()));
        let keys = Keys { id: self.id.to_owned(), secret: self.secret.to_owned().into(), token };
        match self.api {
            Api::Sfn => {
                put("content-type", "application/x-amz-json-1.0");
                put("x-amz-target", &format!("AWSStepFunctions.{}", self.action));
                let mut request = Unsigned { method, url, headers: &mut headers, body };
                sign::sigv4::sign(&mut request, &keys, self.service, self.region, self.at).expect("signed");
            }
            Api::Asw => {
                put("content-type", "application/json");
                put("x-tc-region", self.region);
                let mut request = Unsigned { method, url, headers: &mut headers, body };
                sign::tc3::sign(&mut request, &keys, self.service, self.at).expect("signed");
                // Tencent's client does not sign it.
                headers.insert("x-tc-action", HeaderValue::from_static(self.action));
            }
        }
        headers.insert("host", HeaderValue::from_static("127.0.0.1:8083"));
        let mut parts = Request::post("/").body(()).expect("a request").into_parts().0;
        parts.headers = headers;
        parts
    }
}

/// The operation that the headers name, as the door finds it.
fn operation(api: Api, parts: &Parts) -> &'static Operation {
    let named = |header| parts.headers.get(header).and_then(|value: &HeaderValue| value.to_str().ok());
    let name = named("x-amz-target").and_then(|target| target.strip_prefix("AWSStepFunctions."));
    let name = name.or(named("x-tc-action")).unwrap_or("StartExecution");
    api.operation(name).unwrap_or(&api.operations()[0])
}

fn instant(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

impl<C: Checks> World<C> {
    fn asks(&self, api: Api, parts: &Parts, body: &str, now: u64) -> Result<Caller, Fault> {
        let claim = self.desk.claim(api, operation(api, parts), parts, instant(now))?;
        self.desk.admit(claim, body.as_bytes(), instant(now))
    }

    fn sent(&self, api: Api, parts: &Parts, body: &str, now: u64) -> Result<Caller, Kind> {
        self.asks(api, parts, body, now).map_err(|fault| {
            let told = format!("{fault} {fault:?}");
            assert!(!told.contains("made-up"), "{told}");
            fault.kind()
        })
    }

    fn call(&self, call: &Call) -> Result<Caller, Kind> {
        self.sent(call.api, &call.signed(), call.body, NOW)
    }

    fn message(&self, call: &Call) -> String {
        let fault = self.asks(call.api, &call.signed(), call.body, NOW);
        fault.expect_err("refused").message().to_owned()
    }

    async fn may(&self, id: &str, right: Right, machine: Option<&str>) -> Result<(), Kind> {
        let caller = Caller::known(id, "123456789012");
        self.desk.allow(&caller, right, machine).await.map_err(|fault| fault.kind())
    }

    fn write(&self, text: &str) {
        std::fs::write(path(&self.folder), text).expect("written");
    }

    /// The keys that were derived on this thread since the last time.
    fn derived(&self) -> usize {
        let file = self.desk.file.as_ref().expect("a file");
        thread::with(self.desk.number, file, |thread| std::mem::take(&mut thread.derived))
    }
}

#[test]
fn whoever_signs_with_a_known_key_is_let_in_by_both_apis() {
    let world = usual();
    for call in [SFN, ASW] {
        let caller = world.call(&call).expect("let in");
        assert_eq!((caller.access_key_id(), caller.account()), (Some("AKIA1"), Some("123456789012")));
    }
    assert!(!world.desk.is_open());
}

#[test]
fn each_way_of_being_wrong_has_its_own_error() {
    let world = world(&format!(
        "{}{}{}",
        key("AKIA1", SECRET, GRANT),
        key("TEMP", OTHER, &format!("token = 'made-up-token'\nexpires = 2026-11-27T09:00:00Z\n{GRANT}")),
        key("AWS", OTHER, &format!("apis = ['sfn']\n{GRANT}")),
    ));
    let temporary = |call: Call| Call { id: "TEMP", secret: OTHER, token: Some("made-up-token"), ..call };
    for call in [SFN, ASW] {
        world.call(&temporary(call.clone())).expect("the token is its own");
        for (wrong, kind) in [
            (Call { secret: OTHER, ..call.clone() }, Kind::SignatureMismatch),
            (Call { id: "AKIA2", ..call.clone() }, Kind::UnknownKey),
            (Call { at: NOW + 301, ..call.clone() }, Kind::SignatureExpired),
            (Call { at: NOW - 301, ..call.clone() }, Kind::SignatureExpired),
            (Call { service: "lambda", ..call.clone() }, Kind::SignatureMismatch),
            (Call { token: Some("made-up-token"), ..call.clone() }, Kind::InvalidSecurityToken),
            (Call { token: None, ..temporary(call.clone()) }, Kind::InvalidSecurityToken),
            (Call { token: Some("made-up-other"), ..temporary(call.clone()) }, Kind::InvalidSecurityToken),
        ] {
            assert_eq!(world.call(&wrong), Err(kind), "{:?} {} {}", wrong.api, wrong.id, wrong.at);
        }
        let parts = call.signed();
        assert_eq!(world.sent(call.api, &parts, "{} ", NOW), Err(Kind::SignatureMismatch));
        let mut bare = parts.clone();
        bare.headers.remove("authorization");
        assert_eq!(world.sent(call.api, &bare, "{}", NOW), Err(Kind::MissingAuthentication));
        let mut twice = parts.clone();
        twice.headers.append("content-type", HeaderValue::from_static("text/plain"));
        assert_eq!(world.sent(call.api, &twice, "{}", NOW), Err(Kind::IncompleteSignature));
        let mut query = parts.clone();
        query.uri = http::Uri::from_static("/?X-Amz-Signature=00&Signature=00");
        assert_eq!(world.sent(call.api, &query, "{}", NOW), Err(Kind::IncompleteSignature));
        let other = if call.api == Api::Sfn { Api::Asw } else { Api::Sfn };
        assert_eq!(world.sent(other, &parts, "{}", NOW), Err(Kind::IncompleteSignature));
        let later = Call { at: 1_795_770_000, ..temporary(call.clone()) };
        assert_eq!(world.sent(call.api, &later.signed(), "{}", later.at), Err(Kind::ExpiredSecurityToken));
    }
    let sfn_only = |call| Call { id: "AWS", secret: OTHER, ..call };
    world.call(&sfn_only(SFN)).expect("its API");
    assert_eq!(world.call(&sfn_only(ASW)), Err(Kind::AccessDenied));
}

#[test]
fn what_is_wrong_is_told_in_words_that_say_what_to_do() {
    let world = usual();
    for (call, part) in [
        (Call { secret: OTHER, ..SFN }, "secret key of the client"),
        (Call { id: "AKIA2", ..SFN }, "no key AKIA2"),
        (Call { at: NOW + 400, ..ASW }, "1795767330 in Unix time here"),
        (Call { service: "lambda", ..SFN }, "'states'"),
        (Call { token: Some("x"), ..ASW }, "send no X-TC-Token"),
    ] {
        let told = world.message(&call);
        assert!(told.contains(part), "{told}");
    }
}

/// Whatever needs no body to be told is told without one: bodies of strangers take no place.
#[test]
fn strangers_are_refused_by_the_headers_alone_and_known_keys_by_the_body() {
    let world = usual();
    for call in [SFN, ASW] {
        let claimed = |call: &Call, parts: &Parts| {
            let claim = world.desk.claim(call.api, operation(call.api, parts), parts, instant(NOW));
            claim.map(drop).map_err(|fault| fault.kind())
        };
        for (wrong, kind) in [
            (Call { id: "AKIA2", ..call.clone() }, Kind::UnknownKey),
            (Call { at: NOW + 301, ..call.clone() }, Kind::SignatureExpired),
            (Call { service: "lambda", ..call.clone() }, Kind::SignatureMismatch),
        ] {
            assert_eq!(claimed(&wrong, &wrong.signed()), Err(kind));
        }
        for (header, value, kind) in [
            ("authorization", None, Kind::MissingAuthentication),
            ("authorization", Some("AWS4"), Kind::IncompleteSignature),
            ("host", None, Kind::IncompleteSignature),
        ] {
            let mut parts = call.signed();
            parts.headers.remove(header);
            parts.headers.extend(
                value.map(|value| (HeaderName::from_static(header), HeaderValue::from_static(value))),
            );
            assert_eq!(claimed(&call, &parts), Err(kind), "{header} {value:?}");
        }
        let forged = Call { secret: OTHER, ..call.clone() };
        assert_eq!(claimed(&forged, &forged.signed()), Ok(()), "only the body tells");
        assert_eq!(world.call(&forged), Err(Kind::SignatureMismatch));
    }
    assert_eq!(world.derived(), 2, "strangers cost no key");
}

#[test]
fn a_request_whose_body_comes_too_late_after_its_headers_is_refused() {
    let world = usual();
    let parts = SFN.signed();
    let ends = |now| {
        let claim = world.desk.claim(Api::Sfn, operation(Api::Sfn, &parts), &parts, instant(NOW + 299));
        let whole = world.desk.admit(claim.expect("in time"), b"{}", instant(now));
        whole.map(drop).map_err(|fault| fault.kind())
    };
    assert_eq!([ends(NOW + 300), ends(NOW + 301)], [Ok(()), Err(Kind::SignatureExpired)]);
}

#[test]
fn a_signing_key_is_derived_once_for_each_day_and_region() {
    let world = usual();
    let derived = |call: &Call, now| {
        world.sent(call.api, &call.signed(), call.body, now).expect("let in");
        world.derived()
    };
    assert_eq!(
        [derived(&SFN, NOW), derived(&SFN, NOW), derived(&ASW, NOW), derived(&ASW, NOW)],
        [1, 0, 1, 0]
    );
    let elsewhere = Call { region: "us-east-1", ..SFN };
    assert_eq!([derived(&elsewhere, NOW), derived(&elsewhere, NOW), derived(&SFN, NOW)], [1, 0, 0]);
    let tomorrow = Call { at: NOW + 86_400, ..SFN };
    assert_eq!([derived(&tomorrow, tomorrow.at), derived(&tomorrow, tomorrow.at)], [1, 0]);
}

#[test]
fn a_key_that_is_once_makes_each_change_once() {
    let world = world(&format!(
        "{}{}",
        key("AKIA1", SECRET, &format!("once = true\n{GRANT}")),
        key("AKIA2", OTHER, GRANT)
    ));
    for call in [SFN, ASW] {
        world.call(&call).expect("the first time");
        assert_eq!(world.call(&call), Err(Kind::SignatureExpired), "{:?}", call.api);
        assert_eq!(world.sent(call.api, &call.signed(), "{}", NOW + 300), Err(Kind::SignatureExpired));
        world.call(&Call { at: NOW + 1, ..call.clone() }).expect("signed anew");
        world.call(&Call { body: "{\"a\":1}", ..call.clone() }).expect("another request");
        let looks = if call.api == Api::Sfn { "DescribeExecution" } else { "DescribeFlowServiceDetail" };
        let looks = Call { action: looks, at: NOW + 2, ..call.clone() };
        for _ in 0..3 {
            world.call(&looks).expect("what is only looked at may be repeated");
        }
        let other = Call { id: "AKIA2", secret: OTHER, ..call };
        for _ in 0..2 {
            world.call(&other).expect("its key does not ask for it, as at the clouds");
        }
    }
    let told = world.message(&SFN);
    assert!(told.contains("sign it anew"), "{told}");
}

#[test]
fn a_recorded_look_of_a_key_that_is_once_does_not_become_a_deletion() {
    let world = world(&key("AKIA1", SECRET, &format!("once = true\n{GRANT}")));
    let mut parts = Call { action: "DescribeFlowServiceDetail", ..ASW }.signed();
    world.sent(Api::Asw, &parts, "{}", NOW).expect("a look");
    parts.headers.insert("x-tc-action", HeaderValue::from_static("DeleteFlowService"));
    assert_eq!(world.sent(Api::Asw, &parts, "{}", NOW), Err(Kind::SignatureExpired));
}

#[test]
fn a_request_that_is_refused_uses_nothing_up() {
    let world = world(&key("AKIA1", SECRET, &format!("once = true\nrate = 2\n{GRANT}")));
    let forged = SFN.signed();
    for _ in 0..5 {
        assert_eq!(world.sent(Api::Sfn, &forged, "{\"x\":1}", NOW), Err(Kind::SignatureMismatch));
    }
    world.call(&SFN).expect("neither its signature nor its rate was used by others");
}

#[test]
fn a_key_with_a_rate_is_throttled_beyond_it() {
    let world = world(&key("AKIA1", SECRET, &format!("rate = 2\n{GRANT}")));
    let outcomes = [NOW, NOW, NOW, NOW + 1].map(|now| world.sent(Api::Sfn, &SFN.signed(), "{}", now).err());
    assert_eq!(outcomes, [None, None, Some(Kind::Throttling), None]);
}

#[tokio::test]
async fn without_a_file_everybody_is_let_in_on_loopback_alone() {
    let at = |address: &str| Desk::<NoChecks>::no_auth(address.parse().expect("an address"));
    for outside in ["0.0.0.0:8083", "192.0.2.1:8083", "[::]:8083"] {
        assert!(matches!(at(outside), Err(Error::NoAuth(_))), "{outside}");
    }
    for inside in ["127.0.0.1:0", "[::1]:8083"] {
        let desk = at(inside).expect("loopback");
        assert!(desk.is_open());
        let mut parts = Request::post("/").body(()).expect("a request").into_parts().0;
        let start = Api::Sfn.operation("StartExecution").expect("an operation");
        let claim = desk.claim(Api::Sfn, start, &parts, instant(NOW)).expect("no browser");
        let caller = desk.admit(claim, b"", instant(NOW)).expect("let in");
        assert!(caller.is_anonymous());
        desk.allow(&caller, Right::Manage, None).await.expect("everything");
        desk.keep_fresh().await;
        for header in OF_BROWSERS {
            parts.headers.insert(header, HeaderValue::from_static("http://page.example"));
            let page = desk.claim(Api::Sfn, start, &parts, instant(NOW)).map_err(|fault| fault.kind());
            assert_eq!(page.err(), Some(Kind::AccessDenied));
            parts.headers.remove(header);
        }
    }
}

#[test]
fn secrets_show_in_no_debug_output() {
    let world = usual();
    world.call(&SFN).expect("let in");
    let text = format!("{:?}", world.desk);
    assert!(text.contains("AKIA1") && !text.contains("made-up"), "{text}");
}
