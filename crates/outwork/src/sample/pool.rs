//! The servers of the sample pool: this process serves them on loopback, as if they were somebody else's, and asks for something now and then. One of
//! them fails again and again, and heals, so that there is something to watch.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::StatusCode;
use outwork_front::door::{Bound, Buffers, Door, DoorMetrics, Farewell, Options, Place, Serving, Threads};
use outwork_front::filter::Networks;
use outwork_front::message::{Answer, Handler, Request, Response};
use outwork_proxy::address;
use outwork_proxy::config::Proxy;
use ureq::Agent;

/// What the practice configuration calls it.
const POOL: &str = "sample";
/// What it asks to see whether a server is healthy.
const CHECK: &str = "/healthz";
/// Which of the servers fails.
const FAILING: usize = 2;
/// How long each server takes for an answer at least, in milliseconds.
const TAKES: [u64; 3] = [2, 4, 7];
/// What is asked for, and how long nothing is in between.
const PATH: &str = "/backends/hello";
const PAUSE: Duration = Duration::from_millis(125);
/// How long a request, and the end of the servers, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is the matter with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// Nothing.
    Well,
    /// It fails requests, and tells checks that it is well: only who counts failures notices.
    Failing,
    /// It fails checks, too.
    Down,
}

/// What becomes of the one that fails, again and again, and for how many seconds.
const ROUND: [(u64, Condition); 4] =
    [(10, Condition::Well), (12, Condition::Failing), (10, Condition::Down), (28, Condition::Well)];

impl Condition {
    fn after(elapsed: Duration) -> Self {
        let round: u64 = ROUND.iter().map(|(lasts, _)| lasts).sum();
        let mut left = elapsed.as_secs() % round;
        for (lasts, condition) in ROUND {
            match left.checked_sub(lasts) {
                Some(after) => left = after,
                None => return condition,
            }
        }
        Self::Well
    }
}

/// The servers, which know each other by where they listen.
struct Servers<C> {
    addresses: Vec<SocketAddr>,
    /// How long they have been there.
    clock: C,
    answered: AtomicU64,
}

impl<C: Fn() -> Duration + Send + Sync> Handler for Servers<C> {
    fn handle(&self, request: Request) -> Answer {
        let which = self.addresses.iter().position(|address| *address == request.origin.local).unwrap_or_default();
        let condition = if which == FAILING { Condition::after((self.clock)()) } else { Condition::Well };
        let is_check = request.head.uri.path() == CHECK;
        let (status, told) = match (condition, is_check) {
            (Condition::Well | Condition::Failing, true) => (StatusCode::OK, "well\n".to_owned()),
            (Condition::Well, false) => {
                (StatusCode::OK, format!("Server {} of the sample pool says hello.\n", which + 1))
            }
            (Condition::Failing | Condition::Down, _) => {
                (StatusCode::SERVICE_UNAVAILABLE, "This server of the sample pool fails on purpose.\n".to_owned())
            }
        };
        // No two answers take the same time in life.
        let more = self.answered.fetch_add(1, Relaxed) % 4;
        let takes = Duration::from_millis(TAKES.get(which).copied().unwrap_or_default() + more);
        let response = Response::full(status, "text/plain; charset=utf-8", told);
        Answer::Later(Box::pin(async move {
            tokio::time::sleep(takes).await;
            response
        }))
    }
}

/// The servers at work, and who asks them. They end with this.
pub(crate) struct SamplePool {
    door: Option<Door>,
    asking: Option<(Sender<()>, JoinHandle<()>)>,
}

impl SamplePool {
    /// Serves where the practice configuration has the pool's backends, and asks for something at the first of these listeners that is not encrypted.
    ///
    /// # Errors
    /// When somebody else listens there.
    pub(crate) fn start(proxy: &Proxy, listeners: &[(SocketAddr, bool)]) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut sample = Self::serve(&backends(proxy), move || began.elapsed())?;
        if let Some((address, _)) = listeners.iter().find(|(_, tls)| !tls) {
            let (stop, stopped) = channel();
            let url = format!("http://{address}{PATH}");
            let thread = std::thread::Builder::new().name("sample-load".to_owned()).spawn(move || ask(&url, &stopped));
            sample.asking = Some((stop, thread.context("nobody can ask the sample pool")?));
        }
        Ok(sample)
    }

    fn serve(addresses: &[SocketAddr], clock: impl Fn() -> Duration + Send + Sync + 'static) -> anyhow::Result<Self> {
        let place = |address: &SocketAddr| Place {
            address: *address,
            tls: None,
            http3: false,
            backlog: 16,
            buffers: Buffers::default(),
            proxies: Networks::of(&[]),
        };
        let places: Vec<Place> = addresses.iter().map(place).collect();
        let bound = Bound::bind(&places, Threads::of(1), Vec::new()).context("the sample pool has no servers")?;
        let servers = Servers { addresses: bound.addresses(), clock, answered: AtomicU64::new(0) };
        let serving = Serving { options: Options::default(), handler: Box::new(servers), entry: Default::default() };
        // What they count is nobody's figures: as far as Outwork knows, they are elsewhere.
        let door = bound.serve(serving, &DoorMetrics::default().into())?;
        Ok(Self { door: Some(door), asking: None })
    }
}

