//! What becomes of the outputs of a Map Run's child executions: the state's result, or objects with a manifest.

use bytes::Bytes;

use super::RESULT_BYTES;
use super::config::{OutputType, Transformation};
use crate::timestamp::Timestamp;
use crate::value::{Map, Payload, Str, Value};

/// A child execution.
#[derive(Debug, Clone)]
pub struct Child {
    /// Its ARN.
    pub arn: Str,
    /// Its name.
    pub name: Str,
    /// The ARN of the machine that it runs: the parent's with the Map's label.
    pub machine_arn: Str,
    /// Its input.
    pub input: Payload,
    /// When it started.
    pub started_at: Timestamp,
}

/// How a child execution ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// With this output.
    Succeeded(Payload),
    /// With an error name and a cause.
    Failed(Option<Str>, Option<Str>),
    /// It ran too long.
    TimedOut(Option<Str>, Option<Str>),
}

/// An object to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultObject {
    /// Its key.
    pub key: Str,
    /// Its bytes.
    pub body: Bytes,
}

/// The results of a Map Run, in the order of its children, whatever the order in which they end.
#[derive(Debug)]
pub struct Results {
    transformation: Transformation,
    kept: Vec<Kept>,
    bytes: usize,
}

#[derive(Debug, Clone)]
enum Kept {
    Running,
    Succeeded(Value),
    Failed(Value),
}

impl Results {
    /// Without any.
    pub fn new(transformation: Transformation) -> Self {
        Self { transformation, kept: Vec::new(), bytes: 0 }
    }

    /// Another child has begun.
    pub fn begin(&mut self) {
        self.kept.push(Kept::Running);
    }

    /// What the results take so far, in bytes: of JSON, and [`RESULT_BYTES`] for each.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a result of a child that succeeded tells about its execution too.
    pub fn tells_executions(&self) -> bool {
        self.transformation == Transformation::None
    }

    /// The child of this number has ended with this result: its output, or what [`Child::told`] says.
    pub fn end(&mut self, number: u32, result: Value, failed: bool) {
        self.bytes += result.json_len() + RESULT_BYTES;
        if let Some(place) = self.kept.get_mut(number as usize) {
            *place = if failed { Kept::Failed(result) } else { Kept::Succeeded(result) };
        }
    }

    /// All results, as the state's.
    pub fn into_value(self) -> Value {
        let flatten = self.transformation == Transformation::Flatten;
        let mut all = Vec::with_capacity(self.kept.len());
        for kept in self.kept {
            match kept {
                Kept::Succeeded(value) => push(&mut all, value, flatten),
                Kept::Failed(value) => all.push(value),
                Kept::Running => {}
            }
        }
        Value::from(all)
    }

    /// All results as objects below `<prefix>/<id of the Map Run>/`, the manifest last.
    pub fn into_objects(
        self,
        bucket: &str,
        prefix: &str,
        run_arn: &str,
        output: OutputType,
    ) -> Vec<ResultObject> {
        let flatten = self.transformation == Transformation::Flatten;
        let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
        for kept in self.kept {
            match kept {
                Kept::Succeeded(value) => push(&mut succeeded, value, flatten),
                Kept::Failed(value) => failed.push(value),
                Kept::Running => {}
            }
        }
        let folder = folder(prefix, run_arn);
        let mut objects = Vec::with_capacity(3);
        let mut files = Map::with_capacity(3);
        for (status, results) in [("FAILED", failed), ("PENDING", Vec::new()), ("SUCCEEDED", succeeded)] {
            let file = file(&folder, status, results, output);
            let entry = |file: &ResultObject| {
                let size = u64::try_from(file.body.len()).unwrap_or(u64::MAX);
                Value::object([("Key", Value::from(file.key.clone())), ("Size", Value::from(size))])
            };
            files.insert(status, Value::array(file.as_ref().map(entry)));
            objects.extend(file);
        }
        let manifest = Value::object([
            ("DestinationBucket", Value::from(bucket)),
            ("MapRunArn", Value::from(run_arn)),
            ("ResultFiles", Value::from(files)),
        ]);
        objects
            .push(ResultObject { key: manifest_key(prefix, run_arn), body: Bytes::from(manifest.to_json()) });
        objects
    }
}

