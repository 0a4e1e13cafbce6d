//! A credentials file that is read again: what is in force when.

use std::sync::atomic::Ordering;

use super::super::reload::{LOOK_EVERY, SETTLED_AFTER};
use super::*;

const LOOKED: Duration = Duration::from_secs(LOOK_EVERY.as_secs() + 2 * SETTLED_AFTER.as_secs());

#[tokio::test(start_paused = true)]
async fn keys_are_replaced_without_a_restart_and_the_former_ones_end() {
    let world = usual();
    tokio::spawn(world.desk.keep_fresh());
    world.call(&SFN).expect("let in");
    world.write(&key("AKIA1", OTHER, "[[key.grant]]\nrights = ['read']"));
    let mut changes = world.desk.file.as_ref().expect("a file").follow();
    changes.changed().await.expect("followed");
    assert_eq!(
        world.call(&SFN),
        Err(Kind::SignatureMismatch),
        "the key that was kept follows from the former secret"
    );
    world.call(&Call { secret: OTHER, ..SFN }).expect("the new secret");
    assert_eq!(world.may("AKIA1", Right::Start, Some("a")).await, Err(Kind::AccessDenied));
    world.write(&key("AKIA2", OTHER, GRANT));
    changes.changed().await.expect("followed");
    assert_eq!(world.call(&Call { secret: OTHER, ..SFN }), Err(Kind::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_changes_nothing_until_it_can_be_used() {
    let world = usual();
    tokio::spawn(world.desk.keep_fresh());
    let failing = world.desk.failing().expect("a file");
    for broken in ["[[key]]\nid = 1", "", "[[key"] {
        world.write(broken);
        tokio::time::sleep(LOOKED).await;
        world.call(&SFN).unwrap_or_else(|kind| panic!("{broken}: the former keys are in force: {kind:?}"));
        assert!(failing.load(Ordering::Relaxed), "{broken}");
    }
    world.write(&key("AKIA2", OTHER, GRANT));
    tokio::time::sleep(LOOKED).await;
    assert_eq!((world.call(&SFN), failing.load(Ordering::Relaxed)), (Err(Kind::UnknownKey), false));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_not_taken_by_half() {
    let world = usual();
    let changes = world.desk.file.as_ref().expect("a file").follow();
    tokio::spawn(world.desk.keep_fresh());
    let before = std::fs::read_to_string(path(&world.folder)).expect("read");
    world.write(&key("AKIA2", OTHER, GRANT));
    tokio::time::sleep(LOOK_EVERY + SETTLED_AFTER / 2).await;
    world.write(&before);
    tokio::time::sleep(LOOKED).await;
    assert!(!changes.has_changed().expect("followed"));
    world.call(&SFN).expect("let in");
}
