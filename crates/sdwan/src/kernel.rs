//! Tunnels that the kernel carries: an interface of its WireGuard for each uplink that is left to it, with the uplink's key and port, joined to the uplink's peers.
//!
//! The kernel knows nothing of paths and policies, so such an uplink has peers alone. Where the kernel has no WireGuard, who has said `auto` is served by this process instead: by
//! the same key, at the same port.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outwork_config::HostPort;
use outwork_net::netlink::wireguard::{Control, Device, Peer};
use outwork_net::netlink::{self, Connection, LinkSettings, Prefix};
use outwork_wireguard::{PrivateKey, PublicKey};

use crate::config::{CarrierKind, PeerSettings, Sdwan};
use crate::routing::Way;

/// The kind of interface.
const KIND: &str = "wireguard";

/// Why the kernel does not carry what it is to.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// It has no WireGuard.
    #[error(
        "sdwan.uplink {uplink} is to be carried by the kernel, and it has no WireGuard: {source}\n  = help: load or install the module, or say carrier = \"auto\" to have this process carry it meanwhile"
    )]
    Absent {
        /// Which uplink.
        uplink: String,
        /// What the kernel says.
        source: netlink::Error,
    },
    /// It refuses something.
    #[error("sdwan.uplink: {0}")]
    Refused(#[from] netlink::Error),
}

/// A peer of the kernel's.
#[derive(Debug, Clone)]
pub struct Carried {
    /// What it is called.
    pub name: String,
    /// The place of the uplink that it is joined to.
    pub place: usize,
    /// Who it is.
    pub remote: PublicKey,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// What is behind it.
    pub networks: Vec<Prefix>,
    /// How long ago its keys were made; none without a session.
    pub keys: Option<Duration>,
    /// Octets that have come.
    pub received: u64,
    /// Octets that were sent.
    pub sent: u64,
    /// Octets of the longest packet that fits.
    pub mtu: u16,
}

/// An uplink that is left to the kernel.
struct Interface {
    place: usize,
    link: u32,
    key: PrivateKey,
}

/// What the kernel is asked by.
struct Lines {
    links: Connection,
    control: Control,
    interfaces: Vec<Interface>,
    /// Peers as they are wanted, by the places of their uplinks.
    wanted: Vec<(usize, PeerSettings)>,
    mtu: u16,
}

/// What is left to the kernel.
pub struct Kernel {
    /// The places of the uplinks.
    places: Vec<usize>,
    lines: Option<Mutex<Lines>>,
}

impl Kernel {
    /// Which uplinks are left to the kernel, as the settings say and as it can. Nothing is made yet.
    ///
    /// # Errors
    /// When an uplink is to be the kernel's in any case, and it has no WireGuard.
    pub fn find(settings: &Sdwan) -> Result<Kernel, KernelError> {
        let left = || settings.uplink.iter().enumerate().filter(|(_, uplink)| uplink.carrier != CarrierKind::Process);
        let none = Kernel { places: vec![], lines: None };
        if left().next().is_none() {
            return Ok(none);
        }
        let control = match Control::open() {
            Err(source) if source.is_missing() => {
                if let Some((_, uplink)) = left().find(|(_, uplink)| uplink.carrier == CarrierKind::Kernel) {
                    return Err(KernelError::Absent { uplink: uplink.name.clone(), source });
                }
                tracing::info!(%source, "the kernel has no WireGuard: this process carries all uplinks");
                return Ok(none);
            }
            opened => opened?,
        };
        let lines = Lines { links: Connection::open()?, control, interfaces: vec![], wanted: vec![], mtu: 0 };
        Ok(Kernel { places: left().map(|(place, _)| place).collect(), lines: Some(Mutex::new(lines)) })
    }

    /// Whether the uplink at a place is left to the kernel.
    pub fn carries(&self, place: usize) -> bool {
        self.places.contains(&place)
    }

