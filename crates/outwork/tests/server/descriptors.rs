//! File descriptors: as many as this process may have, and never so many connections that services find none.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::binary::{Place, install, text};

/// A place whose server is started with these limits, soft and hard.
fn place(soft: u32, hard: u32, settings: &str) -> Place {
    let mut place = Place::with(&format!(
        "{settings}[[front.listener]]\naddress = 'HOST:8080'\n[[front.route]]\npath = '/'\nrespond = {{ body = 'here' }}\n"
    ));
    let program = place.own_program();
    let own = program.with_extension("own");
    std::fs::rename(&program, &own).expect("a file");
    let script = format!("#!/bin/sh\nulimit -Sn {soft}; ulimit -Hn {hard}; exec {} \"$@\"\n", own.display());
    let written = place.path().join("script");
    std::fs::write(&written, script).expect("a file");
    install(&written, &program);
    place
}

/// Whether a request on it is answered.
fn is_served(stream: &mut TcpStream) -> bool {
    let mut some = [0; 100];
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok() && stream.read(&mut some).is_ok_and(|read| read > 0)
}

#[test]
fn clients_cannot_use_up_the_files_that_services_need() {
    let mut place = place(100, 400, "");
    place.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", place.pid())).expect("its limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("that of files");
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["400", "400"], "{files}");
    let address = format!("{}:8080", place.host());
    let mut streams: Vec<TcpStream> = (0..500).map(|_| TcpStream::connect(&address).expect("a connection")).collect();
    let served = streams.iter_mut().filter_map(|stream| is_served(stream).then_some(())).count();
    assert_eq!(served, 300, "a quarter is for others");
    // They have what they need: commands, and the audit log that each writes to.
    let token = place.must(&["token", "create", "someone", "--role", "viewer"]);
    assert!(!token.is_empty());
    let metrics = place.must(&["status"]);
    assert!(!metrics.is_empty());
    streams.truncate(200);
    let freed = || (0..100).any(|_| TcpStream::connect(&address).is_ok_and(|mut stream| is_served(&mut stream)));
    assert!(freed(), "who goes makes room");
}

#[test]
fn who_asks_for_more_connections_than_there_may_be_files_is_told() {
    let place = place(100, 400, "[front.limits]\nmax_connections = 301\n");
    let checked =
        std::process::Command::new(place.path().join("outwork")).current_dir(place.path()).arg("check").output();
    let said = text(&checked.expect("it runs").stderr);
    assert!(said.contains("301 connections may be open, and this process may open files for 300"), "{said}");
}
