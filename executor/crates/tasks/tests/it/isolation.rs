//! A target's troubles are its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tasks::http::HttpError;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::faults::get;
use crate::peers::{Answered, Peer, client, client_with, head, http, json, raw, slowly};

/// A server whose answers wait until the test lets them go.
async fn gated() -> (Peer, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let peer = slowly(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.expect("it is never closed").forget();
            json("{}")
        }
        .boxed()
    })
    .await;
    (peer, gate)
}

#[tokio::test]
async fn a_slow_target_takes_no_place_from_others() {
    let (slow, gate) = gated().await;
    let quick = http(|_| json("{}")).await;
    let client = client_with(|options| (options.target_calls_max, options.target_waiting_max) = (4, 6));
    let held = join_all((0..10).map(|_| client.send(get(&slow.url("/")))));
    let others = async {
        slow.saw(|counts| counts.asked == 4).await;
        let crowded = client.send(get(&slow.url("/"))).await.expect_err("the waiting room is full");
        assert!(matches!(crowded, HttpError::Crowded { waiting: 6, .. }), "{crowded}");
        for _ in 0..20 {
            client.send(get(&quick.url("/"))).await.expect("an answer");
        }
        gate.add_permits(10);
    };
    let (answers, ()) = tokio::join!(held, others);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((slow.counts().asked, slow.counts().at_once), (10, 4));
}

#[tokio::test]
async fn targets_that_take_connections_and_hang_leave_places_to_others_however_many_calls_they_have() {
    let mut hung = Vec::new();
    for _ in 0..12 {
        hung.push(raw(|mut stream| async move { crate::faults::until_closed(&mut stream).await }).await);
    }
    let quick = http(|_| json("{}")).await;
    // Four targets could fill it.
    let client = client_with(|options| (options.calls_max, options.target_calls_max) = (64, 16));
    let urls: Vec<String> = hung.iter().map(|peer| peer.url("/")).collect();
    let mut held = join_all(urls.iter().flat_map(|url| (0..20).map(|_| client.send(get(url)))));
    assert!((&mut held).now_or_never().is_none(), "all of them wait");
    let others = async {
        hung[0].saw(|counts| counts.opened == 16).await;
        join_all(hung.iter().map(|peer| peer.saw(|counts| counts.opened > 0))).await;
        for _ in 0..20 {
            client.send(get(&quick.url("/"))).await.expect("an answer");
        }
    };
    tokio::select! {
        answers = held => panic!("they hang: {answers:?}"),
        () = others => {}
    }
    assert_eq!(hung[0].counts().opened, 16, "the first one has all that a target may have, and no more");
}

#[tokio::test]
async fn long_answers_that_are_not_whole_hold_up_neither_short_ones_nor_those_of_others() {
    let dripping = raw(|mut stream: TcpStream| async move {
        head(&mut stream).await;
        let half = [&b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"[..], &[b'x'; 500_000]].concat();
        if tokio::io::AsyncWriteExt::write_all(&mut stream, &half).await.is_ok() {
            crate::faults::until_closed(&mut stream).await;
        }
    })
    .await;
    let short = http(|_| json("{}")).await;
    let long = http(|_| json(vec![b'1'; 1_000_000])).await;
    let client = client();
    let url = dripping.url("/");
    let held = join_all((0..40).map(|_| client.send(get(&url))));
    let others = async {
        dripping.saw(|counts| counts.opened == 40).await;
        client.send(get(&short.url("/"))).await.expect("an answer");
        let answers = join_all((0..40).map(|_| client.send(get(&long.url("/"))))).await;
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|it| it.body.len() == 1_000_000)));
    };
    tokio::select! {
        answers = held => panic!("they are not whole: {answers:?}"),
        () = others => {}
    }
    dripping.saw(|counts| counts.closed == 40).await;
}

#[tokio::test]
async fn a_slow_function_takes_no_place_from_others_behind_the_same_address() {
    let (slow, gate) = gated().await;
    let client = client_with(|options| (options.target_calls_max, options.target_waiting_max) = (2, 1));
    let of = |lane: &str| {
        let mut request = get(&slow.url("/"));
        request.lane = Some(lane.to_owned());
        request
    };
    let held = join_all((0..3).map(|_| client.send(of("slow"))));
    let other = async {
        slow.saw(|counts| counts.asked == 2).await;
        let crowded = client.send(of("slow")).await.expect_err("the waiting room is full");
        assert!(crowded.to_string().contains("(slow)"), "{crowded}");
        let other = async {
            slow.saw(|counts| counts.asked == 3).await;
            gate.add_permits(4);
        };
        tokio::join!(client.send(of("other")), other).0
    };
    let (answers, other) = tokio::join!(held, other);
    assert!(other.is_ok() && answers.iter().all(Result::is_ok), "{other:?} {answers:?}");
}

