//! Machines in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use asl::Dialect;
use bytes::Bytes;
use executor::clock::{Clock, ManualClock};
use ids::{Mode, PartitionId};
use journal::Store;
use journal::memory::MemoryStore;
use journal::store::{Acquired, Append, BlockId, BlockRange, Connect, Durability, StoreFuture, Top};
use scheduler_stub::Error;
use scheduler_stub::names::Naming;
use scheduler_stub::templates::{Change, FRESH_FOR, NewTemplate, Templates};

const PASS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
const SUCCEED: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Succeed"}}}"#;

fn new(name: &str, definition: &str) -> NewTemplate {
    NewTemplate {
        name: name.into(),
        definition: Bytes::from(definition.to_owned()),
        mode: Mode::Standard,
        dialect: Dialect::Asl,
        role_arn: String::new(),
        logging: Default::default(),
        comment: String::new(),
        retention_s: 0,
    }
}

fn change(definition: &str, comment: &str) -> Change {
    let definition = Bytes::from(definition.to_owned());
    Change { definition, comment: comment.to_owned(), ..Change::default() }
}

fn on(store: &Arc<dyn Store>, clock: &ManualClock) -> Templates {
    Templates::new(Arc::clone(store), Clock::Manual(clock.clone()), Naming::default())
}

async fn templates() -> (Templates, Arc<dyn Store>, ManualClock) {
    let store = MemoryStore::new().connect().await.expect("memory");
    let clock = ManualClock::at_ms(1_000_000);
    (on(&store, &clock), store, clock)
}

fn code(error: &Error) -> String {
    error.code().to_owned()
}

#[tokio::test]
async fn a_machine_is_created_described_updated_listed_and_deleted() {
    let (templates, ..) = templates().await;
    let (created, warnings) = templates.create(new("orders", PASS)).await.expect("created");
    assert_eq!(
        (created.arn.as_str(), created.version),
        ("arn:aws:states:local:000000000000:stateMachine:orders", 1)
    );
    assert!(warnings.is_empty());
    let (updated, _) = templates
        .update(&created.arn, Change { retention_s: Some(86_400), ..change(SUCCEED, "shorter") })
        .await
        .expect("updated");
    assert_eq!((updated.version, updated.comment.as_str(), updated.retention_s), (2, "shorter", 86_400));
    let newest = templates.describe(&created.arn, 0).await.expect("described");
    assert_eq!((newest.version, &*newest.definition), (2, SUCCEED.as_bytes()));
    let first = templates.describe(&created.arn, 1).await.expect("the old version stays");
    assert_eq!((first.hash, &*first.definition, first.retention_s), (created.hash, PASS.as_bytes(), 0));
    assert_eq!(templates.list(0, "").await.expect("listed").0.len(), 1);
    templates.delete(&created.arn).await.expect("deleted");
    let gone = templates.describe(&created.arn, 0).await.expect_err("gone");
    assert_eq!(code(&gone), "StateMachineDoesNotExist");
    let (again, _) = templates.create(new("orders", SUCCEED)).await.expect("the name is free again");
    assert_eq!(again.version, 1);
    assert_eq!(
        code(&templates.describe(&again.arn, 2).await.expect_err("no such version")),
        "ResourceNotFound"
    );
}

#[tokio::test]
async fn what_is_said_of_a_machine_changes_without_its_definition() {
    let (templates, ..) = templates().await;
    let (created, _) = templates.create(new("orders", PASS)).await.expect("created");
    let longer = Change { retention_s: Some(86_400), ..Change::default() };
    let (updated, _) = templates.update(&created.arn, longer).await.expect("updated");
    assert_eq!((updated.version, updated.retention_s, updated.hash), (2, 86_400, created.hash));
    let resolved = templates.resolve(&created.arn).await.expect("resolved");
    assert_eq!((resolved.version, &*resolved.definition), (2, PASS.as_bytes()));
    let nothing = templates.update(&created.arn, Change::default()).await.expect_err("changes nothing");
    assert_eq!(code(&nothing), "MissingRequiredParameter");
}

