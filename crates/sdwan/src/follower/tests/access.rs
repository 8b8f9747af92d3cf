//! Who is let in, and who is not any more.

use super::*;
use crate::controller::authority::Authority;
use crate::controller::store::enrolments::{self, Certified};
use crate::network::delta::Held;

/// Has a site go.
fn removal(name: &str) -> Vec<Edit> {
    vec![Edit { kind: Kind::Site, id: name.to_owned(), body: None, expect: Expect::Any }]
}

#[test]
fn a_token_that_was_used_or_is_over_or_withdrawn_or_of_another_controller_lets_nobody_in() {
    run(async {
        let (lab, other) = (Lab::new().await, Lab::new().await);
        let token = lab.invite(1).await;
        lab.show(&token, 1).await.unwrap();
        let refused = async |token: &Token| match lab.show(token, 1).await {
            Err(EnrolError::Denied { why, .. }) => assert!(why.contains("the token is not good"), "{why}"),
            outcome => panic!("{outcome:?}"),
        };
        refused(&token).await;
        let (late, _) = lab.controller.invite("north", None, Duration::ZERO, "ann").await.unwrap();
        refused(&late).await;
        let (withdrawn, enrolment) = lab.controller.invite("north", None, DAY, "ann").await.unwrap();
        let remove = move |c: &mut rusqlite::Connection| enrolments::remove(c, enrolment.id, "ann", SystemTime::now());
        assert!(lab.controller.store().write(Query::Enrolment, remove).await.unwrap());
        refused(&withdrawn).await;
        let good = lab.invite(1).await;
        refused(&Token { secret: [0; 32], ..good.clone() }).await;
        // Who is not the controller that the token was made by is not even told the secret.
        let strange = other.show(&good, 1).await;
        assert!(matches!(strange, Err(EnrolError::Unreached { .. })), "{strange:?}");
        lab.show(&good, 1).await.unwrap();
    });
}

#[test]
fn a_site_that_is_revoked_is_heard_no_more_and_goes_on_as_it_was_told() {
    run(async {
        let lab = Lab::new().await;
        lab.join(1).await;
        lab.edit(policy("calls", "voice")).await;
        let site = lab.follow(1);
        site.is_there().await;
        wait_for("the policy", async || lab.in_force(1).0 == names(&["calls"])).await;
        assert_eq!(lab.controller.revoke("north", "ann").await.unwrap(), 1);
        wait_for("the site to be gone", async || lab.controller.connected() == 0).await;
        site.knows("was revoked at").await;
        assert!(lab.refused(Turned::Parted) >= 1);
        assert_eq!(lab.in_force(1).0, names(&["calls"]));
    });
}

#[test]
fn a_site_that_is_removed_is_told_why_and_stays_out_when_its_name_comes_back() {
    run(async {
        let lab = Lab::new().await;
        lab.join(1).await;
        lab.join(2).await;
        let sites = [lab.follow(1), lab.follow(2)];
        wait_for("both to hear of each other", async || lab.in_force(1).1 == names(&["south"])).await;
        lab.edit(removal("south")).await;
        sites[1].knows("removed from the network").await;
        wait_for("its keys to leave the others", async || lab.in_force(1).1.is_empty()).await;
        wait_for("its connection to be gone", async || lab.controller.connected() == 1).await;
        // Somebody makes a site of that name again, for another machine.
        let body = Some(json!({ "name": "south" }));
        lab.edit(vec![Edit { kind: Kind::Site, id: "south".to_owned(), body, expect: Expect::New }]).await;
        let old = lab.follow(2);
        old.knows("was revoked at").await;
        assert_eq!(lab.controller.connected(), 1);
    });
}

#[test]
fn a_site_that_is_enrolled_anew_takes_the_place_of_the_one_before_at_once() {
    run(async {
        let lab = Lab::new().await;
        let before = lab.join(1).await;
        let site = lab.follow(1);
        site.is_there().await;
        // The machine of before goes on with what it has.
        let token = lab.invite(1).await;
        let elsewhere = lab.dir.path().join("elsewhere").join("kept");
        let settings = lab.settings(1);
        let keep = Keep::new(&elsewhere);
        let next = enrol(&lab.places(), &token, &settings, uplink(1), &keep).await.unwrap();
        assert_ne!(next, before);
        site.knows("was revoked at").await;
        wait_for("its connection to be gone", async || lab.controller.connected() == 0).await;
    });
}

