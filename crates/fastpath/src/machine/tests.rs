use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::interface::Works;
use super::sriov::{Functions, SriovError};
use super::tiers::{Kind, assess};
use super::*;
use crate::kernel::Mode;
use crate::kernel::attach::{Families, concerns};

/// A machine in a directory.
struct Made {
    directory: tempfile::TempDir,
}

impl Made {
    fn new() -> Made {
        let made = Made { directory: tempfile::tempdir().unwrap() };
        made.put("proc/sys/kernel/osrelease", "6.18.5\n");
        made
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// An interface with a queue each way.
    fn interface(&self, name: &str, index: u32, kind: u32) {
        for (file, text) in [("ifindex", index), ("mtu", 1500), ("type", kind)] {
            self.put(&format!("sys/class/net/{name}/{file}"), &format!("{text}\n"));
        }
        self.put(&format!("sys/class/net/{name}/flags"), "0x1003\n");
        for queue in ["rx-0", "rx-1", "tx-0"] {
            std::fs::create_dir_all(self.path(&format!("sys/class/net/{name}/queues/{queue}"))).unwrap();
        }
    }

    /// The card of an interface, which can have so many virtual functions.
    fn card(&self, name: &str, bus: &str, total: u32) -> PathBuf {
        let card = self.path(&format!("sys/devices/{bus}"));
        std::fs::create_dir_all(&card).unwrap();
        std::os::unix::fs::symlink(&card, self.path(&format!("sys/class/net/{name}/device"))).unwrap();
        self.put(&format!("sys/devices/{bus}/sriov_totalvfs"), &format!("{total}\n"));
        self.put(&format!("sys/devices/{bus}/sriov_numvfs"), "0\n");
        card
    }

    fn roots(&self) -> Roots {
        Roots { sysfs: self.path("sys"), procfs: self.path("proc") }
    }

    fn look(&self, answers: &Answers) -> Machine {
        Machine::look(&self.roots(), answers)
    }
}

/// A kernel that takes everything, and drivers that do all of `features`.
fn answers(features: Option<u64>) -> Answers {
    Answers {
        programs: Ok(()),
        sockets: Ok(()),
        dpdk: Ok(()),
        features: features.map(|features| (1..10).map(|index| (index, Features(features))).collect()),
        device: Box::new(|name| {
            let driver = if name.starts_with("veth") { "veth" } else { "ixgbe" };
            Device {
                driver: Some(driver.to_owned()),
                gro: Some(true),
                lro: Some(name == "lan0"),
                tx_checksums: Some(true),
            }
        }),
    }
}

fn why_not(machine: &Machine, kind: Kind) -> Option<String> {
    assess(machine).into_iter().find(|one| one.kind == kind).unwrap().why_not
}

fn remark(machine: &Machine, kind: Kind) -> String {
    assess(machine).into_iter().find(|one| one.kind == kind).unwrap().remark.unwrap()
}

#[test]
fn an_interface_is_told_with_its_driver_queues_and_modes() {
    let made = Made::new();
    made.interface("lan0", 2, 1);
    made.card("lan0", "0000:02:00.0", 0);
    let machine = made.look(&answers(Some(0b111)));
    let [lan] = machine.interfaces.as_slice() else { panic!("{machine:?}") };
    assert_eq!((machine.kernel.as_str(), lan.name.as_str(), lan.index, lan.mtu), ("6.18.5", "lan0", 2, 1500));
    assert_eq!((lan.device.driver.as_deref(), lan.bus.as_deref()), (Some("ixgbe"), Some("0000:02:00.0")));
    assert_eq!((lan.receive_queues, lan.transmit_queues, lan.is_up, lan.is_loopback), (2, 1, true, false));
    let [(Mode::Hardware, Works::No(why)), (Mode::Native, Works::Yes), (Mode::Skb, Works::Yes)] = &lan.modes() else {
        panic!("{:?}", lan.modes())
    };
    assert_eq!(why, "its driver (ixgbe) runs no programs on the card");
    assert!(lan.concerns()[0].contains("`ethtool -K lan0 lro off`"), "{:?}", lan.concerns());
    assert_eq!(lan.functions, None, "a card that can have none has none");
    let unsaid = made.look(&answers(None));
    assert!(matches!(unsaid.interfaces[0].modes()[1], (Mode::Native, Works::Perhaps(_))));
}

#[test]
fn what_stands_in_the_way_of_an_interface_is_said_with_what_to_do() {
    let made = Made::new();
    made.interface("veth0", 3, 1);
    let said = |features| made.look(&answers(Some(features))).interfaces[0].loses_frames();
    assert!(said(0b11).is_some_and(|said| said.contains("gro on")));
    assert_eq!(said(0b111), None, "the other end receives by NAPI");
}

#[test]
fn forwarding_that_is_off_is_told_of_for_the_versions_of_ip_that_are_passed_on() {
    let made = Made::new();
    made.put("proc/sys/net/ipv4/conf/lan0.7/forwarding", "0\n");
    made.put("proc/sys/net/ipv6/conf/lan0.7/forwarding", "0\n");
    made.put("proc/sys/net/ipv4/conf/lan1/forwarding", "1\n");
    let told = |name: &str, addresses: &[&str]| {
        let families: Families = addresses.iter().map(|address| address.parse::<IpAddr>().unwrap()).collect();
        concerns(&made.roots().procfs, name, families)
    };
    let said = told("lan0.7", &["192.0.2.1"]);
    assert_eq!(
        said,
        [
            "`net.ipv4.conf.lan0/7.forwarding` is 0: the kernel does not route what comes in here, for forwarding is off \
          (`sysctl -w net.ipv4.conf.lan0/7.forwarding=1`)"
        ]
    );
    let both = told("lan0.7", &["192.0.2.1", "2001:db8::1"]);
    assert!(both.len() == 2 && both[1].starts_with("`net.ipv6.conf.lan0/7.forwarding` is 0"), "{both:?}");
    assert!(told("lan0.7", &[]).is_empty() && told("lan1", &["192.0.2.1", "2001:db8::1"]).is_empty());
}

#[test]
fn every_tier_can_be_had_or_says_what_is_in_the_way() {
    let bare = Made::new();
    bare.interface("lo", 1, 772);
    let nothing = Answers {
        programs: Err("the kernel does not take the programs: Operation not permitted".to_owned()),
        sockets: Err("no socket".to_owned()),
        dpdk: Err("this build has no DPDK".to_owned()),
        ..answers(Some(0))
    };
    let machine = bare.look(&nothing);
    for (kind, why) in [
        (Kind::Dpdk, Some("this build has no DPDK")),
        (Kind::Xdp, Some("Operation not permitted")),
        (Kind::AfXdp, Some("Operation not permitted")),
        (Kind::SrIov, Some("no card here has virtual functions")),
        (Kind::Tc, Some("Operation not permitted")),
        (Kind::Application, None),
        (Kind::Sockets, None),
    ] {
        let said = why_not(&machine, kind);
        assert_eq!(said.is_some(), why.is_some(), "{kind:?} {said:?}");
        assert!(said.unwrap_or_default().contains(why.unwrap_or_default()), "{kind:?}");
    }
    let alone = bare.look(&answers(Some(0)));
    assert_eq!(why_not(&alone, Kind::Tc).as_deref(), Some("there is no interface but loopback"));
}

#[test]
fn what_can_be_had_is_told_with_how() {
    let made = Made::new();
    made.interface("eth0", 2, 1);
    made.card("eth0", "0000:02:00.0", 8);
    let machine = made.look(&answers(Some(0b1)));
    assert!(assess(&machine).iter().all(|one| one.why_not.is_none()), "{:?}", assess(&machine));
    assert_eq!(remark(&machine, Kind::Xdp), "every driver here runs programs itself");
    assert_eq!(remark(&machine, Kind::AfXdp), "every driver here copies frames");
    assert_eq!(remark(&machine, Kind::SrIov), "eth0: 0 of 8; there is no IOMMU, so that none can be handed to a guest");
    assert!(remark(&machine, Kind::Dpdk).starts_with("without huge pages"));
    made.put("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "1024\n");
    made.put("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "1000\n");
    made.put("sys/kernel/iommu_groups/0/type", "DMA\n");
    made.put("sys/bus/pci/drivers/vfio-pci/bind", "");
    let machine = made.look(&answers(Some(0b1001)));
    assert_eq!(remark(&machine, Kind::Dpdk), "with 1000 of 1024 pages of 2048 KiB free; cards by vfio-pci");
    assert_eq!(remark(&machine, Kind::SrIov), "eth0: 0 of 8");
    assert!(assess(&machine).iter().any(|one| one.kind == Kind::AfXdp && one.remark.is_none()));
}

#[test]
fn whether_the_kernel_makes_syn_cookies_is_told_of_the_tier_of_sockets() {
    let made = Made::new();
    let told = || assess(&made.look(&answers(None))).into_iter().find(|one| one.kind == Kind::Sockets).unwrap().remark;
    assert_eq!(told(), None, "a kernel that does not say");
    for (said, found, words) in [
        ("0\n", SynCookies::Off, "sysctl -w net.ipv4.tcp_syncookies=1"),
        ("1\n", SynCookies::OnDemand, "where a flood of SYN asks for them"),
        ("2\n", SynCookies::Always, "for every connection"),
    ] {
        made.put("proc/sys/net/ipv4/tcp_syncookies", said);
        assert_eq!(SynCookies::look(&made.roots()), Some(found));
        assert!(told().unwrap().contains(words), "{said}");
    }
}

/// Plays the kernel while `work` goes on: makes and removes virtual functions as `sriov_numvfs` says, and refuses what it would refuse.
fn with_a_kernel<T>(card: &Path, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut have = 0;
            while !done.load(Ordering::Relaxed) {
                let wanted = number(&card.join("sriov_numvfs")).unwrap_or(have);
                // From one number to another there is no way but by none.
                assert!(wanted == have || wanted == 0 || have == 0, "{have} became {wanted}");
                for at in wanted..have {
                    std::fs::remove_file(card.join(format!("virtfn{at}"))).unwrap();
                }
                for at in have..wanted {
                    let function = card.with_file_name(format!("0000:02:10.{at}"));
                    std::fs::create_dir_all(function.join(format!("net/eth0v{at}"))).unwrap();
                    std::os::unix::fs::symlink(&function, card.join(format!("virtfn{at}"))).unwrap();
                }
                have = wanted;
                std::thread::yield_now();
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })
}

#[test]
fn virtual_functions_are_made_become_others_and_are_removed() {
    let made = Made::new();
    made.interface("eth0", 2, 1);
    let card = made.card("eth0", "0000:02:00.0", 8);
    let roots = made.roots();
    with_a_kernel(&card, || {
        let four = Functions::set(&roots, "eth0", 4).unwrap();
        let names: Vec<_> = four.made.iter().map(|one| one.interface.clone().unwrap()).collect();
        assert_eq!(names, ["eth0v0", "eth0v1", "eth0v2", "eth0v3"]);
        assert_eq!((four.total, four.made[3].bus.as_str()), (8, "0000:02:10.3"));
        assert_eq!(Functions::of(&roots, "eth0").unwrap(), four);
        assert_eq!(Functions::set(&roots, "eth0", 2).unwrap().made.len(), 2);
        assert_eq!(Functions::set(&roots, "eth0", 0).unwrap().made, []);
    });
}

#[test]
fn a_card_without_virtual_functions_is_told_so_and_so_is_one_with_too_few() {
    let made = Made::new();
    made.interface("eth0", 2, 1);
    made.interface("eth1", 3, 1);
    made.card("eth0", "0000:02:00.0", 8);
    let roots = made.roots();
    let refused = |name: &str, count| Functions::set(&roots, name, count).unwrap_err().to_string();
    assert!(matches!(Functions::set(&roots, "eth9", 1), Err(SriovError::Unknown(_))));
    for way in ["../net/eth0", "./eth0", "..", ".", ""] {
        assert!(matches!(Functions::set(&roots, way, 1), Err(SriovError::Unknown(_))), "{way:?} is no name");
    }
    assert!(refused("eth1", 1).starts_with("`eth1` has no virtual functions"), "{}", refused("eth1", 1));
    assert_eq!(refused("eth0", 9), "`eth0` can have 8 virtual functions, and 9 are asked for");
}
