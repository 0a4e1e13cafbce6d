//! The STS of both vendors: servers that verify signatures as they do, with clocks of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use http::Response;
use sign::{Keys, VerifyError};
use token_cache::providers::{AwsSts, TencentSts};
use token_cache::{CredentialError, CredentialKey, Credentials, Provider};

use crate::http::{Received, serve, transport};
use crate::support::{BEGIN_MS, Clock};

const BEGIN: u64 = BEGIN_MS / 1_000;
const SECRET: &str = "the-secret-of-the-node";

fn keys(secret: &str) -> Keys {
    Keys { id: "AKIDNODE".to_owned(), secret: secret.to_owned().into(), token: None }
}

/// How `Date` writes a Unix time near the beginning, 2023-11-14T22:13:20Z.
fn date(unix: u64) -> String {
    let second = unix + 22 * 3_600 - (BEGIN - 13 * 60 - 20);
    let (day, second) = (14 + second / 86_400, second % 86_400);
    let name = ["Tue", "Wed"][(day - 14) as usize];
    format!("{name}, {day} Nov 2023 {:02}:{:02}:{:02} GMT", second / 3_600, second / 60 % 60, second % 60)
}

fn reply(now: u64, status: u16, body: String) -> Response<String> {
    let date = date(now);
    Response::builder().status(status).header("date", date).body(body).expect("a response")
}

fn known(claim: &sign::Claim) -> Option<zeroize::Zeroizing<String>> {
    (claim.id == "AKIDNODE" && claim.service == "sts").then(|| SECRET.to_owned().into())
}

/// Tencent Cloud's STS at a time of its own.
fn tencent(received: &Received, now: u64) -> Response<String> {
    let error = |code: &str, message: String| {
        let text =
            serde_json::json!({"Response": {"Error": {"Code": code, "Message": message}, "RequestId": "r"}});
        reply(now, 200, text.to_string())
    };
    if let Err(why) = sign::tc3::verify(&received.signed(), now, known) {
        return error(why.tencent_code(), why.to_string());
    }
    let asked: serde_json::Value = serde_json::from_slice(&received.body).expect("JSON");
    let header = |name: &str| received.headers[name].to_str().expect("text");
    assert_eq!((header("x-tc-action"), header("x-tc-version")), ("AssumeRole", "2018-08-13"));
    let role = asked["RoleArn"].as_str().expect("a role");
    let seconds = asked["DurationSeconds"].as_u64().expect("a duration");
    match role.rsplit('/').next() {
        Some("nobody") => error("ResourceNotFound.RoleNotFound", "no such role".to_owned()),
        Some("busy") => error("RequestLimitExceeded", "600 a second".to_owned()),
        Some("odd") => reply(now, 502, "<html>".to_owned()),
        _ => {
            let credentials = serde_json::json!({
                "TmpSecretId": "TMP", "TmpSecretKey": "temporary-secret", "Token": asked["RoleSessionName"],
            });
            let text = serde_json::json!({"Response": {
                "Credentials": credentials, "ExpiredTime": now + seconds, "RequestId": "r",
            }});
            reply(now, 200, text.to_string())
        }
    }
}

/// AWS's STS at a time of its own.
fn aws(received: &Received, now: u64) -> Response<String> {
    let error = |code: &str, message: &str| {
        let text = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        );
        reply(now, 403, text)
    };
    if let Err(why) = sign::sigv4::verify(&received.signed(), now, known) {
        return error(why.aws_code(), &why.to_string());
    }
    let form = std::str::from_utf8(&received.body).expect("a form");
    let field = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)).expect("a field");
    assert_eq!((field("Action="), field("Version=")), ("AssumeRole", "2011-06-15"));
    let role = field("RoleArn=");
    if role.ends_with("nobody") {
        return error("AccessDenied", "not authorized to perform: sts:AssumeRole");
    }
    if role.ends_with("busy") {
        return error("Throttling", "Rate exceeded");
    }
    if role.ends_with("odd") {
        return reply(now, 200, "<a>".to_owned());
    }
    assert_eq!(role, "arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Forders");
    let expires = now + field("DurationSeconds=").parse::<u64>().expect("a number");
    let expires = date(expires);
    let (day, clock) = (&expires[5..7], &expires[17..25]);
    let text = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
         <Arn>a</Arn><AssumedRoleId>i</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>TMP</AccessKeyId>\
         <SecretAccessKey>temporary-secret</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>2023-11-{day}T{clock}Z</Expiration></Credentials></AssumeRoleResult>\
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleResponse>",
        field("RoleSessionName=")
    );
    reply(now, 200, text)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vendor {
    Tencent,
    Aws,
}

