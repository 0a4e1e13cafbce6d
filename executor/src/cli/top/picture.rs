//! All that is shown at one moment: the nodes together, and tables of nodes, machines, shards and targets.

use std::collections::BTreeMap;

use super::distribution::Distribution;
use super::reading::{Machine, Reading, Shard, Target};
use super::table::{Cell, Order, Row, Table};

/// A shard is busy beyond this part of its time.
const BUSY: f64 = 0.9;

/// What was heard of a node last.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub address: String,
    pub state: State,
}

/// How a node fares.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// It was not reached, or did not answer as a node; this is why.
    Down(String),
    /// It has answered once: there are no rates yet.
    First(Box<Reading>),
    /// Its rates.
    Up(Box<Reading>),
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    /// What the nodes do together: rates, then latencies.
    pub whole: [Table; 2],
    /// Nodes, machines, shards, targets.
    pub parts: [Table; 4],
    pub nodes: usize,
    /// The nodes that are down, and why.
    pub down: Vec<String>,
}

impl Picture {
    /// Puts together what was heard.
    pub(super) fn of(heard: &[Heard]) -> Self {
        let rates: Vec<(&str, &Reading)> = heard
            .iter()
            .filter_map(|heard| match &heard.state {
                State::Up(rates) => Some((heard.address.as_str(), &**rates)),
                State::Down(_) | State::First(_) => None,
            })
            .collect();
        let mut machines = BTreeMap::<&str, Machine>::new();
        let mut targets = BTreeMap::<(&str, &str), Target>::new();
        for (_, node) in &rates {
            for (name, machine) in &node.machines {
                machines.entry(name).or_default().add(machine);
            }
            for ((integration, name), target) in &node.targets {
                targets.entry((integration, name)).or_default().add(target);
            }
        }
        let shards = rates.iter().flat_map(|(address, node)| {
            node.shards.iter().map(|(index, shard)| (*address, index.as_str(), shard))
        });
        let shards: Vec<_> = shards.collect();
        Self {
            whole: [together(&machines), latencies(&machines, &shards)],
            parts: [nodes(heard), of_machines(&machines), of_shards(&shards), of_targets(&targets)],
            nodes: heard.len(),
            down: heard.iter().filter_map(down).collect(),
        }
    }

    /// As plain text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for table in self.whole.iter().chain(&self.parts) {
            if !text.is_empty() {
                text.push('\n');
            }
            table.write(&mut text);
        }
        text
    }
}

