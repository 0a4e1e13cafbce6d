//! What tasks answer, and the readers of distributed Maps find, in a local run: from a file.
//!
//! Invariant: a file in which anything would be passed over is refused, with the state and the entry.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use asl::map::{OBJECT_BYTES_MAX, ResultObject};
use asl::program::{Graph, Kind};
use asl::simulate::{Answer, Reply, Request, Services};
use asl::value::{JsonLimits, Map};
use asl::{Payload, Str, TaskPlace, Value};
use bytes::Bytes;

use crate::config::file::suggest;
use crate::limits;
use crate::objects::Objects;

/// Fields of an answer.
const FIELDS: [&str; 6] = ["output", "error", "cause", "hang", "seconds", "file"];

/// Longest time that an answer takes.
const SECONDS_MAX: f64 = 1e9;
/// Characters that the name of a state has at most.
const NAME_CHARS_MAX: usize = 80;
/// Characters of a wrong value that are shown.
const SHOWN_CHARS_MAX: usize = 80;

/// Answers by state, with how many were given.
#[derive(Debug, Default)]
pub(super) struct Mocks {
    by_state: HashMap<Str, (Vec<Recorded>, usize)>,
    /// Names of files count from here.
    folder: PathBuf,
    /// What Maps without answers read, and where all write.
    pub(super) objects: Option<Objects>,
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
            let entry = |(at, answer)| {
                recorded(answer).map_err(|problem| format!("{state}: answer {}: {problem}", at + 1))
            };
            let replies = answers.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
            by_state.insert(state.clone(), (replies, 0));
        }
        Ok(Self { by_state, folder: folder.to_owned(), objects: None })
    }

    /// These, if the machine has a state of each name.
    pub(super) fn of_states(self, machine: &Graph) -> Result<Self, String> {
        let known = names(machine);
        // The first in the alphabet, so that the order of a map does not show.
        let Some(unknown) = self.by_state.keys().filter(|name| !known.contains(&name.as_str())).min() else {
            return Ok(self);
        };
        let near = if unknown.chars().count() > NAME_CHARS_MAX { None } else { suggest(unknown, &known) };
        let near = near.map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
        Err(format!("{unknown}: the machine has no such state{near}"))
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
            let Some(objects) = &self.objects else {
                return Err(Str::from(format!(
                    "The file of mocks has no object for the reader of '{state}', and there is no --objects-dir."
                )));
            };
            let read = objects.read(request.resource, request.input.bytes());
            return read.map_err(|error| Str::from(error.to_string()));
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

    fn write(&mut self, _: &TaskPlace, bucket: &str, objects: Vec<ResultObject>) -> Result<(), Str> {
        let Some(folder) = &self.objects else { return Ok(()) };
        folder.write(bucket, &objects).map_err(|error| Str::from(error.to_string()))
    }
}

/// One byte more than an object may have is enough to know that it is too long.
fn object(file: &Path) -> std::io::Result<Bytes> {
    let mut body = Vec::new();
    File::open(file)?.take(OBJECT_BYTES_MAX as u64 + 1).read_to_end(&mut body)?;
    Ok(Bytes::from(body))
}

/// The names of all states, at any depth.
fn names(machine: &Graph) -> Vec<&str> {
    let mut found = Vec::new();
    let mut graphs = vec![machine];
    while let Some(graph) = graphs.pop() {
        for state in &graph.states {
            found.push(state.name.as_str());
            match &state.kind {
                Kind::Parallel { branches } => graphs.extend(branches.iter().map(AsRef::as_ref)),
                Kind::Map(map) => graphs.push(&map.processor),
                _ => {}
            }
        }
    }
    found
}

fn recorded(answer: &Value) -> Result<Recorded, String> {
    let fields = answer.as_object().ok_or("an answer is an object")?;
    if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        let near =
            suggest(unknown, &FIELDS).map_or_else(String::new, |field| format!("; did you mean {field:?}?"));
        return Err(format!("unknown field {unknown:?}; an answer has {}{near}", FIELDS.join(", ")));
    }
    let file = text(fields, "file")?;
    Ok(Recorded { reply: reply(fields)?, file: file.map(|name| PathBuf::from(name.as_str())) })
}

fn reply(fields: &Map) -> Result<Reply, String> {
    let (error, cause) = (text(fields, "error")?, text(fields, "cause")?);
    let hang = match fields.get("hang") {
        None => false,
        Some(hang) => hang.as_bool().ok_or_else(|| mistyped("hang", "true or false", hang))?,
    };
    let fails = error.is_some() || cause.is_some();
    let kinds = [
        ("output", fields.contains_key("output")),
        ("error or cause", fails),
        ("hang", hang),
        ("file", fields.contains_key("file")),
    ];
    let mut given = kinds.iter().filter(|(_, is)| *is).map(|(kind, _)| kind);
    if let (Some(one), Some(other)) = (given.next(), given.next()) {
        return Err(format!("{one} and {other} do not go together; make them two answers, or drop one"));
    }
    let answer = if hang {
        Answer::Never
    } else if fails {
        Answer::Fails(error.unwrap_or_default(), cause.unwrap_or_default())
    } else {
        Answer::Succeeds(Payload::from_value(fields.get("output").cloned().unwrap_or_default()))
    };
    Ok(Reply { after_millis: millis(fields)?, ..Reply::now(answer) })
}

/// How long an answer takes.
fn millis(fields: &Map) -> Result<u64, String> {
    let Some(given) = fields.get("seconds") else { return Ok(0) };
    let seconds = given.as_f64().filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
    let seconds = seconds.ok_or_else(|| mistyped("seconds", "a number from 0 to 10^9", given))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10^12")]
    let millis = (seconds * 1000.0) as u64;
    Ok(millis)
}

fn text(fields: &Map, key: &str) -> Result<Option<Str>, String> {
    let Some(given) = fields.get(key) else { return Ok(None) };
    given.as_text().cloned().map(Some).ok_or_else(|| mistyped(key, "a text", given))
}

fn mistyped(key: &str, expected: &str, given: &Value) -> String {
    let given: String = given.to_json_string().chars().take(SHOWN_CHARS_MAX).collect();
    format!("{key} is {expected}, not {given}")
}
