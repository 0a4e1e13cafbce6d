//! What callers are told while no node can do what they want: which nodes are known, how each ails, and what to do.
//!
//! Nothing here decides or fails.

use crate::directory::{Directory, HEARTBEAT, Report, SILENT_BEATS, Seen};
use crate::error::Error;

/// Nodes that a message names.
const TOLD_MAX: usize = 3;

/// How a scheduler comes to a node.
pub const HOW_TO_START: &str = "start one (`executor serve --scheduler URL` with the cluster's --redis-url), or name one \
                                that follows no scheduler (`scheduler-stub serve --node URL`)";

/// No node can do it now.
#[must_use]
pub fn nobody(directory: &Directory) -> Error {
    Error::unavailable(format!("no node can do it now: {}", told(directory)))
}

/// How the nodes ail that are known, and what to do.
#[must_use]
pub fn told(directory: &Directory) -> String {
    let seen = directory.seen();
    if seen.is_empty() {
        return format!(
            "none reports to this scheduler; {HOW_TO_START}; `scheduler-stub nodes` shows who is refused, and why"
        );
    }
    let each = seen.iter().take(TOLD_MAX);
    let each = each.map(|node| format!("the one at {} {}", node.report.public_address, ailment(node)));
    let more = match seen.len().saturating_sub(TOLD_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let each: Vec<String> = each.collect();
    format!("{}{more}; see `scheduler-stub nodes`, start it again, or {HOW_TO_START}", each.join("; "))
}

fn ailment(Seen { report, silent }: &Seen) -> String {
    let lost = report.managed && !report.serving;
    match report {
        _ if lost || *silent >= HEARTBEAT * SILENT_BEATS => {
            format!("is away, and was heard last {:.1} s ago", silent.as_secs_f64())
        }
        Report { draining: true, .. } => "drains".to_owned(),
        Report { condition, .. } if !condition.is_empty() => format!("does not serve ({condition})"),
        _ => "serves no partition yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use executor::clock::{Clock, ManualClock};

    use super::*;

    fn report(address: &str, condition: &str) -> Report {
        Report {
            node_id: "n".to_owned(),
            public_address: address.to_owned(),
            shards: Vec::new(),
            partitions: 4,
            serving: true,
            managed: true,
            draining: false,
            condition: condition.to_owned(),
        }
    }

    #[test]
    fn whoever_finds_no_node_is_told_which_there_are_how_each_ails_and_what_to_do() {
        let manual = ManualClock::at_ms(1_000);
        let directory = Directory::new(Clock::Manual(manual.clone()));
        let said = nobody(&directory).to_string();
        assert!(
            said.contains("executor serve --scheduler") && said.contains("scheduler-stub nodes"),
            "{said}"
        );
        directory.observe(report("h:1", ""));
        manual.advance(HEARTBEAT * SILENT_BEATS);
        directory.observe(report("h:2", "store down: connection refused"));
        directory.observe(Report { draining: true, ..report("h:3", "") });
        let said = nobody(&directory).to_string();
        for part in
            ["h:1 is away, and was heard last 1.5 s ago", "h:2 does not serve (store down", "h:3 drains"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        directory.observe(report("h:4", ""));
        let said = nobody(&directory).to_string();
        assert!(said.contains("and 1 more") && !said.contains("h:4"), "{said}");
    }
}
