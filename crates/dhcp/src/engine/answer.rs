//! A decision's form on the wire, and where it goes (RFC 2131 sections 4.1 and 4.3.1).

use super::{Answer, Queried};
use crate::codec::{Kind, Message, RelayInfo, Reply, code};
use crate::lease::Detail;
use crate::options::{CodeSet, OptionSet};
use crate::policy::{Policy, Request, Scope};
use std::net::{Ipv4Addr, SocketAddrV4};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// What option 60 of a client that boots over HTTP begins with, and is in a reply to one (UEFI Specification, HTTP Boot).
const HTTP_CLIENT: &[u8] = b"HTTPClient";

/// Where a reply is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// An ordinary datagram.
    Unicast(SocketAddrV4),
    /// To the client's hardware address with `yiaddr` as destination: it can't answer ARP yet.
    Hardware(Ipv4Addr),
    /// To everybody on the link.
    Broadcast,
}

/// Where an answer goes.
fn destination(request: &Request<'_>, answer: &Answer) -> Destination {
    let message = &request.message;
    let giaddr = message.giaddr();
    if !giaddr.is_unspecified() {
        // RFC 8357: a relay agent that says its source port hears there.
        let own_port = message.relay().is_some_and(|relay| relay.get(RelayInfo::SOURCE_PORT).is_some());
        let port = if own_port { request.via.source.port() } else { SERVER_PORT };
        return Destination::Unicast(SocketAddrV4::new(giaddr, port));
    }
    let ciaddr = message.ciaddr();
    if answer.kind == Kind::Nak {
        // Even if ciaddr is set: the client may not have the address it claims.
        Destination::Broadcast
    } else if !ciaddr.is_unspecified() {
        Destination::Unicast(SocketAddrV4::new(ciaddr, CLIENT_PORT))
    } else if message.broadcast() || message.chaddr().is_empty() {
        // Without a hardware address there is nobody to send a frame to (RFC 4390 section 2.2).
        Destination::Broadcast
    } else {
        Destination::Hardware(answer.address)
    }
}

/// Writes the answer to `request` into `out` and says where it goes, and how many options found no room.
pub fn encode(policy: &Policy, request: &Request<'_>, answer: &Answer, out: &mut Vec<u8>) -> (Destination, u32) {
    let message = &request.message;
    let mut reply = Reply::new(out, message, answer.kind);
    reply.option(code::SERVER_ID, &answer.server_id.octets());
    let relay = match &answer.queried {
        // RFC 4388 section 6.4.2: what the relay agent said of the client, to who asks for it.
        Some(queried) if wants(message, code::RELAY_AGENT) => queried.lease.details.get(Detail::Relay),
        _ => message.option(code::RELAY_AGENT),
    };
    if let Some(relay) = relay {
        reply.keep_room(relay.len());
    }
    match answer.kind {
        Kind::Nak => nak(policy, message, answer, &mut reply),
        Kind::LeaseActive | Kind::LeaseUnassigned | Kind::LeaseUnknown => queried(policy, message, answer, &mut reply),
        _ => configuration(policy, message, answer, &mut reply),
    }
    let dropped = reply.finish(relay.map(|relay| (code::RELAY_AGENT, relay)));
    (destination(request, answer), dropped)
}

fn nak(policy: &Policy, message: &Message<'_>, answer: &Answer, reply: &mut Reply<'_>) {
    if let Some(reason) = answer.reason {
        reply.option(code::MESSAGE, reason.as_bytes());
    }
    echo_client_id(policy, message, reply);
    if !message.giaddr().is_unspecified() {
        reply.set_broadcast();
    }
}

fn echo_client_id(policy: &Policy, message: &Message<'_>, reply: &mut Reply<'_>) {
    if let Some(id) = message.option(code::CLIENT_ID).filter(|_| policy.rules.echo_client_id) {
        reply.option(code::CLIENT_ID, id);
    }
}

