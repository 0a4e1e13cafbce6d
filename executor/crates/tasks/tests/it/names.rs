//! Name servers that hang, lie and change their mind.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tasks::http::{Client, HttpError, NameSources};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::faults::get;
use crate::peers::{Peer, client_with, http, json};

/// What a name server says about a name. Of others it says that they do not exist.
#[derive(Debug, Clone)]
enum Said {
    Nothing,
    Fails,
    /// No IPv4 address, and of IPv6 nothing.
    Half,
    Has(&'static str, u32),
}

/// A name server.
struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<HashMap<String, Said>>>,
    /// How many questions came: two for a name, and more where one is asked again.
    asked: watch::Sender<usize>,
    /// For those who ask it.
    files: TempDir,
}

impl NameServer {
    async fn new(says: &[(&str, Said)]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let says = says.iter().map(|(name, said)| ((*name).to_owned(), said.clone())).collect();
        let (says, asked) = (Arc::new(Mutex::new(says)), watch::Sender::default());
        let server = Self { address, says, asked, files: tempfile::tempdir().expect("a directory") };
        let (says, asked) = (Arc::clone(&server.says), server.asked.clone());
        tokio::spawn(async move {
            let mut packet = [0; 1_024];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let question = Message::from_vec(&packet[..length]).expect("a question");
                let query = &question.queries[0];
                asked.send_modify(|asked| *asked += 1);
                let name = query.name().to_string();
                let said = says.lock().expect("a lock").get(name.trim_end_matches('.')).cloned();
                if let Some(answer) = answer(question, said) {
                    socket.send_to(&answer, from).await.expect("who asks is there");
                }
            }
        });
        server
    }

    fn says(&self, name: &str, said: Said) {
        self.says.lock().expect("a lock").insert(name.to_owned(), said);
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    async fn was_asked(&self, times: usize) {
        self.asked.subscribe().wait_for(|asked| *asked >= times).await.expect("the server lives");
    }

    /// Alone: nothing is searched in, whatever this machine's domain is.
    fn client(&self) -> Rc<Client> {
        client_of(self.sources("", "search .\n"))
    }

    /// Beside files that say this.
    fn sources(&self, hosts: &str, resolv_conf: &str) -> NameSources {
        let file = |name: &str, content: &str| {
            let path = self.files.path().join(name);
            std::fs::write(&path, content).expect("a file");
            path
        };
        let (hosts, resolv_conf) = (file("hosts", hosts), file("resolv.conf", resolv_conf));
        NameSources { hosts, resolv_conf, servers: vec![self.address] }
    }
}

fn client_of(names: NameSources) -> Rc<Client> {
    client_with(|options| options.names = names)
}

fn answer(question: Message, said: Option<Said>) -> Option<Vec<u8>> {
    let query = question.queries[0].clone();
    let mut answer = question.into_response();
    match said {
        Some(Said::Nothing) => return None,
        Some(Said::Half) if query.query_type() == RecordType::AAAA => return None,
        Some(Said::Half) => {}
        Some(Said::Fails) => answer.metadata.response_code = ResponseCode::ServFail,
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        Some(Said::Has(address, ttl)) => {
            let address: IpAddr = address.parse().expect("an address");
            if address.is_ipv4() == (query.query_type() == RecordType::A) {
                answer.add_answer(Record::from_rdata(query.name().clone(), ttl, RData::from(address)));
            }
        }
    }
    Some(answer.to_vec().expect("an answer"))
}

/// A server that keeps no connection, so that each call looks its name up.
async fn closing() -> Peer {
    http(|_| {
        let mut answer = json("{}");
        answer.headers_mut().insert("connection", "close".parse().expect("a value"));
        answer
    })
    .await
}

fn url(name: &str, peer: &Peer) -> String {
    format!("http://{name}:{}/", peer.address.port())
}

