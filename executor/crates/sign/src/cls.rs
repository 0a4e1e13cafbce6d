//! How requests to Tencent Cloud's log service (CLS) are signed: HMAC-SHA-1 over the method, the path, and chosen headers and
//! parameters, as its object storage does it.
//!
//! The body is not signed: CLS asks for no hash of it.

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use crate::canonical::{header, hex, host};
use crate::verify::{Claim, Received, SKEW_SECONDS_MAX, VerifyError};
use crate::{Keys, SignError, Unsigned, secret_value};

/// How long a signature holds, from a minute ago: a clock may be late.
const BACK_SECONDS: u64 = 60;
const FORTH_SECONDS: u64 = 300;
/// Everything but RFC 3986's unreserved characters is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Signs a request: adds `Authorization`, and `X-Cls-Token` where the keys are temporary. Signed are the host, `content-type`
/// where it is there, and all parameters.
///
/// # Errors
/// [`SignError`] when the URL is none, or a header is no text.
pub fn sign(request: &mut Unsigned<'_>, keys: &Keys, unix_seconds: u64) -> Result<(), SignError> {
    let uri: http::Uri = request.url.parse().map_err(SignError::of)?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    request.headers.insert("host", HeaderValue::from_str(&host(request.url)?).map_err(SignError::of)?);
    let names: Vec<&str> =
        ["content-type", "host"].into_iter().filter(|name| request.headers.contains_key(*name)).collect();
    let params = params(target);
    let params_named: Vec<&str> = params.iter().map(|(name, _)| name.as_str()).collect();
    let time = format!("{};{}", unix_seconds.saturating_sub(BACK_SECONDS), unix_seconds + FORTH_SECONDS);
    let canonical = canonical(request.method, target, request.headers, &names, &params_named)
        .map_err(|name| SignError::of(format!("its {name} is no text")))?;
    let signature = hex(&mac(&keys.secret, &time, &canonical).finalize().into_bytes());
    let authorization = format!(
        "q-sign-algorithm=sha1&q-ak={}&q-sign-time={time}&q-key-time={time}&q-header-list={}&q-url-param-list={}\
         &q-signature={signature}",
        keys.id,
        names.join(";"),
        params_named.join(";"),
    );
    // The client sends the host by itself.
    request.headers.remove("host");
    request.headers.insert("authorization", secret_value(&authorization)?);
    if let Some(token) = &keys.token {
        request.headers.insert("x-cls-token", secret_value(token)?);
    }
    Ok(())
}

/// Verifies a request as CLS does, and says who has signed it. `secret_of` tells the secret of a key.
///
/// # Errors
/// [`VerifyError`].
pub fn verify(
    request: &Received<'_>,
    unix_seconds: u64,
    secret_of: impl FnOnce(&Claim) -> Option<Zeroizing<String>>,
) -> Result<Claim, VerifyError> {
    let value = request.headers.get("authorization").ok_or(VerifyError::Missing("authorization"))?;
    let text = value.to_str().map_err(|_| VerifyError::Malformed("Authorization is no text"))?;
    let field = |name: &str| {
        let mut fields = text.split('&').filter_map(|field| field.split_once('='));
        fields.find_map(|(key, value)| (key == name).then_some(value))
    };
    if field("q-sign-algorithm") != Some("sha1") {
        return Err(VerifyError::Malformed("Authorization names another algorithm"));
    }
    let id = field("q-ak").ok_or(VerifyError::Malformed("Authorization has no q-ak"))?;
    let time = field("q-key-time").ok_or(VerifyError::Malformed("Authorization has no q-key-time"))?;
    if field("q-sign-time") != Some(time) {
        return Err(VerifyError::Malformed("q-sign-time is not q-key-time"));
    }
    let (begin, end) = time.split_once(';').unwrap_or_default();
    let (Ok(begin), Ok(end)) = (begin.parse::<u64>(), end.parse::<u64>()) else {
        return Err(VerifyError::Malformed("q-sign-time is no pair of Unix times"));
    };
    if !(begin.saturating_sub(SKEW_SECONDS_MAX)..=end).contains(&unix_seconds) {
        return Err(VerifyError::Skewed);
    }
    let list = |name| field(name).unwrap_or_default().split(';').filter(|name| !name.is_empty());
    let (headers, params): (Vec<_>, Vec<_>) =
        (list("q-header-list").collect(), list("q-url-param-list").collect());
    if !headers.contains(&"host") {
        return Err(VerifyError::Malformed("q-header-list lacks one that has to be signed"));
    }
    let claim = Claim {
        id: id.to_owned(),
        service: "cls".to_owned(),
        region: String::new(),
        token: header(request.headers, "x-cls-token").map(Zeroizing::new),
    };
    let secret = secret_of(&claim).ok_or(VerifyError::UnknownKey)?;
    let canonical = canonical(request.method, request.target, request.headers, &headers, &params)
        .map_err(|_| VerifyError::Malformed("what is signed is missing"))?;
    let signature = field("q-signature").and_then(unhex).ok_or(VerifyError::Mismatch)?;
    mac(&secret, time, &canonical).verify_slice(&signature).map_err(|_| VerifyError::Mismatch)?;
    Ok(claim)
}

