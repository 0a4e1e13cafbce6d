//! What a hit of a shard's own cache costs (T11).

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use token_cache::providers::Fixed;
use token_cache::{CredentialKey, Settings, TokenCache};

fn hits(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let keys = sign::Keys { id: "AKIDEXAMPLE".into(), secret: "secret".to_owned().into(), token: None };
    let cache = TokenCache::new(
        Arc::new(Fixed::new(keys)),
        Settings::default(),
        Arc::new(|| 1_000),
        runtime.handle().clone(),
        Arc::default(),
    );
    let mut group = c.benchmark_group("token_cache");
    for roles in [1, 1_000] {
        let local = cache.local(Arc::default());
        let keys: Vec<CredentialKey> = (0..roles)
            .map(|n| CredentialKey::new(format!("arn:aws:iam::123456789012:role/service-{n}"), "orders"))
            .collect();
        for key in &keys {
            runtime.block_on(local.get(key, 1_000)).expect("fixed keys");
        }
        let mut turn = keys.iter().cycle();
        group.bench_function(format!("hit_{roles}_roles"), |b| {
            b.iter(|| local.hit(black_box(turn.next().expect("a cycle")), black_box(1_001)).expect("a hit"));
        });
    }
    group.finish();
}

criterion_group!(benches, hits);
criterion_main!(benches);
