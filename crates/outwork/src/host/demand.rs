//! What the configuration asks of the machine.

use outwork_host::demand::{Asked, Demand, Tunnels, Way as Direction};
use outwork_proxy::config::acceleration::TierName;
use outwork_proxy::config::{Forwarding, Protocol};

use crate::remarks::buffers::{self, Buffer, Way};
use crate::settings::Settings;

/// Services, as they are called.
const WEB: &str = "web";
const PROXY: &str = "proxy";
const DHCP: &str = "dhcp";
const ADMIN: &str = "admin";
const SDWAN: &str = "sdwan";
const CONTROLLER: &str = "controller";
/// Room for datagrams of each socket of HTTP/3: see `outwork_front::h3`.
const OF_HTTP3: u64 = 2 << 20;
/// File descriptors of a connection that is passed on.
const BOTH_SIDES: u64 = 2;
/// Mebibytes of a huge page.
const PAGE: u64 = 2;

/// What all of it asks for.
pub(super) fn of(settings: &Settings) -> Demand {
    let mut demand = Demand::default();
    demand.ports.extend(settings.admin.listen.iter().map(|address| (address.port(), ADMIN)));
    of_front(settings, &mut demand);
    of_layer4(settings, &mut demand);
    of_acceleration(settings, &mut demand);
    of_dhcp(settings, &mut demand);
    of_sdwan(settings, &mut demand);
    for Buffer { key, size, way } in buffers::of(settings) {
        let service = if key.starts_with("front.") { WEB } else { PROXY };
        // The kernel doubles what a socket asks for, and so half of it is asked for.
        let asked = asked(key, size.get() / 2, service);
        match way {
            Way::In => demand.receive_buffers.push(asked),
            Way::Out => demand.send_buffers.push(asked),
        }
    }
    if settings.cache.l3.enabled && !demand.disks.contains(&WEB) {
        demand.disks.push(WEB);
    }
    demand
}

fn asked(setting: String, amount: u64, service: &'static str) -> Asked {
    Asked { setting, amount, service }
}

fn of_front(settings: &Settings, demand: &mut Demand) {
    let front = &settings.front;
    for (index, listener) in front.listener.iter().enumerate() {
        demand.ports.push((listener.address.port(), WEB));
        demand.backlogs.push(asked(format!("front.listener[{index}].backlog"), listener.backlog.into(), WEB));
        if listener.tls.as_ref().is_some_and(|tls| tls.http3.enabled) {
            demand.datagrams = vec![WEB];
            let setting = format!("front.listener[{index}].tls.http3");
            demand.receive_buffers.push(asked(setting, OF_HTTP3, WEB));
        }
    }
    if !front.listener.is_empty() {
        demand.accepting.push(WEB);
        let connections = front.limits.max_connections.into();
        demand.descriptors.push(asked("front.limits.max_connections".to_owned(), connections, WEB));
        if !settings.proxy.pool.is_empty() {
            demand.opening.push(PROXY);
        }
    }
}

fn of_layer4(settings: &Settings, demand: &mut Demand) {
    let proxy = &settings.proxy;
    for (index, listener) in proxy.listener.iter().enumerate() {
        let key = |key: &str| format!("proxy.listener[{index}].{key}");
        demand.ports.extend(listener.address.iter().map(|address| (address.port(), PROXY)));
        if listener.protocol == Protocol::Tcp {
            let backlog = u64::try_from(listener.waiting()).unwrap_or_default();
            demand.backlogs.push(asked(key("backlog"), backlog, PROXY));
        }
    }
    let has = |protocol| proxy.listener.iter().any(|listener| listener.protocol == protocol);
    if has(Protocol::Tcp) {
        demand.accepting.push(PROXY);
    }
    if has(Protocol::Udp) {
        demand.datagrams.push(PROXY);
    }
    if !proxy.listener.is_empty() {
        if !demand.opening.contains(&PROXY) {
            demand.opening.push(PROXY);
        }
        let connections = u64::from(proxy.limits.max_connections) * BOTH_SIDES;
        demand.descriptors.push(asked("proxy.limits.max_connections".to_owned(), connections, PROXY));
    }
}

