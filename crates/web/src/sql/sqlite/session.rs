//! A connection to a file of SQLite's.
//!
//! Which tables a statement reads and changes is told by SQLite itself, through views and triggers, when it is prepared (its authorizer).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::ffi::ErrorCode;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, InterruptHandle, OpenFlags, Statement, ToSql};

use crate::sql::constraint::Constraint;
use crate::sql::error::QueryError;
use crate::sql::metrics::SqlMetrics;
use crate::sql::parameter::Value;
use crate::sql::query::Prepared;
use crate::sql::render::{Cell, Form, More, RenderError, Sheet, changed};
use crate::sql::source::{Looked, Output};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It reads, and cannot do anything else.
    Reader,
    /// It changes.
    Writer,
}

/// How connections are opened.
#[derive(Debug)]
pub(super) struct Opening {
    /// What the configuration calls the database.
    pub(super) database: String,
    pub(super) path: PathBuf,
    pub(super) role: Role,
    pub(super) busy_timeout: Duration,
    /// Statements that stay prepared.
    pub(super) prepared: usize,
    pub(super) pragmas: BTreeMap<String, String>,
    pub(super) metrics: Arc<SqlMetrics>,
}

/// Rows of tables and values on the way to an answer may have so many bytes, however small the answer has to be.
const ROW: usize = 16 << 20;

/// A connection.
pub(super) struct Session {
    connection: Connection,
    database: String,
    told: Arc<Mutex<Told>>,
    /// The tables of statements that were prepared.
    known: HashMap<String, Arc<Tables>>,
    /// Statements that are known at most.
    most: usize,
    metrics: Arc<SqlMetrics>,
    path: PathBuf,
    file: Option<(u64, u64)>,
    opened: Instant,
    /// Of the database, as others change it.
    version: Option<i64>,
}

/// What SQLite has told of a statement while it was prepared.
#[derive(Debug, Default)]
struct Told {
    asked: bool,
    tables: Tables,
}

/// Tables in small letters.
#[derive(Debug, Default, Clone)]
struct Tables {
    read: BTreeSet<String>,
    changed: BTreeSet<String>,
}

impl Tables {
    fn extend(&mut self, other: &Self) {
        self.read.extend(other.read.iter().cloned());
        self.changed.extend(other.changed.iter().cloned());
    }
}

