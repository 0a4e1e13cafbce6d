//! SigV4: how requests to AWS are signed. AWS's own crate signs; what verifies is ours, written from the specification.
//!
//! Paths are encoded twice and normalised, as every service but S3 has it.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request};
use aws_sigv4::sign::v4;
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use time::{Date, Month, OffsetDateTime, Time};
use zeroize::Zeroizing;

use crate::authorization::{Authorization, none_twice, not_in_query, once};
use crate::canonical::{host, push_header};
use crate::signed::{Head, Scheme};
use crate::verify::{Claim, Received, VerifyError, check_time};
use crate::{Keys, SignError, Unsigned, secret_value};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Everything but RFC 3986's unreserved characters is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Signs a request to a service such as `sts`: adds `X-Amz-Date`, `X-Amz-Security-Token` where the keys are temporary, and
/// `Authorization`. Signed are all headers that are there, and the host.
///
/// # Errors
/// [`SignError`] when the URL is none, or a header is no text.
pub fn sign(
    request: &mut Unsigned<'_>,
    keys: &Keys,
    service: &str,
    region: &str,
    unix_seconds: u64,
) -> Result<(), SignError> {
    let host = host(request.url)?;
    let texts = request.headers.iter().filter(|(name, _)| *name != "host").map(|(name, value)| {
        let value = value.to_str().map_err(|_| SignError::of(format!("the header {name} is no text")))?;
        Ok((name.as_str(), value))
    });
    let mut texts = texts.collect::<Result<Vec<_>, SignError>>()?;
    texts.push(("host", &host));
    let time = UNIX_EPOCH + Duration::from_secs(unix_seconds);
    let token = keys.token.as_deref().cloned();
    let identity = Credentials::new(keys.id.as_str(), keys.secret.as_str(), token, None, "myriad").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(SignError::of)?
        .into();
    let body = SignableBody::Bytes(request.body);
    let signable = SignableRequest::new(request.method.as_str(), request.url, texts.into_iter(), body);
    let (instructions, _) = sign_request(signable.map_err(explain)?, &params).map_err(explain)?.into_parts();
    let (added, _) = instructions.into_parts();
    for header in added {
        request.headers.insert(header.name(), secret_value(header.value())?);
    }
    Ok(())
}

/// AWS's words with their cause, which alone says what is wrong.
fn explain(error: aws_sigv4::http_request::SigningError) -> SignError {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    SignError::of(format!("{error}{}", cause.unwrap_or_default()))
}

/// Takes line and headers of a request apart that says to be signed; `target` is path and query as sent. Signed have to be the
/// host, the time, `Content-Type` where it is there, and every `X-Amz-*` that is there; none of them may be there twice. The body is
/// always signed, and a hash that the client says is of it has to be.
///
/// # Errors
/// All of [`VerifyError`] but that the key is unknown and that the signature is another.
pub fn read<'a>(
    method: &Method,
    target: &str,
    headers: &'a HeaderMap,
    unix_seconds: u64,
) -> Result<Head<'a>, VerifyError> {
    not_in_query(target, &["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"])?;
    let authorization = Authorization::of(headers, ALGORITHM)?;
    let mut scope = authorization.credential.split('/');
    let parts = [(); 5].map(|()| scope.next());
    let ([Some(id), Some(day), Some(region), Some(service), Some("aws4_request")], None) =
        (parts, scope.next())
    else {
        return Err(VerifyError::Malformed("Credential is no ID/DATE/REGION/SERVICE/aws4_request"));
    };
    let host = once(headers, "host")?.ok_or(VerifyError::Missing("host"))?;
    none_twice(headers, "x-amz-", "x-amz-*")?;
    authorization.requires(&["host", "x-amz-date"])?;
    if once(headers, "content-type")?.is_some() {
        authorization.requires(&["content-type"])?;
    }
    check_all_signed(headers, &authorization)?;
    let written = once(headers, "x-amz-date")?.ok_or(VerifyError::Missing("x-amz-date"))?;
    let signed_at = unix_time(written).ok_or(VerifyError::Malformed("X-Amz-Date is no YYYYMMDDTHHMMSSZ"))?;
    if written.split('T').next() != Some(day) {
        return Err(VerifyError::Malformed("the date of Credential is not that of X-Amz-Date"));
    }
    check_time(signed_at, unix_seconds)?;
    let payload = once(headers, "x-amz-content-sha256")?;
    if payload.is_some_and(|said| said.contains("UNSIGNED") || said.starts_with("STREAMING")) {
        return Err(VerifyError::Malformed("X-Amz-Content-Sha256 is no hash: the body has to be signed"));
    }
    Ok(Head {
        scheme: Scheme::SigV4,
        credential: authorization.credential,
        id,
        day,
        region,
        service,
        token: once(headers, "x-amz-security-token")?,
        signed_at,
        headers: authorization.signed,
        signature: authorization.signature,
        payload,
        canonical: canonical(method, target, (headers, host), authorization.signed)?,
        to_sign: format!("{ALGORITHM}\n{written}\n{day}/{region}/{service}/aws4_request\n"),
    })
}

