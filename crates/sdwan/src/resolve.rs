//! Names of endpoints, and the addresses that they stand for: the operating system is asked, away from packets and from control.
//!
//! A name is looked up when it is new, again every `sdwan.resolve`, and sooner, though never more often than every few seconds, where nobody is reached by it. An address stays for
//! as long as the name has it and somebody is there: of several that a name has, the next one is tried only where the one before does not answer. What was found stays while nobody says
//! where the name is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outwork_config::HostPort;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::config::Sdwan;
use crate::service::Service;

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_secs(1);
/// The shortest time between two look-ups of a name.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a look-up may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Look-ups at once, and addresses of a name that are tried.
const AT_ONCE: usize = 16;
const ADDRESSES: usize = 16;
/// A session of a plain peer that is older has ended (REJECT_AFTER_TIME of WireGuard).
const ENDED: Duration = Duration::from_secs(180);

/// What is known of a name.
#[derive(Debug, Default)]
struct Known {
    /// The address that is dialled.
    taken: Option<SocketAddr>,
    /// When it was looked up last.
    asked: Option<Instant>,
    /// How often nobody was reached by it, or it was not found, since that was otherwise.
    failed: u32,
    /// Why it was not found the last time.
    problem: Option<String>,
}

/// What is known of all names that are in use. Pure.
#[derive(Debug, Default)]
struct Book {
    names: BTreeMap<HostPort, Known>,
}

impl Book {
    /// Those of `wanted` that are to be looked up now. All others are forgotten.
    fn due(
        &mut self,
        wanted: &BTreeSet<HostPort>,
        lost: &BTreeSet<HostPort>,
        every: Duration,
        now: Instant,
    ) -> Vec<HostPort> {
        self.names.retain(|name, _| wanted.contains(name));
        let mut due = vec![];
        for name in wanted {
            let known = self.names.entry(name.clone()).or_default();
            let is_well = known.problem.is_none() && !lost.contains(name);
            let pause = if is_well { every } else { (AGAIN * 2_u32.saturating_pow(known.failed.min(16))).min(every) };
            if known.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= pause) {
                known.asked = Some(now);
                known.failed = if is_well { 0 } else { known.failed + 1 };
                due.push(name.clone());
            }
        }
        due
    }

    /// Takes in what was found of a name. Whether somebody is to be dialled elsewhere.
    fn found(
        &mut self,
        name: &HostPort,
        found: Result<Vec<SocketAddr>, String>,
        is_lost: bool,
        likes_v4: bool,
    ) -> bool {
        let Some(known) = self.names.get_mut(name) else { return false };
        let mut addresses = match found {
            Ok(addresses) if addresses.is_empty() => {
                known.problem = Some("it has no address".to_owned());
                return false;
            }
            Ok(addresses) => addresses,
            Err(why) => {
                known.problem = Some(why);
                return false;
            }
        };
        known.problem = None;
        // The order is the system's, but for the family that our uplinks have.
        addresses.sort_by_key(|address| address.is_ipv4() != likes_v4);
        addresses.dedup();
        addresses.truncate(ADDRESSES);
        let place = known.taken.and_then(|taken| addresses.iter().position(|address| *address == taken));
        let next = match place {
            Some(place) if is_lost => (place + 1) % addresses.len(),
            Some(place) => place,
            None => 0,
        };
        let taken = addresses.get(next).copied();
        std::mem::replace(&mut known.taken, taken) != taken
    }

    fn at(&self, name: &HostPort) -> Option<SocketAddr> {
        self.names.get(name)?.taken
    }
}

/// Names and their addresses.
#[derive(Debug, Default)]
pub struct Names(Mutex<Book>);

impl Names {
    fn book(&self) -> MutexGuard<'_, Book> {
        // A thread that fell while it held it has left it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a name stand for an address.
    #[cfg(test)]
    pub(crate) fn put(&self, name: &HostPort, at: SocketAddr) {
        let known = Known { taken: Some(at), ..Known::default() };
        self.book().names.insert(name.clone(), known);
    }

