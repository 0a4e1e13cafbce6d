//! What the HTTP client of integrations does alone: the bound that T4 is held against.
//!
//! As many threads as a node has shards, each with a client of its own and as many calls at once as a node allows to one target.
//! What may fail: a call that is not answered as it should be, which makes the figure void.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tasks::http::{Client, ClientOptions, Egress, NameSources, Outbound};
use url::Url;

use crate::error::Error;
use crate::payload::{Entropy, Generator};
use crate::peer::{KEY, KEY_HEADER};

/// Calls of one client at once, as of a shard of a node.
const CALLS: usize = 256;
/// The most that is read of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Calls a second to a peer, by so many threads, with inputs of this size.
///
/// # Errors
/// A call that fails.
pub fn calls_per_second(
    peer: &str,
    threads: usize,
    (payload_bytes, entropy): (usize, Entropy),
    duration: Duration,
) -> Result<u64, Error> {
    let url =
        Url::parse(&format!("{peer}/echo")).map_err(|error| Error::Settings(format!("{peer}: {error}")))?;
    let begun = Instant::now();
    let made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|number| {
                let inputs = Generator::new(number as u64 * 2 + 1, payload_bytes, 0, entropy);
                let url = &url;
                scope.spawn(move || one_thread(url, inputs, begun + duration))
            })
            .collect();
        let panicked = |_| Error::Process("a thread of the HTTP client has panicked".to_owned());
        threads.into_iter().map(|thread| thread.join().map_err(panicked)?).sum::<Result<u64, Error>>()
    })?;
    Ok((made as f64 / begun.elapsed().as_secs_f64()) as u64)
}

fn one_thread(url: &Url, mut inputs: Generator, until: Instant) -> Result<u64, Error> {
    let failed = |what: &dyn std::fmt::Display| Error::Void(format!("the HTTP client alone: {what}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let options = ClientOptions {
        egress: Egress::new(vec![Egress::network("127.0.0.1").map_err(|error| failed(&error))?], false),
        calls_max: CALLS,
        target_calls_max: CALLS,
        target_waiting_max: 0,
        names: NameSources::default(),
        tls: tasks::http::tls(None).map_err(|error| failed(&error))?,
    };
    let client = Client::new(&options).map_err(|error| failed(&error))?;
    let mut buffer = BytesMut::new();
    let bodies: Vec<Bytes> = (0..CALLS).map(|_| inputs.next(&mut buffer)).collect();
    let made =
        runtime.block_on(try_join_all(bodies.into_iter().map(|body| calls(&client, url, body, until))));
    Ok(made?.into_iter().sum())
}

/// One call after the other until the time is over; how many.
async fn calls(client: &Client, url: &Url, body: Bytes, until: Instant) -> Result<u64, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static(KEY_HEADER), HeaderValue::from_static(KEY));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = Outbound {
        method: Method::POST,
        url: url.clone(),
        headers,
        body,
        timeout: TIMEOUT,
        response_bytes_max: ANSWER_BYTES_MAX,
        redirects_max: 0,
        lane: None,
    };
    let mut made = 0;
    while Instant::now() < until {
        let answer = client.send(request.clone()).await;
        let answer = answer.map_err(|error| Error::Void(format!("the HTTP client alone: {error}")))?;
        if answer.body != request.body {
            return Err(Error::Void(format!("the peer has answered {} with another body", answer.status)));
        }
        made += 1;
    }
    Ok(made)
}
