//! Reads the store's settings again and again: an operator may change them, and after a failover another server serves.
//!
//! Invariant: what `/metrics` and DescribeNode say about the promise is at most [`EVERY`] older than the settings, while
//! the store answers; a change is logged. What may fail: the store does not answer, and the last word stands.

use std::sync::Arc;
use std::time::Duration;

use journal::{Durability, Store};
use telemetry::NodeMetrics;
use tokio::sync::watch;

/// The pause between two looks.
pub(crate) const EVERY: Duration = Duration::from_secs(10);

/// Keeps `told` and the metrics true until the node ends.
pub(crate) async fn keep_fresh(
    store: Arc<dyn Store>,
    told: watch::Sender<Durability>,
    metrics: NodeMetrics,
    every: Duration,
) {
    loop {
        tokio::time::sleep(every).await;
        let Ok(now) = store.durability().await else { continue };
        if *told.borrow() == now {
            continue;
        }
        let detail = &now.detail;
        if now.survives_power_loss {
            tracing::info!(store = now.store, detail, "the store's settings have changed");
        } else {
            tracing::warn!(store = now.store, detail, "the store's settings have changed");
        }
        metrics.set_durability(now.store, now.settings.clone());
        told.send_replace(now);
    }
}

#[cfg(test)]
mod tests {
    use journal::store::Connect;
    use journal_redis::{RedisConnect, RedisOptions};
    use testkit::Redis;

    use super::*;

    #[tokio::test]
    async fn a_setting_that_is_changed_under_a_running_node_is_noticed() {
        let redis = Redis::durable();
        let connect = RedisConnect::new(RedisOptions::new(redis.url())).expect("a good URL");
        let store = connect.connect().await.expect("there");
        let (told, mut heard) = watch::channel(store.durability().await.expect("readable"));
        assert!(heard.borrow().survives_process_kill);
        let metrics = NodeMetrics::new("test", 1);
        let every = Duration::from_millis(1);
        let watching = tokio::spawn(keep_fresh(store, told, metrics.clone(), every));
        redis.command(&["CONFIG", "SET", "appendfsync", "everysec"]).expect("set");
        heard.changed().await.expect("it goes on");
        assert!(!heard.borrow().survives_process_kill, "{:?}", *heard.borrow());
        watching.abort();
    }
}
