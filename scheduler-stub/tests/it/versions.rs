//! Published versions, aliases and tags of machines.

use std::collections::BTreeMap;

use bytes::Bytes;
use scheduler_stub::templates::{Change, FRESH_FOR, NewTemplate, Route, Templates};

use crate::templates::{PASS, SUCCEED, change, code, new, on, templates};

/// A machine with two versions: PASS and SUCCEED.
async fn two_versions(templates: &Templates) -> String {
    let created = templates.create(new("orders", PASS)).await.expect("created").template;
    let arn = created.arn.clone();
    assert_eq!(templates.publish(&arn, Some("INITIAL"), Some("the first")).await.expect("published").0, 1);
    let second = Change { publish: Some(Some("the second".into())), ..change(SUCCEED, "") };
    assert_eq!(templates.update(&arn, second).await.expect("updated").published, Some(2));
    arn
}

fn routing(arn: &str, routes: &[(u32, u8)]) -> Vec<(String, u8)> {
    routes.iter().map(|(version, weight)| (format!("{arn}:{version}"), *weight)).collect()
}

#[tokio::test]
async fn a_version_stays_what_it_was_and_an_alias_leads_where_it_is_told_to() {
    let (templates, ..) = templates().await;
    let arn = two_versions(&templates).await;
    templates.update(&arn, change(PASS, "unpublished")).await.expect("updated");
    for (name, origin, definition) in [("1", "1", PASS), ("2", "2", SUCCEED)] {
        let target = templates.target(&format!("{arn}:{name}")).await.expect("a version");
        assert_eq!(
            (&*target.arn, &*target.origin, &*target.definition),
            (&*arn, origin, definition.as_bytes())
        );
    }
    assert_eq!(templates.target(&arn).await.expect("the newest").origin, "");
    let prod = format!("{arn}:PROD");
    assert_eq!(code(&templates.target(&prod).await.expect_err("none")), "StateMachineDoesNotExist");
    let (made, at) = templates.create_alias("PROD", &routing(&arn, &[(1, 100)]), "live").await.expect("made");
    assert_eq!(made, prod);
    assert_eq!(templates.target(&prod).await.expect("led").origin, "1:PROD");
    let led = templates.update_alias(&prod, None, Some(&routing(&arn, &[(2, 100)]))).await.expect("led");
    assert!(led >= at);
    assert_eq!(templates.target(&prod).await.expect("led at once").origin, "2:PROD");
    assert_eq!(templates.known(&prod).expect("known").origin, "2:PROD");
    let (name, alias) = templates.describe_alias(&prod).await.expect("described");
    assert_eq!(
        (&*name, &*alias.description, &*alias.routes),
        ("PROD", "live", &[Route { version: 2, weight: 100 }][..])
    );
    templates.delete_alias(&prod).await.expect("deleted");
    for gone in [templates.describe_alias(&prod).await.map(drop), templates.delete_alias(&prod).await] {
        assert_eq!(code(&gone.expect_err("gone")), "ResourceNotFound");
    }
    assert_eq!(code(&templates.target(&prod).await.expect_err("gone")), "StateMachineDoesNotExist");
}

#[tokio::test]
async fn another_schedulers_alias_is_followed_when_what_is_known_is_no_longer_fresh() {
    let (mine, store, clock) = templates().await;
    let theirs = on(&store, &clock);
    let arn = two_versions(&mine).await;
    let prod = mine.create_alias("PROD", &routing(&arn, &[(1, 100)]), "").await.expect("made").0;
    assert_eq!(mine.target(&prod).await.expect("led").origin, "1:PROD");
    theirs.update_alias(&prod, None, Some(&routing(&arn, &[(2, 100)]))).await.expect("led elsewhere");
    assert_eq!(mine.target(&prod).await.expect("known").origin, "1:PROD");
    clock.advance(FRESH_FOR);
    assert!(mine.known(&prod).is_none());
    assert_eq!(mine.target(&prod).await.expect("looked up").origin, "2:PROD");
}

