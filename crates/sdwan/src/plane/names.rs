//! The names that clients of TLS ask for, read out of the beginnings of their connections as these pass, so that policies know applications by them.
//!
//! Only what a flow begins with is looked at: the data after its SYN, until its ClientHello is whole or cannot become one. Packets do not wait for that. Of most flows the
//! first data says it all; of others what has come so far is kept, for a bounded number of them. QUIC hides its names.
//!
//! Answers are known by what the client has said: at its servers' site that comes out of a tunnel, to whichever worker, and is told here as of the flow of the answers.

use outwork_engine::Time;
use outwork_wire::hello::{Asked, SCRATCH, server_name};
use outwork_wire::octets::read;

use super::packet::{ACK, OFFSET, Packet, SEQUENCE, SYN, TCP};
use crate::engine::flow::{Flows, Shown};
use crate::engine::policy::{AppId, Matcher};

/// Flows whose ClientHello has come in part, at most. The one that has waited longest goes.
const WAITING: usize = 64;
/// Octets that are kept of each: twice as many as a ClientHello with post-quantum keys has.
const ROOM: usize = 4096;

/// A flow whose ClientHello has come in part.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// 0 is free.
    hash: u64,
    since: Time,
    /// The number of the octet that comes next.
    next: u32,
    filled: usize,
}

const FREE: Waiting = Waiting { hash: 0, since: Time::ZERO, next: 0, filled: 0 };

/// A segment of TCP.
struct Segment<'a> {
    sequence: u32,
    flags: u8,
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    fn read(octets: &'a [u8], packet: &Packet) -> Option<Segment<'a>> {
        let own = octets.get(packet.header..packet.length)?;
        let [words, flags] = read(own, OFFSET)?;
        let sequence = u32::from_be_bytes(read(own, SEQUENCE)?);
        Some(Segment { sequence, flags, payload: own.get(usize::from(words >> 4) * 4..)? })
    }
}

/// What a segment adds to what has come.
enum Added {
    /// Something.
    More,
    /// It was sent again.
    Nothing,
    /// What is between is missing, or there is no room.
    Gap,
}

/// The names of one worker's flows.
#[derive(Debug, Default)]
pub struct Names {
    /// Where a ClientHello is put together; empty until there is an application with a name.
    scratch: Box<[u8]>,
    waiting: Box<[Waiting]>,
    /// Of each that waits.
    rooms: Box<[u8]>,
    /// That of applications whose numbers flows have.
    generation: Option<u64>,
    given_up: u64,
}

impl Names {
    /// The application that a packet's flow has shown by now, if it has. No allocation, but once.
    pub fn application(
        &mut self,
        flows: &Flows,
        matcher: &Matcher,
        (now, hash): (Time, u64),
        (octets, packet): (&[u8], &Packet),
    ) -> Option<AppId> {
        if packet.protocol != TCP || packet.part || !matcher.has_names() {
            return None;
        }
        if self.generation != Some(matcher.generation()) {
            self.begin(matcher.generation());
        }
        let hash = hash.max(1);
        let segment = Segment::read(octets, packet)?;
        if segment.flags & (SYN | ACK) == SYN {
            self.free(hash);
            flows.named(hash, matcher.generation())?.begins(now, hash);
        }
        let shown = flows.named(hash, matcher.generation())?.shown(now, hash);
        match shown {
            Shown::Is(application) => Some(application),
            Shown::Waits if !segment.payload.is_empty() => self.data(flows, matcher, (now, hash), &segment),
            Shown::Waits | Shown::Nothing => None,
        }
    }

    /// Flows whose name was not waited for to the end: too many waited, or it was too long, or parts of it came in another order.
    pub fn given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// Begins anew with other applications.
    fn begin(&mut self, generation: u64) {
        self.generation = Some(generation);
        if self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH].into();
            self.waiting = vec![FREE; WAITING].into();
            self.rooms = vec![0; WAITING * ROOM].into();
        }
        self.waiting.fill(FREE);
    }

    /// Looks at data that a flow begins with.
    fn data(
        &mut self,
        flows: &Flows,
        matcher: &Matcher,
        (now, hash): (Time, u64),
        segment: &Segment<'_>,
    ) -> Option<AppId> {
        let place = self.waiting.iter().position(|one| one.hash == hash);
        let asked = match place {
            None => server_name(segment.payload, &mut self.scratch),
            Some(place) => match self.add(place, segment) {
                Added::More => {
                    let filled = self.waiting.get(place).map_or(0, |one| one.filled);
                    let room = self.rooms.get(place * ROOM..place * ROOM + filled).unwrap_or_default();
                    server_name(room, &mut self.scratch)
                }
                Added::Nothing => return None,
                Added::Gap => {
                    self.given_up += 1;
                    Ok(Asked::Nobody)
                }
            },
        };
        let said = match asked {
            Ok(Asked::More) => None,
            Ok(Asked::Name(name)) => Some(matcher.application(name)),
            Ok(Asked::Nobody) | Err(_) => Some(None),
        };
        if said.is_none() && (place.is_some() || self.keep(flows, (now, hash), segment)) {
            return None;
        }
        let application = said.flatten();
        self.free(hash);
        flows.named(hash, matcher.generation())?.shows(now, hash, application, place.is_none());
        application
    }

    /// Keeps the first part of a ClientHello; false where there is no room for it.
    fn keep(&mut self, flows: &Flows, (now, hash): (Time, u64), segment: &Segment<'_>) -> bool {
        let oldest = self.waiting.iter().enumerate().min_by_key(|(_, one)| (one.hash != 0, one.since));
        let Some(place) = oldest.map(|(place, _)| place) else { return false };
        let room = self.rooms.get_mut(place * ROOM..(place + 1) * ROOM).unwrap_or_default();
        let Some(to) = room.get_mut(..segment.payload.len()) else {
            self.given_up += 1;
            return false;
        };
        to.copy_from_slice(segment.payload);
        // A SYN has a number of its own (RFC 9293 section 3.4).
        let first = segment.sequence.wrapping_add(u32::from(segment.flags & SYN != 0));
        let next = first.wrapping_add(segment.payload.len() as u32);
        let one = Waiting { hash, since: now, next, filled: segment.payload.len() };
        let before = self.waiting.get_mut(place).map_or(FREE, |slot| std::mem::replace(slot, one));
        if before.hash != 0 {
            self.given_up += 1;
            flows.of(before.hash).into_iter().for_each(|mut table| table.shows(now, before.hash, None, false));
        }
        true
    }

    /// Adds a segment to what has come of a flow.
    fn add(&mut self, place: usize, segment: &Segment<'_>) -> Added {
        let Some(one) = self.waiting.get_mut(place) else { return Added::Gap };
        // What stands before the octet that comes next is there already.
        let known = one.next.wrapping_sub(segment.sequence);
        if known > u32::MAX / 2 {
            return Added::Gap;
        }
        let fresh = segment.payload.get(known as usize..).unwrap_or_default();
        if fresh.is_empty() {
            return Added::Nothing;
        }
        let room = self.rooms.get_mut(place * ROOM..(place + 1) * ROOM).unwrap_or_default();
        let Some(to) = room.get_mut(one.filled..one.filled + fresh.len()) else { return Added::Gap };
        to.copy_from_slice(fresh);
        one.filled += fresh.len();
        one.next = one.next.wrapping_add(fresh.len() as u32);
        Added::More
    }

    fn free(&mut self, hash: u64) {
        self.waiting.iter_mut().filter(|one| one.hash == hash).for_each(|one| *one = FREE);
    }
}
