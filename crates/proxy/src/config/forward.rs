//! What a route says of requests that it passes on.

use outwork_config::{At, Fault, choice, section};

section! {
    /// Passes requests on to a pool of backends.
    #[required_keys]
    pub struct Forward {
        /// The pool, by its name in `[proxy.pool]`.
        pub pool: String,
        /// The host that backends are asked for.
        pub host: HostField = HostField::Client,
        /// How backends are told whose request it is. What clients say of that themselves is taken out.
        pub forwarded: Forwarded = Forwarded::XForwarded,
        /// Whether a request may switch to another protocol, as WebSockets do.
        pub upgrade: bool = true,
        /// Whether the answer says how long the backend took, by `Server-Timing`.
        pub server_timing: bool = false,
    }
    check forward;
}

choice! {
    /// The host that a backend is asked for.
    pub enum HostField {
        /// The one that the client asked for.
        Client = "client",
        /// That of the backend's URL.
        Backend = "backend",
    }
}

choice! {
    /// How backends are told whose request it is.
    pub enum Forwarded {
        /// By `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
        XForwarded = "x-forwarded",
        /// By `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
        /// By both.
        Both = "both",
        /// Not at all.
        Off = "off",
    }
}

fn forward(forward: &Forward, at: &mut At<'_>) {
    if forward.pool.is_empty() {
        at.fault("pool", Fault::new("it names no pool").expected("the NAME of a [proxy.pool.NAME]"));
    }
}
