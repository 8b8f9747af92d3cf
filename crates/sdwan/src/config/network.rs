//! What a controller says of the network, in the words of the configuration, and how it lies over what a site's own file says.
//!
//! What the network is (sites, classes, applications, policies, what uplinks are worth) is the controller's word. Settings that it has for all sites are theirs to say otherwise: what
//! a site's own file says counts there.

use std::collections::{BTreeMap, BTreeSet};

use outwork_config::expansion::{at, join_key};
use outwork_config::{At, Fault, Faults, Sources, load, section};

use super::partial::Partial;
use super::policy::{self, ApplicationSettings, ClassSettings, PolicySettings};
use super::qos::{self, Amount, QosClass, QosSettings};
use super::{CarrierKind, HealthSettings, Sdwan, SiteSettings, Uplink, together};

section! {
    /// What a controller says of the network that sites are in.
    pub struct NetworkSettings {
        /// All sites, each with the uplinks that it has.
        pub site: Vec<SiteSettings>,
        /// Sites of which it is said which networks are behind them, be that none.
        pub stated: Vec<String>,
        /// Classes of traffic, by name.
        pub class: BTreeMap<String, ClassSettings>,
        /// Applications, by name.
        pub application: BTreeMap<String, ApplicationSettings>,
        /// Policies.
        pub policy: Vec<PolicySettings>,
        /// How paths are watched, where a site's own file does not say it.
        pub health: Partial<HealthSettings>,
        /// The class of flows that no policy says anything of, where a site's own file does not say it.
        pub default_class: Option<String>,
        /// How uplinks are shaped, where a site's own file does not say it.
        pub qos: SharedQos,
    }
    check network;
}

section! {
    /// What of the shaping of uplinks is said for all sites.
    pub struct SharedQos {
        /// Classes, by their names.
        pub class: BTreeMap<String, Partial<QosClass>>,
    }
}

/// Keys below `sdwan` that a site's own file says, or a variable or a flag: what is said for all sites does not touch them.
#[derive(Debug, Clone, Default)]
pub struct Written(BTreeSet<String>);

impl Written {
    /// These, such as `health.fast`.
    pub fn new(keys: impl IntoIterator<Item = String>) -> Written {
        Written(keys.into_iter().collect())
    }

