//! TC3-HMAC-SHA256: how requests to Tencent Cloud's API 3.0 are signed.

use http::{HeaderMap, HeaderValue, Method};
use zeroize::Zeroizing;

use crate::authorization::{Authorization, none_twice, not_in_query, once};
use crate::canonical::{date, hash, hex, host, push_header};
use crate::key::SigningKey;
use crate::signed::{Head, Scheme};
use crate::verify::{Claim, Received, VerifyError, check_time};
use crate::{Keys, SignError, Unsigned, secret_value};

const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// Signs a request to a service such as `sts`: adds `X-TC-Timestamp`, `X-TC-Token` where the keys are temporary, and
/// `Authorization`. Signed are `content-type`, `host`, and `x-tc-action` where it is there.
///
/// # Errors
/// [`SignError`] when the URL is none, or `Content-Type` is missing.
pub fn sign(
    request: &mut Unsigned<'_>,
    keys: &Keys,
    service: &str,
    unix_seconds: u64,
) -> Result<(), SignError> {
    let day = day(unix_seconds).ok_or_else(|| SignError::of("the time is beyond the calendar"))?;
    let host = host(request.url)?;
    let action = request.headers.contains_key("x-tc-action");
    let names = if action { "content-type;host;x-tc-action" } else { "content-type;host" };
    let uri: http::Uri = request.url.parse().map_err(SignError::of)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut canonical = canonical(request.method, path, (request.headers, &host), names)
        .map_err(|name| SignError::of(format!("it has no header {name}")))?;
    canonical.push_str(&hash(request.body));
    let signed = to_sign(&unix_seconds.to_string(), &day, service) + &hash(canonical.as_bytes());
    let signature = hex(&SigningKey::tc3(&keys.secret, &day, service).sign(&signed));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{day}/{service}/tc3_request, SignedHeaders={names}, Signature={signature}",
        keys.id,
    );
    // The client sends the host by itself.
    request.headers.remove("host");
    request.headers.insert("x-tc-timestamp", HeaderValue::from(unix_seconds));
    request.headers.insert("authorization", secret_value(&authorization)?);
    if let Some(token) = &keys.token {
        request.headers.insert("x-tc-token", secret_value(token)?);
    }
    Ok(())
}

/// Takes line and headers of a request apart that says to be signed; `target` is path and query as sent. Signed have to be the
/// host and `Content-Type`, for more Tencent's own clients do not sign: whoever relies on the action asks [`Head::signs`]. None
/// of them nor any `X-TC-*` may be there twice. The body is always signed.
///
/// # Errors
/// All of [`VerifyError`] but that the key is unknown and that the signature is another.
pub fn read<'a>(
    method: &Method,
    target: &str,
    headers: &'a HeaderMap,
    unix_seconds: u64,
) -> Result<Head<'a>, VerifyError> {
    not_in_query(target, &["Signature", "SecretId", "X-TC-Signature"])?;
    let authorization = Authorization::of(headers, ALGORITHM)?;
    let mut scope = authorization.credential.split('/');
    let parts = [(); 4].map(|()| scope.next());
    let ([Some(id), Some(day_said), Some(service), Some("tc3_request")], None) = (parts, scope.next()) else {
        return Err(VerifyError::Malformed("Credential is no ID/DATE/SERVICE/tc3_request"));
    };
    let host = once(headers, "host")?.ok_or(VerifyError::Missing("host"))?;
    none_twice(headers, "x-tc-", "x-tc-*")?;
    once(headers, "content-type")?.ok_or(VerifyError::Missing("content-type"))?;
    authorization.requires(&["content-type", "host"])?;
    if once(headers, "x-tc-content-sha256")?.is_some() {
        return Err(VerifyError::Malformed("X-TC-Content-SHA256 is not taken: the body has to be signed"));
    }
    let written = once(headers, "x-tc-timestamp")?.ok_or(VerifyError::Missing("x-tc-timestamp"))?;
    let is_number = written.bytes().all(|byte| byte.is_ascii_digit());
    let timestamp = written.parse().ok().filter(|_| is_number);
    let timestamp: u64 = timestamp.ok_or(VerifyError::Malformed("X-TC-Timestamp is no Unix time"))?;
    if day(timestamp).as_deref() != Some(day_said) {
        return Err(VerifyError::Malformed("the date of Credential is not that of X-TC-Timestamp"));
    }
    check_time(timestamp, unix_seconds)?;
    let names = authorization.signed;
    let canonical = canonical(method, target, (headers, host), names)
        .map_err(|_| VerifyError::Malformed("a signed header is missing"))?;
    Ok(Head {
        scheme: Scheme::Tc3,
        credential: authorization.credential,
        id,
        day: day_said,
        region: once(headers, "x-tc-region")?.unwrap_or_default(),
        service,
        token: once(headers, "x-tc-token")?,
        signed_at: timestamp,
        headers: names,
        signature: authorization.signature,
        payload: None,
        canonical,
        to_sign: to_sign(written, day_said, service),
    })
}

