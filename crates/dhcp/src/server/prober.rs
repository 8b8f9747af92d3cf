//! Asks whether an address is in use before it is offered: by ARP on the link (RFC 5227), by ICMP echo behind a relay agent.
//! The request waits here meanwhile, in a bounded table, and goes back to its worker with what was found.

use super::Mailbox;
use super::service::Service;
use super::worker::{Again, Command, Interfaces};
use crate::metrics::{DhcpMetrics, Dropped, ProbeOutcome};
use outwork_net::bpf::Capture;
use outwork_net::{EchoSocket, Interface, PacketSocket, Waker, echo, packet, poll};
use outwork_wire::frame::{self, Link};
use outwork_wire::{MacAddr, arp, ethernet};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Addresses that may be asked about at a time.
const CAPACITY: usize = 4096;
/// Frames or replies read at a time.
const BATCH: usize = 64;
/// Batches read of one socket before the others have their turn: more than a receive buffer holds.
const ROUNDS: usize = 16;
/// How often an address is asked, within the time it has to answer.
const ASKED: u32 = 2;

/// How an address is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Arp { interface: u32 },
    Echo,
}

/// A request that can't be answered before an address is known to be free.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) address: Ipv4Addr,
    pub(super) medium: Medium,
    /// The client itself may answer for an address that it uses already.
    pub(super) client: Option<MacAddr>,
    pub(super) worker: usize,
    pub(super) again: Again,
}

/// A question under way.
#[derive(Debug)]
struct Open {
    question: Question,
    /// When it is asked again, or given up.
    due: Instant,
    asked: u32,
}

#[derive(Debug, Default)]
struct Inbox {
    questions: Vec<Question>,
    interfaces: Option<Interfaces>,
    /// Questions that the thread has taken and not answered.
    open: usize,
    stop: bool,
}

/// The prober, as workers see it.
pub(super) struct Prober {
    inbox: Mutex<Inbox>,
    waker: Waker,
    mailboxes: Vec<Arc<Mailbox>>,
    timeout: Duration,
    metrics: Arc<DhcpMetrics>,
}

/// What the prober's thread has: sockets are opened when they are first needed.
struct Sockets {
    interfaces: Interfaces,
    links: HashMap<u32, (PacketSocket, Arc<Interface>)>,
    echo: Option<EchoSocket>,
    outbox: packet::Outbox,
    frames: packet::Inbox,
    replies: echo::Inbox,
    identifier: u16,
    sequence: u16,
    complained: bool,
}

impl Prober {
    pub(super) fn new(
        mailboxes: Vec<Arc<Mailbox>>,
        timeout: Duration,
        metrics: Arc<DhcpMetrics>,
    ) -> outwork_net::Result<Self> {
        Ok(Self { inbox: Mutex::default(), waker: Waker::new()?, mailboxes, timeout, metrics })
    }

    /// Takes a question; false if there are too many already.
    pub(super) fn ask(&self, question: Question) -> bool {
        let mut inbox = self.inbox.lock();
        if inbox.questions.len() + inbox.open >= CAPACITY {
            return false;
        }
        inbox.questions.push(question);
        drop(inbox);
        self.waker.wake();
        true
    }

    /// Interfaces or their addresses have changed.
    pub(super) fn refresh(&self, interfaces: Interfaces) {
        self.inbox.lock().interfaces = Some(interfaces);
        self.waker.wake();
    }

    pub(super) fn stop(&self) {
        self.inbox.lock().stop = true;
        self.waker.wake();
    }

