//! What is the matter with the sites of a network, as one of them and as their controller sees it.

use std::time::{Duration, SystemTime};

use outwork_front::api::Timestamp;
use outwork_telemetry::alerts::{Finding, Severity};

use super::{LOAD, advise, finding, listed};

/// How long the controller may be away: it is restarted now and then, and all goes on meanwhile.
const AWAY: Duration = Duration::from_secs(300);

/// What is read of the tunnels, and of the network that they are in.
#[derive(Debug, Clone, Default)]
pub(crate) struct SdwanReading {
    /// Sites to which no path works.
    pub(crate) cut_off: Vec<String>,
    /// How this site stands with the controller that it follows.
    pub(crate) follows: Option<FollowsReading>,
    /// What this process, as the controller, knows of its sites.
    pub(crate) controls: Option<ControlsReading>,
}

/// How a site stands with its controller.
#[derive(Debug, Clone, Default)]
pub(crate) struct FollowsReading {
    /// Whether the controller is there.
    pub(crate) is_connected: bool,
    /// The version of the network that is in force.
    pub(crate) version: u64,
    /// Why it is not there, or what of what it said last was not taken up.
    pub(crate) error: Option<String>,
    /// From when on the certificate is late for another one, and until when it is good.
    pub(crate) certificate: Option<(SystemTime, SystemTime)>,
}

/// What a controller knows of its sites.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControlsReading {
    /// Sites that were there and have not been for a while: how many, and since when the first of them.
    pub(crate) away: (u64, Vec<String>),
    /// Sites that do not take up what they are told: how many, and why the first of them.
    pub(crate) behind: (u64, Vec<String>),
    /// Whether sites are told nothing, as it came out of a backup that is older than what they were told.
    pub(crate) is_held_back: bool,
}