/// Verifies a request as Tencent Cloud does, and says who has signed it. `secret_of` tells the secret of a key.
///
/// # Errors
/// [`VerifyError`].
pub fn verify(
    request: &Received<'_>,
    unix_seconds: u64,
    secret_of: impl FnOnce(&Claim) -> Option<Zeroizing<String>>,
) -> Result<Claim, VerifyError> {
    let head = read(request.method, request.target, request.headers, unix_seconds)?;
    head.verified(request.body, unix_seconds, secret_of)
}

fn day(unix_seconds: u64) -> Option<String> {
    date(unix_seconds).map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}"))
}

/// The canonical request without the body's hash at its end; the error is the header that is missing.
fn canonical<'n>(
    method: &Method,
    target: &str,
    (headers, host): (&HeaderMap, &str),
    names: &'n str,
) -> Result<String, &'n str> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let mut text = String::with_capacity(512);
    text.extend([method.as_str(), "\n/\n", query, "\n"]);
    for name in names.split(';') {
        text.extend([name, ":"]);
        let value = text.len();
        if !push_header(&mut text, headers, host, name) {
            return Err(name);
        }
        text[value..].make_ascii_lowercase();
        text.push('\n');
    }
    text.extend(["\n", names, "\n"]);
    Ok(text)
}

