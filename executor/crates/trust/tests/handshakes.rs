//! Handshakes between real sockets, with certificates made for the test.

use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use trust::{Accepted, Allow, Role, TlsFiles, Trust, accept};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// Writes a certificate of this name, and says where.
fn issue(dir: &Path, authority: &Authority, name: &str) -> TlsFiles {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let cert = params.signed_by(&key, authority).expect("signed");
    let file = |kind: &str| dir.join(format!("{name}.{kind}.pem"));
    let files = TlsFiles { cert: file("cert"), key: file("key"), ca: file("ca"), allow: None };
    std::fs::write(&files.cert, cert.pem()).expect("written");
    std::fs::write(&files.key, key.serialize_pem()).expect("written");
    std::fs::write(&files.ca, authority.pem()).expect("written");
    files
}

fn allow() -> Allow {
    Allow::parse(["node=node.*", "caller=caller.*", "scheduler=scheduler.*"]).expect("entries")
}

fn trust(dir: &Path, authority: &Authority, name: &str) -> Trust {
    Trust::load(issue(dir, authority, name), allow()).expect("certificates")
}

/// What the server makes of the client; and whether the client got an answer.
async fn meet(server: &Trust, client: &Trust) -> (Result<Accepted<TcpStream>, String>, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        match accept(stream, Some(server)).await {
            Ok(mut accepted) => {
                let _ = accepted.write_all(b"!").await;
                Ok(accepted)
            }
            Err(error) => Err(error.to_string()),
        }
    };
    let client = async {
        let stream = TcpStream::connect(address).await.expect("connects");
        let name = "127.0.0.1".try_into().expect("an address");
        match TlsConnector::from(client.client()).connect(name, stream).await {
            Ok(mut stream) => stream.read_u8().await.is_ok(),
            Err(_) => false,
        }
    };
    tokio::join!(server, client)
}

#[tokio::test]
async fn a_client_of_the_list_is_let_in_with_its_roles() {
    let (dir, authority) = (TempDir::new().expect("a directory"), authority());
    let (server, client) =
        (trust(dir.path(), &authority, "node.one"), trust(dir.path(), &authority, "caller.one"));
    let (accepted, answered) = meet(&server, &client).await;
    let Ok(Accepted::Tls(_, roles)) = accepted else { panic!("{accepted:?}") };
    assert!(roles.has(&Role::Caller) && !roles.has(&Role::Node) && answered);
}

#[tokio::test]
async fn a_client_whose_name_is_not_on_the_list_is_refused() {
    let (dir, authority) = (TempDir::new().expect("a directory"), authority());
    let (server, client) =
        (trust(dir.path(), &authority, "node.one"), trust(dir.path(), &authority, "stranger"));
    let (accepted, answered) = meet(&server, &client).await;
    assert!(accepted.expect_err("refused").contains("its names are stranger") && !answered);
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused() {
    let dir = TempDir::new().expect("a directory");
    let server = trust(dir.path(), &authority(), "node.one");
    let (accepted, answered) = meet(&server, &trust(dir.path(), &authority(), "caller.one")).await;
    let told = accepted.expect_err("refused");
    assert!(told.contains("give both sides the same") && told.contains("127.0.0.1:") && !answered, "{told}");
}

#[test]
fn an_own_certificate_that_others_would_refuse_is_refused_before_it_is_shown() {
    let (dir, authority) = (TempDir::new().expect("a directory"), authority());
    let foreign = issue(dir.path(), &self::authority(), "foreign");
    let files = issue(dir.path(), &authority, "node.one");
    let load = |files: TlsFiles| Trust::load(files, allow()).expect_err("unusable").to_string();
    let told = load(TlsFiles { ca: foreign.ca, ..files.clone() });
    assert!(told.contains("node.one.cert.pem") && told.contains("not issued by an authority"), "{told}");
    let mut params = CertificateParams::new(vec!["node.one".to_owned()]).expect("a name");
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    let key = KeyPair::generate().expect("a key");
    std::fs::write(&files.cert, params.signed_by(&key, &authority).expect("signed").pem()).expect("written");
    std::fs::write(&files.key, key.serialize_pem()).expect("written");
    let told = load(files);
    assert!(told.contains("has expired: issue a new one"), "{told}");
}

#[tokio::test]
async fn a_server_that_is_no_node_or_scheduler_is_refused_by_the_client() {
    let (dir, authority) = (TempDir::new().expect("a directory"), authority());
    let (server, client) =
        (trust(dir.path(), &authority, "caller.two"), trust(dir.path(), &authority, "caller.one"));
    let (_, answered) = meet(&server, &client).await;
    assert!(!answered);
}

#[tokio::test]
async fn a_node_s_certificate_does_not_answer_for_the_scheduler_nor_the_scheduler_s_for_a_node() {
    let (dir, authority) = (TempDir::new().expect("a directory"), authority());
    let [node, scheduler, client] =
        ["node.one", "scheduler.one", "caller.one"].map(|name| trust(dir.path(), &authority, name));
    let (to_nodes, to_schedulers) = (client.towards_nodes(), client.towards_schedulers());
    assert!(meet(&node, &to_nodes).await.1 && meet(&scheduler, &to_schedulers).await.1);
    assert!(!meet(&scheduler, &to_nodes).await.1 && !meet(&node, &to_schedulers).await.1);
}

#[tokio::test]
async fn changed_files_are_used_for_new_connections_and_broken_ones_are_not() {
    let (dir, first) = (TempDir::new().expect("a directory"), authority());
    let server = trust(dir.path(), &first, "node.one");
    let client = trust(dir.path(), &first, "caller.one");
    assert!(!server.refresh().expect("readable"), "nothing has changed");

    let second = authority();
    issue(dir.path(), &second, "node.one");
    assert!(server.refresh().expect("readable"));
    assert!(!meet(&server, &client).await.1, "the client still trusts the first authority alone");
    issue(dir.path(), &second, "caller.one");
    assert!(client.refresh().expect("readable"));
    assert!(meet(&server, &client).await.1);

    std::fs::write(dir.path().join("node.one.cert.pem"), "broken").expect("written");
    let message = server.refresh().expect_err("no certificate").to_string();
    assert!(message.contains("node.one.cert.pem"), "{message}");
    assert!(meet(&server, &client).await.1, "what was in force stays");
}

/// A connection that both sides hold.
async fn stand(server: &Trust, client: &Trust) -> (Accepted<TcpStream>, TlsStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        accept(stream, Some(server)).await.expect("let in")
    };
    let client = async {
        let stream = TcpStream::connect(address).await.expect("connects");
        let name = "127.0.0.1".try_into().expect("an address");
        TlsConnector::from(client.client()).connect(name, stream).await.expect("let in")
    };
    tokio::join!(server, client)
}

