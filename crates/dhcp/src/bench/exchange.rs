//! What is under way, found by its transaction id.
#![deny(clippy::disallowed_methods)]

use std::net::Ipv4Addr;

use outwork_engine::Time;

use super::population::ClientId;

/// Exchanges that can be under way at a time. A transaction id holds the place in the table, and in its other bits how often the place was used.
pub const MAX_OUTSTANDING: u32 = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 20;

/// What a client is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Gets an address: DISCOVER, OFFER, REQUEST, ACK.
    Acquire,
    /// Extends its lease: REQUEST with `ciaddr`, relayed as a rebinding client's is.
    Renew,
    /// Verifies the address it remembers: REQUEST with option 50 (INIT-REBOOT).
    Reboot,
    /// Asks for options only: INFORM.
    Inform,
}

/// What an exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The answer to a DISCOVER.
    Offer,
    /// The answer to a REQUEST or an INFORM. After an OFFER, with what it said.
    Ack(Option<(Ipv4Addr, Ipv4Addr)>),
}

/// An exchange under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange {
    pub(super) client: ClientId,
    pub(super) purpose: Purpose,
    pub(super) stage: Stage,
    /// When it was due to begin.
    pub(super) begun: Time,
    /// When the message of this stage was due.
    pub(super) asked: Time,
    /// When the message that was sent last counts as lost.
    pub(super) deadline: Time,
    /// How often the message of this stage was sent.
    pub(super) attempts: u32,
}

#[derive(Debug)]
struct Place {
    uses: u32,
    exchange: Option<Exchange>,
}

/// The exchanges under way.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Exchanges {
    /// Adds an exchange and gives its transaction id; `None` when [`MAX_OUTSTANDING`] are under way.
    pub(super) fn begin(&mut self, exchange: Exchange) -> Option<u32> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < MAX_OUTSTANDING as usize => {
                self.places.push(Place { uses: 0, exchange: None });
                self.places.len() as u32 - 1
            }
            None => return None,
        };
        let entry = self.places.get_mut(place as usize)?;
        entry.uses = entry.uses.wrapping_add(1);
        entry.exchange = Some(exchange);
        Some(entry.uses << PLACE_BITS | place)
    }

    /// The exchange of that transaction id, unless it has ended.
    pub(super) fn get_mut(&mut self, xid: u32) -> Option<&mut Exchange> {
        let place = self.places.get_mut((xid % MAX_OUTSTANDING) as usize)?;
        if place.uses << PLACE_BITS >> PLACE_BITS != xid >> PLACE_BITS {
            return None;
        }
        place.exchange.as_mut()
    }

    /// Ends the exchange of that transaction id.
    pub(super) fn end(&mut self, xid: u32) -> Option<Exchange> {
        self.get_mut(xid)?;
        let place = xid % MAX_OUTSTANDING;
        let ended = self.places.get_mut(place as usize)?.exchange.take();
        self.free.push(place);
        ended
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
