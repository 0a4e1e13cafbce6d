//! One broker: ApiVersions, SaslHandshake, SaslAuthenticate, Metadata, Produce, as far as a producer needs them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::wire::{Reader, Record, record_batch};

pub const TOPIC: &str = "histories";
pub const USER: &str = "a-logset";
pub const PASSWORD: &str = "an-id#a-secret";

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;
/// What it speaks: the newest versions that the client knows and that carry no tagged fields.
const VERSIONS: [(i16, i16, i16); 5] = [
    (PRODUCE, 3, 7),
    (METADATA, 0, 4),
    (SASL_HANDSHAKE, 1, 1),
    (API_VERSIONS, 0, 2),
    (SASL_AUTHENTICATE, 0, 1),
];
const UNSUPPORTED_VERSION: i16 = 35;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// What it does with a good batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mood {
    Takes,
    /// Takes the next one and breaks the connection in the place of an answer.
    ForgetsOnce,
    /// An error of the protocol.
    Answers(i16),
    /// The same of this partition alone.
    AnswersOf(i32, i16),
    /// MESSAGE_TOO_LARGE where there are more records than this.
    TakesAtMost(usize),
}

#[derive(Debug)]
pub struct State {
    pub mood: Mood,
    pub asks_login: bool,
    /// By partition.
    pub taken: Vec<Vec<Record>>,
    pub acks: Vec<i16>,
    /// What was wrong with batches.
    pub wrong: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Broker {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Broker {
    pub async fn start(partitions: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let taken = vec![Vec::new(); partitions];
        let state =
            State { mood: Mood::Takes, asks_login: false, taken, acks: Vec::new(), wrong: Vec::new() };
        let broker = Self { address, state: Arc::new(Mutex::new(state)) };
        let served = broker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        broker
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Requests of one connection, one after the other; ends where there is no answer.
    async fn serve(self, mut stream: TcpStream) {
        let mut logged_in = false;
        while let Ok(len) = stream.read_i32().await {
            let mut request = vec![0; usize::try_from(len).expect("a length")];
            if stream.read_exact(&mut request).await.is_err() {
                return;
            }
            let mut reader = Reader(&request);
            let (key, version, correlation) = (reader.i16(), reader.i16(), reader.i32());
            let _client = reader.string();
            let mut answer = correlation.to_be_bytes().to_vec();
            let body = match key {
                API_VERSIONS => Some(versions(version)),
                SASL_HANDSHAKE => Some([0_i16.to_be_bytes().to_vec(), array(&[string("PLAIN")])].concat()),
                SASL_AUTHENTICATE => {
                    logged_in = reader.block() == format!("\0{USER}\0{PASSWORD}").as_bytes();
                    Some(authenticated(logged_in, version))
                }
                // As brokers do with those who have not logged in.
                _ if self.state().asks_login && !logged_in => None,
                METADATA => Some(self.metadata(version)),
                PRODUCE => self.produce(&mut reader, version),
                _ => None,
            };
            let Some(body) = body else { return };
            answer.extend(body);
            let len = i32::try_from(answer.len()).expect("short");
            if stream.write_i32(len).await.is_err() || stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    fn metadata(&self, version: i16) -> Vec<u8> {
        let partition = |index: usize| {
            let index = i32::try_from(index).expect("few");
            // No error, the index, its leader, its replicas, those in sync.
            let ids = [int(1), int(0)].concat();
            [short(0), int(index), int(0), ids.clone(), ids].concat()
        };
        let partitions: Vec<Vec<u8>> = (0..self.state().taken.len()).map(partition).collect();
        let internal = if version >= 1 { vec![0] } else { Vec::new() };
        let topic = [short(0), string(TOPIC), internal, array(&partitions)].concat();
        let rack = if version >= 1 { short(-1) } else { Vec::new() };
        let port = i32::from(self.address.port());
        let broker = [int(0), string("127.0.0.1"), int(port), rack].concat();
        let throttle = if version >= 3 { int(0) } else { Vec::new() };
        let cluster = if version >= 2 { short(-1) } else { Vec::new() };
        let controller = if version >= 1 { int(0) } else { Vec::new() };
        [throttle, array(&[broker]), cluster, controller, array(&[topic])].concat()
    }

    fn produce(&self, reader: &mut Reader<'_>, version: i16) -> Option<Vec<u8>> {
        let mut state = self.state();
        let _transaction = reader.string();
        state.acks.push(reader.i16());
        let _timeout = reader.i32();
        assert_eq!(reader.i32(), 1, "one topic");
        assert_eq!(reader.string().as_deref(), Some(TOPIC));
        assert_eq!(reader.i32(), 1, "one partition");
        let index = reader.i32();
        let batch = reader.block().to_vec();
        let code = match (state.mood, record_batch(&batch)) {
            (_, Err(wrong)) => {
                state.wrong.push(wrong);
                // CORRUPT_MESSAGE
                2
            }
            (Mood::Answers(code), Ok(_)) => code,
            (Mood::AnswersOf(partition, code), Ok(_)) if partition == index => code,
            (Mood::TakesAtMost(most), Ok(records)) if records.len() > most => 10,
            (mood, Ok(records)) => {
                state.taken[usize::try_from(index).expect("an index")].extend(records);
                if mood == Mood::ForgetsOnce {
                    state.mood = Mood::Takes;
                    return None;
                }
                0
            }
        };
        let (base, appended) = (0_i64.to_be_bytes().to_vec(), (-1_i64).to_be_bytes().to_vec());
        let start = if version >= 5 { 0_i64.to_be_bytes().to_vec() } else { Vec::new() };
        let partition = [int(index), short(code), base, appended, start].concat();
        let topic = [string(TOPIC), array(&[partition])].concat();
        Some([array(&[topic]), int(0)].concat())
    }
}

/// To those who ask in a newer version than it knows, it answers in the oldest, as brokers do.
fn versions(asked: i16) -> Vec<u8> {
    let known = asked <= 2;
    let error = if known { 0 } else { UNSUPPORTED_VERSION };
    let ranges = VERSIONS.map(|(key, min, max)| [short(key), short(min), short(max)].concat());
    let throttle = if known && asked >= 1 { int(0) } else { Vec::new() };
    [short(error), array(&ranges), throttle].concat()
}

fn authenticated(logged_in: bool, version: i16) -> Vec<u8> {
    let error = if logged_in { 0 } else { SASL_AUTHENTICATION_FAILED };
    let message = if logged_in { short(-1) } else { string("Authentication failed") };
    let lifetime = if version >= 1 { 0_i64.to_be_bytes().to_vec() } else { Vec::new() };
    [short(error), message, int(0), lifetime].concat()
}

fn short(value: i16) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn int(value: i32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn string(text: &str) -> Vec<u8> {
    [short(i16::try_from(text.len()).expect("short")), text.as_bytes().to_vec()].concat()
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [int(i32::try_from(items.len()).expect("few")), items.concat()].concat()
}
