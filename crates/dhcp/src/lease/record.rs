//! What the log holds: absolute changes, so that replaying one twice changes nothing (the contract of the store's snapshots).

use super::{Details, Lease, State};
use std::net::Ipv4Addr;

const LEASE: u8 = 1;
const FORGET: u8 = 2;
const RESERVE: u8 = 3;
const UNRESERVE: u8 = 4;

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The address's whole new state.
    Lease(Lease),
    /// The address is no longer known.
    Forget(Ipv4Addr),
    /// A reservation made through the API, as JSON, under its id.
    Reserve(u64, Vec<u8>),
    /// The reservation of that id is gone.
    Unreserve(u64),
}

/// A record that this version can't read. The log checks sums, so this is a newer version's record or a defect, never bit rot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a {len}-byte lease record of kind {kind} can't be read by this version; start the version that wrote it, or export from it"
)]
pub struct RecordError {
    kind: u8,
    len: usize,
}

impl Change {
    /// Appends the record of a lease's state to `out`.
    pub fn write_lease(lease: &Lease, out: &mut Vec<u8>) {
        out.push(LEASE);
        out.extend_from_slice(&lease.address.octets());
        out.extend_from_slice(&lease.subnet.to_le_bytes());
        out.extend_from_slice(&lease.starts.to_le_bytes());
        out.extend_from_slice(&lease.expires.to_le_bytes());
        out.extend_from_slice(&[lease.state as u8, lease.htype, lease.hlen]);
        out.extend_from_slice(lease.hardware());
        out.extend_from_slice(lease.details.bytes());
    }

    /// Appends the record that an address is forgotten.
    pub fn write_forget(address: Ipv4Addr, out: &mut Vec<u8>) {
        out.push(FORGET);
        out.extend_from_slice(&address.octets());
    }

    /// Appends the record of a reservation.
    pub fn write_reserve(id: u64, json: &[u8], out: &mut Vec<u8>) {
        out.push(RESERVE);
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(json);
    }

    /// Appends the record that a reservation is gone.
    pub fn write_unreserve(id: u64, out: &mut Vec<u8>) {
        out.push(UNRESERVE);
        out.extend_from_slice(&id.to_le_bytes());
    }

    /// True if the record is about a reservation made through the API.
    pub fn is_reservation(record: &[u8]) -> bool {
        matches!(record.first(), Some(&(RESERVE | UNRESERVE)))
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// [`RecordError`] if it isn't one.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::parse(bytes).ok_or(RecordError { kind: bytes.first().copied().unwrap_or(0), len: bytes.len() })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        match *kind {
            LEASE => {
                let address = Ipv4Addr::from(take::<4>(&mut rest)?);
                let subnet = u32::from_le_bytes(take(&mut rest)?);
                let starts = u32::from_le_bytes(take(&mut rest)?);
                let expires = u32::from_le_bytes(take(&mut rest)?);
                let [state, htype, hlen] = take(&mut rest)?;
                let (hardware, packed) = rest.split_at_checked(usize::from(hlen))?;
                let mut chaddr = [0; 16];
                chaddr.get_mut(..hardware.len())?.copy_from_slice(hardware);
                let state = State::from_wire(state)?;
                let details = Details::from_bytes(packed)?;
                Some(Self::Lease(Lease {
                    address,
                    subnet,
                    starts,
                    expires,
                    state,
                    htype,
                    hlen,
                    due: 0,
                    chaddr,
                    details,
                }))
            }
            FORGET => Some(Self::Forget(Ipv4Addr::from(<[u8; 4]>::try_from(rest).ok()?))),
            RESERVE => Some(Self::Reserve(u64::from_le_bytes(take(&mut rest)?), rest.to_vec())),
            UNRESERVE => Some(Self::Unreserve(u64::from_le_bytes(rest.try_into().ok()?))),
            _ => None,
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}
