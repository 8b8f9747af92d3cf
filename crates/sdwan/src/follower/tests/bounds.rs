//! What a site, or who is none, may say and how much of it.

use tokio::io::AsyncReadExt as _;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::channel::frame::MOST;
use crate::channel::message::Report;
use crate::controller::Excess;

/// A site that says what it likes.
struct Raw(TlsStream<TcpStream>);

impl Raw {
    async fn connect(lab: &Lab, config: rustls::ClientConfig) -> Raw {
        let stream = TcpStream::connect(lab.controller.addresses()[0]).await.unwrap();
        Raw(TlsConnector::from(Arc::new(config)).connect(tls::name().unwrap(), stream).await.unwrap())
    }

    async fn stranger(lab: &Lab, token: &Token) -> Raw {
        Raw::connect(lab, tls::stranger(token.authority).unwrap()).await
    }

    async fn site(lab: &Lab, identity: &Identity) -> Raw {
        Raw::connect(lab, identity.client().unwrap()).await
    }

    async fn say(&mut self, said: FromSite) {
        frame::write(&mut self.0, &said).await.unwrap();
    }

    /// What is answered, but for that the controller is there; none where the connection ends.
    async fn hear(&mut self) -> Option<FromController> {
        loop {
            match frame::read::<FromController>(&mut self.0, MOST).await {
                Ok(Some(FromController::Alive {})) => {}
                Ok(said) => return said,
                Err(_) => return None,
            }
        }
    }

    /// Says hello as who holds nothing, and takes up what it is told.
    async fn greet(&mut self) {
        self.say(FromSite::Hello { version: 0, uplinks: uplink(1), release: String::new(), proof: String::new() })
            .await;
        assert!(matches!(self.hear().await, Some(FromController::Welcome { .. })));
        let Some(FromController::Push { signed, .. }) = self.hear().await else { panic!("nothing is told") };
        let delta: Delta = serde_json::from_str(&signed.delta).unwrap();
        self.say(FromSite::Taken { version: delta.to }).await;
    }

    /// Waits until the controller has ended it.
    async fn ends(mut self) {
        while self.hear().await.is_some() {}
    }
}

fn report(sequence: u64, events: usize) -> FromSite {
    let reporter = Reporter::new(1, usize::MAX);
    reporter.add(&paths(events as u64, 0), UNIX_EPOCH + Duration::from_millis(sequence));
    let report = reporter.first().unwrap();
    FromSite::Report(Box::new(Report { sequence, ..report }))
}

#[test]
fn who_has_no_certificate_can_but_show_a_token_and_is_not_listened_to_for_long() {
    run(async {
        let lab = Lab::new().await;
        let token = lab.invite(1).await;
        let mut stream = Raw::stranger(&lab, &token).await;
        stream.say(FromSite::Hello { version: 7, uplinks: vec![], release: String::new(), proof: String::new() }).await;
        assert_eq!(stream.hear().await, None);
        wait_for("it to be counted", async || lab.refused(Turned::Words) == 1).await;
        // Neither does a length that nobody may have, nor what is no TLS at all.
        let mut stream = Raw::stranger(&lab, &token).await;
        stream.0.write_all(&[0xff; 64]).await.unwrap();
        stream.0.flush().await.unwrap();
        wait_for("that to be counted", async || lab.refused(Turned::Words) == 2).await;
        let mut plain = TcpStream::connect(lab.controller.addresses()[0]).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        wait_for("this to be counted", async || lab.refused(Turned::Handshake) == 1).await;
        assert_eq!(lab.controller.connected(), 0);
    });
}

#[test]
fn who_speaks_another_protocol_is_refused_and_who_does_not_say_which_is_not() {
    run(async {
        let lab = Lab::new().await;
        let identity = lab.join(1).await;
        let config = |protocols: &[&[u8]]| {
            let mut config = identity.client().unwrap();
            config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
            config
        };
        let stream = TcpStream::connect(lab.controller.addresses()[0]).await.unwrap();
        let both: [&[u8]; 2] = [b"outwork-sdwan/9", tls::PROTOCOL];
        let later = TlsConnector::from(Arc::new(config(&both[..1])));
        assert!(later.connect(tls::name().unwrap(), stream).await.is_err());
        for understood in [&both[..0], &both] {
            Raw::connect(&lab, config(understood)).await.greet().await;
        }
    });
}

