//! Machines, versions, aliases, tags, definitions and tests of states.

use front::{Fault, Kind};
use journal::memory::MemoryStore;
use journal::store::Connect;
use scheduler_stub::{Scheduler, SchedulerConfig};
use serde_json::{Value, json};

use crate::templates::{PASS, SUCCEED};

const ROLE: &str = "arn:aws:iam::123456789012:role/orders";
const ARN: &str = "arn:aws:states:local:000000000000:stateMachine:orders";

/// A scheduler without nodes: nothing is started here.
struct Door(Scheduler);

impl Door {
    async fn open() -> Self {
        let store = MemoryStore::new().connect().await.expect("memory");
        let config = SchedulerConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            ..SchedulerConfig::default()
        };
        Self(Scheduler::start(config, store).await.expect("the scheduler starts"))
    }

    async fn ask(&self, operation: &str, input: Value) -> Result<Value, Fault> {
        super::call(self.0.gate(), operation, input).await
    }

    async fn told(&self, operation: &str, input: Value) -> Value {
        self.ask(operation, input).await.expect(operation)
    }

    async fn refused(&self, operation: &str, input: Value) -> Kind {
        self.ask(operation, input).await.expect_err(operation).kind()
    }
}

fn create(definition: &str) -> Value {
    json!({"name": "orders", "definition": definition, "roleArn": ROLE})
}

fn with(mut input: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().expect("an object") {
        input[name] = value.clone();
    }
    input
}