/// Verifies a request as AWS does, and says who has signed it. `secret_of` tells the secret of a key.
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

/// Every header of AWS that is there has to be signed: what steers a service among them.
fn check_all_signed(headers: &HeaderMap, authorization: &Authorization<'_>) -> Result<(), VerifyError> {
    let known = ["x-amz-target", "x-amz-security-token", "x-amz-content-sha256"];
    let mut ours = headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    let unsigned = ours.find(|name| !authorization.signs(name));
    unsigned.map_or(Ok(()), |unsigned| {
        let known = known.into_iter().find(|known| *known == unsigned);
        Err(VerifyError::Unsigned(known.unwrap_or("a header X-Amz-* that was sent")))
    })
}

/// The canonical request without the body's hash at its end.
fn canonical(
    method: &Method,
    target: &str,
    (headers, host): (&HeaderMap, &str),
    names: &str,
) -> Result<String, VerifyError> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut text = String::with_capacity(512);
    text.extend([method.as_str(), "\n", &canonical_path(path), "\n", &canonical_query(query), "\n"]);
    for name in names.split(';') {
        text.extend([name, ":"]);
        if !push_header(&mut text, headers, host, name) {
            return Err(VerifyError::Malformed("a signed header is missing"));
        }
        text.push('\n');
    }
    text.extend(["\n", names, "\n"]);
    Ok(text)
}

/// Without empty, `.` and `..` segments, and encoded once more than it was sent.
fn canonical_path(path: &str) -> Cow<'_, str> {
    if path == "/" {
        return path.into();
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            segment => segments.push(segment),
        }
    }
    let encoded = segments.iter().map(|segment| percent_encode(segment.as_bytes(), ENCODED).to_string());
    let joined = encoded.collect::<Vec<_>>().join("/");
    let ends_open = path.ends_with('/') && !joined.is_empty();
    format!("/{joined}{}", if ends_open { "/" } else { "" }).into()
}