/// What is signed, without the canonical request's hash at its end.
fn to_sign(timestamp: &str, day: &str, service: &str) -> String {
    format!("{ALGORITHM}\n{timestamp}\n{day}/{service}/tc3_request\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_551_113_065;
    const BODY: &[u8] =
        br#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;

    fn keys(secret: &str) -> Keys {
        let id = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE".to_owned();
        Keys { id, secret: Zeroizing::new(secret.to_owned()), token: None }
    }

    fn signed(keys: &Keys, action: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json; charset=utf-8"));
        if let Some(action) = action {
            headers.insert("x-tc-action", HeaderValue::from_static(action));
        }
        let mut request = Unsigned {
            method: &Method::POST,
            url: "https://cvm.tencentcloudapi.com",
            headers: &mut headers,
            body: BODY,
        };
        sign(&mut request, keys, "cvm", NOW).expect("it can be signed");
        headers
    }

    #[test]
    fn requests_are_signed_as_tencent_has_published() {
        let example = keys("Gu5t9xGARNpq86cd98joQYCN3EXAMPLE");
        let stars = keys("Gu5t9xGARNpq86cd98joQYCN3*******");
        for (keys, action, signature) in [
            (&example, None, "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"),
            (&stars, None, "2230eefd229f582d8b1b891af7107b91597240707d778ab3738f756258d7652c"),
            (
                &example,
                Some("DescribeInstances"),
                "644be983de9a8a3f00db8eadaba61467c3b429e2215758ba897b738ca469fd26",
            ),
            (
                &stars,
                Some("DescribeInstances"),
                "be4f67d323c78ab9acb7395e43c0dbcf822a9cfac32fea2449a7bc7726b770a3",
            ),
        ] {
            let headers = signed(keys, action);
            let names = if action.is_some() { "content-type;host;x-tc-action" } else { "content-type;host" };
            let expected = format!(
                "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, \
                 SignedHeaders={names}, Signature={signature}"
            );
            assert_eq!(headers["authorization"], expected);
            assert_eq!(headers["x-tc-timestamp"], "1551113065");
        }
    }

    fn check(headers: &HeaderMap, body: &[u8], now: u64) -> Result<Claim, VerifyError> {
        let request = Received { method: &Method::POST, target: "/", headers, body };
        let secret = Zeroizing::new("Gu5t9xGARNpq86cd98joQYCN3EXAMPLE".to_owned());
        verify(&request, now, |claim| claim.id.starts_with("AKIDz8").then_some(secret))
    }

    fn sent() -> HeaderMap {
        let mut keys = keys("Gu5t9xGARNpq86cd98joQYCN3EXAMPLE");
        keys.token = Some(Zeroizing::new("temporary".to_owned()));
        let mut headers = signed(&keys, Some("DescribeInstances"));
        headers.insert("host", HeaderValue::from_static("cvm.tencentcloudapi.com"));
        headers
    }

    #[test]
    fn what_was_signed_is_verified_up_to_five_minutes_away() {
        let claim = check(&sent(), BODY, NOW + 300).expect("the signature is good");
        assert_eq!(
            (claim.service.as_str(), claim.token.as_deref().map(String::as_str)),
            ("cvm", Some("temporary"))
        );
        check(&sent(), BODY, NOW - 300).expect("a clock that is behind by as much");
        assert_eq!(check(&sent(), BODY, NOW + 301), Err(VerifyError::Skewed));
        assert_eq!(check(&sent(), BODY, NOW - 301), Err(VerifyError::Skewed));
    }

    #[test]
    fn a_request_that_was_changed_is_not_let_in() {
        assert_eq!(check(&sent(), b"{}", NOW), Err(VerifyError::Mismatch));
        for (name, value) in
            [("host", "elsewhere"), ("x-tc-action", "DeleteAll"), ("content-type", "text/plain")]
        {
            let mut headers = sent();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(check(&headers, BODY, NOW), Err(VerifyError::Mismatch), "{name}");
        }
        let mut headers = sent();
        headers.insert("x-tc-timestamp", HeaderValue::from(NOW + 1));
        assert_eq!(check(&headers, BODY, NOW), Err(VerifyError::Mismatch));
    }

    #[test]
    fn a_request_that_is_not_signed_as_it_should_be_is_told_so() {
        let mut headers = sent();
        headers.remove("authorization");
        assert_eq!(check(&headers, BODY, NOW), Err(VerifyError::Missing("authorization")));
        let mut headers = sent();
        let authorization = headers["authorization"].to_str().expect("text").to_owned();
        for (from, to) in [("TC3-", "TC4-"), ("/tc3_request", ""), ("2019", "2018")] {
            let changed = authorization.replace(from, to);
            headers.insert("authorization", HeaderValue::from_str(&changed).expect("text"));
            assert!(matches!(check(&headers, BODY, NOW), Err(VerifyError::Malformed(_))), "{changed}");
        }
        let changed = authorization.replace("AKIDz8", "AKIDz9");
        headers.insert("authorization", HeaderValue::from_str(&changed).expect("text"));
        assert_eq!(check(&headers, BODY, NOW), Err(VerifyError::UnknownKey));
    }

    #[test]
    fn keys_and_signatures_are_in_no_debug_output() {
        let text = format!("{:?} {:?}", sent(), keys("Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"));
        assert!(
            !text.contains("Gu5t9x") && !text.contains("Signature=") && !text.contains("temporary"),
            "{text}"
        );
    }
}
