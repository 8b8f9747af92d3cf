//! Whose packet it is and where it goes: bpf/decide.h in Rust, step by step.

use outwork_wire::MacAddr;

use super::hash;
use super::packet::{ACK, FIN, Packet, RST, SYN, TCP};
use super::routes::{Hop, Query, Routes};
use crate::guard::{admit, admit_source, network};
use crate::layout::{
    Address, Backend, DENIES_V4, DENIES_V6, Flow, FlowKey, HAS_OUTLETS, HAS_RETURNS, KEEPS_KNOWN, Neighbour, Reason,
    SAID_BACKEND, SAID_CLIENT, Service, State, TAKES_NEW, Vip, Way,
};
use crate::tables::Tables;

/// How much later a flow has to be seen before that is written down, in nanoseconds.
const REFRESH: u64 = 1_000_000_000;
/// Backends asked for a new flow before there is none. Tables hold only who can be used, so that a second one is rare.
const TRIES: u32 = 8;

/// What is done to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its destination is replaced, and its source in what an ICMP error brought along.
    Forward,
    /// Its source is replaced, and its destination in what an ICMP error brought along.
    Return,
    /// Nothing above Ethernet.
    Direct,
    /// It is put into another one.
    Tunnel,
}

/// How a packet leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaving {
    pub(crate) ifindex: u32,
    pub(crate) vlan: u16,
    pub(crate) destination: MacAddr,
    pub(crate) source: MacAddr,
}

/// What is to be done with a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) change: Change,
    /// The new address, and the one that it takes the place of.
    pub(crate) address: Address,
    pub(crate) before: Address,
    /// The same of ports.
    pub(crate) port: [u8; 2],
    pub(crate) port_before: [u8; 2],
    /// Absent where the kernel gets what was rewritten.
    pub(crate) leaving: Option<Leaving>,
}

type Decided = (Reason, Option<Order>);

/// The reason, and what to do where something is to be done.
pub(crate) fn decide(packet: &Packet, tables: &mut Tables, routes: &impl Routes, now: u64) -> Decided {
    if packet.is_error {
        return give_error(packet, tables, routes, now);
    }
    let vip = Vip::of(packet.key.destination, packet.key.destination_port, packet.key.protocol);
    let Some(service) = tables.services.get(&vip).copied() else {
        return give_back(packet, tables, routes, now);
    };
    if is_denied(packet, tables) {
        return (Reason::DropDenied, None);
    }
    if tables.service_tallies.get(service.number as usize).is_none() {
        return (Reason::PassNoService, None);
    }
    let decided = give(packet, &service, tables, routes, now);
    if !decided.0.is_left() {
        note(tables, &service, |tally| tally.received.add(packet.frame));
    }
    decided
}

/// A packet of a client to a service. A flow that sockets take is not written down: it is theirs to its end, whatever way opens meanwhile.
fn give(packet: &Packet, service: &Service, tables: &mut Tables, routes: &impl Routes, now: u64) -> Decided {
    if !source_is_admitted(packet, tables, now) {
        note(tables, service, |tally| tally.source_refused += 1);
        return (Reason::DropSourceRate, None);
    }
    let opens = packet.key.protocol == TCP && packet.tcp & (SYN | ACK | RST) == SYN;
    let ends = |flow: &&Flow| opens && flow.reply == 0 && flow.state == State::Closing as u8;
    let ended = tables.flows.get(&packet.key).filter(ends).copied();
    if let Some((flow, backend)) = known(packet, tables, opens, now) {
        let other = (backend.way == Way::Nat as u8).then(|| answers(&packet.key, &backend));
        see(packet.key, flow, packet, other, tables, now);
        let decided = head_for(packet, &backend, tables, routes);
        if !decided.0.is_left() {
            count_backend(tables, flow.backend, packet.frame, false);
        }
        return decided;
    }
    if packet.key.protocol == TCP && packet.tcp & RST != 0 {
        return (Reason::PassNoFlow, None);
    }
    // Nobody here has asked a client for a connection. The kernel would say so to whose address it bears.
    if packet.key.protocol == TCP && packet.tcp & (SYN | ACK) == SYN | ACK {
        return (Reason::DropUnasked, None);
    }
    // A client that opens a connection anew by the same port is not of the one that a socket has.
    if packet.key.protocol == TCP && packet.tcp & SYN == 0 && routes.has_socket(&packet.key) {
        return (Reason::PassSocket, None);
    }
    // Whatever makes a flow of TCP is counted: who floods without SYN gets as many as with it. While tables are younger than what they are for, all that goes on is new to them.
    let is_new = packet.key.protocol == TCP && (opens || now >= tables.adopts_until);
    if is_new && service.syn_interval != 0 {
        let gate = tables.gates.get_mut(service.number as usize);
        if !gate.is_none_or(|paid| admit(paid, now, service.syn_interval, service.syn_tolerance)) {
            note(tables, service, |tally| tally.syn_refused += 1);
            return (Reason::DropSynRate, None);
        }
    }
    let Some((flow, backend)) = choose(packet, service, tables, now) else {
        forget(packet, ended, tables);
        note(tables, service, |tally| tally.no_backend += 1);
        return (Reason::PassNoBackend, None);
    };
    let mut decided = head_for(packet, &backend, tables, routes);
    if backend.way == Way::Nat as u8 && packet.hops > 1 && !returns(packet, &backend, tables, routes) {
        decided = (Reason::PassLocal, None);
    }
    if decided.0.is_left() {
        forget(packet, ended, tables);
    } else {
        remember(packet, &backend, flow, tables);
        note(tables, service, |tally| tally.flows += 1);
        count_backend(tables, flow.backend, packet.frame, true);
    }
    decided
}

