//! Uplinks that no path can be made of, as they have no address family in common with those that they would reach.

use std::net::SocketAddr;

use outwork_config::{Fault, HostPort};

use super::{CarrierKind, FarUplink, Sdwan, Uplink};

/// That are told of; where one file is wrong in one way, more say nothing more.
const MOST: usize = 32;

fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

/// Of who dials, the families are known when it has come.
fn meet(own: &Uplink, far: &FarUplink) -> bool {
    far.endpoint
        .as_ref()
        .and_then(HostPort::address)
        .is_none_or(|there| own.listen.iter().any(|here| here.is_ipv4() == there.is_ipv4()))
}

/// The key of each with a remark.
pub fn apart(sdwan: &Sdwan) -> Vec<(String, Fault)> {
    let own = || sdwan.uplink.iter().enumerate().filter(|(_, own)| own.carrier == CarrierKind::Process);
    let far = || {
        let all = sdwan.site.iter().enumerate();
        all.flat_map(|(site, of)| of.uplink.iter().enumerate().map(move |(place, far)| ((site, place), far)))
    };
    if own().next().is_none() || far().next().is_none() {
        return vec![];
    }
    let alone = own().filter(|(_, own)| !far().any(|(_, far)| meet(own, far))).map(|(place, own)| {
        let family = family(own.listen.iter().all(SocketAddr::is_ipv4));
        let found =
            format!("{} speaks {family} alone, and no uplink of another site does: no path goes by it", own.name);
        let help = "listen for the other family as well: [\"0.0.0.0:51820\", \"[::]:51820\"]";
        (format!("sdwan.uplink[{place}].listen"), Fault::new(found).help(help))
    });
    let unreached = far().filter(|(_, far)| !own().any(|(_, own)| meet(own, far)));
    let unreached = unreached.filter_map(|((site, place), far)| {
        let endpoint = far.endpoint.as_ref().and_then(HostPort::address)?;
        let (of, family) = (&sdwan.site.get(site)?.name, family(endpoint.is_ipv4()));
        let found = format!(
            "{of}/{} is at {endpoint}, and no uplink of this site speaks {family}: no path goes there",
            far.name
        );
        let help = format!("have an uplink listen at {} as well", if endpoint.is_ipv4() { "0.0.0.0" } else { "[::]" });
        Some((format!("sdwan.site[{site}].uplink[{place}].endpoint"), Fault::new(found).help(help)))
    });
    alone.chain(unreached).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn keys(text: &str) -> Vec<String> {
        let key = |octet: u8| outwork_wireguard::PublicKey([octet; 32]);
        let text = text.replace("KEY1", &key(1).to_string()).replace("KEY2", &key(2).to_string());
        let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
        let settings = load::<Sdwan>(sources).map_err(|faults| faults.render(false)).unwrap().value;
        apart(&settings).into_iter().map(|(key, _)| key).collect()
    }

    const FAR: &str = "[[site]]\nname = 'far'\n[[site.uplink]]\nname = 'a'\npublic_key = 'KEY1'\n";
    const OTHER: &str = "[[site.uplink]]\nname = 'b'\npublic_key = 'KEY2'\n";

    #[test]
    fn uplinks_without_a_family_in_common_with_any_are_told_of_at_both_ends() {
        let own = |listen: &str| format!("[[uplink]]\nname = 'wan'\nlisten = [{listen}]\n");
        let (v4, v6) = ("endpoint = '192.0.2.1:1'\n", "endpoint = '[2001:db8::1]:1'\n");
        let (only, both) = (own("'0.0.0.0:51820'"), own("'0.0.0.0:51820', '[::]:51820'"));
        let none: [&str; 0] = [];
        assert_eq!(keys(&only), none, "there is nobody");
        assert_eq!(keys(&format!("{only}{FAR}")), none, "it dials");
        assert_eq!(keys(&format!("{only}{FAR}{v4}")), none);
        assert_eq!(keys(&format!("{both}{FAR}{v6}")), none);
        assert_eq!(keys(&format!("{only}{FAR}{v6}")), ["sdwan.uplink[0].listen", "sdwan.site[0].uplink[0].endpoint"]);
        assert_eq!(keys(&format!("{only}{FAR}{v4}{OTHER}{v6}")), ["sdwan.site[0].uplink[1].endpoint"]);
        let second = "[[uplink]]\nname = 'six'\nlisten = ['[::]:51820']\n";
        assert_eq!(keys(&format!("{only}{second}{FAR}{v4}")), ["sdwan.uplink[1].listen"]);
        let kernels = "[[uplink]]\nname = 'six'\nlisten = ['[::]:51821']\ncarrier = 'auto'\n";
        assert_eq!(keys(&format!("{only}{kernels}{FAR}{v4}")), none, "no site is joined by that");
    }
}