    fn lines(&self) -> Option<MutexGuard<'_, Lines>> {
        // What a thread that has panicked left is made anew by the next change.
        self.lines.as_ref().map(|lines| lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the interfaces, with the keys of all uplinks.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn begin(&self, keys: &[PrivateKey]) -> Result<(), KernelError> {
        let Some(mut lines) = self.lines() else { return Ok(()) };
        let Lines { links, interfaces, .. } = &mut *lines;
        for (place, key) in keys.iter().enumerate().filter(|(place, _)| self.carries(*place)) {
            let name = format!("outwork-wg{place}");
            // One that a crash has left, or the process whose place this one takes, which may be removing it as well.
            if let Some(old) = links.link(&name)? {
                match links.remove_link(old.index) {
                    Err(error) if error.is_missing() => {}
                    done => done?,
                }
            }
            links.add_link(&name, KIND)?;
            let made = links.link(&name)?;
            interfaces.extend(made.map(|made| Interface { place, link: made.index, key: key.clone() }));
        }
        Ok(())
    }

    /// The settings without peers that the kernel has.
    pub fn left_to_us(&self, settings: &Sdwan) -> Sdwan {
        let mut left = settings.clone();
        left.peer.retain(|peer| settings.uplink_of(peer).is_none_or(|place| !self.carries(place)));
        left
    }

    /// Has the kernel joined to the peers that the settings name, and to no others. Those that stay keep their sessions.
    ///
    /// # Errors
    /// When it refuses.
    pub fn apply(&self, settings: &Sdwan) -> Result<(), KernelError> {
        let Some(mut lines) = self.lines() else { return Ok(()) };
        lines.mtu = settings.tunnel.mtu;
        let Lines { links, control, interfaces, wanted, .. } = &mut *lines;
        wanted.clear();
        for Interface { place, link, key } in interfaces {
            let of_it = |peer: &&PeerSettings| settings.uplink_of(peer) == Some(*place);
            let peers: Vec<&PeerSettings> = settings.peer.iter().filter(of_it).collect();
            let port = settings.uplink.get(*place).and_then(|uplink| uplink.listen.first()).map(SocketAddr::port);
            let device = Device {
                private_key: *key.bytes(),
                listen_port: port.unwrap_or_default(),
                mark: 0,
                peers: peers.iter().map(|peer| joined(peer)).collect(),
            };
            control.set(*link, &device)?;
            let mtu = Some(u32::from(settings.tunnel.mtu));
            links.set_link(*link, &LinkSettings { mtu, up: Some(true), ..LinkSettings::default() })?;
            wanted.extend(peers.into_iter().map(|peer| (*place, peer.clone())));
        }
        Ok(())
    }

    /// The ways to what is behind the peers that the kernel has.
    pub fn ways(&self, settings: &Sdwan) -> Vec<Way> {
        let Some(lines) = self.lines() else { return vec![] };
        // The interface has no addresses of its own: packets of this machine leave with those of the tunnel.
        let own: Vec<IpAddr> = settings.tunnel.addresses.iter().map(|own| own.address).collect();
        let mut ways = vec![];
        for Interface { place, link, .. } in &lines.interfaces {
            let peers = settings.peer.iter().filter(|peer| settings.uplink_of(peer) == Some(*place));
            ways.extend(peers.flat_map(|peer| &peer.allowed_ips).map(|net| Way {
                network: Prefix { address: net.address(), length: net.length() },
                link: *link,
                source: own.iter().find(|own| own.is_ipv4() == net.address().is_ipv4()).copied(),
            }));
        }
        ways
    }

    /// The indexes of the interfaces.
    pub fn links(&self) -> Vec<u32> {
        let lines = self.lines();
        lines.iter().flat_map(|lines| &lines.interfaces).map(|interface| interface.link).collect()
    }

    /// Whom the kernel is joined to, and how that is.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn tell(&self) -> Result<Vec<Carried>, KernelError> {
        let Some(mut lines) = self.lines() else { return Ok(vec![]) };
        let Lines { control, interfaces, wanted, mtu, .. } = &mut *lines;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut all = vec![];
        for Interface { place, link, .. } in interfaces {
            for told in control.peers(*link)? {
                let is_it =
                    |(of, peer): &&(usize, PeerSettings)| *of == *place && peer.public_key.0.0 == told.public_key;
                let Some((_, peer)) = wanted.iter().find(is_it) else { continue };
                all.push(Carried {
                    name: peer.called(),
                    place: *place,
                    remote: peer.public_key.0,
                    endpoint: told.endpoint,
                    networks: told.networks,
                    keys: told.handshake.map(|at| unix.saturating_sub(at)),
                    received: told.received,
                    sent: told.sent,
                    mtu: *mtu,
                });
            }
        }
        Ok(all)
    }