#[tokio::test]
async fn connections_are_kept_and_bounded() {
    let peer = http(|_| json("{}")).await;
    let client = client_with(|options| options.target_calls_max = 4);
    for _ in 0..20 {
        client.send(get(&peer.url("/"))).await.expect("an answer");
    }
    // One may be opened beside that which is just becoming free.
    assert!(peer.counts().opened <= 2, "one after the other, on the same: {:?}", peer.counts());
    let answers = join_all((0..40).map(|_| client.send(get(&peer.url("/"))))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let counts = peer.counts();
    assert!(counts.at_once <= 4, "{counts:?}");
    // A connection may still be on its way when another one becomes free for its call.
    assert!(counts.opened - counts.closed <= 8, "{counts:?}");
}

/// A server that breaks each connection until the test says otherwise.
async fn broken() -> (Peer, Arc<AtomicBool>) {
    let works = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&works);
    let peer = raw(move |mut stream: TcpStream| {
        let works = asked.load(Ordering::SeqCst);
        async move {
            head(&mut stream).await;
            if works {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.expect("the client reads");
            }
        }
    })
    .await;
    (peer, works)
}

#[tokio::test]
async fn a_target_that_fails_again_and_again_has_a_pause_and_is_called_again_after_it() {
    let (peer, works) = broken().await;
    let healthy = http(|_| -> Answered { json("{}") }).await;
    let client = client();
    for _ in 0..5 {
        let error = client.send(get(&peer.url("/"))).await.expect_err("it breaks");
        assert!(matches!(error, HttpError::Broken { .. }), "{error}");
    }
    let error = client.send(get(&peer.url("/"))).await.expect_err("it has a pause");
    assert!(matches!(error, HttpError::Paused { failures: 5, .. }), "{error}");
    assert_eq!(peer.counts().opened, 5, "nothing was sent");
    client.send(get(&healthy.url("/"))).await.expect("another target has none");
    works.store(true, Ordering::SeqCst);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    for _ in 0..3 {
        client.send(get(&peer.url("/"))).await.expect("it works again");
    }
}

/// A call that ends at its limit, without an answer.
async fn late(client: &tasks::http::Client, peer: &Peer) {
    let asked = peer.counts().asked;
    let waiting = async {
        peer.saw(|counts| counts.asked == asked + 1).await;
        tokio::time::pause();
    };
    let request = get(&peer.url("/"));
    let (answer, ()) = tokio::join!(client.send(request), waiting);
    tokio::time::resume();
    let error = answer.expect_err("it takes too long");
    assert!(matches!(error, HttpError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn calls_that_take_longer_than_they_may_give_their_target_no_pause() {
    let (peer, gate) = gated().await;
    let client = client();
    for _ in 0..6 {
        late(&client, &peer).await;
    }
    gate.add_permits(10);
    client.send(get(&peer.url("/"))).await.expect("the next one is quick");
}

#[tokio::test]
async fn the_first_call_after_a_pause_holds_others_up_only_until_it_has_been_sent() {
    let (gate, heard) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let works = Arc::new(AtomicBool::new(false));
    let of_peer = (Arc::clone(&works), Arc::clone(&gate), Arc::clone(&heard));
    let peer = raw(move |mut stream: TcpStream| {
        let (works, gate, heard) =
            (of_peer.0.load(Ordering::SeqCst), Arc::clone(&of_peer.1), Arc::clone(&of_peer.2));
        async move {
            head(&mut stream).await;
            if works {
                heard.add_permits(1);
                gate.acquire().await.expect("it is never closed").forget();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.expect("the client reads");
            }
        }
    })
    .await;
    let client = client();
    for _ in 0..5 {
        client.send(get(&peer.url("/"))).await.expect_err("it breaks");
    }
    works.store(true, Ordering::SeqCst);
    let advance = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    advance(1).await;
    let later = async {
        heard.acquire().await.expect("it is never closed").forget();
        let error = client.send(get(&peer.url("/"))).await.expect_err("one goes ahead alone");
        assert!(matches!(error, HttpError::Paused { .. }), "{error}");
        advance(10).await;
        let second = async {
            heard.acquire().await.expect("it is never closed").forget();
            gate.add_permits(2);
        };
        tokio::join!(client.send(get(&peer.url("/"))), second).0
    };
    let (first, second) = tokio::join!(client.send(get(&peer.url("/"))), later);
    assert!(second.is_ok() && first.is_ok(), "{first:?} {second:?}");
}
