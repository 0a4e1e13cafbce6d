//! Asks a Prometheus on this network what a panel would ask.
//!
//! Plain HTTP/1.0, one request to a connection: no runtime and no client are needed for that. What may fail: everything that
//! can on the way, with [`AskError`].

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use url::form_urlencoded::Serializer;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The network.
    #[error("no answer from Prometheus at {address}: {source}")]
    Io {
        /// Who was asked.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// Something else than was expected, for example an error in the query.
    #[error("Prometheus answered: {0}")]
    Said(String),
}

/// A series of an answer: its labels, and its values by time in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// With `__name__`, where the query keeps it.
    pub labels: Vec<(String, String)>,
    /// Finite ones alone: what is none (the quantile of nothing) is a gap, as Grafana draws it.
    pub points: Vec<(f64, f64)>,
    /// How many values were not finite.
    pub others: usize,
}

impl Series {
    /// The value of a label, or nothing.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }

    /// The last value.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|(_, value)| *value)
    }
}

/// The time that is looked at, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// From.
    pub start: f64,
    /// To.
    pub end: f64,
    /// Between two values.
    pub step: f64,
}

/// Everything under `data` of an answer.
///
/// # Errors
/// When there is no answer, or an error in it.
pub fn get(address: SocketAddr, path: &str, form: &[(&str, &str)]) -> Result<Value, AskError> {
    let text = exchange(address, path, form).map_err(|source| AskError::Io { address, source })?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let answer: Value =
        serde_json::from_str(body).map_err(|error| AskError::Said(format!("{error}: {text}")))?;
    match answer["status"].as_str() {
        Some("success") => Ok(answer["data"].clone()),
        _ => Err(AskError::Said(answer["error"].to_string())),
    }
}

fn exchange(address: SocketAddr, path: &str, form: &[(&str, &str)]) -> std::io::Result<String> {
    let query = Serializer::new(String::new()).extend_pairs(form).finish();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    write!(stream, "GET {path}?{query} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// `/api/v1/query_range`.
///
/// # Errors
/// When there is no answer, or an error in it.
pub fn query_range(address: SocketAddr, query: &str, range: Range) -> Result<Vec<Series>, AskError> {
    let (start, end, step) = (range.start.to_string(), range.end.to_string(), range.step.to_string());
    let form = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
    let data = get(address, "/api/v1/query_range", &form)?;
    let result = data["result"].as_array().ok_or_else(|| AskError::Said(data.to_string()))?;
    Ok(result.iter().map(series).collect())
}

fn series(answer: &Value) -> Series {
    let labels = answer["metric"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = labels.map(|(label, value)| (label.clone(), text(value))).collect();
    let values = answer["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let read = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse::<f64>().ok()?));
    let points: Vec<(f64, f64)> =
        values.iter().filter_map(read).filter(|(_, value)| value.is_finite()).collect();
    let others = values.len() - points.len();
    Series { labels, points, others }
}
