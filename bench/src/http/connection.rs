//! A kept HTTP/1.1 connection with one call on its way.
//!
//! Bytes alone, because a client library's work would be measured with the door's: both share the CPUs. Invariants: an answer is
//! at most [`ANSWER_BYTES_MAX`] long and has a length; after anything else the connection is closed. What may fail: the
//! connection, with what happened to it as a text.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::error::Error;

/// Headers of an answer.
const HEADERS_MAX: usize = 32;
/// Bytes of an answer, with its headers.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

/// Where an answer's parts are.
struct Head {
    status: u16,
    length: usize,
    body: usize,
    closes: bool,
}

impl Connection {
    /// # Errors
    /// [`Error::Connect`].
    pub async fn open(address: &str) -> Result<Self, Error> {
        let failed =
            |error: std::io::Error| Error::Connect { address: address.to_owned(), reason: error.to_string() };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Self { stream: Some(stream), received: Vec::with_capacity(4_096) })
    }

    /// Whether it can take another call.
    pub fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Gives up what is on its way.
    pub fn close(&mut self) {
        self.stream = None;
    }

    /// Sends a request, and waits for its answer. What fails closes the connection, and is told in words.
    pub async fn call(&mut self, request: &[u8]) -> Result<Answer<'_>, String> {
        let Some(mut stream) = self.stream.take() else { return Err("the connection is closed".to_owned()) };
        self.received.clear();
        let head = exchange(&mut stream, request, &mut self.received).await?;
        if !head.closes {
            self.stream = Some(stream);
        }
        let body = self.received.get(head.body..head.body + head.length).unwrap_or_default();
        Ok(Answer { status: head.status, body })
    }
}

async fn exchange(stream: &mut TcpStream, request: &[u8], received: &mut Vec<u8>) -> Result<Head, String> {
    let broke = |error: std::io::Error| format!("the connection broke: {}", error.kind());
    stream.write_all(request).await.map_err(broke)?;
    loop {
        if stream.read_buf(received).await.map_err(broke)? == 0 {
            return Err("the connection was closed before the answer".to_owned());
        }
        if let Some(head) = head(received)? {
            if head.body + head.length > ANSWER_BYTES_MAX {
                return Err(format!("an answer of more than {ANSWER_BYTES_MAX} bytes"));
            }
            while received.len() < head.body + head.length {
                if stream.read_buf(received).await.map_err(broke)? == 0 {
                    return Err("the connection was closed within an answer".to_owned());
                }
            }
            return Ok(head);
        }
        if received.len() > ANSWER_BYTES_MAX {
            return Err("an answer whose headers do not end".to_owned());
        }
    }
}

/// The head of an answer; `None` until it is there.
fn head(received: &[u8]) -> Result<Option<Head>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let body = match response.parse(received) {
        Ok(httparse::Status::Complete(body)) => body,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("the answer is no HTTP: {error}")),
    };
    let value = |name: &str| {
        let mut headers = response.headers.iter();
        let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let length = value("content-length").and_then(|length| length.parse().ok());
    let length = length.ok_or("an answer without a Content-Length")?;
    let closes = value("connection").is_some_and(|said| said.eq_ignore_ascii_case("close"));
    Ok(Some(Head { status: response.code.unwrap_or_default(), length, body, closes }))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with these pieces, each sent by itself, and closes.
    async fn answered(pieces: &'static [&'static str]) -> (Result<(u16, String), String>, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.expect("a request");
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.expect("it is taken");
            }
        };
        let client = async {
            let mut connection = Connection::open(&address).await.expect("it listens");
            let answer = connection.call(b"ask!").await;
            let answer =
                answer.map(|answer| (answer.status, String::from_utf8_lossy(answer.body).into_owned()));
            (answer, connection.is_open())
        };
        tokio::join!(server, client).1
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_length_in_whatever_pieces_it_comes() {
        let (answer, open) =
            answered(&["HTTP/1.1 200 OK\r\nContent-", "Length: 5\r\n\r", "\nhel", "lo"]).await;
        assert_eq!((answer, open), (Ok((200, "hello".to_owned())), true));
    }

    #[tokio::test]
    async fn a_connection_that_the_answer_closes_takes_no_other_call() {
        let (answer, open) =
            answered(&["HTTP/1.1 400 Bad\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"]).await;
        assert_eq!((answer, open), (Ok((400, "{}".to_owned())), false));
    }

    #[tokio::test]
    async fn what_is_no_whole_answer_is_told_and_closes_the_connection() {
        for (pieces, told) in [
            (&[][..], "closed before"),
            (&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"], "within an answer"),
            (&["HTTP/1.1 200 OK\r\n\r\n"], "without a Content-Length"),
            (&["SSH-2.0\r\n\r\n"], "no HTTP"),
        ] {
            let (answer, open) = answered(pieces).await;
            let error = answer.expect_err(told);
            assert!(error.contains(told) && !open, "{error}");
        }
    }
}