/// What RFC 4388 section 6.4.2 says of a lease: who has it, and of the rest what is asked for.
fn queried(policy: &Policy, message: &Message<'_>, answer: &Answer, reply: &mut Reply<'_>) {
    reply.ciaddr(answer.address);
    let Some(Queried { lease, age, others }) = answer.queried.as_deref() else { return };
    reply.hardware(lease.htype, lease.hardware());
    if let Some(id) = lease.any_client_id() {
        reply.option(code::CLIENT_ID, id);
    }
    let mut tell = |option, seconds: u32| {
        if wants(message, option) {
            reply.option(option, &seconds.to_be_bytes());
        }
    };
    tell(code::LEASE_TIME, answer.lease_time.unwrap_or(0));
    let mut scopes = Vec::with_capacity(8);
    policy.scopes(&answer.classes, answer.subnet, answer.pool, answer.reservation.as_deref(), &mut scopes);
    if let Some((renew, rebind)) = times(&scopes, lease.expires.saturating_sub(lease.starts)) {
        // Seconds from now; what has passed is not told.
        let to_come = |after: u32| after.checked_sub(*age).filter(|left| *left > 0);
        to_come(renew).into_iter().for_each(|left| tell(code::RENEWAL_TIME, left));
        to_come(rebind).into_iter().for_each(|left| tell(code::REBINDING_TIME, left));
    }
    tell(code::LAST_TRANSACTION, *age);
    if !others.is_empty() && wants(message, code::ASSOCIATED_IP) {
        let octets: Vec<u8> = others.iter().flat_map(Ipv4Addr::octets).collect();
        reply.option(code::ASSOCIATED_IP, &octets);
    }
    if let Some(class) = lease.details.get(Detail::VendorClass).filter(|_| wants(message, code::VENDOR_CLASS)) {
        reply.option(code::VENDOR_CLASS, class);
    }
    if let Some(name) = lease.details.get(Detail::HostName).filter(|_| wants(message, code::HOST_NAME)) {
        reply.option(code::HOST_NAME, name);
    }
}

fn wants(message: &Message<'_>, option: u8) -> bool {
    message.option(code::PARAMETER_REQUEST).is_some_and(|list| list.contains(&option))
}

