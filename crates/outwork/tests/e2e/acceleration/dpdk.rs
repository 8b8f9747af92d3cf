//! Ports of DPDK that are left alone.

use super::Rooms;

#[test]
fn a_port_of_dpdk_that_the_mask_leaves_out_is_not_used() {
    let mut rooms = Rooms::new();
    let vdevs = ["c0", "b1", "b2"].iter().zip(0..).map(|(name, at)| format!("'net_af_packet{at},iface={name}'"));
    let vdevs = vdevs.collect::<Vec<_>>().join(", ");
    rooms.configure_alone(&format!(
        "tiers = ['dpdk']\ndpdk = {{ vdevs = [{vdevs}], port_mask = '0x5', interfaces = ['p0'], hugepages = false, memory = 256, \
         frames = 2047, eal = ['--log-level=error'] }}"
    ));
    rooms.site.start();
    let output = rooms.site.server.command("ip").arg("link").output().unwrap();
    let links = String::from_utf8_lossy(&output.stdout).into_owned();
    let there = ["p0:", "dpdk1:", "dpdk2:"].map(|name| links.contains(name));
    assert_eq!(there, [true, false, true], "{links}\n{}", rooms.site.log());
    rooms.site.terminate();
}
