//! The request that a state's arguments describe.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use asl::Value;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use url::Url;

use super::form::{self, ArrayFormat};
use crate::http::Outbound;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::request::Failure;

/// Headers that a state must not set: they are the client's, speak of one connection, or of who asks.
const RESERVED: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// The same, by how they begin.
const RESERVED_BEGINNINGS: [&str; 4] = ["proxy-", "x-amz-", "x-amzn-", "x-forwarded-"];

/// Values of headers that a state may set, and their bytes with those of their names: what servers take at most.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Endpoints that are remembered, and the longest of them.
const ENDPOINTS_MAX: usize = 256;
const ENDPOINT_BYTES_MAX: usize = 256;

/// A request in the making. It may hold a connection's secrets: no `Debug` text.
#[derive(Clone)]
pub(super) struct Parsed {
    pub url: Url,
    pub method: Method,
    pub headers: HeaderMap,
    pub query: Vec<(String, String)>,
    pub body: Option<Value>,
    /// How the body is written, if as a form.
    pub form: Option<ArrayFormat>,
    /// ARN of the connection.
    pub connection: Option<String>,
}

/// Endpoints that were read before: a definition calls the same ones again and again, and to read a URL takes as long as all else
/// of the arguments.
#[derive(Default)]
pub(super) struct Endpoints(RefCell<HashMap<Box<str>, Url>>);

impl Endpoints {
    pub(super) fn read(&self, text: &str) -> Result<Url, url::ParseError> {
        let mut known = self.0.borrow_mut();
        if let Some(url) = known.get(text) {
            return Ok(url.clone());
        }
        let url = Url::parse(text)?;
        if text.len() <= ENDPOINT_BYTES_MAX {
            if known.len() >= ENDPOINTS_MAX {
                known.clear();
            }
            known.insert(text.into(), url.clone());
        }
        Ok(url)
    }
}

/// Reads the arguments.
///
/// # Errors
/// `States.Runtime`, naming the argument.
pub(super) fn parse(arguments: &Value, endpoints: &Endpoints) -> Result<Parsed, Failure> {
    let endpoint = text(arguments, "ApiEndpoint")?.ok_or_else(|| wrong("ApiEndpoint", "is missing"))?;
    let url = endpoints.read(endpoint);
    let url = url.map_err(|error| wrong("ApiEndpoint", &format!("is no URL: {error}")))?;
    let method = text(arguments, "Method")?.ok_or_else(|| wrong("Method", "is missing"))?;
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
        Method::HEAD,
    ];
    let known = methods.into_iter().find(|known| known.as_str() == method);
    let method =
        known.ok_or_else(|| wrong("Method", "must be GET, POST, PUT, DELETE, PATCH, OPTIONS or HEAD"))?;
    let connection = ["Authentication", "InvocationConfig"].into_iter().find_map(|name| arguments.get(name));
    let connection = connection.map(|holder| text(holder, "ConnectionArn")).transpose()?.flatten();
    Ok(Parsed {
        url,
        method,
        headers: headers(arguments.get("Headers"))?,
        query: form::parameters(arguments.get("QueryParameters"), ArrayFormat::Repeat)
            .map_err(|why| wrong("QueryParameters", why))?,
        body: arguments.get("RequestBody").filter(|body| !body.is_null()).cloned(),
        form: transform(arguments.get("Transform"))?,
        connection: connection.map(str::to_owned),
    })
}