#[test]
fn a_site_that_is_enrolled_with_another_controller_goes_there_at_once_and_hears_the_one_before_no_more() {
    run(async {
        let (lab, other) = (Lab::new().await, Lab::new().await);
        let before = lab.join(1).await;
        let addresses = [lab.controller.addresses()[0], other.controller.addresses()[0]];
        let settings =
            FollowSettings { address: addresses.map(HostPort::from).to_vec(), ..lab.settings(1).controller.unwrap() };
        let take_up: TakeUp = Box::new(|| Box::pin(async { Ok(()) }));
        let follower = Follower::new(settings, lab.at(1), uplink(1), take_up);
        let task = tokio::spawn(Arc::clone(&follower).run());
        let is_at = async |address| follower.told().connected == Some(address);
        wait_for("the site to come", async || is_at(addresses[0]).await).await;
        let (token, _) = other.controller.invite("north", None, DAY, "ann").await.unwrap();
        let keep = Keep::new(&lab.at(1));
        let next = enrol(&other.places(), &token, &lab.settings(1), uplink(1), &keep).await.unwrap();
        wait_for("the site to go to the other", async || is_at(addresses[1]).await).await;
        wait_for("the one before to see that", async || lab.controller.connected() == 0).await;
        assert_eq!((follower.metrics().connected.get(), keep.identity().unwrap()), (1, Some(next.clone())));
        // What the one before would have it be is not written over that.
        assert!(!keep.replace_identity(&before, &before).unwrap());
        assert!(keep.replace_identity(&next, &before).unwrap());
        task.abort();
    });
}

/// Gives a site a certificate of this time in the place of its own, as the controller would have.
async fn certify(lab: &Lab, identity: &Identity, issued: SystemTime, life: Duration) -> Identity {
    let authority = Authority::open(&lab.dir.path().join("controller"), issued).unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let made = authority.issue("north", rcgen::PublicKeyData::der_bytes(&key), life, issued).unwrap();
    let certified =
        Certified { serial: made.serial, site: "north".to_owned(), issued, expires: made.expires, revoked: None };
    let keep = move |c: &mut rusqlite::Connection| enrolments::certify(c, &certified);
    lab.controller.store().write(Query::Enrolment, keep).await.unwrap();
    let identity = Identity { certificate: made.pem, key: key.serialize_pem(), ..identity.clone() };
    Keep::new(&lab.at(1)).keep_identity(&identity).unwrap();
    identity
}

#[test]
fn a_certificate_is_made_anew_when_two_thirds_of_its_time_are_over_and_the_next_connection_has_it() {
    run(async {
        let lab = Lab::with("certificate_life = '1d'").await;
        let first = lab.join(1).await;
        let now = SystemTime::now();
        assert!(!first.is_old(now) && first.is_old(now + DAY));
        let old = certify(&lab, &first, now - DAY * 3 / 4, DAY).await;
        assert!(old.late() > Some(now) && old.late() < old.expires());
        let site = lab.follow(1);
        let keep = Keep::new(&lab.at(1));
        let kept = || keep.identity().unwrap().unwrap();
        wait_for("another certificate", async || kept() != old).await;
        assert!(!kept().is_old(SystemTime::now()));
        assert_ne!(kept().key, old.key, "with a key of its own");
        drop(site);
        let again = lab.follow(1);
        again.is_there().await;
        assert_eq!(again.follower.told().certificate_expires, kept().expires());
    });
}

#[test]
fn a_site_whose_certificate_is_over_says_so_and_what_to_do() {
    run(async {
        let lab = Lab::new().await;
        let identity = lab.join(1).await;
        certify(&lab, &identity, SystemTime::now() - 3 * DAY, DAY).await;
        let site = lab.follow(1);
        site.knows("was good until").await;
        site.knows("outwork sdwan enrol").await;
        assert_eq!(lab.controller.connected(), 0);
    });
}

