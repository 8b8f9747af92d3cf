//! Passes requests on to backends.
//!
//! - `head`: what of a request and its answer goes through. `content`: the body, which may be sent more than once. `trailers`: fields after it.
//! - `pick`: a backend for a request, or a place in the line. `retry`: what is tried again.
//! - `hedge`: another one that is asked where the first takes long. `mirror`: copies for another pool. `faults`: what is to fail on purpose.
//! - `split`: several pools, each with a part of the requests.
//! - `connect`: connections that clients ask for. `websocket`: those of backends that speak HTTP/2.
//! - `grpc`: calls of gRPC, which end in their own way and say how long they may take.
//! - `told`: what a client is told where no backend has answered.
//! - `relay`: the body of an answer on its way to the client. `tunnel`: connections that were switched to another protocol.

mod connect;
mod content;
mod faults;
mod grpc;
mod head;
mod hedge;
mod mirror;
mod pick;
mod relay;
mod retry;
mod split;
mod told;
mod trailers;
mod tunnel;
mod websocket;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{EXPECT, SET_COOKIE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use outwork_balance::{Extra, MemberId, Outcome};
use outwork_engine::Unix;
use outwork_front::api::Fault;
use outwork_front::interim;
use outwork_front::message::{
    Answer, Asked, Body, Duplex, Handler, Origin, Request, RequestBody, Response, Streamed, Subject, Trailers,
};
use outwork_front::problem::Problem;
use tokio::time::{sleep, timeout, timeout_at};

use crate::announce::Announced;
use crate::config::{FaultInjection, Forward, Forwarded, HostField};
use crate::limits::Seat;
use crate::metrics::{Absent, Drained, Injected, Retried};
use crate::pick::Taken;
use crate::pool::endpoint::Endpoint;
use crate::pool::{Pool, Snapshot};
use crate::upstream::dial::{Agreed, DialError};
use crate::upstream::local::Local;
use crate::upstream::{self, Counted, Exchange, ExchangeError, Link, Reply, Version, Wanted, h1, h2};
use content::Content;
use faults::Met;
use grpc::Deadline;
use head::Outgoing;
use mirror::Mirroring;
use relay::Relay;
use retry::{Failed, is_idempotent, judge};
pub use split::Splitting;
use trailers::Passage;

/// How long a backend is given to say whether it wants a body that it is asked about.
const ASKED: Duration = Duration::from_secs(1);
/// Requests that are answered within this are looked at by nobody meanwhile.
const MOMENT: Duration = Duration::from_millis(100);
/// How long the backend took.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Passes requests on to a pool.
#[derive(Debug)]
pub struct Proxied {
    pool: Arc<Pool>,
    settings: Forward,
    /// What requests say of whose they are is ours.
    ours: bool,
    /// Limits of requests hold for them. Not for copies, for which no client is turned away, nor for questions of our own.
    is_limited: bool,
    mirroring: Option<Arc<Mirroring>>,
}

impl Proxied {
    /// To this pool, and copies to `mirror`, if the settings have one.
    pub fn new(pool: Arc<Pool>, settings: Forward, mirror: Option<Arc<Pool>>) -> Arc<Self> {
        let mirroring = mirror.zip(settings.mirror.clone()).map(|(pool, mirror)| {
            // A copy goes no further, and switches to nothing.
            let copies = Forward { mirror: None, fault: None, upgrade: false, ..settings.clone() };
            let copies = Self { pool, settings: copies, ours: false, is_limited: false, mirroring: None };
            Arc::new(Mirroring::new(mirror, Arc::new(copies)))
        });
        Arc::new(Self { pool, settings, ours: false, is_limited: true, mirroring })
    }

