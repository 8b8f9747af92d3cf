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
pub enum RedirectHttps {
    /// They are not.
    #[default]
    Off,
    /// To the port of a listener with TLS.
    ToListener,
    /// To this port.
    ToPort(u16),
}

impl Setting for RedirectHttps {
    fn expected() -> String {
        "true, false or the port of HTTPS, from 1 to 65535".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value() {
            Value::Bool(true) => Some(Self::ToListener),
            Value::Bool(false) => Some(Self::Off),
            Value::Int(port @ 1..=65_535) => u16::try_from(*port).ok().map(Self::ToPort),
            _ => faults.wrong(node),
        }
    }

    fn write(&self) -> Json {
        match self {
            Self::Off => false.into(),
            Self::ToListener => true.into(),
            Self::ToPort(port) => (*port).into(),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 1, "maximum": 65_535}]})
    }
}

impl RedirectHttps {
    /// The port that clients of a listener at `clear` are sent to, where those at `encrypted` speak TLS and are known to clients by these ports. Where
    /// none is named, it is 443 if that is one of them, or there is none; else that of the first at the same address, or of the first.
    fn port(self, clear: SocketAddr, encrypted: &[(SocketAddr, u16)]) -> Option<u16> {
        match self {
            Self::Off => None,
            Self::ToPort(port) => Some(port),
            Self::ToListener if encrypted.iter().any(|(_, port)| *port == PORT) => Some(PORT),
            Self::ToListener => {
                let beside = encrypted.iter().find(|(address, _)| address.ip() == clear.ip());
                Some(beside.or(encrypted.first()).map_or(PORT, |(_, port)| *port))
            }
        }
    }
}

/// HTTPS where there is none, and the other way round.
pub(super) fn fitting(listener: &Listener, at: &mut At<'_>) {
    if listener.tls.is_some() && listener.redirect_https != RedirectHttps::Off {
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
    /// The port that clients know it by, bound to this address, where it speaks TLS.
    pub fn https_port(&self, bound: SocketAddr) -> Option<u16> {
        self.tls.as_ref().map(|tls| tls.http3.advertise_port.unwrap_or(bound.port()))
    }

    /// What it asks for, by its address; `None` where that is nothing. `encrypted` are the listeners that speak TLS, by their addresses and the ports
    /// that clients know them by.
    pub fn rule(&self, bound: SocketAddr, encrypted: &[(SocketAddr, u16)]) -> Option<(SocketAddr, Rule)> {
        let redirect = self.redirect_https.port(bound, encrypted);
        let rule = Rule { redirect, hsts: self.hsts.as_ref().and_then(Hsts::value) };
        (rule != Rule::default()).then_some((bound, rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_to_443_or_to_where_tls_is_spoken() {
        let of = |text: &str| text.parse::<SocketAddr>().unwrap();
        let listeners = |all: &[&str]| all.iter().map(|one| (of(one), of(one).port())).collect::<Vec<_>>();
        let clear = of("192.0.2.1:80");
        for (encrypted, port) in [
            (&[][..], 443),
            (&["0.0.0.0:8443"], 8443),
            (&["0.0.0.0:8443", "0.0.0.0:443"], 443),
            (&["127.0.0.1:9443", "192.0.2.1:8443"], 8443),
        ] {
            assert_eq!(RedirectHttps::ToListener.port(clear, &listeners(encrypted)), Some(port), "{encrypted:?}");
            assert_eq!(RedirectHttps::ToPort(7).port(clear, &listeners(encrypted)), Some(7));
            assert_eq!(RedirectHttps::Off.port(clear, &listeners(encrypted)), None);
        }
        let known = [(of("0.0.0.0:8443"), 443)];
        assert_eq!(RedirectHttps::ToListener.port(clear, &known), Some(443), "behind what maps its port");
    }
}