    /// The thread.
    pub(super) fn run(&self, service: &Service) {
        let mut open: HashMap<Ipv4Addr, Open> = HashMap::new();
        let mut sockets = Sockets::new();
        loop {
            self.waker.drain();
            let mut inbox = self.inbox.lock();
            inbox.open = open.len();
            let (questions, interfaces) = (std::mem::take(&mut inbox.questions), inbox.interfaces.take());
            if inbox.stop {
                let left = (open.len() + questions.len()) as u64;
                return self.metrics.dropped.of(Dropped::Stopping).add(left);
            }
            drop(inbox);
            if let Some(interfaces) = interfaces {
                sockets.refresh(interfaces);
            }
            let found = match open.is_empty() && questions.is_empty() {
                true => Vec::new(),
                false => sockets.answers(&open),
            };
            for address in found {
                if let Some(done) = open.remove(&address) {
                    self.conclude(service, done.question, true);
                }
            }
            for question in questions {
                self.begin(service, &mut sockets, &mut open, question);
            }
            self.metrics.probing.set(open.len() as i64);
            let timeout = self.pursue(service, &mut sockets, &mut open);
            if let Err(error) = sockets.wait(&self.waker, timeout) {
                tracing::warn!(%error, "the DHCP prober can't wait");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn begin(&self, service: &Service, sockets: &mut Sockets, open: &mut HashMap<Ipv4Addr, Open>, question: Question) {
        if let Some(same) = open.get_mut(&question.address) {
            // The client has sent again meanwhile; the answer goes to what it sent last.
            same.question = question;
            return;
        }
        if !sockets.ask(&question) {
            self.metrics.probes.of(ProbeOutcome::Failed).inc();
            return self.conclude(service, question, false);
        }
        let due = Instant::now() + self.timeout / ASKED;
        open.insert(question.address, Open { question, due, asked: 1 });
    }

    /// Asks again where it is time, gives up where time is over, and says how long until the next.
    fn pursue(&self, service: &Service, sockets: &mut Sockets, open: &mut HashMap<Ipv4Addr, Open>) -> Option<Duration> {
        let now = Instant::now();
        for entry in open.values_mut().filter(|entry| entry.due <= now && entry.asked < ASKED) {
            // If it can't be asked a second time, the first has to do.
            sockets.ask(&entry.question);
            entry.asked += 1;
            entry.due = now + self.timeout / ASKED;
        }
        let silent: Vec<Ipv4Addr> = open.iter().filter(|(_, entry)| entry.due <= now).map(|(at, _)| *at).collect();
        for address in silent {
            if let Some(entry) = open.remove(&address) {
                self.metrics.probes.of(ProbeOutcome::Free).inc();
                self.conclude(service, entry.question, false);
            }
        }
        open.values().map(|entry| entry.due.saturating_duration_since(now)).min()
    }

    /// Tells the engine, and hands the request in again.
    fn conclude(&self, service: &Service, question: Question, in_use: bool) {
        let Question { address, worker, mut again, .. } = question;
        if in_use {
            self.metrics.probes.of(ProbeOutcome::InUse).inc();
            tracing::warn!(%address, "the address is in use by a stranger; it is put in quarantine");
        }
        match service.decide(|engine, now| engine.probed(address, in_use, now)) {
            Ok(_) => {
                again.probes = again.probes.saturating_add(1);
                if let Some(mailbox) = self.mailboxes.get(worker) {
                    mailbox.send(Command::Again(Box::new(again)));
                }
            }
            Err(error) => self.metrics.dropped.of(error.dropped()).inc(),
        }
    }
}

impl Sockets {
    fn new() -> Self {
        Self {
            interfaces: Arc::new([]),
            links: HashMap::new(),
            echo: None,
            outbox: packet::Outbox::new(1),
            frames: packet::Inbox::new(BATCH, 128),
            replies: echo::Inbox::new(BATCH),
            identifier: std::process::id() as u16,
            sequence: 0,
            complained: false,
        }
    }

    fn refresh(&mut self, interfaces: Interfaces) {
        self.links.retain(|index, _| interfaces.iter().any(|interface| interface.index == *index));
        self.interfaces = interfaces;
    }

    /// Asks; false if that is not possible. The address then counts as free, as it does without probing.
    fn ask(&mut self, question: &Question) -> bool {
        let asked = match question.medium {
            Medium::Arp { interface } => self.ask_link(interface, question.address),
            Medium::Echo => self.ask_far(question.address),
        };
        if let Err(error) = &asked
            && !self.complained
        {
            self.complained = true;
            tracing::warn!(%error, "addresses can't be probed; they are offered without");
        }
        asked.unwrap_or(false)
    }

    fn ask_link(&mut self, index: u32, address: Ipv4Addr) -> outwork_net::Result<bool> {
        if !self.links.contains_key(&index) {
            let Some(interface) = self.interfaces.iter().find(|interface| interface.index == index) else {
                return Ok(false);
            };
            let socket = PacketSocket::open(interface, Capture::Arp, 0)?;
            self.links.insert(index, (socket, Arc::clone(interface)));
        }
        let Some((socket, interface)) = self.links.get(&index) else { return Ok(false) };
        let Some(mac) = interface.mac else { return Ok(false) };
        let link = Link { destination: MacAddr::BROADCAST, source: mac, vlan: None };
        self.outbox.clear();
        let written = self.outbox.push(|out| {
            frame::arp_frame(link, &arp::Packet::probe(mac, address), out);
            Ok::<_, Infallible>(())
        });
        Ok(written.is_ok() && socket.send(&mut self.outbox).sent == 1)
    }

    fn ask_far(&mut self, address: Ipv4Addr) -> outwork_net::Result<bool> {
        let socket = match &self.echo {
            Some(socket) => socket,
            None => self.echo.insert(EchoSocket::open()?),
        };
        self.sequence = self.sequence.wrapping_add(1);
        Ok(socket.ask(address, self.identifier, self.sequence).sent == 1)
    }

    /// Reads what has come, and says which of the addresses asked about are in use.
    fn answers(&mut self, open: &HashMap<Ipv4Addr, Open>) -> Vec<Ipv4Addr> {
        let mut found = Vec::new();
        let mut broken = Vec::new();
        for (index, (socket, _)) in &self.links {
            for _ in 0..ROUNDS {
                match socket.receive(&mut self.frames) {
                    Ok(0) => break,
                    Ok(_) => {
                        let packets = self.frames.frames().filter_map(|frame| {
                            let frame = ethernet::Frame::parse(frame.bytes).ok()?;
                            arp::Packet::parse(frame.payload).ok()
                        });
                        let taken = packets.filter(|packet| {
                            open.get(&packet.sender).is_some_and(|entry| {
                                entry.question.medium == Medium::Arp { interface: *index }
                                    && entry.question.client != Some(packet.sender_mac)
                            })
                        });
                        found.extend(taken.map(|packet| packet.sender));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "an ARP socket fails; it is opened again when needed");
                        broken.push(*index);
                        break;
                    }
                }
            }
        }
        broken.iter().for_each(|index| drop(self.links.remove(index)));
        for _ in 0..ROUNDS {
            let Some(socket) = &self.echo else { break };
            match socket.receive(&mut self.replies) {
                Ok(0) => break,
                Ok(_) => {
                    let ours = self.replies.replies().filter(|(_, identifier)| *identifier == self.identifier);
                    let asked = |address: &Ipv4Addr| {
                        open.get(address).is_some_and(|entry| entry.question.medium == Medium::Echo)
                    };
                    found.extend(ours.map(|(address, _)| address).filter(asked));
                }
                Err(error) => {
                    tracing::debug!(%error, "the ICMP socket fails; it is opened again when needed");
                    self.echo = None;
                }
            }
        }
        found
    }

    /// Waits for the next question, or, with questions open, for an answer too. At other times the sockets are left to
    /// fill: nobody cares what else is said on the link.
    fn wait(&self, waker: &Waker, timeout: Option<Duration>) -> outwork_net::Result<()> {
        let mut entries = vec![poll::Entry::readable(waker)];
        if timeout.is_some() {
            entries.extend(self.links.values().map(|(socket, _)| poll::Entry::readable(socket)));
            entries.extend(self.echo.as_ref().map(poll::Entry::readable));
        }
        entries.truncate(poll::MAX_ENTRIES);
        poll::wait(&mut entries, timeout).map(drop)
    }
}
