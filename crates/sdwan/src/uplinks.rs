//! The sockets of uplinks are bound at the start as far as what they need is there, and anew when it comes, or is another of the same name: an interface that is
//! made anew, as those of modems, of PPPoE and of VLANs are, is none that a socket was bound to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use outwork_net::carrier::{self, Socket};

use crate::config::Sdwan;
use crate::plane::lines::{Group, Lines};
use crate::plane::tunnel::UplinkIndex;

/// The kernel's codes for an interface and for an address that this host has not.
const NO_DEVICE: i32 = 19;
const NO_ADDRESS: i32 = 99;

/// An address that an uplink listens at.
#[derive(Debug)]
struct Place {
    options: carrier::Options,
    /// None as long as it cannot be bound.
    group: Group,
    /// Why not, as it was last said.
    why: Option<String>,
}

/// An uplink whose tunnels this process carries.
#[derive(Debug)]
pub struct Uplink {
    /// Which it is.
    pub index: UplinkIndex,
    /// What it is called.
    pub name: Arc<str>,
    /// The interface that it is bound to, if it is to one.
    pub device: Option<String>,
    places: Vec<Place>,
}

impl Uplink {
    /// Whether datagrams can come and go by it at any of its addresses.
    pub fn is_bound(&self) -> bool {
        self.places.iter().any(|place| !place.group.is_empty())
    }

    /// Whether something is missing yet.
    fn lacks(&self) -> bool {
        self.places.iter().any(|place| place.group.is_empty())
    }

    /// Where it listens, as configured, and the port that the kernel chose where it was to choose.
    pub fn listens(&self) -> impl Iterator<Item = SocketAddr> {
        self.places.iter().map(|place| place.options.address)
    }

    /// The addresses of this host that it listens at; nothing for every one of them.
    pub fn addresses(&self) -> Option<Vec<IpAddr>> {
        let all: Vec<_> = self.listens().map(|address| address.ip()).collect();
        all.iter().all(|address| !address.is_unspecified()).then_some(all)
    }
}

/// All of them.
#[derive(Debug)]
pub struct Uplinks {
    workers: usize,
    all: Vec<Uplink>,
}

fn bind(options: &carrier::Options, workers: usize) -> outwork_net::Result<Group> {
    Ok(Socket::bind_group(options, workers)?.into_iter().map(Arc::new).collect())
}

/// Whether something is missing that may come.
fn is_missing(error: &outwork_net::Error) -> bool {
    matches!(error.source.raw_os_error(), Some(NO_DEVICE | NO_ADDRESS))
}

