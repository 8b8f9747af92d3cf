//! Two peers, by themselves and over a link that loses, doubles and reorders.

mod handshake;
mod life;
mod rotation;
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use outwork_engine::{Rng, Time};

use super::*;
use crate::PrivateKey;
use crate::gate::{Gate, Limits, Reason, Verdict};
use crate::index::Table;
use crate::message::HEADER;
use crate::noise::Snow;
use crate::session::{OpenError, SealError};

const MTU: usize = 1280;

/// One end: a gate, a peer, and a worker's view of them.
struct End {
    local: Identity,
    gate: Gate,
    clock: Clock,
    rng: Rng,
    table: Table<Option<Arc<Opener>>>,
    peer: Peer,
    sealer: Option<Arc<Sealer>>,
    /// Where its datagrams come from.
    address: SocketAddr,
    /// What is to be sent.
    sent: Vec<(SocketAddr, Vec<u8>)>,
    /// What the peer said besides, by name.
    said: Vec<&'static str>,
    /// Inner packets that came out, by number.
    got: Vec<u64>,
    refused: Vec<Refusal>,
    dropped: Vec<Reason>,
    unopened: Vec<OpenError>,
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 51820))
}

/// Two ends that know each other.
fn ends(rng: &mut Rng) -> [End; 2] {
    ends_with(rng, [None, None])
}

fn ends_with(rng: &mut Rng, keepalive: [Option<Duration>; 2]) -> [End; 2] {
    let keys = [1, 2].map(|_| Identity::from(PrivateKey::generate(rng).unwrap()));
    let psk = PresharedKey::new([9; 32]);
    std::array::from_fn(|at| {
        let settings = Settings {
            remote: *keys[1 - at].oldest().public(),
            psk: psk.clone(),
            endpoint: Some(address(2 - at as u8)),
            keepalive: keepalive[at],
        };
        End {
            local: keys[at].clone(),
            gate: Gate::new(&keys[at], Limits::default(), Time::ZERO, rng).unwrap(),
            clock: Clock::new(Time::ZERO, Duration::from_secs(1_700_000_000)),
            rng: Rng::new(rng.next_u64()),
            table: Table::new(16),
            peer: Peer::new(settings, Rng::new(rng.next_u64()), Time::ZERO),
            sealer: None,
            address: address(1 + at as u8),
            sent: vec![],
            said: vec![],
            got: vec![],
            refused: vec![],
            dropped: vec![],
            unopened: vec![],
        }
    })
}

