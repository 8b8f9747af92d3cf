//! A site and its controller, both real, over TLS on one machine.

mod access;
mod bounds;
mod said;
mod worth;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use outwork_config::{Sources, load};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::enrol::{EnrolError, enrol};
use super::keep::Keep;
use super::session::{Weighed, weigh};
use super::*;
use crate::channel::frame;
use crate::channel::message::{FromController, FromSite, PARTS, PATHS};
use crate::channel::tls;
use crate::channel::token::Token;
use crate::config::Sdwan;
use crate::config::network::Written;
use crate::control::told::{EventTold, PathTold, Paths};
use crate::controller::config::ControllerSettings;
use crate::controller::store::documents::{Edit, Expect};
use crate::controller::store::{Query, documents, health};
use crate::controller::{Controller, Turned};
use crate::engine::quality::Figures;
use crate::network::Kind;
use crate::network::delta::{Change, Delta, Held};
use crate::network::signed::Signer;
use crate::plane::account::PolicyTold;

const LONG: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(86_400);
const KEYS: [&str; 2] =
    ["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="];

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

fn read<T: outwork_config::Section>(text: &str) -> T {
    load(Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() }).unwrap().value
}

async fn wait_for(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < LONG, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The sites of the lab, by number from 1.
const NAMES: [&str; 2] = ["north", "south"];

/// A controller, and a directory for each site.
struct Lab {
    dir: TempDir,
    controller: Arc<Controller>,
}

impl Lab {
    async fn new() -> Lab {
        Lab::with("").await
    }

    /// One whose file says this besides.
    async fn with(more: &str) -> Lab {
        let dir = TempDir::new().unwrap();
        let settings: ControllerSettings = read(&format!("listen = ['127.0.0.1:0']\n{more}"));
        let controller = Controller::start(&settings, &dir.path().join("controller")).await.unwrap();
        Lab { dir, controller }
    }

    /// Where a site keeps what it is told.
    fn at(&self, number: usize) -> PathBuf {
        self.dir.path().join(number.to_string()).join("kept")
    }

    /// What a site's file says of itself and its controller.
    fn settings(&self, number: usize) -> Sdwan {
        let address = self.controller.addresses()[0];
        read(&format!(
            "subnets = ['10.{number}.0.0/16']\n[controller]\naddress = ['{address}']\n[[uplink]]\nname = 'fibre'\n\
             endpoint = '192.0.2.{number}:51820'\n"
        ))
    }

    /// Where the controller is.
    fn places(&self) -> Vec<HostPort> {
        self.controller.addresses().iter().copied().map(HostPort::from).collect()
    }

    async fn invite(&self, number: usize) -> Token {
        self.controller.invite(NAMES[number - 1], None, DAY, "ann").await.unwrap().0
    }

    /// Makes a token for a site, and has the site show it.
    async fn join(&self, number: usize) -> Identity {
        let token = self.invite(number).await;
        self.show(&token, number).await.unwrap()
    }

    async fn show(&self, token: &Token, number: usize) -> Result<Identity, EnrolError> {
        enrol(&self.places(), token, &self.settings(number), uplink(number), &Keep::new(&self.at(number))).await
    }

    fn follow(&self, number: usize) -> Site {
        let (taken, refuses) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (said, seen) = (Said::new(&self.at(number)), Arc::new(Mutex::new(vec![])));
        let told = (Arc::clone(&taken), Arc::clone(&refuses), Arc::clone(&said), Arc::clone(&seen));
        let (file, at) = (self.settings(number), self.at(number));
        let take_up: TakeUp = Box::new(move || {
            let (taken, refuses, said, seen) = told.clone();
            let (mut tried, mut kept, at) = (file.clone(), file.clone(), at.clone());
            Box::pin(async move {
                said.overlay(&mut tried, &Written::default()).map_err(|error| error.to_string())?;
                overlay(&mut kept, &Written::default(), &at).map_err(|error| error.to_string())?;
                seen.lock().push((policies(&tried), policies(&kept)));
                match refuses.load(Ordering::SeqCst) {
                    true => Err("the file has faults".to_owned()),
                    false => {
                        taken.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    }
                }
            })
        });
        let settings = self.settings(number).controller.unwrap();
        let follower = Follower::sharing(settings, said, uplink(number), take_up);
        let task = tokio::spawn(Arc::clone(&follower).run());
        Site { follower, taken, refuses, seen, task }
    }

    async fn edit(&self, edits: Vec<Edit>) {
        self.controller.edit(edits, "ann").await.unwrap().unwrap();
    }

    /// The names of policies and other sites that a site goes by.
    fn in_force(&self, number: usize) -> (Vec<String>, Vec<String>) {
        let mut settings = self.settings(number);
        overlay(&mut settings, &Written::default(), &self.at(number)).unwrap();
        (policies(&settings), settings.site.iter().map(|site| site.name.clone()).collect())
    }

    fn refused(&self, turned: Turned) -> u64 {
        self.controller.metrics().refused.of(turned).get()
    }
}

fn uplink(number: usize) -> Vec<Json> {
    vec![json!({ "name": "fibre", "public_key": KEYS[number - 1], "endpoint": format!("192.0.2.{number}:51820") })]
}

/// Policies that are tried, and those on disk.
type Seen = (Vec<String>, Vec<String>);

/// A site that follows, and what it has taken up.
struct Site {
    follower: Arc<Follower>,
    taken: Arc<AtomicU64>,
    refuses: Arc<AtomicBool>,
    /// The policies that were to be taken up, and those on disk meanwhile, each time.
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Site {
    /// Waits until it knows this.
    async fn knows(&self, part: &str) {
        let knows = async || self.follower.told().error.is_some_and(|error| error.contains(part));
        wait_for(&format!("the site to know: {part}; it knows {:?}", self.follower.told()), knows).await;
    }

    async fn is_there(&self) {
        wait_for("the site to come", async || self.follower.told().connected.is_some()).await;
    }
}

fn policy(name: &str, class: &str) -> Vec<Edit> {
    let body = Some(json!({ "name": name, "class": class }));
    vec![Edit { kind: Kind::Policy, id: name.to_owned(), body, expect: Expect::New }]
}

fn policies(settings: &Sdwan) -> Vec<String> {
    settings.policy.iter().map(|policy| policy.name.clone()).collect()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn two_sites_are_taken_in_by_tokens_and_hear_of_each_other_and_of_each_policy() {
    run(async {
        let lab = Lab::new().await;
        assert_eq!(lab.join(1).await.site, "north");
        lab.join(2).await;
        let sites = [lab.follow(1), lab.follow(2)];
        wait_for("both to hear of each other", async || {
            lab.in_force(1).1 == names(&["south"]) && lab.in_force(2).1 == names(&["north"])
        })
        .await;
        lab.edit(policy("calls", "voice")).await;
        wait_for("a policy to come to both", async || [1, 2].iter().all(|n| lab.in_force(*n).0 == names(&["calls"])))
            .await;
        assert!(sites.iter().all(|site| site.taken.load(Ordering::SeqCst) >= 1));
        assert_eq!(lab.controller.connected(), 2);
        let store = lab.controller.store();
        let presence = async || store.read(Query::History, |c| health::presence(c, "north")).await.unwrap();
        wait_for("the controller to know that", async || {
            let (presence, version) = (presence().await, sites[0].follower.told().version);
            presence.status == "connected" && presence.version == Some(version)
        })
        .await;
        let told = sites[0].follower.told();
        assert!(told.since.is_some() && told.connected_since.is_some() && told.certificate_expires.is_some());
        // Without the controller a site that begins anew has what it was told last.
        lab.controller.stop();
        drop(sites);
        assert_eq!(lab.in_force(1), (names(&["calls"]), names(&["south"])));
        let alone = lab.follow(1);
        wait_for("it to say which version that is", async || alone.follower.told().version == told.version).await;
        assert!(alone.follower.told().since.is_some());
    });
}

#[test]
fn what_a_site_cannot_take_up_is_not_kept_either_and_comes_again() {
    run(async {
        let lab = Lab::new().await;
        lab.join(1).await;
        let site = lab.follow(1);
        wait_for("the site to hear of the network", async || site.follower.told().version > 0).await;
        site.refuses.store(true, Ordering::SeqCst);
        lab.edit(policy("calls", "voice")).await;
        site.knows("the file has faults").await;
        assert!(lab.in_force(1).0.is_empty());
        // Neither was it on disk while it was tried, nor did anything else come of it.
        let tried: Vec<_> = site.seen.lock().iter().filter(|(tried, _)| *tried == names(&["calls"])).cloned().collect();
        assert!(!tried.is_empty() && tried.iter().all(|(_, kept)| kept.is_empty()), "{tried:?}");
        site.refuses.store(false, Ordering::SeqCst);
        lab.edit(policy("mail", "bulk")).await;
        let both = names(&["calls", "mail"]);
        wait_for("both policies", async || lab.in_force(1).0 == both).await;
    });
}

#[test]
fn reports_wait_for_a_controller_that_is_away_and_then_come_in_order() {
    run(async {
        let lab = Lab::new().await;
        lab.join(1).await;
        let site = lab.follow(1);
        for seconds in 1..=3 {
            site.follower.reporter.add(&paths(seconds, seconds * 10), UNIX_EPOCH + Duration::from_secs(seconds));
        }
        wait_for("all reports to be kept", async || site.follower.waiting() == 0).await;
        let all = (UNIX_EPOCH, SystemTime::now());
        let store = lab.controller.store();
        let history = store.read(Query::History, move |c| health::history(c, 1, all, 10)).await.unwrap();
        let at: Vec<_> = history.iter().map(|one| one.at.duration_since(UNIX_EPOCH).unwrap().as_secs()).collect();
        assert_eq!(at, [1, 2, 3]);
        let events = store.read(Query::History, |c| health::events(c, Some("north"), None, 10)).await.unwrap();
        assert_eq!(events.len(), 3, "each once");
    });
}

#[test]
fn sites_whose_controller_comes_back_come_one_after_the_other() {
    let pause = Duration::from_secs(8);
    assert_eq!((spread(pause, 0), spread(pause, u16::MAX)), (pause / 4, pause));
    // Of 2000, no tenth of the time has much more than its part.
    let mut parts = [0; 10];
    for site in 0..2000_u32 {
        let random = (site.wrapping_mul(2_654_435_761) >> 16) as u16;
        let late = spread(pause, random) - pause / 4;
        parts[((late.as_millis() * 10) / (pause * 3 / 4 + Duration::from_millis(1)).as_millis()) as usize] += 1;
    }
    assert!(parts.iter().all(|part| (150..=250).contains(part)), "{parts:?}");
}

/// One path that has sent so much, and as many events as `events` says.
fn paths(events: u64, sent: u64) -> Paths {
    let figures = Figures { latency: Duration::from_millis(10), jitter: Duration::from_millis(1), loss: 0.0 };
    let path = PathTold {
        id: 1,
        site: "south".to_owned(),
        own: "fibre".to_owned(),
        remote: "dsl".to_owned(),
        via: None,
        mtu: 1420,
        state: "up",
        figures,
        endpoint: None,
        keys: true,
        chosen: true,
        datagrams: (sent, 0),
    };
    let event = |number| EventTold {
        number,
        at: outwork_engine::Time::default(),
        kind: "path",
        count: 1,
        since: outwork_engine::Time::default(),
        site: "south".to_owned(),
        of: "fibre-south/dsl".to_owned(),
        class: None,
        strategy: None,
        from: "up".to_owned(),
        to: "down".to_owned(),
        why: String::new(),
    };
    Paths { paths: vec![path], events: (1..=events).map(event).collect(), ..Paths::default() }
}

#[test]
fn a_report_says_what_has_gone_by_since_the_one_before_and_each_event_once() {
    let reporter = Reporter::new(2, usize::MAX);
    let mut last = 0;
    for (events, sent, since) in [(1, 10, 10), (3, 25, 15), (3, 4, 4)] {
        reporter.add(&paths(events, sent), UNIX_EPOCH);
        let waiting = reporter.first().unwrap();
        reporter.kept(waiting.sequence);
        assert_eq!(waiting.paths[0].sent, since);
        assert!(waiting.sequence > last, "though the clock stands still");
        last = waiting.sequence;
    }
    for number in 0..3 {
        reporter.add(&paths(3 + number, 0), UNIX_EPOCH + Duration::from_secs(number));
    }
    let first = reporter.first().unwrap();
    assert_eq!((first.at_ms, first.events.len()), (1000, 1), "the oldest had to go");
}

#[test]
fn reports_that_wait_take_no_more_memory_than_they_may_and_the_last_one_always_waits() {
    let add = |reporter: &Reporter, number: u64| {
        reporter.add(&paths(3 * (number + 1), 0), UNIX_EPOCH + Duration::from_secs(number));
    };
    let measured = Reporter::new(9, usize::MAX);
    add(&measured, 0);
    let one = measured.octets();
    assert!(one > 0);
    let reporter = Reporter::new(9, one * 3);
    for number in 0..5 {
        add(&reporter, number);
    }
    assert!(reporter.octets() <= one * 3 && reporter.first().unwrap().at_ms > 0, "the oldest had to go");
    let last = Reporter::new(9, 1);
    add(&last, 0);
    add(&last, 1);
    assert_eq!((last.waiting(), last.first().unwrap().at_ms), (1, 1000));
    last.kept(u64::MAX);
    assert_eq!((last.waiting(), last.octets()), (0, 0));
}

#[test]
fn more_paths_than_a_report_takes_are_told_of_in_parts_that_go_together() {
    let metrics = Arc::<FollowerMetrics>::default();
    let reporter = Reporter::counted(3, usize::MAX, Arc::clone(&metrics));
    let of = |count: usize, seconds: u64| {
        let mut many = paths(1, seconds);
        let path = many.paths.remove(0);
        many.paths = (0..count).map(|number| PathTold { own: format!("u{number}"), ..path.clone() }).collect();
        reporter.add(&many, UNIX_EPOCH + Duration::from_secs(seconds));
    };
    let told = || {
        let (mut parts, mut last) = (vec![], 0);
        while let Some(part) = reporter.first() {
            assert!(part.sequence > last && part.excess().is_none());
            last = part.sequence;
            parts.push((part.at_ms, part.paths.len(), part.events.len(), part.more));
            reporter.kept(part.sequence);
        }
        parts
    };
    of(PATHS + 5, 1);
    assert_eq!(told(), [(1000, PATHS, 1, true), (1000, 5, 0, false)]);
    // Where too many wait, none is left without its other parts.
    of(PATHS + 5, 2);
    of(PATHS + 5, 3);
    assert_eq!(told(), [(3000, PATHS, 0, true), (3000, 5, 0, false)]);
    // What there is no room for at all is counted.
    of(PATHS * PARTS + 7, 4);
    assert_eq!((told().len(), metrics.paths_unreported.get()), (PARTS, 7));
    assert_eq!(metrics.reports_dropped.get(), 1);
}

#[test]
fn a_report_says_what_has_gone_under_each_policy_since_the_one_before() {
    let reporter = Reporter::new(2, usize::MAX);
    let of = |policies: &[(&str, u64)]| {
        let told =
            |(name, octets): &(&str, u64)| PolicyTold { name: (*name).to_owned(), packets: *octets, octets: *octets };
        let policies = policies.iter().map(told).collect();
        reporter.add(&Paths { policies, ..paths(0, 0) }, UNIX_EPOCH);
        let report = reporter.first().unwrap();
        reporter.kept(report.sequence);
        report.traffic.into_iter().map(|sent| (sent.policy, sent.octets)).collect::<Vec<_>>()
    };
    let sent = |name: &str, octets| (name.to_owned(), octets);
    assert_eq!(of(&[("calls", 10), ("mail", 0), ("", 3)]), [sent("calls", 10), sent("", 3)]);
    assert_eq!(of(&[("calls", 25), ("mail", 4), ("", 3)]), [sent("calls", 15), sent("mail", 4)]);
    // One that has begun anew counts from nothing.
    assert_eq!(of(&[("calls", 5)]), [sent("calls", 5)]);
}

#[test]
fn the_controller_knows_which_release_a_site_runs_and_takes_a_report_in_many_parts() {
    run(async {
        let lab = Lab::new().await;
        lab.join(1).await;
        let site = lab.follow(1);
        let mut many = paths(0, 1);
        let path = many.paths.remove(0);
        many.paths = (0..PATHS + 5).map(|number| PathTold { own: format!("u{number}"), ..path.clone() }).collect();
        site.follower.reporter.add(&many, SystemTime::now());
        wait_for("all parts to be kept", async || site.follower.waiting() == 0).await;
        let store = lab.controller.store();
        let up = health::PathFilter { status: Some("up".to_owned()), ..health::PathFilter::default() };
        let kept = store.read(Query::History, move |c| health::paths(c, &up, 0, 9999)).await.unwrap();
        assert_eq!(kept.len(), PATHS + 5);
        let presence = store.read(Query::History, |c| health::presence(c, "north")).await.unwrap();
        assert_eq!(presence.release, env!("CARGO_PKG_VERSION"));
    });
}

fn delta(from: Option<u64>, to: u64, class: &str) -> Delta {
    let body = Some(json!({ "name": "a", "class": class }));
    let changes = vec![Change { kind: Kind::Policy, id: "a".to_owned(), body }];
    Delta { network: "net".to_owned(), from, to, changes }
}

#[test]
fn what_is_forged_or_old_or_makes_no_sense_is_not_taken_up() {
    let (signer, other) = (Signer::generate().unwrap(), Signer::generate().unwrap());
    let held = Held::nothing("net").with(delta(None, 5, "bulk")).unwrap();
    let weighed = |by: &Signer, delta: &Delta| weigh(&held, &signer.verifier(), &by.sign(delta).unwrap());
    let Ok(Weighed::Next(next, _)) = weighed(&signer, &delta(Some(5), 6, "voice")) else { panic!("it is good") };
    assert_eq!(next.version, 6);
    assert!(weighed(&other, &delta(Some(5), 6, "voice")).is_err(), "somebody else has signed it");
    let replayed = delta(None, 5, "bulk");
    for (delta, why) in [
        (replayed, "has 5 already"),
        (delta(None, 3, "voice"), "has 5 already"),
        (delta(Some(4), 6, "voice"), "is for who has version 4"),
        (delta(Some(5), 6, "nowhere"), "nowhere"),
        (Delta { network: "other".to_owned(), ..delta(None, 9, "voice") }, "of the network other"),
    ] {
        let Ok(Weighed::Refused { why: told, .. }) = weighed(&signer, &delta) else { panic!("{delta:?} is taken up") };
        assert!(told.contains(why), "{told}");
    }
}
