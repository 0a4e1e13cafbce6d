//! The rules of Grafana's dashboard-linter, for there is no build of it to be had: each of its rules is a test here, but for the two
//! about LogQL, of which there is none.
//!
//! Exceptions stand in `dashboards/lint-exceptions`, each with its reason; one that is not needed is an error.

mod support;

use std::collections::BTreeSet;

use promql_parser::label::MatchOp;
use promql_parser::parser::{Expr, VectorSelector};
use serde_json::{Value, json};

use support::{Query, dashboards, exceptions, names, panels, parse, queries, walk};

/// Holds a rule for every query, but for its exceptions.
fn every_query(rule: &str, holds: impl Fn(&Query) -> Result<(), String>) {
    let prefix = format!("{rule} / ");
    let listed = exceptions("lint-exceptions");
    let mut excepted: BTreeSet<&str> = listed.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
    for query in queries() {
        let place = query.place();
        match holds(&query) {
            Ok(()) => {}
            Err(_) if excepted.remove(place.as_str()) => {}
            Err(why) => panic!("{rule}: {place}: {why}: {}", query.expr),
        }
    }
    assert!(excepted.is_empty(), "{rule}: these are no exceptions: {excepted:?}");
}

fn selectors(expr: &Expr) -> Vec<&VectorSelector> {
    let mut found = Vec::new();
    walk(expr, &mut Vec::new(), &mut |part, _| match part {
        Expr::VectorSelector(selector) => found.push(selector),
        Expr::MatrixSelector(selector) => found.push(&selector.vs),
        _ => {}
    });
    found
}

/// Every selector is restricted by what is selected in a variable.
fn matched(query: &Query, label: &str) -> Result<(), String> {
    // Variables are told from values by what stands in the place of this one.
    let marked = query.expr.replace(&format!("${label}"), "THE-VARIABLE");
    for selector in selectors(&parse(&marked)?) {
        let by = selector.matchers.find_matchers(label);
        let regex = by.iter().any(|by| matches!(by.op, MatchOp::Re(_)) && by.value == "THE-VARIABLE");
        if !regex {
            return Err(format!("{:?} has no {label}=~\"${label}\"", selector.name));
        }
    }
    Ok(())
}

#[test]
fn target_promql_rule_queries_are_promql() {
    every_query("target-promql-rule", |query| parse(&query.expr).map(drop));
}

#[test]
fn target_job_rule_every_selector_is_restricted_to_the_jobs() {
    every_query("target-job-rule", |query| matched(query, "job"));
}

#[test]
fn target_instance_rule_every_selector_is_restricted_to_the_instances() {
    every_query("target-instance-rule", |query| matched(query, "instance"));
}

#[test]
fn target_rate_interval_rule_ranges_are_grafanas() {
    every_query("target-rate-interval-rule", |query| {
        let ranges = query.expr.split('[').skip(1).filter_map(|rest| rest.split(']').next());
        match ranges.filter(|range| *range != "$__rate_interval").collect::<Vec<_>>() {
            others if others.is_empty() => Ok(()),
            others => Err(format!("{others:?}")),
        }
    });
}

#[test]
fn target_counter_agg_rule_counters_are_looked_at_by_their_rate_before_they_are_added() {
    every_query("target-counter-agg-rule", |query| {
        let expr = parse(&query.expr)?;
        let mut bare = BTreeSet::new();
        walk(&expr, &mut Vec::new(), &mut |part, around| {
            let name = match part {
                Expr::VectorSelector(selector) => selector.name.as_deref(),
                Expr::MatrixSelector(selector) => selector.vs.name.as_deref(),
                _ => None,
            };
            let counter = ["_total", "_bucket", "_sum", "_count"];
            let counter = name.filter(|name| counter.iter().any(|end| name.ends_with(end)));
            let rated = around.last().is_some_and(|outer| {
                matches!(outer, Expr::Call(call) if ["rate", "irate", "increase"].contains(&call.func.name))
            });
            bare.extend(counter.filter(|_| !rated));
        });
        if bare.is_empty() { Ok(()) } else { Err(format!("{bare:?}")) }
    });
}

#[test]
fn panel_datasource_rule_panels_and_targets_ask_the_selected_source() {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            assert_eq!(panel["datasource"], source, "{file} / {}", panel["title"]);
            for target in panel["targets"].as_array().expect("targets") {
                assert_eq!(target["datasource"], source, "{file} / {}", panel["title"]);
            }
        }
    }
}

