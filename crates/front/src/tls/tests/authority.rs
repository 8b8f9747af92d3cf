//! The local authority.

use super::super::local::Authority;
use super::super::stock::Told;
use super::*;

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn an_authority_is_made_once_and_certifies_names_that_nobody_owns_and_those_it_was_made_for() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let made = Authority::open(dir.path(), &names(&["dev.example.com", "203.0.113.7"]), now()).unwrap();
    let root = std::fs::read(&made.path).unwrap();
    let again = Authority::open(dir.path(), &[], now() + DAY).unwrap();
    assert_eq!(std::fs::read(&again.path).unwrap(), root);
    for authority in [made, again] {
        for good in [
            "localhost",
            "a.localhost",
            "*.shop.test",
            "127.0.0.1",
            "192.168.1.9",
            "::1",
            "dev.example.com",
            "203.0.113.7",
        ] {
            let certificate = authority.issue(&names(&[good]), now() + DAY).unwrap();
            assert_eq!(certificate.remarks(now() + DAY), [], "{good}");
        }
        for bad in ["www.example.com", "example.com", "8.8.8.8", "2001:db8::1"] {
            let refused = authority.issue(&names(&["localhost", bad]), now()).unwrap_err().to_string();
            assert!(refused.contains("made for other names") && refused.contains(bad), "{refused}");
        }
    }
    let mode = std::fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn local_certificates_are_renewed_at_two_thirds_of_their_life() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(dir.path(), None);
    let offer = Offer { profile: Profile::default(), sources: vec![Source::Local(names(&["localhost", "127.0.0.1"]))] };
    let tls = opened(&certificates, &offer);
    let entry = certificates.entries().remove(0);
    assert_eq!(entry.name(), "localhost");
    let first = entry.certificate();
    let due = entry.renewal().next.unwrap();
    assert_eq!(due, first.facts.not_before + first.facts.life() / 3 * 2);
    let mut told = Told::default();
    certificates.look(due - Duration::from_secs(1), &mut told);
    assert!(Arc::ptr_eq(&first, &entry.certificate()));
    certificates.look(due, &mut told);
    let second = entry.certificate();
    assert_ne!(first.facts.fingerprint, second.facts.fingerprint);
    assert!(entry.renewal().next.unwrap() > due && tls.table.load().knows("localhost"));
    let one = tls.table.load().choose(None, &[]).map(Arc::clone).unwrap();
    assert!(Arc::ptr_eq(&one, &second.key), "clients get it");
}

#[test]
fn a_broken_root_is_named_and_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    Authority::open(dir.path(), &[], now()).unwrap();
    std::fs::write(dir.path().join("ca.pem"), "nothing").unwrap();
    let refused = Authority::open(dir.path(), &[], now()).err().unwrap().to_string();
    assert!(refused.contains("ca.pem: no certificate in it"), "{refused}");
}
