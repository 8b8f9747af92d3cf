//! One fetches for all, and what is too much goes through.

use super::*;

#[test]
fn one_fetches_for_all_who_ask_meanwhile() {
    run(async {
        let (open, gate) = gate();
        let site = Site::new(
            |_| {},
            move |_, count| {
                held_back(
                    move || response(200, MINUTE, format!("answer {count}")),
                    gate.lock().unwrap().take().unwrap(),
                )
            },
        );
        let asks = async { futures_util::future::join_all((0..20).map(|_| site.get())).await };
        let (all, ()) = futures_util::future::join(asks, async {
            settle().await;
            open.send(()).unwrap();
        })
        .await;
        assert!(all.iter().all(|got| got.text() == "answer 1"));
        assert_eq!((site.times_asked(), site.count(Outcome::Miss), site.count(Outcome::Collapsed)), (1, 1, 19));
        assert_eq!(all.last().unwrap().cache(), "fwd=uri-miss; collapsed");
    });
}

#[test]
fn content_goes_to_its_client_and_to_who_waits_while_it_is_being_stored() {
    run(async {
        let (site, mut told) = streaming(|_| {}, Some(6));
        let first = async { site.begin("GET /", &[]) };
        let Answer::Later(first) = first.await else { panic!("it has to be fetched") };
        let first = first.await;
        let send = told.recv().await.unwrap();
        send.send(Ok("abc".into())).unwrap();
        let (Body::Stream(mut one), Answer::Later(second)) = (first.body, site.begin("GET /", &[])) else {
            panic!("both stream")
        };
        let second = second.await;
        let Body::Stream(mut other) = second.body else { panic!("it reads along") };
        use futures_util::StreamExt;
        assert_eq!(one.length, Some(6));
        assert_eq!(one.parts.next().await.unwrap().unwrap(), "abc");
        assert_eq!(other.parts.next().await.unwrap().unwrap(), "abc");
        send.send(Ok("def".into())).unwrap();
        drop(send);
        assert_eq!(other.parts.next().await.unwrap().unwrap(), "def");
        assert!(other.parts.next().await.is_none());
        settle().await;
        let third = site.get().await;
        assert_eq!((third.text(), third.now, site.times_asked()), ("abcdef", true, 1));
    });
}

#[test]
fn where_the_length_is_unknown_others_wait_for_the_end() {
    run(async {
        let (site, mut told) = streaming(|_| {}, None);
        let asks = futures_util::future::join(site.get(), site.get());
        let ((one, other), ()) = futures_util::future::join(asks, async {
            let send = told.recv().await.unwrap();
            send.send(Ok("abc".into())).unwrap();
            settle().await;
            send.send(Ok("def".into())).unwrap();
        })
        .await;
        assert_eq!((one.text(), other.text(), site.times_asked()), ("abcdef", "abcdef", 1));
    });
}

#[test]
fn a_client_that_goes_away_takes_nothing_from_those_who_wait() {
    run(async {
        let (open, gate) = gate();
        let site = Site::new(
            |_| {},
            move |_, count| {
                held_back(
                    move || response(200, MINUTE, format!("answer {count}")),
                    gate.lock().unwrap().take().unwrap(),
                )
            },
        );
        let mut leader = Box::pin(site.get());
        assert!(waits(&mut leader).await);
        let mut follower = Box::pin(site.get());
        assert!(waits(&mut follower).await);
        settle().await;
        drop(leader);
        open.send(()).unwrap();
        assert_eq!(follower.await.text(), "answer 1");
        assert!(site.get().await.now);
    });
}

#[test]
fn an_error_that_is_not_stored_keeps_nobody_from_storing_what_comes_after_it() {
    run(async {
        let site = Site::new(
            |settings| settings.default_ttl = Duration::from_secs(60),
            |_, count| match count {
                1 => response(503, &[("cache-control", "no-store")], "").into(),
                2 => response(404, &[("cache-control", "no-store")], "").into(),
                _ => response(200, &[], "there").into(),
            },
        );
        assert_eq!(site.get().await.cache(), "fwd=uri-miss; fwd-status=503; detail=no-store");
        assert_eq!(site.get().await.cache(), "fwd=uri-miss; fwd-status=404; detail=no-store");
        assert_eq!(site.get().await.cache(), "fwd=uri-miss; fwd-status=200; stored");
        assert_eq!(site.get().await.cache(), "hit; ttl=60");
    });
}

#[test]
fn what_could_not_be_stored_is_tried_again_once_the_settings_have_changed() {
    run(async {
        let mut site = Site::new(|_| {}, numbered(&[]));
        assert_eq!(site.get().await.cache(), "fwd=uri-miss; fwd-status=200; detail=no-lifetime");
        assert_eq!(site.get().await.cache(), "fwd=miss; fwd-status=200; detail=known-uncacheable");
        site.change(|settings| settings.ttl = Some(Duration::from_secs(60)));
        assert_eq!(site.get().await.cache(), "fwd=uri-miss; fwd-status=200; stored");
        assert_eq!(site.get().await.text(), "answer 3");
    });
}

