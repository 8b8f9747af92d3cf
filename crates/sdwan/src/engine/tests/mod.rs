//! Sites in one process: engines that hear each other by links that lose, delay and die as a test says.

mod failure;
mod many;
mod matcher;
mod mtu;
mod scale;
mod selection;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::damp::Why;
use super::policy::{Application, Flow, LaneId, Policy, Strategy};
use super::prefix::Prefix;
use super::site::{Families, Reach, Uplink};
use super::*;
use crate::engine::table::{Pick, Table};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn uplink(id: u32) -> Uplink {
    let families = Families { v4: true, v6: false };
    Uplink { id: UplinkId(id), reach: Reach::Public, families, cost: 0, bandwidth: 0, metered: false, backup: false }
}

/// Site `id` has the uplinks 10 * id and on, and the network 10.0.id.0/24.
fn site(id: u32, uplinks: u32) -> Site {
    let net = Prefix::new(std::net::Ipv4Addr::from(10 << 24 | id << 8).into(), 24).unwrap();
    Site { id: SiteId(id), subnets: vec![net], hub: false, uplinks: (id * 10..id * 10 + uplinks).map(uplink).collect() }
}

fn network(own: Site, sites: &[Site], strategy: Strategy) -> Network {
    let policy = Policy {
        id: policy::PolicyId(1),
        priority: 1,
        matches: Default::default(),
        class: ClassId(0),
        strategy,
        mark: None,
    };
    Network {
        own,
        sites: sites.to_vec(),
        classes: vec![Class::VOICE, Class::BULK],
        applications: vec![],
        policies: vec![policy],
        settings: Settings::default(),
    }
}

fn flow(from: u32, to: u32, port: u16) -> Flow {
    let host = |site: u32| std::net::Ipv4Addr::from(10 << 24 | site << 8 | 1).into();
    Flow {
        source: host(from),
        destination: host(to),
        protocol: 17,
        source_port: port,
        destination_port: 5060,
        dscp: 0,
        application: None,
    }
}

/// One direction of a path.
#[derive(Debug, Clone, Copy)]
struct Link {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    dead: bool,
    /// The longest packet that gets through.
    mtu: u16,
}

const CLEAN: Link =
    Link { delay: Duration::from_millis(20), jitter: Duration::ZERO, loss: 0.0, dead: false, mtu: 1500 };

/// How long it takes until somebody has looked into all sockets.
const LOOK: Duration = Duration::from_micros(50);

#[derive(Debug, Clone, Copy)]
enum Message {
    Hello(Hello),
    Probe(Probe),
    /// Of a path of whom it reaches.
    Silent(PathId, Silence),
    Data(u32),
    /// Everything that had come by then was handed in.
    Looked(Time),
}

/// A message that arrives: when, its order, at which engine, by which path.
type Arrival = (Time, u64, usize, PathId);

struct Lab {
    now: Time,
    rng: Rng,
    engines: Vec<Engine>,
    tables: Vec<Arc<Table>>,
    /// By the uplinks from which and to which.
    links: BTreeMap<(u32, u32), Link>,
    under_way: BinaryHeap<Reverse<Arrival>>,
    messages: BTreeMap<u64, Message>,
    order: u64,
    events: Vec<(Time, usize, Event)>,
    hellos: u64,
    /// Until when an engine is not scheduled: what comes waits, and so do its timers.
    stalled: Vec<Time>,
    /// Numbers of data that came, and when.
    arrived: BTreeMap<u32, Time>,
}

impl Lab {
    fn new(sites: &[Site], strategy: Strategy, link: Link, rng: &mut Rng) -> Lab {
        let of = |own: &Site| {
            Engine::new(&network(own.clone(), sites, strategy.clone()), own.id.0.into(), Time::ZERO).unwrap()
        };
        let engines: Vec<_> = sites.iter().map(of).collect();
        let mut lab = Lab {
            now: Time::ZERO,
            rng: Rng::new(rng.next_u64()),
            tables: vec![],
            links: BTreeMap::new(),
            under_way: BinaryHeap::new(),
            messages: BTreeMap::new(),
            order: 0,
            events: vec![],
            hellos: 0,
            stalled: vec![Time::ZERO; engines.len()],
            arrived: BTreeMap::new(),
            engines,
        };
        for index in 0..lab.engines.len() {
            let table = lab.engines[index].make_table();
            lab.tables.push(table);
            let pairs: Vec<_> =
                lab.engines[index].paths().map(|(_, spec, ..)| (spec.key.own.0, spec.key.remote.0)).collect();
            lab.links.extend(pairs.into_iter().map(|pair| (pair, link)));
        }
        lab
    }

    /// Both directions.
    fn set(&mut self, a: u32, b: u32, link: Link) {
        self.links.insert((a, b), link);
        self.links.insert((b, a), link);
    }

    fn path(&self, engine: usize, own: u32, remote: u32) -> PathId {
        let found =
            self.engines[engine].paths().find(|(_, spec, ..)| (spec.key.own.0, spec.key.remote.0) == (own, remote));
        found.unwrap().0
    }

    fn key(&self, engine: usize, path: PathId) -> PathKey {
        self.engines[engine].paths().find(|(id, ..)| *id == path).unwrap().1.key
    }

    fn state(&self, engine: usize, path: PathId) -> State {
        self.engines[engine].paths().find(|(id, ..)| *id == path).unwrap().2
    }

