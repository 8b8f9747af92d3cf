//! Which networks a site may claim when it is taken in, and which claims overlap.

use std::str::FromStr as _;

use outwork_front::filter::Network;
use rusqlite::Connection;
use serde_json::Value as Json;

use super::documents::list;
use crate::config::is_within;
use crate::network::Kind;

/// The networks that documents of sites say, each with its site.
fn claimed(connection: &Connection) -> rusqlite::Result<Vec<(String, Network)>> {
    let networks = |body: &Json| -> Vec<Network> {
        let texts = body["subnets"].as_array().into_iter().flatten().filter_map(Json::as_str);
        texts.filter_map(|text| Network::from_str(text).ok()).collect()
    };
    let sites = list(connection, Kind::Site, "", i64::MAX as usize)?.into_iter();
    Ok(sites.flat_map(|site| networks(&site.body).into_iter().map(move |net| (site.id.clone(), net))).collect())
}

/// Whether one has addresses of the other; of two the narrower counts there. A default route has all that nobody else has, and takes nothing from anybody.
fn overlap(one: &Network, other: &Network) -> bool {
    one.length() > 0 && other.length() > 0 && (is_within(one, other) || is_within(other, one))
}

/// Why a site that the network does not know may not come with these networks, if it may not: they are not `approved` by its token, or that approves none in particular and they
/// reach into others' networks. What is no network is none here: the document that it stands in says so.
pub fn refused(
    connection: &Connection,
    site: &str,
    subnets: &[String],
    approved: Option<&[String]>,
) -> rusqlite::Result<Option<String>> {
    let wanted = subnets.iter().filter_map(|text| Network::from_str(text).ok());
    let help = |net: &Network| {
        format!("where that is meant, `outwork sdwan token {site} --subnets {net}` makes a token that lets it in")
    };
    let Some(approved) = approved else {
        let there = claimed(connection)?;
        return Ok(wanted.into_iter().find_map(|net| {
            if net.length() == 0 {
                return Some(format!("{net} is everything that no other site has: {}", help(&net)));
            }
            let (whose, other) = there.iter().find(|(whose, other)| whose != site && overlap(&net, other))?;
            Some(format!("{net} and {other}, which is behind site {whose}, overlap: {}", help(&net)))
        }));
    };
    let within: Vec<Network> = approved.iter().filter_map(|text| Network::from_str(text).ok()).collect();
    Ok(wanted.into_iter().find(|net| !within.iter().any(|of| is_within(net, of))).map(|net| {
        let may = if within.is_empty() { "none".to_owned() } else { approved.join(", ") };
        format!("{net} is none of the networks that this token lets {site} have ({may}): {}", help(&net))
    }))
}

