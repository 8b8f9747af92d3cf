use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use outwork_config::{Sources, load};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::enrol::{EnrolError, enrol};
use super::session::{Weighed, weigh};
use super::*;
use crate::channel::frame::{self, MOST_OF_STRANGERS};
use crate::channel::message::{FromController, FromSite};
use crate::channel::tls;
use crate::channel::token::Token;
use crate::control::told::{EventTold, PathTold, Paths};
use crate::controller::Controller;
use crate::controller::config::ControllerSettings;
use crate::controller::store::documents::{Edit, Expect};
use crate::controller::store::{Query, documents, health};
use crate::engine::quality::Figures;
use crate::network::Kind;
use crate::network::delta::{Change, Delta, Held};
use crate::network::signed::Signer;

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

async fn controller(dir: &Path) -> Arc<Controller> {
    let settings: ControllerSettings = read("listen = ['127.0.0.1:0']");
    Controller::start(&settings, dir).await.unwrap()
}

/// What a site's file says of itself and its controller.
fn site_settings(controller: &Controller, number: usize) -> Sdwan {
    let address = controller.addresses()[0];
    read(&format!(
        "subnets = ['10.{number}.0.0/16']\n[controller]\naddress = ['{address}']\n[[uplink]]\nname = 'fibre'\n\
         endpoint = '192.0.2.{number}:51820'\n"
    ))
}

fn uplink(number: usize) -> Vec<Json> {
    vec![json!({ "name": "fibre", "public_key": KEYS[number - 1], "endpoint": format!("192.0.2.{number}:51820") })]
}

/// Makes a token for a site, and has the site show it.
async fn join(controller: &Controller, name: &str, number: usize, dir: &Path) -> Result<Identity, EnrolError> {
    let (token, _) = controller.invite(name, DAY, "ann").await.unwrap();
    show(controller, &token, number, dir).await
}

async fn show(controller: &Controller, token: &Token, number: usize, dir: &Path) -> Result<Identity, EnrolError> {
    let settings = site_settings(controller, number);
    enrol(controller.addresses(), token, &settings, uplink(number), &Keep::new(dir)).await
}