/// The flow of a client's packet and its backend. A client that opens a connection by a port of one that ends has a new one.
fn known(packet: &Packet, tables: &mut Tables, opens: bool, now: u64) -> Option<(Flow, Backend)> {
    let flow = *tables.flows.get(&packet.key)?;
    let reborn = opens && flow.state == State::Closing as u8;
    if flow.reply != 0 || is_idle(&flow, tables, now) || reborn {
        return None;
    }
    Some((flow, backend_of(&flow, tables)?))
}

/// Whether packets of its sender to services are dropped.
fn is_denied(packet: &Packet, tables: &Tables) -> bool {
    let denies = if packet.is_v6 { DENIES_V6 } else { DENIES_V4 };
    tables.control.flags & denies != 0 && tables.denied.covers(packet.from)
}

fn source_is_admitted(packet: &Packet, tables: &mut Tables, now: u64) -> bool {
    let cost = (tables.control.source_interval, tables.control.source_tolerance);
    let source = if packet.is_v6 { network(packet.key.source) } else { packet.key.source };
    cost.0 == 0 || admit_source(&mut tables.sources, source, cost, now)
}

/// The backend of a flow, if it still is in its place and keeps what it has.
fn backend_of(flow: &Flow, tables: &Tables) -> Option<Backend> {
    let backend = *tables.backends.get(flow.backend as usize)?;
    (backend.epoch == flow.epoch && backend.flags & KEEPS_KNOWN != 0).then_some(backend)
}

fn is_idle(flow: &Flow, tables: &Tables, now: u64) -> bool {
    let timeout = tables.control.timeouts.get(usize::from(flow.state & 3)).copied().unwrap_or_default();
    now > flow.seen && now - flow.seen > timeout
}

/// A connection is one when the client has said something after the backend has: whoever floods with forged addresses hears no answers. Where nobody sees answers here, it is
/// one when the client has said something again.
fn next_state(flow: &Flow, packet: &Packet) -> u8 {
    let has_heard = flow.state == State::Opening as u8 && flow.reply == 0 && flow.answered != 0;
    match packet {
        packet if packet.key.protocol != TCP => State::Datagrams as u8,
        packet if packet.tcp & (FIN | RST) != 0 => State::Closing as u8,
        _ if has_heard && packet.tcp & ACK != 0 => State::Established as u8,
        _ => flow.state,
    }
}

/// Who has said the last word by now.
fn last_words(flow: &Flow, packet: &Packet) -> u8 {
    match packet {
        packet if packet.key.protocol != TCP => 0,
        packet if packet.tcp & RST != 0 => SAID_CLIENT | SAID_BACKEND,
        packet if packet.tcp & FIN != 0 => flow.ended | if flow.reply != 0 { SAID_BACKEND } else { SAID_CLIENT },
        _ => flow.ended,
    }
}

/// The key of the answers that a backend gives to this flow.
fn answers(key: &FlowKey, backend: &Backend) -> FlowKey {
    FlowKey {
        source: backend.address,
        destination: key.source,
        source_port: backend.port,
        destination_port: key.source_port,
        protocol: key.protocol,
        zero: [0; 3],
    }
}

