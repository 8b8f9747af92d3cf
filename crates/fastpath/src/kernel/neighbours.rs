//! Next hops that the programs met and whose hardware address nobody has asked for: the kernel asks on its own only for what it sends itself. Here it is told to.

use std::io;
use std::net::IpAddr;

use rustix::fd::OwnedFd;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketType, sendto, socket};

use crate::layout::Neighbour;

/// `RTM_NEWNEIGH`: an entry of the table of neighbours.
const NEW_NEIGHBOUR: u16 = 28;
/// `NLM_F_REQUEST`, `NLM_F_CREATE`: one that may be new.
const REQUEST_CREATE: u16 = 0x001 | 0x400;
/// `NTF_USE`: as if somebody sent to it, who has to know its hardware address.
const USE: u8 = 0x01;
/// `NDA_DST`: the attribute with its address.
const DESTINATION: u16 = 1;
/// Has the kernel ask for these, in the network namespace that it is called in.
///
/// # Errors
/// When the kernel does not take it.
pub fn resolve(wanted: &[Neighbour]) -> io::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let socket = socket_of_routes()?;
    wanted.iter().try_for_each(|neighbour| ask_for(&socket, neighbour))
}

fn socket_of_routes() -> io::Result<OwnedFd> {
    // The protocol 0, `NETLINK_ROUTE`, is what none stands for.
    Ok(socket(AddressFamily::NETLINK, SocketType::RAW, None)?)
}

fn ask_for(socket: &OwnedFd, neighbour: &Neighbour) -> io::Result<()> {
    let message = request(neighbour);
    sendto(socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}

/// The message (`rtnetlink(7)`): `struct nlmsghdr`, `struct ndmsg`, an attribute.
fn request(neighbour: &Neighbour) -> Vec<u8> {
    let (family, address) = match neighbour.ip() {
        IpAddr::V4(v4) => (2u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (10u8, v6.octets().to_vec()),
    };
    let mut body = vec![family, 0, 0, 0];
    body.extend_from_slice(&neighbour.ifindex.to_ne_bytes());
    // State, flags, type.
    body.extend_from_slice(&[0, 0, USE, 0]);
    body.extend_from_slice(&(4 + address.len() as u16).to_ne_bytes());
    body.extend_from_slice(&DESTINATION.to_ne_bytes());
    body.extend_from_slice(&address);
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend_from_slice(&NEW_NEIGHBOUR.to_ne_bytes());
    message.extend_from_slice(&REQUEST_CREATE.to_ne_bytes());
    // Sequence and port: no answer is asked for.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&body);
    message
}
