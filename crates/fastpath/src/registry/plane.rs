//! The control plane with what carries it out: one description of services, backends and networks, for the kernel's maps and for tables of user space.

use std::io;
use std::net::SocketAddr;

use outwork_balance::Pool;
use outwork_engine::Time;

use super::{Registry, RegistryError, Write};
use crate::kernel::neighbours;
use crate::layout::{BackendTally, Link, Neighbour, Reason, ServiceTally, Tally, Vip};
use crate::settings::{ServiceSettings, Settings};
use crate::tables::{Prefix, Swept};

/// Next hops that one call sees to.
const NEIGHBOURS: usize = 256;

/// Why something that was decided is not done.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It cannot be.
    #[error(transparent)]
    Refused(#[from] RegistryError),
    /// The kernel did not take a write. It and those after it are tried again with the next change.
    #[error("the kernel did not take {what}: {error}; it is tried again with the next change")]
    Write {
        /// The write.
        what: String,
        /// Why.
        error: io::Error,
    },
}

/// Where decisions are carried out, and what is counted there.
pub trait Sink {
    /// What is decided by.
    fn registry(&self) -> &Registry;

    /// The same, to decide.
    fn registry_mut(&mut self) -> &mut Registry;

    /// Carries out what was decided.
    ///
    /// # Errors
    /// When the kernel does not take it.
    fn carry_out(&mut self, writes: &[Write]) -> Result<(), ChangeError>;

    /// Packets that came in, of those that this became of.
    ///
    /// # Errors
    /// When the kernel does not say.
    fn tally(&self, reason: Reason) -> io::Result<Tally>;

    /// What the service with this number got.
    ///
    /// # Errors
    /// When the kernel does not say.
    fn service_tally(&self, number: u32) -> io::Result<ServiceTally>;

    /// What the backend with this number got and gave.
    ///
    /// # Errors
    /// When the kernel does not say.
    fn backend_tally(&self, number: u32) -> io::Result<BackendTally>;

    /// Takes next hops that packets were dropped or passed for since the last call, for nobody knows their hardware address.
    ///
    /// # Errors
    /// When the kernel does not say.
    fn take_wanted(&self, most: usize) -> io::Result<Vec<Neighbour>>;

    /// Looks at the next few thousand entries of the table of flows and takes out those that are over: silent for too long, or of a backend that is gone. Says
    /// what has been found since the sweep began. `now` is the kernel's time ([`crate::Fastpath::kernel_time`]).
    ///
    /// # Errors
    /// When the kernel does not go on.
    fn sweep(&mut self, now: Time) -> io::Result<Swept>;
}

/// What a service and its backends got and gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatistics {
    /// Where clients find it.
    pub vip: Vip,
    /// What it got.
    pub tally: ServiceTally,
    /// The same of its backends. Those of a backend begin again when it comes back after it was gone.
    pub backends: Vec<(SocketAddr, BackendTally)>,
}

/// What is decided and carried out at once.
pub trait ControlPlane: Sink {
    /// See [`Registry::serve`].
    ///
    /// # Errors
    /// When it cannot be, and nothing has changed; or when the kernel does not take it.
    fn serve(
        &mut self,
        vip: Vip,
        settings: ServiceSettings,
        pool: &Pool,
        address: impl Fn(&str) -> Option<SocketAddr>,
        now: Time,
    ) -> Result<(), ChangeError> {
        let writes = self.registry_mut().serve(vip, settings, pool, address, now)?;
        self.carry_out(&writes)
    }

    /// Sends nobody new to a backend that has just failed: a single store. [`ControlPlane::serve`] makes the table anew afterwards. Says whether it was news.
    ///
    /// # Errors
    /// When the kernel does not take it.
    fn fail(&mut self, vip: &Vip, at: SocketAddr) -> Result<bool, ChangeError> {
        match self.registry_mut().fail(vip, at) {
            Some(write) => self.carry_out(&[write]).map(|()| true),
            None => Ok(false),
        }
    }

    /// See [`Registry::retire`].
    ///
    /// # Errors
    /// When there is no such service, or the kernel does not take it.
    fn retire(&mut self, vip: &Vip) -> Result<(), ChangeError> {
        let writes = self.registry_mut().retire(vip)?;
        self.carry_out(&writes)
    }

    /// See [`Registry::withdraw`].
    ///
    /// # Errors
    /// When there is no such service, or the kernel does not take it.
    fn withdraw(&mut self, vip: &Vip) -> Result<(), ChangeError> {
        let writes = self.registry_mut().withdraw(vip)?;
        self.carry_out(&writes)
    }

    /// See [`Registry::retain`].
    ///
    /// # Errors
    /// When the kernel does not take it.
    fn retain(&mut self, wanted: impl Fn(&Vip) -> bool) -> Result<(), ChangeError> {
        let writes = self.registry_mut().retain(wanted);
        self.carry_out(&writes)
    }

    /// See [`Registry::deny`].
    ///
    /// # Errors
    /// When they are too many, and nothing has changed; or when the kernel does not take it.
    fn deny(&mut self, wanted: impl IntoIterator<Item = Prefix>) -> Result<(), ChangeError> {
        let writes = self.registry_mut().deny(wanted)?;
        self.carry_out(&writes)
    }

    /// See [`Registry::open_outlets`].
    ///
    /// # Errors
    /// When the kernel does not take it.
    fn open_outlets(&mut self, wanted: impl IntoIterator<Item = u32>) -> Result<(), ChangeError> {
        let writes = self.registry_mut().open_outlets(wanted);
        self.carry_out(&writes)
    }

    /// See [`Registry::link`].
    ///
    /// # Errors
    /// When the kernel does not take it.
    fn link(&mut self, wanted: impl IntoIterator<Item = (u32, Link)>) -> Result<(), ChangeError> {
        let writes = self.registry_mut().link(wanted);
        self.carry_out(&writes)
    }

    /// See [`Registry::set`].
    ///
    /// # Errors
    /// When the kernel does not take it.
    fn set(&mut self, settings: Settings) -> Result<(), ChangeError> {
        let writes = self.registry_mut().set(settings);
        self.carry_out(&writes)
    }

    /// Has the kernel ask for next hops that packets were dropped or passed for since the last call. Says how many. To be called every few milliseconds.
    ///
    /// # Errors
    /// When the kernel does not take it.
    fn resolve_neighbours(&self) -> io::Result<usize> {
        let wanted = self.take_wanted(NEIGHBOURS)?;
        neighbours::resolve(&wanted).map(|()| wanted.len())
    }

    /// All packets that came in where this is, by what became of them.
    ///
    /// # Errors
    /// When the kernel does not say.
    fn tallies(&self) -> io::Result<Vec<(Reason, Tally)>> {
        Reason::ALL.iter().map(|reason| Ok((*reason, self.tally(*reason)?))).collect()
    }

    /// What each service and backend got and gave.
    ///
    /// # Errors
    /// When the kernel does not say.
    fn statistics(&self) -> io::Result<Vec<ServiceStatistics>> {
        let one = |vip: &Vip| {
            let tally = self.service_tally(self.registry().number(vip).unwrap_or_default())?;
            let backend = |(at, number)| Ok((at, self.backend_tally(number)?));
            let backends = self.registry().backends(vip).map(backend).collect::<io::Result<_>>()?;
            Ok(ServiceStatistics { vip: *vip, tally, backends })
        };
        self.registry().services().map(|(vip, _)| one(vip)).collect()
    }
}

impl<S: Sink + ?Sized> ControlPlane for S {}