fn of_acceleration(settings: &Settings, demand: &mut Demand) {
    let acceleration = &settings.proxy.acceleration;
    let functions = acceleration.sriov.iter().filter_map(|one| one.tier);
    let tiers: Vec<TierName> = acceleration.tiers.iter().copied().chain(functions).collect();
    demand.programs = tiers.iter().any(|tier| *tier != TierName::Dpdk);
    if tiers.iter().any(|tier| [TierName::Xdp, TierName::Tc].contains(tier)) {
        let forwarded = || settings.proxy.listener.iter().filter(|one| one.forwarding != Forwarding::Sockets);
        let families = [("ipv4", true), ("ipv6", false)]
            .into_iter()
            .filter(|(_, is_v4)| forwarded().flat_map(|one| &one.address).any(|address| address.is_ipv4() == *is_v4));
        for (family, _) in families {
            let names = acceleration.interfaces.iter().filter_map(|name| name.parse().ok());
            demand.forwarding.extend(names.map(|name| (name, family)));
        }
    }
    let dpdk = &acceleration.dpdk;
    if tiers.contains(&TierName::Dpdk) && dpdk.hugepages && dpdk.memory > 0 {
        let pages = u64::from(dpdk.memory).div_ceil(PAGE);
        demand.pages = Some(asked("proxy.acceleration.dpdk.memory".to_owned(), pages, PROXY));
    }
}

fn of_dhcp(settings: &Settings, demand: &mut Demand) {
    let dhcp = &settings.dhcp;
    if !dhcp.is_enabled() {
        return;
    }
    demand.datagrams.push(DHCP);
    demand.disks.push(DHCP);
    demand.ports.extend(dhcp.listen.iter().map(|address| (address.port(), DHCP)));
    // Clients of subnets behind relay agents are the neighbours of others.
    let attached = dhcp.subnet.iter().filter(|subnet| subnet.relay.is_empty() && !dhcp.interfaces.is_empty());
    let addresses: u64 = attached.map(|subnet| 1u64 << (32 - u32::from(subnet.prefix.length()))).sum();
    if addresses > 0 {
        demand.neighbours = Some(asked("dhcp.subnet".to_owned(), addresses, DHCP));
    }
}