/// The key of a Map Run's manifest.
pub(crate) fn manifest_key(prefix: &str, run_arn: &str) -> Str {
    ecow::eco_format!("{}manifest.json", folder(prefix, run_arn))
}

fn folder(prefix: &str, run_arn: &str) -> String {
    let id = run_arn.rsplit(':').next().unwrap_or_default();
    let prefix = prefix.trim_end_matches('/');
    if prefix.is_empty() { format!("{id}/") } else { format!("{prefix}/{id}/") }
}

fn push(all: &mut Vec<Value>, value: Value, flatten: bool) {
    match value {
        Value::Array(items) if flatten => all.extend(items.iter().cloned()),
        value => all.push(value),
    }
}

/// No results make no file.
fn file(folder: &str, status: &str, results: Vec<Value>, output: OutputType) -> Option<ResultObject> {
    if results.is_empty() {
        return None;
    }
    let (ending, body) = match output {
        OutputType::Json => ("json", Value::from(results).to_json()),
        OutputType::JsonLines => {
            let mut lines = Vec::new();
            for result in results {
                lines.extend(result.to_json());
                lines.push(b'\n');
            }
            ("jsonl", lines)
        }
    };
    Some(ResultObject { key: ecow::eco_format!("{folder}{status}_0.{ending}"), body: Bytes::from(body) })
}

impl Child {
    /// The execution as Step Functions tells it, which ended now.
    pub fn told(&self, ending: &Ending, at: Timestamp) -> Value {
        match ending {
            Ending::Succeeded(output) => self.succeeded(output, at),
            Ending::Failed(error, cause) => self.failed("FAILED", error.as_ref(), cause.as_ref(), at),
            Ending::TimedOut(error, cause) => self.failed("TIMED_OUT", error.as_ref(), cause.as_ref(), at),
        }
    }

    fn succeeded(&self, output: &Payload, at: Timestamp) -> Value {
        let mut told = Map::with_capacity(13);
        self.tell_start(&mut told);
        told.insert("Output", Value::from(output.text()));
        told.insert("OutputDetails", included());
        told.insert("RedriveCount", Value::from(0_i64));
        told.insert("RedriveStatus", Value::from("NOT_REDRIVABLE"));
        let reason = "Execution is SUCCEEDED and cannot be redriven";
        told.insert("RedriveStatusReason", Value::from(reason));
        self.tell_end(&mut told, "SUCCEEDED", at);
        Value::from(told)
    }

    fn failed(&self, status: &str, error: Option<&Str>, cause: Option<&Str>, at: Timestamp) -> Value {
        let mut told = Map::with_capacity(12);
        for (name, text) in [("Cause", cause), ("Error", error)] {
            if let Some(text) = text {
                told.insert(name, Value::from(text.clone()));
            }
        }
        self.tell_start(&mut told);
        told.insert("OutputDetails", included());
        told.insert("RedriveCount", Value::from(0_i64));
        told.insert("RedriveStatus", Value::from("REDRIVABLE"));
        self.tell_end(&mut told, status, at);
        Value::from(told)
    }

    fn tell_start(&self, told: &mut Map) {
        told.insert("ExecutionArn", Value::from(self.arn.clone()));
        told.insert("Input", Value::from(self.input.text()));
        told.insert("InputDetails", included());
        told.insert("Name", Value::from(self.name.clone()));
    }

    fn tell_end(&self, told: &mut Map, status: &str, at: Timestamp) {
        told.insert("StartDate", Value::from(self.started_at.to_text()));
        told.insert("StateMachineArn", Value::from(self.machine_arn.clone()));
        told.insert("Status", Value::from(status));
        told.insert("StopDate", Value::from(at.to_text()));
    }
}

