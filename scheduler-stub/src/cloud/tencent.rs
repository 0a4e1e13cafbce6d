//! Tencent Cloud's API 3.0, signed with TC3, and the services behind it: functions (scf), media processing (mps), speech
//! recognition (asr), and a place for videos (vod) that keeps captions.
//!
//! Jobs take the time that configuration says. What media and speech services find depends on what they are given alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Functions;
use super::kept::Kept;
use super::server::{Answer, Received};
use crate::auth::Issuer;

/// Jobs, and videos with captions, that are remembered.
const KEPT_MAX: usize = 100_000;
/// Versions that are served.
const VERSIONS: [(&str, &str); 4] =
    [("scf", "2018-04-16"), ("mps", "2019-06-12"), ("asr", "2019-06-14"), ("vod", "2018-07-17")];

/// The door: signatures and envelopes.
pub(super) struct Tencent {
    services: Services,
    issuer: Issuer,
}

/// An error of the API: its code and message.
type Refusal = (&'static str, String);

impl Tencent {
    pub fn new(services: Services, issuer: Issuer) -> Self {
        Self { services, issuer }
    }

    /// Answers whoever has keys of a role of Tencent Cloud.
    pub fn answer(&self, received: &Received, now_ms: u64) -> Answer {
        let result = self.verified(received, now_ms);
        Answer::new(StatusCode::OK, result.unwrap_or_else(|refusal| self.services.refused(refusal)))
    }

    fn verified(&self, received: &Received, now_ms: u64) -> Result<Value, Refusal> {
        let secret_of = |claim: &sign::Claim| {
            let (issued, secret) = self.issuer.open(&claim.id, claim.token.as_deref()?, now_ms)?;
            issued.role.starts_with("qcs:").then(|| Zeroizing::new(secret))
        };
        let claim = sign::tc3::verify(&received.signed(), now_ms / 1_000, secret_of)
            .map_err(|error| (error.tencent_code(), error.to_string()))?;
        let (action, version) = (received.header("x-tc-action"), received.header("x-tc-version"));
        let known = VERSIONS.iter().find(|known| known.0 == claim.service);
        if known.is_none_or(|known| known.1 != version) {
            return Err(("NoSuchVersion", format!("{} has no version {version:?}", claim.service)));
        }
        if claim.service == "scf" && claim.region.is_empty() {
            return Err(("MissingParameter", "X-TC-Region is missing".to_owned()));
        }
        let body: Value = serde_json::from_slice(&received.body)
            .map_err(|error| ("InvalidParameter", format!("the body is no JSON: {error}")))?;
        Ok(self.services.call(&claim.service, action, &body, now_ms))
    }
}

/// The services themselves: what they answer to whom they trust.
#[derive(Debug)]
pub struct Services {
    functions: Functions,
    job_time: Duration,
    /// When each job has begun, and what it is about.
    media: Kept<String, (u64, Value)>,
    speech: Kept<u64, (u64, Value)>,
    /// By video.
    captions: Kept<String, Value>,
    requests: AtomicU64,
}

/// How far a job is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Doing,
    Done,
}

impl Services {
    /// With these functions, and jobs that take so long.
    #[must_use]
    pub fn new(functions: Functions, job_time: Duration) -> Self {
        let (media, speech, captions) = (Kept::new(KEPT_MAX), Kept::new(KEPT_MAX), Kept::new(KEPT_MAX));
        Self { functions, job_time, media, speech, captions, requests: AtomicU64::new(0) }
    }

