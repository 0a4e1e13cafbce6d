//! One request, from its headers to its answer.
//!
//! Invariants: in this order, each before what costs more: headers, places, body, signature, shape, rights, the gate. A request
//! that is refused is read to its end within the bounds of one that is not, so that its sender hears why; where that cannot be,
//! its connection is closed. What may fail: all of it, with an answer that says so.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::body;
use super::head::{self, Refusal};
use super::lane::Lane;
use super::response;
use crate::admission::Admission;
use crate::call::{Answer, Call, Caller, Gate};
use crate::fault::{Fault, Kind};
use crate::operations::{Api, Machine, Operation, Right};
use crate::shape;
use crate::tell::{Tell, Told};

/// Answers a request, and counts it.
pub(super) async fn answer<G: Gate, A: Admission>(
    lane: &Lane<G, A>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let request_id = lane.ids.next();
    let mut telling = Telling::new(lane);
    let response = match handle(lane, request, &request_id, &mut telling.told).await {
        Ok((api, answer)) => {
            telling.told.error = None;
            response::of_answer(api, &answer, &request_id)
        }
        Err(Refused { why, close }) => {
            telling.told.error = Some(match &why {
                Refusal::Api(api, fault) => fault.kind().code(*api),
                Refusal::Http(..) => "Http",
            });
            response::of_refusal(&why, close, &request_id)
        }
    };
    telling.told.sent = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
    response
}

/// Counts a request once, also one whose caller goes away before its answer is there.
struct Telling<'a> {
    told: Told,
    began: Instant,
    tell: &'a dyn Tell,
}

impl<'a> Telling<'a> {
    fn new<G, A>(lane: &'a Lane<G, A>) -> Self {
        let told = Told {
            thread: lane.number,
            api: None,
            operation: None,
            error: Some("Gone"),
            took: Duration::ZERO,
            received: 0,
            sent: 0,
        };
        Self { told, began: Instant::now(), tell: &*lane.door.tell }
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.told.took = self.began.elapsed();
        self.tell.answered(self.told);
    }
}

/// Why a request got no answer of the gate's.
struct Refused {
    why: Refusal,
    /// Whether its connection ends with it, for its body may not have been read.
    close: bool,
}

async fn handle<G: Gate, A: Admission>(
    lane: &Lane<G, A>,
    request: Request<Incoming>,
    request_id: &str,
    told: &mut Told,
) -> Result<(Api, Answer), Refused> {
    let (mut parts, body) = request.into_parts();
    let looked = look(lane, &mut parts, told);
    let (api, operation, _place) = match looked {
        Ok(looked) => looked,
        Err(why) => return Err(turned_away(lane, &parts, body, why).await),
    };
    let asks_first = head::expects(&parts.headers);
    let limits = &lane.door.limits;
    let received = body::receive(body, asks_first, &lane.budget, limits, &mut told.received).await;
    let received = received.map_err(|body::NotTaken { fault, unread }| Refused {
        why: Refusal::Api(api, fault),
        close: unread,
    })?;
    let refused = |fault| Refused { why: Refusal::Api(api, fault), close: false };
    let call = let_in(lane, api, operation, &parts, &received.bytes, request_id).map_err(refused)?;
    let called = async {
        allow(lane, &call).await?;
        lane.door.gate.call(call).await
    };
    match tokio::time::timeout(lane.door.limits.call_within, called).await {
        Ok(answer) => answer.map(|answer| (api, answer)).map_err(refused),
        Err(_) => {
            tracing::warn!(operation = operation.name, request_id, "a call had no answer in time");
            // Clients send again by themselves what was said not to be done.
            let kind =
                if operation.right == Right::Read { Kind::ServiceUnavailable } else { Kind::OutcomeUnknown };
            let message = "the call had no answer in time; see whether it was done before you try again";
            Err(refused(Fault::new(kind, message)))
        }
    }
}

/// All that can be said before the body is there.
fn look<G: Gate, A: Admission>(
    lane: &Lane<G, A>,
    parts: &mut Parts,
    told: &mut Told,
) -> Result<(Api, &'static Operation, Taken), Refusal> {
    head::measure(parts, lane.door.limits.head_bytes)?;
    let hosted = head::host(parts);
    let (api, name) = head::target(parts)?;
    told.api = Some(api);
    let fault = |fault| Refusal::Api(api, fault);
    hosted.map_err(|why| fault(Fault::new(Kind::MalformedRequest, why)))?;
    let operation = head::operation(api, name, parts).map_err(fault)?;
    told.operation = Some(operation.name);
    let place = Taken::of(&lane.requests, lane.door.limits.requests).ok_or_else(|| {
        fault(Fault::new(Kind::Throttling, "too many requests are under way: try again, with fewer at once"))
    })?;
    Ok((api, operation, place))
}

/// A request that is refused for its headers.
async fn turned_away<G: Gate, A: Admission>(
    lane: &Lane<G, A>,
    parts: &Parts,
    body: Incoming,
    why: Refusal,
) -> Refused {
    // Whoever waits to be told to send the body has not sent it, and must not be told to. Bodies of no length of their own are
    // not looked into at all.
    let readable = !head::expects(&parts.headers) && !head::is_chunked(parts);
    let read = body.is_end_stream() || (readable && body::discard(body, &lane.door.limits).await);
    Refused { why, close: !read }
}

/// Who calls, and what: a signature before anything is made of the body.
fn let_in<G: Gate, A: Admission>(
    lane: &Lane<G, A>,
    api: Api,
    operation: &'static Operation,
    parts: &Parts,
    raw: &Bytes,
    request_id: &str,
) -> Result<Call, Fault> {
    let caller: Caller = lane.door.admission.admit(api, parts, raw, (lane.door.now)())?;
    let region = head::region(api, &parts.headers)?;
    let input = shape::read(api, operation, raw)?;
    Ok(Call { api, operation, input, caller, request_id: request_id.to_owned(), region })
}

/// Whether the caller may make the call on each machine that it is about.
async fn allow<G: Gate, A: Admission>(lane: &Lane<G, A>, call: &Call) -> Result<(), Fault> {
    let door = &lane.door;
    if door.admission.is_open() {
        return Ok(());
    }
    for machine in call.operation.machines(&call.input) {
        let hidden;
        let machine = match machine {
            Machine::Named(name) => Some(name),
            Machine::Nothing => None,
            Machine::Hidden => {
                hidden = door.gate.machine(call).await?;
                hidden.as_deref()
            }
        };
        door.admission.allow(&call.caller, call.operation.right, machine).await?;
    }
    Ok(())
}

/// A place among the requests of a thread; it is free when this is dropped.
struct Taken(Rc<Cell<usize>>);

impl Taken {
    fn of(taken: &Rc<Cell<usize>>, most: usize) -> Option<Self> {
        if taken.get() >= most {
            return None;
        }
        taken.set(taken.get() + 1);
        Some(Self(Rc::clone(taken)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
