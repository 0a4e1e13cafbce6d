//! Numbers as people read them, in the units that Grafana would take.

use crate::panel::Unit;

/// The next round number from a value on.
pub(super) fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let ten = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * ten).find(|step| *step >= value).unwrap_or(value)
}

/// The top of an axis for values up to this one.
pub(super) fn top(value: f64, unit: Unit) -> f64 {
    // Sizes are counted in powers of two.
    let steps = [1_073_741_824.0, 1_048_576.0, 1024.0, 1.0];
    let step = if unit == Unit::Bytes { steps.into_iter().find(|step| value >= *step) } else { None };
    let step = step.unwrap_or(1.0);
    nice(value / step) * step
}

fn scaled(value: f64, steps: &[(f64, &str)]) -> String {
    let found = steps.iter().rev().find(|(from, _)| value.abs() >= *from).or(steps.first());
    let (from, unit) = found.copied().unwrap_or((1.0, ""));
    let value = value / from;
    // Three digits; two of small numbers.
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 1.0 => 2 - usize::from(middle >= 10.0),
        small => (1.0 - small.log10().floor()).clamp(2.0, 4.0) as usize,
    };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// A number as people read it.
pub(super) fn number(value: f64, unit: Unit) -> String {
    if value == 0.0 {
        return if unit == Unit::Ratio { "0%".to_owned() } else { "0".to_owned() };
    }
    match unit {
        Unit::Count | Unit::Times => scaled(value, &[(1.0, ""), (1e3, " K"), (1e6, " M")]),
        Unit::PerSecond => scaled(value, &[(1.0, "/s"), (1e3, " K/s"), (1e6, " M/s")]),
        Unit::Seconds => {
            scaled(value, &[(1e-6, " µs"), (1e-3, " ms"), (1.0, " s"), (60.0, " min"), (3600.0, " h")])
        }
        Unit::Bytes => {
            scaled(value, &[(1.0, " B"), (1024.0, " KiB"), (1_048_576.0, " MiB"), (1_073_741_824.0, " GiB")])
        }
        Unit::BytesPerSecond => scaled(value, &[(1.0, " B/s"), (1e3, " kB/s"), (1e6, " MB/s")]),
        Unit::Ratio => scaled(value * 100.0, &[(1.0, "%")]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_the_unit_of_their_size() {
        assert_eq!(number(0.0145, Unit::Seconds), "14.5 ms");
        assert_eq!(number(7200.0, Unit::Seconds), "2 h");
        assert_eq!(number(0.627_9, Unit::Ratio), "62.8%");
        assert_eq!(number(1.0, Unit::Ratio), "100%");
        assert_eq!(number(115_738.0, Unit::PerSecond), "116 K/s");
        assert_eq!(number(98_566_144.0, Unit::Bytes), "94 MiB");
        assert_eq!(number(0.000_05, Unit::Ratio), "0.005%");
        assert_eq!(number(0.066_7, Unit::PerSecond), "0.067/s");
        assert_eq!(number(9.999, Unit::PerSecond), "10/s");
        assert_eq!(number(100.0, Unit::Count), "100");
        assert_eq!(number(0.0, Unit::Count), "0");
    }

    #[test]
    fn an_axis_ends_at_a_round_number_that_no_value_exceeds() {
        assert_eq!(top(0.0, Unit::Count), 1.0);
        assert_eq!(top(0.13, Unit::Seconds), 0.2);
        assert_eq!(top(50.0, Unit::PerSecond), 50.0);
        assert_eq!(number(top(98_566_144.0, Unit::Bytes), Unit::Bytes), "100 MiB");
    }
}