/// Where the networks of a site and those of others overlap, in a sentence each.
pub fn overlaps(connection: &Connection, site: &str) -> rusqlite::Result<Vec<String>> {
    let all = claimed(connection)?;
    let (own, others): (Vec<_>, Vec<_>) = all.iter().partition(|(whose, _)| whose == site);
    let met = own.iter().flat_map(|(_, net)| {
        let others = others.iter().filter(|(_, other)| overlap(net, other));
        others.map(move |(whose, other)| {
            format!("{net} and {other}, which is behind site {whose}, overlap: the narrower one counts")
        })
    });
    Ok(met.collect())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde_json::json;

    use super::super::changes::audited;
    use super::super::documents::{Edit, EditError, Expect, edit, get};
    use super::super::enrolments::{self, TokenRefusal, brought, brought_by, known_as};
    use super::super::tests::open;
    use super::*;
    use crate::channel::token::Token;

    const NOW: SystemTime = UNIX_EPOCH;
    const KEYS: [&str; 2] =
        ["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="];

    fn site(connection: &mut Connection, name: &str, subnet: &str) {
        let body = Some(json!({ "name": name, "subnets": [subnet] }));
        let edits = [Edit { kind: Kind::Site, id: name.to_owned(), body, expect: Expect::New }];
        edit(connection, &edits, "ann", NOW).unwrap().unwrap();
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_site_comes_with_networks_that_its_token_names_or_with_such_as_are_nobodys() {
        let (_dir, mut connection) = open();
        site(&mut connection, "south", "10.2.0.0/16");
        site(&mut connection, "hub", "0.0.0.0/0");
        let shows = |approved: Option<&[&str]>, wanted: &[&str]| {
            let token = Token::random([0; 32]).unwrap();
            let names = approved.map(texts);
            let life = Duration::from_secs(60);
            // Of a site that stays away: of one there may be but a few.
            let for_it = format!("north{}", enrolments::list(&connection, None, 1000).unwrap().len());
            enrolments::add(&connection, &token, (&for_it, names), life, "ann", NOW).unwrap().unwrap();
            brought_by(&connection, &token.key, "north", &texts(wanted), &[]).unwrap()
        };
        assert!(shows(None, &["10.1.0.0/16", "2001:db8::/48"]).is_ok());
        for odd in ["10.2.5.0/24", "10.2.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "::/0"] {
            let refused = shows(None, &["10.1.0.0/16", odd]).unwrap_err();
            let told = format!("{refused:?}");
            assert!(
                matches!(refused, TokenRefusal::Networks(_)) && told.contains(&format!("--subnets {odd}")),
                "{told}"
            );
            assert!(
                shows(Some(&["10.1.0.0/16", odd]), &["10.1.0.0/16", odd]).is_ok(),
                "{odd} was let in by who made the token"
            );
        }
        assert!(shows(Some(&["10.1.0.0/16"]), &["10.1.7.0/24"]).is_ok(), "a part of it");
        assert!(shows(Some(&["10.1.0.0/16"]), &["10.3.0.0/16"]).is_err());
        assert!(shows(Some(&[]), &["10.3.0.0/16"]).is_err() && shows(Some(&[]), &[]).is_ok());
        // Of a site that the network knows its document counts, whatever it claims.
        site(&mut connection, "north", "10.1.0.0/16");
        let token = Token::random([0; 32]).unwrap();
        enrolments::add(&connection, &token, ("north", None), Duration::from_secs(60), "ann", NOW).unwrap().unwrap();
        let edits = brought_by(&connection, &token.key, "north", &texts(&["0.0.0.0/0"]), &[]).unwrap().unwrap();
        assert!(edits.is_empty());
    }

    #[test]
    fn networks_that_overlap_are_told_and_a_default_route_takes_nothing_from_anybody() {
        let (_dir, mut connection) = open();
        site(&mut connection, "south", "10.2.0.0/16");
        site(&mut connection, "hub", "0.0.0.0/0");
        site(&mut connection, "north", "10.2.5.0/24");
        let told = overlaps(&connection, "south").unwrap();
        assert!(told.len() == 1 && told[0].contains("10.2.5.0/24") && told[0].contains("north"), "{told:?}");
        assert!(overlaps(&connection, "hub").unwrap().is_empty());
    }

    fn uplink(name: &str, key: &str) -> Json {
        json!({ "name": name, "public_key": key })
    }

    fn bring(connection: &mut Connection, uplinks: &[Json]) -> Result<(), EditError> {
        let edits = brought(connection, "north", &[], uplinks).unwrap();
        enrolments::bring(connection, &edits, &known_as("north"), NOW).unwrap()
    }

    fn is_there(connection: &Connection, id: &str) -> bool {
        get(connection, Kind::Uplink, id).unwrap().is_some()
    }

    #[test]
    fn an_uplink_that_its_site_names_no_longer_goes_unless_somebody_has_it_stay() {
        let (_dir, mut connection) = open();
        let (fibre, lte) = (uplink("fibre", KEYS[0]), uplink("lte", KEYS[1]));
        bring(&mut connection, &[fibre.clone(), lte.clone()]).unwrap();
        // Another name for the same uplink is another one, with its key.
        bring(&mut connection, &[fibre.clone(), uplink("radio", KEYS[1])]).unwrap();
        assert!(!is_there(&connection, "north/lte") && is_there(&connection, "north/radio"));
        let (who, what) = {
            let rows = audited(&connection, None, 10).unwrap();
            let row = rows.iter().find(|row| row.target == "north/lte" && row.what == "uplink.remove").unwrap();
            (row.who.clone(), row.what.clone())
        };
        assert_eq!((who.as_str(), what.as_str()), ("site north", "uplink.remove"));
        // Who says nothing of them has taken none away.
        assert!(brought(&connection, "north", &[], &[]).unwrap().is_empty());
        let there = get(&connection, Kind::Uplink, "north/radio").unwrap().unwrap();
        let mut body = there.body.clone();
        body["pinned"] = json!(true);
        let pin = Edit { kind: Kind::Uplink, id: there.id, body: Some(body), expect: Expect::Any };
        edit(&mut connection, &[pin], "ann", NOW).unwrap().unwrap();
        assert!(brought(&connection, "north", &[], &[fibre]).unwrap().is_empty());
        // Nor does one go that somebody else has made.
        let body = json!({ "site": "north", "name": "spare", "public_key": outwork_wireguard::PublicKey([5; 32]).to_string() });
        let made = Edit { kind: Kind::Uplink, id: "north/spare".to_owned(), body: Some(body), expect: Expect::New };
        edit(&mut connection, &[made], "ann", NOW).unwrap().unwrap();
        bring(&mut connection, &[uplink("fibre", KEYS[0])]).unwrap();
        assert!(is_there(&connection, "north/spare") && is_there(&connection, "north/radio"));
    }

    #[test]
    fn a_bandwidth_that_nobody_has_said_is_what_the_site_says_and_no_other_after_that() {
        let (_dir, mut connection) = open();
        let with = |bits: u64| json!({ "name": "fibre", "public_key": KEYS[0], "bandwidth": bits });
        let bandwidth = |connection: &Connection| {
            get(connection, Kind::Uplink, "north/fibre").unwrap().unwrap().body["bandwidth"].clone()
        };
        bring(&mut connection, &[uplink("fibre", KEYS[0])]).unwrap();
        bring(&mut connection, &[with(1000)]).unwrap();
        assert_eq!(bandwidth(&connection), 1000);
        assert!(brought(&connection, "north", &[], &[with(9)]).unwrap().is_empty());
    }

    #[test]
    fn an_uplink_that_a_policy_needs_stays_and_all_else_is_brought() {
        let (_dir, mut connection) = open();
        bring(&mut connection, &[uplink("fibre", KEYS[0]), uplink("lte", KEYS[1])]).unwrap();
        let body = Some(json!({ "name": "a", "strategy": "ordered", "uplinks": ["lte"] }));
        let policy = Edit { kind: Kind::Policy, id: "a".to_owned(), body, expect: Expect::New };
        edit(&mut connection, &[policy], "ann", NOW).unwrap().unwrap();
        let mut fibre = uplink("fibre", KEYS[0]);
        fibre["endpoint"] = json!("192.0.2.1:51820");
        bring(&mut connection, &[fibre]).unwrap();
        let there = get(&connection, Kind::Uplink, "north/fibre").unwrap().unwrap();
        assert!(is_there(&connection, "north/lte") && there.body["endpoint"] == "192.0.2.1:51820");
    }
}
