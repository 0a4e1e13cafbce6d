//! What the clouds' own clients send is let in, and nothing that was changed on its way.
//!
//! `vectors.json` holds requests as botocore and Tencent's SDK for Python have made them, with made-up keys.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use sign::{Scheme, Signed, SigningKey, VerifyError};

#[derive(Deserialize, Clone)]
struct Vector {
    name: String,
    scheme: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    id: String,
    secret: String,
    token: Option<String>,
    region: String,
    service: String,
    now: u64,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors.json")).expect("vectors")
}

/// The first vector of a scheme.
fn of(scheme: &str) -> Vector {
    vectors().into_iter().find(|vector| vector.scheme == scheme).expect("one")
}

impl Vector {
    fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(other, _)| other == name).expect("a header").1
    }

    /// With another value of a header, which is new where it was not there.
    fn with(&self, name: &str, value: &str) -> Self {
        let mut changed = self.without(name);
        changed.headers.push((name.to_owned(), value.to_owned()));
        changed
    }

    fn without(&self, name: &str) -> Self {
        let mut changed = self.clone();
        changed.headers.retain(|(other, _)| other != name);
        changed
    }

    /// With a header once more.
    fn and(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.headers.push((name.to_owned(), value.to_owned()));
        changed
    }

    /// With something else in `Authorization`.
    fn claiming(&self, from: &str, to: &str) -> Self {
        let authorization = self.header("authorization");
        assert!(authorization.contains(from), "{from}: {authorization}");
        self.with("authorization", &authorization.replace(from, to))
    }

    fn signed(&self) -> Vec<String> {
        let (_, rest) = self.header("authorization").split_once("SignedHeaders=").expect("some");
        rest.split(',').next().expect("some").split(';').map(str::to_owned).collect()
    }

    fn check(&self) -> Result<(), VerifyError> {
        self.check_at(self.now)
    }

    fn check_at(&self, now: u64) -> Result<(), VerifyError> {
        self.read(now, |signed| {
            if signed.is_by(&signed.head.key(&self.secret)) { Ok(()) } else { Err(VerifyError::Mismatch) }
        })?
    }

    fn read<T>(&self, now: u64, then: impl FnOnce(&Signed<'_>) -> T) -> Result<T, VerifyError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let value = HeaderValue::from_str(value.trim()).expect("a value");
            headers.append(name.parse::<HeaderName>().expect("a name"), value);
        }
        let method: Method = self.method.parse().expect("a method");
        let read = if self.scheme == "TC3" { sign::tc3::read } else { sign::sigv4::read };
        let signed = read(&method, &self.target, &headers, now)?.with_body(self.body.as_bytes(), now)?;
        Ok(then(&signed))
    }
}

#[test]
fn what_the_clouds_own_clients_send_is_let_in() {
    for vector in vectors() {
        vector.check().unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        let told = vector.read(vector.now, |signed| {
            assert_eq!(signed.head.scheme == Scheme::Tc3, vector.scheme == "TC3");
            assert_eq!((signed.head.id, signed.head.service), (vector.id.as_str(), vector.service.as_str()));
            assert_eq!(
                (signed.head.region, signed.head.token),
                (vector.region.as_str(), vector.token.as_deref())
            );
            assert_eq!(signed.head.signed_at, vector.now);
            assert!(signed.head.signs("host") && !signed.head.signs("user-agent"));
            let text = format!("{signed:?}");
            assert!(!text.contains("madeUp") && !text.contains("FwoGZ"), "{text}");
        });
        told.expect("as before");
    }
}

#[test]
fn a_key_that_was_kept_verifies_all_requests_of_its_day_and_no_others() {
    let vector = of("SigV4");
    let kept = SigningKey::sigv4(&vector.secret, "20261127", &vector.region, "states");
    let is_by = |vector: &Vector| vector.read(vector.now, |signed| signed.is_by(&kept));
    let all: Vec<Vector> = vectors().into_iter().filter(|other| other.scheme == "SigV4").collect();
    for other in &all {
        let same = other.id == vector.id && other.region == vector.region;
        assert_eq!(is_by(other), Ok(same), "{}", other.name);
    }
    assert!(all.iter().filter(|other| is_by(other) == Ok(true)).count() > 1);
}

#[test]
fn whatever_is_changed_of_what_was_signed_is_noticed() {
    for vector in vectors() {
        let mut changed = vec![
            ("the secret", Vector { secret: vector.secret.replacen('m', "n", 1), ..vector.clone() }),
            ("the body", Vector { body: format!("{} ", vector.body), ..vector.clone() }),
            ("the method", Vector { method: "PUT".to_owned(), ..vector.clone() }),
            ("the query", Vector { target: format!("{}?x=y", vector.target), ..vector.clone() }),
            ("the service", vector.claiming(&format!("/{}/", vector.service), "/sts/")),
        ];
        let signature = vector.header("authorization").rsplit('=').next().expect("one").to_owned();
        let other = signature.chars().rev().collect::<String>();
        changed.push(("the signature", vector.claiming(&signature, &other)));
        if vector.scheme == "TC3" {
            let later = (vector.now + 1).to_string();
            changed.push(("the time", vector.with("x-tc-timestamp", &later)));
        } else {
            changed.push(("the path", Vector { target: "/a".to_owned(), ..vector.clone() }));
            changed.push(("the region", vector.claiming(&format!("/{}/", vector.region), "/mars-north-1/")));
            changed.push(("the time", vector.with("x-amz-date", "20261127T081531Z")));
        }
        for (what, changed) in changed {
            assert_eq!(changed.check(), Err(VerifyError::Mismatch), "{}: {what}", vector.name);
        }
        for name in vector.signed().into_iter().filter(|name| name != "x-amz-date") {
            let changed = vector.with(&name, &format!("{}x", vector.header(&name).trim()));
            assert_eq!(changed.check(), Err(VerifyError::Mismatch), "{}: {name}", vector.name);
        }
    }
}