fn included() -> Value {
    Value::object([("Included", Value::from(true))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::JsonLimits;

    const RUN: &str = "arn:aws:states:r:1:mapRun:m/L:uuid-1";

    fn child() -> Child {
        let input = Payload::from_checked(Bytes::from_static(b"[1, 2]"));
        let (arn, name, machine_arn) = ("arn:child".into(), "child".into(), "arn:machine".into());
        Child { arn, name, machine_arn, input, started_at: Timestamp(0) }
    }

    fn output(text: &'static str) -> Ending {
        Ending::Succeeded(Payload::from_checked(Bytes::from_static(text.as_bytes())))
    }

    fn results(transformation: Transformation, endings: Vec<Ending>) -> Results {
        let mut results = Results::new(transformation);
        endings.iter().for_each(|_| results.begin());
        // In the reverse order, as it may be.
        for (number, ending) in (0..).zip(endings).collect::<Vec<_>>().into_iter().rev() {
            let failed = matches!(ending, Ending::Failed(..));
            let result = match ending {
                Ending::Succeeded(output) if !results.tells_executions() => output.into_value(),
                ending => child().told(&ending, Timestamp(1_000)),
            };
            results.end(number, result, failed);
        }
        results
    }

    fn objects(results: Results, prefix: &str, output: OutputType) -> Vec<(String, String)> {
        let objects = results.into_objects("b", prefix, RUN, output);
        let told =
            |object: ResultObject| (object.key.into(), String::from_utf8(object.body.to_vec()).unwrap());
        objects.into_iter().map(told).collect()
    }

    #[test]
    fn compact_results_are_the_outputs_in_the_order_of_the_children() {
        let all = results(Transformation::Compact, vec![output("[1]"), output("2")]);
        assert_eq!(all.into_value().to_json_string(), "[[1],2]");
    }

    #[test]
    fn flat_results_take_arrays_apart_once() {
        let all = results(Transformation::Flatten, vec![output("[1,[2]]"), output("3"), output("[]")]);
        assert_eq!(all.into_value().to_json_string(), "[1,[2],3]");
    }

    #[test]
    fn without_a_transformation_a_result_tells_its_execution() {
        let all = results(Transformation::None, vec![output("{\"a\": 1}")]).into_value();
        let told = |name| all.at(0).and_then(|result| result.get(name)).and_then(Value::as_str);
        assert_eq!(told("Input"), Some("[1, 2]"));
        assert_eq!(told("Output"), Some("{\"a\": 1}"));
        assert_eq!((told("Status"), told("Name")), (Some("SUCCEEDED"), Some("child")));
        assert_eq!(
            (told("StartDate"), told("StopDate")),
            (Some("1970-01-01T00:00:00Z"), Some("1970-01-01T00:00:01Z"))
        );
        assert_eq!(told("ExecutionArn"), Some("arn:child"));
    }

    #[test]
    fn a_failed_child_is_told_in_full_whatever_the_transformation() {
        for transformation in [Transformation::None, Transformation::Compact, Transformation::Flatten] {
            let failed = Ending::Failed(Some("E".into()), Some("c".into()));
            let all = results(transformation, vec![failed]).into_value();
            let told = |name| all.at(0).and_then(|result| result.get(name)).and_then(Value::as_str);
            assert_eq!(
                (told("Error"), told("Cause"), told("Status")),
                (Some("E"), Some("c"), Some("FAILED"))
            );
        }
    }

    #[test]
    fn the_manifest_names_the_files_below_the_id_of_the_map_run() {
        let failed = Ending::Failed(Some("E".into()), None);
        let all = results(Transformation::Compact, vec![output("1"), failed]);
        let objects = objects(all, "jobs/", OutputType::Json);
        let keys: Vec<&str> = objects.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            ["jobs/uuid-1/FAILED_0.json", "jobs/uuid-1/SUCCEEDED_0.json", "jobs/uuid-1/manifest.json"]
        );
        assert_eq!(objects[1].1, "[1]");
        let manifest = Value::parse(objects[2].1.as_bytes(), JsonLimits::default()).unwrap();
        assert_eq!(manifest.pointer("/ResultFiles/SUCCEEDED/0/Size").and_then(Value::as_u64), Some(3));
        assert_eq!(
            manifest.pointer("/ResultFiles/PENDING").map(Value::to_json_string).as_deref(),
            Some("[]")
        );
        assert_eq!(manifest.get("MapRunArn").and_then(Value::as_str), Some(RUN));
    }

    #[test]
    fn json_lines_have_a_result_each() {
        let all = results(Transformation::Flatten, vec![output("[1,2]")]);
        let objects = objects(all, "", OutputType::JsonLines);
        assert_eq!(objects[0], ("uuid-1/SUCCEEDED_0.jsonl".to_owned(), "1\n2\n".to_owned()));
    }
}
