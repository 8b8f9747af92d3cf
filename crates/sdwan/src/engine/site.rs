//! Sites, their uplinks, and the paths that follow from them.

use std::collections::BTreeMap;

use super::prefix::Prefix;

/// A site, by the number that the controller gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub u32);

/// An uplink, by a number of its own among all sites' uplinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UplinkId(pub u32);

/// A path of ours. The number stays as long as the path does, and is used again only afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

/// Paths to one site. Four uplinks at each end give as many.
pub const PATHS_A_SITE: usize = 16;

/// Who can begin to talk to an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Everybody: it has a public endpoint.
    Public,
    /// Who it talks to as well: a NAT that shows the same endpoint to everyone (RFC 4787: endpoint-independent mapping), and another site has seen it.
    Discovered,
    /// Nobody: it can only dial.
    Closed,
}

/// Address families of an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

impl Families {
    fn meet(self, other: Families) -> bool {
        self.v4 && other.v4 || self.v6 && other.v6
    }
}

/// One way out of a site.
#[derive(Debug, Clone, PartialEq)]
pub struct Uplink {
    /// Its number.
    pub id: UplinkId,
    /// Who can dial it.
    pub reach: Reach,
    /// What it speaks.
    pub families: Families,
    /// What it is worth to avoid it, in milliseconds of delay.
    pub cost: u16,
    /// Bits a second; 0 when nobody has said.
    pub bandwidth: u64,
    /// Whether each byte is paid for.
    pub metered: bool,
    /// Taken only when no other will do.
    pub backup: bool,
}

/// A place with networks of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Its number.
    pub id: SiteId,
    /// The networks behind it.
    pub subnets: Vec<Prefix>,
    /// Whether it passes on what others cannot send each other.
    pub hub: bool,
    /// Its ways out.
    pub uplinks: Vec<Uplink>,
}

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dial {
    /// We do.
    Ours,
    /// They do.
    Theirs,
    /// Both do: at the same time, where NATs have to be opened from the inside.
    Both,
}

/// What tells one path from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathKey {
    /// Whom it leads to.
    pub site: SiteId,
    /// By which uplink it leaves us.
    pub own: UplinkId,
    /// By which uplink it reaches them.
    pub remote: UplinkId,
    /// The hub that passes it on.
    pub via: Option<SiteId>,
}

impl PathKey {
    /// Whether the two fail together when one uplink does.
    pub fn shares_uplink(&self, other: &PathKey) -> bool {
        self.own == other.own || self.remote == other.remote
    }

    /// Whether what ends one may have ended the other: an uplink that both have, or the hub that passes both on.
    pub fn fails_with(&self, other: &PathKey) -> bool {
        self.shares_uplink(other) || self.via.is_some() && self.via == other.via
    }
}

/// A path that can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathSpec {
    /// Which.
    pub key: PathKey,
    /// Who begins. Of a path by a hub: between us and the hub.
    pub dial: Dial,
    /// The sum of both uplinks' costs.
    pub cost: u32,
    /// The narrower of both.
    pub bandwidth: u64,
    /// Whether either end is paid by the byte.
    pub metered: bool,
    /// Whether either end is a backup.
    pub backup: bool,
}

/// Who can begin between two uplinks; none when nobody can.
pub fn dial(own: &Uplink, remote: &Uplink) -> Option<Dial> {
    if !own.families.meet(remote.families) {
        return None;
    }
    match (own.reach, remote.reach) {
        (Reach::Public, Reach::Public) | (Reach::Discovered, Reach::Discovered) => Some(Dial::Both),
        (_, Reach::Public) => Some(Dial::Ours),
        (Reach::Public, _) => Some(Dial::Theirs),
        _ => None,
    }
}

fn direct<'a>(own: &'a Site, other: &'a Site) -> impl Iterator<Item = (&'a Uplink, &'a Uplink, Dial)> {
    own.uplinks.iter().flat_map(move |ours| {
        other.uplinks.iter().filter_map(move |theirs| dial(ours, theirs).map(|dial| (ours, theirs, dial)))
    })
}

fn spec(other: &Site, (own, remote, dial): (&Uplink, &Uplink, Dial), via: Option<SiteId>) -> PathSpec {
    let bandwidth = match (own.bandwidth, remote.bandwidth) {
        (0, known) | (known, 0) => known,
        (own, remote) => own.min(remote),
    };
    PathSpec {
        key: PathKey { site: other.id, own: own.id, remote: remote.id, via },
        dial,
        cost: u32::from(own.cost) + u32::from(remote.cost),
        bandwidth,
        metered: own.metered || remote.metered,
        backup: own.backup || remote.backup,
    }
}

/// Our uplinks and theirs that both reach `hub`.
fn relayed<'a>(own: &'a Site, other: &'a Site, hub: &'a Site) -> impl Iterator<Item = PathSpec> + 'a {
    own.uplinks.iter().filter_map(|ours| Some((ours, hub.uplinks.iter().find_map(|far| dial(ours, far))?))).flat_map(
        move |(ours, dialled)| {
            let reached =
                other.uplinks.iter().filter(|theirs| hub.uplinks.iter().any(|far| dial(theirs, far).is_some()));
            reached.map(move |theirs| spec(other, (ours, theirs, dialled), Some(hub.id)))
        },
    )
}