#[test]
fn panel_title_description_units_and_no_targets_rules() {
    for (file, dashboard) in dashboards() {
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap_or_default();
            assert!(!title.is_empty(), "{file}: a panel without a title");
            assert!(titles.insert(title), "{file} / {title}: twice");
            let description = panel["description"].as_str().unwrap_or_default();
            assert!(description.len() > 20 && description.ends_with('.'), "{file} / {title}: {description}");
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
            assert!(!unit.is_empty(), "{file} / {title}: no unit");
            let targets = panel["targets"].as_array().map_or(0, Vec::len);
            assert!(targets > 0, "{file} / {title}: no targets");
            let ids: BTreeSet<_> = panel["targets"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|target| target["refId"].to_string())
                .collect();
            assert_eq!(ids.len(), targets, "{file} / {title}: a refId twice");
        }
    }
}

fn variables(dashboard: &Value) -> &[Value] {
    dashboard["templating"]["list"].as_array().expect("variables")
}

fn variable<'a>(dashboard: &'a Value, name: &str) -> &'a Value {
    variables(dashboard).iter().find(|variable| variable["name"] == name).expect("the variable")
}

#[test]
fn template_datasource_job_and_instance_rules() {
    for (file, dashboard) in dashboards() {
        let source = variable(&dashboard, "datasource");
        assert_eq!(
            (&source["type"], &source["query"], &source["label"]),
            (&json!("datasource"), &json!("prometheus"), &json!("Data source")),
            "{file}"
        );
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let found = variable(&dashboard, name);
            assert_eq!(found["type"], "query", "{file} / {name}");
            assert_eq!(found["datasource"]["uid"], "${datasource}", "{file} / {name}");
            assert_eq!(found["label"], label, "{file} / {name}");
            assert_eq!(
                (&found["multi"], &found["allValue"]),
                (&json!(true), &json!(".+")),
                "{file} / {name}"
            );
        }
    }
}

#[test]
fn template_label_promql_and_on_time_change_reload_rules() {
    for (file, dashboard) in dashboards() {
        for variable in variables(&dashboard).iter().filter(|variable| variable["type"] == "query") {
            let query = variable["query"]["query"].as_str().expect("a query");
            assert_eq!(variable["definition"], query, "{file}");
            let of = query.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(", "));
            let (selector, label) = of.unwrap_or_else(|| panic!("{file}: {query}"));
            let parsed = parse(selector).unwrap_or_else(|why| panic!("{file}: {query}: {why}"));
            assert!(matches!(parsed, Expr::VectorSelector(_)), "{file}: {query}");
            assert_eq!(label.trim_end_matches(')'), variable["name"], "{file}: {query}");
            assert_eq!(variable["refresh"], 2, "{file}: {query} is not asked again when the time changes");
        }
    }
}

#[test]
fn uneditable_dashboard_rule_and_stable_uids() {
    let all = dashboards();
    let uids: BTreeSet<&str> = all.iter().filter_map(|(_, dashboard)| dashboard["uid"].as_str()).collect();
    assert_eq!(uids, BTreeSet::from(["myriad-front", "myriad-node", "myriad-overview", "myriad-workflow"]));
    for (file, dashboard) in &all {
        assert_eq!(dashboard["editable"], false, "{file}");
        assert!(dashboard.get("id").is_none(), "{file}: ids are given by the server");
        assert_eq!(dashboard["schemaVersion"], 39, "{file}");
    }
}

#[test]
fn every_dashboard_links_to_all_others_with_what_is_selected() {
    let all = dashboards();
    let uids: BTreeSet<&str> = all.iter().filter_map(|(_, dashboard)| dashboard["uid"].as_str()).collect();
    for (file, dashboard) in &all {
        let links = dashboard["links"].as_array().expect("links");
        let mut to: BTreeSet<&str> =
            links.iter().filter_map(|link| link["url"].as_str()?.strip_prefix("/d/")).collect();
        assert!(links.iter().all(|link| link["keepTime"] == true && link["includeVars"] == true), "{file}");
        to.extend(dashboard["uid"].as_str());
        assert_eq!(to, uids, "{file}");
    }
}

#[test]
fn annotations_are_promql_of_the_selected_source() {
    for (file, dashboard) in dashboards() {
        let annotations = dashboard["annotations"]["list"].as_array().expect("annotations");
        assert_eq!(annotations.len(), 4, "{file}");
        for annotation in annotations {
            assert_eq!(annotation["datasource"]["uid"], "${datasource}", "{file}");
            let expr = annotation["target"]["expr"].as_str().expect("a query");
            assert!(!names(&parse(expr).expect("PromQL")).is_empty(), "{file}: {expr}");
        }
    }
}

#[test]
fn panels_do_not_lie_on_each_other_and_fill_no_more_than_the_width() {
    for (file, dashboard) in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let at = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
            assert!(at("x") + at("w") <= 24, "{file} / {}", panel["title"]);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{file} / {} lies on another", panel["title"]);
                }
            }
        }
    }
}
