//! From classes, applications and policies as they are written to what the engine is to know.

use crate::config::Sdwan;
use crate::config::matching::{Dscp, Ports, Protocol};
use crate::config::policy::{ApplicationSettings, PolicySettings, StrategyKind};
use crate::control::sites::Rules;
use crate::engine::class::{Class, ClassId};
use crate::engine::policy::{AppId, Application, Match, Policy, PolicyId, Strategy};
use crate::engine::site::UplinkId;

/// What the engine is to know, and what all of it is called.
pub(super) struct Policies {
    pub(super) classes: Vec<Class>,
    pub(super) applications: Vec<Application>,
    pub(super) policies: Vec<Policy>,
    pub(super) rules: Rules,
}

/// What `settings` say. Our uplinks have the numbers of their places.
pub(super) fn of(settings: &Sdwan) -> Policies {
    let (names, classes): (Vec<_>, Vec<_>) = settings.classes().into_iter().unzip();
    let rules = Rules {
        classes: names.into_iter().map(str::to_owned).collect(),
        applications: settings.application.keys().cloned().collect(),
        policies: settings.policy.iter().map(|policy| policy.name.clone()).collect(),
    };
    let application = |application: &ApplicationSettings| Application {
        names: application.names.clone(),
        ports: application.ports.iter().map(|one| (one.protocol.0, one.ports.0.clone())).collect(),
    };
    Policies {
        classes,
        applications: settings.application.values().map(application).collect(),
        policies: (0..)
            .map(PolicyId)
            .zip(&settings.policy)
            .map(|(id, one)| policy(settings, &rules, id, one))
            .collect(),
        rules,
    }
}

/// The place of a name.
fn place(names: &[String], wanted: &str) -> Option<usize> {
    names.iter().position(|name| name == wanted)
}

fn policy(settings: &Sdwan, rules: &Rules, id: PolicyId, one: &PolicySettings) -> Policy {
    let ranges = |ports: &[Ports]| ports.iter().map(|Ports(range)| range.clone()).collect();
    let applications = one.applications.iter().filter_map(|name| place(&rules.applications, name));
    let class = one.class.as_ref().unwrap_or(&settings.default_class);
    Policy {
        id,
        priority: one.priority,
        matches: Match {
            sources: super::prefixes(&one.sources),
            destinations: super::prefixes(&one.destinations),
            protocols: one.protocols.iter().map(|Protocol(number)| *number).collect(),
            source_ports: ranges(&one.source_ports),
            destination_ports: ranges(&one.ports),
            dscp: one.dscp.iter().map(|Dscp(number)| *number).collect(),
            applications: applications.map(|place| AppId(place as u16)).collect(),
        },
        // The default one is the last.
        class: ClassId(place(&rules.classes, class).unwrap_or(rules.classes.len().saturating_sub(1)) as u8),
        strategy: strategy(settings, one),
        mark: one.mark.map(|Dscp(number)| number),
    }
}

fn strategy(settings: &Sdwan, one: &PolicySettings) -> Strategy {
    let uplink = |name: &String| {
        let place = settings.uplink.iter().position(|uplink| uplink.name == *name)?;
        Some(UplinkId(place as u32))
    };
    match one.strategy {
        StrategyKind::Best => Strategy::Best,
        StrategyKind::Ordered => Strategy::Ordered(one.uplinks.iter().filter_map(uplink).collect()),
        StrategyKind::Weighted => Strategy::Weighted,
        StrategyKind::Duplicate => Strategy::Duplicate,
        StrategyKind::Fec => {
            let (data, parity) = one.group();
            Strategy::Fec { data, parity }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use outwork_config::{Sources, load};

    use super::*;
    use crate::engine::policy::{Flow, LaneId, Matcher, Ruling};

    const TEXT: &str = "
default_class = 'transactional'
[class.gold]
latency = '20ms'
[application.mail]
names = ['mail.test']
ports = ['tcp/993']
[application.calls]
ports = ['udp/5060-5061']
[[policy]]
name = 'calls'
applications = ['calls']
class = 'voice'
strategy = 'duplicate'
mark = 'EF'
[[policy]]
name = 'mail'
applications = ['mail']
class = 'gold'
strategy = 'ordered'
uplinks = ['lte', 'fibre']
[[policy]]
name = 'first'
priority = 1
sources = ['10.1.0.0/24']
protocols = ['icmp']
[[uplink]]
name = 'fibre'
[[uplink]]
name = 'lte'
listen = ['0.0.0.0:51821']
";

    fn flow(protocol: u8, destination_port: u16, application: Option<AppId>) -> Flow {
        let [source, destination] = ["10.1.0.9", "10.2.0.9"].map(|text| text.parse::<IpAddr>().unwrap());
        Flow { source, destination, protocol, source_port: 40_000, destination_port, dscp: 0, application }
    }

    #[test]
    fn policies_as_they_are_written_decide_over_flows() {
        let sources = Sources { file: Some(("outwork.toml".into(), TEXT.into())), ..Sources::default() };
        let settings = load::<Sdwan>(sources).unwrap().value;
        let Policies { classes, applications, policies, rules } = of(&settings);
        let matcher = Matcher::compile(&policies, &applications, classes.len()).unwrap();
        let told = |flow: Flow| {
            let Ruling { policy, lane, mark } = matcher.decide(&flow);
            let lane = &matcher.lanes()[usize::from(lane.0)];
            let policy = policy.map(|PolicyId(id)| rules.policies[id as usize].as_str());
            (policy, rules.classes[usize::from(lane.class.0)].as_str(), lane.strategy.clone(), mark)
        };
        let ordered = Strategy::Ordered([UplinkId(1), UplinkId(0)].into());
        assert_eq!(told(flow(17, 5061, None)), (Some("calls"), "voice", Strategy::Duplicate, Some(46)));
        assert_eq!(told(flow(6, 993, None)), (Some("mail"), "gold", ordered.clone(), None));
        let mail = matcher.application("IMAP.mail.test");
        assert_eq!(told(flow(6, 443, mail)), (Some("mail"), "gold", ordered, None));
        assert_eq!(told(flow(1, 0, None)), (Some("first"), "transactional", Strategy::Best, None));
        assert_eq!(told(flow(6, 443, None)), (None, "transactional", Strategy::Best, None));
        assert_eq!(matcher.decide(&flow(6, 443, None)).lane, LaneId(0));
    }
}
