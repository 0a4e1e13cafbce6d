//! What tasks answer, and the readers of distributed Maps find, in a local run: from a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use asl::map::OBJECT_BYTES_MAX;
use asl::simulate::{Answer, Reply, Request, Services};
use asl::value::{JsonLimits, Map};
use asl::{Payload, Str, Value};
use bytes::Bytes;

use crate::limits;

/// Fields of an answer.
const FIELDS: [&str; 6] = ["output", "error", "cause", "hang", "seconds", "file"];

/// Answers by state, with how many were given.
#[derive(Debug, Default)]
pub(super) struct Mocks {
    by_state: HashMap<Str, (Vec<Recorded>, usize)>,
    /// Names of files count from here.
    folder: PathBuf,
}

/// An answer.
#[derive(Debug, Clone)]
struct Recorded {
    reply: Reply,
    /// Where a reader finds the object.
    file: Option<PathBuf>,
}

impl Mocks {
    /// From a file's text; `folder` is the file's. The error says which state's answers are wrong.
    pub(super) fn parse(text: &[u8], folder: &Path) -> Result<Self, String> {
        let limits = JsonLimits { depth: JsonLimits::DEPTH, bytes: limits::DEFINITION_BYTES_MAX };
        let mocks = Value::parse(text, limits).map_err(|error| error.to_string())?;
        let states = mocks.as_object().ok_or("an object of states to lists of answers is expected")?;
        let mut by_state = HashMap::with_capacity(states.len());
        for (state, answers) in states {
            let answers = answers.as_array().filter(|answers| !answers.is_empty());
            let answers =
                answers.ok_or_else(|| format!("{state}: a list of at least one answer is expected"))?;
            let replies: Result<Vec<Recorded>, String> = answers.iter().map(recorded).collect();
            let replies = replies.map_err(|problem| format!("{state}: {problem}"))?;
            by_state.insert(state.clone(), (replies, 0));
        }
        Ok(Self { by_state, folder: folder.to_owned() })
    }

    /// The next answer of a state.
    fn next(&mut self, state: &Str) -> Option<Recorded> {
        let (replies, given) = self.by_state.get_mut(state)?;
        let reply = replies.get(*given).or(replies.last()).cloned();
        *given += 1;
        reply
    }
}

impl Services for Mocks {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        let recorded = self.next(&request.place.state).map(|recorded| recorded.reply);
        recorded.unwrap_or_else(|| Reply::now(Answer::Succeeds(request.input.clone())))
    }

    fn read(&mut self, request: &Request<'_>) -> Result<Bytes, Str> {
        let state = &request.place.state;
        let Some(Recorded { reply, file }) = self.next(state) else {
            return Err(Str::from(format!("The file of mocks has no object for the reader of '{state}'.")));
        };
        if let Some(file) = file {
            let file = self.folder.join(file);
            return object(&file).map_err(|error| Str::from(format!("{}: {error}", file.display())));
        }
        match reply.answer {
            Answer::Succeeds(output) => Ok(match output.value() {
                Value::String(text) => Bytes::copy_from_slice(text.as_bytes()),
                _ => output.bytes().clone(),
            }),
            Answer::Fails(_, cause) => Err(cause),
            Answer::Never => Err(Str::from("The reader never answers.")),
        }
    }
}

/// One byte more than an object may have is enough to know that it is too long.
fn object(file: &Path) -> std::io::Result<Bytes> {
    let mut body = Vec::new();
    File::open(file)?.take(OBJECT_BYTES_MAX as u64 + 1).read_to_end(&mut body)?;
    Ok(Bytes::from(body))
}

fn recorded(answer: &Value) -> Result<Recorded, String> {
    let file = match answer.get("file") {
        None => None,
        Some(file) => Some(PathBuf::from(file.as_str().ok_or("the name of a file is a text")?)),
    };
    Ok(Recorded { reply: reply(answer)?, file })
}

fn reply(answer: &Value) -> Result<Reply, String> {
    let fields = answer.as_object().ok_or("an answer is an object")?;
    if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(format!("unknown field {unknown:?}; an answer has {}", FIELDS.join(", ")));
    }
    let text = |key: &str| fields.get(key).and_then(Value::as_text).cloned().unwrap_or_default();
    let seconds = fields.get("seconds").and_then(Value::as_f64).unwrap_or(0.0).clamp(0.0, 1e9);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10^12")]
    let after_millis = (seconds * 1000.0) as u64;
    Ok(Reply { after_millis, ..Reply::now(kind_of(fields, text("error"), text("cause"))) })
}

fn kind_of(fields: &Map, error: Str, cause: Str) -> Answer {
    if fields.get("hang").and_then(Value::as_bool) == Some(true) {
        Answer::Never
    } else if fields.contains_key("error") || fields.contains_key("cause") {
        Answer::Fails(error, cause)
    } else {
        Answer::Succeeds(Payload::from_value(fields.get("output").cloned().unwrap_or_default()))
    }
}