/// A site that follows, and what it has taken up.
struct Site {
    follower: Arc<Follower>,
    taken: Arc<AtomicU64>,
    refuses: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

fn follow(controller: &Controller, number: usize, dir: &Path) -> Site {
    let (taken, refuses) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let told = (Arc::clone(&taken), Arc::clone(&refuses));
    let take_up: TakeUp = Box::new(move || {
        let (taken, refuses) = (Arc::clone(&told.0), Arc::clone(&told.1));
        Box::pin(async move {
            match refuses.load(Ordering::SeqCst) {
                true => Err("the file has faults".to_owned()),
                false => {
                    taken.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            }
        })
    });
    let settings = site_settings(controller, number).controller.unwrap();
    let follower = Follower::new(settings, dir.to_owned(), uplink(number), take_up);
    let task = tokio::spawn(Arc::clone(&follower).run());
    Site { follower, taken, refuses, task }
}

fn policy(name: &str, class: &str) -> Vec<Edit> {
    let body = Some(json!({ "name": name, "class": class }));
    vec![Edit { kind: Kind::Policy, id: name.to_owned(), body, expect: Expect::New }]
}

/// The names of policies and other sites that a site goes by.
fn in_force(controller: &Controller, number: usize, dir: &Path) -> (Vec<String>, Vec<String>) {
    let mut settings = site_settings(controller, number);
    overlay(&mut settings, dir).unwrap();
    let policies = settings.policy.iter().map(|policy| policy.name.clone()).collect();
    (policies, settings.site.iter().map(|site| site.name.clone()).collect())
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn two_sites_are_taken_in_by_tokens_and_hear_of_each_other_and_of_each_policy() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let [own, north, south] = [0, 1, 2].map(|number: usize| dirs[number].path().join("kept"));
    run(async {
        let controller = controller(&own).await;
        assert_eq!(join(&controller, "north", 1, &north).await.unwrap().site, "north");
        join(&controller, "south", 2, &south).await.unwrap();
        let sites = [follow(&controller, 1, &north), follow(&controller, 2, &south)];
        wait_for("both to hear of each other", async || {
            in_force(&controller, 1, &north).1 == names(&["south"])
                && in_force(&controller, 2, &south).1 == names(&["north"])
        })
        .await;
        controller.edit(policy("calls", "voice"), "ann").await.unwrap().unwrap();
        wait_for("a policy to come to both", async || {
            [(1, &north), (2, &south)]
                .iter()
                .all(|(number, dir)| in_force(&controller, *number, dir).0 == names(&["calls"]))
        })
        .await;
        assert!(sites.iter().all(|site| site.taken.load(Ordering::SeqCst) >= 1));
        assert_eq!(controller.connected(), 2);
        let presence =
            async || controller.store().read(Query::History, |c| health::presence(c, "north")).await.unwrap();
        wait_for("the controller to know that", async || {
            let (presence, version) = (presence().await, sites[0].follower.told().version);
            presence.status == "connected" && presence.version == Some(version)
        })
        .await;
        // Without the controller a site that begins anew has what it was told last.
        controller.stop();
        sites.iter().for_each(|site| site.task.abort());
        assert_eq!(in_force(&controller, 1, &north), (names(&["calls"]), names(&["south"])));
    });
}

#[test]
fn a_token_that_was_used_or_is_over_or_is_of_another_controller_lets_nobody_in() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let [own, other, site] = [0, 1, 2].map(|number: usize| dirs[number].path().join("kept"));
    run(async {
        let (controller, other) = (controller(&own).await, controller(&other).await);
        let (token, _) = controller.invite("north", DAY, "ann").await.unwrap();
        show(&controller, &token, 1, &site).await.unwrap();
        let denied = |outcome: Result<Identity, EnrolError>| matches!(outcome, Err(EnrolError::Denied { .. }));
        assert!(denied(show(&controller, &token, 1, &site).await), "it was used");
        let (late, _) = controller.invite("north", Duration::ZERO, "ann").await.unwrap();
        assert!(denied(show(&controller, &late, 1, &site).await), "its time is over");
        let (good, _) = controller.invite("north", DAY, "ann").await.unwrap();
        let guessed = Token { secret: [0; 32], ..good.clone() };
        assert!(denied(show(&controller, &guessed, 1, &site).await), "its secret is another");
        // Who is not the controller that the token was made by is not even told the secret.
        let strange = show(&other, &good, 1, &site).await;
        assert!(matches!(strange, Err(EnrolError::Unreached { .. })), "{strange:?}");
        show(&controller, &good, 1, &site).await.unwrap();
    });
}

#[test]
fn who_has_no_certificate_can_but_show_a_token_and_is_not_listened_to_for_long() {
    let dir = TempDir::new().unwrap();
    run(async {
        let controller = controller(&dir.path().join("kept")).await;
        let (token, _) = controller.invite("north", DAY, "ann").await.unwrap();
        let refused = || controller.metrics().refused.get();
        let connect = async || {
            let stream = TcpStream::connect(controller.addresses()[0]).await.unwrap();
            let connector = TlsConnector::from(Arc::new(tls::stranger(token.authority).unwrap()));
            connector.connect(tls::name().unwrap(), stream).await.unwrap()
        };
        let mut stream = connect().await;
        frame::write(&mut stream, &FromSite::Hello { version: 7, uplinks: vec![] }).await.unwrap();
        let answer = frame::read::<FromController>(&mut stream, MOST_OF_STRANGERS).await;
        assert!(!matches!(answer, Ok(Some(_))), "{answer:?}");
        wait_for("it to be counted", async || refused() == 1).await;
        // Neither does a length that nobody may have, nor what is no TLS at all.
        let mut stream = connect().await;
        stream.write_all(&[0xff; 64]).await.unwrap();
        stream.flush().await.unwrap();
        wait_for("that to be counted", async || refused() == 2).await;
        let mut plain = TcpStream::connect(controller.addresses()[0]).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        wait_for("this to be counted", async || refused() == 3).await;
        assert_eq!(controller.connected(), 0);
    });
}

#[test]
fn a_site_that_is_revoked_is_heard_no_more_and_goes_on_as_it_was_told() {
    let dirs: Vec<TempDir> = (0..2).map(|_| TempDir::new().unwrap()).collect();
    let [own, north] = [0, 1].map(|number: usize| dirs[number].path().join("kept"));
    run(async {
        let controller = controller(&own).await;
        join(&controller, "north", 1, &north).await.unwrap();
        controller.edit(policy("calls", "voice"), "ann").await.unwrap().unwrap();
        let site = follow(&controller, 1, &north);
        wait_for("the site to come", async || site.follower.told().connected.is_some()).await;
        wait_for("the policy", async || in_force(&controller, 1, &north).0 == names(&["calls"])).await;
        assert_eq!(controller.revoke("north", "ann").await.unwrap(), 1);
        wait_for("the site to be gone", async || controller.connected() == 0).await;
        wait_for("the site to know", async || {
            site.follower.told().error.is_some_and(|error| error.contains("revoked"))
        })
        .await;
        assert_eq!(in_force(&controller, 1, &north).0, names(&["calls"]));
        site.task.abort();
    });
}

#[test]
fn what_a_site_cannot_take_up_is_not_kept_either_and_comes_again() {
    let dirs: Vec<TempDir> = (0..2).map(|_| TempDir::new().unwrap()).collect();
    let [own, north] = [0, 1].map(|number: usize| dirs[number].path().join("kept"));
    run(async {
        let controller = controller(&own).await;
        join(&controller, "north", 1, &north).await.unwrap();
        let site = follow(&controller, 1, &north);
        wait_for("the site to come", async || site.follower.told().version > 0).await;
        site.refuses.store(true, Ordering::SeqCst);
        controller.edit(policy("calls", "voice"), "ann").await.unwrap().unwrap();
        wait_for("the site to refuse", async || {
            site.follower.told().error.is_some_and(|error| error.contains("the file has faults"))
        })
        .await;
        assert!(in_force(&controller, 1, &north).0.is_empty());
        site.refuses.store(false, Ordering::SeqCst);
        controller.edit(policy("mail", "bulk"), "ann").await.unwrap().unwrap();
        let both = names(&["calls", "mail"]);
        wait_for("both policies", async || in_force(&controller, 1, &north).0 == both).await;
        site.task.abort();
    });
}

#[test]
fn reports_wait_for_a_controller_that_is_away_and_then_come_in_order() {
    let dirs: Vec<TempDir> = (0..2).map(|_| TempDir::new().unwrap()).collect();
    let [own, north] = [0, 1].map(|number: usize| dirs[number].path().join("kept"));
    run(async {
        let controller = controller(&own).await;
        join(&controller, "north", 1, &north).await.unwrap();
        let site = follow(&controller, 1, &north);
        for seconds in 1..=3 {
            site.follower.reporter.add(&paths(seconds, seconds * 10), UNIX_EPOCH + Duration::from_secs(seconds));
        }
        wait_for("all reports to be kept", async || site.follower.reporter.first().is_none()).await;
        let all = (UNIX_EPOCH, SystemTime::now());
        let history =
            controller.store().read(Query::History, move |c| health::history(c, 1, all.0, all.1)).await.unwrap();
        let at: Vec<_> = history.iter().map(|one| one.at.duration_since(UNIX_EPOCH).unwrap().as_secs()).collect();
        assert_eq!(at, [1, 2, 3]);
        let events =
            controller.store().read(Query::History, |c| health::events(c, Some("north"), None, 10)).await.unwrap();
        assert_eq!(events.len(), 3, "each once");
        site.task.abort();
    });
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
    let reporter = Reporter::new(2);
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
    let Ok(Weighed::Next(next)) = weighed(&signer, &delta(Some(5), 6, "voice")) else { panic!("it is good") };
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

#[test]
fn a_site_keeps_who_it_is_and_knows_when_its_certificate_grows_old() {
    let dirs: Vec<TempDir> = (0..2).map(|_| TempDir::new().unwrap()).collect();
    let [own, north] = [0, 1].map(|number: usize| dirs[number].path().join("kept"));
    run(async {
        let settings: ControllerSettings = read("listen = ['127.0.0.1:0']\ncertificate_life = '1d'");
        let controller = Controller::start(&settings, &own).await.unwrap();
        let identity = join(&controller, "north", 1, &north).await.unwrap();
        let now = SystemTime::now();
        assert!(!identity.is_old(now) && identity.is_old(now + DAY));
        let documents = controller.store().read(Query::Documents, documents::all).await.unwrap();
        assert_eq!(documents.of(Kind::Uplink, "north/").count(), 1);
        // What is kept outlives the process, and is for nobody else's eyes.
        assert_eq!(Keep::new(&north).identity().unwrap(), Some(identity));
    });
}