/// Whether a byte of the client still reaches the server.
async fn stands((accepted, stream): &mut (Accepted<TcpStream>, TlsStream<TcpStream>)) -> bool {
    stream.write_u8(7).await.expect("the server has not closed it");
    stream.flush().await.expect("the server has not closed it");
    accepted.read_u8().await.is_ok_and(|byte| byte == 7)
}

#[tokio::test]
async fn a_list_that_changes_ends_the_connections_of_those_whose_roles_it_changes_and_of_nobody_else() {
    let (dir, authority) = (TempDir::new().expect("a directory"), authority());
    let list = dir.path().join("allow");
    let write = |text: &str| std::fs::write(&list, text).expect("written");
    write("caller=caller.*\nworker=worker.*\n");
    let files = TlsFiles { allow: Some(list.clone()), ..issue(dir.path(), &authority, "node.one") };
    let server =
        Trust::load(files, Allow::parse(["scheduler=scheduler.*"]).expect("an entry")).expect("good");
    let clients =
        ["caller.one", "worker.one", "scheduler.one"].map(|name| trust(dir.path(), &authority, name));
    let [mut caller, mut worker, mut scheduler] = [
        stand(&server, &clients[0]).await,
        stand(&server, &clients[1]).await,
        stand(&server, &clients[2]).await,
    ];
    assert!(stands(&mut caller).await && stands(&mut worker).await && stands(&mut scheduler).await);

    write("worker:ocr=worker.*\n");
    assert!(server.refresh().expect("readable"));
    assert!(!stands(&mut caller).await && !stands(&mut worker).await && stands(&mut scheduler).await);
    assert!(meet(&server, &clients[0]).await.0.is_err(), "nor is it let in again");
    let (accepted, _) = meet(&server, &clients[1]).await;
    let Ok(Accepted::Tls(_, roles)) = accepted else { panic!("{accepted:?}") };
    assert!(roles.works_for("ocr") && !roles.works_for("asr"), "it comes back as what it is now");

    write("king=caller.*\n");
    let told = server.refresh().expect_err("no role").to_string();
    assert!(told.contains("allow: line 1: \"king=caller.*\""), "{told}");
    assert!(stands(&mut scheduler).await, "what was in force stays");
}

#[tokio::test]
async fn a_connection_ends_when_its_certificate_expires_or_its_authority_is_trusted_no_more() {
    let (dir, first) = (TempDir::new().expect("a directory"), authority());
    let (server, client) = (trust(dir.path(), &first, "node.one"), trust(dir.path(), &first, "caller.one"));
    let mut connection = stand(&server, &client).await;
    let year = Duration::from_hours(365 * 24);
    server.review(130 * year);
    assert!(stands(&mut connection).await);
    server.review(2_200 * year);
    assert!(!stands(&mut connection).await);

    let mut connection = stand(&server, &client).await;
    issue(dir.path(), &authority(), "node.one");
    assert!(server.refresh().expect("readable"));
    assert!(!stands(&mut connection).await);
}

#[test]
fn what_cannot_be_used_is_refused_with_the_name_of_its_file() {
    let (dir, authority) = (TempDir::new().expect("a directory"), authority());
    let files = issue(dir.path(), &authority, "node.one");
    let other = issue(dir.path(), &authority, "node.two");
    let load = |files: &TlsFiles| Trust::load(files.clone(), allow()).expect_err("unusable").to_string();
    assert!(load(&TlsFiles { key: other.key, ..files.clone() }).contains("node.one.cert.pem"));
    assert!(load(&TlsFiles { key: files.cert.clone(), ..files.clone() }).contains("no private key"));
    assert!(load(&TlsFiles { ca: files.key.clone(), ..files.clone() }).contains("holds no certificate"));
    assert!(load(&TlsFiles { cert: dir.path().join("none.pem"), ..files.clone() }).contains("none.pem"));
    assert!(load(&TlsFiles { allow: Some(dir.path().join("list")), ..files.clone() }).contains("list"));
    let nobody = Trust::load(files, Allow::default()).expect_err("nobody").to_string();
    assert!(nobody.contains("--tls-allow-file"), "{nobody}");
}
