use std::future::poll_fn;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::spawn_local;

use super::line::Broken;
use super::*;
use crate::metrics::ProxyMetrics;
use crate::upstream::on_a_thread;

/// What a request was told: a status and its content, or what went wrong.
type Told = Result<(u16, String), String>;

/// A line of requests that are written already, with their numbers.
fn line(methods: &[Method]) -> (Line, Vec<usize>) {
    let mut line = Line::default();
    let numbers = methods.iter().map(|method| join(&mut line, method)).collect();
    line.wrote(line.unwritten().len());
    (line, numbers)
}

fn join(line: &mut Line, method: &Method) -> usize {
    line.join(method.clone(), |out| out.extend_from_slice(format!("{method} / HTTP/1.1\r\n\r\n").as_bytes()))
}

/// What a request is told of its answer so far; `None` while that has not ended.
fn told(line: &mut Line, number: usize) -> Option<Told> {
    let context = Context::from_waker(Waker::noop());
    let begun = match line.take_head(number, &context)? {
        Ok(begun) => begun,
        Err(error) => return Some(Err(error.to_string())),
    };
    let mut content = begun.whole.clone().unwrap_or_default().to_vec();
    while begun.whole.is_none() {
        match line.take_part(number, &context)? {
            Some(Ok(part)) => content.extend_from_slice(&part),
            Some(Err(error)) => return Some(Err(error.to_string())),
            None => break,
        }
    }
    Some(Ok((begun.reply.status.as_u16(), String::from_utf8(content).unwrap())))
}

/// What is understood of bytes that are read so many at a time, as a connection does it.
fn fed(line: &mut Line, bytes: &[u8], most: usize) -> Result<(), Broken> {
    let mut rest = BytesMut::new();
    for mut read in bytes.chunks(most) {
        if rest.is_empty() {
            line.understand(&mut read)?;
            rest.extend_from_slice(read);
        } else {
            rest.extend_from_slice(read);
            line.understand(&mut rest)?;
        }
    }
    Ok(())
}

fn ok(status: u16, content: &str) -> Option<Told> {
    Some(Ok((status, content.to_owned())))
}

fn again() -> Option<Told> {
    Some(Err(ExchangeError::BeforeItsTurn.to_string()))
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn each_request_gets_its_own_answer_however_the_bytes_are_cut() {
    let asked = [Method::GET, Method::HEAD, Method::GET, Method::GET, Method::GET, Method::GET, Method::GET];
    let said = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst",
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nHTT\r\n8\r\nP/1.1 20\r\n0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast",
    ]
    .concat();
    let expected =
        [ok(200, "first"), ok(200, ""), ok(204, ""), ok(304, ""), ok(200, "HTTP/1.1 20"), ok(404, ""), ok(200, "last")];
    for most in 1..=said.len() {
        let (mut line, numbers) = line(&asked);
        fed(&mut line, said.as_bytes(), most).unwrap();
        let early: Vec<bool> = numbers.iter().map(|number| line.take_early(*number).is_some()).collect();
        assert_eq!(early, [false, false, false, false, true, false, false], "{most} at a time");
        let told: Vec<_> = numbers.iter().map(|number| told(&mut line, *number)).collect();
        assert_eq!(told, expected, "{most} at a time");
        assert!(line.is_idle() && !line.is_closing());
        numbers.iter().for_each(|number| line.leave(*number));
        assert_eq!(line.len(), 0);
    }
}

#[test]
fn of_an_answer_that_can_be_read_in_two_ways_nothing_is_given_to_anybody() {
    for wrong in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "okHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let (mut line, numbers) = line(&[Method::GET, Method::GET, Method::GET]);
        let Err(broken) = fed(&mut line, [OK, wrong, OK, OK].concat().as_bytes(), 1 << 16) else {
            panic!("{wrong:?} is understood")
        };
        line.fail(broken.into());
        let told: Vec<_> = numbers.iter().map(|number| told(&mut line, *number)).collect();
        assert!(
            told[0] == ok(200, "ok") && matches!(told[1], Some(Err(_))) && told[2] == again(),
            "{wrong:?} {told:?}"
        );
        assert_ne!(told[1], again(), "it is said what is wrong with it");
        assert!(line.is_over() && line.is_spoilt());
    }
}

