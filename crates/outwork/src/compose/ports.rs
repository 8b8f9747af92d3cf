//! Why a port could not be had, and what to do about it.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::anyhow;

use crate::report;

/// A transport, by the tables that the kernel keeps of its sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// The first port for which a process needs no privilege, unless the system says otherwise.
const UNPRIVILEGED: u16 = 1024;

/// What can be done about a port that the configuration names.
pub(crate) const ANOTHER: &str = "choose another port";

/// The error with what helps, where it is about a port: who has it, or which privilege it takes; `other` says how to do
/// without that port.
pub(crate) fn explained(error: anyhow::Error, protocol: Protocol, other: &str) -> anyhow::Error {
    let text = report::text(&error);
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    // Both kinds of server name the address that they could not have.
    let words = text.split(|c: char| c.is_whitespace() || c == ',').map(|word| word.trim_end_matches(':'));
    let address = words.filter_map(|word| word.parse::<SocketAddr>().ok()).next();
    let help = match (kind, address) {
        (Some(io::ErrorKind::AddrInUse), Some(address)) => match holder(address, protocol) {
            Some((process, name)) => format!("process {process} ({name}) has that port: stop it, or {other}"),
            None => format!("`ss -lntup`, as root, says who has that port: stop it, or {other}"),
        },
        (Some(io::ErrorKind::PermissionDenied), Some(address)) if address.port() < UNPRIVILEGED => {
            "ports below 1024 take a privilege: run as root, or give CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd \
             unit, or `setcap cap_net_bind_service=+ep` on the binary), or choose a higher port"
                .to_owned()
        }
        (Some(io::ErrorKind::AddrNotAvailable), Some(address)) => format!(
            "{} is no address of this machine, and has to be one before the start: `ip address` lists them; use \"0.0.0.0:{}\", \
             which is all of them, or for DHCP name the interface in dhcp.interfaces, which may appear later",
            address.ip(),
            address.port()
        ),
        _ => return error,
    };
    let what = text.split("\n  = ").next().unwrap_or(&text);
    anyhow!("{what}\n  = help: {help}")
}

/// Who is in the way of listening there, as far as this process may look: its number and its name.
fn holder(address: SocketAddr, protocol: Protocol) -> Option<(u32, String)> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let rows: Vec<String> = tables.iter().filter_map(|table| fs::read_to_string(table).ok()).collect();
    let sockets: Vec<PathBuf> =
        rows.iter().flat_map(|table| table.lines()).filter_map(|row| socket(row, address)).collect();
    let own = std::process::id();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok().filter(|process| *process != own)?;
        let mut open = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        open.find(|fd| fs::read_link(fd.path()).is_ok_and(|target| sockets.contains(&target)))?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        Some((process, name.trim().to_owned()))
    })
}

/// What a descriptor of the socket of this row links to, if it is connected to nobody and takes this address or all.
fn socket(row: &str, wanted: SocketAddr) -> Option<PathBuf> {
    let fields: Vec<&str> = row.split_whitespace().collect();
    let end = |index: usize| {
        let (address, port) = fields.get(index)?.split_once(':')?;
        Some((address, u16::from_str_radix(port, 16).ok()?))
    };
    let (address, port) = end(1)?;
    // The kernel writes each word of an address as the number that it is on this machine.
    let octets = match wanted.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let word = |word: &[u8]| {
        word.try_into().map_or_else(|_| String::new(), |word| format!("{:08X}", u32::from_ne_bytes(word)))
    };
    let written: String = octets.chunks(4).map(word).collect();
    let meets = wanted.ip().is_unspecified() || address.bytes().all(|digit| digit == b'0') || address == written;
    let inode =
        fields.get(9).filter(|_| meets && port == wanted.port() && end(2).is_some_and(|(_, port)| port == 0))?;
    Some(format!("socket:[{inode}]").into())
}