/// The parameters of a target: names in lower case, values as they are, sorted.
fn params(target: &str) -> Vec<(String, String)> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut params: Vec<_> =
        pairs.map(|(name, value)| (decode(name).to_lowercase(), decode(value))).collect();
    params.sort();
    params
}

/// `HttpRequestInfo`; the error is what is missing of the names.
fn canonical<'a>(
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    names: &[&'a str],
    params_named: &[&'a str],
) -> Result<String, &'a str> {
    let pair = |name: &str, value: &str| {
        format!("{}={}", utf8_percent_encode(name, ENCODED), utf8_percent_encode(value, ENCODED))
    };
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let given = params(target);
    let param = |name: &&'a str| {
        let found = given.iter().find(|(given, _)| given == name).ok_or(*name)?;
        Ok(pair(name, &found.1))
    };
    let header = |name: &&'a str| Ok(pair(name, &header(headers, name).ok_or(*name)?));
    let mut params = params_named.iter().map(param).collect::<Result<Vec<_>, &str>>()?;
    let mut headers = names.iter().map(header).collect::<Result<Vec<_>, &str>>()?;
    params.sort();
    headers.sort();
    let method = method.as_str().to_lowercase();
    Ok(format!("{method}\n{path}\n{}\n{}\n", params.join("&"), headers.join("&")))
}

/// What the signature is of, under the key of its time.
fn mac(secret: &str, time: &str, canonical: &str) -> Hmac<Sha1> {
    let keyed = |key: &[u8]| Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
    let key = keyed(secret.as_bytes()).chain_update(time).finalize().into_bytes();
    // The key is the text of the digits, not the bytes.
    let key = Zeroizing::new(hex(&key));
    let signed = format!("sha1\n{time}\n{}\n", hex(&Sha1::digest(canonical.as_bytes())));
    keyed(key.as_bytes()).chain_update(signed)
}