/// Lets time pass, and whatever it brings to an end.
async fn advance(seconds: u64) {
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// A call whose name nobody gives an address, with the time that this takes left out.
async fn unanswered(client: &Client, server: &NameServer, url: &str) -> HttpError {
    let asked = server.asked();
    let waiting = async {
        server.was_asked(asked + 1).await;
        tokio::time::pause();
    };
    let (answer, ()) = tokio::join!(client.send(get(url)), waiting);
    tokio::time::resume();
    answer.expect_err("nobody says where it is")
}

#[tokio::test]
async fn a_name_that_is_not_answered_holds_up_no_other() {
    let server = NameServer::new(&[("good.example", Said::Has("127.0.0.1", 60))]).await;
    let hung: Vec<String> = (0..200).map(|at| format!("h{at}.example")).collect();
    hung.iter().for_each(|name| server.says(name, Said::Nothing));
    let (peer, client) = (closing().await, server.client());
    let urls: Vec<String> = hung.iter().map(|name| url(name, &peer)).collect();
    let held = join_all(urls.iter().map(|url| client.send(get(url))));
    let other = async {
        server.was_asked(2 * hung.len()).await;
        client.send(get(&url("good.example", &peer))).await.expect("an answer");
        tokio::time::pause();
    };
    let (held, ()) = tokio::join!(held, other);
    for answer in held {
        let error = answer.expect_err("no name server has answered");
        assert!(matches!(error, HttpError::Name { .. }), "{error}");
        assert!(error.to_string().contains("no name server has answered"), "{error}");
    }
}

#[tokio::test]
async fn calls_that_come_at_once_share_a_look_up_and_its_answer_is_kept_for_as_long_as_it_holds() {
    let server = NameServer::new(&[("a.example", Said::Has("127.0.0.1", 60))]).await;
    let (peer, client) = (closing().await, server.client());
    let url = url("a.example", &peer);
    let answers = join_all((0..20).map(|_| client.send(get(&url)))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(server.asked() < answers.len(), "one that is asked again is no call's");
    server.says.lock().expect("a lock").clear();
    advance(30).await;
    client.send(get(&url)).await.expect("it holds");
    advance(31).await;
    client.send(get(&url)).await.expect_err("it does not hold any more, and is asked for again");
}

#[tokio::test]
async fn what_held_last_is_good_for_a_while_when_name_servers_fail() {
    let server = NameServer::new(&[("a.example", Said::Has("127.0.0.1", 1))]).await;
    let (peer, client) = (closing().await, server.client());
    let url = url("a.example", &peer);
    client.send(get(&url)).await.expect("an answer");
    for said in [Said::Nothing, Said::Fails] {
        server.says("a.example", said);
        advance(10).await;
        let asked = server.asked();
        client.send(get(&url)).await.expect("it is called where it was");
        assert!(server.asked() > asked, "the name server was asked");
    }
    server.says("a.example", Said::Nothing);
    advance(300).await;
    let error = unanswered(&client, &server, &url).await;
    assert!(matches!(error, HttpError::Name { .. }), "{error}");
    server.says("a.example", Said::Has("127.0.0.1", 1));
    advance(1).await;
    client.send(get(&url)).await.expect("it is found again");
}

#[tokio::test]
async fn a_name_that_is_gone_is_gone_at_once() {
    let server = NameServer::new(&[("a.example", Said::Has("127.0.0.1", 1))]).await;
    let (peer, client) = (closing().await, server.client());
    let url = url("a.example", &peer);
    client.send(get(&url)).await.expect("an answer");
    server.says.lock().expect("a lock").clear();
    advance(2).await;
    let error = client.send(get(&url)).await.expect_err("it is gone");
    assert!(matches!(error, HttpError::Name { .. }), "{error}");
    assert!(error.to_string().contains("there is no such name"), "{error}");
}

#[tokio::test]
async fn a_name_that_is_not_found_says_nothing_against_its_target() {
    let server = NameServer::new(&[("a.example", Said::Fails)]).await;
    let (peer, client) = (closing().await, server.client());
    let url = url("a.example", &peer);
    for _ in 0..6 {
        let error = client.send(get(&url)).await.expect_err("the name server fails");
        assert!(matches!(error, HttpError::Name { .. }), "{error}");
    }
    server.says("a.example", Said::Has("127.0.0.1", 1));
    advance(1).await;
    client.send(get(&url)).await.expect("it has no pause");
}

#[tokio::test]
async fn a_name_that_points_to_a_metadata_service_is_not_called() {
    let server = NameServer::new(&[
        ("v4.example", Said::Has("169.254.169.254", 60)),
        ("v6.example", Said::Has("fd00:ec2::254", 60)),
    ])
    .await;
    let client = server.client();
    for name in ["v4.example", "v6.example"] {
        let error = client.send(get(&format!("http://{name}/"))).await.expect_err("it is refused");
        assert!(matches!(error, HttpError::Egress { .. }), "{error}");
        assert!(error.to_string().contains("metadata"), "{error}");
    }
}

#[tokio::test]
async fn a_name_that_points_elsewhere_later_is_judged_again_and_not_called_where_it_was() {
    let server = NameServer::new(&[("a.example", Said::Has("127.0.0.1", 1))]).await;
    let (peer, client) = (closing().await, server.client());
    let url = url("a.example", &peer);
    client.send(get(&url)).await.expect("an answer");
    server.says("a.example", Said::Has("10.0.0.1", 1));
    advance(2).await;
    let error = client.send(get(&url)).await.expect_err("it is refused");
    assert!(matches!(error, HttpError::Egress { .. }), "{error}");
    server.says("a.example", Said::Nothing);
    advance(2).await;
    let error = unanswered(&client, &server, &url).await;
    assert!(matches!(error, HttpError::Name { .. }), "nothing that held before is good: {error}");
    assert_eq!(peer.counts().asked, 1);
}

#[tokio::test]
async fn localhost_is_this_machine_whatever_name_servers_say() {
    let server = NameServer::new(&[("localhost", Said::Has("127.0.0.2", 60))]).await;
    let (peer, client) = (closing().await, server.client());
    client.send(get(&url("localhost", &peer))).await.expect("an answer");
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn a_name_of_the_hosts_file_is_not_asked_for() {
    let server = NameServer::new(&[]).await;
    for name in ["a.example", "short", "short.corp.example"] {
        server.says(name, Said::Nothing);
    }
    let hosts = "127.0.0.1 a.example short # one family alone\n";
    let client = client_of(server.sources(hosts, "search corp.example\n"));
    let peer = closing().await;
    for name in ["a.example", "short"] {
        client.send(get(&url(name, &peer))).await.expect("an answer");
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn a_short_name_is_searched_for_until_it_is_found() {
    let server = NameServer::new(&[
        ("api.two.example", Said::Has("127.0.0.1", 60)),
        ("api.three.example", Said::Fails),
        ("whole.example", Said::Has("127.0.0.1", 60)),
        ("whole.example.one.example", Said::Fails),
    ])
    .await;
    let resolv_conf = "search one.example two.example three.example\n";
    let client = client_of(server.sources("", resolv_conf));
    let peer = closing().await;
    for name in ["api", "whole.example"] {
        client.send(get(&url(name, &peer))).await.expect("an answer");
    }
    let error = client.send(get(&url("other", &peer))).await.expect_err("it is nowhere");
    assert!(error.to_string().contains("there is no such name"), "{error}");
}

#[tokio::test]
async fn a_short_name_of_which_name_servers_do_not_say_is_not_told_to_be_gone() {
    let server = NameServer::new(&[("api.corp.example", Said::Fails)]).await;
    let client = client_of(server.sources("", "search corp.example\n"));
    let peer = closing().await;
    let url = url("api", &peer);
    let error = client.send(get(&url)).await.expect_err("the name server fails");
    assert!(error.to_string().contains("is not known"), "{error}");
    server.says("api.corp.example", Said::Has("127.0.0.1", 1));
    advance(2).await;
    client.send(get(&url)).await.expect("an answer");
    for said in [Said::Fails, Said::Nothing, Said::Half] {
        server.says("api.corp.example", said);
        advance(10).await;
        client.send(get(&url)).await.expect("it is called where it was");
    }
    server.says.lock().expect("a lock").clear();
    // What is looked up still has come to its end by then.
    advance(10).await;
    let error = client.send(get(&url)).await.expect_err("it is gone");
    assert!(error.to_string().contains("there is no such name"), "{error}");
}

#[tokio::test]
async fn a_name_server_that_fails_or_hangs_leaves_the_next_to_be_asked() {
    let bad = NameServer::new(&[("a.example", Said::Fails), ("b.example", Said::Nothing)]).await;
    let has = Said::Has("127.0.0.1", 60);
    let good = [("a.example", has.clone()), ("b.example", has.clone()), ("c.example", has)];
    let good = NameServer::new(&good).await;
    let mut names = bad.sources("", "search .\n");
    names.servers.push(good.address);
    let client = client_of(names);
    let peer = closing().await;
    for name in ["a.example", "b.example"] {
        client.send(get(&url(name, &peer))).await.expect("the second knows");
    }
    let error = client.send(get(&url("c.example", &peer))).await.expect_err("the first has said so");
    assert!(error.to_string().contains("there is no such name"), "{error}");
}

#[tokio::test]
async fn a_search_domain_that_is_none_keeps_no_name_from_being_looked_up() {
    let server = NameServer::new(&[("a.example", Said::Has("127.0.0.1", 60))]).await;
    let resolv_conf = format!("search {}.example\n", "x".repeat(64));
    let client = client_of(server.sources("", &resolv_conf));
    client.send(get(&url("a.example", &closing().await))).await.expect("an answer");
}
