//! What is said on the channel. All of it has bounds, which the reader holds the writer to.
//!
//! Sites and their controller need not be of one release: who reads takes no notice of fields that it does not know, and has those that are not said as they were before there were
//! any. Documents are another thing: a site that does not know all of one refuses it, and says so. Where one day the two have to understand each other otherwise, the name of the
//! protocol (`tls::PROTOCOL`) says which way.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::network::signed::Signed;

/// Each side says something at least so often.
pub const ALIVE: Duration = Duration::from_secs(15);
/// Who says nothing for so long is gone.
pub const SILENCE: Duration = Duration::from_secs(60);
/// Paths in one report.
pub const PATHS: usize = 4096;
/// Reports that are parts of one.
pub const PARTS: usize = 16;
/// Events in one report.
pub const EVENTS: usize = 256;
/// Policies in one report: those that there may be, and none.
pub const POLICIES: usize = 4097;
/// Uplinks of a site.
pub const UPLINKS: usize = 64;
/// Octets of a name or a reason in a report.
const TEXT: usize = 512;
/// Milliseconds of a day.
const DAY_MS: f64 = 86_400e3;
/// Packets, or octets of them, between two reports: more than there are, and few enough to be summed up.
const CARRIED: u64 = 1 << 45;

/// What a site says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromSite {
    /// The first words of who has no certificate yet.
    Enrol(Box<Enrol>),
    /// The first words of who has one.
    Hello {
        /// The version of the network that it holds; 0 is none.
        version: u64,
        /// Its uplinks, as documents.
        uplinks: Vec<Json>,
        /// The release that it runs; empty where it is of before that was said.
        #[serde(default)]
        release: String,
        /// What proves that the controller has told it that version; empty where it has no proof.
        #[serde(default)]
        proof: String,
    },
    /// It has taken a version up, and kept it.
    Taken {
        /// Which.
        version: u64,
    },
    /// It has not taken a version up.
    Refused {
        /// Which.
        version: u64,
        /// The version that it holds.
        held: u64,
        /// Why.
        why: String,
    },
    /// How its paths are.
    Report(Box<Report>),
    /// It wants a certificate after the one that it has.
    Renew(Request),
    /// The site is there.
    Alive {},
}

/// What the controller says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromController {
    /// Who has shown a token is of the network now.
    Enrolled(Box<Enrolled>),
    /// Who has said hello is welcome.
    Welcome {
        /// Milliseconds between reports at least.
        report_ms: u64,
    },
    /// What the network is from now on.
    Push {
        /// It.
        #[serde(flatten)]
        signed: Signed,
        /// What proves afterwards that it was told.
        #[serde(default)]
        proof: String,
    },
    /// A report is kept.
    Kept {
        /// Which.
        sequence: u64,
    },
    /// A report could not be kept; it may come again.
    NotKept {
        /// Which.
        sequence: u64,
    },
    /// A certificate, PEM.
    Certificate {
        /// It.
        certificate: String,
    },
    /// Nothing of what was asked for is done, and nothing more is heard.
    Denied {
        /// Why.
        why: String,
    },
    /// The controller is there.
    Alive {},
}

/// A request for a certificate: a key, and a proof that who asks has the private one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The public key (Ed25519), base64.
    pub public_key: String,
    /// A signature of what it is for, base64.
    pub proof: String,
}

/// What a site shows to be taken into the network. `Debug` hides the secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrol {
    /// What names the token, base64.
    pub token: String,
    /// What nobody else knows, base64.
    pub secret: String,
    /// For its certificate.
    pub request: Request,
    /// The networks behind it, should the controller know none.
    pub subnets: Vec<String>,
    /// Its uplinks, as documents without the site.
    pub uplinks: Vec<Json>,
}

impl std::fmt::Debug for Enrol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrol").field("subnets", &self.subnets).field("uplinks", &self.uplinks).finish_non_exhaustive()
    }
}