#[tokio::test]
async fn a_machine_has_a_role_that_is_listed_and_stays_until_it_is_changed_or_taken_away() {
    let (templates, ..) = templates().await;
    let orders = "arn:aws:iam::123456789012:role/orders";
    let with = |role_arn: &str| NewTemplate { role_arn: role_arn.into(), ..new("orders", PASS) };
    for wrong in ["orders", "arn:aws:iam::123456789012:user/orders", &format!("{orders}{}", "x".repeat(256))]
    {
        let refused = templates.create(with(wrong)).await.expect_err("refused");
        assert!(["InvalidArn", "ValidationException"].contains(&refused.code()), "{refused}");
    }
    let (created, _) = templates.create(with(orders)).await.expect("created");
    let taken = templates.create(with("arn:aws:iam::123456789012:role/other")).await.expect_err("taken");
    assert_eq!(code(&taken), "StateMachineAlreadyExists");
    let listed = templates.list(0, "").await.expect("listed").0;
    assert_eq!((created.role_arn.as_str(), listed[0].role_arn.as_str()), (orders, orders));
    let tencent = "qcs::cam::uin/100000000001:roleName/orders";
    for (role, expected) in [(None, orders), (Some(tencent), tencent), (None, tencent), (Some(""), "")] {
        let change = Change { role_arn: role.map(Into::into), ..change(PASS, "") };
        let (updated, _) = templates.update(&created.arn, change).await.expect("updated");
        let resolved = templates.resolve(&created.arn).await.expect("resolved");
        assert_eq!((updated.role_arn.as_str(), resolved.role_arn.as_str()), (expected, expected));
    }
    let wrong = Change { role_arn: Some("orders".into()), ..change(PASS, "") };
    assert_eq!(code(&templates.update(&created.arn, wrong).await.expect_err("refused")), "InvalidArn");
}

#[tokio::test]
async fn creating_the_same_again_gives_the_same_and_another_definition_is_refused() {
    let (templates, ..) = templates().await;
    let (first, _) = templates.create(new("orders", PASS)).await.expect("created");
    let (again, _) = templates.create(new("orders", PASS)).await.expect("the same");
    assert_eq!((again.arn.as_str(), again.created_ms), (first.arn.as_str(), first.created_ms));
    let other = templates.create(new("orders", SUCCEED)).await.expect_err("taken");
    assert_eq!(code(&other), "StateMachineAlreadyExists");
}

#[tokio::test]
async fn a_bad_definition_is_refused_with_every_problem_and_nothing_is_stored() {
    let (templates, ..) = templates().await;
    let bad = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"C":{"Type":"Wait","End":true}}}"#;
    let refused = templates.create(new("bad", bad)).await.expect_err("refused");
    assert_eq!(code(&refused), "InvalidDefinition");
    assert!(refused.to_string().lines().count() >= 2, "{refused}");
    for text in ["", "{", "\u{feff}{}", &"[".repeat(100_000), &" ".repeat((1 << 20) + 1)] {
        assert_eq!(
            code(&templates.create(new("bad", text)).await.expect_err("refused")),
            "InvalidDefinition"
        );
    }
    assert_eq!(templates.list(0, "").await.expect("listed").0, []);
}

#[tokio::test]
async fn names_follow_the_rules_and_unknown_arns_are_told_apart_from_malformed_ones() {
    let (templates, ..) = templates().await;
    for name in ["", "a b", "a*", "a/b", &"x".repeat(81)] {
        assert_eq!(code(&templates.create(new(name, PASS)).await.expect_err(name)), "InvalidName");
    }
    assert_eq!(code(&templates.resolve("orders").await.expect_err("no ARN")), "InvalidArn");
    let unknown = "arn:aws:states:local:000000000000:stateMachine:nobody";
    assert_eq!(code(&templates.resolve(unknown).await.expect_err("unknown")), "StateMachineDoesNotExist");
}

#[tokio::test]
async fn a_listing_is_paged_and_complete() {
    let (templates, ..) = templates().await;
    for number in 0..7 {
        templates.create(new(&format!("m{number}"), PASS)).await.expect("created");
    }
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let (page, next) = templates.list(3, &token).await.expect("a page");
        assert!(page.len() <= 3);
        names.extend(page.into_iter().map(|summary| summary.name));
        if next.is_empty() {
            break;
        }
        token = next;
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    assert_eq!(code(&templates.list(3, "elsewhere").await.expect_err("foreign")), "InvalidToken");
}