#[test]
fn one_address_has_so_many_connections_that_say_nothing_and_sites_come_in_all_the_same() {
    run(async {
        let lab = Lab::new().await;
        lab.join(1).await;
        let address = lab.controller.addresses()[0];
        let mut silent = vec![];
        while lab.refused(Turned::Address) == 0 {
            silent.push(TcpStream::connect(address).await.unwrap());
            assert!(silent.len() < 1000, "there is no end of them");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(silent.len() >= 64);
        // Once they are gone, whoever was kept out comes in.
        let site = lab.follow(1);
        drop(silent);
        site.is_there().await;
    });
}

#[test]
fn a_site_says_hello_first_and_once_and_answers_only_what_it_was_told() {
    run(async {
        let lab = Lab::new().await;
        let identity = lab.join(1).await;
        let first = async |said: FromSite, greets: bool| {
            let mut site = Raw::site(&lab, &identity).await;
            if greets {
                site.greet().await;
            }
            let before = lab.refused(Turned::Words);
            site.say(said).await;
            site.ends().await;
            wait_for("it to be counted", async || lab.refused(Turned::Words) == before + 1).await;
        };
        first(report(1, 0), false).await;
        first(FromSite::Taken { version: 1 }, false).await;
        first(FromSite::Hello { version: 0, uplinks: vec![], release: String::new(), proof: String::new() }, true)
            .await;
        first(FromSite::Taken { version: 99 }, true).await;
        first(FromSite::Refused { version: 99, held: 0, why: "x".repeat(9999) }, true).await;
        let FromSite::Report(long) = report(1, 1) else { panic!() };
        let mut long = *long;
        long.paths[0].site = "x".repeat(2000);
        first(FromSite::Report(Box::new(long)), true).await;
        wait_for("all to be gone", async || lab.controller.connected() == 0).await;
    });
}

#[test]
fn a_site_that_reports_without_end_is_not_kept_and_counted_and_others_are() {
    run(async {
        let lab = Lab::new().await;
        let identity = lab.join(1).await;
        lab.join(2).await;
        let mut greedy = Raw::site(&lab, &identity).await;
        greedy.greet().await;
        let (mut sequence, mut kept) = (0, 0);
        loop {
            sequence += 1;
            greedy.say(report(sequence, 0)).await;
            match greedy.hear().await {
                Some(FromController::Kept { .. }) => kept += 1,
                Some(FromController::NotKept { .. }) => break,
                other => panic!("{other:?}"),
            }
            assert!(kept < 2000, "there is no end of it");
        }
        assert!(kept >= 360, "what has waited for as long as sites let it wait: {kept}");
        let excess = |of| lab.controller.metrics().excess.of(of).get();
        assert!(excess(Excess::Reports) >= 1);
        // It does not begin anew with another connection.
        let mut again = Raw::site(&lab, &identity).await;
        again.greet().await;
        let mut not_kept = 0;
        for next in 1..=3 {
            again.say(report(sequence + next, 0)).await;
            not_kept += u32::from(matches!(again.hear().await, Some(FromController::NotKept { .. })));
        }
        assert!(not_kept >= 2, "{not_kept}");
        let other = lab.follow(2);
        other.follower.reporter.add(&paths(1, 1), SystemTime::now());
        wait_for("the other's report to be kept", async || other.follower.waiting() == 0).await;
    });
}

#[test]
fn a_site_that_changes_itself_without_end_is_not_told_of_to_all_the_others() {
    run(async {
        let lab = Lab::new().await;
        let identity = lab.join(1).await;
        let revision = async || lab.controller.store().read(Query::Documents, documents::revision).await.unwrap().0;
        let before = revision().await;
        for port in 1..=40 {
            let mut site = Raw::site(&lab, &identity).await;
            let uplink = json!({ "name": "fibre", "public_key": KEYS[0], "endpoint": format!("192.0.2.9:{port}") });
            site.say(FromSite::Hello {
                version: 0,
                uplinks: vec![uplink],
                release: String::new(),
                proof: String::new(),
            })
            .await;
            assert!(matches!(site.hear().await, Some(FromController::Welcome { .. })));
        }
        let changes = revision().await - before;
        assert!((1..=21).contains(&changes), "{changes}");
        assert!(lab.controller.metrics().excess.of(Excess::Changes).get() >= 19);
    });
}

#[test]
fn who_but_says_that_it_was_told_more_has_nobody_told_anything() {
    run(async {
        let lab = Lab::new().await;
        let identity = lab.join(1).await;
        let store = lab.controller.store();
        let revision = async || store.read(Query::Documents, documents::revision).await.unwrap();
        let before = revision().await;
        let mut site = Raw::site(&lab, &identity).await;
        site.say(FromSite::Hello { version: 0, uplinks: uplink(1), release: String::new(), proof: String::new() })
            .await;
        site.hear().await;
        let Some(FromController::Push { proof: of_now, .. }) = site.hear().await else { panic!("nothing is told") };
        for proof in [String::new(), of_now, "no base64".to_owned()] {
            let mut site = Raw::site(&lab, &identity).await;
            site.say(FromSite::Hello { version: 500, uplinks: uplink(1), release: String::new(), proof }).await;
            assert!(matches!(site.hear().await, Some(FromController::Welcome { .. })));
            let knows = async || {
                let presence = store.read(Query::History, |c| health::presence(c, "north")).await.unwrap();
                presence.refused.is_some_and(|why| why.contains("accept --beyond 500"))
            };
            wait_for("the controller to say so", knows).await;
            assert_eq!(revision().await, before);
            assert!(!lab.controller.is_held_back());
        }
        let mut site = Raw::site(&lab, &identity).await;
        let proof = String::new();
        site.say(FromSite::Hello { version: 500, uplinks: uplink(1), release: String::new(), proof }).await;
        site.hear().await;
        assert_eq!(lab.controller.bring_into_force(Some(500), "ann").await.unwrap(), Some(501));
        let Some(FromController::Push { signed, .. }) = site.hear().await else { panic!("nothing is told") };
        let delta: Delta = serde_json::from_str(&signed.delta).unwrap();
        assert_eq!((delta.from, delta.to), (None, 501));
    });
}

#[test]
fn who_comes_again_takes_the_place_of_who_was_there_however_often() {
    run(async {
        let lab = Lab::new().await;
        let identity = lab.join(1).await;
        let mut first = Raw::site(&lab, &identity).await;
        first.greet().await;
        let mut others = vec![];
        for _ in 0..20 {
            let mut site = Raw::site(&lab, &identity).await;
            site.greet().await;
            others.push(site);
        }
        wait_for("one of them to be left", async || lab.controller.connected() == 1).await;
        let said = first.hear().await;
        assert!(matches!(&said, Some(FromController::Denied { why }) if why.contains("has come again")), "{said:?}");
        wait_for("the rest to be parted from", async || lab.refused(Turned::Parted) == 20).await;
    });
}

#[test]
fn who_does_not_read_what_it_is_told_keeps_nobody_else_waiting() {
    run(async {
        let lab = Lab::new().await;
        let identity = lab.join(1).await;
        lab.join(2).await;
        // Much, and nothing of it is read.
        let many = (0..400).map(|number| {
            let names: Vec<_> =
                (0..60).map(|name| format!("a-rather-long-name-{name}.of-{number}.example.com")).collect();
            let id = format!("app{number}");
            let body = Some(json!({ "name": id, "names": names }));
            Edit { kind: Kind::Application, id, body, expect: Expect::New }
        });
        lab.edit(many.collect()).await;
        let mut slow = Raw::site(&lab, &identity).await;
        slow.say(FromSite::Hello { version: 0, uplinks: uplink(1), release: String::new(), proof: String::new() })
            .await;
        wait_for("the slow one to be there", async || lab.controller.connected() == 1).await;
        let other = lab.follow(2);
        wait_for("the other to be told", async || other.follower.told().version > 0).await;
        lab.edit(policy("calls", "voice")).await;
        wait_for("and again", async || lab.in_force(2).0 == names(&["calls"])).await;
        assert_eq!(lab.controller.connected(), 2);
        // It is well when it reads at last.
        let mut octets = [0; 1];
        slow.0.read_exact(&mut octets).await.unwrap();
    });
}