    /// The envelope that a call is answered with.
    #[must_use]
    pub fn call(&self, service: &str, action: &str, body: &Value, now_ms: u64) -> Value {
        let result = match (service, action) {
            ("scf", "InvokeFunction") => self.invoke(body),
            ("mps", "ProcessMedia") => self.process(body, now_ms),
            ("mps", "DescribeTaskDetail") => self.processed(body, now_ms),
            ("asr", "CreateRecTask") => self.recognise(body, now_ms),
            ("asr", "DescribeTaskStatus") => self.recognised(body, now_ms),
            ("vod", "ModifyMediaInfo") => self.caption(body),
            ("vod", "DescribeMediaInfos") => self.captioned(body),
            _ => Err(("InvalidAction", format!("{service} has no action {action}"))),
        };
        match result {
            Ok(data) => self.envelope(data),
            Err(refusal) => self.refused(refusal),
        }
    }

    fn refused(&self, (code, message): Refusal) -> Value {
        self.envelope(json!({ "Error": { "Code": code, "Message": message } }))
    }

    fn envelope(&self, mut data: Value) -> Value {
        data["RequestId"] = format!("stub-{}", self.number()).into();
        json!({ "Response": data })
    }

    fn number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn phase(&self, begun_ms: u64, now_ms: u64) -> Phase {
        let (took, whole) = (u128::from(now_ms.saturating_sub(begun_ms)), self.job_time.as_millis());
        match () {
            () if took >= whole => Phase::Done,
            () if took * 4 >= whole => Phase::Doing,
            () => Phase::Waiting,
        }
    }

    fn invoke(&self, body: &Value) -> Result<Value, Refusal> {
        let name = text(body, "FunctionName")?;
        let event = serde_json::from_str(body["Event"].as_str().unwrap_or("null"))
            .map_err(|error| ("InvalidParameterValue.Event", format!("Event is no JSON: {error}")))?;
        match (self.functions)(name, &event) {
            Ok(output) => Ok(result(&output.to_string(), "", 0)),
            Err((super::NO_FUNCTION, message)) => Err(("ResourceNotFound.Function", message)),
            Err((kind, message)) => Ok(result("", &format!("{kind}: {message}"), 1)),
        }
    }

    /// Takes the sound out of a video: as many parts as the task has transcodings.
    fn process(&self, body: &Value, now_ms: u64) -> Result<Value, Refusal> {
        let input = &body["InputInfo"];
        if input["Type"] != "COS" {
            return Err(("InvalidParameterValue", "InputInfo.Type has to be COS".to_owned()));
        }
        for name in ["Bucket", "Region", "Object"] {
            text(&input["CosInputInfo"], name)?;
        }
        if body["MediaProcessTask"]["TranscodeTaskSet"].as_array().is_none_or(Vec::is_empty) {
            return Err(("InvalidParameter", "MediaProcessTask.TranscodeTaskSet is empty".to_owned()));
        }
        let id = format!("stub-WorkflowTask-{:016x}", self.number());
        self.media.put(id.clone(), (now_ms, body.clone()));
        Ok(json!({ "TaskId": id }))
    }

    fn processed(&self, body: &Value, now_ms: u64) -> Result<Value, Refusal> {
        let id = text(body, "TaskId")?;
        let unknown = || ("InvalidParameterValue.TaskId", format!("there is no task {id}"));
        let (begun_ms, job) = self.media.get(&id.to_owned()).ok_or_else(unknown)?;
        let phase = self.phase(begun_ms, now_ms);
        let status = match phase {
            Phase::Waiting => "WAITING",
            Phase::Doing => "PROCESSING",
            Phase::Done => "FINISH",
        };
        let object = job["InputInfo"]["CosInputInfo"]["Object"].as_str().unwrap_or_default();
        let stem = object.trim_start_matches('/').rsplit_once('.').map_or(object, |(stem, _)| stem);
        let transcoded = |(part, task): (usize, &Value)| {
            let path = format!("{}{stem}_{part}.mp3", job["OutputDir"].as_str().unwrap_or("/"));
            let output = json!({ "Path": path, "Definition": task["Definition"] });
            json!({ "Type": "Transcode", "TranscodeTask": { "Status": "SUCCESS", "ErrCode": 0, "Output": output } })
        };
        let tasks = job["MediaProcessTask"]["TranscodeTaskSet"].as_array().filter(|_| phase == Phase::Done);
        let results: Vec<Value> = tasks.into_iter().flatten().enumerate().map(transcoded).collect();
        Ok(json!({
            "TaskType": "WorkflowTask",
            "Status": status,
            "WorkflowTask": {
                "TaskId": id, "Status": status, "ErrCode": 0, "Message": "SUCCESS",
                "InputInfo": job["InputInfo"], "MediaProcessResultSet": results,
            },
        }))
    }

