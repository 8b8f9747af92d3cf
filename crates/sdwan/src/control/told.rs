//! What others are told of paths to sites.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use outwork_engine::Time;

use super::Told;
use super::events::Happened;
use super::sites::Sites;
use crate::engine::Event;
use crate::engine::liveness::State;
use crate::engine::prefix::Prefix;
use crate::engine::quality::Figures;
use crate::engine::site::PathId;
use crate::plane::account::PolicyTold;
use crate::plane::tunnel::TunnelId;

/// How paths to sites are, and what has happened to them.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    /// The time by the clock of the service.
    pub now: Time,
    /// Sites other than ours.
    pub sites: Vec<SiteTold>,
    /// Paths to them.
    pub paths: Vec<PathTold>,
    /// What has happened, the oldest first.
    pub events: Vec<EventTold>,
    /// What flows under each policy have sent.
    pub policies: Vec<PolicyTold>,
}

/// One site.
#[derive(Debug, Clone)]
pub struct SiteTold {
    /// What it is called.
    pub name: String,
    /// The networks behind it.
    pub networks: Vec<Prefix>,
    /// What its uplinks are called.
    pub uplinks: Vec<String>,
}

/// One path, as it is.
#[derive(Debug, Clone)]
pub struct PathTold {
    /// Its number.
    pub id: u32,
    /// The site that it leads to.
    pub site: String,
    /// By which uplink it leaves us.
    pub own: String,
    /// By which it reaches them.
    pub remote: String,
    /// The hub that passes it on.
    pub via: Option<String>,
    /// Octets of the longest packet that it takes.
    pub mtu: u16,
    /// What it is taken for.
    pub state: &'static str,
    /// What was measured of late.
    pub figures: Figures,
    /// Where the other end is.
    pub endpoint: Option<SocketAddr>,
    /// Whether it has keys.
    pub keys: bool,
    /// Whether new flows of any lane take it, as the first or as the second of what goes by two.
    pub chosen: bool,
    /// Datagrams with packets that were sent, and that came.
    pub datagrams: (u64, u64),
}

/// Something that has happened.
#[derive(Debug, Clone)]
pub struct EventTold {
    /// Counts them.
    pub number: u64,
    /// When.
    pub at: Time,
    /// `path`, `mtu` or `switch`.
    pub kind: &'static str,
    /// How often in a row.
    pub count: u32,
    /// When it was the first time.
    pub since: Time,
    /// The site that it is about; empty where its path is gone.
    pub site: String,
    /// The path, or the site.
    pub of: String,
    /// Of a switch, the class of the traffic.
    pub class: Option<String>,
    /// Of a switch, how paths of that traffic are chosen.
    pub strategy: Option<String>,
    /// What it was before, or which path.
    pub from: String,
    /// What it is now, or which path.
    pub to: String,
    /// Why.
    pub why: String,
}

/// The path that a tunnel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathOf {
    /// Its number.
    pub id: u32,
    /// The uplink of theirs.
    pub remote: String,
    /// The hub that passes it on.
    pub via: Option<String>,
}

/// The tunnels of the paths of `sites`; `keys` says how long each has had its keys.
pub fn tunnels(sites: &Sites, keys: impl Fn(TunnelId) -> Option<Duration>) -> impl Iterator<Item = Told> {
    let plan = sites.plan();
    sites.tunnels().filter_map(move |(id, tunnel)| {
        let key = sites.engine().known(id)?.0.key;
        let remote = plan.remote.get(&key.remote)?;
        Some(Told {
            name: plan.names.get(&key.site).cloned().unwrap_or_default(),
            uplink: tunnel.uplink,
            remote: remote.key,
            // Of who is reached by a hub, nobody knows where that is.
            endpoint: tunnel.endpoint().filter(|_| tunnel.relay.is_none()),
            networks: vec![],
            keys: keys(tunnel.id),
            path: Some(PathOf {
                id: id.0,
                remote: plan.uplinks.get(&key.remote).cloned().unwrap_or_default(),
                via: sites.via(&key).map(str::to_owned),
            }),
            tunnel: Arc::clone(tunnel),
        })
    })
}

/// How the paths of `sites` are. What policies have carried workers count, and who asks for this adds that.
pub fn paths(now: Time, sites: Option<&Sites>) -> Paths {
    let Some(sites) = sites else { return Paths { now, ..Paths::default() } };
    let plan = sites.plan();
    let of = |id| plan.uplinks.get(&id).cloned().unwrap_or_default();
    let tunnels: BTreeMap<_, _> = sites.tunnels().collect();
    let paths = sites.engine().paths().filter_map(|(id, spec, state, quality)| {
        let tunnel = tunnels.get(&id)?;
        Some(PathTold {
            id: id.0,
            site: plan.names.get(&spec.key.site).cloned().unwrap_or_default(),
            own: of(spec.key.own),
            remote: of(spec.key.remote),
            via: sites.via(&spec.key).map(str::to_owned),
            mtu: tunnel.mtu(),
            state: state.word(),
            figures: quality.figures(),
            // Of who is reached by a hub, nobody knows where that is.
            endpoint: tunnel.endpoint().filter(|_| tunnel.relay.is_none()),
            keys: tunnel.sealer().is_some(),
            chosen: sites.engine().carries(id),
            datagrams: (tunnel.tallies.sent.load(Relaxed), tunnel.tallies.received.load(Relaxed)),
        })
    });
    let others = plan.network.sites.iter().map(|site| SiteTold {
        name: plan.names.get(&site.id).cloned().unwrap_or_default(),
        networks: site.subnets.clone(),
        uplinks: site.uplinks.iter().map(|uplink| of(uplink.id)).collect(),
    });
    Paths {
        now,
        sites: others.collect(),
        paths: paths.collect(),
        events: sites.events().map(|happened| event(sites, happened)).collect(),
        policies: vec![],
    }
}

fn event(sites: &Sites, happened: &Happened) -> EventTold {
    let Happened { number, at, event, lane, count, since } = happened;
    let path = |id: Option<PathId>| id.and_then(|id| sites.called(id)).unwrap_or_else(|| "none".to_owned());
    let (kind, site, of, from, to, why) = match event {
        Event::Path { path: id, change } => {
            let why = change.cause.map(|cause| cause.to_string()).unwrap_or_default();
            let site = sites.led_to(*id).unwrap_or_default().to_owned();
            let why = match (change.from, change.to) {
                (State::Up, State::Suspect) => "nothing came by it in time, and it was asked".to_owned(),
                _ => why,
            };
            ("path", site, path(Some(*id)), change.from.word().to_owned(), change.to.word().to_owned(), why)
        }
        Event::Mtu { path: id, change } => {
            let site = sites.led_to(*id).unwrap_or_default().to_owned();
            ("mtu", site, path(Some(*id)), change.from.to_string(), change.to.to_string(), change.to_string())
        }
        Event::Switch { site, from, to, why, .. } => {
            let of = sites.plan().names.get(site).cloned().unwrap_or_default();
            ("switch", of.clone(), of, path(*from), path(*to), why.to_string())
        }
    };
    let (class, strategy) = lane.clone().unzip();
    let (number, at, count, since) = (*number, *at, *count, *since);
    EventTold { number, at, kind, count, since, site, of, class, strategy, from, to, why }
}
