//! What the configuration says of who knows the names of backends.

use std::net::SocketAddr;
use std::time::Duration;

use outwork_config::{At, Fault, hours, millis, mins, secs, section};

section! {
    /// Name servers, which are asked for the names of backends as long as their answers hold (TTL). Without this section the operating system is asked, every
    /// `resolve` of the pool, and name servers for services (`http+srv://NAME`) alone.
    pub struct Resolver {
        /// Their addresses and ports, the first one first; unset, those of `/etc/resolv.conf`. Names in `/etc/hosts` are found there in any case.
        pub servers: Vec<SocketAddr>,
        /// How long one has for an answer.
        pub timeout: Duration [range millis(10)..=secs(30)] = secs(2),
        /// How often they are asked before a look-up has failed.
        pub attempts: u32 [range 1..=10] = 2,
        /// What holds for less is asked for again after this.
        pub min_ttl: Duration [range millis(100)..=hours(1)] = secs(1),
        /// What holds for longer, too.
        pub max_ttl: Duration [range secs(1)..=hours(24)] = mins(5),
    }
    check resolver;
}

fn resolver(resolver: &Resolver, at: &mut At<'_>) {
    if resolver.min_ttl > resolver.max_ttl {
        let fault = Fault::new(format!("{:?} is more than max_ttl, {:?}", resolver.min_ttl, resolver.max_ttl));
        at.fault("min_ttl", fault.expected("at most max_ttl"));
    }
    for (index, server) in resolver.servers.iter().enumerate() {
        if server.port() == 0 || server.ip().is_unspecified() {
            let fault = Fault::new(format!("nobody can be asked at {server}")).expected("such as \"192.0.2.53:53\"");
            at.fault(&format!("servers[{index}]"), fault);
        }
    }
}
