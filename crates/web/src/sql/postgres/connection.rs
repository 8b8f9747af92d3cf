//! One connection to PostgreSQL.
//!
//! Parameters travel as texts beside the statement, and the server reads them as what the statement takes them for: an integer is compared with
//! a column of any number, a text becomes a date, a UUID or an enumeration. They are never part of the SQL.

use std::collections::{BTreeSet, HashMap};
use std::error::Error as StdError;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::TryStreamExt;
use outwork_config::Secret;
use tokio::runtime::Handle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::{Format, IsNull, ToSql, Type};
use tokio_postgres::{CancelToken, Client, Config, NoTls, Statement};

use super::decode::{self, DecodeError, Raw};
use super::tls::Tls;
use crate::sql::address::Server;
use crate::sql::config::{Database, Rows};
use crate::sql::constraint::Constraint;
use crate::sql::error::QueryError;
use crate::sql::metrics::SqlMetrics;
use crate::sql::parameter::Value;
use crate::sql::query::Prepared;
use crate::sql::render::{Form, More, RenderError, Sheet, changed};
use crate::sql::source::Output;

/// After how much silence the kernel looks whether the server's machine is still there, how often then, and how often in vain at most: within half a
/// minute it is known that a connection was cut, whether we wait for the server or it for us.
const QUIET: Duration = Duration::from_secs(15);
const PROBE: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

fn notice_cuts(config: &mut Config) {
    config.keepalives_idle(QUIET).keepalives_interval(PROBE).keepalives_retries(PROBES);
    config.tcp_user_timeout(QUIET + PROBE * PROBES);
}

/// How connections are opened.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    name: String,
    config: Config,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    tls: Option<Tls>,
    query_timeout: Duration,
    prepared: usize,
    runtime: Handle,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("cannot read the password in {path}: {source}")]
    Password { path: PathBuf, source: std::io::Error },
    #[error("the server does not answer in time")]
    Silent,
    #[error("{}", chain(.0))]
    Server(#[from] tokio_postgres::Error),
}

/// An error with what it comes of: the driver leaves that to who asks.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

impl Opening {
    pub(super) fn new(name: &str, server: &Server, settings: &Database, runtime: &Handle) -> Result<Self, String> {
        let mut config = Config::new();
        config.user(&server.user).dbname(&server.database).host(&server.host).port(server.port);
        config.application_name("outwork").connect_timeout(settings.connect_timeout);
        notice_cuts(&mut config);
        let encrypted = settings.tls.unwrap_or(!server.is_local());
        config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        let tls = encrypted.then(|| Tls::new(settings.ca.as_deref())).transpose()?;
        Ok(Self {
            name: name.to_owned(),
            config,
            password: settings.password.clone(),
            password_file: settings.password_file.clone(),
            tls,
            query_timeout: settings.query_timeout,
            prepared: settings.prepared.into(),
            runtime: runtime.clone(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// With the password as it is now.
    async fn config(&self) -> Result<Config, OpenError> {
        let mut config = self.config.clone();
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        if let Some(path) = &self.password_file {
            let file = path.clone();
            let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
            let read = read.map_err(std::io::Error::other).and_then(|read| read);
            let text = read.map_err(|source| OpenError::Password { path: path.clone(), source })?;
            config.password(text.lines().next().unwrap_or_default());
        }
        Ok(config)
    }

    /// Connects, and hands over the client and what has to be polled for it to work.
    pub(super) async fn connect(&self) -> Result<(Client, Driver), OpenError> {
        let config = self.config().await?;
        Ok(match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                (client, Box::new(connection))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, Box::new(connection))
            }
        })
    }

    /// Opens a connection that only reads until a transaction says otherwise.
    pub(super) async fn open(&self) -> Result<Connection, OpenError> {
        let (client, mut driver) = self.connect().await?;
        self.runtime.spawn(async move {
            // Its end is seen by the client. Notices are the server's own affair.
            while let Some(Ok(_)) = std::future::poll_fn(|context| driver.poll(context)).await {}
        });
        // The server stops by itself what nobody is there to stop any more.
        let patience = self.query_timeout.as_millis().saturating_add(1000).min(i32::MAX as u128);
        let setup = format!(
            "SET default_transaction_read_only = on; SET standard_conforming_strings = on; \
             SET statement_timeout = {patience}; SET idle_in_transaction_session_timeout = {patience}"
        );
        client.batch_execute(&setup).await?;
        Ok(Connection {
            client: Some(client),
            opened: Instant::now(),
            statements: HashMap::new(),
            most: self.prepared,
            tls: self.tls.clone(),
            database: self.name.clone(),
        })
    }
}

/// What moves a connection's bytes, whether encrypted or not.
pub(super) type Driver = Box<dyn Drive>;

/// Moves a connection's bytes.
pub(super) trait Drive: Send {
    /// The next message that answers nothing; `None` at the end.
    fn poll(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<tokio_postgres::AsyncMessage, tokio_postgres::Error>>>;
}

impl<T> Drive for tokio_postgres::Connection<tokio_postgres::Socket, T>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
{
    fn poll(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<tokio_postgres::AsyncMessage, tokio_postgres::Error>>> {
        self.poll_message(context)
    }
}

/// A connection.
pub(super) struct Connection {
    /// `None` once it was given up.
    client: Option<Client>,
    opened: Instant,
    statements: HashMap<String, Statement>,
    /// Statements that it keeps.
    most: usize,
    tls: Option<Tls>,
    database: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("database", &self.database).finish_non_exhaustive()
    }
}

/// Tells the server to stop what a connection does.
pub(super) struct Stop(Option<CancelToken>, Option<Tls>);

impl Stop {
    pub(super) async fn send(self) {
        let Self(Some(token), tls) = self else { return };
        let sent = match tls {
            Some(tls) => token.cancel_query(tls).await,
            None => token.cancel_query(NoTls).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "PostgreSQL could not be told to stop a query");
        }
    }
}

/// Why a query has failed here.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", chain(.0))]
    Server(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the connection was given up")]
    GivenUp,
}

/// What a statement has given.
struct Given {
    /// `None` without columns.
    sheet: Option<Sheet>,
    changes: u64,
}

impl Connection {
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.as_ref().is_none_or(Client::is_closed)
    }

