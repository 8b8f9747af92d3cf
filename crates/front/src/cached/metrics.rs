//! Every metric of response caching, declared once. What the tiers below count is theirs.

use outwork_telemetry::{labels, metrics};

use super::storing::Pass;

labels! {
    /// How a request was answered.
    pub enum Outcome as "outcome" {
        /// With what was stored.
        Hit = "hit",
        /// With what was stored and stale, while it is fetched again behind the answer.
        Stale = "stale",
        /// With what was stored and stale, because no new answer could be had.
        StoodIn = "stood_in",
        /// With what was stored, after the handler had said that it has not changed.
        Revalidated = "revalidated",
        /// By the handler.
        Miss = "miss",
        /// With what another request was fetching already.
        Collapsed = "collapsed",
        /// By the handler, past the cache: a rule, a method or a client says so, or it is known that the answer cannot be stored.
        Pass = "pass",
        /// 504, as only what is stored would have done.
        OnlyIfCached = "only_if_cached"
    }
}

labels! {
    /// Why an answer was not stored.
    pub enum Unstored as "reason" {
        NoStore = "no_store", Private = "private", Authorization = "authorization", Cookie = "cookie", SetCookie = "set_cookie",
        Vary = "vary", Status = "status", Stale = "no_lifetime", Client = "client", TooLarge = "too_large"
    }
}

labels! {
    /// Why a fetch was not made, not shared or not finished.
    pub enum Limit as "limit" {
        /// As many are under way as may be.
        Fetches = "fetches",
        /// As many wait for one as may.
        Followers = "followers",
        /// As many bytes are on their way in as may be.
        Bytes = "bytes",
        /// It took too long.
        Timeout = "timeout"
    }
}

metrics! {
    /// What response caching counts.
    pub struct CachedMetrics, prefix "outwork_responses" {
        /// Requests of routes that cache, by how they were answered.
        requests: Counter by Outcome => history,
        /// Answers that were stored.
        stored: Counter => history,
        /// Answers that were not stored, by the reason.
        unstored: Counter by Unstored,
        /// Fetches under way.
        fetches: Gauge => history,
        /// Bytes of answers on their way into the cache.
        gathering: Gauge in bytes,
        /// Fetches behind an answer that was stale.
        background: Counter,
        /// Fetches that a limit kept from being made, shared or finished.
        limited: Counter by Limit,
        /// Answers that an unsafe request made invalid.
        invalidated: Counter,
        /// Fetches to fill the cache before anybody asks.
        warmed: Counter by Warmed,
        /// Purges that a cache before this one was told of.
        edge_purges: Counter by EdgeOutcome,
        /// Purges that a cache before this one has yet to be told of.
        edge_waiting: Gauge,
        /// Whether a cache before this one has yet to be told to throw out everything, because it was not told of a purge.
        edge_owed: Gauge,
    }
}

labels! {
    /// Why something was fetched before anybody asked.
    pub enum Warmed as "cause" { Start = "start", Schedule = "schedule", Predicted = "predicted", Asked = "asked", Failed = "failed" }
}

labels! {
    /// What became of word to a cache before this one.
    pub enum EdgeOutcome as "outcome" {
        /// It was taken.
        Sent = "sent",
        /// It failed, and is tried again: a purge, or that everything is to be thrown out.
        Retried = "retried",
        /// It was refused, or failed too often: everything is to be thrown out instead.
        Failed = "failed",
        /// Too many waited already: everything is to be thrown out instead.
        Dropped = "dropped"
    }
}

impl From<Pass> for Unstored {
    fn from(pass: Pass) -> Self {
        match pass {
            Pass::NoStore => Self::NoStore,
            Pass::Private => Self::Private,
            Pass::Authorization => Self::Authorization,
            Pass::Cookie => Self::Cookie,
            Pass::SetCookie => Self::SetCookie,
            Pass::Vary => Self::Vary,
            Pass::Status => Self::Status,
            Pass::Stale => Self::Stale,
            Pass::Client => Self::Client,
            Pass::TooLarge => Self::TooLarge,
        }
    }
}
