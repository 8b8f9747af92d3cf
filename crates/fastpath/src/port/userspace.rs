//! The tables of user space with their control plane: what a pump forwards by, and who keeps telling the kernel which frames are for it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use outwork_engine::Time;
use parking_lot::Mutex;

use super::steering::{Frames, Steering, SteeringError};
use crate::layout::{Address, BackendTally, Neighbour, Reason, ServiceTally, Tally, Vip, Way};
use crate::registry::plane::{ChangeError, Sink};
use crate::registry::{Apply, Registry, Write};
use crate::settings::{Settings, SizeError};
use crate::tables::{Swept, Tables};

/// Entries of the table of flows that are looked at in a slice, and while nobody else may.
const SLICE: usize = 4096;
const HELD: usize = 256;

/// Tables, and what they are decided by.
#[derive(Debug)]
pub struct Userspace {
    registry: Registry,
    tables: Arc<Mutex<Tables>>,
    steerings: BTreeMap<String, Steering>,
    /// Whether interfaces were not told of all whose frames are ours.
    owes: bool,
}

impl Userspace {
    /// Empty tables.
    ///
    /// # Errors
    /// When a size cannot be.
    pub fn new(settings: Settings) -> Result<Userspace, SizeError> {
        settings.sizes.check()?;
        let (registry, begin) = Registry::new(settings);
        let mut tables = Tables::new(&settings.sizes);
        begin.iter().for_each(|write| put(&mut tables, write));
        Ok(Userspace { registry, tables: Arc::new(Mutex::new(tables)), steerings: BTreeMap::new(), owes: false })
    }

    /// The tables.
    pub fn tables(&self) -> &Arc<Mutex<Tables>> {
        &self.tables
    }

    /// Tells a program whose frames are ours, before it has hold of an interface.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn prepare(&self, steering: &mut Steering) -> Result<(), SteeringError> {
        steering.steer(&ours(&self.registry))
    }

    /// Keeps telling the program of an interface whose frames are ours, until [`Userspace::release`].
    pub fn keep(&mut self, interface: &str, steering: Steering) {
        self.steerings.insert(interface.to_owned(), steering);
    }

    /// The program of an interface.
    pub fn steering(&mut self, interface: &str) -> Option<&mut Steering> {
        self.steerings.get_mut(interface)
    }

    /// For so long, answers of backends make flows whose questions went by tables that are gone.
    pub fn adopt(&mut self, patience: std::time::Duration) {
        self.tables.lock().adopts_until = (crate::Fastpath::kernel_time() + patience).as_nanos();
    }

    /// Leaves all frames of an interface to the kernel, once what was its program goes.
    pub fn release(&mut self, interface: &str) -> Option<Steering> {
        self.steerings.remove(interface)
    }
}

/// Whose frames are for the tables: those to services, and of backends that answer through here.
fn ours(registry: &Registry) -> BTreeMap<Vip, Frames> {
    let backends = registry.services().filter(|(_, settings)| settings.way == Way::Nat).flat_map(|(vip, _)| {
        let backend =
            |(at, _): (SocketAddr, u32)| Vip::of(Address::from(at.ip()), at.port().to_be_bytes(), vip.protocol());
        registry.backends(vip).map(backend)
    });
    let frames = |vip: &Vip| if registry.is_retired(vip) { Frames::Leaving } else { Frames::Ours };
    let services = registry.services().map(|(vip, _)| (*vip, frames(vip)));
    backends.map(|vip| (vip, Frames::Ours)).chain(services).collect()
}

fn put(tables: &mut Tables, write: &Write) {
    let Ok(()) = tables.apply(write);
}

impl Sink for Userspace {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    fn carry_out(&mut self, writes: &[Write]) -> Result<(), ChangeError> {
        let moves = |write: &Write| {
            matches!(write, Write::Service { .. } | Write::Withdraw { .. } | Write::Backend { fresh: true, .. })
        };
        let wanted = (self.owes || writes.iter().any(moves)).then(|| ours(&self.registry));
        let refused = |error: SteeringError| ChangeError::Write {
            what: "whose frames are for user space".to_owned(),
            error: io::Error::other(error),
        };
        let mut told = Ok(());
        // Who is new is known to interfaces before anybody is sent there, and who goes is until nobody is.
        if let Some(wanted) = &wanted {
            let each = |steering: &mut Steering| steering.add(wanted);
            told = self.steerings.values_mut().try_for_each(each).map_err(refused);
        }
        {
            let mut tables = self.tables.lock();
            writes.iter().for_each(|write| put(&mut tables, write));
        }
        if let (Some(wanted), Ok(())) = (&wanted, &told) {
            let each = |steering: &mut Steering| steering.steer(wanted);
            told = self.steerings.values_mut().try_for_each(each).map_err(refused);
        }
        if wanted.is_some() {
            self.owes = told.is_err();
        }
        told
    }

    fn tally(&self, reason: Reason) -> io::Result<Tally> {
        Ok(self.tables.lock().tallies.get(reason as usize).copied().unwrap_or_default())
    }

    fn service_tally(&self, number: u32) -> io::Result<ServiceTally> {
        Ok(self.tables.lock().service_tallies.get(number as usize).copied().unwrap_or_default())
    }

    fn backend_tally(&self, number: u32) -> io::Result<BackendTally> {
        Ok(self.tables.lock().backend_tallies.get(number as usize).copied().unwrap_or_default())
    }

    fn take_wanted(&self, most: usize) -> io::Result<Vec<Neighbour>> {
        let mut wanted = self.tables.lock().take_wanted();
        wanted.truncate(most);
        Ok(wanted)
    }

    fn sweep(&mut self, now: Time) -> io::Result<Swept> {
        // Packets do not wait for more than a part of a slice.
        let mut swept = Swept::default();
        for _ in 0..SLICE / HELD {
            swept = self.tables.lock().sweep(HELD, now);
            if swept.whole {
                break;
            }
        }
        Ok(swept)
    }
}