/// The key of what a client says to a service whose backend gives this answer.
fn asks(answer: &FlowKey, vip: &Vip) -> FlowKey {
    FlowKey {
        source: answer.destination,
        destination: vip.address(),
        source_port: answer.destination_port,
        destination_port: vip.port(),
        protocol: answer.protocol,
        zero: [0; 3],
    }
}

/// The flow of an answer that nobody here has heard the question of, while tables are younger than what they are for: whose tables were before would have chosen by the
/// same hash, so that the client has asked the service which gives this client this very backend.
fn adopted(packet: &Packet, tables: &mut Tables, now: u64) -> Option<Flow> {
    if now >= tables.adopts_until || packet.is_error || packet.key.protocol == TCP && packet.tcp & RST != 0 {
        return None;
    }
    let key = &packet.key;
    let is_whose = |backend: &Backend| {
        backend.epoch != 0
            && backend.way == Way::Nat as u8
            && (backend.address, backend.port) == (key.source, key.source_port)
    };
    let mut found = tables.backends.iter().enumerate().filter(|(_, backend)| is_whose(backend));
    let (client, number, epoch) = found.find_map(|(number, backend)| {
        let client = asks(key, tables.vips.get(backend.service as usize)?);
        let vip = Vip::of(client.destination, client.destination_port, client.protocol);
        let service = tables.services.get(&vip).filter(|service| service.number == backend.service)?;
        let first = (0..TRIES).find_map(|after| candidate(&client, service, after, tables));
        (first?.0 as usize == number).then_some((client, number as u32, backend.epoch))
    })?;
    let state = match packet {
        packet if packet.key.protocol != TCP => State::Datagrams,
        packet if packet.tcp & FIN != 0 => State::Closing,
        _ => State::Established,
    };
    let flow = Flow { seen: now, backend: number, epoch, state: state as u8, answered: 1, ..Flow::default() };
    tables.flows.insert(client, flow);
    let flow = Flow { reply: 1, ..flow };
    tables.flows.insert(packet.key, flow);
    Some(flow)
}

/// Who has the place of a new flow, or the one that is looked at where those before were of no use.
fn candidate(key: &FlowKey, service: &Service, after: u32, tables: &Tables) -> Option<(u32, Backend)> {
    let (start, size) = ((service.table >> 32) as u32, service.table as u32);
    if size == 0 {
        return None;
    }
    let place = hash::place(hash::of_flow(key, service.flags), after, size);
    let number = *tables.places.get(start.wrapping_add(place) as usize)?;
    let backend = *tables.backends.get(number as usize)?;
    let is_it = backend.epoch != 0 && backend.flags & TAKES_NEW != 0 && backend.service == service.number;
    is_it.then_some((number, backend))
}

/// Writes down that a packet of the flow under `key` came by; for its other direction once a second, when the state changes, and when its backend answers for the first time.
fn see(key: FlowKey, flow: Flow, packet: &Packet, other: Option<FlowKey>, tables: &mut Tables, now: u64) {
    let (state, ended) = (next_state(&flow, packet), last_words(&flow, packet));
    let due = now > flow.seen.saturating_add(REFRESH);
    let answers_first = flow.reply != 0 && flow.answered == 0 && packet.key.protocol == TCP;
    if state == flow.state && ended == flow.ended && !due && !answers_first {
        return;
    }
    for key in [Some(key), other].into_iter().flatten() {
        if let Some(one) = tables.flows.get_mut(&key)
            && (one.backend, one.epoch) == (flow.backend, flow.epoch)
        {
            (one.state, one.ended) = (state, ended);
            one.answered |= u8::from(answers_first);
            if due {
                one.seen = now;
            }
        }
    }
}

/// Whether a backend's answers to this flow would be taken for those to another, which the client has with another service by the same port.
fn collides(reply: &FlowKey, number: u32, tables: &mut Tables, now: u64) -> bool {
    let Some(other) = tables.flows.get(reply).copied() else { return false };
    other.backend != number && backend_of(&other, tables).is_some() && !is_idle(&other, tables, now)
}

