//! Every metric of the service, declared once.

use crate::codec::{Kind, Malformed};
use crate::engine::Silence;
use outwork_telemetry::{Label, Labels, labels, metrics};

labels! {
    /// Message types that a server receives.
    pub enum RequestType as "type" {
        Discover = "discover", Request = "request", Decline = "decline", Release = "release", Inform = "inform",
        LeaseQuery = "leasequery"
    }
}

labels! {
    /// Message types that a server sends.
    pub enum ReplyType as "type" {
        Offer = "offer", Ack = "ack", Nak = "nak", LeaseUnassigned = "leaseunassigned", LeaseUnknown = "leaseunknown",
        LeaseActive = "leaseactive"
    }
}

labels! {
    /// Why a request that could be read, or an answer that was decided, went no further.
    pub enum Dropped as "reason" {
        /// As many answers wait for the disk as may.
        QueueFull = "queue_full",
        /// The log can't be written.
        StoreFailed = "store_failed",
        /// More waits for the disk than the log takes.
        StoreFull = "store_full",
        /// The answer waited too long for the disk: its client has given up.
        StoreSlow = "store_slow",
        /// The kernel refused the answer.
        SendError = "send_error",
        /// The socket's buffer is full.
        SendFull = "send_full",
        /// There is no socket any more that reaches the client.
        NoWay = "no_way",
        /// As many addresses are being probed as may.
        ProbeTableFull = "probe_table_full",
        /// Every address tried for this client was in use.
        ProbeAttempts = "probe_attempts",
        /// The interface it came by has no address to answer from.
        NoServerAddress = "no_server_address",
        /// The datagram is longer than any DHCP message.
        TooLong = "too_long",
        /// The frame carries no whole datagram, or one for another host.
        BadFrame = "bad_frame",
        /// The service is stopping.
        Stopping = "stopping"
    }
}

labels! {
    /// What asking the link about an address gave.
    pub enum ProbeOutcome as "outcome" { Free = "free", InUse = "in_use", Failed = "failed" }
}

labels! {
    /// The kind of socket that the kernel had no room in.
    pub enum SocketKind as "socket" { Udp = "udp", Packet = "packet" }
}

metrics! {
    /// Metrics of the DHCPv4 service.
    pub struct DhcpMetrics, prefix "outwork_dhcp" {
        /// Octets of the messages received, whatever became of them; those too long to be read apart.
        received: Counter in bytes => history,
        /// Octets of the DHCP messages handed to the kernel.
        sent: Counter in bytes => history,
        /// Well-formed requests received.
        requests: Counter by RequestType => history,
        /// Replies handed to the kernel.
        replies: Counter by ReplyType => history,
        /// Datagrams that are no DHCP request, by the rule they break.
        malformed: Counter by Malformed => history,
        /// Requests that were decided to get no answer.
        silent: Counter by Silence,
        /// Requests and answers dropped.
        dropped: Counter by Dropped => history,
        /// Options left out of a reply because the client takes no larger message.
        options_no_room: Counter,
        /// Time from receiving a request to handing its reply to the kernel.
        latency: Histogram in seconds => history,
        /// Time a batch of requests held the engine.
        decision_time: Histogram in seconds,
        /// Requests decided together.
        batch_size: Histogram,
        /// Time an answer waited for the disk.
        commit_wait: Histogram in seconds => history,
        /// Answers that wait for the disk.
        parked: Gauge => history,
        /// Answers that may wait for the disk, of all workers.
        parked_limit: Gauge,
        /// Memory of the answers that wait for the disk, and of buffers kept for the next.
        answer_buffers: Gauge in bytes,
        /// Addresses bound to clients.
        leases_active: Gauge => history,
        /// Addresses offered and not asked for yet.
        leases_offered: Gauge => history,
        /// Addresses in quarantine.
        leases_declined: Gauge => history,
        /// Leases known, ended ones that a returning client gets back included.
        leases_known: Gauge,
        /// Addresses of a pool that may be handed out.
        pool_addresses: Gauge by ["subnet", "pool"] max 4096 => history,
        /// Addresses of a pool bound to clients.
        pool_active: Gauge by ["subnet", "pool"] max 4096 => history,
        /// Addresses of a pool that are offered.
        pool_offered: Gauge by ["subnet", "pool"] max 4096,
        /// Addresses of a pool in quarantine.
        pool_declined: Gauge by ["subnet", "pool"] max 4096,
        /// Datagrams that the kernel dropped because a socket of ours was full.
        kernel_drops: Counter by SocketKind => history,
        /// Addresses probed before they were offered.
        probes: Counter by ProbeOutcome,
        /// Addresses being probed.
        probing: Gauge,
        /// Leases that ran out.
        expirations: Counter => history,
        /// Leases forgotten because they ended longer ago than they are kept.
        forgotten: Counter,
    }
}

impl Label for Malformed {
    const COUNT: usize = Self::ALL.len();

    fn index(self) -> usize {
        self as usize
    }

    fn labels(index: usize) -> Labels {
        Self::ALL.get(index).map(|reason| ("reason", reason.name().into())).into_iter().collect()
    }
}

impl Label for Silence {
    const COUNT: usize = Self::ALL.len();

    fn index(self) -> usize {
        self as usize
    }

    fn labels(index: usize) -> Labels {
        Self::ALL.get(index).map(|reason| ("reason", reason.name().into())).into_iter().collect()
    }
}

impl RequestType {
    /// The label of a message type; `None` for one that only servers send.
    pub fn of(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Discover => Self::Discover,
            Kind::Request => Self::Request,
            Kind::Decline => Self::Decline,
            Kind::Release => Self::Release,
            Kind::Inform => Self::Inform,
            Kind::LeaseQuery => Self::LeaseQuery,
            _ => return None,
        })
    }
}

impl ReplyType {
    /// The label of a message type; `None` for one that only clients send.
    pub fn of(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Offer => Self::Offer,
            Kind::Ack => Self::Ack,
            Kind::Nak => Self::Nak,
            Kind::LeaseUnassigned => Self::LeaseUnassigned,
            Kind::LeaseUnknown => Self::LeaseUnknown,
            Kind::LeaseActive => Self::LeaseActive,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_under_its_own_name() {
        for (index, reason) in Malformed::ALL.into_iter().enumerate() {
            assert_eq!((reason.index(), Malformed::labels(index)), (index, vec![("reason", reason.name().into())]));
        }
        for (index, reason) in Silence::ALL.into_iter().enumerate() {
            assert_eq!((reason.index(), Silence::labels(index)), (index, vec![("reason", reason.name().into())]));
        }
    }
}
