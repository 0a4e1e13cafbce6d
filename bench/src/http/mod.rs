//! Single starts through the front door: what `bench http` measures.
//!
//! Closed loop: each connection has one call on its way, as a client's has. So the rate is what callers get who wait for their
//! answer, and latencies are those at that rate. Each call is signed by itself and has an input of its own. Invariant: a figure
//! stands only if a sample of what was acknowledged is found, and has succeeded. What may fail: a door that does not answer, and
//! a run that is void.
//! Sources: docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html, API_StartSyncExecution.html.

mod check;
mod connection;
mod counts;
mod found;
mod own;
mod request;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use clap::ValueEnum;
use futures_util::future::try_join_all;
use serde::Deserialize;
use sign::Keys;

use crate::error::Error;
use crate::machine::Machine;
use crate::payload::{Entropy, Generator};
use crate::profile::Profile;
use crate::report::Percentiles;

use connection::Connection;
use counts::Counts;
pub use found::Found;
pub use own::Own;
use request::Requests;

/// How long a call may take. A synchronous execution of one Pass takes no longer.
const CALL_WITHIN: Duration = Duration::from_secs(30);
/// How often a connection is opened again in a row before the run is given up.
const REOPENED_MAX: u32 = 100;

/// What is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// `StartExecution` of a STANDARD machine
    Standard,
    /// `StartExecution` of an EXPRESS machine
    Express,
    /// `StartSyncExecution` of an EXPRESS machine
    Sync,
}

impl Mode {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Express => "express",
            Self::Sync => "sync",
        }
    }

    fn operation(self) -> &'static str {
        if self == Self::Sync { "StartSyncExecution" } else { "StartExecution" }
    }

    fn machine_type(self) -> &'static str {
        if self == Self::Standard { "STANDARD" } else { "EXPRESS" }
    }
}

/// What is run, and against which door.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://host:port` of the door.
    pub url: String,
    /// What is started.
    pub mode: Mode,
    /// Connections, each with one call on its way.
    pub connections: usize,
    /// How long calls are made.
    pub duration: Duration,
    /// Bytes of each input, before it is escaped.
    pub payload_bytes: usize,
    /// Signs the calls; `None`: they are not signed.
    pub keys: Option<Keys>,
    /// Region that signatures name.
    pub region: String,
}

/// What is looked at in an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    execution_arn: String,
    /// Of a synchronous execution.
    status: Option<String>,
}

/// Makes a machine of one Pass, starts executions of it for as long as asked, and looks a sample of them up. `cpu_us` says what
/// processes have used so far, by their names, where they are ours.
///
/// # Errors
/// A door that cannot be reached or refuses the machine; a sample that is not found.
pub async fn run(settings: &Settings, cpu_us: impl Fn() -> BTreeMap<String, u64>) -> Result<Found, Error> {
    let machine = Machine::look();
    let requests = Requests::new(&settings.url, settings.keys.clone(), &settings.region)?;
    let mut first = Connection::open(requests.address()).await?;
    let arn = check::machine(&mut first, &requests, settings.mode).await?;
    let counts = RefCell::new(Counts::new());
    let (before, begun) = (cpu_us(), Instant::now());
    let until = begun + settings.duration;
    let lanes = (0..settings.connections).map(|number| {
        let inputs = Generator::new(number as u64 * 2 + 1, settings.payload_bytes, 0, Entropy::Templated);
        let lane = Lane { requests: &requests, counts: &counts, mode: settings.mode, arn: &arn };
        lane.run(inputs, until)
    });
    try_join_all(lanes).await?;
    let (took, after) = (begun.elapsed(), cpu_us());
    let counts = counts.into_inner();
    // The door closes what has been idle for long.
    let mut last = Connection::open(requests.address()).await?;
    let checked = check::sample(&mut last, &requests, counts.sample()).await?;
    let mut found = Found {
        mode: settings.mode.name(),
        connections: settings.connections,
        signed: settings.keys.is_some(),
        payload_bytes: settings.payload_bytes,
        duration_s: took.as_secs_f64(),
        acknowledged: counts.latency.len(),
        acknowledged_per_s: (counts.latency.len() as f64 / took.as_secs_f64().max(1e-9)) as u64,
        errors: counts.errors,
        latency_ms: Percentiles::of(&counts.latency),
        checked,
        cpu_us_per_execution: None,
        machine_cpu_ratio: None,
        store: None,
        machine,
    };
    if !after.is_empty() {
        found.used(&before, after, took);
    }
    Ok(found)
}

/// One connection's calls.
struct Lane<'a> {
    requests: &'a Requests,
    counts: &'a RefCell<Counts>,
    mode: Mode,
    arn: &'a str,
}

impl Lane<'_> {
    /// One call after the other until the time is over. A connection that breaks is an error of the run, and is opened again.
    async fn run(self, mut inputs: Generator, until: Instant) -> Result<(), Error> {
        let mut connection = Connection::open(self.requests.address()).await?;
        let (mut buffer, mut body, mut reopened) = (BytesMut::new(), Vec::new(), 0);
        while Instant::now() < until {
            self.write_body(&inputs.next(&mut buffer), &mut body)?;
            let begun = Instant::now();
            match self.call(&mut connection, &body).await? {
                Ok(started) => {
                    reopened = 0;
                    self.counts.borrow_mut().acknowledged(begun.elapsed(), started.execution_arn);
                }
                Err(reason) => self.counts.borrow_mut().failed(reason),
            }
            if !connection.is_open() {
                reopened += 1;
                if reopened > REOPENED_MAX {
                    let address = self.requests.address().to_owned();
                    let reason = format!("{REOPENED_MAX} connections in a row broke");
                    return Err(Error::Connect { address, reason });
                }
                connection = Connection::open(self.requests.address()).await?;
            }
        }
        Ok(())
    }

    fn write_body(&self, input: &[u8], body: &mut Vec<u8>) -> Result<(), Error> {
        let void =
            |error: &dyn std::fmt::Display| Error::Void(format!("an input cannot be written: {error}"));
        let input = std::str::from_utf8(input).map_err(|error| void(&error))?;
        body.clear();
        body.extend_from_slice(b"{\"stateMachineArn\":\"");
        body.extend_from_slice(self.arn.as_bytes());
        body.extend_from_slice(b"\",\"input\":");
        serde_json::to_writer(&mut *body, input).map_err(|error| void(&error))?;
        body.push(b'}');
        Ok(())
    }

    /// What was begun, or what is counted as an error.
    async fn call(&self, connection: &mut Connection, body: &[u8]) -> Result<Result<Started, String>, Error> {
        let request = self.requests.write(self.mode.operation(), body)?;
        let answer = tokio::time::timeout(CALL_WITHIN, connection.call(&request)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(reason)) => return Ok(Err(reason)),
            Err(_) => {
                connection.close();
                return Ok(Err(format!("no answer within {CALL_WITHIN:?}")));
            }
        };
        if answer.status != 200 {
            return Ok(Err(check::named(&answer)));
        }
        let started: Started = match serde_json::from_slice(answer.body) {
            Ok(started) => started,
            Err(error) => {
                return Err(Error::Void(format!("an answer is no {}: {error}", self.mode.operation())));
            }
        };
        match &started.status {
            Some(status) if status != "SUCCEEDED" => Ok(Err(format!("ended as {status}"))),
            None if self.mode == Mode::Sync => Err(Error::Void("an answer has no status".to_owned())),
            _ => Ok(Ok(started)),
        }
    }
}

/// The machine's definition.
fn definition() -> String {
    Profile::Pass.definition()
}
