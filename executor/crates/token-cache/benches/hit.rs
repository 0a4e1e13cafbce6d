//! T11: what a hit of a shard's own cache costs, alone and while 63 other threads hit; and how often the provider is asked when
//! keys expire under all of them.
//!
//! The second runs on a clock that is moved one lifetime at a time. It is void (a panic) unless the provider was asked once for
//! each role and lifetime; what was counted stands beside criterion's figures, for `perf/micro.py`.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant, UNIX_EPOCH};

use criterion::{Criterion, criterion_group, criterion_main};
use telemetry::CredentialMetrics;
use token_cache::providers::{Fetch, Fixed};
use token_cache::{CredentialKey, Credentials, Provider, Settings, TokenCache};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: u64 = 64;
const ROLES: usize = 8;
const LIFETIMES: u64 = 50;
const LIFETIME_MS: u64 = 900_000;
const BEGIN_MS: u64 = 1_700_000_000_000;
/// How long each lifetime is hit, on the machine's clock.
const HIT_FOR: Duration = Duration::from_millis(40);

fn keys(roles: usize) -> Vec<CredentialKey> {
    let role = |number| format!("arn:aws:iam::123456789012:role/service-{number}");
    (0..roles).map(|number| CredentialKey::new(role(number), "orders")).collect()
}

fn hits(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let fixed = sign::Keys { id: "AKIDEXAMPLE".into(), secret: "secret".to_owned().into(), token: None };
    let cache = TokenCache::new(
        Arc::new(Fixed::new(fixed)),
        Settings::default(),
        Arc::new(|| 1_000),
        runtime.handle().clone(),
        Arc::default(),
    );
    let mut group = c.benchmark_group("token_cache");
    for roles in [1, 1_000] {
        let local = cache.local(Arc::default());
        let keys = keys(roles);
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

/// Gives keys that are good for a lifetime, and counts.
struct Source {
    now_ms: AtomicU64,
    asked: AtomicU64,
}

impl Provider for Source {
    fn fetch<'a>(&'a self, _: &'a CredentialKey) -> Fetch<'a> {
        Box::pin(async move {
            let number = self.asked.fetch_add(1, SeqCst);
            // Whoever asks a service waits for it: time for all the others to come.
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(Credentials {
                id: number.to_string(),
                secret: "secret".to_owned().into(),
                token: None,
                expires_at: Some(UNIX_EPOCH + Duration::from_millis(self.now_ms.load(SeqCst) + LIFETIME_MS)),
            })
        })
    }
}

/// A thread of the crowd: hits each role in turn until it is over.
fn hit(crowd: &Crowd, keys: &[CredentialKey]) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = crowd.cache.local(Arc::default());
    let mut hits = 0;
    while !crowd.over.load(Relaxed) {
        let now = crowd.source.now_ms.load(Relaxed);
        for key in keys {
            match local.hit(key, now) {
                Some(lease) => {
                    black_box(&lease.id);
                    hits += 1;
                }
                None => drop(runtime.block_on(local.get(key, now)).expect("credentials")),
            }
        }
    }
    hits
}

/// Moves the clock: in turns a refresh is due, and the end has come.
async fn live(crowd: &Crowd) {
    for lifetime in 1..=LIFETIMES {
        while crowd.metrics.fetched.get() < lifetime * ROLES as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(HIT_FOR).await;
        if lifetime < LIFETIMES {
            let step = if lifetime.is_multiple_of(2) { LIFETIME_MS } else { LIFETIME_MS * 93 / 100 };
            crowd.source.now_ms.fetch_add(step, SeqCst);
        }
    }
    crowd.over.store(true, SeqCst);
}

struct Crowd {
    source: Arc<Source>,
    metrics: Arc<CredentialMetrics>,
    cache: Arc<TokenCache>,
    over: AtomicBool,
}

fn crowd(_: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let source = Arc::new(Source { now_ms: AtomicU64::new(BEGIN_MS), asked: AtomicU64::new(0) });
    let (provider, clock) = (Arc::clone(&source), Arc::clone(&source));
    let (now, metrics) = (move || clock.now_ms.load(Relaxed), Arc::<CredentialMetrics>::default());
    let cache = TokenCache::new(
        provider,
        Settings::default(),
        Arc::new(now),
        runtime.handle().clone(),
        Arc::clone(&metrics),
    );
    let (crowd, keys) = (Crowd { source, metrics, cache, over: AtomicBool::new(false) }, keys(ROLES));
    let begun = Instant::now();
    let hits: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| hit(&crowd, &keys))).collect();
        runtime.block_on(live(&crowd));
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    let per_second = (hits as f64 / begun.elapsed().as_secs_f64()).round();
    let asked = crowd.source.asked.load(SeqCst);
    let expected = ROLES as u64 * LIFETIMES;
    assert_eq!(asked, expected, "the provider was not asked once for each role and lifetime");
    println!(
        "token_cache/crowd       {THREADS} threads, {ROLES} roles, {LIFETIMES} lifetimes: {hits} hits, {per_second}/s; \
         the provider was asked {asked} times, once for each role and lifetime"
    );
    let counted = format!(
        r#"{{"token_cache/crowd":{{"threads":{THREADS},"roles":{ROLES},"lifetimes":{LIFETIMES},"hits":{hits},"hits_per_s":{per_second},"upstream_calls":{asked}}}}}"#
    );
    let folder = criterion_home().join("token_cache");
    std::fs::create_dir_all(&folder).expect("the folder of criterion");
    std::fs::write(folder.join("counts.json"), counted).expect("written");
}

/// Where criterion leaves its figures.
fn criterion_home() -> PathBuf {
    let given = std::env::var_os("CRITERION_HOME").map(PathBuf::from);
    given.unwrap_or_else(|| {
        let program = std::env::current_exe().expect("a program has a path");
        // target/<profile>/deps/<bench>
        program.ancestors().nth(3).expect("cargo built it").join("criterion")
    })
}

criterion_group!(benches, hits, crowd);
criterion_main!(benches);