#[test]
fn an_authorization_that_is_not_as_its_scheme_writes_it_is_refused() {
    for scheme in ["SigV4", "TC3"] {
        let vector = of(scheme);
        let authorization = vector.header("authorization").to_owned();
        let last = if scheme == "TC3" { "tc3_request" } else { "aws4_request" };
        let signature = authorization.rsplit('=').next().expect("one").to_owned();
        for (from, to) in [
            (authorization.split(' ').next().expect("one"), "AWS4-HMAC-SHA1"),
            (" Credential=", "Credential="),
            ("Credential=", "credential="),
            ("Credential=", "Credential=a/b/c, Credential="),
            ("Signature=", "More=x, Signature="),
            ("Signature=", "Signature=00, Signature="),
            (", Signature=", ", "),
            ("SignedHeaders=", "SignedHeaders2="),
            ("content-type;host", "host;content-type"),
            ("content-type;host", "content-type;content-type;host"),
            ("content-type;host", "Content-Type;host"),
            ("content-type;host", "content-type;;host"),
            (last, "other_request"),
            (last, &format!("{last}/more")),
            (&format!("/{last}"), ""),
            (&format!("{}/", vector.id), "/"),
            (&vector.id, "a b"),
            ("2026", "2025"),
            ("content-type;host", "accept;content-type;host"),
        ] {
            let told = vector.claiming(from, to).check();
            assert!(matches!(told, Err(VerifyError::Malformed(_))), "{from} {to}: {told:?}");
        }
        for wrong in [&signature.to_uppercase(), &signature[1..], "", "no digits"] {
            assert_eq!(vector.claiming(&signature, wrong).check(), Err(VerifyError::Mismatch), "{wrong}");
        }
        let many: String = (0..64).map(|n| format!("a{n:02};")).collect();
        let told = vector.claiming("content-type;host", &format!("{many}content-type;host")).check();
        assert_eq!(told, Err(VerifyError::Malformed("SignedHeaders are too many")));
        let long = vector.claiming(&vector.id, &"a".repeat(2_000)).check();
        assert!(matches!(long, Err(VerifyError::Malformed(_))), "{long:?}");
        assert_eq!(vector.without("authorization").check(), Err(VerifyError::Missing("authorization")));
    }
}

