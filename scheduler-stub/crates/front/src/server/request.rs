//! One request, from its headers to its answer.
//!
//! Invariants: in this order, each before what costs more: headers and whose key they name, places, body, signature, shape,
//! rights, the gate. Of a request that is refused a little is read on, so that its sender hears why; where it does not end with
//! that, its connection is closed. What may fail: all of it, with an answer that says so.

use std::time::Duration;

use http::request::Parts;
use http::{Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::activity::UnderWay;
use super::body;
use super::head::{self, Refusal};
use super::lane::Lane;
use super::places::Place;
use super::response;
use super::written::Written;
use crate::admission::Admission;
use crate::call::{Answer, Call, Gate};
use crate::fault::{Fault, Kind};
use crate::operations::{Api, Machine, Operation, Right};
use crate::shape;
use crate::tell::{Outcome, Tell, Told};

/// Answers a request, and counts it. It is under way until its answer is written.
pub(super) async fn answer<G: Gate, A: Admission>(
    lane: &Lane<G, A>,
    request: Request<Incoming>,
    under_way: UnderWay,
) -> Response<Written> {
    let request_id = lane.ids.next();
    let mut telling = Telling::new(lane);
    let mut place = None;
    let response = match handle(lane, request, &request_id, &mut telling.told, &mut place).await {
        Ok((api, answer)) => {
            (telling.told.error, telling.told.outcome) = (None, Outcome::Succeeded);
            response::of_answer(api, &answer, &request_id)
        }
        Err(Refused { why, close }) => {
            let (error, outcome) = match &why {
                Refusal::Api(api, fault) => (fault.kind().code(*api), fault.kind().outcome()),
                Refusal::Http(..) => ("Http", Outcome::Refused),
            };
            (telling.told.error, telling.told.outcome) = (Some(error), outcome);
            response::of_refusal(&why, close, &request_id)
        }
    };
    telling.told.sent = response.body().len();
    response.map(|bytes| Written::new(bytes, under_way.answers(), place))
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
            outcome: Outcome::Gone,
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
    place: &mut Option<Place>,
) -> Result<(Api, Answer), Refused> {
    let limits = &lane.door.limits;
    let until = Instant::now() + limits.body_within;
    let (mut parts, body) = request.into_parts();
    let hosted = head::host(&mut parts);
    let (api, operation, claim) = match look(lane, &parts, hosted, &body, told) {
        Ok(looked) => looked,
        Err(why) => return Err(turned_away(&parts, body, why, until).await),
    };
    let Some(taken) = lane.places.take() else {
        let message = "too many requests are under way: try again, with fewer at once";
        let why = Refusal::Api(api, Fault::new(Kind::Throttling, message));
        return Err(turned_away(&parts, body, why, until).await);
    };
    let received = body::receive(body, place.insert(taken), until, limits, &mut told.received).await;
    let received = received.map_err(|body::NotTaken { fault, unread }| Refused {
        why: Refusal::Api(api, fault),
        close: unread,
    })?;
    let refused = |fault| Refused { why: Refusal::Api(api, fault), close: false };
    let caller = lane.door.admission.admit(claim, &received, (lane.door.now)()).map_err(refused)?;
    let region = head::region(api, &parts.headers).map_err(refused)?;
    let input = shape::read(api, operation, &received).map_err(refused)?;
    drop(received);
    let call = Call { api, operation, input, caller, request_id: request_id.to_owned(), region };
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
fn look<'r, G: Gate, A: Admission>(
    lane: &Lane<G, A>,
    parts: &'r Parts,
    hosted: Result<(), &'static str>,
    body: &Incoming,
    told: &mut Told,
) -> Result<(Api, &'static Operation, A::Claim<'r>), Refusal> {
    let limits = &lane.door.limits;
    head::measure(parts, limits.head_bytes)?;
    let (api, name) = head::target(parts)?;
    told.api = Some(api);
    let fault = |fault| Refusal::Api(api, fault);
    hosted.map_err(|why| fault(Fault::new(Kind::MalformedRequest, why)))?;
    let operation = head::operation(api, name, parts).map_err(fault)?;
    told.operation = Some(operation.name);
    body::check_length(body, limits).map_err(fault)?;
    let claim = lane.door.admission.claim(api, operation, parts, (lane.door.now)()).map_err(fault)?;
    Ok((api, operation, claim))
}

/// A request that is refused for its headers.
async fn turned_away(parts: &Parts, body: Incoming, why: Refusal, until: Instant) -> Refused {
    // Whoever waits to be told to send the body has not sent it, and must not be told to. Bodies of no length of their own are
    // not looked into at all, and HTTP/2 can end a body beside others.
    let readable =
        parts.version != Version::HTTP_2 && !head::expects(&parts.headers) && !head::is_chunked(parts);
    let read = body.is_end_stream() || (readable && body::discard(body, until).await);
    Refused { why, close: !read }
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
