//! What a controller says of the network, in the words of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use outwork_config::{At, section};

use super::policy::{self, ApplicationSettings, ClassSettings, PolicySettings};
use super::{CarrierKind, Sdwan, SiteSettings, Uplink, together};

section! {
    /// What a controller says of the network that sites are in.
    pub struct NetworkSettings {
        /// All sites, each with the uplinks that it has.
        pub site: Vec<SiteSettings>,
        /// Classes of traffic, by name.
        pub class: BTreeMap<String, ClassSettings>,
        /// Applications, by name.
        pub application: BTreeMap<String, ApplicationSettings>,
        /// Policies.
        pub policy: Vec<PolicySettings>,
    }
    check network;
}

impl NetworkSettings {
    /// Takes the place of what `settings` say of other sites, of classes, applications and policies, as the site `own` sees it. Networks that are said to be behind it take the
    /// place of its own; it is a hub if either says so.
    pub fn put_over(self, own: &str, settings: &mut Sdwan) {
        let NetworkSettings { site, class, application, policy } = self;
        let (own, others): (Vec<_>, Vec<_>) = site.into_iter().partition(|site| site.name == own);
        if let Some(own) = own.into_iter().next() {
            settings.hub |= own.hub;
            if !own.subnets.is_empty() {
                settings.subnets = own.subnets;
            }
        }
        settings.site = others.into_iter().filter(|site| !site.uplink.is_empty()).collect();
        settings.class = class;
        settings.application = application;
        settings.policy = policy;
        if !settings.classes().iter().any(|(name, _)| *name == settings.default_class) {
            settings.default_class = Sdwan::default().default_class;
        }
    }
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
        ..Sdwan::default()
    };
    together(&whole, at);
    policy::check(&whole, at);
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
            "[[site]]\nname = 'here'\nhub = true\nsubnets = ['10.1.0.0/16']\n[[site]]\nname = 'empty'\n[[site]]\nname = 'far'\n\
             [[site.uplink]]\nname = 'dsl'\npublic_key = '{key}'\n[[policy]]\nname = 'new'\n"
        ));
        network.put_over("here", &mut settings);
        let sites: Vec<_> = settings.site.iter().map(|site| site.name.as_str()).collect();
        assert_eq!((sites.as_slice(), settings.subnets[0].to_string().as_str()), (&["far"][..], "10.1.0.0/16"));
        assert_eq!((settings.policy[0].name.as_str(), settings.default_class.as_str()), ("new", "bulk"));
        assert_eq!((settings.tunnel.mtu, settings.uplink.len(), settings.hub), (1400, 1, true));
    }
}
