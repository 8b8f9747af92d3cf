//! A Redis server: where it is, and as whom it is spoken to. Whoever speaks to Redis beside the cache says it alike.

use std::path::{Path, PathBuf};

use outwork_config::{At, Fault, Secret};
use redis::IntoConnectionInfo;

/// The longest prefix: it is in every key.
const PREFIX: usize = 64;

/// What a configuration says of a server.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// `redis://host:6379/0`, `rediss://` for TLS, or `unix:///run/redis.sock`.
    pub url: &'a str,
    /// The user, where Redis has users.
    pub user: Option<&'a str>,
    /// The password.
    pub password: Option<&'a Secret>,
    /// Certificates (PEM) of who may vouch for it; `None` for those of the operating system.
    pub ca: Option<&'a Path>,
    /// What every key there begins with.
    pub prefix: &'a str,
}

/// Why a server cannot be spoken to, whether it is there or not.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The certificates cannot be read.
    #[error("cannot read ca {path}: {source}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address or the certificates cannot be used.
    #[error("{0}")]
    Client(redis::RedisError),
}

impl Server<'_> {
    /// What connects to it.
    ///
    /// # Errors
    /// When the address is none, or the certificates cannot be used.
    pub fn client(&self) -> Result<redis::Client, ServerError> {
        let info = self.url.into_connection_info().map_err(ServerError::Client)?;
        let mut redis = info.redis_settings().clone();
        if let Some(user) = self.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = self.password {
            redis = redis.set_password(password.expose());
        }
        let info = info.set_redis_settings(redis);
        if self.url.starts_with("rediss:") {
            // Where other crates bring other providers, one has to be named. An error says that one is.
            _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        match self.ca {
            None => redis::Client::open(info),
            Some(path) => {
                let read = std::fs::read(path);
                let failed = |source| ServerError::Certificates { path: path.to_owned(), source };
                let root_cert = Some(read.map_err(failed)?);
                redis::Client::build_with_tls(info, redis::TlsCertificates { client_tls: None, root_cert })
            }
        }
        .map_err(ServerError::Client)
    }

    /// Finds fault with what cannot be, at the keys `url`, `ca` and `prefix` of the section `name`.
    pub fn check(&self, name: &str, at: &mut At<'_>) {
        const FORMS: &str = "redis://host:port, rediss://host:port or unix:///path";
        if self.prefix.len() > PREFIX {
            let fault = Fault::new(format!("{} bytes", self.prefix.len()));
            at.fault("prefix", fault.expected(format!("at most {PREFIX}")));
        }
        let Some(url) = redis::parse_redis_url(self.url) else {
            let fault = Fault::new("found no address of a Redis server");
            return at.fault("url", fault.expected(FORMS).secret());
        };
        if url.password().is_some() || !url.username().is_empty() {
            let fault = Fault::new("there is a user or a password in it").expected("an address alone").secret();
            let help = format!("write them as {name}.user and {name}.password: the latter is never shown");
            return at.fault("url", fault.help(help));
        }
        if let Err(error) = url.into_connection_info() {
            at.fault("url", Fault::new(error.to_string()).expected(FORMS));
        }
        if self.ca.is_some() && !self.url.starts_with("rediss:") {
            at.fault("ca", Fault::new("url is not encrypted").expected("a url that begins with rediss://"));
        }
    }
}