    fn recognise(&self, body: &Value, now_ms: u64) -> Result<Value, Refusal> {
        text(body, "EngineModelType")?;
        let url = text(body, "Url")?.to_owned();
        let id = self.number();
        self.speech.put(id, (now_ms, url.into()));
        Ok(json!({ "Data": { "TaskId": id } }))
    }

    fn recognised(&self, body: &Value, now_ms: u64) -> Result<Value, Refusal> {
        let id = body["TaskId"].as_u64().ok_or(("MissingParameter", "TaskId is missing".to_owned()))?;
        let unknown = || ("FailedOperation.NoSuchTask", format!("there is no task {id}"));
        let (begun_ms, url) = self.speech.get(&id).ok_or_else(unknown)?;
        let (status, words) = match self.phase(begun_ms, now_ms) {
            Phase::Waiting => (0, "waiting"),
            Phase::Doing => (1, "doing"),
            // What is no sound has no speech.
            Phase::Done if url.as_str().is_none_or(|url| !url.ends_with(".mp3")) => (3, "failed"),
            Phase::Done => (2, "success"),
        };
        let said = if status == 2 {
            format!("[0:0.000,0:4.200]  what is said in {}", name_of(&url))
        } else {
            String::new()
        };
        let error = if status == 3 { "no audio track" } else { "" };
        Ok(json!({
            "Data": { "TaskId": id, "Status": status, "StatusStr": words, "Result": said, "ErrorMsg": error },
        }))
    }

    fn caption(&self, body: &Value) -> Result<Value, Refusal> {
        let (video, captions) = (text(body, "FileId")?, &body["AddSubtitles"]);
        let given = captions.as_array().map(Vec::as_slice).unwrap_or_default();
        let kept: Vec<Value> = given
            .iter()
            .map(|caption| {
                json!({ "Id": format!("subtitle-{}", self.number()), "Name": caption["Name"],
                "Language": caption["Language"], "Format": caption["Format"], "Content": caption["Content"] })
            })
            .collect();
        if kept.is_empty() {
            return Err(("InvalidParameterValue.AddSubtitles", "AddSubtitles is empty".to_owned()));
        }
        self.captions.put(video.to_owned(), kept.clone().into());
        Ok(json!({ "AddedSubtitleSet": kept }))
    }

    fn captioned(&self, body: &Value) -> Result<Value, Refusal> {
        let asked =
            body["FileIds"].as_array().ok_or(("MissingParameter", "FileIds is missing".to_owned()))?;
        let (mut found, mut absent) = (Vec::new(), Vec::new());
        for video in asked {
            let captions = video.as_str().and_then(|video| self.captions.get(&video.to_owned()));
            match captions {
                Some(captions) => {
                    found.push(json!({ "FileId": video, "SubtitleInfo": { "SubtitleSet": captions } }));
                }
                None => absent.push(video.clone()),
            }
        }
        Ok(json!({ "MediaInfoSet": found, "NotExistFileIdSet": absent }))
    }
}

fn text<'a>(holder: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    holder[name].as_str().ok_or_else(|| ("MissingParameter", format!("{name} is missing")))
}

fn result(returned: &str, error: &str, code: i32) -> Value {
    json!({ "Result": { "RetMsg": returned, "ErrMsg": error, "InvokeResult": code } })
}

fn name_of(url: &Value) -> &str {
    url.as_str().and_then(|url| url.rsplit('/').next()).unwrap_or_default()
}