    /// Requests of our own, as they are.
    pub(crate) fn asking(pool: Arc<Pool>) -> Arc<Self> {
        let settings = Forward {
            pool: String::new(),
            split: Vec::new(),
            split_by: None,
            host: HostField::Backend,
            forwarded: Forwarded::Off,
            upgrade: false,
            connect: false,
            server_timing: false,
            trailers: false,
            mirror: None,
            fault: None,
        };
        Arc::new(Self { pool, settings, ours: true, is_limited: false, mirroring: None })
    }
}

/// What passes requests on, as routes have it.
#[derive(Debug, Clone)]
pub struct Passing(pub Arc<Proxied>);

impl Handler for Passing {
    fn handle(&self, request: Request) -> Answer {
        let proxied = Arc::clone(&self.0);
        Answer::Later(Box::pin(async move { proxied.serve(request).await }))
    }
}

/// A request that is to be answered by a backend, whichever.
struct Call {
    head: Parts,
    origin: Rc<Origin>,
    content: Content,
    snapshot: Arc<Snapshot>,
    local: Rc<Local>,
    /// What backends are told of whose it is before they hear of it.
    announced: Option<Rc<Announced>>,
    /// When it is to have ended, where it is a call of gRPC whose client says so.
    deadline: Option<Deadline>,
    /// Its place among all that is under way, until its backend is known.
    seat: Cell<Option<Seat>>,
}

/// Why an attempt did not give an answer.
struct Failure {
    outcome: Outcome,
    /// The backend may have begun with it.
    begun: bool,
    why: Why,
}

enum Why {
    Dial(DialError),
    Exchange(ExchangeError),
    /// The time is over that its client gives a call of gRPC.
    OutOfTime,
}

impl Proxied {
    pub(crate) async fn serve(&self, request: Request) -> Response {
        let Some(patience) = grpc::patience(&request.head) else { return self.pass(request, None).await };
        let deadline = Deadline::new(Instant::now(), patience);
        // Rare, and large.
        let passed = Box::pin(timeout_at(deadline.at.into(), self.pass(request, Some(deadline)))).await;
        passed.unwrap_or_else(|_| {
            // It has waited for a backend: one that has it is seen by `attempt`, which is looked at before.
            self.pool.metrics().refused.of(Absent::QueueTimeout).inc();
            self.out_of_time()
        })
    }

    /// Passes a request on, which is to have ended by then.
    async fn pass(&self, request: Request, deadline: Option<Deadline>) -> Response {
        let Request { head, body, origin } = request;
        if (head.method == Method::CONNECT) != self.settings.connect {
            let detail = "this passes requests on, or connections, and not the other";
            return Problem::new(StatusCode::NOT_IMPLEMENTED, detail).fault(Fault::Client).answer(&head);
        }
        if self.settings.connect && !matches!(body, RequestBody::Empty) {
            // What was content would be the beginning of what is spoken (RFC 9110 section 9.3.6).
            return Problem::new(StatusCode::BAD_REQUEST, "a CONNECT has no content").answer(&head);
        }
        let snapshot = self.pool.snapshot();
        let passage = match body {
            RequestBody::Empty => None,
            RequestBody::Source(_) => Passage::of(&head, self.settings.trailers),
        };
        let content = Content::new(body, snapshot.settings.retry.max_body.as_usize(), passage);
        let local = Local::of(&self.pool);
        let announced = snapshot.settings.send_proxy.map(|version| Rc::new(Announced::of(version, &origin)));
        let mut call = Call { head, origin, content, snapshot, local, announced, deadline, seat: Cell::default() };
        if self.is_limited {
            match self.pool.admit(&call.snapshot) {
                Ok(seat) => *call.seat.get_mut() = seat,
                Err(reason) => return self.refused(&call, reason),
            }
        }
        if let Some(faults) = &self.settings.fault
            && let Some(aborted) = self.meet(faults, &call).await
        {
            return aborted;
        }
        // What is rare is apart: its room is not every request's.
        if self.settings.connect {
            return Box::pin(self.connect(&call)).await;
        }
        let mut tried: Vec<MemberId> = Vec::new();
        let (mut again, mut retries, mut last) = (None, 0_u32, None);
        loop {
            let picked = pick::pick(&self.pool, &call, &tried).await;
            let picked = match picked {
                Ok((picked, newer)) => {
                    call.snapshot = newer.unwrap_or(call.snapshot);
                    picked
                }
                Err(Absent::Excluded) if !tried.is_empty() => {
                    // There is nobody else: whoever failed may have been unlucky.
                    tried.clear();
                    continue;
                }
                Err(reason) => {
                    let refused = self.refused(&call, reason);
                    // Whoever failed before there was nobody else.
                    return match last {
                        Some(endpoint) => asked(refused, endpoint, retries.saturating_sub(1), None),
                        None => refused,
                    };
                }
            };
            let hedge = call.snapshot.settings.hedge.as_ref();
            let (taken, endpoint, attempted) = match hedge {
                Some(hedge) => Box::pin(self.hedged(&call, picked, &mut tried, hedge)).await,
                None => {
                    let (mut taken, endpoint) = picked;
                    let attempted = self.attempt(&call, &mut taken, &endpoint).await;
                    (taken, endpoint, attempted)
                }
            };
            let id = taken.id();
            let (failed, status) = match attempted {
                Ok(reply) if !self.is_failure(&call, &reply) => {
                    drop(again);
                    let took = Some(reply.took);
                    return asked(self.answer(&call, taken, &endpoint, reply), endpoint, retries, took);
                }
                Ok(reply) => {
                    let failed = Failure {
                        outcome: Outcome::of_status(reply.head.status.as_u16()),
                        begun: true,
                        why: Why::Exchange(ExchangeError::NoAnswer),
                    };
                    (failed, Some(reply))
                }
                Err(failed) => (failed, None),
            };
            let verdict = judge(
                &call.snapshot.settings.retry,
                Failed {
                    method: &call.head.method,
                    outcome: failed.outcome,
                    status: status.as_ref().map(|reply| reply.head.status.as_u16()),
                    begun: failed.begun,
                    whole: call.content.is_whole(),
                    before: retries,
                },
            );
            let held = (verdict == Retried::Again)
                .then(|| call.snapshot.balance.again(Extra::Retry, Some(taken.member()), self.pool.now()));
            let verdict = if matches!(held, Some(Err(_))) { Retried::Budget } else { verdict };
            self.pool.metrics().retries.of(verdict).inc();
            match (held, status) {
                (Some(Ok(held)), _) => {
                    again = Some(held);
                    self.pool.figures.retries.inc();
                    retries += 1;
                    tried.push(id);
                    last = Some(endpoint);
                    call.snapshot = self.pool.snapshot();
                }
                (_, Some(reply)) => {
                    let took = Some(reply.took);
                    return asked(self.answer(&call, taken, &endpoint, reply), endpoint, retries, took);
                }
                (_, None) => return asked(self.failed(&call, &endpoint, &failed.why), endpoint, retries, None),
            }
        }
    }

