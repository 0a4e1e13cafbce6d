//! One request, from its headers to its answer.
//!
//! Invariants: in this order, each before what costs more: headers, places, body, signature, shape, rights, the gate. A request
//! that is refused is read to its end within the bounds of one that is not, so that its sender hears why; where that cannot be,
//! its connection is closed. What may fail: all of it, with an answer that says so.

use std::cell::Cell;
use std::rc::Rc;

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
use crate::operations::{Api, Machine, Operation};
use crate::shape;
use crate::tell::Told;

/// Answers a request, and counts it.
pub(super) async fn answer<G: Gate, A: Admission>(
    lane: &Lane<G, A>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let began = Instant::now();
    let request_id = lane.ids.next();
    let mut told = Told {
        thread: lane.number,
        api: None,
        operation: None,
        error: None,
        took: began.elapsed(),
        received: 0,
        sent: 0,
    };
    let response = match handle(lane, request, &request_id, &mut told).await {
        Ok((api, answer)) => response::of_answer(api, &answer, &request_id),
        Err(Refused { why, close }) => {
            told.error = Some(match &why {
                Refusal::Api(api, fault) => fault.kind().code(*api),
                Refusal::Http(..) => "Http",
            });
            response::of_refusal(&why, close, &request_id)
        }
    };
    told.took = began.elapsed();
    told.sent = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
    lane.door.tell.answered(told);
    response
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
    let received = body::receive(body, &lane.budget, &lane.door.limits, &mut told.received).await;
    let received = received.map_err(|fault| {
        // Where there was room for it, it may have been read to its end, which nobody looked at.
        Refused { why: Refusal::Api(api, fault), close: true }
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
            Err(refused(Fault::new(
                Kind::ServiceUnavailable,
                "the call had no answer in time; see whether it was done before you try again",
            )))
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
    let length_is_known = !matches!(&why, Refusal::Api(_, fault) if fault.kind() == Kind::LengthRequired);
    // Whoever waits to be told to send the body has not sent it, and must not be told to. Bodies of no length of their own are
    // not looked into at all.
    let read = length_is_known && !head::expects(&parts.headers) && !body.is_end_stream();
    let close = !body.is_end_stream();
    if read {
        body::discard(body, &lane.door.limits).await;
    }
    Refused { why, close }
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
    Ok(Call { api, operation, input, raw: raw.clone(), caller, request_id: request_id.to_owned(), region })
}

/// Whether the caller may make the call on each machine that it is about.
async fn allow<G: Gate, A: Admission>(lane: &Lane<G, A>, call: &Call) -> Result<(), Fault> {
    let door = &lane.door;
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