fn headers(given: Option<&Value>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    let Some(given) = given.filter(|given| !given.is_null()) else { return Ok(headers) };
    let members = given.as_object().ok_or_else(|| wrong("Headers", "must be an object"))?;
    let mut bytes = 0;
    for (name, value) in members.iter() {
        let known = HeaderName::try_from(name.as_str())
            .map_err(|_| wrong("Headers", &format!("has '{name}', which is no name of a header")))?;
        if is_reserved(known.as_str()) {
            return Err(wrong("Headers", &format!("must not set {name}")));
        }
        let values = value.as_array().unwrap_or(std::slice::from_ref(value));
        for value in values {
            let value = form::scalar(value).and_then(|value| HeaderValue::try_from(value).ok());
            let value = value.ok_or_else(|| {
                wrong("Headers", &format!("has a value for {name} that no header can have"))
            })?;
            bytes += known.as_str().len() + value.len();
            let fits = headers.len() < HEADERS_MAX && bytes <= HEADER_BYTES_MAX;
            if !fits || headers.try_append(known.clone(), value).is_err() {
                let why = format!("has more than {HEADERS_MAX} values or {HEADER_BYTES_MAX} bytes");
                return Err(wrong("Headers", &why));
            }
        }
    }
    Ok(headers)
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

fn transform(given: Option<&Value>) -> Result<Option<ArrayFormat>, Failure> {
    let Some(given) = given else { return Ok(None) };
    let encoding = text(given, "RequestBodyEncoding")?;
    let format = given.get("RequestEncodingOptions").map(|options| text(options, "ArrayFormat"));
    let format = match format.transpose()?.flatten() {
        None | Some("INDICES") => ArrayFormat::Indices,
        Some("REPEAT") => ArrayFormat::Repeat,
        Some("COMMAS") => ArrayFormat::Commas,
        Some("BRACKETS") => ArrayFormat::Brackets,
        Some(_) => {
            return Err(wrong(
                "Transform",
                "has an ArrayFormat other than INDICES, REPEAT, COMMAS and BRACKETS",
            ));
        }
    };
    match encoding {
        Some("URL_ENCODED") => Ok(Some(format)),
        None | Some("NONE") => Ok(None),
        Some(_) => Err(wrong("Transform", "has a RequestBodyEncoding other than URL_ENCODED and NONE")),
    }
}

impl Parsed {
    /// Gives a query parameter this value in the place of any that it has, also in the endpoint itself.
    pub fn set_query(&mut self, name: &str, value: String) {
        self.query.retain(|(known, _)| known != name);
        self.query.push((name.to_owned(), value));
        if self.url.query_pairs().any(|(known, _)| known == name) {
            let others = self.url.query_pairs().into_owned().filter(|(known, _)| known != name);
            let others: Vec<_> = others.collect();
            self.url.set_query(None);
            if !others.is_empty() {
                self.url.query_pairs_mut().extend_pairs(others);
            }
        }
    }

    /// The request as it is sent.
    ///
    /// # Errors
    /// `States.Runtime`, when the body cannot be written as a form.
    pub fn into_outbound(mut self, timeout: Duration, redirects_max: usize) -> Result<Outbound, Failure> {
        if !self.query.is_empty() {
            self.url.query_pairs_mut().extend_pairs(&self.query);
        }
        let body = match (&self.body, self.form) {
            (None, _) => Bytes::new(),
            (Some(body), None) => {
                self.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                body.to_string().into()
            }
            (Some(body), Some(format)) => {
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                self.headers.insert(CONTENT_TYPE, form);
                let pairs = form::parameters(Some(body), format).map_err(|why| wrong("RequestBody", why))?;
                form::encode(&pairs).into()
            }
        };
        Ok(Outbound {
            method: self.method,
            url: self.url,
            headers: self.headers,
            body,
            timeout,
            response_bytes_max: RESPONSE_BYTES_MAX,
            redirects_max,
            lane: None,
        })
    }
}

fn text<'v>(holder: &'v Value, name: &str) -> Result<Option<&'v str>, Failure> {
    match holder.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| wrong(name, "must be a text")),
    }
}

fn wrong(argument: &str, why: &str) -> Failure {
    Failure::runtime(format!("The HTTP task makes no request: {argument} {why}."))
}

#[cfg(test)]
mod tests {
    use asl::value::JsonLimits;

    use super::*;

    fn outbound(arguments: &str) -> Result<Outbound, Failure> {
        let arguments = Value::parse(arguments.as_bytes(), JsonLimits::default()).expect("JSON");
        parse(&arguments, &Endpoints::default())?.into_outbound(Duration::from_secs(1), 0)
    }