    /// Has a request meet the faults that it is to meet; with the answer that it gets for that.
    async fn meet(&self, faults: &FaultInjection, call: &Call) -> Option<Response> {
        let met = Met::by(faults, &call.head.headers, &mut call.local.chance.borrow_mut());
        let injected = &self.pool.metrics().injected;
        if let Some(delay) = met.delay {
            injected.of(Injected::Delay).inc();
            sleep(delay).await;
        }
        let status = met.abort?;
        injected.of(Injected::Abort).inc();
        Some(told::blaming(Fault::Us, call, status, "this fault was made on purpose"))
    }

    /// Whether an answer is one that is tried for again, as far as its status goes.
    fn is_failure(&self, call: &Call, reply: &Answered) -> bool {
        call.snapshot.settings.retry.statuses.contains(&reply.head.status.as_u16())
    }

    /// Asks one backend, for as long as the call may take.
    async fn attempt(&self, call: &Call, taken: &mut Taken, endpoint: &Arc<Endpoint>) -> Result<Answered, Failure> {
        let Some(deadline) = call.deadline else { return self.ask(call, taken, endpoint).await };
        let began = Instant::now();
        // Rare, and large.
        let attempted = Box::pin(timeout_at(deadline.at.into(), self.ask(call, taken, endpoint))).await;
        if let Ok(attempted) = attempted {
            return attempted;
        }
        let outcome = deadline.judge(began.elapsed());
        if outcome.failed() == Some(true) {
            endpoint.cells.failures.inc();
        }
        self.pool.expired(&call.snapshot, taken.lease(), outcome);
        // It is over, whoever would be asked next.
        Err(Failure { outcome: Outcome::Cancelled, begun: true, why: Why::OutOfTime })
    }

