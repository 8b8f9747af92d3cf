//! Sites to practise on, on one machine: who is where, and how each is configured. `outwork lab sdwan` makes namespaces and starts servers by it.
//!
//! Every uplink has a cable of its own to a router that all of them share: each reaches each.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use outwork_wireguard::PrivateKey;
use outwork_wireguard::entropy::System;
use outwork_wireguard::keys::KeyError;

use crate::engine::site::PATHS_A_SITE;

/// The most sites.
pub const SITES: u32 = 20;
/// The most uplinks of a site: so many at both ends give as many paths as there can be.
pub const UPLINKS: u32 = (PATHS_A_SITE as u32).isqrt();

/// Where each site answers by HTTP: whoever is at another sees by that whether it is to be reached.
pub const PORT: u16 = 80;

/// An uplink.
#[derive(Debug)]
pub struct Uplink {
    /// What it is called, in the configuration and as an interface.
    pub name: String,
    /// The site's end of its cable.
    pub address: Ipv4Addr,
    /// The router's end. The network has these two alone (RFC 3021).
    pub router: Ipv4Addr,
    port: u16,
    key: PrivateKey,
}

/// A site.
#[derive(Debug)]
pub struct Site {
    /// What it is called.
    pub name: String,
    /// Where it is within tunnels.
    pub address: Ipv4Addr,
    /// Its uplinks.
    pub uplinks: Vec<Uplink>,
    number: u8,
}

/// All of it.
#[derive(Debug)]
pub struct Lab {
    /// The sites.
    pub sites: Vec<Site>,
}

impl Lab {
    /// So many sites with so many uplinks each, and new keys. At least two and one, at most [`SITES`] and [`UPLINKS`].
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(sites: u32, uplinks: u32) -> Result<Lab, KeyError> {
        let (sites, uplinks) = (sites.clamp(2, SITES) as u8, uplinks.clamp(1, UPLINKS) as u8);
        let (mut lab, mut entropy) = (Lab { sites: vec![] }, System::default());
        for number in 1..=sites {
            let mut own = vec![];
            for place in 1..=uplinks {
                own.push(Uplink {
                    name: format!("wan{place}"),
                    // (RFC 2544 appendix C.2.2) A network for measurements, that nobody has.
                    address: Ipv4Addr::new(198, 18, place, 2 * number + 1),
                    router: Ipv4Addr::new(198, 18, place, 2 * number),
                    port: 51820 + u16::from(place),
                    key: PrivateKey::generate(&mut entropy)?,
                });
            }
            let address = Ipv4Addr::new(10, 100 + number, 0, 1);
            lab.sites.push(Site { name: format!("site{number}"), address, uplinks: own, number });
        }
        Ok(lab)
    }

    /// The configuration of a site, which keeps its data there.
    pub fn configuration(&self, site: &Site, data_dir: &Path) -> String {
        let mut text = format!(
            "[store]\ndata_dir = {data_dir:?}\n\n[sdwan]\nsubnets = ['{}']\n\n[sdwan.tunnel]\naddresses = ['{}/16']\nworkers = 1\n",
            site.subnet(),
            site.address
        );
        for Uplink { name, address, port, key, .. } in &site.uplinks {
            // Writing to a text never fails.
            let _ = write!(
                text,
                "\n[[sdwan.uplink]]\nname = '{name}'\ninterface = '{name}'\nlisten = ['0.0.0.0:{port}']\nendpoint = '{address}:{port}'\nprivate_key = '{}'\n",
                key.reveal().as_str()
            );
        }
        for other in self.sites.iter().filter(|other| other.number != site.number) {
            let _ = write!(text, "\n[[sdwan.site]]\nname = '{}'\nsubnets = ['{}']\n", other.name, other.subnet());
            for Uplink { name, address, port, key, .. } in &other.uplinks {
                let _ = write!(
                    text,
                    "\n[[sdwan.site.uplink]]\nname = '{name}'\nendpoint = '{address}:{port}'\npublic_key = '{}'\n",
                    key.public()
                );
            }
        }
        let _ = write!(
            text,
            "\n[front]\nworkers = 1\n\n[[front.listener]]\naddress = '0.0.0.0:{PORT}'\n\n[[front.route]]\npath = '/*'\nrespond = {{ status = 200, body = \"{}\\n\" }}\n",
            site.name
        );
        text
    }
}

impl Site {
    /// The network behind it.
    fn subnet(&self) -> String {
        format!("10.{}.0.0/16", 100 + self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_uplink_has_addresses_and_a_key_of_its_own_and_others_know_it_by_them() {
        let lab = Lab::new(SITES, UPLINKS).unwrap();
        let uplinks: Vec<_> = lab.sites.iter().flat_map(|site| &site.uplinks).collect();
        let addresses: BTreeSet<_> = uplinks.iter().flat_map(|uplink| [uplink.address, uplink.router]).collect();
        let keys: BTreeSet<_> = uplinks.iter().map(|uplink| *uplink.key.public()).collect();
        assert_eq!((addresses.len(), keys.len()), (160, 80));
        let text = lab.configuration(&lab.sites[2], Path::new("/a \"place\""));
        assert!(text.starts_with("[store]\ndata_dir = \"/a \\\"place\\\"\"\n"), "{text}");
        let count = |what: &str| text.matches(what).count();
        assert_eq!((count("private_key = "), count("public_key = "), count("[[sdwan.site]]")), (4, 76, 19), "{text}");
        assert!(text.contains("address = '0.0.0.0:80'") && text.contains("body = \"site3\\n\""), "{text}");
        for uplink in &uplinks {
            assert_eq!(count(&format!("endpoint = '{}:", uplink.address)), 1, "{text}");
        }
    }

    #[test]
    fn a_lab_has_two_sites_at_least_and_no_more_than_there_is_room_for() {
        let of = |sites, uplinks| {
            let lab = Lab::new(sites, uplinks).unwrap();
            (lab.sites.len(), lab.sites[0].uplinks.len())
        };
        assert_eq!((of(0, 0), of(3, 2), of(1000, 1000)), ((2, 1), (3, 2), (20, 4)));
    }
}
