//! What the fuzz targets do with datagrams of anybody, and what must hold whatever they are. Public API only: the test `crates/wireguard/tests/hostile.rs` includes this
//! file and replays the corpora through it.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outwork_engine::{Rng, Time};
use outwork_wireguard::gate::{Gate, Limits, Verdict};
use outwork_wireguard::index::Table;
use outwork_wireguard::mac::Signer;
use outwork_wireguard::message::{HEADER, Initiation, MAC, Message, Response};
use outwork_wireguard::noise::Snow;
use outwork_wireguard::peer::{Context, Input, Output, Settings};
use outwork_wireguard::session::{Opener, Sealer};
use outwork_wireguard::stamp::Clock;
use outwork_wireguard::{Entropy, Identity, Index, Peer, PresharedKey, PrivateKey};

/// Reads a datagram, and writes what is in it again: it is the same, but for macs, which are made apart.
pub fn message(bytes: &[u8]) {
    let Ok(message) = Message::read(bytes) else { return };
    let (again, macs) = match message {
        Message::Initiation(initiation) => {
            assert_eq!(&initiation.whole[..], bytes);
            (Initiation::write(initiation.sender, initiation.noise).to_vec(), 2 * MAC)
        }
        Message::Response(response) => {
            assert_eq!(&response.whole[..], bytes);
            (Response::write(response.sender, response.receiver, response.noise).to_vec(), 2 * MAC)
        }
        Message::CookieReply(reply) => (reply.write().to_vec(), 0),
        Message::Transport(transport) => (transport.write().to_vec(), 0),
    };
    let written = again.len() - macs;
    assert_eq!(again[..written], bytes[..written]);
}

/// Secrets that everybody knows.
struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        self.0.fill(buffer);
        true
    }
}

/// Datagrams that are remembered, to come again.
const REMEMBERED: usize = 32;
/// Numbers of sessions that a peer has at most.
const SESSIONS: usize = 6;

/// One end: a gate, a peer, and what workers have.
struct End {
    local: Identity,
    gate: Gate,
    clock: Clock,
    entropy: Seeded,
    table: Table<Option<Arc<Opener>>>,
    peer: Peer,
    sealer: Option<Arc<Sealer>>,
    address: SocketAddr,
    /// Numbers of the packets that came.
    got: BTreeSet<u64>,
}

/// Two ends, and somebody between them.
pub struct Day {
    now: Time,
    ends: [End; 2],
    /// What is under way: where from, where to.
    under_way: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// What has been, for whom.
    passed: VecDeque<(usize, SocketAddr, Vec<u8>)>,
    /// The number of the next packet.
    next: u64,
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 51820))
}

impl Default for Day {
    fn default() -> Self {
        Self::new()
    }
}

impl Day {
    /// One on which nothing has happened.
    pub fn new() -> Day {
        let mut seeded = Seeded(Rng::new(1));
        let keys = [0, 1].map(|_| Identity::from(PrivateKey::generate(&mut seeded).expect("a key")));
        let now = Time::from_secs(1);
        let end = |at: usize, seeded: &mut Seeded| {
            let settings = Settings {
                remote: *keys[1 - at].oldest().public(),
                psk: PresharedKey::new([9; 32]),
                endpoint: Some(address(2 - at as u8)),
                keepalive: (at == 1).then_some(Duration::from_secs(25)),
            };
            End {
                local: keys[at].clone(),
                gate: Gate::new(&keys[at], Limits::default(), now, seeded).expect("randomness"),
                clock: Clock::new(now, Duration::from_secs(1_700_000_000)),
                entropy: Seeded(Rng::new(seeded.0.next_u64())),
                table: Table::new(16),
                peer: Peer::new(settings, Rng::new(seeded.0.next_u64()), now),
                sealer: None,
                address: address(1 + at as u8),
                got: BTreeSet::new(),
            }
        };
        let ends = [end(0, &mut seeded), end(1, &mut seeded)];
        Day { now, ends, under_way: VecDeque::new(), passed: VecDeque::new(), next: 0 }
    }