    /// The settings with addresses in the place of names, as far as these are known.
    pub(crate) fn resolve(&self, settings: &Sdwan) -> Sdwan {
        let mut settings = settings.clone();
        let book = self.book();
        let peers = settings.peer.iter_mut().map(|peer| &mut peer.endpoint);
        let far = settings.site.iter_mut().flat_map(|site| &mut site.uplink).map(|uplink| &mut uplink.endpoint);
        for place in peers.chain(far).flatten() {
            if let Some(at) = book.at(place) {
                *place = HostPort::Address(at);
            }
        }
        settings
    }
}

/// Names that somebody is to be dialled by, each with whoever that is.
fn wanted(settings: &Sdwan) -> BTreeMap<HostPort, Vec<Whom>> {
    let mut all: BTreeMap<HostPort, Vec<Whom>> = BTreeMap::new();
    let mut add = |endpoint: &Option<HostPort>, whom: Whom| {
        if let Some(name @ HostPort::Name { .. }) = endpoint {
            all.entry(name.clone()).or_default().push(whom);
        }
    };
    for peer in &settings.peer {
        add(&peer.endpoint, Whom::Peer(peer.called()));
    }
    for site in &settings.site {
        for uplink in &site.uplink {
            add(&uplink.endpoint, Whom::Uplink(site.name.clone(), uplink.name.clone()));
        }
    }
    all
}

/// Who is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whom {
    Peer(String),
    Uplink(String, String),
}

/// Who is not reached though we dial.
fn unreached(service: &Service) -> Vec<Whom> {
    let ended = |keys: Option<Duration>| keys.is_none_or(|age| age > ENDED);
    let peers = service.tell().unwrap_or_default().into_iter().filter(|told| ended(told.keys));
    let carried = service.carried().unwrap_or_default().into_iter().filter(|told| ended(told.keys));
    let mut lost: Vec<Whom> = peers.map(|told| Whom::Peer(told.name)).collect();
    lost.extend(carried.map(|told| Whom::Peer(told.name)));
    let mut works: BTreeMap<(String, String), bool> = BTreeMap::new();
    for path in service.paths().map(|paths| paths.paths).unwrap_or_default() {
        if path.via.is_none() {
            *works.entry((path.site, path.remote)).or_default() |= !["new", "down"].contains(&path.state);
        }
    }
    lost.extend(works.into_iter().filter(|(_, works)| !works).map(|((site, uplink), _)| Whom::Uplink(site, uplink)));
    lost
}

/// Asks the operating system for the addresses of a place. One that is an address stays that.
///
/// # Errors
/// Why it has none, for people.
pub async fn look_up(place: &HostPort) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = match place {
        HostPort::Address(address) => return Ok(vec![*address]),
        HostPort::Name { host, port } => (host.as_str(), *port),
    };
    let found: io::Result<Vec<SocketAddr>> = match timeout(PATIENCE, tokio::net::lookup_host((host, port))).await {
        Ok(found) => found.map(Iterator::collect),
        Err(_) => return Err(format!("{host} is not found: no answer within {} s", PATIENCE.as_secs())),
    };
    match found {
        Ok(addresses) if addresses.is_empty() => Err(format!("{host} has no address")),
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(format!("{host} is not found: {error}")),
    }
}

/// What there is to be looked up.
struct Wanted {
    names: BTreeSet<HostPort>,
    /// Those by which somebody is not reached.
    lost: BTreeSet<HostPort>,
    every: Duration,
    /// Whether IPv4 is the family that most of our uplinks have.
    likes_v4: bool,
}

/// Looks at the names that a service goes by; none where there are none.
fn look(service: &Service) -> Option<Wanted> {
    let (wanted, every, likes_v4) = service.look_at_settings(|settings| {
        let listens = || settings.uplink.iter().flat_map(|uplink| &uplink.listen);
        let likes_v4 = listens().filter(|at| at.is_ipv4()).count() * 2 >= listens().count();
        (wanted(settings), settings.resolve, likes_v4)
    })?;
    let unreached = if wanted.is_empty() { vec![] } else { unreached(service) };
    let is_lost = |whom: &[Whom]| whom.iter().any(|whom| unreached.contains(whom));
    let lost = wanted.iter().filter(|(_, whom)| is_lost(whom)).map(|(name, _)| name.clone()).collect();
    Some(Wanted { names: wanted.into_keys().collect(), lost, every, likes_v4 })
}