fn unhex(text: &str) -> Option<[u8; 20]> {
    let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16)?).ok();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    rest.is_empty().then(|| bytes.collect::<Option<Vec<u8>>>())??.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "LUSE4nPK1d4tX5SHyXv6tZXXXXXXXXXX";
    const NOW: u64 = 1_596_716_960;
    const URL: &str = "https://ap-guangzhou.cls.tencentcs.com/structuredlog?topic_id=a-b_c";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)))
            .collect()
    }

    fn signature(method: &Method, target: &str, params: &[&str]) -> String {
        let headers =
            headers(&[("content-type", "application/json"), ("host", "ap-shanghai.cls.tencentyun.com")]);
        let canonical =
            canonical(method, target, &headers, &["content-type", "host"], params).expect("all there");
        hex(&mac(SECRET, "1578976553;1578978363", &canonical).finalize().into_bytes())
    }

    #[test]
    fn the_published_examples_have_their_signatures() {
        let target = "/logset?logset_id=xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
        assert_eq!(
            signature(&Method::GET, target, &["logset_id"]),
            "315dfa0d0ce55582145f7800df5eb3e9c88d2f84"
        );
        assert_eq!(signature(&Method::PUT, "/logset", &[]), "600aeb5e646d385d7dd9da57ba9b2545cadfaa1c");
    }

    fn keys(token: Option<&str>) -> Keys {
        Keys {
            id: "AKID".to_owned(),
            secret: Zeroizing::new(SECRET.to_owned()),
            token: token.map(|token| Zeroizing::new(token.to_owned())),
        }
    }

    /// As a server receives what was signed.
    fn signed(token: Option<&str>) -> HeaderMap {
        let mut headers = headers(&[("content-type", "application/x-protobuf")]);
        let mut request = Unsigned { method: &Method::POST, url: URL, headers: &mut headers, body: b"" };
        sign(&mut request, &keys(token), NOW).expect("signed");
        assert!(!headers.contains_key("host"), "the client sends it");
        headers.insert("host", HeaderValue::from_static("ap-guangzhou.cls.tencentcs.com"));
        headers
    }

    fn verified(headers: &HeaderMap, target: &str, now: u64) -> Result<Claim, VerifyError> {
        let request = Received { method: &Method::POST, target, headers, body: b"" };
        verify(&request, now, |claim| (claim.id == "AKID").then(|| Zeroizing::new(SECRET.to_owned())))
    }

    const TARGET: &str = "/structuredlog?topic_id=a-b_c";

    #[test]
    fn what_was_signed_is_let_in_for_as_long_as_it_says() {
        let claim = verified(&signed(Some("temporary")), TARGET, NOW).expect("let in");
        assert_eq!(
            (claim.id.as_str(), claim.token.as_deref().map(String::as_str)),
            ("AKID", Some("temporary"))
        );
        assert!(verified(&signed(None), TARGET, NOW + FORTH_SECONDS).is_ok());
        assert_eq!(verified(&signed(None), TARGET, NOW + FORTH_SECONDS + 1), Err(VerifyError::Skewed));
        assert_eq!(verified(&signed(None), TARGET, NOW - 1_000), Err(VerifyError::Skewed));
    }

    #[test]
    fn what_was_changed_is_not_let_in() {
        let topic = "/structuredlog?topic_id=another";
        assert_eq!(verified(&signed(None), topic, NOW), Err(VerifyError::Mismatch));
        let mut changed = signed(None);
        changed.insert("content-type", HeaderValue::from_static("text/plain"));
        assert_eq!(verified(&changed, TARGET, NOW), Err(VerifyError::Mismatch));
        let replaced = |from: &str, to: &str| {
            let mut headers = signed(None);
            let text = headers["authorization"].to_str().expect("text").replace(from, to);
            headers.insert("authorization", HeaderValue::from_str(&text).expect("a value"));
            verified(&headers, TARGET, NOW)
        };
        assert_eq!(replaced("q-ak=AKID", "q-ak=AKIX"), Err(VerifyError::UnknownKey));
        assert_eq!(replaced("q-signature=", "q-signature=0"), Err(VerifyError::Mismatch));
        for (from, to) in [
            ("q-sign-algorithm=sha1", "q-sign-algorithm=md5"),
            ("q-header-list=content-type;host", "q-header-list=content-type"),
            ("q-sign-time", "q-other-time"),
        ] {
            assert!(matches!(replaced(from, to), Err(VerifyError::Malformed(_))), "{from}");
        }
        assert_eq!(verified(&HeaderMap::new(), TARGET, NOW), Err(VerifyError::Missing("authorization")));
    }

    #[test]
    fn the_secret_shows_nowhere() {
        let headers = signed(Some("temporary"));
        let shown = format!("{headers:?} {:?}", keys(Some("temporary")));
        assert!(!shown.contains(SECRET) && !shown.contains("temporary"), "{shown}");
    }
}