    fn has(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

impl NetworkSettings {
    /// Takes the place of what `settings` say of other sites, of classes, applications and policies, as the site `own` sees it. What its own uplinks are worth is what is said here,
    /// for the other ends of its paths go by that; networks that are said to be behind it take the place of its own, and it is a hub if either says so. Of what is said for all
    /// sites, what is `written` in the site's own file stays.
    ///
    /// # Errors
    /// What of that makes no sense beside what is written. It stays as the file has it then, and all else is done.
    pub fn put_over(self, own: &str, settings: &mut Sdwan, written: &Written) -> Result<(), Vec<String>> {
        let NetworkSettings { site, stated, class, application, policy, health, default_class, qos } = self;
        let (here, others): (Vec<_>, Vec<_>) = site.into_iter().partition(|site| site.name == own);
        if let Some(here) = here.into_iter().next() {
            settings.hub |= here.hub;
            if stated.iter().any(|name| name == own) {
                settings.subnets = here.subnets;
            }
            for said in here.uplink {
                if let Some(uplink) = settings.uplink.iter_mut().find(|uplink| uplink.name == said.name) {
                    uplink.cost = said.cost;
                    // 0 is that nobody has said it there: then the site says it to the controller, and is shaped by it meanwhile.
                    uplink.bandwidth = if said.bandwidth > 0 { said.bandwidth } else { uplink.bandwidth };
                    uplink.metered = said.metered;
                    uplink.backup = said.backup;
                }
            }
        }
        settings.site = others.into_iter().filter(|site| !site.uplink.is_empty()).collect();
        settings.class = class;
        settings.application = application;
        settings.policy = policy;
        if let Some(class) = default_class.filter(|_| !written.has("default_class")) {
            settings.default_class = class;
        }
        if !settings.classes().iter().any(|(name, _)| *name == settings.default_class) {
            settings.default_class = Sdwan::default().default_class;
        }
        let mut odd = vec![];
        match health.over(&settings.health, |key| written.has(&join_key("health", key))) {
            Ok(health) => settings.health = health,
            Err(faults) => odd.extend(told(&faults, |key| format!("sdwan.health.{key}"))),
        }
        for (name, said) in qos.class {
            let place = join_key("qos.class", &name);
            let has = |key: &str| written.has(&join_key(&place, key));
            // One of the two is said of a class, and a file that says the other means that.
            let is_sized = has("share") || has("rate");
            let stays = |key: &str| has(key) || is_sized && ["share", "rate"].contains(&key);
            let before = settings.qos.class.get(&name).cloned().unwrap_or_default();
            match said.over(&before, stays) {
                Ok(class) => drop(settings.qos.class.insert(name, class)),
                Err(faults) => odd.extend(told(&faults, |key| format!("sdwan.{}", join_key(&place, key)))),
            }
        }
        if odd.is_empty() { Ok(()) } else { Err(odd) }
    }
}

/// Faults in a sentence each, by the keys that `place` gives them.
fn told(faults: &Faults, place: impl Fn(&str) -> String) -> Vec<String> {
    faults.iter().map(|fault| format!("{}: {}", place(fault.key()), fault.found())).collect()
}

/// Of the settings of a site over which a controller's word lies, what of the site's own file does not go together with that word.
///
/// # Errors
/// Each of them.
pub fn clashes(settings: &Sdwan) -> Result<(), Vec<String>> {
    // As if all of it stood in the file. But policies are the network's and name uplinks of any site; and what is within what is within one network, its controller has let in.
    let mut whole = Sdwan { controller: None, ..settings.clone() };
    let uplinks: BTreeSet<String> = whole.uplink.iter().map(|uplink| uplink.name.clone()).collect();
    whole.policy.iter_mut().for_each(|policy| policy.uplinks.retain(|name| uplinks.contains(name)));
    whole.subnets.retain(|own| settings.site.iter().any(|site| site.subnets.contains(own)));
    // Where no uplink can be shaped yet, nothing is in the way of anything.
    whole.qos.enabled &= !whole.shaped_uplinks().is_empty();
    // Lies in no file.
    let nothing = load::<Sdwan>(Sources::default()).map_err(|faults| told(&faults, str::to_owned))?;
    let mut faults = nothing.faults();
    super::sdwan(&whole, &mut at(nothing.root(), &mut faults));
    let by_name = |key: &str| {
        let of_site = key.strip_prefix("site[").and_then(|rest| rest.split_once(']'));
        let site = of_site.and_then(|(index, rest)| Some((whole.site.get(index.parse::<usize>().ok()?)?, rest)));
        site.map_or_else(
            || format!("sdwan.{key}"),
            |(site, rest)| format!("site {}{}", site.name, rest.replace('.', " ")),
        )
    };
    faults.or(()).map_err(|faults| told(&faults, by_name))
}

/// An uplink that is known by its name alone: for policies that name it.
fn named(name: &str) -> Uplink {
    Uplink {
        name: name.to_owned(),
        interface: None,
        listen: vec![],
        private_key: None,
        private_key_file: None,
        endpoint: None,
        carrier: CarrierKind::Process,
        cost: 0,
        bandwidth: 0,
        metered: false,
        backup: false,
    }
}

fn network(network: &NetworkSettings, at: &mut At<'_>) {
    for (index, site) in network.site.iter().enumerate() {
        if let Some(fault) = policy::unfit(&site.name) {
            at.fault(&format!("site[{index}].name"), fault);
        }
        for (place, uplink) in site.uplink.iter().enumerate() {
            if let Some(fault) = policy::unfit(&uplink.name) {
                at.fault(&format!("site[{index}].uplink[{place}].name"), fault);
            }
        }
    }
    // Each site has policies of the network: an uplink is one of any of them.
    let names: BTreeSet<&str> = network.site.iter().flat_map(|site| &site.uplink).map(|it| it.name.as_str()).collect();
    let whole = Sdwan {
        uplink: names.into_iter().map(named).collect(),
        site: network.site.clone(),
        class: network.class.clone(),
        application: network.application.clone(),
        policy: network.policy.clone(),
        default_class: network.default_class.clone().unwrap_or_else(|| Sdwan::default().default_class),
        qos: shared(&network.qos),
        ..Sdwan::default()
    };
    together(&whole, at);
    policy::check(&whole, at);
    qos::check(&whole, at);
    let shares = whole.shaped_classes().into_iter().map(|class| match class.rate {
        Amount::Share(share) => share,
        Amount::Rate(_) => 0.0,
    });
    let all: f64 = shares.sum();
    if all > 1.0 + f64::EPSILON * 8.0 {
        let fault = Fault::new(format!("classes may always have {:.0} % of any uplink", all * 100.0));
        let fault = fault.expected("no more than all of it; by default control has 0.05 of it, voice 0.2, video 0.3, transactional 0.2, bulk 0.1");
        at.fault("qos.class", fault.help("lower the share of some"));
    }
}

/// The shaping of a site whose own file says nothing of it.
fn shared(qos: &SharedQos) -> QosSettings {
    // What makes no sense alone was told when it was read.
    let class = |said: &Partial<QosClass>| said.over(&QosClass::default(), |_| false).unwrap_or_default();
    let class = qos.class.iter().map(|(name, said)| (name.clone(), class(said))).collect();
    QosSettings { class, ..QosSettings::default() }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn read<T: outwork_config::Section>(text: &str) -> T {
        load(Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() }).unwrap().value
    }

    #[test]
    fn what_a_controller_says_takes_the_place_of_what_the_file_says_and_the_rest_stays() {
        let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let mut settings: Sdwan = read(
            "subnets = ['10.9.0.0/16']\ndefault_class = 'old'\n[tunnel]\nmtu = 1400\n[class.old]\n[[policy]]\nname = 'old'\n\
             [[uplink]]\nname = 'fibre'\n",
        );
        let network: NetworkSettings = read(&format!(
            "stated = ['here']\n[[site]]\nname = 'here'\nhub = true\nsubnets = ['10.1.0.0/16']\n[[site]]\nname = 'empty'\n[[site]]\nname = 'far'\n\
             [[site.uplink]]\nname = 'dsl'\npublic_key = '{key}'\n[[policy]]\nname = 'new'\n"
        ));
        network.put_over("here", &mut settings, &Written::default()).unwrap();
        let sites: Vec<_> = settings.site.iter().map(|site| site.name.as_str()).collect();
        assert_eq!((sites.as_slice(), settings.subnets[0].to_string().as_str()), (&["far"][..], "10.1.0.0/16"));
        assert_eq!((settings.policy[0].name.as_str(), settings.default_class.as_str()), ("new", "bulk"));
        assert_eq!((settings.tunnel.mtu, settings.uplink.len(), settings.hub), (1400, 1, true));
    }

    fn far(name: &str, octet: u8) -> String {
        let key = outwork_wireguard::PublicKey([octet; 32]);
        format!(
            "[[site]]\nname = '{name}'\nsubnets = ['10.{octet}.0.0/16']\n[[site.uplink]]\nname = 'lte'\npublic_key = '{key}'\nendpoint = '192.0.2.{octet}:51820'\n"
        )
    }

    #[test]
    fn what_an_uplink_is_worth_is_the_same_at_both_ends_of_its_paths() {
        use crate::control::Plan;
        use crate::plan::Numbers;
        let said = format!(
            "{}cost = 50\nbandwidth = 1000\nmetered = true\nbackup = true\n{}",
            far("north", 1),
            far("south", 2)
        );
        let path = |own: &str, file: &str| {
            let mut settings: Sdwan = read(&format!("[[uplink]]\nname = 'lte'\nendpoint = '192.0.2.9:51820'\n{file}"));
            read::<NetworkSettings>(&said).put_over(own, &mut settings, &Written::default()).unwrap();
            let network = Plan::of(&settings, &mut Numbers::default()).sites.unwrap().network;
            let (paths, _) = crate::engine::site::paths(&network.own, &network.sites);
            let path = paths[0];
            (path.cost, path.bandwidth, path.metered, path.backup)
        };
        assert_eq!(path("north", ""), (50, 1000, true, true));
        let north = path("north", "cost = 7\nbandwidth = 9");
        assert_eq!(north, path("south", ""), "whatever the file of one says");
    }

    #[test]
    fn what_the_controller_says_an_uplink_is_worth_needs_no_restart_and_all_else_of_it_does() {
        let with = |more: &str| read::<Sdwan>(&format!("[[uplink]]\nname = 'lte'\n{more}"));
        let worth = with("cost = 9\nbandwidth = 7\nmetered = true\nbackup = true\n");
        let changes = outwork_config::diff(&with(""), &worth);
        assert!(changes.len() == 4 && changes.iter().all(|change| change.live), "{changes:?}");
        for more in ["listen = ['0.0.0.0:51821']", "interface = 'lan7'", "endpoint = '192.0.2.1:1'"] {
            assert!(outwork_config::diff(&with(""), &with(more)).iter().all(|change| !change.live), "{more}");
        }
        let two = with("[[uplink]]\nname = 'dsl'\nlisten = ['0.0.0.0:51821']\n");
        assert!(outwork_config::diff(&with(""), &two).iter().all(|change| !change.live));
    }

    #[test]
    fn networks_that_are_said_to_be_none_are_none_and_those_that_nobody_speaks_of_stay() {
        let of = |stated: &str| {
            let mut settings: Sdwan = read("subnets = ['10.9.0.0/16']\n[[uplink]]\nname = 'lte'\n");
            let network: NetworkSettings = read(&format!("{stated}[[site]]\nname = 'here'\n"));
            network.put_over("here", &mut settings, &Written::default()).unwrap();
            settings.subnets.len()
        };
        assert_eq!((of(""), of("stated = ['here']\n")), (1, 0));
    }

    #[test]
    fn what_is_said_for_all_sites_counts_where_their_own_files_say_nothing() {
        let file = "[health]\nmisses = 5\n[qos.class.voice]\nshare = 0.3\n[[uplink]]\nname = 'lte'\n";
        let said = "default_class = 'gold'\n[class.gold]\n[health]\nmisses = 7\nfast = '50ms'\n\
                    [qos.class.voice]\nrate = 64000\npriority = 2\n[qos.class.gold]\nshare = 0.05\n";
        let with = |written: &[&str]| {
            let mut settings: Sdwan = read(file);
            let written = Written::new(written.iter().map(|key| (*key).to_owned()));
            read::<NetworkSettings>(said).put_over("here", &mut settings, &written).unwrap();
            let voice = settings.qos.class["voice"].clone();
            let health = (settings.health.misses, settings.health.fast.as_millis());
            (health, settings.default_class.clone(), (voice.share, voice.rate, voice.priority), settings)
        };
        let (health, class, voice, settings) = with(&["health.misses", "qos.class.voice.share"]);
        assert_eq!((health, class.as_str(), voice), ((5, 50), "gold", (Some(0.3), None, Some(2))));
        assert_eq!(settings.qos.class["gold"].share, Some(0.05));
        assert_eq!(settings.health.interval, HealthSettings::default().interval, "what nobody says is as it was");
        let (health, class, ..) = with(&["default_class", "health.fast", "qos.class.voice.share"]);
        assert_eq!((health.0, class.as_str()), (7, "bulk"));
    }

    #[test]
    fn what_a_file_and_the_controller_say_is_looked_at_together() {
        let peer = |network: &str| {
            let key = outwork_wireguard::PublicKey([9; 32]);
            format!("[[peer]]\npublic_key = '{key}'\nallowed_ips = ['{network}']\n")
        };
        let with = |top: &str, file: &str, more: &str| {
            let mut settings: Sdwan = read(&format!(
                "{top}default_class = 'gold'\n[controller]\naddress = ['192.0.2.1:8068']\n[[uplink]]\nname = 'lte'\n{file}"
            ));
            let said: NetworkSettings = read(&format!("{}{}{more}", far("north", 1), far("south", 2)));
            let all = Written::new(["default_class".to_owned()]);
            said.put_over("north", &mut settings, &all).unwrap();
            clashes(&settings)
        };
        assert_eq!(with("", &peer("10.7.0.0/16"), ""), Ok(()));
        let told = with("", &peer("10.2.0.0/16"), "").unwrap_err();
        assert!(told[0].contains("site south") && told[0].contains("10.2.0.0/16 is behind a peer"), "{told:?}");
        // Policies of the network name uplinks of other sites, and networks lie within each other.
        let policy = "[[policy]]\nname = 'a'\nstrategy = 'ordered'\nuplinks = ['lte']\n[class.gold]\n";
        assert_eq!(with("", "[qos.class.gold]\nshare = 0.1\n", policy), Ok(()));
        assert_eq!(with("subnets = ['10.0.0.0/8']\n", "", ""), Ok(()));
        // A class that nobody has by now.
        let told = with("", "[qos.class.gold]\nshare = 0.1\n", "").unwrap_err();
        assert!(told[0].contains("sdwan.qos.class.gold"), "{told:?}");
    }

    #[test]
    fn a_file_may_name_classes_that_only_its_controller_has() {
        let text = "default_class = 'gold'\n[qos.class.gold]\nshare = 0.1\n[[uplink]]\nname = 'lte'\n";
        let load = |text: &str| {
            load::<Sdwan>(Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() })
        };
        assert_eq!(load(text).unwrap_err().len(), 2);
        let followed = load(&format!("{text}[controller]\naddress = ['192.0.2.1:8068']\n")).unwrap();
        assert_eq!(followed.warnings().len(), 2);
    }
}
