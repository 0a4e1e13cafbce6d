//! Tencent Cloud: any of its APIs, cloud functions, and the components that wait for a job.
//!
//! Purpose: a QRN (`asl::qrn`) becomes one or more calls of API 3.0, signed with TC3. A cloud API's answer is the whole envelope,
//! in which the language core finds errors; a function's is what the function returned. The components `asr:checkASR` and
//! `mps:checkMpsJob`, which ASW offers and no API has, ask for the job's state until it has ended, with growing pauses.
//! Invariants: each call is signed anew; what is asked for again is a question and changes nothing; what is no envelope is no
//! success. What may fail: a service whose version is not known, credentials, the call (`ClientError.NetworkError`, as Tencent's
//! SDKs call it, also for a status of 500 and above), what comes in an envelope's place (`ClientError.ParseResponseError`), a
//! function.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::rc::Rc;
use std::time::Duration;

use asl::qrn::{Qrn, Target};
use asl::{Payload, Value};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use telemetry::CallKind;
use tokio::time::Instant;
use url::Url;

use crate::credentials::{Scheme, Signer};
use crate::errors::{self, TENCENT_AWAY as UNANSWERED, TENCENT_UNREADABLE as UNREADABLE};
use crate::http::{Client, Inbound, Outbound};
use crate::limits::{RESPONSE, RESPONSE_BYTES_MAX};
use crate::request::{Answer, Call, Failure, Integration, Origin, Request};

/// Versions of services, from their documentation. `TencentSettings::versions` adds to them and overrides them.
const VERSIONS: [(&str, &str); 14] = [
    ("asr", "2019-06-14"),
    ("asw", "2020-07-22"),
    ("cls", "2020-10-16"),
    ("cvm", "2017-03-12"),
    ("faceid", "2018-03-01"),
    ("iai", "2020-03-03"),
    ("mps", "2019-06-12"),
    ("nlp", "2019-04-08"),
    ("ocr", "2018-11-19"),
    ("scf", "2018-04-16"),
    ("sts", "2018-08-13"),
    ("tmt", "2018-03-21"),
    ("tts", "2019-08-23"),
    ("vod", "2018-07-17"),
];

/// Regions as older definitions write them.
const REGIONS: [(&str, &str); 4] =
    [("gz", "ap-guangzhou"), ("sh", "ap-shanghai"), ("bj", "ap-beijing"), ("hk", "ap-hongkong")];

/// A synchronous call of an API, and of a function.
const TIMEOUT: Duration = Duration::from_secs(60);
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(310);
/// Pauses between two looks at a job.
const LOOK_FIRST: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(10);
/// How long no look may tell the job's state: a job that takes an hour does not fail with one connection, nor with a service that
/// has a bad moment.
const LOST_MAX: Duration = Duration::from_secs(5 * 60);
/// Failures of a look that say nothing of the job; the first one is also that of credentials that cannot be had at the moment.
const LOST: [&str; 2] = [UNANSWERED, UNREADABLE];
/// Codes of errors that say nothing of it either; more may follow after a dot.
const MOMENTARY: [&str; 2] = ["RequestLimitExceeded", "InternalError"];
/// Where an envelope has the code of its error.
const ERROR_CODE: &str = "/Response/Error/Code";

/// A component that asks for a job's state until it has ended.
struct Check {
    component: &'static str,
    service: &'static str,
    action: &'static str,
    /// Where its state stands in the answer, and the states in which it has ended.
    state: &'static str,
    ended: fn(&Value) -> bool,
}

const CHECKS: [Check; 2] = [
    Check {
        component: "checkASR",
        service: "asr",
        action: "DescribeTaskStatus",
        state: "/Response/Data/Status",
        // 0 waiting, 1 doing, 2 success, 3 failed.
        ended: |state| state.as_i64().is_none_or(|state| state >= 2),
    },
    Check {
        component: "checkMpsJob",
        service: "mps",
        action: "DescribeTaskDetail",
        state: "/Response/Status",
        ended: |state| !matches!(state.as_str(), Some("WAITING" | "PROCESSING")),
    },
];

/// Components that are an API under another name.
const ALIASES: [(&str, &str, &str); 2] =
    [("asr", "generalASR", "CreateRecTask"), ("mps", "audioSeparate", "ProcessMedia")];

/// What a look at a job has shown.
enum State {
    GoesOn,
    /// With the answer that says so.
    Ended(Payload),
    /// The service has a bad moment, with what it said.
    Untold(Payload),
}

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct TencentSettings {
    /// In the place of `https://SERVICE.tencentcloudapi.com` for all services.
    pub endpoint: Option<Url>,
    /// Versions of services.
    pub versions: HashMap<String, String>,
}