/// A provider of that vendor, whose server's clock is ahead by so many seconds, and how often the server was asked.
async fn provider(vendor: Vendor, secret: &str, ahead: i64) -> (Box<dyn Provider>, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let address = serve(move |received| {
        counted.fetch_add(1, Ordering::SeqCst);
        let now = BEGIN.saturating_add_signed(ahead);
        match vendor {
            Vendor::Tencent => tencent(&received, now),
            Vendor::Aws => aws(&received, now),
        }
    })
    .await;
    let (url, keys, hour) = (format!("http://{address}/"), keys(secret), Duration::from_secs(3_600));
    let now = Clock::new().reader();
    let provider: Box<dyn Provider> = match vendor {
        Vendor::Tencent => {
            let sts = TencentSts::new(transport(), url, "ap-guangzhou", keys, hour, now);
            Box::new(sts.expect("a region"))
        }
        Vendor::Aws => Box::new(AwsSts::new(transport(), url, "us-east-1".to_owned(), keys, hour, now)),
    };
    (provider, asked)
}

fn role(vendor: Vendor, name: &str) -> CredentialKey {
    let role = match vendor {
        Vendor::Tencent => format!("qcs::cam::uin/100000000001:roleName/{name}"),
        Vendor::Aws => format!("arn:aws:iam::123456789012:role/{name}"),
    };
    CredentialKey::new(role, "session.1")
}

fn check(credentials: &Credentials, vendor: Vendor) {
    assert_eq!((credentials.id.as_str(), credentials.secret.as_str()), ("TMP", "temporary-secret"));
    let session = if vendor == Vendor::Aws { "session%2E1" } else { "session.1" };
    assert_eq!(credentials.token.as_deref().map(String::as_str), Some(session));
    assert_eq!(credentials.expires_at, Some(UNIX_EPOCH + Duration::from_secs(BEGIN + 3_600)));
}

#[tokio::test]
async fn roles_are_assumed_with_signatures_that_are_verified() {
    for vendor in [Vendor::Tencent, Vendor::Aws] {
        let (provider, asked) = provider(vendor, SECRET, 0).await;
        check(&provider.fetch(&role(vendor, "orders")).await.expect("credentials"), vendor);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_costs_one_more_request_and_changes_no_expiry() {
    for vendor in [Vendor::Tencent, Vendor::Aws] {
        for ahead in [-7_200, -200, 200, 7_200] {
            let (provider, asked) = provider(vendor, SECRET, ahead).await;
            for round in 0..2 {
                let given = provider.fetch(&role(vendor, "orders")).await;
                check(&given.unwrap_or_else(|error| panic!("{vendor:?} {ahead}: {error}")), vendor);
                let more = u64::from(ahead.abs() > 300);
                assert_eq!(asked.load(Ordering::SeqCst), 1 + more + round, "{vendor:?} {ahead}");
            }
        }
    }
}

#[tokio::test]
async fn what_stays_refused_and_what_may_work_later_are_told_apart() {
    for vendor in [Vendor::Tencent, Vendor::Aws] {
        let (fine, _) = provider(vendor, SECRET, 0).await;
        for (name, refused) in [("nobody", true), ("busy", false), ("odd", false)] {
            let error = fine.fetch(&role(vendor, name)).await.expect_err(name);
            assert_eq!(
                matches!(error, CredentialError::Refused { .. }),
                refused,
                "{vendor:?} {name}: {error}"
            );
            assert!(error.to_string().contains(name), "{error}");
        }
        let (wrong, asked) = provider(vendor, "another-secret", 0).await;
        let error = wrong.fetch(&role(vendor, "orders")).await.expect_err("a wrong secret");
        assert!(matches!(error, CredentialError::Unavailable { .. }), "{error}");
        let code = match vendor {
            Vendor::Tencent => VerifyError::Mismatch.tencent_code(),
            Vendor::Aws => VerifyError::Mismatch.aws_code(),
        };
        assert!(error.to_string().contains(code) && !error.to_string().contains("another-secret"), "{error}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "another request would be no better");
    }
}
