//! Dashboards and metrics belong together: what a panel asks for is exposed, and what is exposed has a panel.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use telemetry::inventory::{self, Kind, Metric};

fn dashboards() -> Vec<(PathBuf, Value)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../dashboards/grafana");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&directory).expect("dashboards/grafana is there") {
        let path = entry.expect("a readable entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).expect("a readable dashboard");
            found.push((path.clone(), serde_json::from_str(&text).expect("a dashboard is JSON")));
        }
    }
    assert!(!found.is_empty(), "no dashboard in {}", directory.display());
    found
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().expect("panels");
    all.iter().filter(|panel| panel["type"] != "row").collect()
}

fn expressions(dashboard: &Value) -> Vec<String> {
    panels(dashboard)
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"))
        .map(|target| target["expr"].as_str().expect("an expression").to_owned())
        .collect()
}

/// Words of an expression that are names of ours.
fn names(expression: &str) -> BTreeSet<String> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("executor_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// The series of a metric: histograms are asked for by their buckets, sums and counts.
fn series(metric: &Metric) -> Vec<String> {
    match metric.kind {
        Kind::Histogram => {
            ["_bucket", "_sum", "_count"].iter().map(|end| format!("{}{end}", metric.name)).collect()
        }
        Kind::Counter | Kind::Gauge | Kind::Info => vec![metric.name.to_owned()],
    }
}

#[test]
fn every_metric_of_a_panel_stands_in_the_inventory() {
    let known: BTreeSet<String> = inventory::ALL.iter().flat_map(series).collect();
    for (path, dashboard) in dashboards() {
        for expression in expressions(&dashboard) {
            for name in names(&expression) {
                assert!(
                    known.contains(&name),
                    "{}: {name} is not in the inventory: {expression}",
                    path.display()
                );
            }
        }
    }
}

/// Metrics that need no panel yet.
fn exceptions() -> BTreeSet<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../dashboards/exceptions");
    let text = std::fs::read_to_string(path).expect("dashboards/exceptions is there");
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_metric_of_the_inventory_is_on_a_panel_or_is_an_exception() {
    let shown: BTreeSet<String> = dashboards()
        .iter()
        .flat_map(|(_, dashboard)| expressions(dashboard))
        .flat_map(|text| names(&text))
        .collect();
    let mut exceptions = exceptions();
    for metric in inventory::ALL {
        let on_a_panel = series(metric).iter().any(|name| shown.contains(name));
        let excepted = exceptions.remove(metric.name);
        assert!(on_a_panel || excepted, "{} is on no panel", metric.name);
        assert!(
            !(on_a_panel && excepted),
            "{} is on a panel: strike it from dashboards/exceptions",
            metric.name
        );
    }
    assert!(exceptions.is_empty(), "dashboards/exceptions names what is no metric: {exceptions:?}");
}

#[test]
fn every_label_of_a_panel_is_one_that_its_metric_has() {
    for (path, dashboard) in dashboards() {
        for expression in expressions(&dashboard) {
            let used = names(&expression);
            let metrics = inventory::ALL.iter().filter(|m| series(m).iter().any(|name| used.contains(name)));
            let mut labels: BTreeSet<&str> =
                metrics.flat_map(|metric| metric.labels.iter().copied()).collect();
            labels.extend(["job", "instance", "le"]);
            for grouped in expression.split("by (").skip(1) {
                let list = grouped.split(')').next().unwrap_or_default();
                for label in list.split(',').map(str::trim) {
                    assert!(labels.contains(label), "{}: no label {label} in {expression}", path.display());
                }
            }
        }
    }
}

#[test]
fn panels_have_titles_descriptions_and_units_and_dashboards_stable_uids() {
    for (path, dashboard) in dashboards() {
        assert!(
            dashboard["uid"].as_str().is_some_and(|uid| uid.starts_with("myriad-")),
            "{}",
            path.display()
        );
        assert_eq!(dashboard["editable"], false, "{}", path.display());
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        for wanted in ["datasource", "job", "instance"] {
            assert!(
                variables.iter().any(|variable| variable["name"] == wanted),
                "{}: {wanted}",
                path.display()
            );
        }
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap_or_default();
            assert!(!title.is_empty(), "{}: a panel without a title", path.display());
            assert!(panel["description"].as_str().is_some_and(|text| text.len() > 20), "{title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
        }
    }
}

#[test]
fn counters_are_only_looked_at_by_their_rate() {
    // What a node took over at its start is read as a whole: it grows once.
    let whole = "executor_recovered_executions_total";
    let totals: BTreeSet<&str> = inventory::ALL
        .iter()
        .filter(|metric| metric.kind == Kind::Counter)
        .map(|metric| metric.name)
        .collect();
    for (path, dashboard) in dashboards() {
        for expression in expressions(&dashboard) {
            let used = names(&expression);
            for name in used.iter().filter(|name| totals.contains(name.as_str()) && *name != whole) {
                let all = expression.matches(&format!("{name}{{")).count();
                let rated = expression.matches(&format!("rate({name}{{")).count();
                assert_eq!(all, rated, "{}: {name} without rate: {expression}", path.display());
            }
        }
    }
}

/// The headings of the operators' manual, as links spell them.
fn headings() -> BTreeSet<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(path).expect("docs/operations.md is there");
    let titles = text.lines().filter_map(|line| line.strip_prefix("## "));
    let kept = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    titles.map(|title| title.to_lowercase().replace(' ', "-").chars().filter(kept).collect()).collect()
}

#[test]
fn every_alert_asks_for_metrics_that_are_exposed_and_says_what_to_do() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../dashboards/prometheus/rules");
    let known: BTreeSet<String> = inventory::ALL.iter().flat_map(series).collect();
    let headings = headings();
    let mut alerts = 0;
    for entry in std::fs::read_dir(&directory).expect("rules") {
        let path = entry.expect("a readable entry").path();
        let text = std::fs::read_to_string(&path).expect("readable rules");
        for rule in text.split("- alert: ").skip(1) {
            let expression = rule.lines().find_map(|line| line.trim().strip_prefix("expr: "));
            let asked = names(expression.unwrap_or_else(|| panic!("{}: {rule}", path.display())));
            assert!(!asked.is_empty() && asked.is_subset(&known), "{}: {asked:?}", path.display());
            for part in ["severity: ", "summary: ", "description: "] {
                assert!(rule.contains(part), "{}: no {part}in {rule}", path.display());
            }
            let runbook =
                rule.lines().find_map(|line| line.trim().strip_prefix("runbook: \"docs/operations.md#"));
            let heading = runbook.unwrap_or_else(|| panic!("no runbook: {rule}")).trim_end_matches('"');
            assert!(
                headings.contains(heading),
                "{}: no heading {heading} in docs/operations.md",
                path.display()
            );
            alerts += 1;
        }
    }
    assert!(alerts >= 3, "{alerts} alerts in {}", directory.display());
}
