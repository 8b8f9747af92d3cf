//! Interfaces that are cables to other namespaces (veth), and ways of forwarding that lose packets there: a tier is not taken for those.

use std::collections::BTreeSet;

use outwork_fastpath::kernel::attach::index_of;
use outwork_fastpath::machine::features::features;
use outwork_fastpath::machine::interface::Device;
use outwork_fastpath::{Mode, Tier};

/// What was tried, or was not for what it would lose, and why.
pub(super) type Barred = Vec<(String, String)>;

/// The cables among interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cables {
    all: BTreeSet<String>,
    /// Those that lose what programs in the driver send out by them.
    deaf: BTreeSet<String>,
}

impl Cables {
    /// Asks the drivers. Kernels before 6.3 do not say what a cable takes; there `outwork tiers` does not know either.
    pub(super) fn look<'a>(interfaces: impl Iterator<Item = &'a str>) -> Cables {
        let is_cable = |name: &&str| Device::ask(name).driver.as_deref() == Some("veth");
        let all: BTreeSet<String> = interfaces.filter(is_cable).map(str::to_owned).collect();
        let said = if all.is_empty() { None } else { features().ok() };
        let is_deaf = |name: &&String| {
            let said = said.as_ref().zip(index_of(name)).and_then(|(said, index)| said.get(&index));
            said.is_some_and(|features| !features.takes_frames())
        };
        let deaf = all.iter().filter(is_deaf).cloned().collect();
        Cables { all, deaf }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those of these ways that lose nothing on an interface, and why the others are left out. What was asked for by name is not.
    pub(super) fn allow(&self, interface: &str, ways: &[Tier]) -> (Vec<Tier>, Barred) {
        let skb_is_asked = !ways.iter().any(|way| matches!(way, Tier::Xdp(Mode::Native | Mode::Hardware)));
        let (mut allowed, mut barred) = (Vec::new(), Barred::new());
        for way in ways {
            let loss = match way {
                Tier::Xdp(Mode::Native) => self.deafness(),
                Tier::Xdp(Mode::Skb) if !skb_is_asked => self.joined(interface),
                _ => None,
            };
            match loss {
                None => allowed.push(*way),
                Some(why) => barred.push((way.to_string(), why)),
            }
        }
        (allowed, barred)
    }

    /// The same of the program that gives frames to sockets.
    pub(super) fn allow_modes(&self, interface: &str, modes: &[Mode]) -> Vec<Mode> {
        let loses = |mode: &Mode| *mode == Mode::Skb && modes.len() > 1 && self.joined(interface).is_some();
        modes.iter().copied().filter(|mode| !loses(mode)).collect()
    }

    /// Why nothing sends frames out from the driver: of any interface, for they leave by these.
    fn deafness(&self) -> Option<String> {
        let names: Vec<&str> = self.deaf.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| {
            format!(
                "what programs in the driver send out by {} is lost, for the other end of that veth does not receive by NAPI: `ethtool -K INTERFACE gro on` there",
                names.join(", ")
            )
        })
    }

    /// What is lost behind the driver of a cable.
    pub(super) fn joined(&self, interface: &str) -> Option<String> {
        self.all.contains(interface).then(|| {
            "behind the driver (skb) runs of segments come joined from the other end of this veth, and are lost: `ethtool -K INTERFACE tx off` there; mode = \"skb\" asks for it all the same"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATIVE: Tier = Tier::Xdp(Mode::Native);
    const SKB: Tier = Tier::Xdp(Mode::Skb);

    fn cables(all: &[&str], deaf: &[&str]) -> Cables {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Cables { all: names(all), deaf: names(deaf) }
    }

    #[test]
    fn a_way_that_loses_packets_on_a_cable_is_left_out_with_its_reason() {
        let all = [NATIVE, SKB, Tier::Tc];
        let (ways, barred) = cables(&["b1"], &[]).allow("b1", &all);
        assert_eq!((ways, barred[0].0.as_str()), (vec![NATIVE, Tier::Tc], "xdp-skb"));
        let deaf = cables(&["b1", "b2"], &["b2"]);
        let (ways, barred) = deaf.allow("b1", &all);
        assert_eq!(ways, [Tier::Tc]);
        assert!(barred[0].0 == "xdp-native" && barred[0].1.contains("send out by b2 is lost"), "{barred:?}");
        assert_eq!(deaf.allow("eth0", &all).0, [SKB, Tier::Tc], "what comes in by a card leaves by the cable, too");
    }

    #[test]
    fn cards_are_left_alone_and_what_is_asked_for_by_name_is_taken() {
        let all = [NATIVE, SKB, Tier::Tc];
        assert_eq!(Cables::default().allow("eth0", &all), (all.to_vec(), Barred::new()));
        assert_eq!(cables(&["b1"], &["b1"]).allow("b1", &[SKB, Tier::Tc]).0, [SKB, Tier::Tc]);
        let modes = [Mode::Native, Mode::Skb];
        assert_eq!(cables(&["b1"], &[]).allow_modes("b1", &modes), [Mode::Native]);
        assert_eq!(cables(&["b1"], &[]).allow_modes("b1", &[Mode::Skb]), [Mode::Skb]);
        assert_eq!(Cables::default().allow_modes("eth0", &modes), modes);
    }
}