    /// Removes the interfaces. What fails is logged.
    pub fn end(&self) {
        let Some(mut lines) = self.lines() else { return };
        let Lines { links, interfaces, .. } = &mut *lines;
        for Interface { link, .. } in interfaces.drain(..) {
            match links.remove_link(link) {
                // Another process has made its own.
                Err(error) if error.is_missing() => {}
                Err(error) => tracing::warn!(%error, "an interface of the kernel's WireGuard stays"),
                Ok(()) => {}
            }
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.end();
    }
}

/// A peer as the kernel is told of it.
fn joined(peer: &PeerSettings) -> Peer {
    let networks = peer.allowed_ips.iter().map(|net| Prefix { address: net.address(), length: net.length() });
    let seconds = peer.keepalive.map_or(0, |keepalive| keepalive.as_secs());
    Peer {
        public_key: peer.public_key.0.0,
        preshared_key: *peer.preshared().bytes(),
        endpoint: peer.endpoint.as_ref().and_then(HostPort::address),
        keepalive: u16::try_from(seconds).unwrap_or(u16::MAX),
        networks: networks.collect(),
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};
    use outwork_net::testing::Lab;

    use super::*;

    fn settings(carrier: &str) -> Sdwan {
        let text = format!(
            "[[uplink]]\nname = 'fibre'\n[[uplink]]\nname = 'phones'\nlisten = ['0.0.0.0:51821']\ncarrier = '{carrier}'\n\
             [[peer]]\npublic_key = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg='\nuplink = 'phones'\nallowed_ips = ['10.1.0.2/32']\n\
             [[peer]]\npublic_key = 'TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0='\nallowed_ips = ['10.1.0.3/32']\n"
        );
        let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
        load::<Sdwan>(sources).map_err(|faults| faults.render(false)).unwrap().value
    }

    #[test]
    fn where_the_kernel_has_no_wireguard_this_process_carries_unless_that_is_refused() {
        let lab = Lab::new();
        let room = lab.namespace("host");
        let has = room.run(|| Control::open().is_ok());
        let auto = room.run(|| Kernel::find(&settings("auto"))).unwrap();
        assert_eq!((auto.carries(0), auto.carries(1)), (false, has));
        let left: Vec<String> = auto.left_to_us(&settings("auto")).peer.iter().map(PeerSettings::called).collect();
        assert_eq!(left.len(), if has { 1 } else { 2 }, "{left:?}");
        match room.run(|| Kernel::find(&settings("kernel"))) {
            Ok(kernel) => assert!(has && kernel.carries(1)),
            Err(error) => {
                let told = error.to_string();
                assert!(!has && told.contains("sdwan.uplink phones") && told.contains("carrier = \"auto\""), "{told}");
            }
        }
        let ours = Kernel::find(&settings("process")).unwrap();
        assert!(!ours.carries(1) && ours.tell().unwrap().is_empty());
    }

    #[test]
    fn an_uplink_that_may_be_the_kernels_has_one_port_of_every_address_and_no_sites() {
        let read = |text: &str| {
            let text = format!("[[uplink]]\nname = 'phones'\ncarrier = 'auto'\n{text}\n");
            let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
            load::<Sdwan>(sources).map(drop).map_err(|faults| faults.render(false))
        };
        assert_eq!(read(""), Ok(()));
        let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let site = format!("[[site]]\nname = 'far'\n[[site.uplink]]\nname = 'dsl'\npublic_key = '{key}'");
        for (text, at, said) in [
            ("interface = 'eth0'", "uplink[0].interface", "every interface"),
            ("endpoint = '192.0.2.1:51820'", "uplink[0].endpoint", "no site is joined"),
            ("listen = ['192.0.2.1:51820']", "uplink[0].listen", "one port"),
            ("listen = ['0.0.0.0:1', '0.0.0.0:2']", "uplink[0].listen", "one port"),
            (site.as_str(), "site", "carrier = \"process\""),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(at) && told.contains(said), "{text}: {told}");
        }
    }

    #[test]
    fn a_peer_is_told_to_the_kernel_as_it_is_written() {
        let settings = settings("auto");
        let told = joined(&settings.peer[0]);
        assert_eq!((told.keepalive, told.endpoint, told.preshared_key), (0, None, [0; 32]));
        assert_eq!(told.networks, [Prefix { address: "10.1.0.2".parse().unwrap(), length: 32 }]);
        assert_eq!(told.public_key, settings.peer[0].public_key.0.0);
    }
}
