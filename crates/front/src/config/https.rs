//! What a listener asks for so that clients come by HTTPS.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderValue;
use outwork_config::{At, Fault, Faults, Node, Setting, Value, days, secs, section};
use serde_json::{Value as Json, json};

use super::Listener;
use crate::https::Rule;

/// The port of HTTPS (RFC 9110 section 4.2.2).
const PORT: u16 = 443;
/// What browsers ask of a site that they are to know before they first meet it.
const PRELOAD_AGE: Duration = Duration::from_secs(31_536_000);

section! {
    /// Strict transport security: browsers that have been here come by HTTPS alone (RFC 6797).
    pub struct Hsts {
        /// For how long they keep to it.
        pub max_age: Duration [range secs(0)..=days(3650)] = days(365),
        /// Whether they keep to it for all names below this one as well.
        pub include_subdomains: bool = false,
        /// Whether the site may be on the lists that browsers come with.
        pub preload: bool = false,
    }
    check worthy;
}

fn worthy(hsts: &Hsts, at: &mut At<'_>) {
    if hsts.preload && (!hsts.include_subdomains || hsts.max_age < PRELOAD_AGE) {
        let fault = Fault::new("browsers take no such site onto their lists");
        let help = "set include_subdomains = true and a max_age of 365d or more, or leave preload out";
        at.warn("preload", fault.help(help));
    }
}

impl Hsts {
    /// The value of `Strict-Transport-Security`.
    fn value(&self) -> Option<HeaderValue> {
        let subdomains = if self.include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        HeaderValue::try_from(format!("max-age={}{subdomains}{preload}", self.max_age.as_secs())).ok()
    }
}

/// Whether clients of a clear-text listener are sent to HTTPS, and to which port: `true`, `false` or a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RedirectHttps(pub Option<u16>);

impl Setting for RedirectHttps {
    fn expected() -> String {
        "true, false or the port of HTTPS, from 1 to 65535".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value() {
            Value::Bool(redirect) => Some(Self(redirect.then_some(PORT))),
            Value::Int(port @ 1..=65_535) => u16::try_from(*port).ok().map(|port| Self(Some(port))),
            _ => faults.wrong(node),
        }
    }

    fn write(&self) -> Json {
        match self.0 {
            None => false.into(),
            Some(PORT) => true.into(),
            Some(port) => port.into(),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 1, "maximum": 65_535}]})
    }
}

/// HTTPS where there is none, and the other way round.
pub(super) fn fitting(listener: &Listener, at: &mut At<'_>) {
    if listener.tls.is_some() && listener.redirect_https.0.is_some() {
        let fault = Fault::new("this listener speaks TLS itself").expected("redirect_https on listeners without tls");
        at.fault("redirect_https", fault.help("set it at the listener whose clients are to be sent here"));
    }
    if listener.tls.is_none() && listener.hsts.is_some() {
        let fault =
            Fault::new("this listener speaks clear text, where browsers take no notice of it (RFC 6797 section 8.1)");
        at.fault("hsts", fault.expected("hsts on listeners with tls").help("set it at the listener that has tls"));
    }
}

impl Listener {
    /// What it asks for, by its address; `None` where that is nothing.
    pub fn rule(&self, bound: SocketAddr) -> Option<(SocketAddr, Rule)> {
        let rule = Rule { redirect: self.redirect_https.0, hsts: self.hsts.as_ref().and_then(Hsts::value) };
        (rule != Rule::default()).then_some((bound, rule))
    }
}
