//! What layer 4 counts, by listener.

use std::sync::Arc;

use outwork_telemetry::{Counter, Gauge, Histogram, metrics};

/// Listeners that have figures of their own.
const LISTENERS: usize = 256;

macro_rules! reasons {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $help:literal])+ $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[doc = $help])+ $variant),+ }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),+];

            const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

reasons! {
    /// Why a connection, or a session, came to nothing.
    Refused {
        /// The listener has as many as it may have.
        Full = "full",
        /// So have all together.
        Everywhere = "everywhere",
        /// Its client has.
        Client = "client",
        /// Too many begin.
        Rate = "rate",
        /// Its network is denied, of UDP each datagram.
        Denied = "denied",
        /// Its source sends too many: connections, and datagrams.
        Source = "source_rate",
        /// Too many connections begin at its address.
        Opening = "syn_rate",
        /// It came from a proxy that did not say whose it is.
        Proxy = "proxy",
        /// Its handshake failed.
        Tls = "tls",
        /// There is nobody of the name that it asks for.
        Name = "name",
        /// There is no backend for it, or none that can be connected to.
        Backend = "backend",
        /// It could not be accepted.
        Accept = "accept",
    }
}

reasons! {
    /// How a connection, or a session, ended.
    End {
        /// Both sides have ended.
        Closed = "closed",
        /// The client broke off.
        Client = "client",
        /// The backend did.
        Backend = "backend",
        /// Nothing moved for too long.
        Idle = "idle",
        /// The same after one side had ended.
        HalfClosed = "half_closed",
        /// Its backend, or its listener, is gone, and so is the time that it had left.
        Drained = "drained",
        /// Its network is denied by now.
        Denied = "denied",
        /// This process ends.
        Stopped = "stopped",
    }
}

metrics! {
    /// Metrics of layer 4.
    #[derive(Debug)]
    pub struct L4Metrics, prefix "outwork_proxy_l4" {
        /// Connections accepted, and sessions of UDP begun.
        opened: Counter by ["listener"] max LISTENERS => history,
        /// Those that are open.
        active: Gauge by ["listener"] max LISTENERS => history,
        /// Those that came to nothing, by reason: `full` and `client` are limits of the listener, `everywhere` those of proxy.limits, `rate` either's. `denied`, `source_rate` and
        /// `syn_rate` are those of proxy.acceleration, for sockets; of UDP the first two count datagrams.
        refused: Counter by ["listener", "reason"] max LISTENERS * Refused::ALL.len() => history,
        /// Those that ended, by how: `client` and `backend` broke off.
        ended: Counter by ["listener", "reason"] max LISTENERS * End::ALL.len(),
        /// Bytes of clients.
        received: Counter in bytes by ["listener"] max LISTENERS => history,
        /// Bytes to clients.
        sent: Counter in bytes by ["listener"] max LISTENERS => history,
        /// Bytes of both that went from socket to socket without being copied (`splice`): of connections without TLS, those of long transfers.
        spliced: Counter in bytes by ["listener"] max LISTENERS,
        /// Datagrams, or runs of them, that found no room on their way.
        dropped: Counter by ["listener"] max LISTENERS,
        /// Time until there was a connection to a backend.
        connect_time: Histogram in seconds by ["listener"] max LISTENERS,
    }
}

/// The cells of a listener.
#[derive(Debug)]
pub(crate) struct Cells {
    pub(crate) opened: Arc<Counter>,
    pub(crate) active: Arc<Gauge>,
    refused: Vec<Arc<Counter>>,
    ended: Vec<Arc<Counter>>,
    pub(crate) received: Arc<Counter>,
    pub(crate) sent: Arc<Counter>,
    pub(crate) spliced: Arc<Counter>,
    pub(crate) dropped: Arc<Counter>,
    pub(crate) connect_time: Arc<Histogram>,
}

impl Cells {
    pub(crate) fn new(metrics: &L4Metrics, label: &str) -> Self {
        Self {
            opened: metrics.opened.cell([label]),
            active: metrics.active.cell([label]),
            refused: Refused::ALL.iter().map(|reason| metrics.refused.cell([label, reason.word()])).collect(),
            ended: End::ALL.iter().map(|reason| metrics.ended.cell([label, reason.word()])).collect(),
            received: metrics.received.cell([label]),
            sent: metrics.sent.cell([label]),
            spliced: metrics.spliced.cell([label]),
            dropped: metrics.dropped.cell([label]),
            connect_time: metrics.connect_time.cell([label]),
        }
    }

    pub(crate) fn refused(&self, reason: Refused) {
        self.refused.get(reason as usize).into_iter().for_each(|cell| cell.inc());
    }

    /// The same of so many at once.
    pub(crate) fn refused_several(&self, reason: Refused, count: usize) {
        self.refused.get(reason as usize).into_iter().for_each(|cell| cell.add(count as u64));
    }

    pub(crate) fn ended(&self, end: End) {
        self.ended.get(end as usize).into_iter().for_each(|cell| cell.inc());
    }

    /// All that came to nothing.
    pub(crate) fn all_refused(&self) -> u64 {
        self.refused.iter().map(|cell| cell.get()).sum()
    }
}

impl L4Metrics {
    /// Forgets listeners that are gone.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        let one = |[label]: &[String; 1]| is_there(label);
        let two = |[label, _]: &[String; 2]| is_there(label);
        self.opened.retain(one);
        self.active.retain(one);
        self.refused.retain(two);
        self.ended.retain(two);
        self.received.retain(one);
        self.sent.retain(one);
        self.spliced.retain(one);
        self.dropped.retain(one);
        self.connect_time.retain(one);
    }
}