/// Has `ask` look up all of these at once: each with what was found. One whose look-up has fallen has no address for a reason, as any other that is not found.
async fn all<F>(names: &[HostPort], ask: impl Fn(HostPort) -> F) -> Vec<(HostPort, Result<Vec<SocketAddr>, String>)>
where
    F: Future<Output = Result<Vec<SocketAddr>, String>> + Send + 'static,
{
    let (mut under_way, mut whose) = (JoinSet::new(), HashMap::new());
    for name in names {
        whose.insert(under_way.spawn(ask(name.clone())).id(), name.clone());
    }
    let mut all = Vec::with_capacity(names.len());
    while let Some(done) = under_way.join_next_with_id().await {
        let (id, found) =
            done.unwrap_or_else(|fallen: JoinError| (fallen.id(), Err(format!("its look-up has fallen: {fallen}"))));
        all.extend(whose.remove(&id).map(|name| (name, found)));
    }
    all
}

/// Looks up what is due of a service's names.
async fn round(service: &Arc<Service>) {
    // Who changes something at this moment is waited for.
    let looking = Arc::clone(service);
    let wanted = match tokio::task::spawn_blocking(move || look(&looking)).await {
        Ok(wanted) => wanted,
        Err(fallen) => {
            tracing::error!(error = %fallen, "who looks for names of endpoints has fallen: none is looked up this time");
            return;
        }
    };
    let Some(Wanted { names, lost, every, likes_v4 }) = wanted else { return };
    let due = service.names().book().due(&names, &lost, every, Instant::now());
    let mut moved = false;
    for some in due.chunks(AT_ONCE) {
        for (name, found) in all(some, |name| async move { look_up(&name).await }).await {
            if let Err(why) = &found {
                tracing::warn!(%name, why, "the name of an endpoint stands for no address: what was last found stays");
            }
            let mut book = service.names().book();
            if book.found(&name, found, lost.contains(&name), likes_v4) {
                let at = book.at(&name).map(|at| at.to_string());
                tracing::info!(%name, at, "the name of an endpoint stands for another address");
                moved = true;
            }
        }
    }
    if moved {
        let told = Arc::clone(service);
        let taken_up = match tokio::task::spawn_blocking(move || told.rejoin()).await {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(fallen) => Err(fallen.to_string()),
        };
        if let Err(error) = taken_up {
            tracing::warn!(error, "addresses that names of endpoints stand for now are not taken up");
        }
    }
}