/// The integration.
pub struct Tencent {
    client: Rc<Client>,
    signer: Rc<Signer>,
    settings: TencentSettings,
}

/// One call of an API.
#[derive(Debug, Clone, Copy)]
struct Api<'a> {
    service: &'a str,
    action: &'a str,
    region: &'a str,
    timeout: Duration,
    /// See [`Outbound::lane`].
    lane: &'a str,
}

impl Tencent {
    /// With this client.
    #[must_use]
    pub fn new(client: Rc<Client>, signer: Rc<Signer>, settings: TencentSettings) -> Self {
        Self { client, signer, settings }
    }

    async fn run(&self, request: &Request) -> Result<Payload, Failure> {
        let qrn = Qrn::parse(&request.resource).map_err(|error| Failure::runtime(format!("{error}.")))?;
        let region = region(qrn.region);
        let body = request.input.bytes().clone();
        match qrn.target {
            Target::Function { name, version, namespace } => {
                let body = invocation((name, version, namespace), &request.input);
                let lane = format!("scf {name}");
                let (service, action, timeout) = ("scf", "InvokeFunction", FUNCTION_TIMEOUT);
                let api = Api { service, action, region, timeout, lane: &lane };
                returned(&self.call(api, body, &request.origin).await?)
            }
            Target::Api { service, action } => {
                let check = CHECKS.iter().find(|check| (check.service, check.component) == (service, action));
                if let Some(check) = check {
                    return self.check(check, region, body, &request.origin).await;
                }
                let alias = ALIASES.iter().find(|alias| (alias.0, alias.1) == (service, action));
                let action = alias.map_or(action, |alias| alias.2);
                self.call(
                    Api { service, action, region, timeout: TIMEOUT, lane: service },
                    body,
                    &request.origin,
                )
                .await
            }
            Target::Execution | Target::Other => {
                Err(Failure::runtime(format!("No cloud API serves {}.", request.resource)))
            }
        }
    }

