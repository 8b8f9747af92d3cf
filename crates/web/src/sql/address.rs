//! Where a database is: `sqlite:PATH` or `postgres://USER@HOST:PORT/DATABASE`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use outwork_config::{Fault, Faults, Node, Origin, Setting};

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A file of SQLite's.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(Server),
}

/// Where a PostgreSQL server is, and whose database of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The user.
    pub user: String,
    /// A name, an address, or the directory of a socket.
    pub host: String,
    /// The port; it is part of the name of a socket, too.
    pub port: u16,
    /// The database.
    pub database: String,
}

/// Which SQL a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

/// Why a text is no address of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It begins with something else.
    #[error("it begins with neither sqlite: nor postgres://")]
    Scheme,
    /// The file has no name.
    #[error("it names no file")]
    File,
    /// It has a password, which would be shown wherever the address is.
    #[error("there is a password in it")]
    Password,
    /// The user is missing.
    #[error("it names no user")]
    User,
    /// The host is missing.
    #[error("it names no host")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
    /// The database is missing.
    #[error("it names no database")]
    Database,
    /// It says more than an address does.
    #[error("what follows the database is not known; only ?host=/directory is")]
    Rest,
    /// An escape is no percent sign with two hexadecimal digits, or the text is not UTF-8.
    #[error("an escape in it is malformed")]
    Escape,
}

impl Address {
    /// The SQL that is spoken there.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

impl Server {
    /// Whether it is reached by a socket of this machine.
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Whether nothing leaves this machine on the way to it.
    pub fn is_local(&self) -> bool {
        self.is_socket()
            || self.host == "localhost"
            || self.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return match path.is_empty() || path.contains('\0') {
                true => Err(AddressError::File),
                false => Ok(Self::Sqlite(path.into())),
            };
        }
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        rest.ok_or(AddressError::Scheme).and_then(server).map(Self::Postgres)
    }
}

fn server(text: &str) -> Result<Server, AddressError> {
    let (authority, rest) = text.split_once('/').ok_or(AddressError::Database)?;
    let (user, place) = authority.rsplit_once('@').ok_or(AddressError::User)?;
    if user.contains(':') {
        return Err(AddressError::Password);
    }
    let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
        Some((address, port)) => (address, port.strip_prefix(':').or((port.is_empty()).then_some(""))),
        None => place.split_once(':').map_or((place, Some("")), |(host, port)| (host, Some(port))),
    };
    let port = match port.ok_or(AddressError::Port)? {
        "" if place.ends_with(':') => return Err(AddressError::Port),
        "" => 5432,
        digits => digits.parse().ok().filter(|port| *port > 0).ok_or(AddressError::Port)?,
    };
    let (database, query) = rest.split_once('?').map_or((rest, None), |(database, query)| (database, Some(query)));
    let host = match (unescaped(host)?, query) {
        (host, None) => host,
        (host, Some(query)) if host.is_empty() => {
            unescaped(query.strip_prefix("host=").filter(|host| !host.contains('&')).ok_or(AddressError::Rest)?)?
        }
        _ => return Err(AddressError::Rest),
    };
    let server = Server { user: unescaped(user)?, host, port, database: unescaped(database)? };
    match &server {
        Server { user, .. } if user.is_empty() => Err(AddressError::User),
        Server { host, .. } if host.is_empty() => Err(AddressError::Host),
        Server { database, .. } if database.is_empty() => Err(AddressError::Database),
        _ => Ok(server),
    }
}

fn unescaped(text: &str) -> Result<String, AddressError> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| (byte as char).to_digit(16));
                let (high, low) = digit().zip(digit()).ok_or(AddressError::Escape)?;
                (high << 4 | low) as u8
            }
            byte => byte,
        });
    }
    match plain.contains(&0) {
        true => Err(AddressError::Escape),
        false => String::from_utf8(plain).map_err(|_| AddressError::Escape),
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => escaped.push(byte as char),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(Server { user, host, port, database }) => {
                let (user, database) = (escaped(user), escaped(database));
                match host.contains(':') {
                    true => write!(f, "postgres://{user}@[{host}]:{port}/{database}"),
                    false => write!(f, "postgres://{user}@{}:{port}/{database}", escaped(host)),
                }
            }
        }
    }
}

impl Setting for Address {
    fn expected() -> String {
        "sqlite:PATH or postgres://USER@HOST:PORT/DATABASE".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        let Some(text) = node.text() else { return faults.wrong(node) };
        match text.parse() {
            Ok(address) => Some(address),
            Err(error) => {
                let help = match error {
                    AddressError::Password => "write it into a file and name that as password_file",
                    AddressError::Host => "for a socket, write postgres://USER@/DATABASE?host=/run/postgresql",
                    _ => "for example sqlite:site.db, or postgres://web@db.example.org/site",
                };
                let fault = Fault::new(error.to_string()).expected(Self::expected()).help(help);
                // There may be a password in it.
                faults.on(node, fault.secret());
                None
            }
        }
    }

    fn write(&self) -> serde_json::Value {
        self.to_string().into()
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({"type": "string", "pattern": "^(sqlite:|postgres(ql)?://)", "examples": ["sqlite:site.db", "postgres://web@127.0.0.1/site"]})
    }

    fn place(&mut self, node: Option<&Node>, folder: &Path) {
        if let Self::Sqlite(path) = self
            && let Origin::File(_) | Origin::Default = node.map_or(&Origin::Default, Node::origin)
        {
            *path = folder.join(&*path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_file_or_a_user_at_a_server() {
        assert_eq!("sqlite:a/b.db".parse(), Ok(Address::Sqlite("a/b.db".into())));
        let server = |text: &str| match text.parse() {
            Ok(Address::Postgres(server)) => (server.user, server.host, server.port, server.database),
            other => panic!("{text}: {other:?}"),
        };
        let of = |user: &str, host: &str, port, database: &str| (user.into(), host.into(), port, database.into());
        assert_eq!(server("postgres://web@db.example.org/site"), of("web", "db.example.org", 5432, "site"));
        assert_eq!(server("postgresql://web@[::1]:5433/site"), of("web", "::1", 5433, "site"));
        assert_eq!(server("postgres://w%40b@/site?host=/run/pg"), of("w@b", "/run/pg", 5432, "site"));
        assert_eq!(server("postgres://w@%2Frun%2Fpg:7/s"), of("w", "/run/pg", 7, "s"));
        for text in ["postgres://web@[::1]:5433/site", "postgres://w%40b@%2Frun%2Fpg:5432/s%20x", "sqlite:/a b.db"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_told_apart() {
        for (text, error) in [
            ("mysql://a@b/c", AddressError::Scheme),
            ("sqlite:", AddressError::File),
            ("postgres://a:secret@b/c", AddressError::Password),
            ("postgres://b/c", AddressError::User),
            ("postgres://@b/c", AddressError::User),
            ("postgres://a@/c", AddressError::Host),
            ("postgres://a@b", AddressError::Database),
            ("postgres://a@b/", AddressError::Database),
            ("postgres://a@b:x/c", AddressError::Port),
            ("postgres://a@b:0/c", AddressError::Port),
            ("postgres://a@b:/c", AddressError::Port),
            ("postgres://a@b/c?sslmode=off", AddressError::Rest),
            ("postgres://a%4@b/c", AddressError::Escape),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }
}