/// What it is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// What it is called.
    pub site: String,
    /// Which network it is of.
    pub network: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The controller's authority, PEM.
    pub authority: String,
    /// Who signs what the network is, base64.
    pub verifier: String,
}

/// How the paths of a site are, and what has happened since the report before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Grows from report to report, over restarts as well.
    pub sequence: u64,
    /// Milliseconds since 1970 by the clock of the site.
    pub at_ms: u64,
    /// Each path.
    pub paths: Vec<PathReport>,
    /// Events, the oldest first.
    pub events: Vec<EventReport>,
    /// What flows under each policy have sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficReport>,
    /// Whether the next report has other paths of the same moment: there are more than one report takes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// What flows under a policy have sent since the report before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficReport {
    /// The policy; empty for those under none.
    pub policy: String,
    /// Packets.
    pub packets: u64,
    /// Their octets.
    pub octets: u64,
}

/// A path as the site at its near end sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathReport {
    /// The uplink by which it leaves.
    pub uplink: String,
    /// The site that it leads to.
    pub site: String,
    /// The uplink by which it comes in there.
    pub remote_uplink: String,
    /// The hub that passes it on; empty where it goes straight.
    pub via: String,
    /// What it is taken for.
    pub state: String,
    /// Whether new flows take it.
    pub chosen: bool,
    /// One way, in milliseconds.
    pub latency_ms: f64,
    /// In milliseconds, as in RFC 3550.
    pub jitter_ms: f64,
    /// From 0 to 1.
    pub loss: f64,
    /// From 1 to 4.5.
    pub mos: f64,
    /// Datagrams sent since the report before.
    pub sent: u64,
    /// Datagrams that came since.
    pub received: u64,
}

/// Something that has happened at a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    /// Milliseconds since 1970 by the clock of the site.
    pub at_ms: u64,
    /// `path`, `mtu` or `switch`.
    pub kind: String,
    /// What it is about.
    pub about: String,
    /// What was before.
    pub before: String,
    /// What is now.
    pub after: String,
    /// Why.
    pub why: String,
}

