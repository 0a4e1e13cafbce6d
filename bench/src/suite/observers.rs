//! Who looks at a node of an observed run: a collector in a process of its own, and a scraper.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use testkit::{Process, ProcessOptions};

use super::processes::{READY_WITHIN, process};
use crate::error::Error;
use crate::load::Told;
use crate::report::Exported;
use crate::scrape::{self, values};

/// How often metrics are scraped, and pushed.
const SCRAPE_EVERY: Duration = Duration::from_secs(5);
/// Which share of the executions are traced.
const TRACED: &str = "0.001";
/// How long what was told may take to be exported after the last execution.
const EXPORTED_WITHIN: Duration = Duration::from_secs(60);
/// Sinks of histories that the node has.
const SINKS: u64 = 2;
/// Events of an execution of one Pass state.
const EVENTS_OF_PASS: u64 = 4;
/// Events of the failing machine at the level of errors: the Fail state is entered, the execution has failed.
const ERRORS_OF_FAILING: u64 = 2;

/// The collector's process.
#[derive(Debug)]
pub(super) struct Collector {
    pub process: Process,
    address: String,
}

impl Collector {
    /// Starts one, and waits until it takes connections.
    pub fn start() -> Result<Self, Error> {
        let program = std::env::current_exe()
            .map_err(|source| Error::File { path: "the path of this program".to_owned(), source })?;
        let address = format!("127.0.0.1:{}", testkit::free_port());
        let options = ProcessOptions::new("collector", program, ["collector", "--listen", &address]);
        let mut started = Process::start(&options).map_err(process)?;
        started.wait_for_line("collecting", READY_WITHIN).map_err(process)?;
        Ok(Self { process: started, address })
    }

    /// Flags of a node that tells everything.
    pub fn node_flags(&self, directory: &Path) -> Vec<String> {
        let collector = format!("http://{}", self.address);
        let histories = directory.join("histories").display().to_string();
        let pushed_every = format!("{}s", SCRAPE_EVERY.as_secs());
        [
            ("--log", "json"),
            ("--metrics-otlp", &collector),
            ("--metrics-otlp-interval", &pushed_every),
            ("--history-files", &histories),
            ("--history-otlp", &collector),
            ("--traces-otlp", &collector),
            ("--traces-sample", TRACED),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
        .collect()
    }
}

/// Flags of a node that tells nothing.
pub(super) fn silent() -> Vec<String> {
    ["--log-level", "off"].map(str::to_owned).to_vec()
}

/// Scrapes until it is dropped.
pub(super) async fn scrape(address: &str, scrapes: &AtomicU64) -> Error {
    loop {
        if let Err(error) = scrape::get(address).await {
            return error;
        }
        scrapes.fetch_add(1, Relaxed);
        tokio::time::sleep(SCRAPE_EVERY).await;
    }
}

/// Waits until every event that was to be told has been exported to both sinks, and nothing was dropped.
pub(super) async fn exported(address: &str, executions: u64, scrapes: u64) -> Result<Exported, Error> {
    let told = Told::of(executions);
    let wanted = told.whole * EVENTS_OF_PASS + told.failed * ERRORS_OF_FAILING;
    let deadline = Instant::now() + EXPORTED_WITHIN;
    loop {
        let metrics = scrape::get(address).await?;
        let of = |name: &str, signal: &str| -> u64 {
            let signal = format!("signal=\"{signal}\"");
            let lines = metrics.lines().filter(|line| line.contains(&signal));
            lines.map(|line| values(line, name).sum::<f64>() as u64).sum()
        };
        let events = of("executor_export_records_total", "history");
        let dropped = values(&metrics, "executor_export_dropped_records_total").sum::<f64>() as u64;
        let pushes = of("executor_export_items_total", "metrics");
        let spans = of("executor_export_records_total", "spans");
        if events == wanted * SINKS && dropped == 0 && pushes > 0 && spans > 0 {
            return Ok(Exported { events: wanted, sinks: SINKS, spans, pushes, scrapes });
        }
        if dropped > 0 || events > wanted * SINKS || Instant::now() > deadline {
            return Err(Error::Void(format!(
                "{wanted} events were to be exported to {SINKS} sinks; {events} were, {dropped} dropped, with {pushes} pushes and {spans} spans"
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
