//! Which uplinks have a carrier: the kernel tells at once when a cable is pulled.

use std::collections::BTreeMap;

use outwork_net::netlink::{Connection, Event, Events, Result};

use crate::plane::tunnel::UplinkIndex;

/// The carriers of uplinks that are bound to an interface.
#[derive(Debug)]
pub struct Carriers {
    events: Events,
    /// By the name of the interface: several uplinks may share one.
    uplinks: Vec<(String, UplinkIndex)>,
    known: BTreeMap<UplinkIndex, bool>,
    changed: Vec<(UplinkIndex, bool)>,
}

impl Carriers {
    /// Watches the interfaces of these uplinks, in the network namespace of this thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch(uplinks: Vec<(String, UplinkIndex)>) -> Result<Carriers> {
        let events = Events::subscribe()?;
        let mut carriers = Carriers { events, uplinks, known: BTreeMap::new(), changed: vec![] };
        carriers.ask()?;
        Ok(carriers)
    }

    /// Is readable when something has changed.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Asks how all of them are now.
    fn ask(&mut self) -> Result<()> {
        let mut kernel = Connection::open()?;
        let names: Vec<String> = self.uplinks.iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            let carrier = kernel.link(&name)?.is_some_and(|link| link.carrier);
            self.note(&name, carrier);
        }
        Ok(())
    }

    /// Hears what has changed.
    pub fn look(&mut self) {
        let (mut found, mut missed) = (vec![], false);
        let heard = self.events.drain(|event| match event {
            Event::Link(link) => found.push((link.name, link.carrier)),
            Event::LinkGone(link) => found.push((link.name, false)),
            Event::Missed => missed = true,
            _ => {}
        });
        for (name, carrier) in found {
            self.note(&name, carrier);
        }
        let asked = if missed { self.ask() } else { Ok(()) };
        if let Err(error) = heard.and(asked) {
            tracing::warn!(%error, "nobody tells of cables that are pulled: hellos do, a little later");
        }
    }

    fn note(&mut self, name: &str, carrier: bool) {
        for (_, uplink) in self.uplinks.iter().filter(|(own, _)| own == name) {
            // Of what had one from the start nothing is to be told.
            if self.known.insert(*uplink, carrier).unwrap_or(true) != carrier {
                self.changed.push((*uplink, carrier));
            }
        }
    }

    /// What has changed since this was last asked.
    pub fn changes(&mut self) -> Vec<(UplinkIndex, bool)> {
        std::mem::take(&mut self.changed)
    }
}
