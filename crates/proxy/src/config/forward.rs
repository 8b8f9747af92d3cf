//! What a route says of requests that it passes on.

use std::time::Duration;

use http::HeaderName;
use outwork_config::{At, Fault, choice, millis, mins, secs, section};

use super::HashKey;

section! {
    /// Passes requests on to a pool of backends.
    #[required_keys]
    pub struct Forward {
        /// The pool, by its name in `[proxy.pool]`.
        pub pool: String,
        /// Pools that get a part of the requests in the place of that one, as those of a new version do (a canary). A request that has gone to one of them goes to no
        /// other. Where all of them have `sticky`, clients that are tied to a backend stay with its pool, as long as that has a part. A cache before them keeps one
        /// answer for all.
        pub split: Vec<Split>,
        /// What always goes to the same of these pools, as long as their parts stay as they are, and to the first of `split` if its part grows; unset, each request
        /// goes where chance has it, and so does one that has no such header field or cookie: whoever is to stay needs one, which the backends may give.
        pub split_by: Option<HashKey>,
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
        /// Whether fields that clients send after the content of a request (trailers) go on to backends; those of gRPC calls do in any case. Nothing looks at them on
        /// the way: what limits, tokens and `request_headers` look at is the head. Those that a route takes out of heads, or gives itself, and those that say
        /// whose a request is, are taken out of them, too.
        pub trailers: bool = false,
        /// Copies of requests for another pool, whose answers nobody gets.
        pub mirror: Option<Mirror>,
        /// Requests that are made to wait or to fail, to see what comes of that.
        pub fault: Option<FaultInjection>,
    }
    check forward;
}

section! {
    /// A part of the requests.
    #[required_keys]
    pub struct Split {
        /// The pool that gets it, by its name in `[proxy.pool]`.
        pub pool: String,
        /// In percent: how many of the requests that is. What all parts leave is for the `pool` of the route.
        pub percent: f64 [range 0.0..=100.0],
    }
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

impl Split {
    /// All of the requests, as parts are counted.
    pub(crate) const WHOLE: u32 = 100_000_000;

    /// How much of [`Split::WHOLE`] it is: in whole numbers, so that parts of 33.3, 33.3 and 33.4 percent leave nothing.
    pub(crate) fn part(&self) -> u32 {
        (self.percent / 100.0 * f64::from(Self::WHOLE)).round() as u32
    }
}

impl Forward {
    /// Every pool that answers requests, that of the route first.
    pub fn pools(&self) -> impl Iterator<Item = &String> {
        [&self.pool].into_iter().chain(self.split.iter().map(|split| &split.pool))
    }

    /// The same in words.
    pub fn whom(&self) -> String {
        let parts = self.split.iter().map(|split| format!("{} % to {}", split.percent, split.pool));
        [self.pool.clone()].into_iter().chain(parts).collect::<Vec<_>>().join(", ")
    }
}

fn forward(forward: &Forward, at: &mut At<'_>) {
    if forward.pool.is_empty() {
        at.fault("pool", Fault::new("it names no pool").expected("the NAME of a [proxy.pool.NAME]"));
    }
    let of_requests = ["host", "forwarded", "upgrade", "server_timing", "trailers", "mirror"].into_iter();
    for key in of_requests.filter(|key| forward.connect && at.is_set(key)).collect::<Vec<_>>() {
        let fault = Fault::new("this is about requests, and the route passes on connections that CONNECT asks for");
        at.fault(key, fault.expected("connect = false"));
    }
    split(forward, at);
}

fn split(forward: &Forward, at: &mut At<'_>) {
    for (index, Split { pool, .. }) in forward.split.iter().enumerate() {
        if forward.pools().take(index + 1).any(|before| before == pool) {
            let fault = Fault::new(format!("the pool {pool:?} has its part already"));
            at.fault(&format!("split[{index}].pool"), fault.expected("each pool once"));
        }
    }
    for (index, split) in forward.split.iter().enumerate().filter(|(_, split)| split.percent > 0.0 && split.part() == 0)
    {
        let fault = Fault::new(format!("{} % is smaller than any part", split.percent));
        at.fault(&format!("split[{index}].percent"), fault.expected("at least 0.000001, or 0.0 for no requests"));
    }
    let whole: u64 = forward.split.iter().map(|split| u64::from(split.part())).sum();
    if whole > u64::from(Split::WHOLE) {
        let percent = whole as f64 / f64::from(Split::WHOLE / 100);
        let fault = Fault::new(format!("the parts come to {percent} % of the requests"));
        at.fault("split", fault.expected("at most 100 % together"));
    }
    if forward.split_by.is_some() && forward.split.is_empty() {
        let fault = Fault::new("all requests go to one pool");
        at.fault("split_by", fault.expected("split = [{ pool = \"NAME\", percent = 5 }] beside it"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_numbers_that_leave_nothing_where_they_come_to_all() {
        let part = |percent| Split { pool: String::new(), percent }.part();
        assert_eq!([33.3, 33.3, 33.4].map(part).iter().sum::<u32>(), Split::WHOLE);
        assert_eq!((part(0.0), part(0.1), part(100.0)), (0, 100_000, Split::WHOLE));
    }
}