    /// Until the job has ended, or its state cannot be told.
    async fn check(
        &self,
        check: &Check,
        region: &str,
        body: Bytes,
        origin: &Origin,
    ) -> Result<Payload, Failure> {
        let api = Api {
            service: check.service,
            action: check.action,
            region,
            timeout: TIMEOUT,
            lane: check.service,
        };
        let (mut pause, mut told) = (LOOK_FIRST, Instant::now());
        let mut look = 0_u64;
        loop {
            let looked = self.call(api, body.clone(), origin).await.and_then(|answer| check.state_of(answer));
            let patient = told.elapsed() < LOST_MAX;
            match looked {
                Ok(State::GoesOn) => told = Instant::now(),
                Ok(State::Untold(_)) if patient => {}
                Ok(State::Ended(answer) | State::Untold(answer)) => return Ok(answer),
                Err(failure) if patient && LOST.contains(&failure.error.as_str()) => {}
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(spread(pause, (&origin.names.attempt(), look))).await;
            look += 1;
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    async fn call(&self, api: Api<'_>, body: Bytes, origin: &Origin) -> Result<Payload, Failure> {
        let outbound = self.settings.outbound(api, body)?;
        let scheme = Scheme::Tc3 { service: api.service };
        let answer = self.signer.send(&self.client, &outbound, origin, scheme, UNANSWERED).await?;
        envelope(answer, api)
    }
}

impl Check {
    /// What an answer tells of the job. One with an error is for the language, as any other API's.
    fn state_of(&self, answer: Payload) -> Result<State, Failure> {
        match (answer.value().pointer(self.state), answer.value().pointer(ERROR_CODE)) {
            (Some(state), None) if !(self.ended)(state) => Ok(State::GoesOn),
            (None, Some(code)) if code.as_str().is_some_and(is_momentary) => Ok(State::Untold(answer)),
            (Some(_), _) | (None, Some(_)) => Ok(State::Ended(answer)),
            (None, None) => {
                let cause = format!("{}:{} has not told the job's state.", self.service, self.action);
                Err(Failure::new(UNREADABLE, cause))
            }
        }
    }
}

impl TencentSettings {
    /// The request of a call, to be signed.
    fn outbound(&self, api: Api<'_>, body: Bytes) -> Result<Outbound, Failure> {
        let Api { service, action, region, timeout, lane } = api;
        let version = self.versions.get(service).map(String::as_str);
        let known = VERSIONS.iter().find(|known| known.0 == service).map(|known| known.1);
        let version = version.or(known).ok_or_else(|| {
            Failure::runtime(format!(
                "The version of {service}'s API is not known to this node: give it with --tencent-version {service}=DATE."
            ))
        })?;
        let named = || Url::parse(&format!("https://{service}.tencentcloudapi.com/"));
        let url = self.endpoint.clone().map_or_else(named, Ok);
        let url = url.map_err(|_| Failure::runtime(format!("{service} is no name of a service.")))?;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json; charset=utf-8"),
            ("x-tc-action", action),
            ("x-tc-version", version),
            ("x-tc-region", region),
        ] {
            let value = HeaderValue::from_str(value)
                .map_err(|_| Failure::runtime(format!("{value:?} cannot be sent as {name}.")))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(Outbound {
            method: Method::POST,
            url,
            headers,
            body,
            timeout,
            response_bytes_max: RESPONSE_BYTES_MAX,
            redirects_max: 0,
            lane: Some(lane.to_owned()),
        })
    }
}

impl Integration for Tencent {
    fn kind(&self) -> CallKind {
        CallKind::Tencent
    }

    fn serves(&self, resource: &str) -> bool {
        let target = Qrn::parse(resource).map(|qrn| qrn.target);
        matches!(target, Ok(Target::Function { .. } | Target::Api { .. }))
    }

    fn begin<'a>(&'a self, request: &'a Request) -> Call<'a, Answer> {
        Box::pin(async move { self.run(request).await.map(Answer::Output) })
    }

    fn complete<'a>(&'a self, request: &'a Request, _: &'a Payload) -> Call<'a, Payload> {
        Box::pin(async move {
            Err(Failure::runtime(format!(
                "{} begins no job whose end could be waited for.",
                request.resource
            )))
        })
    }
}

fn region(written: &str) -> &str {
    REGIONS.iter().find(|region| region.0 == written).map_or(written, |region| region.1)
}

/// The body of `scf:InvokeFunction`.
fn invocation((name, version, namespace): (&str, &str, &str), event: &Payload) -> Bytes {
    let members = [
        ("FunctionName", Value::from(name)),
        ("Qualifier", Value::from(version)),
        ("Namespace", Value::from(namespace)),
        ("Event", Value::from(event.text())),
        ("LogType", Value::from("None")),
    ];
    Value::object(members).to_string().into()
}

/// Between half of a pause and all of it, so that jobs which were begun together are not asked for together.
fn spread(pause: Duration, look: impl Hash) -> Duration {
    let mut hasher = DefaultHasher::new();
    look.hash(&mut hasher);
    let part = u32::from(hasher.finish() as u16);
    pause / 2 + (pause / 2) * part / (u32::from(u16::MAX) + 1)
}

fn is_momentary(code: &str) -> bool {
    MOMENTARY.contains(&code.split('.').next().unwrap_or_default())
}

/// The envelope of an answer. An API has its errors in it too, with a status of 200: another status is that of something on
/// the way.
fn envelope(answer: Inbound, Api { service, action, .. }: Api<'_>) -> Result<Payload, Failure> {
    let status = answer.status;
    let failed = |error: &str, why: &str| {
        Failure::new(error, format!("{service}:{action} has answered with status {}{why}.", status.as_u16()))
    };
    if !status.is_success() {
        return Err(failed(if status.is_server_error() { UNANSWERED } else { UNREADABLE }, ""));
    }
    let envelope = Payload::check(answer.body, RESPONSE);
    let envelope = envelope.map_err(|error| failed(UNREADABLE, &format!(" and no JSON: {error}")))?;
    match envelope.value().get("Response").and_then(Value::as_object) {
        Some(_) => Ok(envelope),
        None => Err(failed(UNREADABLE, " and no Response")),
    }
}

/// What a function has returned.
fn returned(answer: &Payload) -> Result<Payload, Failure> {
    let text = |pointer| answer.value().pointer(pointer).and_then(Value::as_str);
    if let Some(code) = text(ERROR_CODE) {
        return Err(Failure::new(code, text("/Response/Error/Message").unwrap_or_default().to_owned()));
    }
    if answer.value().pointer("/Response/Result").and_then(Value::as_object).is_none() {
        return Err(Failure::new(UNREADABLE, "The answer has no result of the function.".to_owned()));
    }
    let error = text("/Response/Result/ErrMsg").unwrap_or_default();
    let result = answer.value().pointer("/Response/Result/InvokeResult").and_then(Value::as_i64);
    if !error.is_empty() || result.is_some_and(|result| result != 0) {
        let cause =
            if error.is_empty() { text("/Response/Result/RetMsg").unwrap_or_default() } else { error };
        return Err(Failure::new(errors::TENCENT_FUNCTION, cause.to_owned()));
    }
    let returned = text("/Response/Result/RetMsg").unwrap_or("null");
    // A function of some runtimes returns plain text.
    let value = Payload::check(Bytes::copy_from_slice(returned.as_bytes()), RESPONSE);
    Ok(value.unwrap_or_else(|_| Payload::from_value(Value::from(returned))))
}

#[cfg(test)]
mod tests {
    use asl::value::JsonLimits;