#[test]
fn an_answer_that_nobody_has_asked_for_ends_the_connection() {
    let (mut line, numbers) = line(&[Method::GET]);
    assert_eq!(fed(&mut line, [OK, OK].concat().as_bytes(), 1 << 16), Err(Broken::Unasked));
    assert!(line.is_spoilt());
    assert_eq!(told(&mut line, numbers[0]), ok(200, "ok"));
    // It came before the request was written, and is no answer to that.
    let (mut line, _) = self::line(&[]);
    let number = join(&mut line, &Method::GET);
    line.wrote(line.unwritten().len() - 1);
    assert_eq!(fed(&mut line, OK.as_bytes(), 1 << 16), Err(Broken::Unasked));
    line.fail(None);
    assert_eq!(told(&mut line, number), again());
}

#[test]
fn whoever_is_behind_an_answer_that_ends_the_connection_is_asked_again() {
    for (last, content) in [
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
    ] {
        for most in [1, 7, 1 << 16] {
            let (mut line, numbers) = line(&[const { Method::GET }; 4]);
            fed(&mut line, [OK, last].concat().as_bytes(), most).unwrap();
            line.ended(false);
            line.fail(None);
            let told: Vec<_> = numbers.iter().map(|number| told(&mut line, *number)).collect();
            assert_eq!(told, [ok(200, "ok"), ok(200, content), again(), again()], "{last:?}");
            assert!(line.is_over() && line.is_spoilt());
            let late = join(&mut line, &Method::GET);
            assert_eq!(self::told(&mut line, late), again(), "it takes no more");
        }
    }
}

#[test]
fn a_connection_that_breaks_off_fails_only_the_answer_that_had_begun() {
    for (begun, first) in [("", again()), ("HTTP/1.1 200 OK\r\nconte", None), (&OK[..OK.len() - 1], None)] {
        let (mut line, numbers) = line(&[Method::GET, Method::GET]);
        let mut read = begun.as_bytes();
        line.understand(&mut read).unwrap();
        let error = line.ended(read.has_remaining());
        assert_eq!(error.is_none(), first.is_some());
        line.fail(error);
        let told: Vec<_> = numbers.iter().map(|number| told(&mut line, *number)).collect();
        assert!(matches!(told[0], Some(Err(_))) && told[1] == again(), "{begun:?} {told:?}");
        assert!(first.is_none() || told[0] == first);
    }
}

#[test]
fn the_answer_to_who_has_left_is_read_away_where_it_is_small() {
    let small = "x".repeat(5000);
    let answer = |content: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{content}", content.len());
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1388\r\n{small}\r\n0\r\n\r\n");
    for left in [answer(&small), chunked.clone(), answer("")] {
        // Before its answer begins, and in its middle.
        for before in [0, left.len() - 2] {
            let (mut line, numbers) = line(&[Method::GET, Method::GET]);
            let mut rest = BytesMut::from(&left[..before]);
            line.understand(&mut rest).unwrap();
            line.leave(numbers[0]);
            rest.extend_from_slice(&left.as_bytes()[before..]);
            rest.extend_from_slice(OK.as_bytes());
            line.understand(&mut rest).unwrap();
            assert_eq!((told(&mut line, numbers[1]), line.len()), (ok(200, "ok"), 1));
        }
    }
    let large = answer(&"x".repeat(100_000));
    let (mut line, numbers) = line(&[Method::GET, Method::GET]);
    line.leave(numbers[0]);
    assert_eq!(fed(&mut line, &large.as_bytes()[..100], 100), Err(Broken::Unwanted));
    line.fail(None);
    assert_eq!(told(&mut line, numbers[1]), again());
    let (mut line, numbers) = self::line(&[Method::GET, Method::GET]);
    fed(&mut line, &large.as_bytes()[..100], 100).unwrap();
    line.leave(numbers[0]);
    assert!(line.is_over() && told(&mut line, numbers[1]) == again() && line.len() == 1);
    // Of one whose length nobody knows, as much is read away.
    let endless =
        ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &"1388\r\n@\r\n".replace('@', &small).repeat(20)];
    let (mut line, numbers) = self::line(&[Method::GET, Method::GET]);
    line.leave(numbers[0]);
    assert_eq!(fed(&mut line, endless.concat().as_bytes(), 1000), Err(Broken::Unwanted));
}