    #[test]
    fn arguments_become_a_request() {
        let sent = outbound(
            r#"{"ApiEndpoint":"https://a.example/v1?x=1","Method":"POST","Headers":{"Accept":"text/plain","X":["1","2"]},
                "QueryParameters":{"n":[1,2],"t":true,"s":"a b"},"RequestBody":{"k":[1]}}"#,
        )
        .expect("a request");
        assert_eq!(sent.url.as_str(), "https://a.example/v1?x=1&n=1&n=2&t=true&s=a+b");
        assert_eq!(sent.method, Method::POST);
        assert_eq!(sent.headers.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(
            (&sent.headers[CONTENT_TYPE], &sent.body[..]),
            (&"application/json".parse().expect("a value"), &br#"{"k":[1]}"#[..])
        );
    }

    #[test]
    fn endpoints_are_remembered_up_to_a_bound_and_long_ones_never() {
        let endpoints = Endpoints::default();
        let long = format!("https://a.example/{}", "x".repeat(ENDPOINT_BYTES_MAX));
        let texts = (0..=ENDPOINTS_MAX).map(|at| format!("https://a.example/{at}")).chain([long]);
        for text in texts {
            for _ in 0..2 {
                assert_eq!(endpoints.read(&text).map(String::from), Ok(text.clone()));
            }
            let known = endpoints.0.borrow();
            assert!(known.len() <= ENDPOINTS_MAX && known.keys().all(|it| it.len() <= ENDPOINT_BYTES_MAX));
        }
    }

    #[test]
    fn a_parameter_that_is_set_is_there_once_wherever_the_state_has_it() {
        for (endpoint, expected) in [
            ("https://a.example/v1?key=mine&x=a%20b&ke%79=too", "https://a.example/v1?x=a+b&r=1&key=ours"),
            ("https://a.example/v1?key=mine", "https://a.example/v1?r=1&key=ours"),
            ("https://a.example/v1?x=a%20b", "https://a.example/v1?x=a%20b&r=1&key=ours"),
        ] {
            let arguments = format!(
                r#"{{"ApiEndpoint":"{endpoint}","Method":"GET","QueryParameters":{{"key":["mine",2],"r":1}}}}"#
            );
            let arguments = Value::parse(arguments.as_bytes(), JsonLimits::default()).expect("JSON");
            let mut call = parse(&arguments, &Endpoints::default()).expect("a request");
            call.set_query("key", "ours".to_owned());
            let sent = call.into_outbound(Duration::from_secs(1), 0).expect("a request");
            assert_eq!(sent.url.as_str(), expected);
        }
    }

    #[test]
    fn a_body_may_be_written_as_a_form() {
        for (format, expected) in [
            (r#"{}"#, "a%5B0%5D=1&a%5B1%5D=2&b%5Bc%5D=x"),
            (r#"{"ArrayFormat":"REPEAT"}"#, "a=1&a=2&b%5Bc%5D=x"),
            (r#"{"ArrayFormat":"COMMAS"}"#, "a=1%2C2&b%5Bc%5D=x"),
            (r#"{"ArrayFormat":"BRACKETS"}"#, "a%5B%5D=1&a%5B%5D=2&b%5Bc%5D=x"),
        ] {
            let sent = outbound(&format!(
                r#"{{"ApiEndpoint":"https://a.example","Method":"POST","RequestBody":{{"a":[1,2],"b":{{"c":"x"}}}},
                    "Transform":{{"RequestBodyEncoding":"URL_ENCODED","RequestEncodingOptions":{format}}}}}"#
            ))
            .expect("a request");
            assert_eq!(std::str::from_utf8(&sent.body), Ok(expected));
            assert_eq!(sent.headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
        }
    }

    #[test]
    fn arguments_that_make_no_request_are_refused_with_the_argument_named() {
        for (arguments, named) in [
            (r#"{}"#, "ApiEndpoint"),
            (r#"{"ApiEndpoint":"nowhere","Method":"GET"}"#, "ApiEndpoint"),
            (r#"{"ApiEndpoint":"https://a.example","Method":"get"}"#, "Method"),
            (r#"{"ApiEndpoint":"https://a.example","Method":"GET","Headers":{"Host":"b"}}"#, "Host"),
            (
                r#"{"ApiEndpoint":"https://a.example","Method":"GET","Headers":{"X-Amz-Date":"b"}}"#,
                "X-Amz-Date",
            ),
            (r#"{"ApiEndpoint":"https://a.example","Method":"GET","Headers":{"A":"a\nB: c"}}"#, "Headers"),
            (
                r#"{"ApiEndpoint":"https://a.example","Method":"GET","QueryParameters":[1]}"#,
                "QueryParameters",
            ),
            (
                r#"{"ApiEndpoint":"https://a.example","Method":"GET","Authentication":{"ConnectionArn":1}}"#,
                "ConnectionArn",
            ),
            (
                r#"{"ApiEndpoint":"https://a.example","Method":"GET","Transform":{"RequestBodyEncoding":"GZIP"}}"#,
                "Transform",
            ),
        ] {
            let failure = outbound(arguments).expect_err(arguments);
            assert_eq!(failure.error, "States.Runtime");
            assert!(failure.cause.contains(named), "{}", failure.cause);
        }
    }

    #[test]
    fn more_headers_than_a_request_may_have_are_refused() {
        let long = "v".repeat(40_000);
        // As short as they are, so many names fit into an input.
        let name = |at: u32| [at / 1_296, at / 36 % 36, at % 36].map(|digit| char::from_digit(digit, 36));
        let many = (0..25_000).map(|at| name(at).into_iter().flatten().collect::<String>());
        let many: Vec<String> = many.map(|name| format!(r#""{name}":"""#)).collect();
        let repeated = format!(r#""a":[{}]"#, vec!["1"; 30_000].join(","));
        for headers in [many.join(","), repeated, format!(r#""a":"{long}""#)] {
            let failure = outbound(&format!(
                r#"{{"ApiEndpoint":"https://a.example","Method":"GET","Headers":{{{headers}}}}}"#
            ))
            .expect_err("too many");
            assert_eq!(failure.error, "States.Runtime");
            assert!(failure.cause.contains("Headers has"), "{}", failure.cause);
        }
    }

    #[test]
    fn a_name_that_stands_before_many_values_is_not_written_beyond_what_a_form_may_have() {
        let name = "n".repeat(100_000);
        for (argument, values) in [("QueryParameters", "1"), ("RequestBody", "1"), ("RequestBody", "[]")] {
            let values = vec![values; 2_000].join(",");
            let failure = outbound(&format!(
                r#"{{"ApiEndpoint":"https://a.example","Method":"POST","{argument}":{{"{name}":[{values}]}},
                    "Transform":{{"RequestBodyEncoding":"URL_ENCODED"}}}}"#
            ))
            .expect_err("too much");
            assert_eq!(failure.error, "States.Runtime");
            assert!(failure.cause.contains(argument), "{}", failure.cause);
        }
    }
}
