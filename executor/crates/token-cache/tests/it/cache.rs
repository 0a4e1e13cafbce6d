//! What the cache does when time passes and providers fail.

use std::sync::Arc;
use std::time::Duration;

use token_cache::{CredentialError, Settings};
use tokio::runtime::Handle;

use crate::support::{LIFETIME, Mood, World, role};

fn world() -> World {
    World::new(Settings::default(), &Handle::current())
}

#[tokio::test]
async fn a_provider_that_is_down_is_not_noticed_before_the_credentials_expire() {
    let world = world();
    let key = role("a");
    assert_eq!(world.id(&key).await.as_deref(), Ok("1"));
    world.source.mood.send_replace(Mood::Down);
    // The margin is five seconds: until then there is something to hand out, however often a refresh fails.
    let mut passed = Duration::ZERO;
    let mut attempts = 1;
    while passed + Duration::from_secs(1) < LIFETIME - Duration::from_secs(5) {
        world.clock.advance(Duration::from_secs(1));
        passed += Duration::from_secs(1);
        assert_eq!(world.id(&key).await.as_deref(), Ok("1"), "after {passed:?}");
        tokio::task::yield_now().await;
        attempts = attempts.max(world.source.calls());
        world.fetched(attempts).await;
    }
    assert!((3..=20).contains(&attempts), "{attempts} attempts: the pauses grow");
    world.clock.advance(Duration::from_secs(31));
    let error = world.id(&key).await.expect_err("they have expired");
    assert!(matches!(&error, CredentialError::Unavailable { .. }), "{error}");
    assert!(
        error.to_string().contains("nobody answers") && error.to_string().contains("for a can"),
        "{error}"
    );
    assert_eq!(world.metrics.failures[1].get(), world.source.calls() - 1);
    world.source.mood.send_replace(Mood::Gives);
    world.clock.advance(Duration::from_secs(1));
    world.id(&key).await.expect("it answers again");
}

#[tokio::test]
async fn age_tells_that_refreshes_fail() {
    let world = world();
    world.id(&role("a")).await.expect("credentials");
    world.source.mood.send_replace(Mood::Down);
    world.clock.advance(LIFETIME * 93 / 100);
    world.id(&role("a")).await.expect("the old ones");
    assert_eq!(world.metrics.oldest_age_ms.get(), 837_000);
    world.clock.advance(LIFETIME);
    world.id(&role("a")).await.expect_err("they have expired");
    assert_eq!(world.metrics.oldest_age_ms.get(), 0, "what has expired is not handed out, and has no age");
}

#[tokio::test]
async fn a_refusal_is_remembered_for_a_short_time() {
    let world = world();
    world.source.mood.send_replace(Mood::Refuses);
    for _ in 0..100 {
        let error = world.id(&role("a")).await.expect_err("a refusal");
        assert_eq!(error, CredentialError::refused(&role("a"), "it trusts somebody else"));
    }
    assert_eq!(world.source.calls(), 1);
    world.source.mood.send_replace(Mood::Gives);
    world.clock.advance(Duration::from_millis(4_999));
    world.id(&role("a")).await.expect_err("it is remembered still");
    assert_eq!(world.id(&role("b")).await.as_deref(), Ok("2"), "of another role nothing was said");
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.id(&role("a")).await.as_deref(), Ok("3"));
}

