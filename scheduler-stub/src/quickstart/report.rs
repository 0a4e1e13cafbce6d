//! What the quick start says after its run.

use std::fmt::Write as _;

use super::load::Ran;

/// Milliseconds with as many digits as are of interest.
fn ms(us: u64) -> String {
    let (whole, rest) = (us / 1_000, us % 1_000);
    if whole < 10 { format!("{whole}.{:02} ms", rest / 10) } else { format!("{whole} ms") }
}

/// The value below which `per_mille` thousandths of the values lie.
fn quantile(sorted: &[u64], per_mille: usize) -> u64 {
    let place = (sorted.len() * per_mille).div_ceil(1_000).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

/// A table of the run: counts, and latencies with their percentiles.
pub(super) fn render(ran: &Ran) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{:<16} {:>8} {:>10} {:>7}   {:>10} {:>10} {:>10}",
        "machine", "started", "succeeded", "failed", "p50", "p99", "max"
    );
    for machine in &ran.machines {
        let mut latencies = machine.latencies_us.clone();
        latencies.sort_unstable();
        let _ = writeln!(
            text,
            "{:<16} {:>8} {:>10} {:>7}   {:>10} {:>10} {:>10}",
            machine.name,
            machine.started,
            machine.succeeded,
            machine.failed,
            ms(quantile(&latencies, 500)),
            ms(quantile(&latencies, 990)),
            ms(quantile(&latencies, 1_000)),
        );
    }
    let mut acks = ran.acks_us.clone();
    acks.sort_unstable();
    let _ = writeln!(
        text,
        "\n{} executions in {:.1} s. A start was durable after {} (p50), {} (p99). The latencies above are those of \
         whole executions;\nthe longest ones wait, as their definitions say: for a manager's answer, or before a retry.",
        ran.acks_us.len(),
        ran.took.as_secs_f64(),
        ms(quantile(&acks, 500)),
        ms(quantile(&acks, 990)),
    );
    if ran.refused > 0 {
        let why = ran.refusal.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{} starts were refused, for example: {why}", ran.refused);
    }
    if !ran.is_complete() {
        let ended: usize = ran.machines.iter().map(|machine| machine.succeeded + machine.failed).sum();
        let _ = writeln!(text, "{} of {} executions were not seen to end.", ran.wanted - ended, ran.wanted);
    }
    text
}

/// What to try now.
pub(super) fn next_steps(serves: bool, address: &str, http: Option<&str>, sample: &str) -> String {
    if !serves {
        return "To try more, leave it running and follow what it says:\n\n  \
                cargo run --release -p scheduler-stub -- quickstart --serve\n"
            .to_owned();
    }
    let command = std::env::args().next().unwrap_or_else(|| "scheduler-stub".to_owned());
    let default = address == "127.0.0.1:7300";
    let to = if default { String::new() } else { format!(" --scheduler http://{address}") };
    let aws = http.map_or(String::new(), |url| {
        format!(
            "  aws stepfunctions list-state-machines --endpoint-url {url} --region local --no-sign-request\n"
        )
    });
    format!(
        "It stays up until Ctrl-C. In another terminal, try:\n\n  \
         {command} machine list{to}\n  \
         {command} list order-pipeline --status failed{to}\n  \
         {command} history {sample}{to}\n  \
         {command} start approval --input '{{\"employee\": \"you\", \"amount\": 180, \"waitSeconds\": 2}}' --wait{to}\n  \
         {command} machine create my-machine FILE.asl.json{to}\n{aws}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let values: Vec<u64> = (1..=1_000).collect();
        assert_eq!(
            (quantile(&values, 500), quantile(&values, 990), quantile(&values, 1_000)),
            (500, 990, 1_000)
        );
        assert_eq!((quantile(&[7], 500), quantile(&[], 500)), (7, 0));
    }

    #[test]
    fn short_times_keep_their_digits() {
        assert_eq!((ms(1_234), ms(12_345), ms(0)), ("1.23 ms".into(), "12 ms".into(), "0.00 ms".into()));
    }
}
