//! Many shards at once.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use telemetry::ShardMetrics;
use token_cache::Settings;

use crate::support::{LIFETIME, World, role};

const THREADS: usize = 64;
const LIFETIMES: u64 = 12;
/// By each thread in each round.
const ASKED: u64 = 100;

/// What a thread does: in each round it asks many times; it says whose credentials it had.
fn rounds(world: &Arc<World>, gate: &Arc<Barrier>, metrics: Arc<ShardMetrics>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = world.cache.local(metrics);
    let mut seen = Vec::new();
    for _ in 0..=LIFETIMES {
        gate.wait();
        for _ in 0..ASKED {
            let now = world.clock.now();
            let lease = runtime.block_on(local.get(&role("arn:role/a"), now)).expect("credentials");
            let expires = lease.expires_at.expect("they expire");
            let now = std::time::UNIX_EPOCH + Duration::from_millis(now);
            assert!(now < expires, "what has expired was handed out");
            if seen.last() != Some(&lease.id) {
                seen.push(lease.id.clone());
            }
        }
        gate.wait();
    }
    seen
}

#[test]
fn sixty_four_threads_with_an_expiring_key_cost_one_call_for_each_lifetime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let world = Arc::new(World::new(Settings::default(), runtime.handle()));
    let gate = Arc::new(Barrier::new(THREADS + 1));
    let metrics: Vec<Arc<ShardMetrics>> = (0..THREADS).map(|_| Arc::default()).collect();
    let threads: Vec<_> = metrics
        .iter()
        .map(|metrics| {
            let (world, gate, metrics) = (Arc::clone(&world), Arc::clone(&gate), Arc::clone(metrics));
            std::thread::spawn(move || rounds(&world, &gate, metrics))
        })
        .collect();
    for lifetime in 1..=LIFETIMES {
        gate.wait();
        gate.wait();
        runtime.block_on(world.fetched(lifetime));
        assert_eq!(world.source.calls(), lifetime, "one call however many ask");
        // In turns: a refresh is due, or the end has come without anybody asking; at last, neither.
        world.clock.advance(match lifetime {
            LIFETIMES => Duration::from_secs(2),
            _ if lifetime % 2 == 0 => LIFETIME,
            _ => LIFETIME * 93 / 100,
        });
    }
    gate.wait();
    gate.wait();
    assert_eq!(world.source.calls(), LIFETIMES, "what is in force is asked of nobody");
    for thread in threads {
        let seen = thread.join().expect("no panic");
        let numbers: Vec<u64> = seen.iter().map(|id| id.parse().expect("a number")).collect();
        assert!(numbers.is_sorted(), "nobody goes back to older credentials: {numbers:?}");
        assert_eq!(numbers.last(), Some(&LIFETIMES), "{numbers:?}");
    }
    let hits: u64 = metrics.iter().map(|cells| cells.credentials_hits.get()).sum();
    let misses: u64 = metrics.iter().map(|cells| cells.credentials_misses.get()).sum();
    assert_eq!(hits + misses, (THREADS as u64) * (LIFETIMES + 1) * ASKED);
}
