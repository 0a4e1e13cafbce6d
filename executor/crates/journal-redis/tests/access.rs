//! Who may speak to Redis: TLS with certificates of one's own, users of an ACL, passwords that are rotated.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ids::PartitionId;
use journal::{Append, BlockId, Store, StoreError};
use journal_redis::{RedisConnect, RedisOptions, RedisStore};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use testkit::{Redis, RedisCluster, eventually_async, free_port};

const SOON: Duration = Duration::from_secs(30);
/// What `--help` of the node and ACL files of operators may rely on.
const RIGHTS: &str = "~myriad:* +@all -@dangerous +info +config|get";

/// An authority and what it vouches for, as files.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        // Otherwise all would have the same name, and each certificate would look like one that signed itself.
        authority.distinguished_name.push(DnType::CommonName, "an authority for tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("signed");
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).expect("written");
        write("ca.pem", authority.pem());
        for who in ["server", "client"] {
            let key = KeyPair::generate().expect("a key");
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let certificate =
                CertificateParams::new(names).expect("names").signed_by(&key, &authority).expect("signed");
            write(&format!("{who}.pem"), certificate.pem());
            write(&format!("{who}.key"), key.serialize_pem());
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let quoted = |name: &str| format!("\"{}\"", self.path(name).display());
        [
            ("tls-cert-file", quoted("server.pem")),
            ("tls-key-file", quoted("server.key")),
            ("tls-ca-cert-file", quoted("ca.pem")),
            ("tls-auth-clients", "yes".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn options(&self, url: String) -> RedisOptions {
        RedisOptions {
            ca_file: Some(self.path("ca.pem")),
            certificate_file: Some(self.path("client.pem")),
            key_file: Some(self.path("client.key")),
            ..RedisOptions::new(url)
        }
    }
}

async fn open(options: &RedisOptions) -> Result<RedisStore, StoreError> {
    RedisConnect::new(options.clone()).expect("good options").open().await
}

fn block(partition: u32, generation: u64, sequence: u64) -> Append {
    let (partition, id) = (PartitionId::new(partition).expect("in range"), BlockId { generation, sequence });
    Append { partition, id, block: "block".into(), derived: Vec::new(), trim_below: None }
}

#[tokio::test]
async fn over_tls_both_sides_show_certificates_and_a_stranger_is_refused() {
    let files = Files::new();
    let port = free_port();
    let mut extra = files.settings();
    extra.push(("tls-port".to_owned(), port.to_string()));
    let redis = Redis::start(testkit::RedisOptions { extra, ..Default::default() });
    let redis = redis.unwrap_or_else(|error| panic!("{error}"));
    let options = files.options(format!("rediss://127.0.0.1:{port}"));
    let store = open(&options).await.expect("they trust each other");
    let generation = store.acquire(block(1, 1, 1).partition).await.expect("acquired").generation;
    store.append(block(1, generation, 1)).await.expect("written");
    assert_eq!(redis.command(&["DBSIZE"]).expect("a reply"), "1");
    let anonymous = RedisOptions { certificate_file: None, key_file: None, ..options.clone() };
    let error = open(&anonymous).await.expect_err("it shows no certificate");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let strangers = Files::new();
    let stranger = RedisOptions { ca_file: Some(strangers.path("ca.pem")), ..options.clone() };
    let error = open(&stranger).await.expect_err("the server's certificate is vouched for by somebody else");
    assert!(error.to_string().contains("certificate"), "{error}");
    let missing = RedisOptions { key_file: Some("/nowhere/key.pem".into()), ..options };
    let error = open(&missing).await.expect_err("there is no key");
    assert!(
        matches!(error, StoreError::Refused(_)) && error.to_string().contains("/nowhere/key.pem"),
        "{error}"
    );
}

#[tokio::test]
async fn a_cluster_is_spoken_to_over_tls_from_its_first_node_to_its_last() {
    let files = Files::new();
    let options = testkit::RedisOptions { extra: files.settings(), ..Default::default() };
    let cluster = RedisCluster::start_with_tls(2, &options).unwrap_or_else(|error| panic!("{error}"));
    let port = cluster.nodes()[0].command(&["CONFIG", "GET", "tls-port"]).expect("a port");
    let port = port.lines().last().expect("a value").to_owned();
    let store = open(&files.options(format!("rediss://127.0.0.1:{port}"))).await.expect("there");
    for partition in 0..4 {
        let generation = store.acquire(block(partition, 1, 1).partition).await.expect("acquired").generation;
        store.append(block(partition, generation, 1)).await.expect("written");
    }
    for node in cluster.nodes() {
        assert_eq!(node.command(&["DBSIZE"]).expect("a reply"), "2", "each has half of the logs");
    }
}

fn write_password(path: &Path, password: &str) {
    std::fs::write(path, format!("{password}\n")).expect("written");
}

#[tokio::test]
async fn a_rotated_password_is_taken_up_by_the_next_connection_and_nothing_is_given_up_meanwhile() {
    let redis = Redis::durable();
    let set = |password: &str| {
        let rule = format!("SETUSER worker reset on >{password} {RIGHTS}");
        let words: Vec<&str> = ["ACL"].into_iter().chain(rule.split(' ')).collect();
        redis.command(&words).unwrap_or_else(|error| panic!("{error}"));
    };
    let cut = || redis.command(&["CLIENT", "KILL", "USER", "worker"]).expect("cut");
    set("first");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("password");
    write_password(&path, "first");
    let url = format!("redis://worker@{}", redis.address());
    let options = RedisOptions { password_file: Some(path.clone()), ..RedisOptions::new(url) };
    let store = open(&options).await.expect("the password is right");
    let generation = store.acquire(block(1, 1, 1).partition).await.expect("acquired").generation;
    store.append(block(1, generation, 1)).await.expect("the rights are enough");
    assert!(store.durability().await.expect("readable").survives_process_kill, "CONFIG GET is allowed");
    store.put("key".into(), "value".into()).await.expect("scripts are allowed");
    set("second");
    cut();
    let error = eventually_async("the old password is refused", SOON, || async {
        match store.append(block(1, generation, 2)).await {
            Err(error) if error.to_string().contains("--redis-password-file") => Ok(error),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(error.is_retryable(), "a node that runs waits for the password: {error:?}");
    assert!(!error.to_string().contains("first"), "{error}");
    let Err(error) = open(&options).await else { panic!("the password is wrong") };
    assert!(matches!(error, StoreError::Refused(_)), "at the start it is told at once: {error:?}");
    write_password(&path, "second");
    eventually_async("the new password is taken up", SOON, || store.append(block(1, generation, 2))).await;
}

#[tokio::test]
async fn rights_that_are_taken_away_shed_and_come_back() {
    let redis = Redis::durable();
    let acl = |rule: &str| {
        let words: Vec<&str> = ["ACL", "SETUSER", "worker"].into_iter().chain(rule.split(' ')).collect();
        redis.command(&words).unwrap_or_else(|error| panic!("{error}"));
    };
    acl(&format!("reset on >word {RIGHTS}"));
    let url = format!("redis://worker:word@{}", redis.address());
    let store = open(&RedisOptions::new(url)).await.expect("there");
    let generation = store.acquire(block(1, 1, 1).partition).await.expect("acquired").generation;
    acl("-xadd");
    let error = store.append(block(1, generation, 1)).await.expect_err("not allowed");
    assert!(error.is_retryable() && error.to_string().contains("allow the user XADD"), "{error:?}");
    acl("+xadd -config|get");
    store.append(block(1, generation, 1)).await.expect("allowed again");
    let promise = store.durability().await.expect("readable");
    assert!(!promise.survives_process_kill && promise.detail.contains("CONFIG GET is denied"), "{promise:?}");
}