fn down(heard: &Heard) -> Option<String> {
    match &heard.state {
        State::Down(why) => Some(format!("{}: {why}", heard.address)),
        State::First(_) | State::Up(_) => None,
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn rate(rate: f64) -> Cell {
    Cell::Rate(Some(rate))
}

/// The rates of a machine, as they stand in two tables.
fn rates(machine: &Machine) -> Vec<Cell> {
    let Machine { started, succeeded, failed, timed_out, aborted, throttled, open, .. } = *machine;
    let mut cells: Vec<Cell> =
        [started, succeeded, failed, timed_out, aborted, throttled].into_iter().map(rate).collect();
    cells.push(Cell::Count(open));
    cells
}

fn is_alarming(machine: &Machine) -> bool {
    machine.failed + machine.timed_out + machine.throttled > 0.0
}

fn quantiles(distribution: &Distribution, parts: &[f64]) -> Vec<Cell> {
    parts.iter().map(|part| Cell::Time(distribution.quantile(*part))).collect()
}

fn together(machines: &BTreeMap<&str, Machine>) -> Table {
    let mut sum = Machine::default();
    machines.values().for_each(|machine| sum.add(machine));
    Table {
        title: "EXECUTIONS",
        columns: &["START/S", "SUCCEED/S", "FAIL/S", "TIMEOUT/S", "ABORT/S", "THROTTLE/S", "OPEN"],
        rows: vec![Row { cells: rates(&sum), alarming: is_alarming(&sum) }],
        order: Order { column: 0, descending: true },
        drops: &[4, 5, 3, 1, 6, 2],
    }
}

fn latencies(machines: &BTreeMap<&str, Machine>, shards: &[(&str, &str, &Shard)]) -> Table {
    let (mut ack, mut whole) = (Distribution::default(), Distribution::default());
    shards.iter().for_each(|(_, _, shard)| ack.add(&shard.ack));
    machines.values().for_each(|machine| whole.add(&machine.duration));
    let row = |name, distribution| {
        let quantiles = quantiles(distribution, &[0.5, 0.9, 0.99, 0.999]);
        Row { cells: [vec![text(name)], quantiles].concat(), alarming: false }
    };
    Table {
        title: "LATENCY",
        columns: &["FROM THE START", "P50", "P90", "P99", "P99.9"],
        rows: vec![row("to its acknowledgement", &ack), row("to the end", &whole)],
        order: Order { column: 0, descending: false },
        drops: &[2, 4, 1, 3],
    }
}

fn nodes(heard: &[Heard]) -> Table {
    Table {
        title: "NODES",
        columns: &["NODE", "START/S", "OPEN", "CPU", "MEMORY", "VERSION", "STATE"],
        rows: heard.iter().map(node).collect(),
        order: Order { column: 0, descending: false },
        drops: &[5, 4, 3, 2, 1],
    }
}

fn node(heard: &Heard) -> Row {
    let address = text(&heard.address);
    let (node, rated) = match &heard.state {
        State::Up(node) => (node, true),
        State::First(node) => (node, false),
        State::Down(why) => {
            let nothing =
                [Cell::Rate(None), Cell::Rate(None), Cell::Share(None), Cell::Rate(None), text("-")];
            let cells = [vec![address], nothing.to_vec(), vec![Cell::Text(format!("down: {why}"))]];
            return Row { cells: cells.concat(), alarming: true };
        }
    };
    let started = node.machines.values().map(|machine| machine.started).sum::<f64>();
    let open = node.shards.values().map(|shard| shard.open).sum::<f64>();
    let state = match node {
        node if node.store_foreign => "another store's",
        node if node.draining => "draining",
        node if node.ready => "serving",
        _ => "not serving",
    };
    Row {
        cells: vec![
            address,
            Cell::Rate(rated.then_some(started)),
            Cell::Count(open),
            Cell::Share(rated.then_some(node.cpu)),
            Cell::Bytes(node.resident),
            text(&node.version),
            text(state),
        ],
        alarming: state != "serving",
    }
}

fn of_machines(machines: &BTreeMap<&str, Machine>) -> Table {
    let row = |(name, machine): (&&str, &Machine)| Row {
        cells: [vec![text(name)], rates(machine), quantiles(&machine.duration, &[0.5, 0.99])].concat(),
        alarming: is_alarming(machine),
    };
    Table {
        title: "MACHINES",
        columns: &[
            "MACHINE",
            "START/S",
            "SUCCEED/S",
            "FAIL/S",
            "TIMEOUT/S",
            "ABORT/S",
            "THROTTLE/S",
            "OPEN",
            "P50",
            "P99",
        ],
        rows: machines.iter().map(row).collect(),
        order: Order { column: 1, descending: true },
        drops: &[5, 8, 6, 4, 2, 7, 9, 1, 3],
    }
}

fn of_shards(shards: &[(&str, &str, &Shard)]) -> Table {
    let row = |(address, index, shard): &(&str, &str, &Shard)| {
        let numbers = vec![Cell::Share(Some(shard.busy)), Cell::Count(shard.queue), Cell::Count(shard.open)];
        let latencies = [quantiles(&shard.ack, &[0.5, 0.99]), quantiles(&shard.flush, &[0.5, 0.99])].concat();
        let store = text(if shard.store > 0.0 { "confirms" } else { "away" });
        Row {
            cells: [vec![text(address), text(index)], numbers, latencies, vec![store]].concat(),
            alarming: shard.store <= 0.0 || shard.busy > BUSY,
        }
    };
    Table {
        title: "SHARDS",
        columns: &[
            "NODE",
            "SHARD",
            "BUSY",
            "QUEUE",
            "OPEN",
            "ACK P50",
            "ACK P99",
            "STORE P50",
            "STORE P99",
            "STORE",
        ],
        rows: shards.iter().map(row).collect(),
        order: Order { column: 2, descending: true },
        drops: &[5, 7, 4, 3, 8, 6, 9, 2],
    }
}

fn of_targets(targets: &BTreeMap<(&str, &str), Target>) -> Table {
    let row = |((integration, name), target): (&(&str, &str), &Target)| {
        let rates = [target.failed, target.succeeded, target.cancelled].map(rate).to_vec();
        Row {
            cells: [vec![text(name), text(integration)], rates, quantiles(&target.duration, &[0.5, 0.99])]
                .concat(),
            alarming: target.failed > 0.0,
        }
    };
    Table {
        title: "TARGETS OF TASKS",
        columns: &["TARGET", "INTEGRATION", "FAIL/S", "SUCCEED/S", "CANCEL/S", "P50", "P99"],
        rows: targets.iter().map(row).collect(),
        order: Order { column: 2, descending: true },
        drops: &[4, 5, 3, 6, 1, 2],
    }
}
