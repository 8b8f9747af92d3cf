//! What becomes of a flow, and why.

use super::sites::Sites;
use crate::engine::Event;
use crate::engine::policy::{Flow, LaneId, Strategy};
use crate::engine::quality::Figures;
use crate::engine::site::{PathId, SiteId};
use crate::engine::table::Pick;
use crate::plane::packet::TCP;
use crate::plane::view::View;

/// A flow that is asked about, as it would be if it began now.
#[derive(Debug, Clone)]
pub struct Question {
    /// What its packets say.
    pub flow: Flow,
    /// The name of the server that it asks for.
    pub name: Option<String>,
}

/// What becomes of it.
#[derive(Debug, Clone, Default)]
pub struct Explained {
    /// The site, or the peer, that it goes to.
    pub to: Option<String>,
    /// The application that it is taken for.
    pub application: Option<String>,
    /// The policy that it falls under.
    pub policy: Option<String>,
    /// What is said of traffic like it; none of what goes to a peer, or nowhere.
    pub lane: Option<Lane>,
    /// Paths to the site.
    pub paths: Vec<Considered>,
    /// Why all that is so, sentence by sentence.
    pub why: Vec<String>,
}

/// What is said of traffic like it.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Its class.
    pub class: String,
    /// How paths are chosen.
    pub strategy: String,
    /// The traffic class that its packets are given.
    pub mark: Option<u8>,
}

/// A path that it might take.
#[derive(Debug, Clone)]
pub struct Considered {
    /// What it is called.
    pub name: String,
    /// What it is taken for.
    pub state: &'static str,
    /// Whether it keeps the limits of the class.
    pub keeps: bool,
    /// Whether it is taken: as the `first`, or the `second` of two.
    pub taken: Option<&'static str>,
    /// What was measured of late.
    pub figures: Figures,
}

/// What becomes of a flow. `seed` is that of workers' hashes.
pub fn explain(view: &View, sites: Option<&Sites>, seed: u64, question: &Question) -> Explained {
    let destination = question.flow.destination;
    let nowhere = || {
        let why = format!("{destination} is behind no site and no peer: it is dropped");
        Explained { why: vec![why], ..Explained::default() }
    };
    let Some(owner) = view.owner(destination) else { return nowhere() };
    if let Some(peer) = view.peer(owner) {
        let why = vec![format!("{destination} is behind the peer {}: policies are about flows to sites", peer.name)];
        return Explained { to: Some(peer.name.to_string()), why, ..Explained::default() };
    }
    sites.and_then(|sites| to_site(sites, seed, question)).unwrap_or_else(nowhere)
}

fn to_site(sites: &Sites, seed: u64, question: &Question) -> Option<Explained> {
    let (table, plan) = (sites.table()?, sites.plan());
    let (matcher, rules) = (table.matcher(), &plan.rules);
    let mut flow = question.flow;
    // Other protocols hide it.
    let name = question.name.as_deref().filter(|_| flow.protocol == TCP);
    flow.application = name.and_then(|name| matcher.application(name));
    let found = table.look_up(&flow)?;
    let lane = matcher.lanes().get(usize::from(found.lane.0))?;
    let pick = found.pick(flow.hash(seed));
    let site = plan.names.get(&found.site).cloned().unwrap_or_default();
    let application = matcher.application_of(&flow).and_then(|id| rules.applications.get(usize::from(id.0))).cloned();
    let policy = found.policy.and_then(|id| rules.policies.get(id.0 as usize)).cloned();
    let class = rules.classes.get(usize::from(lane.class.0)).cloned().unwrap_or_default();
    let mut why = vec![format!("{} is behind the site {site}", flow.destination)];
    why.extend(application.as_ref().map(|application| {
        let by = if flow.application.is_some() { "the name that it asks for" } else { "the port that it goes to" };
        format!("it is of the application {application} by {by}")
    }));
    if question.name.is_some() && flow.application.is_none() {
        why.push(match name {
            Some(_) => "no application has the name that it asks for".to_owned(),
            None => "only flows of TCP show the name that they ask for".to_owned(),
        });
    }
    why.push(match &policy {
        Some(policy) => format!("of the policies that it falls under, {policy} is asked first"),
        None => format!("it falls under no policy: it is of the default class, {class}"),
    });
    why.push(choice(sites, found.site, found.lane, &lane.strategy, pick));
    let taken = |id: PathId| match pick {
        Some(pick) if pick.path == id => Some("first"),
        Some(pick) if pick.second == Some(id) => Some("second"),
        _ => None,
    };
    let paths = sites.engine().paths().filter(|(_, spec, ..)| spec.key.site == found.site);
    let paths = paths.map(|(id, spec, state, quality)| Considered {
        name: sites.name(&spec.key),
        state: state.word(),
        keeps: sites.engine().keeps(id, lane.class).unwrap_or(false),
        taken: taken(id),
        figures: quality.figures(),
    });
    let paths = paths.collect();
    let lane = Lane { class, strategy: words(sites, &lane.strategy), mark: found.mark };
    Some(Explained { to: Some(site), application, policy, lane: Some(lane), paths, why })
}

/// Why a new flow takes the path that it takes.
fn choice(sites: &Sites, site: SiteId, lane: LaneId, strategy: &Strategy, pick: Option<Pick>) -> String {
    let Some(pick) = pick else { return "no path carries: it is dropped until one does".to_owned() };
    let path = sites.called(pick.path).unwrap_or_else(|| "a path that has just gone".to_owned());
    if *strategy == Strategy::Weighted {
        return format!("it takes {path} as its share of the paths that keep the limits, wider ones having more");
    }
    let switches = sites.events().filter_map(|happened| match happened.event {
        Event::Switch { site: to, lane: of, to: Some(path), why, .. } if (to, of) == (site, lane) => Some((path, why)),
        _ => None,
    });
    match switches.last().filter(|(path, _)| *path == pick.path) {
        Some((_, why)) => format!("traffic like it takes {path} since its last change of paths: {why}"),
        None => format!("it takes {path}"),
    }
}

/// A strategy in words.
pub(super) fn words(sites: &Sites, strategy: &Strategy) -> String {
    match strategy {
        Strategy::Best => "best".to_owned(),
        Strategy::Weighted => "weighted".to_owned(),
        Strategy::Duplicate => "duplicate".to_owned(),
        Strategy::Fec { data, parity } => format!("fec: {parity} for {data}"),
        Strategy::Ordered(uplinks) => {
            let names = uplinks.iter().map(|id| sites.plan().uplinks.get(id).map_or("?", String::as_str));
            format!("ordered: {}", names.collect::<Vec<_>>().join(", "))
        }
    }
}