    /// Asks one backend.
    async fn ask(&self, call: &Call, taken: &mut Taken, endpoint: &Arc<Endpoint>) -> Result<Answered, Failure> {
        let began = Instant::now();
        let id = taken.id();
        endpoint.cells.requests.inc();
        let upgrade = head::upgrade(&call.head).filter(|_| self.settings.upgrade);
        let asks_http1 = upgrade.is_some() && !call.local.is_of_http2(id);
        let mut version = if asks_http1 { Version::Http1 } else { Version::Any };
        let mut now = began;
        // What goes out among others may have to be asked again (RFC 9112 section 9.3.2).
        let mut piped = upgrade.is_none() && call.head.method.is_safe() && call.content.is_empty();
        loop {
            let wanted = Wanted { version, announced: call.announced.as_ref(), piped };
            let linked = call.local.link(&self.pool, &call.snapshot, (id, endpoint), wanted, now).await;
            let (link, reused) = match linked {
                Ok(linked) => linked,
                // Who speaks nothing but HTTP/2 is asked for a WebSocket in its way (RFC 8441), and does without any other switch (RFC 9110 section 7.8).
                Err(error) if version == Version::Http1 && error.is_of_version() => {
                    call.local.speaks(id, Agreed::Http2);
                    version = Version::Any;
                    now = Instant::now();
                    continue;
                }
                Err(error) => {
                    let outcome = match error {
                        DialError::Late => Outcome::TimedOut,
                        // It was not even asked.
                        DialError::Full(_) => Outcome::Cancelled,
                        DialError::Connect(_) | DialError::Tls(_) | DialError::Http2(_) => Outcome::ConnectFailed,
                    };
                    self.observe(call, taken, endpoint, outcome);
                    return Err(Failure { outcome, begun: false, why: Why::Dial(error) });
                }
            };
            if reused {
                self.pool.metrics().connections_reused.inc();
            }
            let replied = match self.begin(call, endpoint, link, upgrade).await {
                Ok(mut exchange) => self.reply(call, id, &mut exchange).await.map(|head| (head, exchange)),
                Err(error) => Err(error),
            };
            match replied {
                Ok((head, mut exchange)) => {
                    let took = began.elapsed();
                    endpoint.cells.time.record(took);
                    endpoint.cells.responses.count(head.status.as_u16());
                    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS || exchange.is_switched();
                    let rest = if switches { None } else { exchange.take_rest() };
                    match Outcome::of_status(head.status.as_u16()) {
                        // Whether all of it comes is not known yet.
                        Outcome::Answered if rest.is_none() && !switches => {
                            self.pool.begun(&call.snapshot, taken.lease());
                        }
                        outcome => self.observe(call, taken, endpoint, outcome),
                    }
                    return Ok(Answered { head, exchange, rest, took });
                }
                // It ended while nobody looked, which says nothing of the backend.
                Err(ExchangeError::NoAnswer)
                    if reused && is_idempotent(&call.head.method) && call.content.is_whole() => {}
                // It is asked again by itself, which shows what the backend makes of it.
                Err(ExchangeError::BeforeItsTurn) if piped => {
                    self.pool.metrics().pipelined_again.inc();
                    piped = false;
                }
                Err(error) => {
                    let outcome = match &error {
                        ExchangeError::Client(_) | ExchangeError::NoSwitch => Outcome::Cancelled,
                        // Nobody in there may go on.
                        ExchangeError::Drained if self.pool.is_over() => Outcome::Cancelled,
                        ExchangeError::Late => Outcome::TimedOut,
                        _ => Outcome::Reset,
                    };
                    // Who is taken out, or has ended what nobody used, fails at nothing that it is there for.
                    let is_its_fault = match &error {
                        ExchangeError::Drained => false,
                        ExchangeError::NoAnswer => !reused,
                        _ => true,
                    };
                    self.observe(call, taken, endpoint, if is_its_fault { outcome } else { Outcome::Cancelled });
                    let begun = !matches!(error, ExchangeError::NotBegun | ExchangeError::NoSwitch);
                    return Err(Failure { outcome, begun, why: Why::Exchange(error) });
                }
            }
            now = Instant::now();
        }
    }

    fn observe(&self, call: &Call, taken: &mut Taken, endpoint: &Endpoint, outcome: Outcome) {
        if outcome.failed() == Some(true) {
            endpoint.cells.failures.inc();
        }
        self.pool.observe(&call.snapshot, taken.lease(), outcome);
    }