    /// Uses it no more.
    pub(super) fn give_up(&mut self) {
        self.client = None;
    }

    pub(super) fn stop(&self) -> Stop {
        Stop(self.client.as_ref().map(Client::cancel_token), self.tls.clone())
    }

    /// Whether the server answers.
    pub(super) async fn works(&self) -> bool {
        match &self.client {
            Some(client) => client.check_connection().await.is_ok(),
            None => false,
        }
    }

    /// What the server says of a statement that it does not take.
    ///
    /// # Errors
    /// Why it says nothing.
    pub(super) async fn refuses(&self, sql: &str) -> Result<Option<String>, String> {
        let client = self.client().map_err(|failure| failure.to_string())?;
        match client.prepare(sql).await {
            Ok(_) => Ok(None),
            Err(error) => {
                error.as_db_error().map(|refused| Some(refused.message().to_owned())).ok_or_else(|| chain(&error))
            }
        }
    }

    /// Runs a query.
    pub(super) async fn run(
        &mut self,
        query: &Prepared,
        values: &[Value],
        form: Form,
        metrics: &SqlMetrics,
    ) -> Result<Output, QueryError> {
        let mut outcome = self.once(query, values, form, metrics).await;
        // A table was changed, or a pooler in between has another connection behind it: prepared anew, it may do. Nothing was changed yet.
        if let Err(Failure::Server(error)) = &outcome
            && matches!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED | &SqlState::INVALID_SQL_STATEMENT_NAME))
        {
            self.statements.clear();
            outcome = self.once(query, values, form, metrics).await;
        }
        outcome.map_err(|failure| self.explain(failure, &query.route))
    }

    async fn once(
        &mut self,
        query: &Prepared,
        values: &[Value],
        form: Form,
        metrics: &SqlMetrics,
    ) -> Result<Output, Failure> {
        if !query.write {
            let given = self.each(query, values, form, metrics).await?;
            let named = query.statements.iter().flat_map(|statement| &statement.tables);
            let tables: BTreeSet<String> = named.cloned().collect();
            return Ok(Output::new(given.sheet.and_then(Sheet::finish), tables));
        }
        self.client()?.batch_execute("START TRANSACTION READ WRITE").await?;
        let given = match self.each(query, values, form, metrics).await {
            Ok(given) => given,
            Err(failure) => {
                if self.client()?.batch_execute("ROLLBACK").await.is_err() {
                    self.give_up();
                }
                return Err(failure);
            }
        };
        self.client()?.batch_execute("COMMIT").await?;
        let named = query.statements.iter().flat_map(|statement| &statement.tables);
        let tables: BTreeSet<String> = named.cloned().collect();
        let body = match given.sheet {
            Some(sheet) => sheet.finish(),
            None if given.changes == 0 && query.bounds.rows == Rows::One => None,
            None => Some(changed(form, given.changes)),
        };
        Ok(Output::new(body, tables))
    }

    fn client(&self) -> Result<&Client, Failure> {
        self.client.as_ref().ok_or(Failure::GivenUp)
    }

    async fn prepare(&mut self, sql: &str, metrics: &SqlMetrics) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.get(sql) {
            metrics.reused.inc();
            return Ok(statement.clone());
        }
        if self.statements.len() >= self.most {
            // Those of a configuration before this one go with the rest.
            self.statements.clear();
        }
        let statement = self.client()?.prepare(sql).await?;
        metrics.prepared.inc();
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs every statement, and gives what the last one has given.
    async fn each(
        &mut self,
        query: &Prepared,
        values: &[Value],
        form: Form,
        metrics: &SqlMetrics,
    ) -> Result<Given, Failure> {
        let mut last = Given { sheet: None, changes: 0 };
        for (statement, binding) in query.statements.iter().zip(&query.bindings) {
            let ready = self.prepare(&statement.sql, metrics).await?;
            let values = binding.iter().map(|place| Argument(values.get(*place).unwrap_or(&Value::Null)));
            let values: Vec<Argument<'_>> = values.collect();
            let mut sheet = match ready.columns().is_empty() {
                true => None,
                false => {
                    let names = ready.columns().iter().map(tokio_postgres::Column::name);
                    Some(Sheet::new(form, query.bounds, names)?)
                }
            };
            let mut rows = pin!(self.client()?.query_raw(&ready, values).await?);
            let mut more = More::Wanted;
            while let Some(row) = rows.try_next().await? {
                // What is not wanted is still read: the server has sent it.
                let (Some(sheet), More::Wanted) = (&mut sheet, more) else { continue };
                sheet.row()?;
                for (index, column) in row.columns().iter().enumerate() {
                    let raw: Option<Raw<'_>> = row.try_get(index)?;
                    let cell = match raw {
                        Some(Raw(bytes)) => {
                            decode::cell(column.type_(), bytes).map_err(|error| error.of(column.name()))?
                        }
                        None => crate::sql::render::Cell::Null,
                    };
                    sheet.cell(&cell)?;
                }
                more = sheet.end_row()?;
            }
            last = Given { sheet, changes: rows.rows_affected().unwrap_or_default() };
        }
        Ok(last)
    }

    /// What the client is told of a failure. The log gets what the server says, but for values.
    fn explain(&mut self, failure: Failure, route: &str) -> QueryError {
        // The connection broke, or the server has said that it ends it, which may be heard of before its end is seen.
        let ends = |error: &tokio_postgres::Error| error.code().is_none_or(|code| code.code().starts_with("57P"));
        if matches!(&failure, Failure::Server(error) if ends(error)) {
            self.give_up();
        }
        let database = self.database.as_str();
        let error = match failure {
            Failure::Server(error) => error,
            failure => {
                tracing::warn!(database, route, error = %failure, "a query has no answer");
                return match failure {
                    Failure::Render(error) => error.into(),
                    _ => QueryError::Failed,
                };
            }
        };
        let Some(code) = error.code() else {
            tracing::warn!(database, route, error = chain(&error), "a query has failed: the connection broke");
            return QueryError::Unreachable;
        };
        let told = explained(code, error.as_db_error());
        let message = error.as_db_error().map_or("", |error| error.message());
        match told {
            QueryError::Failed => tracing::error!(database, route, code = code.code(), message, "a query has failed"),
            QueryError::Timeout => {}
            _ => tracing::debug!(database, route, code = code.code(), message, "a query was refused"),
        }
        told
    }
}