/// Looks up the names of a service's endpoints, for as long as it is awaited.
pub async fn tend(service: Arc<Service>) {
    loop {
        round(&service).await;
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;
    use crate::control::Plan;
    use crate::engine::site::Reach;
    use crate::plan::Numbers;

    const HOUR: Duration = Duration::from_secs(3600);

    fn name(text: &str) -> HostPort {
        text.parse().unwrap()
    }

    fn at(list: &[&str]) -> Result<Vec<SocketAddr>, String> {
        Ok(list.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn a_name_is_looked_up_when_it_is_new_and_old_and_sooner_where_nobody_is_reached_by_it() {
        let (mut book, begun) = (Book::default(), Instant::now());
        let vpn = name("vpn.test:51820");
        let (all, none) = (BTreeSet::from([vpn.clone()]), BTreeSet::new());
        let mut due = |lost: &BTreeSet<HostPort>, seconds: u64| {
            let is_due = !book.due(&all, lost, HOUR, begun + Duration::from_secs(seconds)).is_empty();
            if is_due {
                book.found(&vpn, at(&["192.0.2.1:51820"]), false, true);
            }
            is_due
        };
        assert_eq!([due(&none, 0), due(&none, 3599), due(&none, 3600)], [true, false, true]);
        // Each time after twice as long, and never longer than what is well waits.
        let asked: Vec<u64> = (3601..20_000).filter(|seconds| due(&all, *seconds)).collect();
        assert_eq!(asked[..4], [3610, 3630, 3670, 3750]);
        assert!(asked.windows(2).all(|two| two[1] - two[0] <= 3600));
    }

    #[test]
    fn an_address_stays_while_its_name_has_it_and_somebody_is_there() {
        let mut book = Book::default();
        let vpn = name("vpn.test:51820");
        book.due(&BTreeSet::from([vpn.clone()]), &BTreeSet::new(), HOUR, Instant::now());
        let mut found = |list: &[&str], is_lost| {
            book.found(&vpn, at(list), is_lost, true);
            book.at(&vpn).map(|at| at.to_string()).unwrap_or_default()
        };
        let [one, two, six] = ["192.0.2.1:51820", "192.0.2.2:51820", "[2001:db8::1]:51820"];
        assert_eq!(found(&[six, one], false), one, "the family that our uplinks have");
        assert_eq!(found(&[two, one], false), one, "whatever the order");
        assert_eq!(found(&[two, one], true), two, "the next one, where nobody answers");
        assert_eq!(found(&[], true), two, "nobody says where it is");
        assert_eq!(found(&[one], false), one, "it has moved");
    }

    #[tokio::test]
    async fn a_look_up_that_falls_is_one_that_found_nothing_and_the_others_go_on() {
        let names = ["vpn.test:1", "falls.test:2", "none.test:3"].map(name);
        let ask = |name: HostPort| async move {
            match name.host().as_str() {
                "vpn.test" => at(&["192.0.2.1:1"]),
                "none.test" => Err("nobody knows".to_owned()),
                other => panic!("{other} makes it fall"),
            }
        };
        let mut found = all(&names, ask).await;
        found.sort_by_key(|(name, _)| name.clone());
        let [(falls, fallen), (_, none), (_, vpn)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((falls.host().as_str(), none), ("falls.test", &Err("nobody knows".to_owned())));
        assert_eq!(*vpn, at(&["192.0.2.1:1"]));
        assert!(fallen.as_ref().is_err_and(|why| why.contains("has fallen")), "{fallen:?}");
    }

    #[test]
    fn who_is_dialled_by_a_name_is_dialled_where_that_is_found() {
        let key = outwork_wireguard::PublicKey([1; 32]);
        let text = format!(
            "[[uplink]]\nname = 'wan'\n[[site]]\nname = 'far'\n[[site.uplink]]\nname = 'wan'\npublic_key = '{key}'\n\
             endpoint = 'vpn.test:51820'\n[[peer]]\npublic_key = '{}'\nendpoint = 'phone.test:9'\n",
            outwork_wireguard::PublicKey([2; 32])
        );
        let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
        let settings = load::<Sdwan>(sources).unwrap().value;
        let names = Names::default();
        let plan = |names: &Names| {
            let plan = Plan::of(&names.resolve(&settings), &mut Numbers::default());
            let sites = plan.sites.unwrap();
            let remote = sites.remote.values().next().unwrap().endpoint;
            (remote, plan.peers[0].endpoint, sites.network.sites[0].uplinks[0].reach)
        };
        assert_eq!(plan(&names), (None, None, Reach::Public), "it can be dialled, and nobody knows where yet");
        let wanted = wanted(&settings).into_keys().collect();
        names.book().due(&wanted, &BTreeSet::new(), HOUR, Instant::now());
        names.book().found(&name("vpn.test:51820"), at(&["192.0.2.7:51820"]), false, true);
        names.book().found(&name("phone.test:9"), at(&["192.0.2.8:9"]), false, true);
        let [far, phone] = ["192.0.2.7:51820", "192.0.2.8:9"].map(|text| Some(text.parse().unwrap()));
        assert_eq!(plan(&names), (far, phone, Reach::Public));
    }
}
