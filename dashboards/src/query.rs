//! The short forms of queries.

/// PromQL as Grafana gets it. Short forms:
/// - `{*}`, `{*, more}`: of the jobs and nodes that are selected;
/// - `{m}`, `{m, more}`: of the machines that are selected, too;
/// - `{w}`, `{w, more}`: of the one machine that is selected;
/// - `{a, more}`: alerts on the jobs and nodes that are selected, and those on the jobs as a whole;
/// - `[r]`: the interval for rates that Grafana computes from the width of the panel.
#[must_use]
pub fn expand(short: &str) -> String {
    const NODES: &str = r#"job=~"$job", instance=~"$instance""#;
    short
        .replace("{*", &format!("{{{NODES}"))
        .replace("{m", &format!(r#"{{{NODES}, machine=~"$machine""#))
        .replace("{w", &format!(r#"{{{NODES}, machine="$machine""#))
        .replace("{a", r#"{job=~"$job", instance=~"$instance|""#)
        .replace("[r]", "[$__rate_interval]")
}

/// A quantile of a histogram, in the short form: `of` names its buckets, `by` the labels that are kept. Where nothing was
/// measured there is no value, in the place of Prometheus' NaN.
#[must_use]
pub fn quantile(quantile: &str, by: &str, of: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    format!("(histogram_quantile({quantile}, sum by ({by}) (rate({of}[r]))) >= 0)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_become_matchers_of_what_is_selected() {
        assert_eq!(
            expand(r#"sum(rate(a_total{*, x="1"}[r]))"#),
            r#"sum(rate(a_total{job=~"$job", instance=~"$instance", x="1"}[$__rate_interval]))"#
        );
        assert_eq!(expand(r#"c{a, d="1"}"#), r#"c{job=~"$job", instance=~"$instance|", d="1"}"#);
        assert_eq!(expand("b{w}"), r#"b{job=~"$job", instance=~"$instance", machine="$machine"}"#);
        assert_eq!(
            quantile("0.99", "type", "c_bucket{*}"),
            "(histogram_quantile(0.99, sum by (le, type) (rate(c_bucket{*}[r]))) >= 0)"
        );
    }
}
