//! Which session the packets of a QUIC connection belong to, by its connection ids.
//!
//! A server says in its handshake which id it wants to be addressed by, in clear; from then on its client's packets begin with that, wherever they come from. Ids
//! that it gives out later are encrypted, and unknown here: a client that moves on purpose takes one of those (RFC 9000 section 9.5), and is found
//! again by its address alone, where the pool's policy goes by that.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use outwork_wire::quic::{Header, LONGEST_ID};

/// Ids that one session is known by at most; an old one makes room for a new one.
const IDS: usize = 8;
/// Sessions that one id may be of: each backend chooses by itself. The last who has said so is found by it.
const SHARED: usize = 4;
/// Lengths that ids of a listener's backends have at most.
const LENGTHS: usize = 4;

/// A connection id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Id {
    length: u8,
    octets: [u8; LONGEST_ID],
}

impl Id {
    /// None where there is nothing to tell connections apart by.
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut octets = [0; LONGEST_ID];
        octets.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { length: u8::try_from(bytes.len()).ok().filter(|length| *length > 0)?, octets })
    }
}

/// Sessions by the ids that their backends have chosen.
#[derive(Debug)]
pub(in crate::l4) struct Ids<S> {
    /// With their numbers, the last to be known by it at the end.
    sessions: HashMap<Id, Vec<(u64, S)>, RandomState>,
    /// Those of each session, by its number.
    known: HashMap<u64, VecDeque<Id>, RandomState>,
    /// The lengths that they have, and how many ids have each; one that is of two sessions is counted for both.
    lengths: Vec<(u8, usize)>,
}

impl<S> Default for Ids<S> {
    fn default() -> Self {
        Self { sessions: HashMap::default(), known: HashMap::default(), lengths: Vec::new() }
    }
}

impl<S: Clone> Ids<S> {
    /// Takes in what a backend says of itself in an answer to a session's client.
    pub(super) fn learn(&mut self, number: u64, session: &S, answer: &[u8]) {
        if let Some(id) = chosen(answer).and_then(Id::of) {
            self.add(number, session, id);
        }
    }

    fn add(&mut self, number: u64, session: &S, id: Id) {
        let is_shared_out = self.sessions.get(&id).is_some_and(|sessions| sessions.len() >= SHARED);
        if is_shared_out || self.known.get(&number).is_some_and(|known| known.contains(&id)) {
            return;
        }
        let is_full = self.lengths.len() >= LENGTHS;
        match self.lengths.iter_mut().find(|(length, _)| *length == id.length) {
            Some((_, count)) => *count += 1,
            None if is_full => return,
            None => self.lengths.push((id.length, 1)),
        }
        let known = self.known.entry(number).or_default();
        known.push_back(id);
        let old = if known.len() > IDS { known.pop_front() } else { None };
        let sessions = self.sessions.entry(id).or_default();
        sessions.push((number, session.clone()));
        if sessions.len() > 1 {
            tracing::debug!("two backends have chosen the same connection id");
        }
        old.into_iter().for_each(|old| self.drop_id(number, &old));
    }

    /// A session is no longer known by an id; others that are stay so.
    fn drop_id(&mut self, number: u64, id: &Id) {
        if let Entry::Occupied(mut sessions) = self.sessions.entry(*id) {
            sessions.get_mut().retain(|(one, _)| *one != number);
            if sessions.get().is_empty() {
                sessions.remove();
            }
        }
        if let Some((_, count)) = self.lengths.iter_mut().find(|(length, _)| *length == id.length) {
            *count = count.saturating_sub(1);
        }
        self.lengths.retain(|(_, count)| *count > 0);
    }

    /// The session of a client's datagram, where its id says that.
    pub(super) fn find(&self, datagram: &[u8]) -> Option<&S> {
        self.sessions.get(&self.id_of(datagram)?)?.last().map(|(_, session)| session)
    }

    /// The id of a client's datagram, where it is one of these.
    fn id_of(&self, datagram: &[u8]) -> Option<Id> {
        let known = |id: &Id| self.sessions.contains_key(id);
        match Header::read(datagram)? {
            Header::Long { destination, .. } => Id::of(destination).filter(known),
            Header::Short { rest } => {
                let of = |length: &u8| Id::of(rest.get(..usize::from(*length))?).filter(known);
                self.lengths.iter().find_map(|(length, _)| of(length))
            }
        }
    }

    /// Gives the id of a client's datagram to another session.
    pub(super) fn give(&mut self, datagram: &[u8], from: u64, to: u64, session: &S) {
        let Some(id) = self.id_of(datagram) else { return };
        if let Some(known) = self.known.get_mut(&from)
            && let Some(at) = known.iter().position(|known| *known == id)
        {
            known.remove(at);
            self.drop_id(from, &id);
        }
        self.add(to, session, id);
    }