#[tokio::test]
async fn another_schedulers_update_is_seen_when_the_looked_up_machine_is_no_longer_fresh() {
    let (mine, store, clock) = templates().await;
    let theirs = on(&store, &clock);
    let (created, _) = mine.create(new("orders", PASS)).await.expect("created");
    theirs.update(&created.arn, change(SUCCEED, "")).await.expect("updated");
    assert_eq!(mine.resolve(&created.arn).await.expect("known").version, 1);
    clock.advance(FRESH_FOR);
    assert_eq!(mine.resolve(&created.arn).await.expect("known").version, 2);
}

#[tokio::test]
async fn a_known_machine_goes_on_serving_while_the_store_is_away() {
    let memory = MemoryStore::new();
    let store = memory.connect().await.expect("memory");
    let clock = ManualClock::at_ms(1_000_000);
    let templates = on(&store, &clock);
    let (created, _) = templates.create(new("orders", PASS)).await.expect("created");
    memory.set_unavailable(Some("away"));
    clock.advance(FRESH_FOR);
    assert_eq!(templates.resolve(&created.arn).await.expect("known").hash, created.hash);
    assert!(matches!(templates.create(new("other", PASS)).await, Err(Error::Store(_))));
}

/// A store in which somebody else is always quicker, once.
struct Raced {
    inner: Arc<dyn Store>,
    rival: Templates,
    race: AtomicBool,
    arn: String,
}

impl Store for Raced {
    fn acquire(&self, partition: PartitionId) -> StoreFuture<'_, Acquired> {
        self.inner.acquire(partition)
    }

    fn append(&self, append: Append) -> StoreFuture<'_, ()> {
        self.inner.append(append)
    }

    fn tops(&self, partitions: Vec<PartitionId>) -> StoreFuture<'_, Vec<Top>> {
        self.inner.tops(partitions)
    }

    fn read(&self, partition: PartitionId, range: BlockRange) -> StoreFuture<'_, Vec<(BlockId, Bytes)>> {
        self.inner.read(partition, range)
    }

    fn get_derived(&self, partition: PartitionId, keys: Vec<Bytes>) -> StoreFuture<'_, Vec<Option<Bytes>>> {
        self.inner.get_derived(partition, keys)
    }

    fn list(
        &self,
        partition: PartitionId,
        list: Bytes,
        skip: usize,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Bytes>> {
        self.inner.list(partition, list, skip, limit)
    }

    fn put(&self, key: Bytes, value: Bytes) -> StoreFuture<'_, ()> {
        self.inner.put(key, value)
    }

    fn compare_and_put(
        &self,
        key: Bytes,
        expected: Option<Bytes>,
        value: Option<Bytes>,
    ) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            if self.race.swap(false, Ordering::Relaxed) {
                let quicker = self.rival.update(&self.arn, change(SUCCEED, "quicker")).await;
                quicker.expect("the rival wins");
            }
            self.inner.compare_and_put(key, expected, value).await
        })
    }

    fn get(&self, key: Bytes) -> StoreFuture<'_, Option<Bytes>> {
        self.inner.get(key)
    }

    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Bytes, Bytes)>> {
        self.inner.scan(prefix, after, limit)
    }

    fn increment(&self, key: Bytes) -> StoreFuture<'_, u64> {
        self.inner.increment(key)
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        self.inner.ping()
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        self.inner.durability()
    }
}

#[tokio::test]
async fn of_two_writers_one_wins_and_the_other_is_told() {
    let (rival, inner, clock) = templates().await;
    let (created, _) = rival.create(new("orders", PASS)).await.expect("created");
    let arn = created.arn.clone();
    let raced = Raced { inner, rival, race: AtomicBool::new(true), arn: arn.clone() };
    let store: Arc<dyn Store> = Arc::new(raced);
    let mine = on(&store, &clock);
    let lost = mine.update(&arn, change(PASS, "slower")).await.expect_err("lost the race");
    assert_eq!(code(&lost), "ConflictException");
    let (won, _) = mine.update(&arn, change(PASS, "second try")).await.expect("now it is alone");
    assert_eq!(won.version, 3);
    assert_eq!(mine.describe(&arn, 2).await.expect("kept").comment, "quicker");
}