/// Why a query has failed here.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// What a statement has given.
struct Given {
    /// `None` without columns.
    sheet: Option<Sheet>,
    changes: u64,
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Number(number) => ValueRef::Real(*number),
            Self::Boolean(value) => ValueRef::Integer((*value).into()),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Session {
    pub(super) fn open(opening: &Opening) -> rusqlite::Result<Self> {
        let access = match opening.role {
            Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let mut connection = Connection::open_with_flags(&opening.path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(opening.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(opening.prepared);
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        for (name, value) in &opening.pragmas {
            connection.pragma_update(None, name, value)?;
        }
        if opening.role == Role::Reader {
            connection.pragma_update(None, "query_only", true)?;
        }
        let told = Arc::<Mutex<Told>>::default();
        let teller = Arc::clone(&told);
        connection.authorizer(Some(move |context: AuthContext<'_>| teller.lock().tell(context.action)))?;
        Ok(Self {
            file: identity(&opening.path),
            connection,
            database: opening.database.clone(),
            told,
            known: HashMap::new(),
            most: opening.prepared.saturating_mul(2),
            metrics: Arc::clone(&opening.metrics),
            path: opening.path.clone(),
            opened: Instant::now(),
            version: None,
        })
    }

    pub(super) fn interrupt_handle(&self) -> InterruptHandle {
        self.connection.get_interrupt_handle()
    }

    /// What SQLite says of a statement that it does not take.
    pub(super) fn refuses(&self, sql: &str) -> Option<String> {
        let error = self.connection.prepare(sql).err()?;
        Some(match error {
            // What is behind it is the statement again.
            rusqlite::Error::SqlInputError { msg, .. } | rusqlite::Error::SqliteFailure(_, Some(msg)) => msg,
            error => error.to_string(),
        })
    }

    /// Whether it has been used long enough, or another file has come in the place of its own.
    pub(super) fn is_outdated(&mut self, now: Instant, max_lifetime: Duration) -> bool {
        now.duration_since(self.opened) >= max_lifetime || identity(&self.path) != self.file
    }

    /// Whether others have changed the database since the last time.
    pub(super) fn look(&mut self) -> Result<Looked, QueryError> {
        let version = self.connection.pragma_query_value(None, "data_version", |row| row.get(0));
        let version: i64 = version.map_err(|error| self.explain(error.into(), "PRAGMA data_version"))?;
        let before = self.version.replace(version);
        Ok(if before == Some(version) { Looked::Same } else { Looked::Changed })
    }

    /// Runs a query.
    pub(super) fn run(&mut self, query: &Prepared, values: &[Value], form: Form) -> Result<Output, QueryError> {
        let begun = Instant::now();
        let outcome = self.bound(query).and_then(|()| match query.write {
            true => self.change(query, values, form),
            false => self.read(query, values, form),
        });
        self.metrics.query_time.record(begun.elapsed());
        outcome.map_err(|failure| self.explain(failure, &query.route))
    }

    /// Keeps SQLite from making a value or a row that is larger than may be.
    fn bound(&self, query: &Prepared) -> Result<(), Failure> {
        let most = query.bounds.max_size.max(query.max_body).max(ROW);
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(most).unwrap_or(i32::MAX))?;
        Ok(())
    }

    fn read(&mut self, query: &Prepared, values: &[Value], form: Form) -> Result<Output, Failure> {
        let mut tables = Tables::default();
        let given = self.each(query, values, form, &mut tables)?;
        let body = given.sheet.and_then(Sheet::finish);
        Ok(Output::new(body, tables.read))
    }

    fn change(&mut self, query: &Prepared, values: &[Value], form: Form) -> Result<Output, Failure> {
        let mut tables = Tables::default();
        // It is rolled back where anything fails, also when it is dropped half-way.
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let given = self.each(query, values, form, &mut tables);
        let given = match given.and_then(|given| Ok(self.connection.execute_batch("COMMIT").map(|()| given)?)) {
            Ok(given) => given,
            Err(failure) => {
                if !self.connection.is_autocommit() {
                    self.connection.execute_batch("ROLLBACK")?;
                }
                return Err(failure);
            }
        };
        let body = match given.sheet {
            Some(sheet) => sheet.finish(),
            None => touched(query, form, given.changes),
        };
        Ok(Output::new(body, tables.changed))
    }

    /// Runs every statement, and gives what the last one has given.
    fn each(&mut self, query: &Prepared, values: &[Value], form: Form, tables: &mut Tables) -> Result<Given, Failure> {
        let mut last = Given { sheet: None, changes: 0 };
        for (statement, binding) in query.statements.iter().zip(&query.bindings) {
            *self.told.lock() = Told::default();
            let mut ready = self.connection.prepare_cached(&statement.sql)?;
            for (index, place) in binding.iter().enumerate() {
                ready.raw_bind_parameter(index + 1, values.get(*place).unwrap_or(&Value::Null))?;
            }
            let sheet = rows(&mut ready, query, form)?;
            drop(ready);
            last = Given { sheet, changes: self.connection.changes() };
            // A schema that has changed has it prepared again while it runs.
            let told = std::mem::take(&mut *self.told.lock());
            let known = match (told.asked, self.known.get(&statement.sql)) {
                (false, Some(known)) => {
                    self.metrics.reused.inc();
                    Arc::clone(known)
                }
                _ => {
                    self.metrics.prepared.inc();
                    // What a reload has left behind goes with the rest.
                    if self.known.len() >= self.most {
                        self.known.clear();
                        self.connection.flush_prepared_statement_cache();
                    }
                    let known = Arc::new(told.tables);
                    self.known.insert(statement.sql.clone(), Arc::clone(&known));
                    known
                }
            };
            tables.extend(&known);
        }
        Ok(last)
    }

    /// What the client is told of a failure. The log gets all of it.
    fn explain(&self, failure: Failure, route: &str) -> QueryError {
        let database = self.database.as_str();
        let error = match failure {
            Failure::Sqlite(error) => error,
            Failure::Render(error) => {
                tracing::warn!(database, route, %error, "a query has no answer");
                return error.into();
            }
        };
        let (code, extended, message) = match &error {
            rusqlite::Error::SqliteFailure(error, message) => {
                (Some(error.code), error.extended_code, message.as_deref().unwrap_or_default())
            }
            _ => (None, 0, ""),
        };
        let told = match (code, extended) {
            (Some(ErrorCode::OperationInterrupted), _) => return QueryError::Timeout,
            (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => QueryError::Busy,
            (Some(ErrorCode::ConstraintViolation), code) => {
                QueryError::refused_by(Constraint::told_by_sqlite(code, message))
            }
            (Some(ErrorCode::TypeMismatch), _) => QueryError::Value,
            // What clients send is below the limit, and what is read of the tables or made of it is not.
            (Some(ErrorCode::TooBig), _) => QueryError::TooLarge,
            _ => QueryError::Failed,
        };
        match told {
            QueryError::TooLarge => tracing::warn!(database, route, %error, "a value or a row is larger than max_size"),
            QueryError::Failed => tracing::error!(database, route, %error, "a query has failed"),
            _ => tracing::debug!(database, route, %error, "a query was refused"),
        }
        told
    }
}

/// What a change without rows answers.
fn touched(query: &Prepared, form: Form, changes: u64) -> Option<Bytes> {
    let one = query.bounds.rows == crate::sql::config::Rows::One;
    (changes > 0 || !one).then(|| changed(form, changes))
}

/// Which file stands at a path.
fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Told {
    fn tell(&mut self, action: AuthAction<'_>) -> Authorization {
        self.asked = true;
        match action {
            AuthAction::Read { table_name, .. } => drop(self.tables.read.insert(table_name.to_lowercase())),
            AuthAction::Insert { table_name }
            | AuthAction::Delete { table_name }
            | AuthAction::Update { table_name, .. } => drop(self.tables.changed.insert(table_name.to_lowercase())),
            // A route has no business with other files.
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => return Authorization::Deny,
            _ => {}
        }
        Authorization::Allow
    }
}

/// How a column's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Plain,
    Boolean,
    Json,
}

/// The rows of a statement; `None` where it has no columns.
fn rows(statement: &mut Statement<'_>, query: &Prepared, form: Form) -> Result<Option<Sheet>, Failure> {
    if statement.column_count() == 0 {
        statement.raw_execute()?;
        return Ok(None);
    }
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let columns: Vec<Column> = statement
        .columns()
        .map(|column| match column.decl_type().map(str::to_ascii_uppercase).as_deref() {
            Some("BOOLEAN" | "BOOL") => Column::Boolean,
            Some("JSON") => Column::Json,
            _ if query.json.contains(column.name()) => Column::Json,
            _ => Column::Plain,
        })
        .collect();
    let mut sheet = Sheet::new(form, query.bounds, names.iter().map(String::as_str))?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        sheet.row()?;
        for (index, column) in columns.iter().enumerate() {
            let value = row.get_ref(index)?;
            let text = match value {
                ValueRef::Text(bytes) => String::from_utf8_lossy(bytes),
                _ => "".into(),
            };
            sheet.cell(&cell(value, &text, *column))?;
        }
        if sheet.end_row()? == More::Enough {
            break;
        }
    }
    Ok(Some(sheet))
}

fn cell<'a>(value: ValueRef<'a>, text: &'a str, column: Column) -> Cell<'a> {
    match (value, column) {
        (ValueRef::Null, _) => Cell::Null,
        (ValueRef::Integer(number @ (0 | 1)), Column::Boolean) => Cell::Boolean(number == 1),
        (ValueRef::Integer(number), _) => Cell::Integer(number),
        (ValueRef::Real(number), _) => Cell::Number(number),
        (ValueRef::Text(_), Column::Json) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
            Cell::Json(text)
        }
        (ValueRef::Text(_), _) => Cell::Text(text),
        (ValueRef::Blob(bytes), _) => Cell::Bytes(bytes),
    }
}