    /// Whether a backend's answer says something that nobody knew.
    pub(super) fn is_news(answer: &[u8]) -> bool {
        chosen(answer).is_some()
    }

    /// Forgets a session.
    pub(super) fn forget(&mut self, number: u64) {
        for id in self.known.remove(&number).into_iter().flatten() {
            self.drop_id(number, &id);
        }
    }
}

/// The id that a backend has chosen for itself, where its answer names one. What tells which versions there are names the client's.
fn chosen(answer: &[u8]) -> Option<&[u8]> {
    match Header::read(answer)? {
        Header::Long { version, source, .. } if version != 0 && !source.is_empty() => Some(source),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(destination: &[u8], source: &[u8]) -> Vec<u8> {
        let id = |id: &[u8]| [&[id.len() as u8][..], id].concat();
        [&[0xe0, 0, 0, 0, 1][..], &id(destination), &id(source), b"sealed"].concat()
    }

    #[test]
    fn a_session_is_found_by_the_ids_that_its_backend_has_chosen_and_by_no_others() {
        let mut ids = Ids::default();
        ids.learn(1, &"one", &long(b"client", b"server-1"));
        ids.learn(2, &"two", &long(b"client", b"2222"));
        assert_eq!(ids.find(&long(b"server-1", b"client")), Some(&"one"));
        assert_eq!(ids.find(b"\x40server-1sealed"), Some(&"one"));
        assert_eq!(ids.find(b"\x402222sealed"), Some(&"two"));
        assert_eq!(ids.find(b"\x40server-9sealed"), None);
        assert_eq!(ids.find(&long(b"client", b"")), None);
        ids.forget(1);
        assert_eq!(ids.find(b"\x40server-1sealed"), None);
        assert_eq!(ids.find(b"\x402222sealed"), Some(&"two"));
        assert!(ids.known.len() == 1 && ids.sessions.len() == 1);
    }

    #[test]
    fn an_id_goes_along_to_the_session_that_its_client_has_now() {
        let mut ids = Ids::default();
        ids.learn(1, &"one", &long(b"client", b"server-1"));
        ids.give(b"\x40server-1sealed", 1, 2, &"two");
        assert_eq!(ids.find(b"\x40server-1sealed"), Some(&"two"));
        ids.forget(1);
        assert_eq!(ids.find(b"\x40server-1sealed"), Some(&"two"));
        ids.forget(2);
        assert!(ids.find(b"\x40server-1sealed").is_none() && ids.lengths.is_empty());
    }

    #[test]
    fn an_id_of_two_sessions_stays_the_ones_when_the_other_is_forgotten() {
        for (forgotten, left) in [(1, "two"), (2, "one")] {
            let mut ids = Ids::default();
            ids.learn(1, &"one", &long(b"client", b"the-same"));
            ids.learn(2, &"two", &long(b"client", b"the-same"));
            assert_eq!(ids.find(b"\x40the-samesealed"), Some(&"two"), "who has said so last");
            ids.forget(forgotten);
            assert_eq!(ids.find(b"\x40the-samesealed"), Some(&left));
            ids.forget(3 - forgotten);
            assert!(ids.sessions.is_empty() && ids.known.is_empty() && ids.lengths.is_empty());
        }
        let mut ids = Ids::default();
        for number in 0..100 {
            ids.learn(number, &number, &long(b"client", b"the-same"));
        }
        assert_eq!((ids.known.len(), ids.lengths[0]), (SHARED, (8, SHARED)), "there is a bound to that, too");
    }

    #[test]
    fn a_client_does_not_choose_what_backends_are_known_by() {
        let mut ids = Ids::default();
        let mut negotiation = long(b"client", b"by-the-client");
        negotiation[1..5].fill(0);
        ids.learn(1, &(), &negotiation);
        assert!(ids.sessions.is_empty() && ids.lengths.is_empty() && !Ids::<()>::is_news(&negotiation));
    }

    #[test]
    fn what_a_backend_may_have_remembered_is_bounded() {
        let mut ids = Ids::default();
        for number in 0..100_u8 {
            ids.learn(1, &(), &long(b"", &[number; 8]));
        }
        assert_eq!((ids.sessions.len(), ids.known[&1].len()), (IDS, IDS));
        assert!(ids.find(&[&[0x40][..], &[99; 8]].concat()).is_some());
        for length in 1..=20 {
            ids.learn(2, &(), &long(b"", &vec![9; length]));
        }
        assert_eq!(ids.lengths.len(), LENGTHS);
        ids.forget(2);
        assert_eq!(ids.lengths, [(8, IDS)], "there is room for others once they are gone");
        // Without an id there is nothing to go by.
        ids.learn(3, &(), &long(b"a", b""));
        assert!(!ids.known.contains_key(&3));
    }
}
