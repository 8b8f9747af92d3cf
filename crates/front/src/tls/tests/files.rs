//! Certificates in files: what is wrong with them, and what becomes of those that change.

use super::super::metrics::{Issuer, Replacement};
use super::super::stock::Told;
use super::*;

fn fingerprint(entry: &Entry) -> [u8; 32] {
    entry.certificate().facts.fingerprint
}

#[test]
fn what_is_wrong_with_files_is_said_by_name() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let folder = dir.path();
    let (leaf, key) = ca.sign(&["a.test"], DAY);
    let (_, other_key) = ca.sign(&["b.test"], DAY);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let load = |certificate: &str, key: &str| Certificate::load(&written(folder, "x", certificate, key));
    let said = |certificate: &str, key: &str| load(certificate, key).unwrap_err().to_string();
    assert!(load(&leaf, &key).is_ok() && load(&format!("{leaf}{}", ca.pem), &key).is_ok());
    assert!(said(&leaf, &other_key).contains("x.key: this is not the key of the certificate in"));
    let wrong_order = said(&format!("{}{leaf}", ca.pem), &key);
    assert!(wrong_order.contains("certificate 2 (CN=a.test), which has to stand first"), "{wrong_order}");
    assert!(said(&leaf, encrypted).contains("x.key: the private key is encrypted"));
    assert!(said(&leaf, &leaf).contains("x.key: no private key in it"));
    assert!(said("", &key).contains("x.pem: no certificate in it"));
    assert!(said(&format!("{leaf}{junk}"), &key).contains("x.pem: certificate 2 of the chain"));
    assert!(said("-----BEGIN CERTIFICATE-----\n*\n", &key).contains("x.pem: cannot be read as PEM"));
    let gone = TlsFiles { certificate: folder.join("gone.pem"), key: folder.join("x.key") };
    assert!(Certificate::load(&gone).unwrap_err().to_string().contains("gone.pem: cannot be read: "));
}

#[test]
fn what_someone_should_look_at_is_said_in_time() {
    let (dir, ca, other) = (tempfile::tempdir().unwrap(), Ca::new("ca"), Ca::new("other"));
    let remarks = |names: &[&str], chain: &str, life: Duration, at: SystemTime| {
        let (leaf, key) = ca.sign(names, life);
        let files = written(dir.path(), "x", &format!("{leaf}{chain}"), &key);
        Certificate::load(&files).unwrap().remarks(at)
    };
    let names = ["a.test"];
    assert_eq!(remarks(&names, "", DAY * 90, now() + DAY * 70), []);
    assert_eq!(remarks(&names, "", DAY * 90, now() + DAY * 77), [Remark::ExpiresSoon("13 days".into())]);
    assert_eq!(remarks(&names, "", DAY * 8, now() + DAY * 5), [], "a short life has a short end");
    assert_eq!(remarks(&names, "", DAY * 8, now() + DAY * 7), [Remark::ExpiresSoon("24 hours".into())]);
    assert_eq!(remarks(&names, "", DAY, now() + DAY * 2), [Remark::Expired]);
    assert_eq!(remarks(&names, "", DAY, now() - DAY), [Remark::NotYetValid]);
    assert_eq!(remarks(&names, &other.pem, DAY, now()), [Remark::ChainBroken(2)]);
    assert_eq!(remarks(&[], "", DAY, now()), [Remark::NoName]);
}

#[test]
fn files_that_change_are_taken_up_once_they_belong_together() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let files = ca.write(dir.path(), "a", &["a.test"], DAY);
    let certificates = Certificates::new(dir.path(), None);
    let tls = opened(&certificates, &offer(&[&files]));
    let entry = certificates.entries().remove(0);
    let (first, mut told) = (fingerprint(&entry), Told::default());
    certificates.look(now(), &mut told);
    assert_eq!(fingerprint(&entry), first);
    let (certificate, key) = ca.sign(&["a.test", "b.test"], DAY);
    std::fs::write(&files.certificate, certificate).unwrap();
    certificates.look(now(), &mut told);
    assert_eq!((fingerprint(&entry), entry.renewal().error), (first, None), "its key is still to come");
    std::fs::write(&files.key, key).unwrap();
    certificates.look(now(), &mut told);
    assert_ne!(fingerprint(&entry), first);
    assert!(tls.table.load().knows("b.test"), "its names are known too");
    let replaced = &certificates.metrics.certificates_replaced;
    assert_eq!(replaced.of((Issuer::Files, Replacement::Replaced)).get(), 1);
}

