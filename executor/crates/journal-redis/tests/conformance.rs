//! The suite that every store passes, on a real Redis and on a real Redis Cluster with `appendfsync always`; a restart is kill -9.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use journal::conformance::Subject;
use journal::store::Connect;
use journal_redis::{RedisConnect, RedisOptions};
use testkit::{Redis, RedisCluster};

struct OnRedis {
    redis: Redis,
}

impl Subject for OnRedis {
    fn connect(&self) -> Arc<dyn Connect> {
        Arc::new(RedisConnect::new(RedisOptions::new(self.redis.url())).expect("the URL is good"))
    }

    fn reopen(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            self.redis.kill9();
            self.redis.restart().expect("Redis starts again");
            true
        })
    }
}

async fn subject() -> OnRedis {
    OnRedis { redis: Redis::durable() }
}

mod on_one {
    journal::store_conformance!(super::subject);
}

/// Checks share a cluster, each below a prefix of its own.
struct OnCluster {
    cluster: Arc<RedisCluster>,
    prefix: String,
}

impl Subject for OnCluster {
    fn connect(&self) -> Arc<dyn Connect> {
        let options = RedisOptions { prefix: self.prefix.clone(), ..RedisOptions::new(self.cluster.url()) };
        Arc::new(RedisConnect::new(options).expect("the URL is good"))
    }

    fn reopen(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async {
            Arc::get_mut(&mut self.cluster).expect("nobody shares it").restart().expect("it starts again");
            true
        })
    }
}

static SUBJECTS: AtomicU64 = AtomicU64::new(0);

async fn on_shared_cluster() -> OnCluster {
    let prefix = format!("check{}", SUBJECTS.fetch_add(1, Ordering::Relaxed));
    OnCluster { cluster: RedisCluster::shared(), prefix }
}

async fn on_its_own_cluster() -> OnCluster {
    OnCluster { cluster: Arc::new(RedisCluster::durable(2, 0)), prefix: "check".to_owned() }
}

mod on_cluster {
    journal::store_conformance!(super::on_shared_cluster, super::on_its_own_cluster);
}