impl Uplinks {
    /// Binds those that this process carries, in the network namespace of this thread, for so many workers. What is not there yet is waited for.
    ///
    /// # Errors
    /// When one cannot be bound for another reason than that its interface or its address is missing.
    pub fn bind(settings: &Sdwan, workers: usize, carries: impl Fn(usize) -> bool) -> outwork_net::Result<Uplinks> {
        let mut uplinks = Uplinks { workers, all: vec![] };
        let mut granted = usize::MAX;
        for (uplink, index) in settings.uplink.iter().zip(0..).filter(|(_, index)| carries(usize::from(*index))) {
            let device = uplink.interface.as_ref().map(ToString::to_string);
            let mut places = vec![];
            for address in &uplink.listen {
                let mut options = carrier::Options {
                    device: device.clone(),
                    receive_buffer: settings.tunnel.receive_buffer.as_usize(),
                    send_buffer: settings.tunnel.send_buffer.as_usize(),
                    ..carrier::Options::new(*address)
                };
                let (group, why) = match bind(&options, workers) {
                    Ok(group) => (group, None),
                    Err(error) if is_missing(&error) => (vec![], Some(error.to_string())),
                    Err(error) => return Err(error),
                };
                if let Some(why) = &why {
                    tracing::warn!(
                        uplink = uplink.name,
                        why,
                        "an uplink is not there yet: it is taken up when it comes"
                    );
                }
                if let Some(socket) = group.first() {
                    options.address = socket.local();
                    granted = granted.min(socket.buffers().receive);
                }
                places.push(Place { options, group, why });
            }
            let name = Arc::from(uplink.name.as_str());
            uplinks.all.push(Uplink { index: UplinkIndex(index), name, device, places });
        }
        let asked = settings.tunnel.receive_buffer.as_usize();
        if granted < asked {
            tracing::warn!(
                asked,
                granted,
                "the kernel keeps less of what comes than sdwan.tunnel.receive_buffer says, and drops what is beyond: raise net.core.rmem_max, or give this process CAP_NET_ADMIN"
            );
        }
        Ok(uplinks)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Uplink> {
        self.all.iter()
    }

    /// The one of this place, unless somebody else carries it.
    pub fn get(&self, index: UplinkIndex) -> Option<&Uplink> {
        self.all.iter().find(|uplink| uplink.index == index)
    }

    /// Hands all sockets to the workers.
    pub fn put(&self, lines: &Lines) {
        self.all.iter().for_each(|uplink| put(uplink, lines));
    }

    /// Whether something is missing yet.
    pub fn lacks(&self) -> bool {
        self.all.iter().any(Uplink::lacks)
    }

    /// Binds what is not bound, or is to an interface that is gone; `link` knows the index of interfaces by their names. Which uplinks have other sockets than before.
    pub fn look(&mut self, link: impl Fn(&str) -> Option<u32>, lines: &Lines) -> Vec<UplinkIndex> {
        let (mut changed, workers) = (vec![], self.workers);
        for uplink in &mut self.all {
            let is_there = uplink.device.as_deref().map(&link);
            if is_there == Some(None) {
                continue;
            }
            let bound = uplink.places.iter_mut().map(|place| place.look(&uplink.name, is_there.flatten(), workers));
            // All of them are looked at.
            if bound.fold(false, |any, one| any | one) {
                put(uplink, lines);
                changed.push(uplink.index);
            }
        }
        changed
    }
}

fn put(uplink: &Uplink, lines: &Lines) {
    let groups = uplink.places.iter().map(|place| place.group.clone()).filter(|group| !group.is_empty());
    lines.put(uplink.index, &uplink.name, groups.collect());
}

impl Place {
    /// Binds where that is to be done; the interface of the uplink has this index. Whether there are other sockets.
    fn look(&mut self, name: &str, link: Option<u32>, workers: usize) -> bool {
        let before = self.group.first().and_then(|socket| socket.interface());
        let is_stale = before.is_some() && link.is_some() && before != link;
        if !self.group.is_empty() && !is_stale {
            return false;
        }
        let address = self.options.address;
        match bind(&self.options, workers) {
            Ok(group) => {
                tracing::info!(uplink = name, %address, "an uplink is bound to what it was waiting for");
                if let Some(socket) = group.first() {
                    self.options.address = socket.local();
                }
                (self.group, self.why) = (group, None);
                true
            }
            Err(error) => {
                let why = Some(error.to_string());
                if self.why != why {
                    tracing::warn!(uplink = name, %error, "an uplink cannot be bound yet: it is tried again");
                    self.why = why;
                }
                // Those of an interface that is gone are good for nothing.
                self.group.clear();
                is_stale
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_net::carrier::{Options, Way};
    use outwork_net::poll;
    use outwork_net::testing::Lab;

    use super::*;

    fn uplink(device: Option<&str>, listen: &[&str]) -> Uplink {
        let place = |address: &&str| Place {
            options: Options { device: device.map(str::to_owned), ..Options::new(address.parse().unwrap()) },
            group: vec![],
            why: None,
        };
        let places = listen.iter().map(place).collect();
        Uplink { index: UplinkIndex(3), name: Arc::from("wan"), device: device.map(str::to_owned), places }
    }

    fn index(name: &str) -> Option<u32> {
        let mut kernel = outwork_net::netlink::Connection::open().unwrap();
        kernel.link(name).unwrap().map(|link| link.index)
    }

    #[test]
    fn an_interface_that_is_made_anew_is_another_and_sockets_are_bound_to_that() {
        let lab = Lab::new();
        let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
        let mut uplinks = Uplinks { workers: 2, all: vec![uplink(Some("wan"), &["0.0.0.0:51820", "10.1.0.1:51821"])] };
        let lines = Lines::default();
        let mut look = || host.run(|| uplinks.look(index, &lines));
        assert_eq!(look(), []);
        let mut groups = vec![];
        for round in 0..2 {
            lab.veth((&host, "wan"), (&peer, "wan"));
            assert_eq!(look(), [UplinkIndex(3)], "{round}");
            assert_eq!(lines.posts(1).0.len(), 1, "the other has its address yet to come");
            host.ip("addr add 10.1.0.1/24 dev wan");
            peer.ip("addr add 10.1.0.2/24 dev wan");
            assert_eq!(look(), [UplinkIndex(3)], "{round}");
            assert_eq!((look(), lines.posts(0).0.len()), (vec![], 2));
            let posts = lines.posts(0);
            let to = "10.1.0.2:9".parse().unwrap();
            let listener = peer.run(|| Socket::bind(&Options::new(to)).unwrap());
            for (_, socket) in &posts.0 {
                // The link may not be ready for what is sent first.
                let mut ready = 0;
                while ready == 0 {
                    socket.send(&Way { to, from: None, tos: 0, mark: 0 }, b"hello", 5);
                    let mut entries = [poll::Entry::readable(&listener)];
                    ready = poll::wait(&mut entries, Some(std::time::Duration::from_millis(200))).unwrap();
                }
                assert!(listener.receive(&mut [0; 10]).unwrap().is_some());
            }
            groups.push(posts);
            host.ip("link del wan");
            assert_eq!(look(), []);
        }
        let [first, second] = [&groups[0], &groups[1]].map(|posts| posts.0[0].1.interface());
        assert!(first.is_some() && second.is_some() && first != second);
    }

    #[test]
    fn an_address_that_comes_later_is_bound_then_and_one_that_is_there_is_not_bound_again() {
        let lab = Lab::new();
        let host = lab.namespace("host");
        let mut uplinks = Uplinks { workers: 1, all: vec![uplink(None, &["127.0.0.1:0", "10.1.0.1:51820"])] };
        let lines = Lines::default();
        let mut look = || host.run(|| uplinks.look(index, &lines));
        assert_eq!(look(), [UplinkIndex(3)]);
        let port = lines.posts(0).0[0].1.local().port();
        assert_eq!(look(), []);
        host.ip("addr add 10.1.0.1/32 dev lo");
        assert_eq!(look(), [UplinkIndex(3)]);
        let posts = lines.posts(0);
        let addresses: Vec<_> = posts.0.iter().map(|(_, socket)| socket.local()).collect();
        assert_eq!(addresses, [format!("127.0.0.1:{port}").parse().unwrap(), "10.1.0.1:51820".parse().unwrap()]);
        assert_eq!((look(), uplinks.lacks()), (vec![], false));
        assert_eq!(uplinks.all[0].addresses().unwrap().len(), 2);
    }
}
