//! The suite that every store passes, on a real Redis with `appendfsync always`; a restart is kill -9.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use journal::conformance::Subject;
use journal::store::Connect;
use journal_redis::{RedisConnect, RedisOptions};
use testkit::Redis;

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

journal::store_conformance!(subject);