#[test]
fn a_version_that_goes_back_is_not_taken_up_after_a_restart_either() {
    run(async {
        let lab = Lab::new().await;
        let identity = lab.join(1).await;
        let (keep, signer) = (Keep::new(&lab.at(1)), Signer::generate().unwrap());
        let delta = |to, class| Delta { network: identity.network.clone(), ..delta(None, to, class) };
        let held = Held::nothing(identity.network.as_str()).with(delta(9, "voice")).unwrap();
        keep.keep_held(&held).unwrap();
        let again = Keep::new(&lab.at(1)).held(&identity).unwrap();
        assert_eq!(again, held);
        for to in [1, 8, 9] {
            let back = signer.sign(&delta(to, "bulk")).unwrap();
            let weighed = weigh(&again, &signer.verifier(), &back).unwrap();
            assert!(matches!(weighed, Weighed::Refused { why, .. } if why.contains("has 9 already")), "{to}");
        }
    });
}

#[test]
fn a_controller_out_of_an_older_backup_tells_nobody_anything_until_somebody_says_so() {
    run(async {
        let lab = Lab::new().await;
        lab.join(1).await;
        lab.join(2).await;
        let store = lab.controller.store();
        let copy = async || store.read(Query::Documents, documents::revision).await.unwrap().0;
        let backup = copy().await;
        let first = [lab.follow(1), lab.follow(2)];
        lab.edit(policy("calls", "voice")).await;
        let both = async |list: &[&str]| [1, 2].iter().all(|n| lab.in_force(*n).0 == names(list));
        wait_for("a policy to come to both", async || both(&["calls"]).await).await;
        let told = first[0].follower.told().version;
        drop(first);
        wait_for("both to be gone", async || lab.controller.connected() == 0).await;
        let restore = move |c: &mut rusqlite::Connection| {
            c.execute("DELETE FROM policies", [])?;
            c.execute("UPDATE revisions SET latest = ?", [backup.cast_signed()]).map(drop)
        };
        store.write(Query::Change, restore).await.unwrap();
        let sites = [lab.follow(1), lab.follow(2)];
        wait_for("the controller to know", async || lab.controller.is_held_back()).await;
        wait_for("both to be there", async || sites.iter().all(|site| site.follower.told().connected.is_some())).await;
        assert!(copy().await > told, "what is made from now on is later than what was told");
        lab.edit(policy("mail", "bulk")).await;
        // What they say after that is heard, and they are told nothing of it.
        for site in &sites {
            site.follower.reporter.add(&paths(1, 1), SystemTime::now());
            wait_for("a report to be kept", async || site.follower.waiting() == 0).await;
            assert_eq!(site.taken.load(Ordering::SeqCst), 0);
        }
        assert!(both(&["calls"]).await);
        // A start of the controller changes nothing of that.
        assert!(store.read(Query::Documents, documents::is_held_back).await.unwrap());
        lab.controller.bring_into_force(None, "ann").await.unwrap().unwrap();
        wait_for("what it has to come to both", async || both(&["mail"]).await).await;
        assert!(!lab.controller.is_held_back());
    });
}

#[test]
fn what_a_site_and_its_controller_keep_is_for_nobody_elses_eyes() {
    use std::os::unix::fs::MetadataExt as _;
    run(async {
        let lab = Lab::new().await;
        let identity = lab.join(1).await;
        let site = lab.follow(1);
        wait_for("the network to be kept", async || site.follower.told().version > 0).await;
        assert_eq!(Keep::new(&lab.at(1)).identity().unwrap(), Some(identity));
        for dir in [lab.at(1), lab.dir.path().join("controller")] {
            assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700, "{}", dir.display());
            for file in std::fs::read_dir(&dir).unwrap() {
                let file = file.unwrap();
                assert_eq!(file.metadata().unwrap().mode() & 0o077, 0, "{}", file.path().display());
            }
        }
    });
}