fn of_sdwan(settings: &Settings, demand: &mut Demand) {
    if settings.controller.is_on() {
        demand.ports.extend(settings.controller.listen.iter().map(|address| (address.port(), CONTROLLER)));
        demand.disks.push(CONTROLLER);
    }
    let sdwan = &settings.sdwan;
    if !sdwan.is_on() {
        return;
    }
    demand.datagrams.push(SDWAN);
    let listens = sdwan.uplink.iter().flat_map(|uplink| &uplink.listen);
    demand.ports.extend(listens.map(|address| (address.port(), SDWAN)).filter(|(port, _)| *port > 0));
    let tunnel = &sdwan.tunnel;
    let buffer = |name: &str, size: u64| asked(format!("sdwan.tunnel.{name}"), size, SDWAN);
    let serves = |v4: bool| sdwan.subnets.iter().any(|net| net.address().is_ipv4() == v4);
    let served = |v4| serves(v4).then(|| "sdwan.subnets".to_owned());
    let interfaces: Vec<_> = sdwan.uplink.iter().filter_map(|uplink| uplink.interface.clone()).collect();
    // All the Internet behind a tunnel: what comes by the uplink the kernel would answer by the tunnel.
    let peers =
        sdwan.peer.iter().enumerate().map(|(at, peer)| (format!("sdwan.peer[{at}].allowed_ips"), &peer.allowed_ips));
    let sites = sdwan.site.iter().enumerate().map(|(at, site)| (format!("sdwan.site[{at}].subnets"), &site.subnets));
    let all = peers.chain(sites).find(|(_, networks)| networks.iter().any(|net| net.length() == 0));
    let several = (interfaces.len() > 1).then(|| "sdwan.uplink".to_owned());
    demand.tunnels = Some(Tunnels {
        service: SDWAN,
        buffers: vec![
            (Direction::In, buffer("receive_buffer", tunnel.receive_buffer.get())),
            (Direction::Out, buffer("send_buffer", tunnel.send_buffer.get())),
        ],
        served_v4: served(true),
        served_v6: served(false),
        interfaces,
        crossing: all.map(|(key, _)| key).or(several),
    });
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn demand(text: &str) -> Demand {
        let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
        of(&load::<Settings>(sources).map_err(|faults| faults.render(false)).unwrap().value)
    }

    #[test]
    fn what_is_not_turned_on_asks_for_nothing() {
        let none = demand("");
        assert!(none.accepting.is_empty() && none.datagrams.is_empty() && none.disks.is_empty() && !none.programs);
        assert!(none.backlogs.is_empty() && none.descriptors.is_empty());
        assert_eq!(none.ports, [(8067, ADMIN)]);
    }

    #[test]
    fn each_service_asks_for_what_its_settings_say() {
        let site = demand(
            "[[front.listener]]\naddress = '127.0.0.1:8080'\nbacklog = 9000\n[front.limits]\nmax_connections = 5\n\
             [[front.route]]\npath = '/'\nrespond = { body = 'x' }\n",
        );
        assert_eq!((site.accepting, site.opening), (vec![WEB], vec![]));
        assert_eq!(site.ports, [(8067, ADMIN), (8080, WEB)]);
        assert_eq!(site.backlogs, [asked("front.listener[0].backlog".into(), 9000, WEB)]);
        assert_eq!(site.descriptors, [asked("front.limits.max_connections".into(), 5, WEB)]);
        let proxy = demand(
            "[[proxy.listener]]\naddress = ['127.0.0.1:53']\nprotocol = 'udp'\npool = 'dns'\nreceive_buffer = '64MiB'\nforwarding = 'nat'\n\
             [proxy.pool.dns]\nbackend = [{ url = 'udp://192.0.2.1:53' }]\n\
             [proxy.acceleration]\ntiers = ['xdp']\ninterfaces = ['eth0.100']\n[proxy.limits]\nmax_connections = 7\n",
        );
        assert_eq!((proxy.datagrams, proxy.opening, proxy.programs), (vec![PROXY], vec![PROXY], true));
        assert_eq!(proxy.receive_buffers, [asked("proxy.listener[0].receive_buffer".into(), 32 << 20, PROXY)]);
        assert_eq!(proxy.forwarding, [("eth0.100".parse().unwrap(), "ipv4")]);
        assert_eq!(proxy.descriptors, [asked("proxy.limits.max_connections".into(), 14, PROXY)]);
        assert_eq!(proxy.ports, [(8067, ADMIN), (53, PROXY)]);
        let pool = demand(
            "[proxy.pool.app]\nbackend = [{ url = 'http://192.0.2.1' }]\nconnections = { send_buffer = '1MiB' }\n",
        );
        assert_eq!(pool.send_buffers, [asked("proxy.pool.app.connections.send_buffer".into(), 512 << 10, PROXY)]);
        let dhcp = demand(
            "[dhcp]\ninterfaces = ['lan']\n[[dhcp.subnet]]\nid = 1\nprefix = '10.0.0.0/16'\n\
             [[dhcp.subnet]]\nid = 2\nprefix = '10.1.0.0/16'\nrelay = ['10.0.0.2']\n",
        );
        assert_eq!((dhcp.datagrams, dhcp.disks), (vec![DHCP], vec![DHCP]));
        assert_eq!(dhcp.neighbours, Some(asked("dhcp.subnet".into(), 65_536, DHCP)));
        let pages = demand("[proxy.acceleration]\ntiers = ['dpdk']\ndpdk = { vdevs = ['net_null0'], memory = 1001 }\n");
        assert_eq!(pages.pages, Some(asked("proxy.acceleration.dpdk.memory".into(), 501, PROXY)));
    }
    #[test]
    fn tunnels_ask_for_what_their_networks_and_uplinks_take() {
        let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let uplinks = "[[sdwan.uplink]]\nname = 'dsl'\ninterface = 'eth0'\n[[sdwan.uplink]]\nname = 'lte'\ninterface = 'wwan0'\nlisten = ['[::]:51821']\n";
        let site =
            demand(&format!("[sdwan]\nsubnets = ['10.1.0.0/16']\n[sdwan.tunnel]\nreceive_buffer = '64MiB'\n{uplinks}"));
        assert_eq!(site.datagrams, [SDWAN]);
        assert_eq!(site.ports, [(8067, ADMIN), (51820, SDWAN), (51821, SDWAN)]);
        let tunnels = site.tunnels.unwrap();
        let receive = asked("sdwan.tunnel.receive_buffer".into(), 64 << 20, SDWAN);
        assert_eq!(tunnels.buffers[0], (Direction::In, receive));
        assert_eq!((tunnels.served_v4.as_deref(), tunnels.served_v6), (Some("sdwan.subnets"), None));
        assert_eq!((tunnels.interfaces.len(), tunnels.crossing.as_deref()), (2, Some("sdwan.uplink")));
        let all = demand(&format!(
            "[[sdwan.uplink]]\nname = 'dsl'\n[[sdwan.peer]]\npublic_key = '{key}'\nallowed_ips = ['::/0', '0.0.0.0/0']\n"
        ));
        assert_eq!(all.tunnels.unwrap().crossing.as_deref(), Some("sdwan.peer[0].allowed_ips"));
        assert!(demand("").tunnels.is_none());
    }
}