/// OFFER and ACK: addresses, times and the options asked for, then those sent unasked.
fn configuration(policy: &Policy, message: &Message<'_>, answer: &Answer, reply: &mut Reply<'_>) {
    let mut scopes = Vec::with_capacity(8);
    policy.scopes(&answer.classes, answer.subnet, answer.pool, answer.reservation.as_deref(), &mut scopes);
    let file = boot(policy, answer, &scopes, reply);
    if answer.kind == Kind::Ack {
        reply.ciaddr(message.ciaddr());
    }
    reply.yiaddr(answer.address);
    let mut sent: CodeSet = [code::MESSAGE_TYPE, code::SERVER_ID].into_iter().collect();
    if let Some(time) = answer.lease_time {
        reply.option(code::LEASE_TIME, &time.to_be_bytes());
        if let Some((renew, rebind)) = times(&scopes, time) {
            reply.option(code::RENEWAL_TIME, &renew.to_be_bytes());
            reply.option(code::REBINDING_TIME, &rebind.to_be_bytes());
        }
    }
    for own in [code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME, code::CLIENT_ID, code::RELAY_AGENT] {
        sent.insert(own);
    }
    if answer.rapid {
        reply.option(code::RAPID_COMMIT, &[]);
        sent.insert(code::RAPID_COMMIT);
    }
    // Before what is only asked for, so that it is never what finds no room.
    echo_client_id(policy, message, reply);
    // RFC 4578 section 2.3: every packet of a boot by PXE says which machine it is about.
    if let Some(machine) = message.option(code::MACHINE_ID) {
        reply.option(code::MACHINE_ID, machine);
        sent.insert(code::MACHINE_ID);
    }
    // RFC 3011 section 2: a client that chose a subnet discards answers that do not confirm it.
    if let Some(chosen) = message.option(code::SUBNET_SELECTION) {
        reply.option(code::SUBNET_SELECTION, chosen);
        sent.insert(code::SUBNET_SELECTION);
    }
    let options: Vec<&OptionSet> = scopes.iter().map(|scope| &scope.options).collect();
    let mask = policy.subnets.get(answer.subnet).map(|subnet| mask(subnet.length));
    let name = answer.reservation.as_ref().and_then(|r| r.hostname.as_deref());
    let asked = message.option(code::PARAMETER_REQUEST).unwrap_or_default();
    let file = OptionSet::lookup(&options, code::BOOT_FILE).or(file.map(str::as_bytes));
    let http = message.option(code::VENDOR_CLASS).is_some_and(|class| class.starts_with(HTTP_CLIENT))
        && file.is_some_and(is_web_uri)
        && !OptionSet::holds_back(&options, code::VENDOR_CLASS);
    // The mask goes before the routers (RFC 2132 section 3.3), whatever order they are asked for in.
    let first = [Some(code::SUBNET_MASK), http.then_some(code::VENDOR_CLASS)].into_iter().flatten();
    let unasked = OptionSet::unasked(&options);
    for option in first.chain(asked.iter().copied()).chain(unasked.iter()) {
        if sent.contains(option) || option == code::PAD || option == code::END {
            continue;
        }
        sent.insert(option);
        if let Some(value) = OptionSet::lookup(&options, option) {
            reply.option(option, value);
        } else if let (code::SUBNET_MASK, Some(mask)) = (option, mask) {
            reply.option(option, &mask);
        } else if let (code::HOST_NAME, Some(name)) = (option, name) {
            reply.option(option, name.as_bytes());
        } else if option == code::VENDOR_CLASS && http {
            reply.option(option, HTTP_CLIENT);
        }
    }
}

/// True if a boot file is named by a URI that a client fetches over HTTP.
fn is_web_uri(file: &[u8]) -> bool {
    let scheme = |scheme: &[u8]| file.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    scheme(b"http://") || scheme(b"https://")
}

fn mask(length: u8) -> [u8; 4] {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0).to_be_bytes()
}

/// The boot fields: the reservation's, else those of a class (a boot loader by architecture), else of the place, as in Kea.
/// Gives `file` back.
fn boot<'p>(policy: &'p Policy, answer: &'p Answer, scopes: &[&'p Scope], reply: &mut Reply<'_>) -> Option<&'p str> {
    let own = answer.reservation.iter().map(|reservation| &reservation.scope);
    let classes = policy.classes.iter().enumerate().filter(|(index, _)| answer.classes.contains(*index));
    let order =
        || own.clone().chain(classes.clone().map(|(_, class)| &class.scope)).chain(scopes.iter().rev().copied());
    if let Some(server) = order().find_map(|scope| scope.boot.next_server) {
        reply.siaddr(server);
    }
    if let Some(name) = order().find_map(|scope| scope.boot.server_hostname.as_deref()) {
        reply.sname(name);
    }
    let file = order().find_map(|scope| scope.boot.file.as_deref());
    if let Some(file) = file {
        reply.file(file);
    }
    file
}

/// T1 and T2 of a lease of so many seconds (RFC 2131 section 4.4.5), if they fall within it.
fn times(scopes: &[&Scope], lease: u32) -> Option<(u32, u32)> {
    let say = |of: fn(&crate::policy::Times) -> Option<u32>| scopes.iter().rev().find_map(|scope| of(&scope.times));
    let rebind = say(|t| t.rebind).unwrap_or((u64::from(lease) * 7 / 8) as u32);
    let renew = say(|t| t.renew).unwrap_or(lease / 2);
    (renew < rebind && rebind < lease).then_some((renew, rebind))
}