    fn send(&mut self, engine: usize, path: PathId, message: Message) {
        let key = self.key(engine, path);
        let link = self.links[&(key.own.0, key.remote.0)];
        let late = match message {
            // What hellos and data meet with is not to depend on how many probes there are.
            Message::Probe(probe) if link.dead || probe.length() > usize::from(link.mtu) => return,
            Message::Probe(_) => Duration::ZERO,
            Message::Silent(..) if link.dead => return,
            Message::Silent(..) => link.jitter,
            Message::Hello(_) | Message::Data(_) if link.dead || self.rng.chance(link.loss) => return,
            Message::Hello(_) | Message::Data(_) => link.jitter.mul_f64(self.rng.unit()),
            Message::Looked(_) => return,
        };
        let at = self.now + link.delay + late;
        let to = (key.remote.0 / 10 - 1) as usize;
        let back = self.path(to, key.remote.0, key.own.0);
        self.order += 1;
        self.under_way.push(Reverse((at, self.order, to, back)));
        self.messages.insert(self.order, message);
    }

    fn input(&mut self, engine: usize, input: Input) {
        self.engines[engine].handle_input(self.now, input);
        self.drain(engine);
    }

    fn drain(&mut self, engine: usize) {
        while let Some(output) = self.engines[engine].poll_output() {
            match output {
                Output::Hello(path, hello) => {
                    self.hellos += 1;
                    self.send(engine, path, Message::Hello(hello));
                }
                Output::Probe(path, probe) => self.send(engine, path, Message::Probe(probe)),
                Output::Silent { by, of, silence } => {
                    let key = self.key(engine, of);
                    let theirs = self.path((key.remote.0 / 10 - 1) as usize, key.remote.0, key.own.0);
                    self.send(engine, by, Message::Silent(theirs, silence));
                }
                Output::Mtu(..) => {}
                Output::Look => {
                    // Sockets are looked into a moment later.
                    self.order += 1;
                    self.under_way.push(Reverse((self.now + LOOK, self.order, engine, PathId(0))));
                    self.messages.insert(self.order, Message::Looked(self.now));
                }
                Output::Table(table) => self.tables[engine] = table,
                Output::Event(event) => self.events.push((self.now, engine, event)),
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let arrival = self.under_way.peek().map_or(Time::MAX, |Reverse((at, ..))| *at);
            let timers = self.engines.iter().map(|engine| engine.poll_timeout().map_or(Time::MAX, |(at, _)| at));
            let timers = timers.zip(&self.stalled).map(|(at, stalled)| at.max(*stalled));
            let (due, engine) = timers.zip(0..).min().unwrap();
            if arrival.min(due) > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(arrival.min(due));
            if arrival <= due {
                self.deliver();
            } else {
                self.engines[engine].handle_timeout(self.now);
                self.drain(engine);
            }
        }
    }

    fn deliver(&mut self) {
        let Reverse((at, order, to, path)) = self.under_way.pop().unwrap();
        if at < self.stalled[to] {
            // After the timers: that is the worse order.
            self.under_way.push(Reverse((self.stalled[to] + Duration::from_nanos(1), order, to, path)));
            return;
        }
        match self.messages.remove(&order).unwrap() {
            Message::Hello(hello) => self.input(to, Input::Hello(path, hello)),
            Message::Probe(probe) => self.input(to, Input::Probe(path, probe)),
            Message::Silent(of, silence) => self.input(to, Input::Silent { by: path, of, silence }),
            Message::Looked(until) => self.input(to, Input::Looked(until)),
            Message::Data(number) => {
                self.arrived.entry(number).or_insert(self.now);
                self.input(to, Input::Traffic { path, sent: 0, received: 1 });
            }
        }
    }

    fn pick(&self, from: usize, flow: &Flow) -> Option<Pick> {
        self.tables[from].look_up(flow)?.pick(flow.hash(1))
    }

    /// Sends one numbered datagram from the first site to the second, as its table says.
    fn datagram(&mut self, number: u32) {
        let Some(pick) = self.pick(0, &flow(1, 2, 1000)) else { return };
        for path in [Some(pick.path), pick.second].into_iter().flatten() {
            self.input(0, Input::Traffic { path, sent: 1, received: 0 });
            self.send(0, path, Message::Data(number));
        }
    }

    /// An engine is not scheduled for so long.
    fn stall(&mut self, engine: usize, time: Duration) {
        self.stalled[engine] = self.now + time;
    }

    /// Keeps the first site busy with the second for so long.
    fn talk(&mut self, time: Duration, every: Duration) {
        let until = self.now + time;
        while self.now < until {
            let number = self.order as u32;
            self.datagram(number);
            self.run(every);
        }
    }

    fn downs(&self) -> Vec<(Time, usize, Option<Cause>)> {
        let down = |(at, engine, event): &(Time, usize, Event)| match event {
            Event::Path { change, .. } if change.to == State::Down => Some((*at, *engine, change.cause)),
            _ => None,
        };
        self.events.iter().filter_map(down).collect()
    }

    /// Switches of the policy's lane that are not the first choice.
    fn switches(&self, engine: usize) -> Vec<(Time, Why)> {
        let switch = |(at, by, event): &(Time, usize, Event)| match event {
            Event::Switch { lane: LaneId(1), why, .. } if *why != Why::First && *by == engine => Some((*at, *why)),
            _ => None,
        };
        self.events.iter().filter_map(switch).collect()
    }
}

/// Two sites with two uplinks each, of which only 10-20 and 11-21 lead anywhere.
fn pair(strategy: Strategy, link: Link, rng: &mut Rng) -> Lab {
    let mut lab = Lab::new(&[site(1, 2), site(2, 2)], strategy, link, rng);
    let dead = Link { dead: true, ..link };
    lab.set(10, 21, dead);
    lab.set(11, 20, dead);
    lab
}
