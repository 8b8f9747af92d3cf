//! How backends are checked.

use std::time::Duration;

use http::uri::PathAndQuery;
use outwork_balance::CheckSettings;
use outwork_config::{At, Fault, choice, millis, mins, secs, section};

section! {
    /// Active health checks: each backend is asked, whether it has requests or not.
    pub struct HealthCheck {
        /// What is asked; unset, `http`, and `tcp` in pools of layer 4.
        pub kind: Option<CheckKind>,
        /// From one check to the next.
        pub interval: Duration [range millis(10)..=mins(60)] = secs(5),
        /// The same while a backend answers otherwise than before.
        pub fast_interval: Duration [range millis(10)..=mins(60)] = secs(1),
        /// How long a check may take.
        pub timeout: Duration [range millis(10)..=mins(10)] = secs(2),
        /// Good checks in a row that bring a backend back.
        pub healthy_threshold: u32 [range 1..=1000] = 2,
        /// Bad checks in a row that take it out.
        pub unhealthy_threshold: u32 [range 1..=1000] = 3,
        /// The path that is asked for, by `http`.
        pub path: String = "/",
        /// The host that is asked for; unset, that of the backend's URL.
        pub host: Option<String>,
        /// Statuses that are good ones, such as `200` or `200-399`.
        pub status: String = "200-399",
        /// Text that the answer has to have within its first 64 KiB.
        pub body: Option<String>,
        /// The service that is asked about, by `grpc`; unset, the server as a whole.
        pub service: String = "",
        /// The port that is asked, where it is another than that of requests. What listens to UDP is asked at a port of TCP.
        pub port: Option<u16> [range 1..=65_535],
    }
    check health_check;
    foreign super::foreign::OF_A_CHECK;
}

choice! {
    /// What is asked of a backend, to see whether it is healthy.
    pub enum CheckKind {
        /// A GET request.
        Http = "http",
        /// A connection.
        Tcp = "tcp",
        /// `grpc.health.v1.Health/Check`, of backends that speak HTTP/2.
        Grpc = "grpc",
    }
}

fn health_check(check: &HealthCheck, at: &mut At<'_>) {
    if check.path.parse::<PathAndQuery>().is_err() || !check.path.starts_with('/') {
        let fault = Fault::new(format!("{:?} is no path", check.path)).expected("a path such as \"/healthz\"");
        at.fault("path", fault);
    }
    if let Some(host) = check.host.as_deref().filter(|host| host.parse::<http::uri::Authority>().is_err()) {
        at.fault("host", Fault::new(format!("{host:?} is no host")).expected("a host such as \"app.example.org\""));
    }
    if statuses(&check.status).is_none() {
        let fault = Fault::new(format!("{:?} are no statuses", check.status));
        at.fault("status", fault.expected("a status or a range, parted by commas, such as \"200-299, 404\""));
    }
    check.looks_at(check.kind.unwrap_or(CheckKind::Http), "", at);
}

impl HealthCheck {
    /// Refuses what a check of this kind does not look at.
    pub(super) fn looks_at(&self, kind: CheckKind, above: &str, at: &mut At<'_>) {
        for (key, kinds) in self.given().into_iter().filter(|(_, kinds)| !kinds.contains(&kind)) {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("kind = \"{kind}\"")).collect();
            let fault = Fault::new(format!("a check by {kind} does not look at this"));
            at.fault(&format!("{above}{key}"), fault.expected(kinds.join(" or ")));
        }
    }

    /// What is set that not all kinds of checks look at, with those that do.
    fn given(&self) -> Vec<(&'static str, &'static [CheckKind])> {
        const HTTP: &[CheckKind] = &[CheckKind::Http];
        let others = [
            ("path", self.path != "/", HTTP),
            ("status", self.status != "200-399", HTTP),
            ("body", self.body.is_some(), HTTP),
            ("host", self.host.is_some(), &[CheckKind::Http, CheckKind::Grpc]),
            ("service", !self.service.is_empty(), &[CheckKind::Grpc]),
        ];
        others.into_iter().filter(|(_, given, _)| *given).map(|(key, _, kinds)| (key, kinds)).collect()
    }
}

/// Ranges of statuses.
pub(crate) fn statuses(text: &str) -> Option<Vec<std::ops::RangeInclusive<u16>>> {
    let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = status(first)?..=status(last)?;
        (!range.is_empty()).then_some(range)
    };
    text.split(',').map(range).collect()
}

impl HealthCheck {
    /// When a check is due, and what its result means.
    pub(crate) fn schedule(&self) -> CheckSettings {
        CheckSettings {
            interval: self.interval,
            fast_interval: self.fast_interval.min(self.interval),
            timeout: self.timeout,
            rise: self.healthy_threshold,
            fall: self.unhealthy_threshold,
            ..CheckSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_single_ones_and_ranges() {
        assert_eq!(statuses("200-299, 404"), Some(vec![200..=299, 404..=404]));
        for wrong in ["", "abc", "299-200", "99", "200-", "200-700", "200,,404"] {
            assert_eq!(statuses(wrong), None, "{wrong:?}");
        }
    }
}