/// What holds of it.
pub(super) fn findings(reading: &SdwanReading, now: SystemTime) -> Vec<Finding> {
    let follows = reading.follows.as_ref();
    let controls = reading.controls.as_ref();
    [
        cut_off(&reading.cut_off),
        follows.and_then(alone),
        follows.and_then(behind),
        follows.and_then(|follows| certificate(follows, now)),
        controls.and_then(|controls| sites_away(&controls.away)),
        controls.and_then(|controls| sites_behind(&controls.behind)),
        controls.and_then(held_back),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cut_off(sites: &[String]) -> Option<Finding> {
    if sites.is_empty() {
        return None;
    }
    let what = format!("no path works to the sites {}", listed(sites));
    let advice = "see `outwork paths` for what each path is taken for and why: where all that leave by one uplink are down it is that one, else the other site";
    let found = finding("sites_cut_off", Severity::Critical, true, LOAD, what);
    Some(advise(found, advice, &["sdwan.uplink", "sdwan.site"]))
}

fn alone(follows: &FollowsReading) -> Option<Finding> {
    if follows.is_connected {
        return None;
    }
    let why = follows.error.as_deref().unwrap_or("it does not answer yet");
    let what =
        format!("the controller of this site is away, and all goes on by its version {}: {why}", follows.version);
    let advice = "see whether the controller runs, and whether it is to be reached from here where sdwan.controller says; who is not enrolled any more needs `outwork sdwan enrol`";
    let found = finding("controller_away", Severity::Warning, true, AWAY, what);
    Some(advise(found, advice, &["sdwan.controller"]))
}

fn behind(follows: &FollowsReading) -> Option<Finding> {
    let why = follows.error.as_deref().filter(|_| follows.is_connected)?;
    let what =
        format!("this site stays at version {} of its network, and does not take up more: {why}", follows.version);
    let advice = "mend what this site's file says against it, or upgrade this site where it does not understand it; `outwork sdwan undo` at the controller takes the change back";
    let found = finding("site_behind", Severity::Warning, true, LOAD, what);
    Some(advise(found, advice, &["sdwan.controller"]))
}

fn certificate(follows: &FollowsReading, now: SystemTime) -> Option<Finding> {
    let (_, expires) = follows.certificate.filter(|(late, _)| *late <= now)?;
    let until = Timestamp::from(expires);
    let (severity, what) = match expires <= now {
        true => (
            Severity::Critical,
            format!("the certificate of this site was good until {until}: its controller believes it no longer"),
        ),
        false => (
            Severity::Warning,
            format!("the certificate of this site is good until {until}, and was not made anew in time"),
        ),
    };
    let advice = "the controller makes another one as soon as it is there; once this one is over, `outwork sdwan enrol` with a new token does";
    let found = finding("site_certificate", severity, true, Duration::ZERO, what);
    Some(advise(found, advice, &["sdwan.controller"]))
}

fn sites_away((count, first): &(u64, Vec<String>)) -> Option<Finding> {
    if *count == 0 {
        return None;
    }
    let what = format!("{count} sites of this controller are away: {}", of_all(*count, first));
    let advice =
        "see `outwork sdwan status`; a site that is not to come back is removed with `outwork sdwan sites remove`";
    // After a start all are, for a moment.
    let found = finding("sites_away", Severity::Warning, true, Duration::from_secs(120), what);
    Some(advise(found, advice, &["controller.listen"]))
}

fn sites_behind((count, first): &(u64, Vec<String>)) -> Option<Finding> {
    if *count == 0 {
        return None;
    }
    let what = format!("{count} sites of this controller do not take up what they are told: {}", of_all(*count, first));
    let advice = "see `outwork sdwan status` for why; `outwork sdwan undo` takes the last change back";
    let found = finding("sites_behind", Severity::Warning, true, Duration::ZERO, what);
    Some(advise(found, advice, &["controller.listen"]))
}

fn held_back(controls: &ControlsReading) -> Option<Finding> {
    if !controls.is_held_back {
        return None;
    }
    let what = "sites were told a later version of the network than this controller has: it came out of an older backup, and tells them nothing; they go on as they were told";
    let advice = "see `outwork sdwan changes` for what is missing here and make it anew; `outwork sdwan accept` then has all sites told what the network is";
    let found = finding("network_held_back", Severity::Critical, true, Duration::ZERO, what.to_owned());
    Some(advise(found, advice, &["controller.listen"]))
}

/// The first of so many.
fn of_all(count: u64, first: &[String]) -> String {
    let more = count.saturating_sub(first.len() as u64);
    let named = first.join("; ");
    if more == 0 { named } else { format!("{named}; and {more} more") }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(days: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(days * 86_400)
    }

    fn follows(is_connected: bool, error: Option<&str>) -> FollowsReading {
        let error = error.map(str::to_owned);
        FollowsReading { is_connected, version: 7, error, certificate: Some((at(75), at(90))) }
    }

    fn found(follows: FollowsReading, days: u64) -> Vec<(&'static str, Severity, Duration)> {
        let reading = SdwanReading { follows: Some(follows), ..SdwanReading::default() };
        findings(&reading, at(days)).into_iter().map(|one| (one.id, one.severity, one.patience)).collect()
    }

    #[test]
    fn a_site_whose_network_is_well_has_no_alerts() {
        assert_eq!(findings(&SdwanReading::default(), at(1)), []);
        assert_eq!(found(follows(true, None), 74), []);
    }

    #[test]
    fn sites_that_no_path_leads_to_are_named() {
        let cut_off = ["north", "south"].map(str::to_owned).to_vec();
        let found = findings(&SdwanReading { cut_off, ..SdwanReading::default() }, at(1)).remove(0);
        assert_eq!((found.id, found.severity), ("sites_cut_off", Severity::Critical));
        assert!(found.what.ends_with("the sites north; south"), "{}", found.what);
    }

    #[test]
    fn a_controller_may_be_away_for_a_while_and_what_is_not_taken_up_is_told_sooner() {
        assert_eq!(found(follows(false, Some("x")), 1), [("controller_away", Severity::Warning, AWAY)]);
        assert_eq!(found(follows(true, Some("the file has faults")), 1), [("site_behind", Severity::Warning, LOAD)]);
    }

    #[test]
    fn a_certificate_is_told_of_when_it_should_have_been_made_anew_and_when_it_is_over() {
        for (days, expected) in [(74, None), (75, Some(Severity::Warning)), (90, Some(Severity::Critical))] {
            let found = found(follows(true, None), days);
            let severity = found.iter().find(|(id, ..)| *id == "site_certificate").map(|(_, severity, _)| *severity);
            assert_eq!(severity, expected, "{days}");
        }
    }

    #[test]
    fn a_controller_says_how_many_sites_are_away_or_behind_and_why_the_first_of_them() {
        let controls = ControlsReading {
            away: (1, vec!["north, since yesterday".to_owned()]),
            behind: (3, vec!["south: the file has faults".to_owned()]),
            is_held_back: false,
        };
        let reading = |controls| SdwanReading { controls: Some(controls), ..SdwanReading::default() };
        let held_back = ControlsReading { is_held_back: true, ..ControlsReading::default() };
        let found = findings(&reading(held_back), at(1)).remove(0);
        assert_eq!((found.id, found.severity), ("network_held_back", Severity::Critical));
        let told: Vec<_> = findings(&reading(controls), at(1)).into_iter().map(|one| (one.id, one.what)).collect();
        let [away, behind] = told.as_slice() else { panic!("{told:?}") };
        assert!(away.0 == "sites_away" && away.1.ends_with("north, since yesterday"), "{}", away.1);
        assert!(behind.0 == "sites_behind" && behind.1.ends_with("faults; and 2 more"), "{}", behind.1);
    }
}
