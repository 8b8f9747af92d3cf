//! What a listener believes of connections that are passed on to it.

use outwork_config::{At, Fault, section};

use crate::filter::Network;

section! {
    /// The PROXY protocol (haproxy's, versions 1 and 2): a header in front of each connection that says whose it is. Addresses, limits and logs then go by
    /// that, and so does whether it has come by TLS, where the header says it has. Of HTTP/3 there is no such thing.
    pub struct ProxyProtocol {
        /// Networks of proxies that write one. Their connections have to begin with it, within `front.limits.header_timeout`; of all others it is no more than
        /// a malformed request.
        pub from: Vec<Network>,
    }
    check some;
}

fn some(settings: &ProxyProtocol, at: &mut At<'_>) {
    if settings.from.is_empty() {
        let fault = Fault::new("no proxy is trusted, so that no header would be read").expected("networks of proxies");
        at.fault(
            "from",
            fault.help("write from = [\"192.0.2.1\"] with the addresses of the proxies before this server"),
        );
    }
}