impl Drop for SamplePool {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.asking.take() {
            drop(stop);
            // It has nothing to say.
            let _ = thread.join();
        }
        if let Some(door) = self.door.take() {
            door.stop(Farewell::Brief, PATIENCE);
        }
    }
}

/// Where the practice configuration has them. What somebody has put elsewhere is not ours to serve.
fn backends(proxy: &Proxy) -> Vec<SocketAddr> {
    let places = proxy.pool.get(POOL).into_iter().flat_map(|pool| &pool.backend).map(|backend| &backend.url.place);
    let addresses = places.filter_map(|place| match place {
        address::Place::Address(address) => Some(*address),
        address::Place::Name { .. } | address::Place::Service(_) | address::Place::Unix(_) => None,
    });
    addresses.filter(|address| address.ip().is_loopback()).collect()
}

/// Asks for something again and again.
fn ask(url: &str, stopped: &Receiver<()>) {
    let config = Agent::config_builder().http_status_as_error(false).proxy(None).timeout_global(Some(PATIENCE));
    let agent: Agent = config.user_agent("Outwork-sample").build().into();
    while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        // How it went is seen where it is for everybody else's requests.
        let _ = agent.get(url).call().and_then(|mut answer| answer.body_mut().read_to_vec());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outwork_config::{Sources, load};
    use outwork_proxy::pool::Pools;
    use outwork_proxy::pool::keeper::Keeper;
    use outwork_proxy::pool::orders::Orders;

    use super::*;
    use crate::settings::Settings;

    fn after(seconds: u64) -> Condition {
        Condition::after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_round_goes_from_well_over_failing_and_down_to_well_within_a_minute() {
        let round: Vec<Condition> = (0..60).map(after).collect();
        let mut turns = round.clone();
        turns.dedup();
        assert_eq!(turns, [Condition::Well, Condition::Failing, Condition::Down, Condition::Well]);
        assert_eq!(round, (60..120).map(after).collect::<Vec<_>>());
    }

    #[test]
    fn the_server_that_goes_down_leaves_its_pool_and_comes_back_when_it_is_well() {
        let seconds = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&seconds);
        let anywhere = [SocketAddr::from(([127, 0, 0, 1], 0)); 3];
        let servers = SamplePool::serve(&anywhere, move || Duration::from_secs(told.load(Relaxed))).unwrap();
        let addresses = servers.door.as_ref().unwrap().addresses();
        let urls: Vec<String> = addresses.iter().map(|address| format!("{{ url = 'http://{address}' }}")).collect();
        let check = format!(
            "{{ path = '{CHECK}', interval = '10ms', fast_interval = '10ms', healthy_threshold = 1, unhealthy_threshold = 1 }}"
        );
        let text = format!("[proxy.pool.{POOL}]\nbackend = [{}]\nhealth_check = {check}\n", urls.join(", "));
        let sources = Sources { file: Some(("test.toml".into(), text)), ..Sources::default() };
        let proxy = load::<Settings>(sources).unwrap_or_else(|faults| panic!("{}", faults.render(false))).value.proxy;
        assert_eq!(backends(&proxy), addresses);
        let pools = Pools::new([0; 16], Orders::default());
        pools.commit(pools.prepare(&proxy, &[]).unwrap());
        let _keeper = Keeper::start(&pools).unwrap();
        let passed = pools.metrics().checks.of(outwork_proxy::metrics::Checked::Passed);
        let unhealthy = pools.metrics().unhealthy.cell([POOL]);
        let until = |what: &str, so: &dyn Fn() -> bool| {
            let began = Instant::now();
            while !so() {
                assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
                std::thread::yield_now();
            }
        };
        until("checks", &|| passed.get() >= 3);
        assert_eq!(unhealthy.get(), 0);
        for (condition, expected) in [(Condition::Down, 1), (Condition::Well, 0)] {
            seconds.store((0..60).rev().find(|second| after(*second) == condition).unwrap(), Relaxed);
            until("the checks to notice", &|| unhealthy.get() == expected);
        }
    }
}
