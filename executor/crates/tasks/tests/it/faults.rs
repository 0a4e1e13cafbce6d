//! Targets that fail: each call ends as it should, within its bounds, and its connection with it.

use std::time::Duration;

use http::{HeaderMap, Method};
use tasks::http::{Client, HttpError, Inbound, Outbound};
use tasks::http_invoke::HttpInvoke;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use url::Url;

use crate::peers::{Peer, answer, ask, client, head, http, json, raw};

pub fn get(url: &str) -> Outbound {
    Outbound {
        method: Method::GET,
        url: Url::parse(url).expect("a URL"),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        timeout: Duration::from_secs(60),
        response_bytes_max: 1_000_000,
        redirects_max: 0,
        lane: None,
    }
}

async fn call(client: &Client, peer: &Peer) -> Result<Inbound, HttpError> {
    client.send(get(&peer.url("/"))).await
}

/// Says this to whoever asks, and closes.
async fn says(text: &'static [u8]) -> Peer {
    raw(move |mut stream: TcpStream| async move {
        head(&mut stream).await;
        // Who asked may have read enough.
        let _ = stream.write_all(text).await;
        let _ = stream.shutdown().await;
    })
    .await
}

/// Reads until the client has closed.
pub async fn until_closed(stream: &mut TcpStream) {
    let mut rest = [0; 1_024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn a_target_that_hangs_is_given_up_at_the_calls_limit_and_its_connection_closed() {
    let peer = raw(|mut stream| async move { until_closed(&mut stream).await }).await;
    let client = client();
    let waiting = async {
        peer.saw(|counts| counts.opened == 1).await;
        // Nothing else moves from here on, so that the time goes to the limit at once.
        tokio::time::pause();
    };
    let (answer, ()) = tokio::join!(call(&client, &peer), waiting);
    let error = answer.expect_err("nothing came");
    assert!(matches!(&error, HttpError::Timeout { after, .. } if after.as_secs() == 60), "{error}");
    peer.saw(|counts| counts.closed == 1).await;
}

#[tokio::test]
async fn a_target_that_drips_is_given_up_at_the_same_limit() {
    let (dripped, drops) = watch::channel(0_u32);
    let peer = raw(move |mut stream: TcpStream| {
        let dripped = dripped.clone();
        async move {
            head(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
            stream.write_all(head).await.expect("the client reads");
            tokio::time::pause();
            while stream.write_all(b"x").await.is_ok() {
                dripped.send_modify(|drops| *drops += 1);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    })
    .await;
    let client = client();
    let error = call(&client, &peer).await.expect_err("it is not whole");
    assert!(matches!(error, HttpError::Timeout { .. }), "{error}");
    assert!(*drops.borrow() > 10, "each byte has come in time, and the whole answer has not");
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_answer_fails_the_call() {
    let reset = raw(|mut stream: TcpStream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        let _ = stream.set_zero_linger();
    })
    .await;
    let (short, none) = (says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await, says(b"").await);
    let client = client();
    for peer in [reset, short, none] {
        let error = call(&client, &peer).await.expect_err("half an answer is none");
        assert!(matches!(error, HttpError::Broken { .. }), "{error}");
        assert!(error.to_string().contains(&peer.address.to_string()), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_http_fails_the_call() {
    let client = client();
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: minus\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let peer = says(garbage).await;
        let error = call(&client, &peer).await.expect_err("it is no HTTP");
        assert!(matches!(error, HttpError::Broken { .. }), "{error}");
    }
}

#[tokio::test]
async fn of_an_answer_that_is_longer_than_it_says_no_more_is_read() {
    let peer = says(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfourHTTP/1.1 200 OK\r\n\r\n").await;
    let client = client();
    assert_eq!(&call(&client, &peer).await.expect("an answer").body[..], b"four");
}

#[tokio::test]
async fn headers_without_end_are_not_read_without_end() {
    let peer = raw(|mut stream: TcpStream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-more: 0123456789012345678901234567890123456789\r\n").await.is_ok() {}
    })
    .await;
    let client = client();
    let error = call(&client, &peer).await.expect_err("too many");
    assert!(matches!(error, HttpError::Broken { .. }), "{error}");
    peer.saw(|counts| counts.closed == 1).await;
}

/// Sends this head, and then ten gigabytes if it is let; says how much it got rid of.
async fn floods(head_of_it: &'static [u8]) -> (Peer, watch::Receiver<u64>) {
    let (sent, told) = watch::channel(0);
    let peer = raw(move |mut stream: TcpStream| {
        let sent = sent.clone();
        async move {
            head(&mut stream).await;
            let _ = stream.write_all(head_of_it).await;
            let part = vec![b'x'; 65_536];
            while *sent.borrow() < 10_000_000_000 && stream.write_all(&part).await.is_ok() {
                sent.send_modify(|sent| *sent += part.len() as u64);
            }
        }
    })
    .await;
    (peer, told)
}

#[tokio::test]
async fn of_ten_gigabytes_the_bound_is_read_and_the_connection_closed() {
    // Said before, and not said before.
    for head_of_it in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
    ] {
        let (peer, sent) = floods(head_of_it).await;
        let client = client();
        let error = call(&client, &peer).await.expect_err("it is too long");
        assert!(matches!(error, HttpError::TooLong { bytes_max: 1_000_000, .. }), "{error}");
        peer.saw(|counts| counts.closed == 1).await;
        // What the system holds for both ends comes on top of what was read.
        assert!(*sent.borrow() < 50_000_000, "{} bytes left the server", *sent.borrow());
    }
}

#[tokio::test]
async fn an_answer_of_just_the_bound_is_read_whole() {
    let peer = http(|_| json(vec![b'1'; 1_000_000])).await;
    assert_eq!(call(&client(), &peer).await.expect("an answer").body.len(), 1_000_000);
}

fn http_invoke() -> HttpInvoke {
    let issuer = std::sync::Arc::default();
    let (_, cached) = crate::credentials::signer(&issuer);
    HttpInvoke::new(client(), tokio::sync::watch::channel(Default::default()).1, cached)
}

async fn invoke(peer: &Peer) -> Result<String, tasks::Failure> {
    let input = format!(r#"{{"ApiEndpoint":"{}","Method":"GET"}}"#, peer.url("/"));
    ask(&http_invoke(), "arn:aws:states:::http:invoke", &input).await
}

#[tokio::test]
async fn what_is_packed_is_not_unpacked() {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, &vec![b' '; 50_000_000]).expect("memory");
    let bomb = bytes::Bytes::from(bomb.finish().expect("memory"));
    let peer = http(move |_| {
        let mut packed = json(bomb.clone());
        packed.headers_mut().insert("content-encoding", "gzip".parse().expect("a value"));
        packed
    })
    .await;
    let failure = invoke(&peer).await.expect_err("no text");
    assert_eq!(failure.error, "States.Runtime");
    assert!(failure.cause.contains("no text"), "{}", failure.cause);
}

#[tokio::test]
async fn statuses_that_say_no_are_errors_by_their_number() {
    for status in [400, 401, 404, 429, 500, 503] {
        let peer = http(move |_| answer(status, "application/json", r#"{"why":"no"}"#)).await;
        let failure = invoke(&peer).await.expect_err("a failure");
        assert_eq!(
            (failure.error.to_string(), failure.cause.as_str()),
            (format!("States.Http.StatusCode.{status}"), r#"{"why":"no"}"#)
        );
    }
    let peer = http(|_| answer(500, "text/plain", vec![b'x'; 900_000])).await;
    assert_eq!(invoke(&peer).await.expect_err("a failure").cause.len(), 32_768, "a cause has a bound");
}

#[tokio::test]
async fn json_that_is_none_is_a_text() {
    let peer = http(|_| json(r#"{"half":"#)).await;
    let output = invoke(&peer).await.expect("an output");
    assert!(output.contains(r#""ResponseBody":"{\"half\":""#), "{output}");
}

#[tokio::test]
async fn nobody_there_and_no_such_name_are_told_apart_and_both_are_socket_errors() {
    // Bound and not listened on: the system refuses connections, and nobody else can take the port.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let refused = format!("http://{}/", socket.local_addr().expect("an address"));
    // So long a label is in no name that a server could be asked for.
    let nameless = format!("http://{}.example/", "n".repeat(64));
    for (url, words) in [(&refused, "refused"), (&nameless, "its name has no address")] {
        let error = client().send(get(url)).await.expect_err("nobody is there");
        let of_name = matches!(error, HttpError::Name { .. });
        assert!(of_name || matches!(error, HttpError::Connect { .. }), "{error}");
        assert_eq!(of_name, url == &nameless, "{error}");
        assert!(error.to_string().to_lowercase().contains(words), "{error}");
        let input = format!(r#"{{"ApiEndpoint":"{url}","Method":"GET"}}"#);
        let failure = ask(&http_invoke(), "arn:aws:states:::http:invoke", &input).await;
        assert_eq!(failure.expect_err("a failure").error, "States.Http.Socket");
    }
}

#[tokio::test]
async fn who_gives_a_call_up_closes_its_connection() {
    let peer = raw(|mut stream| async move { until_closed(&mut stream).await }).await;
    let client = client();
    tokio::select! {
        answer = call(&client, &peer) => panic!("answered: {answer:?}"),
        () = peer.saw(|counts| counts.opened == 1) => {}
    }
    peer.saw(|counts| counts.closed == 1).await;
}

/// A JSON text of this length.
fn long(bytes: usize) -> String {
    format!("{:?}", "x".repeat(bytes - 2))
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_that_and_nothing_that_is_tried_again() {
    let peer = http(|_| json(long(1024 * 1024 + 1))).await;
    let endpoint = Url::parse(&peer.url("")).ok();
    let (signer, _) = crate::credentials::signer(&std::sync::Arc::default());
    let settings = tasks::tencent::TencentSettings { endpoint: endpoint.clone(), ..Default::default() };
    let tencent = tasks::tencent::Tencent::new(client(), std::rc::Rc::clone(&signer), settings);
    let lambda = tasks::lambda::Lambda::new(client(), signer, endpoint, "us-east-1".into());
    let of_tencent = "qrn:qcs:asw:ap-guangzhou:1300000000:sdk:json:qcloud:cvm:DescribeZones";
    for failure in [
        invoke(&peer).await,
        ask(&tencent, of_tencent, "{}").await,
        ask(&lambda, "arn:aws:lambda:us-east-1:123456789012:function:f", "{}").await,
    ] {
        assert_eq!(failure.expect_err("too long").error, "States.DataLimitExceeded");
    }
}

#[tokio::test]
async fn an_answer_that_no_state_may_have_is_read_as_what_it_is() {
    let peer = http(|_| json(long(300_000))).await;
    let (signer, _) = crate::credentials::signer(&std::sync::Arc::default());
    let lambda =
        tasks::lambda::Lambda::new(client(), signer, Url::parse(&peer.url("")).ok(), "us-east-1".into());
    let told = ask(&lambda, "arn:aws:lambda:us-east-1:123456789012:function:f", "{}").await;
    assert_eq!(told.expect("the language has a limit of its own").len(), 300_000);
    let output = invoke(&peer).await.expect("an output");
    assert!(output.contains(r#""ResponseBody":"xxx"#), "JSON, and no text in which there is JSON");
}
