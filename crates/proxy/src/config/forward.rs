//! What a route says of requests that it passes on.

use std::time::Duration;

use http::HeaderName;
use outwork_config::{At, Fault, choice, millis, mins, secs, section};

section! {
    /// Passes requests on to a pool of backends.
    #[required_keys]
    pub struct Forward {
        /// The pool, by its name in `[proxy.pool]`.
        pub pool: String,
        /// The host that backends are asked for.
        pub host: HostField = HostField::Client,
        /// How backends are told whose request it is. What clients say of that themselves is taken out.
        pub forwarded: Forwarded = Forwarded::XForwarded,
        /// Whether a request may switch to another protocol, as WebSockets do.
        pub upgrade: bool = true,
        /// Whether clients get connections to backends by CONNECT, for whatever they speak over them (RFC 9110 section 9.3.6). The route answers nothing else then,
        /// and its pool has backends such as `tcp://HOST:PORT`: one of those is connected to, whatever target the client names.
        pub connect: bool = false,
        /// Whether the answer says how long the backend took, by `Server-Timing`.
        pub server_timing: bool = false,
        /// Copies of requests for another pool, whose answers nobody gets.
        pub mirror: Option<Mirror>,
        /// Requests that are made to wait or to fail, to see what comes of that.
        pub fault: Option<FaultInjection>,
    }
    check forward;
}

section! {
    /// Copies of requests, sent to another pool once their bodies are whole. What is larger than `retry.max_body` of the pool that answers is not copied.
    #[required_keys]
    pub struct Mirror {
        /// The pool that gets them, by its name in `[proxy.pool]`.
        pub pool: String,
        /// In percent: how many of the requests are copied.
        pub percent: f64 [range 0.0..=100.0] = 100.0,
        /// Copies that may be under way at once.
        pub most: u32 [range 1..=1_000_000] = 100,
    }
}

section! {
    /// Faults that are made on purpose. A request may meet both.
    pub struct FaultInjection {
        /// In percent: requests that wait for `time` before they go anywhere.
        pub delay: f64 [range 0.0..=100.0] = 0.0,
        /// How long those wait.
        pub time: Duration [range millis(1)..=mins(10)] = secs(1),
        /// In percent: requests that no backend gets, and that are answered with `status`.
        pub abort: f64 [range 0.0..=100.0] = 0.0,
        /// What those are answered with.
        pub status: u16 [range 400..=599] = 503,
        /// Only requests that have this header field; unset, all of them.
        pub only: Option<String>,
    }
    check fault_injection;
}

choice! {
    /// The host that a backend is asked for.
    pub enum HostField {
        /// The one that the client asked for.
        Client = "client",
        /// That of the backend's URL.
        Backend = "backend",
    }
}

choice! {
    /// How backends are told whose request it is.
    pub enum Forwarded {
        /// By `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
        XForwarded = "x-forwarded",
        /// By `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
        /// By both.
        Both = "both",
        /// Not at all.
        Off = "off",
    }
}

fn forward(forward: &Forward, at: &mut At<'_>) {
    if forward.pool.is_empty() {
        at.fault("pool", Fault::new("it names no pool").expected("the NAME of a [proxy.pool.NAME]"));
    }
    let of_requests = ["host", "forwarded", "upgrade", "server_timing", "mirror"].into_iter();
    for key in of_requests.filter(|key| forward.connect && at.is_set(key)).collect::<Vec<_>>() {
        let fault = Fault::new("this is about requests, and the route passes on connections that CONNECT asks for");
        at.fault(key, fault.expected("connect = false"));
    }
}

fn fault_injection(faults: &FaultInjection, at: &mut At<'_>) {
    if let Some(only) = faults.only.as_deref().filter(|only| only.parse::<HeaderName>().is_err()) {
        let fault = Fault::new(format!("{only:?} is no name of a field")).expected("a name such as \"x-fault\"");
        at.fault("only", fault);
    }
    if faults.delay == 0.0 && faults.abort == 0.0 {
        let key = if faults.time == FaultInjection::default().time { "abort" } else { "delay" };
        at.fault(key, Fault::new("no request meets a fault").expected("a part of the requests, in percent"));
    }
}
