//! Machines in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use executor::clock::{Clock, ManualClock};
use executor::secret::ClusterSecret;
use ids::PartitionId;
use journal::Store;
use journal::memory::MemoryStore;
use journal::store::{Acquired, Append, BlockId, BlockRange, Connect, Durability, StoreFuture, Top};
use scheduler_stub::Error;
use scheduler_stub::names::Naming;
use scheduler_stub::templates::{About, Change, FRESH_FOR, NewTemplate, Stored, Templates};

pub(crate) const PASS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
pub(crate) const SUCCEED: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Succeed"}}}"#;

pub(crate) fn new(name: &str, definition: &str) -> NewTemplate {
    NewTemplate::new(name, Bytes::from(definition.to_owned()))
}

pub(crate) fn change(definition: &str, comment: &str) -> Change {
    let definition = Bytes::from(definition.to_owned());
    Change { definition, comment: Some(comment.to_owned()), ..Change::default() }
}

pub(crate) fn on(store: &Arc<dyn Store>, clock: &ManualClock) -> Templates {
    let secret = Arc::new(ClusterSecret::from_key(&[7; 32]));
    Templates::new(Arc::clone(store), Clock::Manual(clock.clone()), Naming::default(), secret)
}

pub(crate) async fn templates() -> (Templates, Arc<dyn Store>, ManualClock) {
    let store = MemoryStore::new().connect().await.expect("memory");
    let clock = ManualClock::at_ms(1_000_000);
    (on(&store, &clock), store, clock)
}

pub(crate) fn code(error: &Error) -> String {
    error.code().to_owned()
}

#[tokio::test]
async fn a_machine_is_created_described_updated_listed_and_deleted() {
    let (templates, ..) = templates().await;
    let Stored { template: created, warnings, .. } =
        templates.create(new("orders", PASS)).await.expect("created");
    assert_eq!(
        (created.arn.as_str(), created.version),
        ("arn:aws:states:local:000000000000:stateMachine:orders", 1)
    );
    assert!(warnings.is_empty());
    let Stored { template: updated, .. } = templates
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
    let Stored { template: again, .. } =
        templates.create(new("orders", SUCCEED)).await.expect("the name is free again");
    assert_eq!(again.version, 1);
    assert_eq!(
        code(&templates.describe(&again.arn, 2).await.expect_err("no such version")),
        "ResourceNotFound"
    );
}

#[tokio::test]
async fn what_is_said_of_a_machine_changes_without_its_definition() {
    let (templates, ..) = templates().await;
    let Stored { template: created, .. } = templates.create(new("orders", PASS)).await.expect("created");
    let longer = Change { retention_s: Some(86_400), ..Change::default() };
    let Stored { template: updated, .. } = templates.update(&created.arn, longer).await.expect("updated");
    assert_eq!((updated.version, updated.retention_s, updated.hash), (2, 86_400, created.hash));
    let resolved = templates.target(&created.arn).await.expect("resolved");
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
    let Stored { template: created, .. } = templates.create(with(orders)).await.expect("created");
    let taken = templates.create(with("arn:aws:iam::123456789012:role/other")).await.expect_err("taken");
    assert_eq!(code(&taken), "StateMachineAlreadyExists");
    let listed = templates.list(0, "").await.expect("listed").0;
    assert_eq!((created.role_arn.as_str(), listed[0].role_arn.as_str()), (orders, orders));
    let tencent = "qcs::cam::uin/100000000001:roleName/orders";
    for (role, expected) in [(None, orders), (Some(tencent), tencent), (None, tencent), (Some(""), "")] {
        let change = Change { role_arn: role.map(Into::into), ..change(PASS, "") };
        let Stored { template: updated, .. } = templates.update(&created.arn, change).await.expect("updated");
        let resolved = templates.target(&created.arn).await.expect("resolved");
        assert_eq!((updated.role_arn.as_str(), resolved.role_arn.as_str()), (expected, expected));
    }
    let wrong = Change { role_arn: Some("orders".into()), ..change(PASS, "") };
    assert_eq!(code(&templates.update(&created.arn, wrong).await.expect_err("refused")), "InvalidArn");
}