#[test]
fn no_more_is_read_than_the_first_client_takes() {
    let content = "x".repeat(150_000);
    let said = format!("HTTP/1.1 200 OK\r\ncontent-length: 150000\r\n\r\n{content}{OK}");
    let (mut line, numbers) = line(&[Method::GET, Method::GET]);
    let (mut head, mut rest) = (said.as_bytes(), BytesMut::new());
    head = &head[..1000];
    assert_eq!(line.understand(&mut head).unwrap(), Flow::More);
    let context = Context::from_waker(Waker::noop());
    assert_eq!(line.take_head(numbers[0], &context).unwrap().unwrap().length, Some(150_000));
    let (mut got, mut waited) = (0, 0);
    for part in said.as_bytes()[1000..].chunks(READ) {
        rest.extend_from_slice(part);
        while line.understand(&mut rest).unwrap() == Flow::Full {
            assert!(told(&mut line, numbers[1]).is_none() && line.is_full());
            waited += 1;
            while let Some(Some(Ok(part))) = line.take_part(numbers[0], &context) {
                got += part.len();
            }
        }
    }
    while let Some(Some(Ok(part))) = line.take_part(numbers[0], &context) {
        got += part.len();
    }
    assert!(got == 150_000 && waited > 0, "{got} {waited}");
    assert_eq!(told(&mut line, numbers[1]), ok(200, "ok"));
}

#[test]
fn who_is_late_is_the_first_and_nobody_behind_it_is_blamed() {
    let (mut line, numbers) = line(&[Method::GET, Method::GET, Method::GET]);
    assert!(matches!(line.late(numbers[0]), ExchangeError::Late));
    assert!(line.is_over() && line.is_spoilt());
    assert_eq!((told(&mut line, numbers[1]), told(&mut line, numbers[2])), (again(), again()));
    // One that is behind an answer that takes long leaves that alone.
    let (mut line, numbers) = self::line(&[Method::GET, Method::GET, Method::GET]);
    fed(&mut line, &OK.as_bytes()[..OK.len() - 1], 1 << 16).unwrap();
    assert!(matches!(line.late(numbers[2]), ExchangeError::BeforeItsTurn));
    assert_eq!((told(&mut line, numbers[1]), line.is_over()), (again(), false));
    fed(&mut line, b"k", 1).unwrap();
    assert_eq!((told(&mut line, numbers[0]), line.is_over()), (ok(200, "ok"), true));
}

