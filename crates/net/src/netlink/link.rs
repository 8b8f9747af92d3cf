//! Links: the interfaces of this host, of any kind.

use outwork_wire::MacAddr;

use super::message::{self, Request, attributes, number};
use super::{Asked, Connection, Result, change, question};

/// Octets of an `ifinfomsg`.
const STRUCTURE: usize = 16;
/// What a link is, and what that is called (`linux/if_link.h`).
const INFO: u16 = 18;
const INFO_KIND: u16 = 1;

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index: another one when it is removed and made anew.
    pub index: u32,
    /// Its hardware address, if it is an Ethernet link.
    pub mac: Option<MacAddr>,
    /// Octets of the longest packet.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it is up and has a carrier: its cable, or what stands for one, is connected, and the other side lets it in.
    pub carrier: bool,
    /// Whether it leads back to this host.
    pub loopback: bool,
    /// Octets of the longest packet that it is handed to be segmented; 0 where the kernel does not say.
    pub gso_max_size: u32,
    /// Segments of such a packet at most; 0 where the kernel does not say.
    pub gso_max_segs: u32,
}

/// What is set of a link; what is absent stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Whether it is switched on.
    pub up: Option<bool>,
    /// Octets of the longest packet.
    pub mtu: Option<u32>,
    /// Octets of the longest packet that it is handed to be segmented.
    pub gso_max_size: Option<u32>,
    /// Segments of such a packet at most.
    pub gso_max_segs: Option<u32>,
}

impl Connection {
    /// All links, in the order of their indexes.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut links =
            self.list(&question(libc::RTM_GETLINK, &structure(0, 0, 0)), read).asked(|| "list the links".to_owned())?;
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The link of a name; `None` when there is none.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let request = change(libc::RTM_GETLINK, 0, &structure(0, 0, 0)).text(libc::IFLA_IFNAME, name);
        match self.get(request, read).asked(|| format!("look for the link `{name}`")) {
            Err(error) if error.is_missing() => Ok(None),
            found => found,
        }
    }

    /// Makes a link of a kind that needs to be told nothing more, such as `wireguard`.
    ///
    /// # Errors
    /// One that [is unknown](super::Error::is_unknown) where the kernel has no such kind.
    pub fn add_link(&mut self, name: &str, kind: &str) -> Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let request = change(libc::RTM_NEWLINK, flags, &structure(0, 0, 0))
            .text(libc::IFLA_IFNAME, name)
            .nested(INFO, |info| info.text(INFO_KIND, kind));
        self.ask(request).asked(|| format!("make {name}, a link of kind {kind} (module {kind})"))
    }

    /// Removes the link of an index.
    pub fn remove_link(&mut self, index: u32) -> Result<()> {
        self.ask(change(libc::RTM_DELLINK, 0, &structure(index, 0, 0))).asked(|| format!("remove link {index}"))
    }

    /// Sets what `settings` names of the link of an index.
    pub fn set_link(&mut self, index: u32, settings: &LinkSettings) -> Result<()> {
        let LinkSettings { up, mtu, gso_max_size, gso_max_segs } = *settings;
        let flag = libc::IFF_UP as u32;
        let (flags, changed) = up.map_or((0, 0), |up| (if up { flag } else { 0 }, flag));
        let request = change(libc::RTM_SETLINK, 0, &structure(index, flags, changed))
            .number(libc::IFLA_MTU, mtu)
            .number(libc::IFLA_GSO_MAX_SIZE, gso_max_size)
            .number(libc::IFLA_GSO_MAX_SEGS, gso_max_segs);
        self.ask(request).asked(|| format!("set {settings} of link {index}"))
    }
}

impl std::fmt::Display for LinkSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let up = self.up.map(|up| if up { "up" } else { "down" }.to_owned());
        let number = |name: &str, value: Option<u32>| value.map(|value| format!("{name} {value}"));
        let set = [
            up,
            number("mtu", self.mtu),
            number("gso_max_size", self.gso_max_size),
            number("gso_max_segs", self.gso_max_segs),
        ];
        f.write_str(&set.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// An `ifinfomsg`.
fn structure(index: u32, flags: u32, changed: u32) -> [u8; STRUCTURE] {
    let mut octets = [0; STRUCTURE];
    let fields = [0, index, flags, changed].into_iter().flat_map(u32::to_ne_bytes);
    octets.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    octets
}

/// Reads an `ifinfomsg` with its attributes.
pub(crate) fn read(body: &[u8]) -> Option<Link> {
    let ethernet = body.get(2..4)? == libc::ARPHRD_ETHER.to_ne_bytes();
    let flags = number(body, 8)? as i32;
    let carrier = libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOWER_UP;
    let mut link = Link {
        name: String::new(),
        index: number(body, 4)?,
        mac: None,
        mtu: 0,
        up: flags & libc::IFF_UP != 0,
        carrier: flags & carrier == carrier,
        loopback: flags & libc::IFF_LOOPBACK != 0,
        gso_max_size: 0,
        gso_max_segs: 0,
    };
    for (kind, value) in attributes(body.get(STRUCTURE..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = message::text(value),
            libc::IFLA_ADDRESS if ethernet => link.mac = value.try_into().ok().map(MacAddr),
            libc::IFLA_MTU => link.mtu = number(value, 0)?,
            libc::IFLA_GSO_MAX_SIZE => link.gso_max_size = number(value, 0)?,
            libc::IFLA_GSO_MAX_SEGS => link.gso_max_segs = number(value, 0)?,
            _ => {}
        }
    }
    Some(link)
}

/// A question for all links, for who reads them another way.
pub(crate) fn all() -> Request {
    question(libc::RTM_GETLINK, &structure(0, 0, 0))
}