/// Chooses a backend for a new flow.
fn choose(packet: &Packet, service: &Service, tables: &mut Tables, now: u64) -> Option<(Flow, Backend)> {
    for after in 0..TRIES {
        let Some((number, backend)) = candidate(&packet.key, service, after, tables) else { continue };
        let reply = (backend.way == Way::Nat as u8).then(|| answers(&packet.key, &backend));
        if reply.is_some_and(|reply| collides(&reply, number, tables, now)) {
            continue;
        }
        // Whatever it begins with: of a connection that goes on, both sides will have spoken soon.
        let state = match packet {
            packet if packet.key.protocol != TCP => State::Datagrams,
            packet if packet.tcp & FIN != 0 => State::Closing,
            _ => State::Opening,
        };
        let (epoch, answered) = (backend.epoch, u8::from(backend.way != Way::Nat as u8));
        let flow = Flow { seen: now, backend: number, epoch, state: state as u8, answered, ..Flow::default() };
        let flow = Flow { ended: last_words(&flow, packet), ..flow };
        return Some((flow, backend));
    }
    None
}

/// Has a flow that has ended be nobody's, and what its answers were known by: its client has a connection by the same port with a socket now.
fn forget(packet: &Packet, ended: Option<Flow>, tables: &mut Tables) {
    let Some(flow) = ended else { return };
    let reply = backend_of(&flow, tables).filter(|backend| backend.way == Way::Nat as u8);
    for key in [Some(packet.key), reply.map(|backend| answers(&packet.key, &backend))].into_iter().flatten() {
        if let Some(one) = tables.flows.get_mut(&key)
            && (one.backend, one.epoch) == (flow.backend, flow.epoch)
        {
            one.epoch = 0;
        }
    }
}

/// Writes down a new flow, and what its answers will be known by.
fn remember(packet: &Packet, backend: &Backend, flow: Flow, tables: &mut Tables) {
    tables.flows.insert(packet.key, flow);
    if backend.way == Way::Nat as u8 {
        tables.flows.insert(answers(&packet.key, backend), Flow { reply: 1, ..flow });
    }
}

/// Whether what a backend answers comes to a program: else the client would hear from somebody it does not know.
fn returns(packet: &Packet, backend: &Backend, tables: &Tables, routes: &impl Routes) -> bool {
    if tables.control.flags & HAS_OUTLETS == 0 {
        return true;
    }
    let (source, destination) = (packet.from.ip(), backend.address.ip());
    match routes.hop(&Query { ingress: packet.ingress, source, destination, length: packet.length }) {
        Hop::To { ifindex, .. } | Hop::Unresolved { ifindex, .. } => tables.outlets.contains(&tables.wire(ifindex).0),
        _ => true,
    }
}

/// Asks for the way. `elsewhere` is what becomes of a packet whose way leads out where frames cannot leave by.
fn find_hop(
    packet: &Packet,
    tables: &mut Tables,
    routes: &impl Routes,
    (source, destination): (Address, Address),
    length: u32,
    elsewhere: Reason,
) -> Result<Leaving, Reason> {
    let query = Query { ingress: packet.ingress, source: source.ip(), destination: destination.ip(), length };
    let wire = |ifindex| tables.wire(ifindex);
    match routes.hop(&query) {
        Hop::To { ifindex, .. } | Hop::Unresolved { ifindex, .. } if !routes.leaves_by(wire(ifindex).0) => {
            Err(elsewhere)
        }
        Hop::To { ifindex, destination, source } => {
            let (ifindex, vlan) = wire(ifindex);
            Ok(Leaving { ifindex, vlan, destination, source })
        }
        Hop::Unresolved { address, ifindex } => {
            tables.wanted.insert(Neighbour::new(address, ifindex), 1);
            Err(Reason::PassNeighbour)
        }
        Hop::TooLong => Err(Reason::PassTooLong),
        Hop::Unroutable => Err(Reason::DropUnroutable),
        Hop::NoForwarding => Err(Reason::PassNoForwarding),
        Hop::Local => Err(Reason::PassLocal),
    }
}

/// How a packet gets to `backend`.
fn head_for(packet: &Packet, backend: &Backend, tables: &mut Tables, routes: &impl Routes) -> Decided {
    let sent = if packet.is_error { Reason::SentIcmp } else { Reason::SentForward };
    let change = match backend.way {
        way if way == Way::Nat as u8 => Change::Forward,
        way if way == Way::Tunnel as u8 => Change::Tunnel,
        _ => Change::Direct,
    };
    let order = Order {
        change,
        address: backend.address,
        before: packet.key.destination,
        port: backend.port,
        port_before: packet.key.destination_port,
        leaving: None,
    };
    let is_v4 = backend.address.is_v4();
    let (mut source, mut length) = (packet.from, packet.length);
    match change {
        Change::Forward if packet.hops <= 1 => return (Reason::PassExpiring, None),
        Change::Tunnel => {
            source = if is_v4 { tables.control.tunnel_v4 } else { tables.control.tunnel_v6 };
            length += if is_v4 { 20 } else { 40 };
            if length > 0xffff {
                return (Reason::DropTooLong, None);
            }
        }
        _ => {}
    }
    // Where there is another way than ours, sockets take it.
    match find_hop(packet, tables, routes, (source, backend.address), length, Reason::PassLocal) {
        Ok(leaving) => (sent, Some(Order { leaving: Some(leaving), ..order })),
        // The kernel goes on from here: it asks for the neighbour, or takes the packet apart.
        Err(reason) if reason.rewrites() && change == Change::Forward => (reason, Some(order)),
        Err(reason) => (dead_end(reason), None),
    }
}

