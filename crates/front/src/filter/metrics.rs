//! Every metric of middleware, declared once.

use outwork_telemetry::{labels, metrics};

labels! {
    /// Why a request was not passed on.
    pub enum Refused as "reason" {
        Address = "address", Maintenance = "maintenance", Rate = "rate", Credentials = "credentials",
        Body = "body", Time = "time", Rewrite = "rewrite", Loop = "loop", Certificate = "certificate",
        Token = "token", Claims = "claims", Asked = "forward_auth"
    }
}

labels! {
    /// What became of a request beyond a limit.
    pub enum Limited as "outcome" { Refused = "refused", DryRun = "dry_run" }
}

labels! {
    /// What became of a question to Redis.
    pub enum Shared as "outcome" {
        Answered = "answered", Late = "late", Failed = "failed", Paused = "paused", Full = "full"
    }
}

labels! {
    /// What became of a name and password.
    pub enum Login as "outcome" {
        Remembered = "remembered", Right = "right", Wrong = "wrong", Missing = "missing", Throttled = "throttled",
        Busy = "busy"
    }
}

labels! {
    /// What became of a bearer token.
    pub enum TokenOutcome as "outcome" {
        Verified = "verified", Remembered = "remembered", Anonymous = "anonymous", Missing = "missing", Several = "several",
        Malformed = "malformed", Algorithm = "algorithm", UnknownKey = "unknown_key", NoKeys = "no_keys",
        Signature = "signature", Kind = "type", Issuer = "issuer", Audience = "audience", Expired = "expired",
        Endless = "endless", Early = "early", Lacking = "insufficient"
    }
}

labels! {
    /// What somebody who was asked about a request has said.
    pub enum Asked as "outcome" {
        Passed = "passed", Refused = "refused", Redirected = "redirected", Wrong = "wrong", Unreachable = "unreachable",
        Late = "late"
    }
}

labels! {
    /// What became of a fetch of an issuer's keys.
    pub enum KeyFetch as "outcome" {
        Fetched = "fetched", Unchanged = "unchanged", Failed = "failed", TooSoon = "too_soon"
    }
}

metrics! {
    /// Metrics of middleware.
    #[derive(Debug)]
    pub struct FilterMetrics, prefix "outwork_front" {
        /// Requests that were answered by middleware instead of their handler.
        refused: Counter by Refused => history,
        /// Requests beyond a rate limit: refused, or let through by a dry run.
        rate_limited: Counter by Limited => history,
        /// Keys of rate limits that were forgotten before what they had used came back, for want of room.
        rate_forgotten: Counter,
        /// Questions to Redis about rate limits. All but the answered were decided by the counts of this process.
        rate_shared: Counter by Shared,
        /// Names and passwords: right (hashed, or remembered), wrong, missing, from addresses with too many wrong ones, or beyond what
        /// can be hashed at once.
        logins: Counter by Login,
        /// Bearer tokens: good ones (verified, or remembered), requests that were let through without one, and what was wrong with the others.
        /// Tokens that do not have the scopes and claims of their route are insufficient.
        tokens: Counter by TokenOutcome => history,
        /// Fetches of the keys of issuers of tokens. For an unknown key none was made where the one before was too short ago.
        jwt_key_fetches: Counter by KeyFetch,
        /// Requests that others were asked about: those that passed, were refused or sent elsewhere, and those about which nothing was said that could be
        /// understood, in time, or at all.
        forward_auth: Counter by Asked => history,
        /// CORS preflights answered.
        preflights: Counter,
        /// Lines of the access log.
        access_log_lines: Counter,
        /// Lines that were lost: beyond what may wait, or not to be written.
        access_log_dropped: Counter,
        /// Failures to write or open the access log.
        access_log_failed: Counter,
    }
}