/// Decoded, encoded anew, sorted by name and value.
fn canonical_query(query: &str) -> String {
    let encode = |text: &str| {
        let text = text.replace('+', " ");
        let bytes: Cow<'_, [u8]> = percent_decode_str(&text).into();
        percent_encode(&bytes, ENCODED).to_string()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// `YYYYMMDDTHHMMSSZ` as Unix seconds.
fn unix_time(text: &str) -> Option<u64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let fits = date.len() == 8 && clock.len() == 6;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !fits || !digits(date) || !digits(clock) {
        return None;
    }
    let month = Month::try_from(date[4..6].parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(date[..4].parse().ok()?, month, date[6..].parse().ok()?).ok()?;
    let clock =
        Time::from_hms(clock[..2].parse().ok()?, clock[2..4].parse().ok()?, clock[4..].parse().ok()?).ok()?;
    u64::try_from(OffsetDateTime::new_utc(date, clock).unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Method};

    use super::*;

    /// 2015-08-30T12:36:00Z, of AWS's signing test suite, as are the key and the signatures below.
    const NOW: u64 = 1_440_938_160;
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const HOST: &str = "example.amazonaws.com";

    fn keys(token: Option<&str>) -> Keys {
        Keys {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Zeroizing::new(SECRET.to_owned()),
            token: token.map(|token| Zeroizing::new(token.to_owned())),
        }
    }

    fn signed(
        method: &Method,
        target: &str,
        given: &[(&str, &str)],
        body: &[u8],
        token: Option<&str>,
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let url = format!("https://{HOST}{target}");
        let mut request = Unsigned { method, url: &url, headers: &mut headers, body };
        sign(&mut request, &keys(token), "service", "us-east-1", NOW).expect("it can be signed");
        headers.insert("host", HeaderValue::from_static(HOST));
        headers
    }

    fn check(
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: u64,
    ) -> Result<Claim, VerifyError> {
        let request = Received { method, target, headers, body };
        verify(&request, now, |claim| (claim.id == "AKIDEXAMPLE").then(|| Zeroizing::new(SECRET.to_owned())))
    }

    #[test]
    fn requests_are_signed_and_verified_as_aws_has_published() {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let session = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        for (name, method, target, given, body, token, signature) in [
            (
                "get-vanilla",
                Method::GET,
                "/",
                &[][..],
                "",
                None,
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-query-order-key-case",
                Method::GET,
                "/?Param2=value2&Param1=value1",
                &[],
                "",
                None,
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-vanilla-query-order-encoded",
                Method::GET,
                "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
                &[],
                "",
                None,
                "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
            ),
            (
                "post-sts-header-before",
                Method::POST,
                "/",
                &[],
                "",
                Some(session),
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
            (
                "post-x-www-form-urlencoded, without a header for the hash",
                Method::POST,
                "/",
                &form,
                "Param1=value1",
                None,
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let headers = signed(&method, target, given, body.as_bytes(), token);
            let authorization = headers["authorization"].to_str().expect("text");
            assert!(authorization.ends_with(&format!("Signature={signature}")), "{name}: {authorization}");
            let claim = check(&method, target, &headers, body.as_bytes(), NOW).expect(name);
            assert_eq!((claim.service.as_str(), claim.region.as_str()), ("service", "us-east-1"));
            assert_eq!(claim.token.as_deref().map(String::as_str), token);
        }
    }

    #[test]
    fn paths_and_queries_of_all_kinds_are_verified_as_they_were_signed() {
        for target in [
            "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af/invocations",
            "/2015-03-31/functions/f/invocations?Qualifier=%24LATEST",
            "/test/@connections/JBDvjfGEIAMCERw%3D",
            "/a//b/./c/../d/",
            "/with%20blank/%E1%88%B4",
            "/?a=1&a=0&b&c=&d=x%2Fy+z&e=~-._",
        ] {
            let headers = signed(&Method::GET, target, &[("x-amz-target", "T.Op  twice")], b"", None);
            check(&Method::GET, target, &headers, b"", NOW)
                .unwrap_or_else(|error| panic!("{target}: {error}"));
        }
    }

    #[test]
    fn a_request_that_was_changed_or_is_old_is_not_let_in() {
        let given = [("x-amz-target", "AWSStepFunctions.ListStateMachines")];
        let headers = signed(&Method::POST, "/a", &given, b"{}", Some("token"));
        let at = |now| check(&Method::POST, "/a", &headers, b"{}", now);
        at(NOW + 300).expect("five minutes are accepted");
        assert_eq!(at(NOW + 301), Err(VerifyError::Skewed));
        assert_eq!(check(&Method::POST, "/a", &headers, b"{ }", NOW), Err(VerifyError::Mismatch));
        assert_eq!(check(&Method::POST, "/b", &headers, b"{}", NOW), Err(VerifyError::Mismatch));
        assert_eq!(check(&Method::GET, "/a", &headers, b"{}", NOW), Err(VerifyError::Mismatch));
        let mut changed = headers.clone();
        changed.insert("x-amz-target", HeaderValue::from_static("AWSStepFunctions.DeleteStateMachine"));
        assert_eq!(check(&Method::POST, "/a", &changed, b"{}", NOW), Err(VerifyError::Mismatch));
        let mut added = signed(&Method::POST, "/a", &[], b"{}", None);
        added.insert("x-amz-target", HeaderValue::from_static("AWSStepFunctions.DeleteStateMachine"));
        assert_eq!(
            check(&Method::POST, "/a", &added, b"{}", NOW),
            Err(VerifyError::Unsigned("x-amz-target"))
        );
    }

    #[test]
    fn a_request_that_cannot_be_signed_is_told_so() {
        let mut headers = HeaderMap::new();
        for url in ["/relative", "ftp://host/", "https://", "https://host/with blank"] {
            let mut request = Unsigned { method: &Method::GET, url, headers: &mut headers, body: b"" };
            sign(&mut request, &keys(None), "s", "r", NOW).expect_err(url);
        }
        headers.insert("x", HeaderValue::from_bytes(&[0xe4]).expect("a value that is no text"));
        let mut request =
            Unsigned { method: &Method::GET, url: "https://h/", headers: &mut headers, body: b"" };
        let error = sign(&mut request, &keys(None), "s", "r", NOW).expect_err("no text");
        assert!(error.to_string().contains("the header x is no text"), "{error}");
    }

    #[test]
    fn dates_are_read_as_they_are_written() {
        assert_eq!(unix_time("20150830T123600Z"), Some(NOW));
        for wrong in [
            "20150830T123600",
            "2015-08-30T12:36:00Z",
            "20151330T123600Z",
            "+0150830T123600Z",
            "äöü0T123600Z",
        ] {
            assert_eq!(unix_time(wrong), None, "{wrong}");
        }
    }
}