/// What a SQLSTATE means for who has sent the values.
fn explained(code: &SqlState, error: Option<&DbError>) -> QueryError {
    match code {
        code if *code == SqlState::QUERY_CANCELED => QueryError::Timeout,
        code => match code.code().get(..2) {
            Some("22") => QueryError::Value,
            Some("23" | "44") => QueryError::refused_by(error.and_then(Constraint::told_by_postgres)),
            // Serialization, deadlock.
            Some("40" | "55") => QueryError::Busy,
            // Insufficient resources, shutdown, start.
            Some("08" | "53" | "57") => QueryError::Unreachable,
            _ => QueryError::Failed,
        },
    }
}

/// A value on its way to the server, as text.
#[derive(Debug)]
struct Argument<'a>(&'a Value);

impl ToSql for Argument<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Number(number) => out.extend_from_slice(format!("{number:?}").as_bytes()),
            Value::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::Text(text) => out.extend_from_slice(text.as_bytes()),
            Value::Bytes(bytes) => {
                out.extend_from_slice(b"\\x");
                for byte in bytes {
                    out.extend_from_slice(format!("{byte:02x}").as_bytes());
                }
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_was_cut_is_noticed_within_half_a_minute() {
        let mut config = Config::new();
        notice_cuts(&mut config);
        let probed = config.get_keepalives_interval().zip(config.get_keepalives_retries());
        let silent = probed.map(|(interval, retries)| config.get_keepalives_idle() + interval * retries);
        let most = Duration::from_secs(30);
        assert!(config.get_keepalives() && silent.is_some_and(|silent| silent <= most), "{silent:?}");
        assert!(config.get_tcp_user_timeout().is_some_and(|unacknowledged| *unacknowledged <= most));
    }
}