impl Report {
    /// What of its bounds it does not keep.
    pub fn excess(&self) -> Option<&'static str> {
        let long = |text: &String| text.len() > TEXT;
        let of_path = |path: &PathReport| {
            [&path.uplink, &path.site, &path.remote_uplink, &path.via, &path.state].into_iter().any(long)
        };
        let of_event = |event: &EventReport| {
            [&event.kind, &event.about, &event.before, &event.after, &event.why].into_iter().any(long)
        };
        // Nothing takes longer than a day, and what is compared and summed up stays a number.
        let odd = |path: &PathReport| {
            let figures = [(path.latency_ms, DAY_MS), (path.jitter_ms, DAY_MS), (path.loss, 1.0), (path.mos, 5.0)];
            figures.into_iter().any(|(figure, most)| !(0.0..=most).contains(&figure))
        };
        let much = |traffic: &TrafficReport| traffic.packets > CARRIED || traffic.octets > CARRIED;
        match self {
            _ if self.paths.len() > PATHS => Some("too many paths"),
            _ if self.events.len() > EVENTS => Some("too many events"),
            _ if self.traffic.len() > POLICIES => Some("too many policies"),
            _ if self.paths.iter().any(of_path) || self.events.iter().any(of_event) => Some("a text that is too long"),
            _ if self.traffic.iter().any(|traffic| long(&traffic.policy)) => Some("a text that is too long"),
            _ if self.paths.iter().any(odd) || self.traffic.iter().any(much) => Some("a figure that is none"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> PathReport {
        PathReport {
            uplink: "fibre".into(),
            site: "north".into(),
            remote_uplink: "dsl".into(),
            via: String::new(),
            state: "up".into(),
            chosen: true,
            latency_ms: 12.5,
            jitter_ms: 0.5,
            loss: 0.0,
            mos: 4.4,
            sent: 7,
            received: 9,
        }
    }

    fn report(paths: Vec<PathReport>) -> Report {
        Report { sequence: 1, at_ms: 2, paths, events: vec![], traffic: vec![], more: false }
    }

    #[test]
    fn what_is_said_is_what_is_heard() {
        let said = [
            FromSite::Report(Box::new(report(vec![path()]))),
            FromSite::Hello { version: 4, uplinks: vec![], release: "1.0.0".into(), proof: "AA==".into() },
            FromSite::Taken { version: 5 },
        ];
        for message in said {
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<FromSite>(&text).unwrap(), message, "{text}");
        }
        let text = serde_json::to_string(&FromController::Alive {}).unwrap();
        assert_eq!(serde_json::from_str::<FromController>(&text).unwrap(), FromController::Alive {});
    }

    #[test]
    fn who_is_of_another_release_is_understood_as_far_as_that_goes() {
        let later = r#"{"say":"hello","version":4,"uplinks":[],"release":"9.0.0","colour":"red"}"#;
        let hello = |release: &str| {
            let (release, proof) = (release.to_owned(), String::new());
            FromSite::Hello { version: 4, uplinks: vec![], release, proof }
        };
        assert_eq!(serde_json::from_str::<FromSite>(later).unwrap(), hello("9.0.0"));
        let before = r#"{"say":"hello","version":4,"uplinks":[]}"#;
        assert_eq!(serde_json::from_str::<FromSite>(before).unwrap(), hello(""));
        let before = r#"{"say":"report","sequence":1,"at_ms":2,"paths":[],"events":[]}"#;
        assert_eq!(serde_json::from_str::<FromSite>(before).unwrap(), FromSite::Report(Box::new(report(vec![]))));
        let later = r#"{"say":"welcome","report_ms":9,"colour":"red"}"#;
        let welcome = FromController::Welcome { report_ms: 9 };
        assert_eq!(serde_json::from_str::<FromController>(later).unwrap(), welcome);
        let before = r#"{"say":"push","delta":"{}","signature":"AA==","colour":"red"}"#;
        let signed = Signed { delta: "{}".into(), signature: "AA==".into() };
        let push = FromController::Push { signed, proof: String::new() };
        assert_eq!(serde_json::from_str::<FromController>(before).unwrap(), push);
        // What is to be done is another thing: nobody guesses that.
        assert!(serde_json::from_str::<FromController>(r#"{"say":"dance"}"#).is_err());
    }

    #[test]
    fn a_report_that_goes_beyond_its_bounds_is_known() {
        assert_eq!(report(vec![path()]).excess(), None);
        assert!(report(vec![path(); PATHS + 1]).excess().is_some());
        assert!(report(vec![PathReport { site: "x".repeat(TEXT + 1), ..path() }]).excess().is_some());
        for odd in [-1.0, 1.5, f64::NAN, f64::INFINITY] {
            assert!(report(vec![PathReport { loss: odd, ..path() }]).excess().is_some(), "{odd}");
        }
        assert!(report(vec![PathReport { latency_ms: 1e300, ..path() }]).excess().is_some());
        let traffic = |octets| TrafficReport { policy: "calls".into(), packets: 1, octets };
        let sent = |traffic| Report { traffic, ..report(vec![]) }.excess();
        assert_eq!(sent(vec![traffic(1_000_000)]), None);
        assert!(sent(vec![traffic(u64::MAX)]).is_some() && sent(vec![traffic(1); POLICIES + 1]).is_some());
    }

    #[test]
    fn the_secret_of_a_token_is_in_no_log() {
        let request = Request { public_key: String::new(), proof: String::new() };
        let (token, secret) = ("token".to_owned(), "hush".to_owned());
        let enrol = FromSite::Enrol(Box::new(Enrol { token, secret, request, subnets: vec![], uplinks: vec![] }));
        assert!(!format!("{enrol:?}").contains("hush"));
    }
}