impl End {
    fn step<R>(&mut self, act: impl FnOnce(&mut Peer, &mut Context<'_>) -> R) -> R {
        let mut cx = Context {
            local: &self.local,
            noise: &Snow,
            clock: &mut self.clock,
            entropy: &mut self.rng,
            indices: &self.table,
        };
        let result = act(&mut self.peer, &mut cx);
        while let Some(output) = self.peer.poll_output() {
            self.said.push(match output {
                Output::Send(to, datagram) => {
                    self.sent.push((to, datagram));
                    "send"
                }
                Output::Expect(index) => {
                    assert!(self.table.put(index, Arc::new(None)));
                    "expect"
                }
                Output::Receive(opener) => {
                    assert!(self.table.put(opener.local(), Arc::new(Some(opener.clone()))));
                    "receive"
                }
                Output::Seal(sealer) => {
                    self.sealer = Some(sealer);
                    "seal"
                }
                Output::Forget(index) => {
                    assert!(self.table.find(index).is_none());
                    "forget"
                }
                Output::Lost => {
                    self.sealer = None;
                    "lost"
                }
                Output::Endpoint(_) => "endpoint",
                Output::GaveUp => "gave up",
            });
        }
        result
    }

    fn input(&mut self, now: Time, input: Input<'_>) -> Result<(), Refusal> {
        let result = self.step(|peer, cx| peer.handle_input(now, input, cx));
        self.refused.extend(result.err());
        result
    }

    fn timeout(&mut self, now: Time) {
        self.step(|peer, cx| peer.handle_timeout(now, cx));
    }

    /// Seals a packet with a number in it; without a session, asks for one.
    fn send(&mut self, now: Time, number: u64) -> bool {
        let mut buffer = vec![0; 128];
        buffer[HEADER..HEADER + 8].copy_from_slice(&(number & u64::MAX >> 8).to_be_bytes());
        let sealed = self.sealer.as_ref().ok_or(SealError::Expired);
        match sealed.and_then(|sealer| sealer.seal(now, &mut buffer, HEADER..HEADER + 8, MTU)) {
            Ok(sealed) => {
                self.sent.push((self.peer.endpoint().unwrap(), buffer[sealed.datagram].to_vec()));
                if sealed.rekey {
                    self.input(now, Input::Wanted).unwrap();
                }
                true
            }
            Err(_) => {
                let _ = self.input(now, Input::Wanted);
                false
            }
        }
    }

    /// What a shell does with a datagram.
    fn receive(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        match self.gate.judge(now, from, datagram, (&self.local, &Snow), &mut self.rng) {
            Verdict::Initiation { sender, heard } => {
                let _ = self.input(now, Input::Initiation { from, sender, heard });
            }
            Verdict::Response(response) => {
                let _ = self.input(now, Input::Response { from, response });
            }
            Verdict::CookieReply(reply) => {
                let _ = self.input(now, Input::CookieReply(reply));
            }
            Verdict::Busy(reply) => self.sent.push((from, reply.to_vec())),
            Verdict::Drop(reason) => self.dropped.push(reason),
            Verdict::Transport(index) => self.open(now, from, index, datagram),
        }
    }

    fn open(&mut self, now: Time, from: SocketAddr, index: Index, datagram: &[u8]) {
        let found = self.table.find(index);
        let Some(opener) = found.as_deref().and_then(Option::as_ref) else {
            return self.unopened.push(OpenError::NotOurs);
        };
        let mut datagram = datagram.to_vec();
        match opener.open(now, &mut datagram) {
            Ok(opened) => {
                if let Some(number) = datagram[opened.packet].first_chunk() {
                    self.got.push(u64::from_be_bytes(*number));
                }
                if opened.confirms {
                    self.input(now, Input::Confirmed(index)).unwrap();
                }
                if self.peer.endpoint() != Some(from) {
                    self.input(now, Input::Moved(from)).unwrap();
                }
                if opened.rekey {
                    self.input(now, Input::Wanted).unwrap();
                }
            }
            Err(error) => self.unopened.push(error),
        }
    }

    fn take_said(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.said)
    }
}

/// Hands over what both have to send until neither has, at once and without loss. Gives how many it were.
fn exchange(now: Time, ends: &mut [End; 2]) -> usize {
    let mut passed = 0;
    loop {
        let sent = ends.each_mut().map(|end| std::mem::take(&mut end.sent));
        let before = passed;
        for (at, datagrams) in sent.into_iter().enumerate() {
            let from = ends[at].address;
            for (to, datagram) in datagrams {
                passed += 1;
                if to == ends[1 - at].address {
                    ends[1 - at].receive(now, from, &datagram);
                }
            }
        }
        if passed == before {
            return passed;
        }
    }
}

/// Two ends with a session that the first began and that both use.
fn joined(rng: &mut Rng, now: Time) -> [End; 2] {
    let mut ends = ends(rng);
    ends[0].input(now, Input::Wanted).unwrap();
    exchange(now, &mut ends);
    assert!(ends.iter().all(|end| end.sealer.is_some()));
    ends.iter_mut().for_each(|end| end.said.clear());
    ends
}

/// Calls both when they want to be, up to `end`, handing over what they send.
fn run(from: Time, until: Time, ends: &mut [End; 2]) {
    let mut now = from;
    loop {
        let next = ends.iter().filter_map(|end| end.peer.poll_timeout()).map(|(at, _)| at).min();
        match next.map(|next| next.max(now)).filter(|next| *next <= until) {
            Some(next) => now = next,
            None => return,
        }
        ends.iter_mut()
            .filter(|end| end.peer.poll_timeout().is_some_and(|(at, _)| at <= now))
            .for_each(|end| end.timeout(now));
        exchange(now, ends);
    }
}
