//! `docs/metrics.md` says what the inventory says.

use std::fmt::Write;
use std::path::PathBuf;

use telemetry::inventory::{self, Kind, Metric};
use telemetry::labels;

fn page() -> String {
    let mut page = format!(
        "# Metrics\n\n\
         What a node exposes at `/metrics` (`--metrics`), as OpenMetrics 1.0 or as the Prometheus text format 0.0.4, whichever the\n\
         scraper's `Accept` header prefers. This page is written from the inventory (`UPDATE_DOCS=1 cargo test -p telemetry`).\n\n\
         Labels are bounded for each node: {} machines, {} states ({} of one machine), {} error names ({} of one machine),\n\
         {} targets of tasks ({} of one integration). What comes later, and a name of more than {} bytes, is counted under\n\
         `{}`; `executor_metric_labels` and `executor_metric_labels_limit` say how many there are. Series of fixed labels (reasons, outcomes, types) stand at zero\n\
         from the beginning; those of a machine, a state, an error or a target begin when the node meets it.\n\n\
         States inside distributed Maps count at their machine, whose definition names them; their child executions do not count\n\
         as executions.\n\n\
         Histograms have the bounds 1, 2, 5, 10, 15, 25, 50, 100, 250, 500 ms, 1, 2.5, 5, 10 s, 1, 5 min, 1, 6, 24 h.\n\n\
         ",
        labels::MACHINES_MAX,
        labels::STATES_MAX,
        labels::STATES_PER_MACHINE_MAX,
        labels::ERRORS_MAX,
        labels::ERRORS_PER_MACHINE_MAX,
        labels::TARGETS_MAX,
        labels::TARGETS_PER_INTEGRATION_MAX,
        labels::LABEL_BYTES_MAX,
        labels::OVERFLOW,
    );
    table(&mut page, inventory::ALL);
    page.push_str(
        "\n## A scheduler's own\n\n\
         A scheduler exposes these, and of a node's those that begin with `process_`, at its own `/metrics`\n\
         (`scheduler-stub serve --metrics`). `operation` is one of the API's, or `-` where a request named none; requests that are\n\
         refused before anybody is let in have the code of their refusal.\n\n\
         `rate()` and `increase()` see no growth in a series that begins at one, so what is to be expected stands at zero from the\n\
         beginning (prometheus.io/docs/practices/instrumentation, \"Avoid missing metrics\"): for each operation `OK`, `Gone`, what may be\n\
         the service's fault, throttling, refused rights, and each error that the operation's model names; requests that name no\n\
         operation; some 500 series. With their first request begin the errors that are found before an operation is looked at more\n\
         closely (signatures, sizes, HTTP itself), and the histograms, by operation: of those a share is right, and a count one short.\n\n",
    );
    table(&mut page, inventory::SCHEDULER);
    page
}

fn table(page: &mut String, metrics: &[Metric]) {
    page.push_str("| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n");
    for metric in metrics {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help)
            .expect("strings grow");
    }
}

#[test]
fn the_page_of_metrics_says_what_the_inventory_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/metrics.md is there");
    assert!(written == page(), "docs/metrics.md is not what the inventory says: UPDATE_DOCS=1 writes it");
}

#[test]
fn the_page_names_the_bounds_of_the_buckets() {
    let seconds = telemetry::cells::LATENCY_BUCKETS_US.map(|us| us as f64 / 1e6);
    let named = [
        0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0,
        3_600.0, 21_600.0, 86_400.0,
    ];
    assert_eq!(seconds, named);
}