#[tokio::test]
async fn publishing_again_gives_the_same_version_and_only_the_revision_that_was_asked_for() {
    let (templates, ..) = templates().await;
    let arn = two_versions(&templates).await;
    let described = templates.describe_as(&arn).await.expect("described");
    let revision = described.revision_id.expect("the second one has an id");
    for asked in [None, Some(revision.as_str())] {
        assert_eq!(templates.publish(&arn, asked, None).await.expect("the same").0, 2);
    }
    for wrong in ["INITIAL", "another"] {
        let refused = templates.publish(&arn, Some(wrong), None).await.expect_err("another revision");
        assert_eq!(code(&refused), "ConflictException");
    }
    let first = templates.describe_as(&format!("{arn}:1")).await.expect("described");
    assert_eq!((first.description.as_deref(), first.revision_id), (Some("the first"), None));
    let second = templates.describe_as(&format!("{arn}:2")).await.expect("described");
    assert_eq!((second.description.as_deref(), second.revision_id), (Some("the second"), Some(revision)));
}

#[tokio::test]
async fn a_deleted_versions_number_never_comes_back_and_what_an_alias_leads_to_is_not_deleted() {
    let (templates, ..) = templates().await;
    let arn = two_versions(&templates).await;
    let prod = templates.create_alias("PROD", &routing(&arn, &[(1, 1), (2, 99)]), "").await.expect("made").0;
    let heavier = templates.describe_as(&prod).await.expect("described").template;
    assert_eq!(heavier.origin, "2:PROD");
    let held = templates.delete_version(&format!("{arn}:2")).await.expect_err("held");
    assert_eq!(code(&held), "ConflictException");
    templates.delete_alias(&prod).await.expect("deleted");
    for _ in 0..2 {
        templates.delete_version(&format!("{arn}:2")).await.expect("deleted, or not there");
    }
    assert_eq!(
        code(&templates.target(&format!("{arn}:2")).await.expect_err("gone")),
        "StateMachineDoesNotExist"
    );
    assert_eq!(templates.publish(&arn, None, None).await.expect("published").0, 3);
    let wrong = templates.create_alias("PROD", &routing(&arn, &[(2, 100)]), "").await.expect_err("gone");
    assert_eq!(code(&wrong), "InvalidRoutingConfiguration");
}