#[test]
fn an_answer_that_has_begun_and_takes_long_holds_up_nobody() {
    let (mut line, numbers) = line(&[Method::GET, Method::GET]);
    line.spare_those_behind();
    assert!(!line.is_closing(), "it has not begun");
    fed(&mut line, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", 1 << 16).unwrap();
    assert!(line.is_held_up());
    line.spare_those_behind();
    assert_eq!(told(&mut line, numbers[1]), again());
    fed(&mut line, b"0\r\n\r\n", 1 << 16).unwrap();
    assert_eq!((told(&mut line, numbers[0]), line.is_over()), (ok(200, "ok"), true));
}

/// A connection that many share, and its other end.
fn pipe() -> (Rc<Pipe>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let counted = Counted::new(&Arc::<ProxyMetrics>::default(), None);
    (Pipe::of(Conn::new(Wire::Unix(ours), Instant::now(), counted)), theirs)
}

fn ask(pipe: &Rc<Pipe>, method: &Method, number: usize) -> Exchange {
    let head = format!("{method} /{number} HTTP/1.1\r\nhost: a\r\n\r\n");
    Exchange::begin(pipe, method.clone(), |out| out.extend_from_slice(head.as_bytes()))
}

async fn answered(mut exchange: Exchange) -> Result<(u16, Vec<u8>), ExchangeError> {
    let reply = poll_fn(|context| exchange.poll_reply(context)).await?;
    let mut content = Vec::new();
    while let Some(part) = poll_fn(|context| exchange.poll_part(context)).await {
        content.extend_from_slice(&part?);
    }
    Ok((reply.status.as_u16(), content))
}

/// The targets that are asked for in this, and how much of it they take.
fn targets(text: &[u8]) -> (Vec<usize>, usize) {
    let text = std::str::from_utf8(text).unwrap();
    let whole = text.rfind("\r\n\r\n").map_or(0, |at| at + 4);
    let heads = text[..whole].split_terminator("\r\n\r\n");
    (heads.map(|head| head.split(['/', ' ']).nth(2).unwrap().parse().unwrap()).collect(), whole)
}

/// The content that belongs to a number: of all sizes, and such that no two are alike.
fn content(number: usize) -> Vec<u8> {
    let size = [0, 1, 600, 10_000, 70_000, 200_000][number * 7 % 6] * usize::from(!number.is_multiple_of(11));
    let mark = format!("<{number}>");
    let mut content = mark.repeat(size / mark.len() + 1).into_bytes();
    content.truncate(size);
    content
}

/// The answer to one: some in chunks, some with what comes before an answer.
fn answer(number: usize) -> Vec<u8> {
    let content = content(number);
    let hints = if number.is_multiple_of(5) { "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" } else { "" };
    if number.is_multiple_of(13) {
        return format!("{hints}HTTP/1.1 304 Not Modified\r\ncontent-length: {}\r\n\r\n", content.len()).into_bytes();
    }
    if number % 3 == 1 {
        let mut out = format!("{hints}HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
        if !number.is_multiple_of(17) {
            for chunk in content.chunks(4999) {
                out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(&[chunk, b"\r\n"].concat());
            }
            out.extend_from_slice(b"0\r\n\r\n");
        }
        return out;
    }
    let head = format!("{hints}HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", content.len());
    match number.is_multiple_of(17) {
        // To HEAD.
        true => head.into_bytes(),
        false => [head.into_bytes(), content].concat(),
    }
}

#[test]
fn requests_of_one_turn_go_out_in_one_write() {
    on_a_thread(async {
        let (pipe, mut backend) = pipe();
        let asked: Vec<Exchange> = (0..50).map(|number| ask(&pipe, &Method::GET, number)).collect();
        let mut read = vec![0; 1 << 16];
        let length = backend.read(&mut read).await.unwrap();
        assert_eq!(targets(&read[..length]).0, (0..50).collect::<Vec<_>>());
        let answers: Vec<u8> =
            (0..50).flat_map(|number| OK.replace("ok", &format!("{number:02}")).into_bytes()).collect();
        backend.write_all(&answers).await.unwrap();
        for (number, exchange) in asked.into_iter().enumerate() {
            assert_eq!(answered(exchange).await.unwrap(), (200, format!("{number:02}").into_bytes()));
        }
        assert!(pipe.idle_since().is_some() && pipe.has_room(1) && pipe.served.get() == 50);
        // Who has it no more ends it.
        drop(pipe);
        assert_eq!(backend.read(&mut read).await.unwrap(), 0);
    });
}

#[test]
fn thousands_of_requests_get_their_own_answers_of_all_sizes_and_framings() {
    on_a_thread(async {
        let (pipe, mut backend) = pipe();
        spawn_local(async move {
            let (mut text, mut read) = (Vec::new(), vec![0; 1 << 16]);
            while let Ok(length @ 1..) = backend.read(&mut read).await {
                text.extend_from_slice(&read[..length]);
                let (numbers, taken) = targets(&text);
                text.drain(..taken);
                let answers: Vec<u8> = numbers.into_iter().flat_map(answer).collect();
                // Cut anywhere.
                for part in answers.chunks(33_333) {
                    backend.write_all(part).await.unwrap();
                }
            }
        });
        let next = Rc::new(Cell::new(0_usize));
        let clients: Vec<_> = (0..64)
            .map(|client| {
                let (pipe, next) = (Rc::clone(&pipe), Rc::clone(&next));
                spawn_local(async move {
                    while next.get() < 3000 {
                        let number = next.replace(next.get() + 1);
                        let method = if number.is_multiple_of(17) { Method::HEAD } else { Method::GET };
                        let exchange = ask(&pipe, &method, number);
                        // Some do not stay for it.
                        if number % 29 == 3 && content(number).len() < 65_000 {
                            continue;
                        }
                        let (status, got) = answered(exchange).await.unwrap();
                        let unchanged = number.is_multiple_of(13);
                        let expected = if unchanged || method == Method::HEAD { Vec::new() } else { content(number) };
                        assert_eq!(status, if unchanged { 304 } else { 200 }, "{number} of {client}");
                        assert!(got == expected, "{number} of {client}: {} octets", got.len());
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        assert!(!pipe.is_over());
    });
}

#[test]
fn a_backend_that_closes_after_some_answers_has_the_others_asked_again() {
    on_a_thread(async {
        let (pipe, mut backend) = pipe();
        let asked: Vec<Exchange> = (0..10).map(|number| ask(&pipe, &Method::GET, number)).collect();
        let mut read = vec![0; 1 << 16];
        let length = backend.read(&mut read).await.unwrap();
        assert_eq!(targets(&read[..length]).0.len(), 10);
        backend.write_all(OK.repeat(4).as_bytes()).await.unwrap();
        drop(backend);
        let mut told = Vec::new();
        for exchange in asked {
            told.push(answered(exchange).await);
        }
        assert!(told[..4].iter().all(|told| matches!(told, Ok((200, content)) if content == b"ok")), "{told:?}");
        assert!(told[4..].iter().all(|told| matches!(told, Err(ExchangeError::BeforeItsTurn))), "{told:?}");
        assert!(pipe.is_over() && pipe.is_spoilt() && !pipe.has_room(100));
    });
}

#[test]
fn a_backend_that_ends_an_idle_connection_is_not_taken_for_one_that_gets_along_badly() {
    on_a_thread(async {
        let (pipe, backend) = pipe();
        drop(backend);
        let asked = RefCell::new(ask(&pipe, &Method::GET, 0));
        let told = poll_fn(|context| asked.borrow_mut().poll_reply(context)).await;
        assert!(matches!(told, Err(ExchangeError::BeforeItsTurn)), "{told:?}");
        assert!(pipe.is_over() && !pipe.is_spoilt());
    });
}

#[test]
fn what_a_backend_says_before_a_request_is_no_answer_to_it() {
    on_a_thread(async {
        let (pipe, mut backend) = pipe();
        backend.write_all(OK.as_bytes()).await.unwrap();
        while !pipe.is_over() {
            tokio::task::yield_now().await;
        }
        let told = answered(ask(&pipe, &Method::GET, 0)).await;
        assert!(matches!(told, Err(ExchangeError::BeforeItsTurn)), "{told:?}");
        assert!(pipe.is_over() && pipe.is_spoilt());
    });
}

#[test]
fn a_connection_whose_answers_stand_still_takes_no_more_requests() {
    on_a_thread(async {
        let (pipe, mut backend) = pipe();
        let now = Instant::now();
        assert_eq!((pipe.look(now), pipe.look(now)), (None, None), "nobody waits");
        let mut first = ask(&pipe, &Method::GET, 0);
        assert_eq!((pipe.look(now), pipe.has_room(8)), (None, true), "it may have come just now");
        assert_eq!((pipe.look(now), pipe.has_room(8)), (Some(now), false));
        let later = now + Duration::from_secs(5);
        assert_eq!(pipe.look(later), Some(now), "since when it is so");
        assert!(backend.read(&mut [0; 1000]).await.unwrap() > 0);
        backend.write_all(OK.as_bytes()).await.unwrap();
        assert!(poll_fn(|context| first.poll_reply(context)).await.is_ok());
        assert_eq!((pipe.look(later), pipe.has_room(8)), (None, true));
    });
}