    async fn begin(
        &self,
        call: &Call,
        endpoint: &Endpoint,
        link: Link,
        upgrade: Option<&HeaderValue>,
    ) -> Result<Exchange, ExchangeError> {
        let (head, length) = (&call.head, call.content.length());
        let expects = !call.content.is_empty() && head.headers.contains_key(EXPECT) && call.content.is_untouched();
        let left = call.deadline.map(|deadline| deadline.left(Instant::now()));
        let outgoing = Outgoing {
            head,
            origin: &call.origin,
            host: (self.settings.host == HostField::Backend).then_some(&endpoint.authority),
            forwarded: (!self.ours).then_some(self.settings.forwarded),
            upgrade,
            body: length,
            timeout: left.as_ref(),
            expects,
        };
        let body = (!call.content.is_empty()).then(|| upstream::Body(call.content.reading()));
        Ok(match link {
            Link::Http1(conn) => {
                let framing = (length == head::Length::Unknown, expects);
                Exchange::Http1(Box::new(h1::Exchange::new(conn, head.method.clone(), outgoing.http1(), body, framing)))
            }
            Link::Piped(pipe) => {
                Exchange::Piped(h1::pipe::Exchange::begin(&pipe, head.method.clone(), |out| outgoing.write(out)))
            }
            Link::Http2(session) => {
                let request = outgoing.http2(&endpoint.authority, endpoint.tls.is_some());
                let mut request =
                    request.ok_or(ExchangeError::Malformed("the request cannot be written as one of HTTP/2"))?;
                if body.is_none() && upgrade.is_some_and(websocket::is_one) {
                    let patience = call.snapshot.settings.connections.connect_timeout;
                    match timeout(patience, session.switches()).await {
                        Ok(true) => websocket::ask(&mut request),
                        Ok(false) => return Err(ExchangeError::NoSwitch),
                        Err(_) => return Err(ExchangeError::Late),
                    }
                }
                Exchange::Http2(Box::new(h2::Exchange::begin(&session, request, body).await?))
            }
        })
    }

    /// Waits for the head of the answer, as long as the request moves, and then for as long as it may take, or the backend may go on with it.
    async fn reply(&self, call: &Call, id: MemberId, exchange: &mut Exchange) -> Result<Reply, ExchangeError> {
        if exchange.is_held() {
            match timeout(ASKED, poll_fn(|context| self.poll_reply(exchange, context))).await {
                Ok(reply) => return reply,
                Err(_) => exchange.release(),
            }
        }
        let patience = call.snapshot.settings.connections.response_timeout;
        let (mut before, mut sent, mut left) = (exchange.sent(), exchange.is_sent(), patience.min(MOMENT));
        if let Ok(reply) = timeout(left, poll_fn(|context| self.poll_reply(exchange, context))).await {
            return reply;
        }
        left = patience.saturating_sub(left);
        let present = call.local.enter(id);
        loop {
            let replied = poll_fn(|context| match present.poll_over(context) {
                Poll::Pending => self.poll_reply(exchange, context),
                Poll::Ready(()) => {
                    self.pool.metrics().drained.of(Drained::Request).inc();
                    Poll::Ready(Err(ExchangeError::Drained))
                }
            });
            match timeout(left, replied).await {
                Ok(reply) => return reply,
                Err(_) if !sent && (exchange.is_sent() || exchange.sent() > before) => {}
                Err(_) => return Err(exchange.late()),
            }
            (before, sent, left) = (exchange.sent(), exchange.is_sent(), patience);
        }
    }

    /// The head of the answer. What comes before it the client hears at once (RFC 9110 section 15.2).
    fn poll_reply(&self, exchange: &mut Exchange, context: &mut Context<'_>) -> Poll<Result<Reply, ExchangeError>> {
        let polled = exchange.poll_reply(context);
        for Reply { status, mut headers } in exchange.early().into_iter().filter(|_| !self.ours) {
            head::strip(&mut headers, false);
            interim::tell(status, headers);
        }
        polled
    }

