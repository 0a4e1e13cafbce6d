//! What the node says that its exporters took and dropped.

use serde::Serialize;

use crate::error::Error;
use crate::scrape::values;
use crate::suite::Cluster;

/// Those whose peers fail, by signal and sink.
pub(super) const EXPORTERS: [&str; 4] = ["history cls", "history kafka", "history otlp", "metrics otlp"];
/// The one whose disk does not.
pub(super) const FILES: &str = "history files";

/// What an exporter came to, in pages of histories or snapshots of metrics.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Exporter {
    /// Signal and sink.
    pub name: String,
    /// Handed to it.
    pub offered: u64,
    /// Confirmed by its peer.
    pub taken: u64,
    /// Not sent, never to be.
    pub dropped: u64,
    /// Events or samples in those.
    pub dropped_records: u64,
}

/// One scrape.
pub(super) struct Counts(String);

impl Counts {
    pub async fn of(cluster: &Cluster) -> Result<Self, Error> {
        cluster.metrics().await.map(Self)
    }

    /// The sum of a metric over what other labels it has.
    fn sum(&self, name: &str, exporter: &str) -> u64 {
        let (signal, sink) = exporter.split_once(' ').unwrap_or_default();
        let labels = [format!("signal=\"{signal}\""), format!("sink=\"{sink}\"")];
        let lines = self.0.lines().filter(|line| labels.iter().all(|label| line.contains(label)));
        lines.map(|line| values(line, name).sum::<f64>() as u64).sum()
    }

    /// Items that the peer has.
    pub fn taken(&self, exporter: &str) -> u64 {
        self.sum("executor_export_items_total", exporter)
    }

    /// Records that it will never have: of a page some may be dropped, and the page still count as taken.
    pub fn dropped(&self, exporter: &str) -> u64 {
        self.sum("executor_export_dropped_records_total", exporter)
    }

    pub fn waiting_bytes(&self, exporter: &str) -> u64 {
        self.sum("executor_export_queue_bytes", exporter)
    }

    /// Everything that was offered has come to something.
    pub fn is_settled(&self, exporter: &str) -> bool {
        let Exporter { offered, taken, dropped, .. } = self.exporter(exporter);
        self.waiting_bytes(exporter) == 0 && offered == taken + dropped
    }

    pub fn exporter(&self, exporter: &str) -> Exporter {
        Exporter {
            name: exporter.to_owned(),
            offered: self.sum("executor_export_offered_items_total", exporter),
            taken: self.taken(exporter),
            dropped: self.sum("executor_export_dropped_items_total", exporter),
            dropped_records: self.dropped(exporter),
        }
    }

    pub fn exporters(&self) -> Vec<Exporter> {
        [FILES].into_iter().chain(EXPORTERS).map(|exporter| self.exporter(exporter)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added_over_reasons_and_kept_apart_by_signal_and_sink() {
        let drops = |signal: &str, sink: &str, reason: &str, count: u64| {
            let labels = format!("signal=\"{signal}\",sink=\"{sink}\",reason=\"{reason}\"");
            format!("executor_export_dropped_records_total{{{labels}}} {count}\n")
        };
        let text = [
            drops("history", "otlp", "queue_full", 3),
            drops("history", "otlp", "gave_up", 4),
            drops("metrics", "otlp", "queue_full", 50),
            drops("history", "cls", "queue_full", 600),
        ];
        let counts = Counts(text.concat());
        assert_eq!([counts.dropped("history otlp"), counts.dropped("metrics otlp")], [7, 50]);
        assert_eq!(counts.dropped("history kafka"), 0);
    }
}
