//! What ACME servers look for to see that a name is ours: over clear-text HTTP (RFC 8555 section 8.3) and in the handshake of
//! TLS (RFC 8737).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// The protocol that is agreed on to see a challenge's certificate (RFC 8737 section 4).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// Where an HTTP-01 challenge is looked for; its token follows.
pub(crate) const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

/// The challenges of the orders that are under way; as many as those have names.
#[derive(Default)]
pub struct Challenges {
    /// Key authorizations by token.
    http: RwLock<HashMap<String, String>>,
    /// By name.
    alpn: RwLock<HashMap<String, Arc<ServerConfig>>>,
    /// How many there are of the latter: no handshake takes a lock while there are none.
    pending: AtomicUsize,
}

/// A challenge that is answered for as long as this is held.
#[must_use = "dropped, the challenge is answered no more"]
pub(crate) struct Posted {
    challenges: Arc<Challenges>,
    key: Key,
}

enum Key {
    Token(String),
    Name(String),
}

impl Challenges {
    /// Answers an HTTP-01 challenge.
    pub(crate) fn post_http(self: &Arc<Self>, token: &str, key_authorization: &str) -> Posted {
        self.http.write().insert(token.to_owned(), key_authorization.to_owned());
        Posted { challenges: Arc::clone(self), key: Key::Token(token.to_owned()) }
    }

    /// Answers a TLS-ALPN-01 challenge for a name with this certificate.
    ///
    /// # Errors
    /// When rustls does not take it.
    pub(crate) fn post_alpn(self: &Arc<Self>, name: &str, key: CertifiedKey) -> Result<Posted, rustls::Error> {
        let resolver = Arc::new(SingleCertAndKey::from(key));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let mut alpn = self.alpn.write();
        alpn.insert(name.to_owned(), Arc::new(config));
        self.pending.store(alpn.len(), Ordering::Release);
        Ok(Posted { challenges: Arc::clone(self), key: Key::Name(name.to_owned()) })
    }

    /// What is answered at this path of a clear-text listener.
    pub(crate) fn http(&self, path: &str) -> Option<String> {
        self.http.read().get(path.strip_prefix(WELL_KNOWN)?).cloned()
    }

    /// What is answered to this handshake, if it asks for a challenge's certificate and for nothing else.
    pub(crate) fn alpn(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        if self.pending.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut protocols = hello.alpn()?;
        let (Some(ACME_TLS), None) = (protocols.next(), protocols.next()) else { return None };
        self.alpn.read().get(&hello.server_name()?.to_ascii_lowercase()).cloned()
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        match &self.key {
            Key::Token(token) => {
                self.challenges.http.write().remove(token);
            }
            Key::Name(name) => {
                let mut alpn = self.challenges.alpn.write();
                alpn.remove(name);
                self.challenges.pending.store(alpn.len(), Ordering::Release);
            }
        }
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges")
            .field("http", &self.http.read().len())
            .field("alpn", &self.alpn.read().len())
            .finish()
    }
}