    fn step<R>(&mut self, at: usize, act: impl FnOnce(&mut Peer, &mut Context<'_>) -> R) -> R {
        let end = &mut self.ends[at];
        let mut cx = Context {
            local: &end.local,
            noise: &Snow,
            clock: &mut end.clock,
            entropy: &mut end.entropy,
            indices: &end.table,
        };
        let result = act(&mut end.peer, &mut cx);
        let mut sent = vec![];
        while let Some(output) = end.peer.poll_output() {
            match output {
                Output::Send(to, datagram) => sent.push((to, datagram)),
                Output::Expect(index) => assert!(end.table.put(index, Arc::new(None))),
                Output::Receive(opener) => assert!(end.table.put(opener.local(), Arc::new(Some(opener.clone())))),
                Output::Seal(sealer) => end.sealer = Some(sealer),
                Output::Forget(index) => assert!(end.table.find(index).is_none()),
                Output::Lost => end.sealer = None,
                Output::Endpoint(_) | Output::GaveUp => {}
            }
        }
        assert!(end.table.used() <= SESSIONS, "{} numbers of sessions are in use", end.table.used());
        sent.into_iter().for_each(|(to, datagram)| self.send(at, to, datagram));
        result
    }

    fn send(&mut self, at: usize, to: SocketAddr, datagram: Vec<u8>) {
        let from = self.ends[at].address;
        if self.passed.len() == REMEMBERED {
            self.passed.pop_front();
        }
        self.passed.push_back((1 - at, from, datagram.clone()));
        self.under_way.push_back((from, to, datagram));
    }

    /// What is refused, a test of its own looks at.
    fn input(&mut self, at: usize, input: Input<'_>) {
        let now = self.now;
        let _ = self.step(at, |peer, cx| peer.handle_input(now, input, cx));
    }

    /// A datagram comes.
    pub fn receive(&mut self, at: usize, from: SocketAddr, datagram: &[u8]) {
        let (now, end) = (self.now, &mut self.ends[at]);
        match end.gate.judge(now, from, datagram, (&end.local, &Snow), &mut end.entropy) {
            Verdict::Initiation { sender, heard } => self.input(at, Input::Initiation { from, sender, heard }),
            Verdict::Response(response) => self.input(at, Input::Response { from, response }),
            Verdict::CookieReply(reply) => self.input(at, Input::CookieReply(reply)),
            Verdict::Busy(reply) => {
                assert!(reply.len() < datagram.len(), "nobody is flooded by way of us");
                self.send(at, from, reply.to_vec());
            }
            Verdict::Transport(index) => self.open(at, from, index, datagram),
            Verdict::Drop(_) => {}
        }
    }

    fn open(&mut self, at: usize, from: SocketAddr, index: Index, datagram: &[u8]) {
        let found = self.ends[at].table.find(index);
        let Some(opener) = found.as_deref().and_then(Option::as_ref) else { return };
        let mut datagram = datagram.to_vec();
        let Ok(opened) = opener.open(self.now, &mut datagram) else { return };
        if let Some(number) = datagram[opened.packet].first_chunk().map(|number| u64::from_be_bytes(*number)) {
            assert!(number < self.next, "nobody has sent {number}");
            assert!(self.ends[at].got.insert(number), "{number} came twice");
        }
        if opened.confirms {
            self.input(at, Input::Confirmed(index));
        }
        if self.ends[at].peer.endpoint() != Some(from) {
            self.input(at, Input::Moved(from));
        }
        if opened.rekey {
            self.input(at, Input::Wanted);
        }
    }

    /// A datagram that nobody has sent: nobody is made to send more than that by it.
    pub fn strange(&mut self, at: usize, datagram: &[u8]) {
        let before = self.under_way.len();
        self.receive(at, address(77), datagram);
        let answers = self.under_way.iter().skip(before).map(|(.., answer)| answer.len()).sum::<usize>();
        assert!(answers <= datagram.len(), "{answers} octets of answers");
    }

    /// The same of one with a right mac1: whoever knows the public key can write such. Under load it is answered by a cookie.
    pub fn forged(&mut self, at: usize, datagram: &mut [u8]) {
        Signer::new(self.ends[at].local.oldest().public()).sign(datagram, None);
        self.strange(at, datagram);
    }

    /// Datagrams that were sent and have not arrived.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// One of the last datagrams comes once more, altered if `change` is not zero, from elsewhere, or where it came from. What was altered brings no packet.
    fn again(&mut self, which: u8, octet: u8, change: u8, (back, moved): (bool, bool)) {
        let Some(count) = self.passed.len().checked_sub(1) else { return };
        let (to, from, mut datagram) = self.passed[count - usize::from(which) % (count + 1)].clone();
        let place = usize::from(octet) % datagram.len().max(1);
        if let Some(octet) = datagram.get_mut(place) {
            *octet ^= change;
        }
        let to = if back { 1 - to } else { to };
        let before = self.ends[to].got.len();
        self.receive(to, if moved { address(octet) } else { from }, &datagram);
        assert!(change == 0 || self.ends[to].got.len() == before, "what was altered came through");
    }

    /// An end sends a packet, if it can.
    fn talk(&mut self, at: usize) -> u64 {
        let number = self.next;
        self.next += 1;
        let mut buffer = vec![0; 128];
        buffer[HEADER..HEADER + 8].copy_from_slice(&number.to_be_bytes());
        let end = &self.ends[at];
        let sealed = end.sealer.as_ref().map(|sealer| sealer.seal(self.now, &mut buffer, HEADER..HEADER + 8, 1280));
        match (sealed, end.peer.endpoint()) {
            (Some(Ok(sealed)), Some(to)) => {
                self.send(at, to, buffer[sealed.datagram].to_vec());
                if sealed.rekey {
                    self.input(at, Input::Wanted);
                }
            }
            _ => self.input(at, Input::Wanted),
        }
        number
    }

    /// What is under way arrives, and what is said to it.
    fn exchange(&mut self) {
        for _ in 0..self.under_way.len() + 1000 {
            let Some((from, to, datagram)) = self.under_way.pop_front() else { return };
            if let Some(at) = self.ends.iter().position(|end| end.address == to) {
                self.receive(at, from, &datagram);
            }
        }
        assert!(self.under_way.is_empty(), "two who answer each other for ever");
    }

    /// When an end wants to be called.
    fn due(&self, at: usize) -> Time {
        self.ends[at].peer.poll_timeout().map_or(Time::MAX, |(at, _)| at)
    }

    /// Time passes. Who wants to be called is, and not again at the same time.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..1000 {
            let at = usize::from(self.due(1) < self.due(0));
            if self.due(at) > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(self.due(at));
            let now = self.now;
            self.step(at, |peer, cx| peer.handle_timeout(now, cx));
            assert!(self.due(at) > now, "what was done is due again at once");
        }
        panic!("more timers than a day has");
    }

    /// Whatever has been, the two speak to each other once nobody is between them.
    pub fn goes_on(&mut self) {
        self.under_way.clear();
        for at in 0..2 {
            // Where it was last seen may have been a lie of whoever was between.
            let other = self.ends[1 - at].address;
            self.input(at, Input::Moved(other));
        }
        let mut came = [false; 2];
        for _ in 0..60 {
            self.pass(Duration::from_secs(1));
            self.exchange();
            for at in 0..2 {
                let number = self.talk(at);
                self.exchange();
                came[1 - at] |= self.ends[1 - at].got.contains(&number);
            }
            if came == [true; 2] {
                return;
            }
        }
        panic!("a minute later they do not speak to each other: {came:?}");
    }
}

/// A day in small steps: an operation byte, whose upper bits say more, then what it needs. `0` is a datagram of nobody, its length in a byte before it; `1` lets time pass;
/// `2` has one of the last datagrams come again, altered; with `3` an end sends a packet; with `4` what is under way arrives, and with `5` it is lost.
pub fn day(mut bytes: &[u8]) {
    let mut day = Day::new();
    while let [operation, rest @ ..] = bytes {
        bytes = rest;
        let end = usize::from(operation >> 7);
        match (operation & 7, bytes) {
            (0, [length, rest @ ..]) => {
                let (datagram, rest) = rest.split_at(usize::from(*length).min(rest.len()));
                day.strange(end, datagram);
                bytes = rest;
            }
            (1, _) => day.pass(Duration::from_millis(1 << (operation >> 3 & 15))),
            (2, [which, octet, change, rest @ ..]) => {
                day.again(*which, *octet, *change, (operation & 8 != 0, operation & 16 != 0));
                bytes = rest;
            }
            (3, _) => {
                day.talk(end);
            }
            (4, _) => day.exchange(),
            (5, _) => day.under_way.clear(),
            _ => {}
        }
    }
    day.goes_on();
}