/// The paths of `own` to all others. Hubs that both reach pass on what does not get there directly. At most [`PATHS_A_SITE`] lead to one,
/// direct ones before those by a hub, and the cheapest; how many were left out comes with them.
pub fn paths(own: &Site, others: &[Site]) -> (Vec<PathSpec>, usize) {
    let hubs: Vec<_> = others.iter().filter(|site| site.hub && site.id != own.id).collect();
    let (mut found, mut left_out) = (vec![], 0);
    let others: BTreeMap<_, _> = others.iter().filter(|site| site.id != own.id).map(|site| (site.id, site)).collect();
    for other in others.values() {
        let mut to: Vec<_> = direct(own, other).map(|pair| spec(other, pair, None)).collect();
        let is_hub = own.hub || other.hub;
        let needs_one = to.is_empty() || !is_hub;
        let hubs = hubs.iter().filter(|hub| needs_one && hub.id != other.id);
        to.extend(hubs.flat_map(|hub| relayed(own, other, hub)));
        to.sort_by_key(|path| (path.key.via.is_some(), path.backup, path.metered, path.cost, path.key));
        left_out += to.len().saturating_sub(PATHS_A_SITE);
        to.truncate(PATHS_A_SITE);
        found.extend(to);
    }
    (found, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink(id: u32, reach: Reach) -> Uplink {
        let families = Families { v4: true, v6: false };
        Uplink { id: UplinkId(id), reach, families, cost: 0, bandwidth: 0, metered: false, backup: false }
    }

    fn site(id: u32, hub: bool, reaches: &[Reach]) -> Site {
        let uplinks = reaches.iter().zip(id * 10..).map(|(reach, id)| uplink(id, *reach)).collect();
        Site { id: SiteId(id), subnets: vec![], hub, uplinks }
    }

    #[test]
    fn the_side_that_can_dial_does() {
        let of = |own, remote| dial(&uplink(1, own), &uplink(2, remote));
        assert_eq!(of(Reach::Closed, Reach::Public), Some(Dial::Ours));
        assert_eq!(of(Reach::Public, Reach::Discovered), Some(Dial::Theirs));
        assert_eq!(of(Reach::Discovered, Reach::Discovered), Some(Dial::Both), "holes are punched from both sides");
        assert_eq!((of(Reach::Discovered, Reach::Closed), of(Reach::Closed, Reach::Closed)), (None, None));
        let other = Uplink { families: Families { v4: false, v6: true }, ..uplink(2, Reach::Public) };
        assert_eq!(dial(&uplink(1, Reach::Public), &other), None, "no common family");
    }

    #[test]
    fn every_pair_of_uplinks_that_can_talk_is_a_path() {
        let (found, left_out) =
            paths(&site(1, false, &[Reach::Public, Reach::Closed]), &[site(2, false, &[Reach::Public, Reach::Closed])]);
        let pairs: Vec<_> = found.iter().map(|path| (path.key.own.0, path.key.remote.0)).collect();
        assert_eq!((pairs, left_out), (vec![(10, 20), (10, 21), (11, 20)], 0));
    }

    #[test]
    fn a_hub_passes_on_what_goes_between_others_and_nothing_of_its_own() {
        let closed = &[Reach::Closed, Reach::Closed][..];
        let all = [site(1, false, closed), site(2, false, closed), site(3, true, &[Reach::Public])];
        let (found, _) = paths(&all[0], &all);
        let to = |id| found.iter().filter(move |path| path.key.site == SiteId(id)).map(|path| path.key.via);
        assert_eq!(to(2).collect::<Vec<_>>(), [Some(SiteId(3)); 4]);
        assert_eq!(to(3).collect::<Vec<_>>(), [None; 2]);
        let open = [site(1, false, &[Reach::Public]), site(2, false, closed), site(3, true, &[Reach::Public])];
        let (found, _) = paths(&open[0], &open);
        let to = |id| found.iter().filter(move |path| path.key.site == SiteId(id)).map(|path| path.key.via);
        assert_eq!(
            to(2).collect::<Vec<_>>(),
            [None, None, Some(SiteId(3)), Some(SiteId(3))],
            "in case it does not work"
        );
        let (found, _) = paths(&site(3, true, closed), &open);
        assert!(found.iter().all(|path| path.key.via.is_none()), "a hub needs no other");
    }

    #[test]
    fn paths_to_one_site_have_a_bound_and_what_is_beyond_it_is_counted() {
        let many = [Reach::Public; 6];
        let (found, left_out) = paths(&site(1, false, &many), &[site(2, false, &many)]);
        assert_eq!((found.len(), left_out), (PATHS_A_SITE, 20));
    }
}
