//! A packet of logs: protobuf as CLS defines it (proto2, package `cls`), compressed as a raw LZ4 block.

use std::sync::Arc;

use prost::Message;

use crate::Line;

/// One value of a log has no more: 1 MB.
const VALUE_BYTES_MAX: usize = 1_000_000;

/// A key and its value.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Content {
    /// Does not begin with `_`.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Text.
    #[prost(string, required, tag = "2")]
    pub value: String,
}

/// A log.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Log {
    /// In milliseconds since the Unix epoch.
    #[prost(int64, required, tag = "1")]
    pub time: i64,
    /// What it says.
    #[prost(message, repeated, tag = "2")]
    pub contents: Vec<Content>,
}

/// Something that all logs of a group have.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LogTag {
    /// Its name.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, required, tag = "2")]
    pub value: String,
}

/// Logs from one source.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LogGroup {
    /// 1 to 10,000.
    #[prost(message, repeated, tag = "1")]
    pub logs: Vec<Log>,
    /// Not used by us.
    #[prost(string, optional, tag = "2")]
    pub context_flow: Option<String>,
    /// Not used by us.
    #[prost(string, optional, tag = "3")]
    pub filename: Option<String>,
    /// Where they are from.
    #[prost(string, optional, tag = "4")]
    pub source: Option<String>,
    /// What all of them have.
    #[prost(message, repeated, tag = "5")]
    pub log_tags: Vec<LogTag>,
}

/// A packet.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LogGroupList {
    /// Up to ten.
    #[prost(message, repeated, tag = "1")]
    pub log_group_list: Vec<LogGroup>,
}

/// A packet of these lines, compressed.
pub(super) fn encode(lines: &[Arc<Line>], source: &str) -> Vec<u8> {
    let group = LogGroup {
        logs: lines.iter().map(|line| log(line)).collect(),
        context_flow: None,
        filename: None,
        source: Some(source.to_owned()),
        log_tags: Vec::new(),
    };
    lz4_flex::block::compress(&LogGroupList { log_group_list: vec![group] }.encode_to_vec())
}

fn log(line: &Line) -> Log {
    let details = line.details();
    let details = if details.len() <= VALUE_BYTES_MAX {
        details.to_owned()
    } else {
        // A part of a JSON text is none.
        format!(r#"{{"truncated":true,"bytes":{}}}"#, details.len())
    };
    let contents = [
        ("id", line.id.to_string()),
        ("type", line.kind.to_owned()),
        ("details", details),
        ("previous_event_id", line.previous.to_string()),
        ("event_timestamp", line.at_ms.to_string()),
        ("execution_arn", line.execution.as_ref().to_owned()),
        ("state_machine_arn", line.machine.as_ref().to_owned()),
        ("redrive_count", line.redrive_count.to_string()),
    ];
    let run = line.map_run.iter().map(|run| ("map_run_arn", run.as_ref().to_owned()));
    let contents = contents.into_iter().chain(run).map(|(key, value)| Content { key: key.to_owned(), value });
    Log { time: line.at_ms, contents: contents.collect() }
}

#[cfg(test)]
mod tests {
    use asl::Value;

    use super::*;
    use crate::line::lines;
    use crate::page::tests::{empty, push};

    #[test]
    fn a_packet_has_the_bytes_of_the_vector() {
        let content = Content { key: "k".to_owned(), value: "v".to_owned() };
        let group = LogGroup {
            logs: vec![Log { time: 1_596_716_960_310, contents: vec![content] }],
            filename: Some("asw".to_owned()),
            source: Some("10.0.0.1".to_owned()),
            ..LogGroup::default()
        };
        let bytes = LogGroupList { log_group_list: vec![group] }.encode_to_vec();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0a200a0f08b694fd9dbc2e12060a016b1201761a03617377220831302e302e302e31");
    }

    #[test]
    fn a_value_beyond_what_cls_takes_says_so_and_stays_json() {
        let mut page = empty("e");
        push(&mut page, 1, &Value::from("x".repeat(1_100_000)).into());
        let line = lines(&page).next().expect("a line");
        let log = log(&line);
        let details = &log.contents[2].value;
        let read: serde_json::Value = serde_json::from_str(details).expect("JSON");
        assert_eq!((&read["truncated"], read["bytes"].as_u64() > Some(1_100_000)), (&true.into(), true));
    }
}