#[tokio::test]
async fn a_provider_that_is_down_is_asked_once_a_second() {
    let world = world();
    world.source.mood.send_replace(Mood::Down);
    for second in 1..=5 {
        for _ in 0..100 {
            world.id(&role("a")).await.expect_err("it is down");
        }
        assert_eq!(world.source.calls(), second);
        world.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn sessions_of_a_role_have_credentials_of_their_own() {
    let world = world();
    let other = token_cache::CredentialKey::new("a", "another");
    assert_eq!(world.id(&role("a")).await.as_deref(), Ok("1"));
    assert_eq!(world.id(&other).await.as_deref(), Ok("2"));
    assert_eq!(world.id(&role("a")).await.as_deref(), Ok("1"));
}

#[tokio::test]
async fn credentials_that_their_service_does_not_take_are_replaced_once_for_every_shard() {
    let world = world();
    let (key, now) = (role("a"), || world.clock.now());
    let (one, two) = (world.cache.local(Arc::default()), world.cache.local(Arc::default()));
    let old = one.get(&key, now()).await.expect("credentials").shared();
    two.get(&key, now()).await.expect("credentials");
    assert_eq!(one.replace(&key, &old, now()).await.id, "1", "others would be no better");
    world.clock.advance(Duration::from_secs(30));
    world.source.mood.send_replace(Mood::Hangs);
    {
        let mut replaced = std::pin::pin!(one.replace(&key, &old, now()));
        tokio::select! {
            biased;
            others = &mut replaced => panic!("others came from nowhere: {others:?}"),
            () = world.source.asked(2) => {}
        }
        let unharmed = [
            two.get(&key, now()).await.expect("the old ones").id.clone(),
            world.id(&key).await.expect("too"),
        ];
        assert_eq!(unharmed, ["1", "1"], "nobody else waits");
        world.source.mood.send_replace(Mood::Gives);
        assert_eq!(replaced.await.id, "2");
    }
    assert_eq!(one.hit(&key, now()).expect("a hit").id, "2");
    assert_eq!(two.replace(&key, &old, now()).await.id, "2");
    assert_eq!(two.replace(&key, &old, now()).await.id, "2");
    assert_eq!(world.source.calls(), 2);
}

#[tokio::test]
async fn a_refusal_leaves_the_credentials_where_they_are_when_no_others_can_be_had() {
    for mood in [Mood::Down, Mood::Refuses] {
        let world = world();
        let key = role("a");
        let old = world.cache.get(&key).await.expect("credentials");
        world.clock.advance(Duration::from_secs(30));
        world.source.mood.send_replace(mood);
        for _ in 0..100 {
            assert_eq!(world.cache.replace(&key, &old).await.id, "1");
            assert_eq!(world.id(&key).await.as_deref(), Ok("1"));
        }
        assert_eq!(world.source.calls(), 2, "it is not asked for each refusal");
        world.source.mood.send_replace(Mood::Gives);
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(world.cache.replace(&key, &old).await.id, "3");
    }
}

#[tokio::test]
async fn a_service_that_takes_no_credentials_at_all_has_others_fetched_now_and_then() {
    let world = world();
    let key = role("a");
    for _ in 0..600 {
        let held = world.cache.get(&key).await.expect("credentials");
        world.cache.replace(&key, &held).await;
        world.clock.advance(Duration::from_millis(100));
    }
    assert_eq!(world.source.calls(), 2);
}

#[tokio::test]
async fn the_number_of_entries_is_bounded() {
    let settings = Settings { entries_max: 10, local_entries_max: 5, ..Settings::default() };
    let world = World::new(settings, &Handle::current());
    let local = world.cache.local(Arc::default());
    for n in 0..200 {
        local.get(&role(&n.to_string()), world.clock.now()).await.expect("credentials");
        assert!(world.metrics.entries.get() <= 10);
    }
    let now = world.clock.now();
    let held = (0..200).filter(|n| local.hit(&role(&n.to_string()), now).is_some()).count();
    assert!((1..=5).contains(&held), "the shard holds {held}");
}

#[tokio::test]
async fn more_roles_at_once_than_there_is_room_for_are_refused_at_once() {
    let settings = Settings { entries_max: 2, ..Settings::default() };
    let world = Arc::new(World::new(settings, &Handle::current()));
    world.source.mood.send_replace(Mood::Hangs);
    let waiting: Vec<_> = ["a", "b"]
        .map(|name| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.id(&role(name)).await })
        })
        .into();
    world.source.asked(2).await;
    let error = world.id(&role("c")).await.expect_err("no room");
    assert!(error.to_string().contains("as many roles"), "{error}");
    world.source.mood.send_replace(Mood::Gives);
    for waits in waiting {
        waits.await.expect("no panic").expect("credentials");
    }
    world.id(&role("c")).await.expect("there is room now");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_given_up() {
    let world = world();
    world.source.mood.send_replace(Mood::Hangs);
    let error = world.id(&role("a")).await.expect_err("no answer");
    assert!(error.to_string().contains("no answer within 10 s"), "{error}");
}

#[tokio::test]
async fn a_fetch_goes_on_when_whoever_began_it_no_longer_waits() {
    let world = Arc::new(world());
    world.source.mood.send_replace(Mood::Hangs);
    let first = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.id(&role("a")).await })
    };
    world.source.asked(1).await;
    first.abort();
    world.source.mood.send_replace(Mood::Gives);
    assert_eq!(world.id(&role("a")).await.as_deref(), Ok("1"));
    assert_eq!(world.source.calls(), 1);
}

#[tokio::test]
async fn a_runtime_that_has_ended_leaves_nobody_waiting() {
    let ended = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let world = World::new(Settings::default(), ended.handle());
    ended.shutdown_background();
    let error = world.id(&role("a")).await.expect_err("nobody fetches");
    assert!(error.to_string().contains("shutting down"), "{error}");
}

#[tokio::test]
async fn secrets_are_in_no_debug_output() {
    let world = world();
    let credentials = world.cache.get(&role("a")).await.expect("credentials");
    let lease = world.cache.local(Arc::default()).get(&role("a"), world.clock.now()).await.expect("the same");
    let text = format!("{credentials:?} {lease:?} {:?}", credentials.keys());
    assert!(text.contains("expires_at") && !text.contains("hidden") && !text.contains("veiled"), "{text}");
}