#[test]
fn what_cannot_be_stored_releases_who_waits_and_is_remembered() {
    run(async {
        let (open, gate) = gate();
        let site = Site::new(
            |settings| settings.pass_ttl = Duration::from_secs(30),
            move |_, count| {
                let whole = move || response(200, &[("cache-control", "private")], format!("answer {count}"));
                match gate.lock().unwrap().take() {
                    Some(gate) => held_back(whole, gate),
                    None => whole().into(),
                }
            },
        );
        let asks = async { futures_util::future::join_all((0..3).map(|_| site.get())).await };
        let (all, ()) = futures_util::future::join(asks, async {
            settle().await;
            open.send(()).unwrap();
        })
        .await;
        let mut texts: Vec<_> = all.iter().map(Got::text).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["answer 1", "answer 2", "answer 3"], "each has its own");
        assert_eq!(all[0].cache(), "fwd=uri-miss; fwd-status=200; detail=private");
        let known = site.get().await;
        assert_eq!((known.cache(), known.now), ("fwd=miss; fwd-status=200; detail=known-uncacheable", true));
        site.pass(30);
        assert_eq!(site.get().await.cache(), "fwd=uri-miss; fwd-status=200; detail=private");
    });
}

#[test]
fn what_is_too_large_goes_through_with_the_conditions_of_its_client() {
    run(async {
        let site = Site::new(
            |settings| settings.max_entry = outwork_config::ByteSize::bytes(8),
            |request, _| {
                let whole = response(200, &[("cache-control", "max-age=60"), ("etag", "\"x\"")], "nine bytes!");
                conditioned_by_the_handler(request, whole).into()
            },
        );
        let part = site.ask_with("GET /", &[("range", "bytes=0-3")]).await;
        assert_eq!(
            (part.status, part.text(), part.cache()),
            (206, "nine", "fwd=uri-miss; fwd-status=200; detail=too-large")
        );
        let known = site.ask_with("GET /", &[("range", "bytes=5-9")]).await;
        assert_eq!((known.status, known.text()), (206, "bytes"));
        assert_eq!(site.last_asked().headers["range"], "bytes=5-9", "the handler sends no more than is asked for");
    });
}

fn conditioned_by_the_handler(request: &Request, whole: Response) -> Response {
    serve::conditioned(whole, &request.head).unwrap()
}

#[test]
fn what_turns_out_too_large_goes_on_to_its_client_alone() {
    run(async {
        let (site, mut told) = streaming(|settings| settings.max_entry = outwork_config::ByteSize::bytes(4), None);
        let asks = futures_util::future::join(site.get(), site.get());
        let ((one, other), ()) = futures_util::future::join(asks, async {
            let send = told.recv().await.unwrap();
            for part in ["abc", "def", "ghi"] {
                send.send(Ok(part.into())).unwrap();
                settle().await;
            }
        })
        .await;
        assert_eq!((one.text(), other.text()), ("abcdefghi", "answer 2"));
        assert_eq!(site.get().await.cache(), "fwd=miss; fwd-status=200; detail=known-uncacheable");
    });
}

#[test]
fn nobody_fetches_what_is_too_large_for_nobody() {
    run(async {
        let (site, mut told) = streaming(|settings| settings.max_entry = outwork_config::ByteSize::bytes(4), None);
        let Answer::Later(first) = site.begin("GET /", &[]) else { panic!("it has to be fetched") };
        drop(first.await);
        let send = told.recv().await.unwrap();
        let _ = send.send(Ok("abcdef".into()));
        settle().await;
        assert!(send.is_closed());
    });
}

#[test]
fn content_that_fails_is_not_stored_and_its_client_is_not_told_that_it_is_whole() {
    run(async {
        for (length, last) in [(None, Some(Err(BodyError::Malformed("broken")))), (Some(9), None), (Some(2), None)] {
            let (site, mut told) = streaming(|_| {}, length);
            let (got, ()) = futures_util::future::join(site.get(), async {
                let send = told.recv().await.unwrap();
                send.send(Ok("abc".into())).unwrap();
                if let Some(last) = last {
                    send.send(last).unwrap();
                }
            })
            .await;
            assert!(got.body.is_err(), "{length:?}: {got:?}");
            assert_eq!(site.get().await.text(), "answer 2");
        }
    });
}

#[test]
fn bytes_on_their_way_in_are_bounded_and_beyond_that_pass_through() {
    run(async {
        for length in [Some(6), None] {
            let (tell, mut told) = mpsc::unbounded_channel();
            let site = Site::with_room(
                5,
                |_| {},
                move |_, count| {
                    let (send, response) = streamed(response(200, MINUTE, ""), length);
                    tell.send((count, send)).unwrap();
                    response.into()
                },
            );
            for round in 1..3 {
                let (got, ()) = futures_util::future::join(site.get(), async {
                    let (count, send) = told.recv().await.unwrap();
                    assert_eq!(count, round, "it was not stored");
                    for part in ["abc", "def"] {
                        send.send(Ok(part.into())).unwrap();
                    }
                })
                .await;
                assert_eq!(got.text(), "abcdef");
                settle().await;
            }
            let store = &site.cached.0.store;
            assert_eq!((store.gathering.load(Ordering::Relaxed), store.metrics.limited.of(Limit::Bytes).get()), (0, 2));
        }
    });
}
