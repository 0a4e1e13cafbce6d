//! What the nodes themselves say of their store: a block that was confirmed and is gone is a fault, whoever noticed it.
//!
//! Redis syncs each write here before it answers, so that no kill takes back what was confirmed. A node that is away has said
//! nothing; what it counted since the last look goes with it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::shared::Shared;
use crate::scrape;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// A node that does not answer in this time stands still.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What must stay 0, and what it says if it does not.
const WRONG: [(&str, &str); 2] = [
    ("executor_store_blocks_lost_total", "the store has lost for good that it had confirmed"),
    ("executor_store_blocks_resent_total", "the store had lost after it confirmed them, written again"),
];

/// Looks at a node until it is dropped.
pub(super) async fn watch(shared: Arc<Shared>, address: String) {
    let mut seen = [0.0; WRONG.len()];
    loop {
        if let Ok(Ok(metrics)) = tokio::time::timeout(ANSWER_WITHIN, scrape::get(&address)).await {
            shared.scrapes.fetch_add(1, Relaxed);
            judge(&shared, &address, &metrics, &mut seen);
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn judge(shared: &Shared, address: &str, metrics: &str, seen: &mut [f64; WRONG.len()]) {
    for ((name, what), seen) in WRONG.iter().zip(seen) {
        let count = scrape::values(metrics, name).sum::<f64>();
        // A node that was started again counts from 0.
        if count > *seen {
            shared.fault(&format!("the node with metrics at {address} counts {count} blocks that {what}"));
        }
        *seen = count;
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_lost_block_is_a_fault_once_and_none_is_none() {
        let shared = Shared::new(1, 1, PathBuf::new());
        let mut seen = [0.0; 2];
        let told = |count| format!("executor_store_blocks_lost_total{{shard=\"0\"}} {count}\n");
        for (count, faults) in [(0, 0), (2, 1), (2, 1), (3, 2), (0, 2), (1, 3)] {
            judge(&shared, "here", &told(count), &mut seen);
            assert_eq!(shared.faults().0, faults, "{count}");
        }
    }
}
