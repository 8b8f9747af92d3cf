//! What a site puts over its file, of what it keeps and of what it tries.

use std::path::Path;

use super::*;
use crate::config::network::Written;
use crate::network::check::check;

/// A site that has been told of these policies in that order, and the settings of its file.
fn kept(dir: &Path, policies: &[&str]) -> (Keep, Identity, Sdwan) {
    let text = String::new;
    let identity = Identity {
        site: "north".to_owned(),
        network: "net".to_owned(),
        verifier: text(),
        authority: text(),
        certificate: text(),
        key: text(),
    };
    let keep = Keep::new(dir);
    keep.keep_identity(&identity).unwrap();
    keep.keep_held(&held(1, policies)).unwrap();
    let file =
        read("[controller]\naddress = ['192.0.2.1:7700']\n[[uplink]]\nname = 'fibre'\n[[policy]]\nname = 'own'\n");
    (keep, identity, file)
}

fn held(version: u64, policies: &[&str]) -> Held {
    let change = |name: &&str| {
        let body = Some(json!({ "name": name, "class": "voice" }));
        Change { kind: Kind::Policy, id: (*name).to_owned(), body }
    };
    let changes = policies.iter().map(change).collect();
    Held::nothing("net").with(Delta { network: "net".to_owned(), from: None, to: version, changes }).unwrap()
}

/// The policies that a site goes by with this file, and whether something stood in the way.
fn by(said: &Said, file: &Sdwan) -> (Vec<String>, bool) {
    let mut settings = file.clone();
    let unread = said.overlay(&mut settings, &Written::default()).unwrap();
    (policies(&settings), unread.is_some())
}

#[test]
fn what_cannot_be_read_any_more_stays_as_it_was_said_and_a_start_says_that_it_cannot() {
    let dir = TempDir::new().unwrap();
    let at = dir.path().join("kept");
    let (keep, identity, file) = kept(&at, &["calls"]);
    let said = Said::new(&at);
    assert_eq!(by(&said, &file), (names(&["calls"]), false));
    let good = std::fs::read(keep.network_file()).unwrap();
    std::fs::write(keep.network_file(), "{").unwrap();
    assert_eq!(by(&said, &file), (names(&["calls"]), true));
    // Nor is what a later version has written understood.
    keep.keep_held(&held(2, &["calls", "mail"])).unwrap();
    let later = String::from_utf8(good).unwrap().replace("\"class\"", "\"of_a_later_version\"");
    std::fs::write(keep.network_file(), later).unwrap();
    assert_eq!(by(&said, &file), (names(&["calls"]), true));
    // Who has never read it goes by the file, and knows why.
    let mut settings = file.clone();
    let error = Said::new(&at).overlay(&mut settings, &Written::default()).unwrap_err();
    assert!(error.to_string().contains("of_a_later_version"), "{error}");
    assert_eq!(policies(&settings), names(&["own"]));
    // Once it can be read again it counts; and who is enrolled no longer has heard of nothing.
    keep.keep_held(&held(2, &["calls", "mail"])).unwrap();
    assert_eq!(by(&said, &file), (names(&["calls", "mail"]), false));
    keep.keep_identity(&Identity { network: "other".to_owned(), ..identity }).unwrap();
    assert_eq!(by(&said, &file), (names(&["own"]), false));
}

#[test]
fn what_is_tried_counts_until_that_is_over_and_is_what_stays_once_it_is_kept() {
    let dir = TempDir::new().unwrap();
    let at = dir.path().join("kept");
    let (keep, _, file) = kept(&at, &["calls"]);
    let said = Said::new(&at);
    let next = check(&held(2, &["mail"]).documents).unwrap();
    let tried = said.try_out("north", next.clone());
    assert_eq!(by(&said, &file), (names(&["mail"]), false));
    assert_eq!(by(&Said::new(&at), &file), (names(&["calls"]), false), "a start knows nothing of it");
    drop(tried);
    assert_eq!(by(&said, &file), (names(&["calls"]), false));
    // What was refused is not what stays where nothing can be read.
    std::fs::write(keep.network_file(), "{").unwrap();
    assert_eq!(by(&said, &file), (names(&["calls"]), true));
    let tried = said.try_out("north", next.clone());
    assert_eq!(by(&said, &file), (names(&["mail"]), false));
    tried.keep();
    assert_eq!(by(&said, &file), (names(&["mail"]), true));
}

#[test]
fn what_does_not_go_together_with_the_file_is_told_and_counts_meanwhile() {
    let dir = TempDir::new().unwrap();
    let at = dir.path().join("kept");
    let (keep, _, mut file) = kept(&at, &["calls"]);
    let body = |kind: Kind, body: Json| Change { kind, id: kind.id_of(&body).unwrap(), body: Some(body) };
    let changes = vec![
        body(Kind::Site, json!({ "name": "south", "subnets": ["10.2.0.0/16"] })),
        body(Kind::Uplink, json!({ "site": "south", "name": "fibre", "public_key": KEYS[1] })),
    ];
    let delta = Delta { network: "net".to_owned(), from: Some(1), to: 2, changes };
    keep.keep_held(&held(1, &["calls"]).with(delta).unwrap()).unwrap();
    let said = Said::new(&at);
    assert_eq!(by(&said, &file), (names(&["calls"]), false));
    let peer: Sdwan = read(&format!(
        "[[uplink]]\nname = 'fibre'\n[[peer]]\npublic_key = '{}'\nallowed_ips = ['10.2.0.0/16']\n",
        KEYS[0]
    ));
    file.peer = peer.peer;
    let mut settings = file.clone();
    let told = said.overlay(&mut settings, &Written::default()).unwrap();
    let told = told.filter(|told| matches!(told, KeepError::Clash(_))).unwrap().to_string();
    assert!(told.contains("site south") && told.contains("10.2.0.0/16 is behind a peer"), "{told}");
    assert_eq!(settings.site.len(), 1, "sites stay");
}
