use outwork_config::{Sources, load};

use super::*;

fn read(text: &str) -> Result<Sdwan, String> {
    let text = format!("{text}\n[[uplink]]\nname = 'wan'\n");
    let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
    load::<Sdwan>(sources).map(|read| read.value).map_err(|faults| faults.render(false))
}

fn site(name: &str, octet: u8, subnet: &str) -> String {
    let key = PublicKey([octet; 32]);
    format!("[[site]]\nname = '{name}'\nsubnets = ['{subnet}']\n[[site.uplink]]\nname = 'wan'\npublic_key = '{key}'\n")
}

#[test]
fn a_table_of_the_kernels_own_is_refused_as_that_of_tunnels() {
    let settings = read("").unwrap();
    assert_eq!((settings.tunnel.table, settings.tunnel.rule_priority), (51_857, 30_000));
    assert!(read("[tunnel]\ntable = 252").is_ok() && read("[tunnel]\ntable = 256").is_ok());
    for table in 253..=255 {
        let told = read(&format!("[tunnel]\ntable = {table}")).unwrap_err();
        assert!(told.contains("tunnel.table") && told.contains("a table of the kernel's own"), "{told}");
    }
    assert!(read("[tunnel]\nrule_priority = 32766").unwrap_err().contains("tunnel.rule_priority"));
}

#[test]
fn what_is_behind_this_site_is_behind_no_other_but_others_may_have_all_the_rest() {
    let with = |subnet: &str| read(&format!("subnets = ['10.2.0.0/16', 'fd02::/48']\n{}", site("far", 1, subnet)));
    for (subnet, said) in [
        ("10.2.0.0/16", "10.2.0.0/16 is one of the subnets of this site"),
        ("10.2.7.0/24", "10.2.7.0/24 is within 10.2.0.0/16, which is behind this site"),
        ("fd02:0:0:7::/64", "is within fd02::/48"),
    ] {
        let told = with(subnet).unwrap_err();
        assert!(told.contains("site[0].subnets[0]") && told.contains(said), "{told}");
    }
    for subnet in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "10.3.0.0/16", "fd02:0:1::/48"] {
        assert!(with(subnet).is_ok(), "{subnet}: {:?}", with(subnet));
    }
}

#[test]
fn a_network_is_behind_one_site_and_the_narrower_one_of_two_counts() {
    let two = |first, second| read(&(site("one", 1, first) + &site("two", 2, second)));
    let told = two("10.3.0.0/16", "10.3.0.0/16").unwrap_err();
    assert!(told.contains("site[1].subnets[0]") && told.contains("is behind site[0]"), "{told}");
    assert!(two("0.0.0.0/0", "10.3.0.0/16").is_ok());
}