#[test]
fn headers_that_steer_the_server_have_to_be_signed() {
    let aws = of("SigV4");
    let (unsigned, other) = (VerifyError::Unsigned, "a header X-Amz-* that was sent");
    for (changed, expected) in [
        (aws.claiming("content-type;host", "content-type"), unsigned("host")),
        (aws.claiming("content-type;", ""), unsigned("content-type")),
        (aws.claiming(";x-amz-target", ""), unsigned("x-amz-target")),
        (aws.claiming(";x-amz-date", ""), unsigned("x-amz-date")),
        (aws.and("x-amz-security-token", "another"), unsigned("x-amz-security-token")),
        (aws.and("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), unsigned("x-amz-content-sha256")),
        (aws.and("x-amz-meta", "x"), unsigned(other)),
    ] {
        assert_eq!(changed.check(), Err(expected));
    }
    aws.and("x-amzn-trace-id", "Root=1-2-3").check().expect("what may be added on the way is not signed");
    let tencent = of("TC3");
    assert_eq!(tencent.claiming(";host", "").check(), Err(unsigned("host")));
    assert_eq!(tencent.without("host").check(), Err(VerifyError::Missing("host")));
    assert_eq!(tencent.claiming("content-type;", "").check(), Err(unsigned("content-type")));
    let signs = |vector: &Vector, name| vector.read(vector.now, |signed| signed.head.signs(name));
    assert_eq!(signs(&tencent, "x-tc-action"), Ok(false), "as Tencent's own client has it");
    assert_eq!(signs(&aws, "x-amz-target"), Ok(true));
}

#[test]
fn a_header_that_stands_there_twice_is_refused_though_the_first_one_is_signed() {
    for (scheme, names) in [
        ("SigV4", &["x-amz-date", "x-amz-target", "x-amz-meta"][..]),
        ("TC3", &["x-tc-timestamp", "x-tc-action", "x-tc-token", "x-tc-region"]),
    ] {
        let vector = of(scheme);
        for name in ["authorization", "host", "content-type"] {
            let twice = vector.and(name, vector.header(name)).check();
            assert_eq!(twice, Err(VerifyError::Twice(name)), "{scheme}");
        }
        for name in names {
            let twice = vector.and(name, "a").and(name, "b").check();
            assert!(matches!(twice, Err(VerifyError::Twice(_))), "{name}: {twice:?}");
        }
    }
}

#[test]
fn a_signature_in_the_query_is_refused_with_words_even_beside_one_in_the_header() {
    for (scheme, query) in [
        ("SigV4", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Signature=00"),
        ("SigV4", "a=b&x-amz-signature=00"),
        ("SigV4", "X%2DAmz%2DSignature=00"),
        ("TC3", "Action=DescribeExecution&SecretId=a&Signature=b"),
    ] {
        let vector = Vector { target: format!("/?{query}"), ..of(scheme) };
        assert_eq!(vector.check(), Err(VerifyError::Query), "{query}");
        let told = vector.without("authorization").check();
        assert_eq!(told, Err(VerifyError::Query), "{query}");
        assert!(VerifyError::Query.to_string().contains("header Authorization"));
    }
}

#[test]
fn requests_are_let_in_up_to_five_minutes_before_and_after_they_were_signed() {
    for vector in vectors() {
        for (now, expected) in [
            (vector.now + 300, Ok(())),
            (vector.now - 300, Ok(())),
            (vector.now + 301, Err(VerifyError::Skewed)),
            (vector.now - 301, Err(VerifyError::Skewed)),
            (0, Err(VerifyError::Skewed)),
            (u64::MAX, Err(VerifyError::Skewed)),
        ] {
            assert_eq!(vector.check_at(now), expected, "{}", vector.name);
        }
    }
}

#[test]
fn a_time_that_is_none_is_refused() {
    for (scheme, header, values) in [
        ("SigV4", "x-amz-date", &["20261127", "20261127T081530", "20261327T081530Z", "now", ""][..]),
        ("TC3", "x-tc-timestamp", &["+1795767330", "1795767330.0", "-1", "now", "", "99999999999999999999"]),
    ] {
        let vector = of(scheme);
        for value in values {
            let told = vector.with(header, value).check();
            assert!(matches!(told, Err(VerifyError::Malformed(_))), "{value}: {told:?}");
        }
        assert_eq!(vector.without(header).check(), Err(VerifyError::Missing(header)));
    }
}

#[test]
fn a_head_that_came_in_time_is_refused_when_its_body_comes_too_late() {
    let headers = |vector: &Vector| {
        let header = |(name, value): &(String, String)| {
            (
                name.parse::<HeaderName>().expect("a name"),
                HeaderValue::from_str(value.trim()).expect("a value"),
            )
        };
        vector.headers.iter().map(header).collect::<HeaderMap>()
    };
    for vector in vectors() {
        let read = if vector.scheme == "TC3" { sign::tc3::read } else { sign::sigv4::read };
        let headers = headers(&vector);
        let ends = |now| {
            let head = read(&Method::POST, &vector.target, &headers, vector.now + 299).expect("in time");
            head.with_body(vector.body.as_bytes(), now).err()
        };
        assert_eq!([ends(vector.now + 300), ends(vector.now + 301)], [None, Some(VerifyError::Skewed)]);
    }
}

#[test]
fn the_body_is_always_signed() {
    let tencent = of("TC3").with("x-tc-content-sha256", "UNSIGNED-PAYLOAD");
    assert!(matches!(tencent.check(), Err(VerifyError::Malformed(why)) if why.contains("body")));
    let aws = of("SigV4");
    let hashed = |value| {
        let signed = aws.claiming(";x-amz-date", ";x-amz-content-sha256;x-amz-date");
        signed.with("x-amz-content-sha256", value).check()
    };
    for none in
        ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"]
    {
        assert!(matches!(hashed(none), Err(VerifyError::Malformed(why)) if why.contains("body")), "{none}");
    }
    assert_eq!(hashed(&"0".repeat(64)), Err(VerifyError::Mismatch), "the hash of another body");
}

#[test]
fn a_hash_that_a_client_signs_has_to_be_that_of_the_body() {
    let keys = sign::Keys { id: "AKIA".to_owned(), secret: "s".to_owned().into(), token: None };
    let of_a = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    for (hash, expected) in [(of_a, Ok(true)), (&"0".repeat(64), Err(VerifyError::Mismatch))] {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-content-sha256", HeaderValue::from_str(hash).expect("a value"));
        let (method, url, body) = (&Method::POST, "http://h:1/", b"a".as_slice());
        let mut request = sign::Unsigned { method, url, headers: &mut headers, body };
        sign::sigv4::sign(&mut request, &keys, "states", "r", 1_795_767_330).expect("signed");
        headers.insert("host", HeaderValue::from_static("h:1"));
        let head = sign::sigv4::read(method, "/", &headers, 1_795_767_330).expect("a head");
        let signed = head.with_body(body, 1_795_767_330);
        assert_eq!(signed.map(|signed| signed.is_by(&signed.head.key("s"))), expected);
    }
}