    /// The answer that the client gets.
    fn answer(&self, call: &Call, mut taken: Taken, endpoint: &Arc<Endpoint>, answered: Answered) -> Response {
        if let Some(mirroring) = &self.mirroring {
            mirroring.copy(call);
        }
        taken.sits_at(call.seat.take());
        let Answered { head: Reply { status, mut headers, .. }, exchange, rest, took } = answered;
        let mut response = Response::new(status);
        if status == StatusCode::SWITCHING_PROTOCOLS || exchange.is_switched() {
            return self.switched(call, taken, headers, exchange);
        }
        let bodiless = call.head.method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
        head::strip(&mut headers, bodiless);
        response.headers = headers;
        if status.is_client_error() || status.is_server_error() {
            let note = response.note_mut();
            note.about = Some(Box::new(Subject::of(&call.head)));
            note.why = Some("the backend has answered so".into());
        }
        self.tie(call, &mut taken, &mut response);
        if self.settings.server_timing
            && let Ok(value) = HeaderValue::try_from(format!("backend;dur={:.1}", took.as_secs_f64() * 1e3))
        {
            response.headers.append(SERVER_TIMING, value);
        }
        match rest {
            Some(rest) => {
                self.pool.metrics().sent.add(exchange.sent());
                self.pool.metrics().received.add(rest.len() as u64);
                if let Some(conn) = exchange.into_conn(Instant::now()) {
                    call.local.park(taken.id(), endpoint, conn, &call.snapshot);
                }
                response.body = if rest.is_empty() { Body::Empty } else { Body::Full(rest) };
            }
            None => {
                let length = exchange.remaining();
                let has_trailers = matches!(exchange, Exchange::Http2(_)) || length.is_none();
                let trailers = has_trailers.then(Trailers::default);
                let mut relay =
                    Relay::new((exchange, trailers.clone()), taken, endpoint, &self.pool, &call.snapshot, &call.local);
                if let Some(deadline) = call.deadline {
                    relay = relay.until(deadline.at, !grpc::is_of_web(&call.head.headers));
                }
                response.body = Body::Stream(Streamed { length, parts: Box::pin(relay), trailers });
            }
        }
        response
    }

    /// The client comes back to the backend that it has now.
    fn tie(&self, call: &Call, taken: &mut Taken, response: &mut Response) {
        let Some(sticky) = &call.snapshot.sticky else { return };
        let named = || head::cookie(&call.head.headers, &sticky.cookie);
        if taken.is_named() && named().is_some_and(|cookie| sticky.is_fresh(cookie, unix_now())) {
            return;
        }
        let value = sticky.set_cookie(taken.member().key(), unix_now(), call.origin.tls);
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers.append(SET_COOKIE, value);
        }
    }

    fn switched(&self, call: &Call, mut taken: Taken, headers: http::HeaderMap, exchange: Exchange) -> Response {
        let mut response = Response::new(StatusCode::SWITCHING_PROTOCOLS);
        if head::upgrade(&call.head).is_none() || !self.settings.upgrade {
            return told::bad(
                call,
                StatusCode::BAD_GATEWAY,
                "the backend switches to another protocol, which nobody has asked for",
            );
        }
        let patience = call.snapshot.settings.connections.tunnel_timeout;
        // A connection of its own counts as one for as long as it lasts, and a stream as one of those that share theirs.
        let (mut alone, mut among): (Option<Counted>, Option<h2::Under>) = (None, None);
        let (stream, read): (Box<dyn Duplex>, Bytes) = match exchange {
            Exchange::Http1(exchange) => {
                response.headers = headers;
                let (wire, read, counted) = exchange.into_wire();
                alone = Some(counted);
                (Box::new(wire), read)
            }
            // It switches to nothing.
            Exchange::Piped(_) => {
                return told::bad(call, StatusCode::BAD_GATEWAY, "the backend switches to nothing here");
            }
            Exchange::Http2(exchange) => {
                response.headers = websocket::switched(headers, &call.head.headers);
                let Some((stream, under)) = exchange.into_switched() else {
                    // A status of 101 has no meaning there (RFC 9113 section 8.6).
                    return told::bad(call, StatusCode::BAD_GATEWAY, "the backend switches to nothing over HTTP/2");
                };
                among = Some(under);
                (Box::new(stream), Bytes::new())
            }
        };
        self.tie(call, &mut taken, &mut response);
        let metrics = Arc::clone(self.pool.shared_metrics());
        let present = call.local.enter(taken.id());
        response.upgrade = Some(Box::new(move |client| {
            Box::pin(async move {
                let _under_way = (taken, alone, among);
                tunnel::run(client, stream, read, (patience, present), &metrics).await;
            })
        }));
        response
    }
}

/// An answer that says who was asked for it.
fn asked(mut response: Response, endpoint: Arc<Endpoint>, retries: u32, took: Option<Duration>) -> Response {
    response.asked = Some(Asked::new(endpoint, retries + 1, took));
    response
}

/// What a backend has answered so far.
struct Answered {
    head: Reply,
    exchange: Exchange,
    /// All of its content, where that is here.
    rest: Option<Bytes>,
    took: Duration,
}

fn unix_now() -> Unix {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Unix(u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}