#[tokio::test]
async fn creating_the_same_again_gives_the_same_and_another_definition_is_refused() {
    let (templates, ..) = templates().await;
    let Stored { template: first, .. } = templates.create(new("orders", PASS)).await.expect("created");
    let Stored { template: again, .. } = templates.create(new("orders", PASS)).await.expect("the same");
    assert_eq!((again.arn.as_str(), again.created_ms), (first.arn.as_str(), first.created_ms));
    let other = templates.create(new("orders", SUCCEED)).await.expect_err("taken");
    assert_eq!(code(&other), "StateMachineAlreadyExists");
}

#[tokio::test]
async fn what_else_is_said_of_a_machine_and_of_its_version_has_to_be_the_same_too() {
    let (templates, ..) = templates().await;
    let said = About {
        log_destinations: vec!["arn:aws:logs:r:1:log-group:a".into()],
        chinese_name: "订单".into(),
        default_input: "{}".into(),
        ..About::default()
    };
    let with = |about: &About, description: Option<&str>| NewTemplate {
        about: about.clone(),
        publish: Some(description.map(str::to_owned)),
        ..new("orders", PASS)
    };
    let made = templates.create(with(&said, Some("the first"))).await.expect("created");
    let again = templates.create(with(&said, Some("the first"))).await.expect("the same again");
    assert_eq!((again.template.created_ms, again.published), (made.template.created_ms, Some(1)));
    for other in [
        with(&About { log_destinations: Vec::new(), ..said.clone() }, Some("the first")),
        with(&About { chinese_name: "账单".into(), ..said.clone() }, Some("the first")),
        with(&About { default_input: r#"{"n":1}"#.into(), ..said.clone() }, Some("the first")),
        with(&said, Some("another")),
        with(&said, None),
    ] {
        let refused = templates.create(other).await.expect_err("another machine");
        assert_eq!(code(&refused), "StateMachineAlreadyExists");
    }
    let unpublished = NewTemplate { publish: None, ..with(&said, None) };
    assert_eq!(templates.create(unpublished).await.expect("the same again").published, None);
}

#[tokio::test]
async fn a_page_of_a_listing_has_as_many_machines_as_are_asked_for_however_many_are_read_at_once() {
    let (templates, ..) = templates().await;
    for number in 0..150 {
        templates.create(new(&format!("m{number:03}"), PASS)).await.expect("created");
    }
    let (first, token) = templates.list(130, "").await.expect("a page");
    assert_eq!((first.len(), &*first[129].name, token.is_empty()), (130, "m129", false));
    let (second, token) = templates.list(130, &token).await.expect("a page");
    assert_eq!((second.len(), &*second[0].name, token.as_str()), (20, "m130", ""));
    assert_eq!(templates.list(150, "").await.expect("a page").1, "", "nothing is behind it");
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
    for name in ["", "a b", "a*", "a/b", &"x".repeat(81), &"界".repeat(60)] {
        assert_eq!(code(&templates.create(new(name, PASS)).await.expect_err(name)), "InvalidName");
    }
    assert_eq!(code(&templates.target("orders").await.expect_err("no ARN")), "InvalidArn");
    let unknown = "arn:aws:states:local:000000000000:stateMachine:nobody";
    assert_eq!(code(&templates.target(unknown).await.expect_err("unknown")), "StateMachineDoesNotExist");
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
    let other = templates.create(new("other", PASS)).await.expect("created").template;
    for _ in 0..2 {
        templates.publish(&other.arn, None, None).await.expect("published");
        templates.update(&other.arn, change(SUCCEED, "")).await.expect("updated");
    }
    let of_another_list = templates.versions(&other.arn, 1, "").await.expect("a page").1;
    assert!(!of_another_list.is_empty());
    assert_eq!(code(&templates.list(3, &of_another_list).await.expect_err("foreign")), "InvalidToken");
    assert_eq!(code(&templates.list(3, "elsewhere").await.expect_err("foreign")), "InvalidToken");
}

#[tokio::test]
async fn another_schedulers_update_is_seen_when_the_looked_up_machine_is_no_longer_fresh() {
    let (mine, store, clock) = templates().await;
    let theirs = on(&store, &clock);
    let Stored { template: created, .. } = mine.create(new("orders", PASS)).await.expect("created");
    theirs.update(&created.arn, change(SUCCEED, "")).await.expect("updated");
    assert_eq!(mine.target(&created.arn).await.expect("known").version, 1);
    clock.advance(FRESH_FOR);
    assert_eq!(mine.target(&created.arn).await.expect("known").version, 2);
}

#[tokio::test]
async fn a_known_machine_goes_on_serving_while_the_store_is_away() {
    let memory = MemoryStore::new();
    let store = memory.connect().await.expect("memory");
    let clock = ManualClock::at_ms(1_000_000);
    let templates = on(&store, &clock);
    let Stored { template: created, .. } = templates.create(new("orders", PASS)).await.expect("created");
    memory.set_unavailable(Some("away"));
    clock.advance(FRESH_FOR);
    assert_eq!(templates.target(&created.arn).await.expect("known").hash, created.hash);
    assert!(matches!(templates.create(new("other", PASS)).await, Err(Error::Store(_))));
}

/// What somebody else does who is quicker.
#[derive(Clone, Copy)]
enum Rival {
    Updates,
    Publishes,
    Deletes,
    /// Deletes the machine and makes another one under its name.
    Replaces,
    /// Deletes the machine, makes another one under its name, publishes that as it is, and changes it.
    MakesAnew,
}

/// A store in which somebody else is always quicker, once.
struct Raced {
    inner: Arc<dyn Store>,
    rival: Templates,
    race: AtomicBool,
    arn: String,
    does: Rival,
}

impl Raced {
    async fn race(&self) {
        match self.does {
            Rival::Updates => {
                let quicker = self.rival.update(&self.arn, change(SUCCEED, "quicker")).await;
                quicker.expect("the rival wins");
            }
            Rival::Publishes => {
                let quicker = self.rival.publish(&self.arn, None, Some("the rival's")).await;
                assert_eq!(quicker.expect("the rival wins").0, 1);
            }
            Rival::Deletes => self.rival.delete(&self.arn).await.expect("deleted"),
            Rival::Replaces => {
                self.rival.delete(&self.arn).await.expect("deleted");
                self.rival.create(new("orders", SUCCEED)).await.expect("made anew");
            }
            Rival::MakesAnew => {
                self.rival.delete(&self.arn).await.expect("deleted");
                let anew =
                    NewTemplate { publish: Some(None), comment: "anew".into(), ..new("orders", SUCCEED) };
                assert_eq!(self.rival.create(anew).await.expect("made anew").published, Some(1));
                self.rival.update(&self.arn, change(PASS, "changed")).await.expect("changed");
            }
        }
    }
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
        Box::pin(async move {
            let anew = matches!(self.does, Rival::MakesAnew);
            if anew && self.race.swap(false, Ordering::Relaxed) {
                self.race().await;
            }
            self.inner.put(key, value).await
        })
    }

    fn compare_and_put(
        &self,
        key: Bytes,
        expected: Option<Bytes>,
        value: Option<Bytes>,
    ) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            if self.race.swap(false, Ordering::Relaxed) {
                self.race().await;
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

fn raced(inner: Arc<dyn Store>, rival: Templates, clock: &ManualClock, arn: &str, does: Rival) -> Templates {
    let raced = Raced { inner, rival, race: AtomicBool::new(true), arn: arn.to_owned(), does };
    let store: Arc<dyn Store> = Arc::new(raced);
    on(&store, clock)
}

#[tokio::test]
async fn of_two_who_publish_the_same_revision_one_wins_and_no_number_is_given_twice() {
    let (rival, inner, clock) = templates().await;
    let arn = rival.create(new("orders", PASS)).await.expect("created").template.arn.clone();
    let mine = raced(inner, rival, &clock, &arn, Rival::Publishes);
    assert_eq!(mine.publish(&arn, None, Some("mine")).await.expect("published by the rival").0, 1);
    assert_eq!(mine.versions(&arn, 0, "").await.expect("listed").0.len(), 1);
    let described = mine.describe_as(&format!("{arn}:1")).await.expect("described");
    assert_eq!(described.description.as_deref(), Some("the rival's"));
    mine.update(&arn, change(SUCCEED, "")).await.expect("updated");
    assert_eq!(mine.publish(&arn, None, None).await.expect("published").0, 2);
}

#[tokio::test]
async fn an_update_and_a_version_of_what_was_before_are_both_had() {
    let (rival, inner, clock) = templates().await;
    let arn = rival.create(new("orders", PASS)).await.expect("created").template.arn.clone();
    let mine = raced(inner, rival, &clock, &arn, Rival::Publishes);
    let change = Change { publish: Some(None), ..change(SUCCEED, "") };
    let stored = mine.update(&arn, change).await.expect("updated behind the rival's version");
    assert_eq!((stored.template.revision(), stored.published), (2, Some(2)));
}

#[tokio::test]
async fn of_two_writers_one_wins_and_the_other_is_told() {
    let (rival, inner, clock) = templates().await;
    let Stored { template: created, .. } = rival.create(new("orders", PASS)).await.expect("created");
    let arn = created.arn.clone();
    let mine = raced(inner, rival, &clock, &arn, Rival::Updates);
    let lost = mine.update(&arn, change(PASS, "slower")).await.expect_err("lost the race");
    assert_eq!(code(&lost), "ConflictException");
    let Stored { template: won, .. } =
        mine.update(&arn, change(PASS, "second try")).await.expect("now it is alone");
    assert_eq!(won.version, 3);
    assert_eq!(mine.describe(&arn, 2).await.expect("kept").comment, "quicker");
}

#[tokio::test]
async fn a_slow_update_leaves_a_machine_that_was_made_anew_meanwhile_and_its_version_alone() {
    let (rival, inner, clock) = templates().await;
    let arn = rival.create(new("orders", PASS)).await.expect("created").template.arn.clone();
    clock.advance(FRESH_FOR);
    let mine = raced(inner, rival, &clock, &arn, Rival::MakesAnew);
    let lost = mine.update(&arn, change(SUCCEED, "slower")).await.expect_err("it is another machine");
    assert_eq!(code(&lost), "ConflictException");
    let version = mine.describe_as(&format!("{arn}:1")).await.expect("published").template;
    assert_eq!((&*version.definition, version.comment.as_str()), (SUCCEED.as_bytes(), "anew"));
    assert_eq!(mine.describe(&arn, 0).await.expect("the newest").comment, "changed");
}

#[tokio::test]
async fn an_update_of_what_is_deleted_meanwhile_leaves_no_copy_of_it_behind() {
    for (does, expected) in
        [(Rival::Deletes, "StateMachineDoesNotExist"), (Rival::Replaces, "ConflictException")]
    {
        let (rival, inner, clock) = templates().await;
        let arn = rival.create(new("orders", PASS)).await.expect("created").template.arn.clone();
        clock.advance(FRESH_FOR);
        let mine = raced(Arc::clone(&inner), rival, &clock, &arn, does);
        let lost = mine.update(&arn, change(SUCCEED, "slower")).await.expect_err("it is gone");
        assert_eq!(code(&lost), expected);
        let left = inner.scan(Bytes::from_static(b"scheduler/version/"), None, 10).await.expect("scanned");
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn an_update_that_loses_to_another_one_leaves_the_copy_that_both_kept() {
    let (rival, inner, clock) = templates().await;
    let arn = rival.create(new("orders", PASS)).await.expect("created").template.arn.clone();
    let mine = raced(inner, rival, &clock, &arn, Rival::Updates);
    mine.update(&arn, change(PASS, "slower")).await.expect_err("lost the race");
    assert_eq!(&*mine.describe(&arn, 1).await.expect("kept").definition, PASS.as_bytes());
}

#[tokio::test]
async fn what_is_left_of_a_machine_that_was_deleted_is_written_over() {
    let (templates, store, clock) = templates().await;
    let arn = templates.create(new("orders", PASS)).await.expect("created").template.arn.clone();
    templates.update(&arn, change(SUCCEED, "second")).await.expect("updated");
    let key = Bytes::from(format!("scheduler/version/{arn}/{:010}", 1));
    let left = store.get(key.clone()).await.expect("memory").expect("the first revision is kept");
    templates.delete(&arn).await.expect("deleted");
    store.put(key, left).await.expect("as a scheduler leaves it that dies while it deletes");
    clock.advance(FRESH_FOR);
    let anew = NewTemplate { comment: "anew".into(), ..new("orders", SUCCEED) };
    templates.create(anew).await.expect("made anew");
    templates.update(&arn, change(PASS, "changed")).await.expect("updated");
    assert_eq!(templates.describe(&arn, 1).await.expect("the first").comment, "anew");
}
