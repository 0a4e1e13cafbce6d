//! `executor top`: what nodes do now, for people without Grafana.
//!
//! Data flows one way: texts of `/metrics` ([`exposition`]) become a [`reading`] of each node, two of them its rates ([`watch`]),
//! all nodes one [`picture`] of [`table`]s, and that is drawn ([`screen`], [`fit`], [`live`]) or written. Invariants: nothing is asked but
//! `/metrics`; what is kept is one reading of each node, however long it runs; the terminal is as it was before, however
//! it ends. What may fail: a node, which is shown as down; the terminal.

mod distribution;
mod exposition;
mod fit;
mod live;
mod picture;
mod reading;
mod screen;
mod table;
mod watch;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;

use self::picture::Picture;
use self::watch::{Address, Nodes};
use super::{Exit, Refusal, show};
use crate::config::units::Span;

const MANUAL: &str = "\
WHAT IS SHOWN
  All nodes together: executions started, succeeded, failed, timed out, aborted and throttled by
  the second, and how long they took to their acknowledgement and to their end; then each node,
  machine, shard, and target of tasks. Rates and latencies are those of the last interval, and
  latencies are estimated from the buckets of histograms. What needs a look is red. A node
  is asked for /metrics (its --metrics port, plain HTTP), and for nothing else. A terminal that
  is too narrow shows fewer columns, the one that is sorted by in any case.

KEYS
  q  quit        Tab, Shift-Tab  the next table       left, right  sort by another column
  p  pause       up, down        scroll               r  turn the order        ?  help

EXIT CODES
  0  shown    1  written, and a node is down
  2  the command line is wrong    3  the terminal failed, or what was to be written could not be

EXAMPLES
  executor top
  executor top 10.0.0.6 10.0.0.7 10.0.0.8:7491 --interval 5s
  executor top --once | grep -A5 ^MACHINES";

/// Nodes that can be asked at a time.
const NODES_MAX: usize = 100;

/// The options of `executor top`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct TopOptions {
    /// Metrics ports of nodes, HOST or HOST:PORT
    #[arg(value_name = "ADDRESS", default_value = "127.0.0.1:7490")]
    nodes: Vec<Address>,
    /// How often they are asked, 100ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Ask twice, an interval apart, write what was between, and exit; so it is as well where standard output is no
    /// terminal
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let Span(interval) = text.parse()?;
    let may = Duration::from_millis(100)..=Duration::from_secs(3_600);
    may.contains(&interval).then_some(interval).ok_or_else(|| format!("{text} is not between 100ms and 1h"))
}

/// Shows until somebody quits; or once.
pub(super) fn run(options: &TopOptions) -> Exit {
    if options.nodes.len() > NODES_MAX {
        let message =
            format!("error: these are {} nodes; at most {NODES_MAX} are shown", options.nodes.len());
        return show(Err((Exit::Usage, message)));
    }
    let failed =
        |error: std::io::Error| (Exit::Internal, format!("error: the terminal cannot be used: {error}"));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return show(Err((Exit::Internal, format!("error: {error}")))),
    };
    let nodes = Nodes::new(&options.nodes, options.interval);
    if options.once || !std::io::stdout().is_terminal() {
        return show(Ok(runtime.block_on(once(nodes, options.interval))));
    }
    let ended: Result<(), Refusal> = runtime.block_on(live::run(nodes, options.interval)).map_err(failed);
    show(ended.map(|()| (String::new(), Exit::Ok)))
}

/// What is between two scrapes, and whether every node answers.
async fn once(mut nodes: Nodes, interval: Duration) -> (String, Exit) {
    nodes.ask().await;
    tokio::time::sleep(interval).await;
    let picture = Picture::of(&nodes.ask().await);
    (picture.text(), if picture.down.is_empty() { Exit::Ok } else { Exit::Finding })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_neither_a_busy_loop_nor_for_ever() {
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["0s", "99ms", "2h", "soon"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