#[tokio::test]
async fn a_machine_is_created_described_updated_listed_and_deleted() {
    let door = Door::open().await;
    let group = "arn:aws:logs:us-east-1:123456789012:log-group:orders:*";
    let logging = json!({"level": "ERROR", "includeExecutionData": true,
        "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}]});
    let said = json!({"loggingConfiguration": logging, "tracingConfiguration": {"enabled": true},
        "tags": [{"key": "team", "value": "a"}], "encryptionConfiguration": {"type": "AWS_OWNED_KEY"}});
    let created = door.told("CreateStateMachine", with(create(PASS), &said)).await;
    assert_eq!(created["stateMachineArn"], ARN);
    assert!(
        created["creationDate"].is_number() && created.get("stateMachineVersionArn").is_none(),
        "{created}"
    );
    let described = door.told("DescribeStateMachine", json!({"stateMachineArn": ARN})).await;
    let expected = json!({"stateMachineArn": ARN, "name": "orders", "status": "ACTIVE", "definition": PASS,
        "encryptionConfiguration": {"type": "AWS_OWNED_KEY"},
        "roleArn": ROLE, "type": "STANDARD", "creationDate": created["creationDate"],
        "loggingConfiguration": logging, "tracingConfiguration": {"enabled": true}});
    assert_eq!(described, expected);
    let listed = door.told("ListStateMachines", json!({})).await;
    let line = json!({"stateMachineArn": ARN, "name": "orders", "type": "STANDARD",
        "creationDate": created["creationDate"]});
    assert_eq!(listed, json!({"stateMachines": [line]}));
    let update = json!({"stateMachineArn": ARN, "definition": SUCCEED});
    let updated = door.told("UpdateStateMachine", update).await;
    let again = door.told("DescribeStateMachine", json!({"stateMachineArn": ARN})).await;
    assert_eq!((&again["definition"], &again["revisionId"]), (&json!(SUCCEED), &updated["revisionId"]));
    assert!(updated["updateDate"].is_number() && updated["revisionId"].is_string(), "{updated}");
    for _ in 0..2 {
        let deleted = door.told("DeleteStateMachine", json!({"stateMachineArn": ARN})).await;
        assert_eq!(deleted, json!({}));
    }
    let gone = door.refused("DescribeStateMachine", json!({"stateMachineArn": ARN})).await;
    assert_eq!(gone, Kind::StateMachineDoesNotExist);
}

#[tokio::test]
async fn creating_the_same_again_gives_the_one_that_exists_whatever_its_role_and_tags() {
    let door = Door::open().await;
    let first = door.told("CreateStateMachine", create(PASS)).await;
    let other =
        json!({"roleArn": "arn:aws:iam::123456789012:role/other", "tags": [{"key": "k", "value": ""}]});
    assert_eq!(door.told("CreateStateMachine", with(create(PASS), &other)).await, first);
    let tags = door.told("ListTagsForResource", json!({"resourceArn": ARN})).await;
    assert_eq!(tags, json!({"tags": []}));
    let described = door.told("DescribeStateMachine", json!({"stateMachineArn": ARN})).await;
    assert_eq!(described["roleArn"], ROLE);
    for different in [
        create(SUCCEED),
        with(create(PASS), &json!({"type": "EXPRESS"})),
        with(create(PASS), &json!({"loggingConfiguration": {"level": "ALL"}})),
        with(create(PASS), &json!({"tracingConfiguration": {"enabled": true}})),
        with(create(PASS), &json!({"publish": true})),
    ] {
        let refused = door.refused("CreateStateMachine", different.clone()).await;
        assert_eq!(refused, Kind::StateMachineAlreadyExists, "{different}");
    }
}

#[tokio::test]
async fn what_cannot_be_created_or_changed_is_refused_in_the_words_of_the_model() {
    let door = Door::open().await;
    for (more, kind) in [
        (json!({"name": "a b"}), Kind::InvalidName),
        (json!({"definition": "{"}), Kind::InvalidDefinition),
        (json!({"roleArn": "orders"}), Kind::InvalidArn),
        (json!({"loggingConfiguration": {"destinations": [{}]}}), Kind::InvalidLoggingConfiguration),
        (json!({"versionDescription": "of what?"}), Kind::Validation),
        (
            json!({"encryptionConfiguration": {"type": "CUSTOMER_MANAGED_KMS_KEY", "kmsKeyId": "k"}}),
            Kind::InvalidEncryptionConfiguration,
        ),
    ] {
        assert_eq!(door.refused("CreateStateMachine", with(create(PASS), &more)).await, kind, "{more}");
    }
    door.told("CreateStateMachine", create(PASS)).await;
    let of = |arn: &str| json!({"stateMachineArn": arn});
    assert_eq!(door.refused("UpdateStateMachine", of(ARN)).await, Kind::MissingRequiredParameter);
    let unknown = json!({"stateMachineArn": ARN.replace("orders", "nobody"), "definition": PASS});
    assert_eq!(door.refused("UpdateStateMachine", unknown).await, Kind::StateMachineDoesNotExist);
    let label = door.ask("DeleteStateMachine", of(&format!("{ARN}/Each"))).await.expect_err("a label");
    let reason = Fault::new(Kind::Validation, label.message())
        .with_detail("reason", "API_DOES_NOT_SUPPORT_LABELED_ARNS");
    assert_eq!(label, reason);
    assert_eq!(door.refused("DeleteStateMachine", of(&format!("{ARN}:1"))).await, Kind::Validation);
    assert_eq!(door.refused("DescribeStateMachine", of("orders")).await, Kind::InvalidArn);
    let token = json!({"nextToken": "made up"});
    assert_eq!(door.refused("ListStateMachines", token).await, Kind::InvalidToken);
}

#[tokio::test]
async fn versions_are_published_listed_described_and_deleted() {
    let door = Door::open().await;
    let published = json!({"publish": true, "versionDescription": "the first"});
    let created = door.told("CreateStateMachine", with(create(PASS), &published)).await;
    let one = format!("{ARN}:1");
    assert_eq!(created["stateMachineVersionArn"], one);
    assert_eq!(door.told("CreateStateMachine", with(create(PASS), &published)).await, created);
    let update = json!({"stateMachineArn": ARN, "definition": SUCCEED, "publish": true});
    let updated = door.told("UpdateStateMachine", update).await;
    assert_eq!(updated["stateMachineVersionArn"], format!("{ARN}:2"));
    let publish = json!({"stateMachineArn": ARN, "revisionId": updated["revisionId"]});
    let again = door.told("PublishStateMachineVersion", publish).await;
    assert_eq!(again["stateMachineVersionArn"], format!("{ARN}:2"));
    let other = json!({"stateMachineArn": ARN, "revisionId": "INITIAL"});
    assert_eq!(door.refused("PublishStateMachineVersion", other).await, Kind::Conflict);
    let described = door.told("DescribeStateMachine", json!({"stateMachineArn": one})).await;
    assert_eq!(
        (&described["stateMachineArn"], &described["definition"], &described["description"]),
        (&json!(one), &json!(PASS), &json!("the first"))
    );
    let page = door.told("ListStateMachineVersions", json!({"stateMachineArn": ARN, "maxResults": 1})).await;
    assert_eq!(page["stateMachineVersions"][0]["stateMachineVersionArn"], format!("{ARN}:2"));
    let rest = json!({"stateMachineArn": ARN, "nextToken": page["nextToken"]});
    let rest = door.told("ListStateMachineVersions", rest).await;
    assert_eq!(rest["stateMachineVersions"][0]["stateMachineVersionArn"], one);
    assert!(rest.get("nextToken").is_none(), "{rest}");
    for _ in 0..2 {
        let deleted = door.told("DeleteStateMachineVersion", json!({"stateMachineVersionArn": one})).await;
        assert_eq!(deleted, json!({}));
    }
}

#[tokio::test]
async fn an_alias_is_made_led_elsewhere_described_listed_and_deleted() {
    let door = Door::open().await;
    door.told("CreateStateMachine", with(create(PASS), &json!({"publish": true}))).await;
    door.told("UpdateStateMachine", json!({"stateMachineArn": ARN, "definition": SUCCEED, "publish": true}))
        .await;
    let way = |number: u32, weight: u8| json!({"stateMachineVersionArn": format!("{ARN}:{number}"), "weight": weight});
    let prod = format!("{ARN}:PROD");
    let of = json!({"stateMachineAliasArn": prod});
    let make = json!({"name": "PROD", "routingConfiguration": [way(1, 100)]});
    let made = door.told("CreateStateMachineAlias", make.clone()).await;
    assert_eq!(made["stateMachineAliasArn"], prod);
    assert_eq!(door.told("CreateStateMachineAlias", make.clone()).await, made);
    let other = with(make, &json!({"routingConfiguration": [way(2, 100)]}));
    assert_eq!(door.refused("CreateStateMachineAlias", other).await, Kind::Conflict);
    let both = json!([way(1, 30), way(2, 70)]);
    door.told("UpdateStateMachineAlias", with(of.clone(), &json!({"routingConfiguration": both}))).await;
    let described = door.told("DescribeStateMachineAlias", of.clone()).await;
    assert_eq!((&described["name"], &described["routingConfiguration"]), (&json!("PROD"), &both));
    let led = door.told("DescribeStateMachine", json!({"stateMachineArn": prod})).await;
    assert_eq!(led["stateMachineArn"], format!("{ARN}:2"));
    let held = json!({"stateMachineVersionArn": format!("{ARN}:2")});
    assert_eq!(door.refused("DeleteStateMachineVersion", held).await, Kind::Conflict);
    for (wrong, reason) in [
        (json!({"routingConfiguration": [way(1, 50), way(2, 40)]}), "INVALID_ROUTING_CONFIGURATION"),
        (json!({"routingConfiguration": [way(7, 100)]}), "INVALID_ROUTING_CONFIGURATION"),
        (json!({}), "MISSING_REQUIRED_PARAMETER"),
    ] {
        let fault = door.ask("UpdateStateMachineAlias", with(of.clone(), &wrong)).await.expect_err("refused");
        let expected = Fault::new(Kind::Validation, fault.message()).with_detail("reason", reason);
        assert_eq!(fault, expected, "{wrong}");
    }
    let listed = door.told("ListStateMachineAliases", json!({"stateMachineArn": ARN})).await;
    let line = json!({"stateMachineAliasArn": prod, "creationDate": made["creationDate"]});
    assert_eq!(listed, json!({"stateMachineAliases": [line]}));
    assert_eq!(door.told("DeleteStateMachineAlias", of.clone()).await, json!({}));
    for operation in ["DescribeStateMachineAlias", "DeleteStateMachineAlias"] {
        assert_eq!(door.refused(operation, of.clone()).await, Kind::ResourceNotFound, "{operation}");
    }
}

#[tokio::test]
async fn machines_and_activities_have_tags_and_nothing_else_has() {
    let door = Door::open().await;
    door.told("CreateStateMachine", create(PASS)).await;
    let tags = json!([{"key": "team", "value": "a"}, {"key": "tier", "value": "1"}]);
    let tag = |arn: &str, tags: &Value| json!({"resourceArn": arn, "tags": tags});
    assert_eq!(door.told("TagResource", tag(ARN, &tags)).await, json!({}));
    assert_eq!(door.told("ListTagsForResource", json!({"resourceArn": ARN})).await, json!({"tags": tags}));
    door.told("UntagResource", json!({"resourceArn": ARN, "tagKeys": ["team", "other"]})).await;
    let left = door.told("ListTagsForResource", json!({"resourceArn": ARN})).await;
    assert_eq!(left, json!({"tags": [{"key": "tier", "value": "1"}]}));
    let many: Vec<Value> = (0..51).map(|at| json!({"key": format!("k{at}"), "value": ""})).collect();
    assert_eq!(door.refused("TagResource", tag(ARN, &json!(many))).await, Kind::TooManyTags);
    let activity = "arn:aws:states:local:000000000000:activity:review";
    for (arn, kind) in [
        (activity, Kind::ResourceNotFound),
        (&*ARN.replace("orders", "nobody"), Kind::ResourceNotFound),
        (&*format!("{ARN}:1"), Kind::InvalidArn),
        ("orders", Kind::InvalidArn),
    ] {
        assert_eq!(door.refused("TagResource", tag(arn, &tags)).await, kind, "{arn}");
    }
}

#[tokio::test]
async fn definitions_are_validated_and_states_tested_without_a_machine() {
    let door = Door::open().await;
    let valid = door.told("ValidateStateMachineDefinition", json!({"definition": PASS})).await;
    assert_eq!(valid, json!({"result": "OK", "diagnostics": [], "truncated": false}));
    let long = format!("{}{PASS}", " ".repeat(100_000));
    assert_eq!(
        door.told("ValidateStateMachineDefinition", json!({"definition": long})).await["result"],
        "OK"
    );
    let wrong = door.told("ValidateStateMachineDefinition", json!({"definition": "{"})).await;
    assert_eq!((&wrong["result"], &wrong["diagnostics"][0]["severity"]), (&json!("FAIL"), &json!("ERROR")));
    let state = r#"{"Type":"Pass","Parameters":{"role.$":"$$.Execution.RoleArn"},"End":true}"#;
    let tested = door.told("TestState", json!({"definition": state, "roleArn": ROLE, "input": "{}"})).await;
    assert_eq!(tested["status"], "SUCCEEDED");
    assert!(tested["output"].as_str().is_some_and(|output| output.contains("role/orders")), "{tested}");
    assert_eq!(
        door.refused("TestState", json!({"definition": state, "roleArn": "orders"})).await,
        Kind::InvalidArn
    );
}
