//! What drivers say of XDP: the family `netdev` of generic netlink (Linux 6.3 and later).

use std::collections::BTreeMap;
use std::io;

use rustix::fd::OwnedFd;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket, sockopt};

use crate::forward::frame::read;

/// `GENL_ID_CTRL`: who knows the numbers of families.
const CONTROL: u16 = 16;
/// `CTRL_CMD_GETFAMILY`, and its attributes `CTRL_ATTR_FAMILY_ID` and `CTRL_ATTR_FAMILY_NAME`.
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `NETDEV_CMD_DEV_GET`, and its attributes `NETDEV_A_DEV_IFINDEX` and `NETDEV_A_DEV_XDP_FEATURES`.
const GET_DEVICE: u8 = 1;
const IFINDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;
/// `NLM_F_REQUEST`, `NLM_F_DUMP`.
const REQUEST: u16 = 0x001;
const DUMP: u16 = 0x300;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Octets of `struct nlmsghdr` and `struct genlmsghdr`.
const HEADER: usize = 16;
const GENERIC: usize = 4;
/// Octets of the largest answer.
const BUFFER: usize = 64 * 1024;
/// Interfaces that are told of at most.
const INTERFACES: usize = 10_000;

/// What a driver does for XDP (`NETDEV_XDP_ACT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(pub u64);

impl Features {
    /// It runs programs itself, before the kernel makes a packet of the frame.
    pub fn runs_programs(self) -> bool {
        self.0 & 1 != 0
    }

    /// Programs may send frames on by another interface.
    pub fn sends_on(self) -> bool {
        self.0 & 2 != 0
    }

    /// It takes frames that programs elsewhere send on.
    pub fn takes_frames(self) -> bool {
        self.0 & 4 != 0
    }

    /// Sockets of AF_XDP share memory with it: nothing is copied.
    pub fn shares_memory(self) -> bool {
        self.0 & 8 != 0
    }

    /// It runs programs on the card.
    pub fn runs_on_card(self) -> bool {
        self.0 & 16 != 0
    }
}

/// What the drivers of all interfaces of this network namespace say, by the interfaces' indexes.
///
/// # Errors
/// When the kernel does not know the question, as before 6.3.
pub fn features() -> io::Result<BTreeMap<u32, Features>> {
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::GENERIC))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(std::time::Duration::from_secs(5)))?;
    let mut family = None;
    let name = attribute(FAMILY_NAME, b"netdev\0");
    ask(&socket, &request(CONTROL, REQUEST, GET_FAMILY, &name), 1, |body| {
        family = family.or_else(|| find(body, FAMILY_ID).and_then(|id| read(id, 0)).map(u16::from_ne_bytes));
    })?;
    let family = family.ok_or(io::ErrorKind::Unsupported)?;
    let mut features = BTreeMap::new();
    ask(&socket, &request(family, REQUEST | DUMP, GET_DEVICE, &[]), INTERFACES, |body| {
        let index = find(body, IFINDEX).and_then(|index| read(index, 0)).map(u32::from_ne_bytes);
        let flags = find(body, XDP_FEATURES).and_then(|flags| read(flags, 0)).map(u64::from_ne_bytes);
        features.extend(index.zip(flags).map(|(index, flags)| (index, Features(flags))));
    })?;
    Ok(features)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct nlmsghdr`, `struct genlmsghdr`, attributes.
fn request(family: u16, flags: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let mut message = ((HEADER + GENERIC + attributes.len()) as u32).to_ne_bytes().to_vec();
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // Sequence and port: each question has a socket's whole attention.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[command, 1, 0, 0]);
    message.extend_from_slice(attributes);
    message
}

/// Asks, and hands the attributes of each answer to `each`, until there are so many, or the kernel says that those were all. Not all of those that are followed by
/// others say so.
fn ask(socket: &OwnedFd, message: &[u8], most: usize, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    sendto(socket, message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0; BUFFER];
    let mut answers = 0;
    while answers < most {
        let (length, _) = recv(socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((kind, body)) = next(&mut rest) {
            match kind {
                DONE => return Ok(()),
                ERROR => {
                    let code = read(body, 0).map_or(0, i32::from_ne_bytes);
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => each(body.get(GENERIC..).unwrap_or_default()),
            }
            answers += 1;
        }
    }
    Ok(())
}

/// Takes the next message off: its type and its body.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = u32::from_ne_bytes(read(rest, 0)?) as usize;
    let kind = u16::from_ne_bytes(read(rest, 4)?);
    let body = rest.get(HEADER..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body))
}

/// The value of an attribute.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = u16::from_ne_bytes(read(attributes, 0)?) as usize;
        let kind = u16::from_ne_bytes(read(attributes, 2)?);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_behind_others_and_what_is_cut_off_is_not() {
        let all = [attribute(9, b"abc"), attribute(IFINDEX, &7u32.to_ne_bytes())].concat();
        assert_eq!(find(&all, IFINDEX), Some(&7u32.to_ne_bytes()[..]));
        assert_eq!(find(&all, 5), None);
        assert_eq!(find(&all[..all.len() - 2], IFINDEX), None);
        assert_eq!(find(&[0; 16], 1), None, "an attribute of no length ends it");
    }

    #[test]
    fn the_kernel_says_what_drivers_do_for_xdp_of_every_interface() {
        let said = features().unwrap();
        // Loopback is there everywhere, and runs no programs itself.
        let loopback = crate::kernel::attach::index_of("lo").unwrap();
        assert!(!said[&loopback].runs_programs(), "{said:?}");
        let all = std::fs::read_dir("/sys/class/net").unwrap().flatten();
        let all = all.filter_map(|entry| crate::kernel::attach::index_of(entry.file_name().to_str()?));
        assert!(all.count() <= said.len(), "{said:?}");
    }
}