/// What the kernel would make of these is of no use to anybody: an address of the packet is its own.
fn dead_end(reason: Reason) -> Reason {
    match reason {
        Reason::PassNeighbour => Reason::DropNeighbour,
        Reason::PassTooLong => Reason::DropTooLong,
        other => other,
    }
}

/// How a packet gets back to a client of the service.
fn head_back(packet: &Packet, vip: &Vip, tables: &mut Tables, routes: &impl Routes) -> Decided {
    let sent = if packet.is_error { Reason::SentIcmp } else { Reason::SentReturn };
    let order = Order {
        change: Change::Return,
        address: vip.address(),
        before: packet.key.source,
        port: vip.port(),
        port_before: packet.key.source_port,
        leaving: None,
    };
    // The kernel would send it off as it is, and nobody knows the backend by its own address.
    let ends = (vip.address(), packet.key.destination);
    match find_hop(packet, tables, routes, ends, packet.length, Reason::DropUnroutable) {
        Ok(leaving) => (sent, Some(Order { leaving: Some(leaving), ..order })),
        Err(reason) => (dead_end(reason), None),
    }
}

/// A backend's answer, or nothing of ours.
fn give_back(packet: &Packet, tables: &mut Tables, routes: &impl Routes, now: u64) -> Decided {
    let none = (Reason::PassNoService, None);
    if tables.control.flags & HAS_RETURNS == 0 {
        return none;
    }
    let known = tables.flows.get(&packet.key).copied().filter(|flow| flow.reply != 0);
    let Some(flow) = known.or_else(|| adopted(packet, tables, now)) else { return none };
    if is_idle(&flow, tables, now) {
        return none;
    }
    let Some(backend) = backend_of(&flow, tables) else { return none };
    let Some(vip) = tables.vips.get(backend.service as usize).copied() else { return none };
    if packet.hops <= 1 {
        return (Reason::PassExpiring, None);
    }
    see(packet.key, flow, packet, Some(asks(&packet.key, &vip)), tables, now);
    let decided = head_back(packet, &vip, tables, routes);
    if !decided.0.is_left()
        && let Some(tally) = tables.backend_tallies.get_mut(flow.backend as usize)
    {
        tally.from.add(packet.frame);
    }
    decided
}

/// An ICMP error: whose flow it was decides who is told. Of what a backend has sent that is the backend; of what was sent to it, the client, who knows the service and not the
/// backend, and whom the service tells, whoever found it out.
fn give_error(packet: &Packet, tables: &mut Tables, routes: &impl Routes, now: u64) -> Decided {
    let none = (Reason::PassIcmp, None);
    let Some(flow) = tables.flows.get(&packet.key).copied() else { return none };
    if is_idle(&flow, tables, now) {
        return none;
    }
    let Some(backend) = backend_of(&flow, tables) else { return none };
    if flow.reply != 0 {
        let Some(vip) = tables.vips.get(backend.service as usize).copied() else { return none };
        return if packet.hops <= 1 { (Reason::PassExpiring, None) } else { head_back(packet, &vip, tables, routes) };
    }
    if is_denied(packet, tables) {
        return (Reason::DropDenied, None);
    }
    head_for(packet, &backend, tables, routes)
}

fn note(tables: &mut Tables, service: &Service, count: impl FnOnce(&mut crate::layout::ServiceTally)) {
    if let Some(tally) = tables.service_tallies.get_mut(service.number as usize) {
        count(tally);
    }
}

fn count_backend(tables: &mut Tables, number: u32, bytes: u32, is_new: bool) {
    if let Some(tally) = tables.backend_tallies.get_mut(number as usize) {
        tally.to.add(bytes);
        tally.flows += u64::from(is_new);
    }
}