#[test]
fn files_that_stay_unusable_are_told_of_once_and_change_nothing() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let files = ca.write(dir.path(), "a", &["a.test"], DAY);
    let certificates = Certificates::new(dir.path(), None);
    let _tls = opened(&certificates, &offer(&[&files]));
    let entry = certificates.entries().remove(0);
    let (first, mut told) = (fingerprint(&entry), Told::default());
    std::fs::remove_file(&files.key).unwrap();
    for _ in 0..20 {
        certificates.look(now(), &mut told);
    }
    assert_eq!(fingerprint(&entry), first);
    assert!(entry.renewal().error.unwrap().contains("a.key: cannot be read"));
    let replaced = &certificates.metrics.certificates_replaced;
    assert_eq!(replaced.of((Issuer::Files, Replacement::Failed)).get(), 1);
}

#[test]
fn a_prepared_certificate_is_used_from_its_commit_on_and_one_that_cannot_be_read_never() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let files = ca.write(dir.path(), "a", &["a.test"], DAY);
    let more = ca.write(dir.path(), "b", &["b.test"], DAY);
    let certificates = Certificates::new(dir.path(), None);
    let tls = opened(&certificates, &offer(&[&files]));
    let entry = certificates.entries().remove(0);
    let first = fingerprint(&entry);
    ca.write(dir.path(), "a", &["a.test"], DAY);
    let prepared = certificates.prepare(vec![(Arc::clone(&tls), offer(&[&files, &more]))], None).unwrap();
    assert_eq!(fingerprint(&entry), first, "something else of the reload may be refused yet");
    assert!(!tls.table.load().knows("b.test"));
    prepared.commit();
    assert_ne!(fingerprint(&entry), first);
    assert!(tls.table.load().knows("b.test") && certificates.entries().len() == 2);
    std::fs::write(&more.key, "no key").unwrap();
    let second = fingerprint(&entry);
    ca.write(dir.path(), "a", &["a.test"], DAY);
    let refused = certificates.prepare(vec![(Arc::clone(&tls), offer(&[&files, &more]))], None).err().unwrap();
    assert!(refused.listener == 0 && refused.to_string().contains("b.key: no private key"), "{refused}");
    assert_eq!(fingerprint(&entry), second);
}

#[test]
fn listeners_share_a_certificate_and_it_is_gone_with_the_last_of_them() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let files = ca.write(dir.path(), "a", &["a.test"], DAY);
    let certificates = Certificates::new(dir.path(), None);
    let (one, two) = (opened(&certificates, &offer(&[&files])), opened(&certificates, &offer(&[&files])));
    assert!(Arc::ptr_eq(&one.entries()[0], &two.entries()[0]) && certificates.entries().len() == 1);
    drop(one);
    assert_eq!(certificates.entries().len(), 1);
    drop(two);
    assert_eq!(certificates.entries().len(), 0);
}

#[test]
fn the_time_that_is_left_is_measured_and_told_of_once_a_day() {
    use outwork_telemetry::Collect;
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let files = ca.write(dir.path(), "a", &["a.test"], DAY * 2);
    let certificates = Certificates::new(dir.path(), None);
    let tls = opened(&certificates, &offer(&[&files]));
    let left = || {
        let mut families = Vec::new();
        certificates.metrics.collect(&mut families);
        let family = families.into_iter().find(|family| family.desc.name == "outwork_front_certificate_expiry_seconds");
        family.unwrap().samples.into_iter().map(|sample| format!("{sample:?}")).collect::<Vec<_>>()
    };
    let mut told = Told::default();
    certificates.look(now(), &mut told);
    assert_eq!(told.len(), 0);
    assert!(left()[0].contains("a.test") && left()[0].contains("172800"), "{:?}", left());
    let late = now() + DAY * 3;
    certificates.look(late, &mut told);
    assert!(left()[0].contains("-86400") && told.at(0) == Some(late), "{:?}", left());
    certificates.look(late + DAY / 2, &mut told);
    assert_eq!(told.at(0), Some(late));
    certificates.look(late + DAY, &mut told);
    assert_eq!(told.at(0), Some(late + DAY));
    drop(tls);
    certificates.look(late, &mut told);
    assert_eq!((left().len(), told.len()), (0, 0));
}
