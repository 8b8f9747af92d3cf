//! What uplinks are worth at both ends, which networks a site may have, and what is said for all sites.

use super::*;
use crate::control::Plan;
use crate::plan::Numbers;

fn of(kind: Kind, body: Json, expect: Expect) -> Vec<Edit> {
    vec![Edit { kind, id: kind.id_of(&body).unwrap(), body: Some(body), expect }]
}

/// The cost of the path from a site to the other, as the site sees it.
fn cost(lab: &Lab, number: usize) -> Option<u32> {
    let mut settings = lab.settings(number);
    overlay(&mut settings, &Written::default(), &lab.at(number)).unwrap();
    let network = Plan::of(&settings, &mut Numbers::default()).sites?.network;
    let (paths, _) = crate::engine::site::paths(&network.own, &network.sites);
    paths.first().map(|path| path.cost)
}

#[test]
fn both_ends_of_a_path_go_by_what_the_controller_says_an_uplink_is_worth() {
    run(async {
        let lab = Lab::new().await;
        lab.join(1).await;
        lab.join(2).await;
        let _sites = [lab.follow(1), lab.follow(2)];
        let both =
            async |wanted| wait_for("both ends", async || [1, 2].map(|site| cost(&lab, site)) == [wanted; 2]).await;
        both(Some(0)).await;
        let mut body = uplink(1).remove(0);
        body["site"] = json!("north");
        body["cost"] = json!(50);
        lab.edit(of(Kind::Uplink, body, Expect::Any)).await;
        both(Some(50)).await;
    });
}

#[test]
fn a_site_is_not_taken_in_with_networks_that_reach_into_anothers() {
    run(async {
        let lab = Lab::new().await;
        lab.edit(of(Kind::Site, json!({ "name": "west", "subnets": ["10.0.0.0/8"] }), Expect::New)).await;
        let token = lab.invite(1).await;
        match lab.show(&token, 1).await {
            Err(EnrolError::Denied { why, .. }) => {
                assert!(why.contains("10.0.0.0/8") && why.contains("site west") && why.contains("--subnets"), "{why}");
            }
            outcome => panic!("{outcome:?}"),
        }
        let networks = |text: &str| Some(vec![text.to_owned()]);
        let (other, _) = lab.controller.invite("north", networks("10.7.0.0/16"), DAY, "ann").await.unwrap();
        assert!(matches!(lab.show(&other, 1).await, Err(EnrolError::Denied { .. })));
        let (meant, _) = lab.controller.invite("north", networks("10.1.0.0/16"), DAY, "ann").await.unwrap();
        lab.show(&meant, 1).await.unwrap();
    });
}

#[test]
fn an_uplink_that_a_site_names_no_longer_is_gone_at_the_others_when_it_has_said_hello() {
    run(async {
        let lab = Lab::new().await;
        lab.join(2).await;
        let second = json!({ "name": "lte", "public_key": outwork_wireguard::PublicKey([3; 32]).to_string() });
        let (north, settings) = (lab.invite(1).await, lab.settings(1));
        let both = [uplink(1), vec![second]].concat();
        enrol(&lab.places(), &north, &settings, both, &Keep::new(&lab.at(1))).await.unwrap();
        let south = lab.follow(2);
        let uplinks = || {
            let mut settings = lab.settings(2);
            overlay(&mut settings, &Written::default(), &lab.at(2)).unwrap();
            settings.site.iter().map(|site| site.uplink.len()).sum::<usize>()
        };
        wait_for("two uplinks of north", async || uplinks() == 2).await;
        let north = lab.follow(1);
        north.is_there().await;
        wait_for("one to be gone", async || uplinks() == 1).await;
        drop(south);
    });
}

#[test]
fn what_is_said_for_all_sites_reaches_each_of_them() {
    run(async {
        let lab = Lab::new().await;
        lab.join(1).await;
        let _site = lab.follow(1);
        lab.edit(of(Kind::Settings, json!({ "health": { "misses": 9 } }), Expect::New)).await;
        let misses = |written: &Written| {
            let mut settings = lab.settings(1);
            overlay(&mut settings, written, &lab.at(1)).unwrap();
            settings.health.misses
        };
        wait_for("the settings", async || misses(&Written::default()) == 9).await;
        let own = Sdwan::default().health.misses;
        assert_eq!(misses(&Written::new(["health.misses".to_owned()])), own, "what the file says stays");
    });
}

#[test]
fn a_controller_is_enrolled_at_and_followed_by_its_name() {
    run(async {
        let lab = Lab::new().await;
        let place: HostPort = format!("localhost:{}", lab.controller.addresses()[0].port()).parse().unwrap();
        let token = lab.invite(1).await;
        let mut settings = lab.settings(1);
        let keep = Keep::new(&lab.at(1));
        enrol(std::slice::from_ref(&place), &token, &settings, uplink(1), &keep).await.unwrap();
        let follow = settings.controller.as_mut().unwrap();
        // One that nobody knows stands in nobody's way.
        follow.address = vec!["nowhere.invalid:1".parse().unwrap(), place];
        let take_up: TakeUp = Box::new(|| Box::pin(async { Ok(()) }));
        let follower = Follower::new(follow.clone(), lab.at(1), uplink(1), take_up);
        let task = tokio::spawn(Arc::clone(&follower).run());
        wait_for("the site to come", async || follower.told().connected.is_some()).await;
        task.abort();
    });
}