#[tokio::test]
async fn lists_of_versions_and_aliases_are_paged_and_complete() {
    let (templates, ..) = templates().await;
    let arn = two_versions(&templates).await;
    for name in ["c", "a", "b"] {
        let to = if name == "a" { 2 } else { 1 };
        templates.create_alias(name, &routing(&arn, &[(to, 100)]), "").await.expect("made");
    }
    let (page, next) = templates.versions(&arn, 1, "").await.expect("a page");
    assert_eq!((page[0].0, page[0].1.revision), (2, 2));
    let (page, last) = templates.versions(&arn, 1, &next).await.expect("a page");
    assert_eq!((page[0].0, page.len(), &*last), (1, 1, ""));
    let foreign = templates.aliases(&arn, 1, &next).await.expect_err("a token of versions");
    assert_eq!(code(&foreign), "InvalidToken");
    let (page, next) = templates.aliases(&arn, 2, "").await.expect("a page");
    assert_eq!(page.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "b"]);
    let (page, last) = templates.aliases(&arn, 2, &next).await.expect("a page");
    assert_eq!((&*page[0].0, page.len(), &*last), ("c", 1, ""));
    let (page, _) = templates.aliases(&format!("{arn}:2"), 0, "").await.expect("those of a version");
    assert_eq!(page.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn a_deleted_machine_leaves_nothing_to_one_of_the_same_name() {
    let (templates, store, _) = templates().await;
    let arn = two_versions(&templates).await;
    templates.create_alias("PROD", &routing(&arn, &[(1, 100)]), "").await.expect("made");
    templates.tag(&arn, &BTreeMap::from([("team".into(), "a".into())])).await.expect("tagged");
    templates.delete(&arn).await.expect("deleted");
    for prefix in ["scheduler/machine/", "scheduler/version/", "scheduler/published/"] {
        let left = store.scan(Bytes::from_static(prefix.as_bytes()), None, 10).await.expect("scanned");
        assert!(left.is_empty(), "{left:?}");
    }
    let again = NewTemplate { publish: Some(None), ..new("orders", SUCCEED) };
    assert_eq!(templates.create(again.clone()).await.expect("created").published, Some(1));
    assert_eq!(templates.create(again).await.expect("the same").published, Some(1));
    assert_eq!(templates.tags(&arn).await.expect("told"), BTreeMap::new());
    assert!(templates.aliases(&arn, 0, "").await.expect("listed").0.is_empty());
}

#[tokio::test]
async fn what_begins_a_machine_is_not_asked_of_a_version_of_it() {
    let (templates, ..) = templates().await;
    let arn = two_versions(&templates).await;
    for qualified in [format!("{arn}:1"), format!("{arn}:PROD"), format!("{arn}/Each")] {
        let refused = [
            templates.update(&qualified, change(PASS, "")).await.map(drop),
            templates.delete(&qualified).await,
            templates.publish(&qualified, None, None).await.map(drop),
            templates.versions(&qualified, 0, "").await.map(drop),
            templates.tags(&qualified).await.map(drop),
        ];
        for refused in refused {
            assert_eq!(code(&refused.expect_err("refused")), "ValidationException", "{qualified}");
        }
    }
    let label = templates.describe_as(&format!("{arn}/Each")).await.expect("the machine");
    assert_eq!((label.label.as_deref(), label.template.revision()), (Some("Each"), 2));
    assert_eq!(
        code(&templates.target(&format!("{arn}/Each")).await.expect_err("a label")),
        "ValidationException"
    );
}

#[tokio::test]
async fn the_definition_of_an_execution_is_found_among_the_revisions_of_its_machine() {
    let (templates, ..) = templates().await;
    let created = templates.create(new("orders", PASS)).await.expect("created").template;
    templates.update(&created.arn, change(SUCCEED, "")).await.expect("updated");
    let found =
        templates.of_definition(&created.arn, &created.hash).await.expect("looked up").expect("found");
    assert_eq!((found.revision(), &*found.definition), (1, PASS.as_bytes()));
    assert!(templates.of_definition(&created.arn, &[0; 32]).await.expect("looked up").is_none());
    templates.delete(&created.arn).await.expect("deleted");
    let text = templates.definition_text(&created.hash).await.expect("looked up");
    assert_eq!(text.as_deref(), Some(PASS.as_bytes()));
}

#[tokio::test]
async fn a_machine_has_up_to_fifty_tags() {
    let (templates, ..) = templates().await;
    let arn = templates.create(new("orders", PASS)).await.expect("created").template.arn.clone();
    let tags =
        |count: usize| (0..count).map(|at| (format!("k{at}"), "v".to_owned())).collect::<BTreeMap<_, _>>();
    templates.tag(&arn, &tags(50)).await.expect("tagged");
    templates.tag(&arn, &BTreeMap::from([("k0".into(), "new".into())])).await.expect("tagged anew");
    let more = templates
        .tag(&arn, &BTreeMap::from([("more".into(), String::new())]))
        .await
        .expect_err("one too many");
    assert_eq!(code(&more), "TooManyTags");
    templates.untag(&arn, &["k1".into(), "unknown".into()]).await.expect("untagged");
    let told = templates.tags(&arn).await.expect("told");
    assert_eq!((told.len(), told.get("k0").map(String::as_str)), (49, Some("new")));
    let before = templates.target(&arn).await.expect("known");
    assert_eq!(before.revision(), 1);
    let created =
        templates.create(NewTemplate { tags: tags(51), ..new("other", PASS) }).await.expect_err("refused");
    assert_eq!(code(&created), "TooManyTags");
}

#[tokio::test]
async fn a_record_of_before_anything_was_published_is_looked_up_updated_published_and_deleted() {
    let (templates, store, _) = templates().await;
    let made = templates.create(new("made", PASS)).await.expect("created").template;
    let hash = made.hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let arn = made.arn.replace("made", "old");
    let old = format!(
        r#"{{"arn":"{arn}","name":"old","express":false,"tcsl":false,"version":1,"definition_hash":"{hash}","created_ms":1,"updated_ms":1,"role_arn":"","comment":""}}"#
    );
    store.put(format!("scheduler/machine/{arn}").into(), old.into()).await.expect("put");
    assert_eq!(templates.target(&arn).await.expect("found").revision(), 1);
    assert_eq!(templates.publish(&arn, None, None).await.expect("published").0, 1);
    assert_eq!(templates.update(&arn, change(SUCCEED, "")).await.expect("updated").template.revision(), 2);
    assert_eq!(&*templates.target(&format!("{arn}:1")).await.expect("kept").definition, PASS.as_bytes());
    templates.delete(&arn).await.expect("deleted");
    assert_eq!(code(&templates.describe(&arn, 0).await.expect_err("gone")), "StateMachineDoesNotExist");
}
