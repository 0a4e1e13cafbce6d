//! Dashboards and metrics belong together: what a panel asks for is exposed, and what is exposed has a panel.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::Expr;
use promql_parser::parser::LabelModifier;
use telemetry::inventory::{self, Kind};

use support::{dashboards, exceptions, folder, names, parse, queries, series, walk};

/// What Prometheus itself adds.
const OF_PROMETHEUS: [&str; 3] = ["up", "ALERTS", "ALERTS_FOR_STATE"];

/// How every alert says where the operators' manual says what to do.
const RUNBOOK: &str = "runbook_url: \"{{ $externalLabels.myriad_docs }}/operations.md#";

/// The texts of all rules.
fn rules() -> Vec<String> {
    let entries = std::fs::read_dir(folder().join("prometheus/rules")).expect("rules");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    paths.map(|path| std::fs::read_to_string(path).expect("readable rules")).collect()
}

/// The names that the recording rules give.
fn recorded() -> BTreeSet<String> {
    let rules = rules();
    let lines = rules.iter().flat_map(|text| text.lines());
    lines.filter_map(|line| line.trim().strip_prefix("- record: ")).map(str::to_owned).collect()
}

#[test]
fn the_files_in_the_repository_are_what_their_source_gives() {
    let given: Vec<&str> = dashboards::all().iter().map(|(file, _)| *file).collect();
    for (file, dashboard) in dashboards::all() {
        let text = std::fs::read_to_string(folder().join("grafana").join(file)).unwrap_or_default();
        assert!(
            text == dashboards::grafana::text(&dashboard),
            "{file} is not what its source gives: cargo run -p dashboards"
        );
    }
    for (file, _) in dashboards() {
        assert!(given.contains(&file.as_str()), "{file} has no source");
    }
}

#[test]
fn every_metric_of_a_panel_stands_in_the_inventory_or_is_recorded() {
    let mut known: BTreeSet<String> = inventory::everybodys().flat_map(series).collect();
    known.extend(OF_PROMETHEUS.map(str::to_owned));
    known.extend(recorded());
    for query in queries() {
        for name in names(&parse(&query.expr).expect("PromQL")) {
            assert!(known.contains(&name), "{}: nobody exposes {name}", query.place());
        }
    }
}

#[test]
fn every_metric_of_the_inventory_is_on_a_panel_or_is_an_exception() {
    let shown: BTreeSet<String> =
        queries().iter().flat_map(|query| names(&parse(&query.expr).expect("PromQL"))).collect();
    let mut exceptions = exceptions("exceptions");
    for metric in inventory::everybodys() {
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
fn every_label_of_a_query_is_one_that_its_metrics_have() {
    for query in queries() {
        let expr = parse(&query.expr).expect("PromQL");
        let used = names(&expr);
        // Alerts have the labels of what they are about, which may be any metric.
        let any = used.contains("ALERTS");
        let metrics =
            inventory::everybodys().filter(|m| any || series(m).iter().any(|name| used.contains(name)));
        let mut labels: BTreeSet<&str> = metrics.flat_map(|metric| metric.labels.iter().copied()).collect();
        labels.extend(["job", "instance", "le", "alertname", "alertstate", "severity"]);
        walk(&expr, &mut Vec::new(), &mut |part, _| {
            let named: Vec<&String> = match part {
                Expr::Aggregate(aggregate) => match &aggregate.modifier {
                    Some(LabelModifier::Include(by) | LabelModifier::Exclude(by)) => {
                        by.labels.iter().collect()
                    }
                    None => Vec::new(),
                },
                Expr::VectorSelector(selector) => {
                    selector.matchers.matchers.iter().map(|m| &m.name).collect()
                }
                Expr::MatrixSelector(selector) => {
                    selector.vs.matchers.matchers.iter().map(|m| &m.name).collect()
                }
                _ => Vec::new(),
            };
            for label in named {
                assert!(labels.contains(label.as_str()), "{}: no label {label}", query.place());
            }
        });
    }
}

#[test]
fn every_label_in_a_legend_is_one_that_the_query_keeps() {
    for (file, dashboard) in dashboards() {
        for panel in support::panels(&dashboard) {
            for target in panel["targets"].as_array().expect("targets") {
                let (legend, expr) = (target["legendFormat"].as_str(), target["expr"].as_str());
                let (legend, expr) = (legend.expect("a legend"), expr.expect("a query"));
                for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
                    // A query without an aggregation keeps all labels.
                    let kept = expr.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
                    let lists: Vec<&str> = kept.collect();
                    let found =
                        lists.is_empty() || lists.iter().all(|list| list.split(", ").any(|by| by == label));
                    assert!(found, "{file} / {}: {legend} and {expr}", panel["title"]);
                }
            }
        }
    }
}

/// The parts of the operators' manual, by their headings as links spell them.
fn parts() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join("../docs/operations.md")).expect("docs/operations.md");
    let kept = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let part = |part: &str| {
        let (title, text) = part.split_once('\n')?;
        let link = title.to_lowercase().replace(' ', "-");
        Some((link.chars().filter(kept).collect(), text.to_owned()))
    };
    text.split("\n## ").skip(1).filter_map(part).collect()
}

#[test]
fn every_alert_asks_for_metrics_that_are_exposed_and_says_what_to_do() {
    let mut known: BTreeSet<String> = inventory::everybodys().flat_map(series).collect();
    known.extend(OF_PROMETHEUS.map(str::to_owned));
    known.extend(recorded());
    let parts = parts();
    let mut alerts = 0;
    for text in rules() {
        for rule in text.split("- alert: ").skip(1) {
            let rule = rule.split("- record: ").next().unwrap_or_default();
            let alert = rule.lines().next().expect("a name");
            let after = |start| rule.lines().find_map(|line| line.trim().strip_prefix(start));
            let expression = after("expr: ").unwrap_or_else(|| panic!("{alert} has no expression"));
            let asked = names(&parse(expression).unwrap_or_else(|why| panic!("{alert}: {why}")));
            assert!(!asked.is_empty() && asked.is_subset(&known), "{alert}: {asked:?}");
            for part in ["severity: ", "summary: ", "description: "] {
                assert!(rule.contains(part), "{alert} has no {part}");
            }
            let heading = after(RUNBOOK).unwrap_or_else(|| panic!("{alert} has no runbook"));
            let heading = heading.trim_end_matches('"');
            let part = parts.get(heading);
            let part = part.unwrap_or_else(|| panic!("{alert}: no heading {heading} in docs/operations.md"));
            assert!(part.contains(&format!("`{alert}`")), "{alert} does not stand under {heading}");
            alerts += 1;
        }
    }
    assert!(alerts >= 30, "{alerts} alerts");
}

#[test]
fn counters_end_with_total_so_that_the_rules_of_counters_find_them() {
    for metric in inventory::everybodys() {
        assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
    }
}
