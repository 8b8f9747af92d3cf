//! What the engine is told and what it says.

use std::sync::Arc;
use std::time::Duration;

use outwork_engine::Time;

use super::class::{Class, VerdictSettings};
use super::damp::{DampSettings, Why};
use super::hello::Hello;
use super::liveness::{Change, LivenessSettings};
use super::mtu::{MtuChange, MtuSettings, Probe};
use super::policy::{Application, LaneId, Policy};
use super::site::{PathId, Site, SiteId, UplinkId};
use super::table::Table;

/// How the engine behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub struct Settings {
    pub liveness: LivenessSettings,
    pub mtu: MtuSettings,
    pub verdict: VerdictSettings,
    pub damp: DampSettings,
    /// Between looks for better paths to a site that has traffic.
    pub look: Duration,
    /// After so long without traffic a site's paths are looked after slowly.
    pub quiet: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            liveness: LivenessSettings::default(),
            mtu: MtuSettings::default(),
            verdict: VerdictSettings::default(),
            damp: DampSettings::default(),
            look: Duration::from_secs(1),
            quiet: Duration::from_secs(10),
        }
    }
}

/// What the controller says.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Network {
    pub own: Site,
    pub sites: Vec<Site>,
    /// The last one is that of flows under no policy.
    pub classes: Vec<Class>,
    pub applications: Vec<Application>,
    pub policies: Vec<Policy>,
    pub settings: Settings,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input {
    /// A hello came by a path, and was authentic.
    Hello(PathId, Hello),
    /// Datagrams that a path's tunnel carried since the last time, hellos aside.
    Traffic {
        /// Which path.
        path: PathId,
        /// By us.
        sent: u32,
        /// Authentic ones that came.
        received: u32,
    },
    /// An uplink of ours lost its carrier, or has it again.
    Carrier(UplinkId, bool),
    /// Sending by a path failed in a way that no waiting mends.
    SocketError(PathId),
    /// A probe came by a path, or the answer to one, and was authentic.
    Probe(PathId, Probe),
    /// Somebody on the way says how long packets of a path may be.
    Hint(PathId, u16),
    /// Everything that had come by then was handed in: the answer to [`Output::Look`].
    Looked(Time),
    /// The other end says, by a path, of a path for how long nothing has come by it.
    Silent {
        /// By which it says so.
        by: PathId,
        /// Of which: the same one, or another to the same site.
        of: PathId,
        /// For how long.
        silence: Silence,
    },
}

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Output {
    /// To be sealed and sent by a path.
    Hello(PathId, Hello),
    /// The other end of a path is to hear, by a path, for how long nothing has come.
    Silent {
        /// By which it is to be told: that one, or another to the same site.
        by: PathId,
        /// Of which.
        of: PathId,
        /// For how long.
        silence: Silence,
    },
    /// As [`Output::Hello`], filled up to [`Probe::length`].
    Probe(PathId, Probe),
    /// Packets that go by a path are no longer than that from now on.
    Mtu(PathId, u16),
    /// Silence is to be judged: whatever has come until now is to be handed in, and then [`Input::Looked`] with the time that is now.
    Look,
    /// To be read by workers from now on.
    Table(Arc<Table>),
    /// To be told.
    Event(Event),
}

/// For how long nothing has come by a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Until everything that had come was known to be handed in.
    pub lasts: Duration,
    /// By how much its teller was late of late with what it had to do.
    pub late: Duration,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A path is taken for something else.
    Path {
        /// Which.
        path: PathId,
        /// What is different.
        change: Change,
    },
    /// A path takes longer packets than was thought, or no longer takes as long ones.
    Mtu {
        /// Which.
        path: PathId,
        /// What is different.
        change: MtuChange,
    },
    /// New flows of a lane to a site take another path; or, where no path works, still try the last one that did, and `from` is `to`.
    Switch {
        /// To whom.
        site: SiteId,
        /// Which traffic.
        lane: LaneId,
        /// Before.
        from: Option<PathId>,
        /// From now on.
        to: Option<PathId>,
        /// Why.
        why: Why,
    },
}