    use super::*;

    fn payload(text: &str) -> Payload {
        Payload::from_checked(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_function_gives_what_it_returned() {
        let answer =
            |result: &str| payload(&format!(r#"{{"Response":{{"Result":{result},"RequestId":"r"}}}}"#));
        let json = answer(r#"{"RetMsg":"{\"sum\":15}","ErrMsg":"","InvokeResult":0}"#);
        assert_eq!(returned(&json).expect("an output").text(), r#"{"sum":15}"#);
        let text = answer(r#"{"RetMsg":"done","ErrMsg":"","InvokeResult":0}"#);
        assert_eq!(returned(&text).expect("an output").text(), r#""done""#);
        let failed = answer(r#"{"RetMsg":"","ErrMsg":"division by zero","InvokeResult":1}"#);
        let failure = returned(&failed).expect_err("a failure");
        assert_eq!((failure.error.as_str(), failure.cause.as_str()), ("FunctionError", "division by zero"));
        let refused =
            payload(r#"{"Response":{"Error":{"Code":"ResourceNotFound.Function","Message":"no f"}}}"#);
        assert_eq!(returned(&refused).expect_err("a failure").error, "ResourceNotFound.Function");
    }

    #[test]
    fn a_function_is_asked_with_its_event_as_text() {
        let body = invocation(("sum", "$DEFAULT", "default"), &payload("[1,2]"));
        let body = Value::parse(&body, JsonLimits::default()).expect("JSON");
        assert_eq!(body.get("Event").and_then(Value::as_str), Some("[1,2]"));
        assert_eq!(body.get("FunctionName").and_then(Value::as_str), Some("sum"));
    }

    #[test]
    fn a_job_has_ended_when_its_state_says_so() {
        let [asr, mps] = CHECKS;
        for (state, ended) in [("0", false), ("1", false), ("2", true), ("3", true)] {
            assert_eq!((asr.ended)(payload(state).value()), ended, "{state}");
        }
        for (state, ended) in [(r#""WAITING""#, false), (r#""PROCESSING""#, false), (r#""FINISH""#, true)] {
            assert_eq!((mps.ended)(payload(state).value()), ended, "{state}");
        }
    }

    #[test]
    fn each_service_has_its_host_and_version_unless_configuration_has_another() {
        let outbound = |settings: &TencentSettings, service| {
            let api = Api { service, action: "Act", region: "ap-beijing", timeout: TIMEOUT, lane: service };
            settings.outbound(api, Bytes::new()).map(|sent| {
                let version = sent.headers["x-tc-version"].to_str().expect("a text").to_owned();
                (sent.url.to_string(), version)
            })
        };
        let own = TencentSettings::default();
        let (url, version) = outbound(&own, "asr").expect("a request");
        assert_eq!((url.as_str(), version.as_str()), ("https://asr.tencentcloudapi.com/", "2019-06-14"));
        assert!(
            outbound(&own, "live").expect_err("no version").cause.contains("--tencent-version live=DATE")
        );
        let versions = HashMap::from([("asr", "2020-01-01"), ("live", "2018-08-01")]);
        let versions = versions.into_iter().map(|(service, date)| (service.to_owned(), date.to_owned()));
        let settings =
            TencentSettings { endpoint: Url::parse("http://h:1").ok(), versions: versions.collect() };
        for (service, date) in [("asr", "2020-01-01"), ("live", "2018-08-01"), ("scf", "2018-04-16")] {
            let expected = ("http://h:1/".to_owned(), date.to_owned());
            assert_eq!(outbound(&settings, service).expect("a request"), expected);
        }
    }

    #[test]
    fn pauses_of_jobs_that_were_begun_together_differ_and_none_is_longer_than_it_may_be() {
        let pauses: Vec<_> = (0..100_u64).map(|look| spread(LOOK_MAX, ("a-1", look))).collect();
        assert!(pauses.iter().all(|pause| (LOOK_MAX / 2..LOOK_MAX).contains(pause)), "{pauses:?}");
        assert_ne!(spread(LOOK_MAX, ("a-1", 0_u64)), spread(LOOK_MAX, ("a-2", 0_u64)));
    }

    #[test]
    fn regions_of_older_definitions_are_written_out() {
        assert_eq!((region("gz"), region("ap-singapore")), ("ap-guangzhou", "ap-singapore"));
    }
}
