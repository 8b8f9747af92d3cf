//! What the configuration says of databases, queries and what is kept of their results.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use outwork_config::{At, ByteSize, Fault, Secret, choice, hours, millis, mins, secs, section};

use super::address::{Address, Dialect};
use super::literal::Literal;

section! {
    /// Databases, and what is kept of their answers.
    pub struct Web {
        /// Databases that routes query, by the name that routes call them by.
        pub database: BTreeMap<String, Database>,
        /// Results of queries that are kept.
        pub query_cache: QueryCache,
        /// Threads that speak with PostgreSQL.
        pub query_threads: u16 [restart, range 1..=64] = 2,
    }
}

section! {
    /// A database that routes query. Connections are opened when they are needed, so that a server starts without its database.
    #[required_keys]
    pub struct Database {
        /// Where it is: `sqlite:PATH`, `postgres://USER@HOST:PORT/DATABASE`, or `postgres://USER@/DATABASE?host=/run/postgresql` for a socket.
        pub url: Address,
        /// The password for PostgreSQL.
        pub password: Option<Secret>,
        /// A file whose first line is the password for PostgreSQL. Read for every connection, so that it can be changed.
        pub password_file: Option<PathBuf>,
        /// Whether connections to PostgreSQL are encrypted, and the server's certificate verified. Unset, they are unless it is on this machine.
        pub tls: Option<bool>,
        /// Certificates (PEM) of who may vouch for the server; unset, those of the operating system.
        pub ca: Option<PathBuf>,
        /// Connections at most, each used by one query at a time. SQLite has one more, for changes.
        pub pool_size: u16 [range 1..=1024] = 10,
        /// Connections that stay open though nobody needs them.
        pub min_idle: u16 [range 0..=1024] = 1,
        /// How long a connection is used at most.
        pub max_lifetime: Duration [range secs(1)..] = mins(30),
        /// How long a connection beyond `min_idle` stays open though nobody needs it.
        pub idle_timeout: Duration [range millis(10)..] = mins(10),
        /// How long a request waits for a connection, be it for one that is in use or for a new one. Then it is answered 503.
        pub connect_timeout: Duration [range millis(1)..=mins(10)] = secs(5),
        /// How long a query may take. Then the database is told to stop it, and the request is answered 504.
        pub query_timeout: Duration [range millis(1)..=hours(1)] = secs(10),
        /// Requests that may wait for a connection. Those beyond them are answered 503 at once.
        pub queue: u32 [range 0..=1_000_000] = 1000,
        /// Statements that each connection keeps prepared.
        pub prepared: u16 [range 1..=10_000] = 256,
        /// How often PostgreSQL connections that nobody uses, and the one that listens, are asked whether they still work. One that does not
        /// answer within `connect_timeout` is let go. What was cut while it is in use is noticed within half a minute.
        pub health_check: Duration [range millis(10)..=hours(24)] = secs(30),
        /// A channel of PostgreSQL's (`NOTIFY`). What is told there are names of tables, parted by commas, whose cached results are out of date;
        /// an empty text stands for all.
        pub listen: Option<String>,
        /// How often at most it is looked whether another process has changed a database of SQLite's, before a cached result of it is given.
        pub change_check: Duration [range millis(0)..=hours(1)] = secs(1),
        /// Pragmas of SQLite's for each connection, such as `cache_size = "-65536"`.
        pub pragmas: BTreeMap<String, String>,
    }
    check database;
}

section! {
    /// Results of queries that are kept in memory, rendered. What changes through a route of this server is forgotten at once; so is what
    /// others change in SQLite, within `change_check`, and in PostgreSQL where it tells (`listen`). Everything else is kept for its time.
    pub struct QueryCache {
        /// Whether results are kept.
        pub enabled: bool = true,
        /// Memory for them.
        pub size: ByteSize [restart, range ByteSize::mib(1)..=ByteSize::gib(16_384)] = ByteSize::mib(64),
        /// The largest result that is kept.
        pub max_entry: ByteSize [restart, range ByteSize::kib(1)..=ByteSize::gib(4)] = ByteSize::mib(1),
        /// How long a result is kept where neither its route nor a rule says; unset, it is not.
        pub ttl: Option<Duration> [range millis(1)..],
        /// How long results are kept, by query. The first rule that fits.
        pub rules: Vec<Rule>,
        /// Requests that wait for one that is fetching the same already.
        pub followers: u32 [restart, range 0..=1_000_000] = 1000,
    }
    check query_cache;
}

section! {
    /// How long results of certain queries are kept.
    #[required_keys]
    pub struct Rule {
        /// Which queries: a regular expression that is looked for in the SQL without regard to case. The SQL has one space wherever it has
        /// any, no comments, and `?` for each parameter, as in `SELECT .* FROM users WHERE id = \?`.
        pub pattern: String,
        /// How long; zero, not at all.
        pub ttl: Duration,
        /// The largest result that is kept; unset, `max_entry` of the cache.
        pub max_entry: Option<ByteSize>,
    }
    check rule;
}

section! {
    /// Answers out of a database. Parameters are values, never text of the SQL: they stand there as `:name`.
    #[required_keys]
    pub struct Query {
        /// The database, by its name in `[web.database]`.
        pub database: String,
        /// The SQL: one statement that reads; where `write` is set, one or more that change something, the last of which may give rows.
        pub sql: String,
        /// The parameters, by name.
        pub params: BTreeMap<String, Param>,
        /// What the answer is written as.
        pub format: Format = Format::Auto,
        /// Whether texts in CSV that a spreadsheet would take for formulas (`=`, `+`, `-`, `@` or a tab comes first) get an apostrophe before
        /// them. Off, because programs that read CSV get the apostrophe, too. Numbers stay as they are, also those that are texts.
        pub escape_formulas: bool = false,
        /// How many rows the answer has.
        pub rows: Rows = Rows::Many,
        /// Rows that an answer may have. With more it is an error: half an answer would look like a whole one.
        pub max_rows: u32 [range 1..=100_000_000] = 10_000,
        /// Bytes that an answer may have. With more it is an error, which is found while the answer is written. SQLite makes no value, and reads
        /// no row of a table, that is larger than this or 16 MiB, whichever is more; what it gathers as JSON (`json_group_array`) it measures
        /// when that is whole, and `query_timeout` ends what takes too long. A row of PostgreSQL's is in memory before it is measured: what one
        /// row may become is bounded by the SQL, as by `limit` in what is aggregated.
        pub max_size: ByteSize [range ByteSize::kib(1)..=ByteSize::gib(1)] = ByteSize::mib(16),
        /// Columns of SQLite's whose texts are JSON, and are put into the answer as such. Columns that are declared so always are.
        pub json: Vec<String>,
        /// Whether it changes something. Then it runs in a transaction, and takes POST, PUT, PATCH or DELETE.
        pub write: bool = false,
        /// The largest content of a request that is read, where it changes something.
        pub max_body: ByteSize [range ByteSize::bytes(0)..=ByteSize::mib(64)] = ByteSize::kib(64),
        /// Tables that it depends on or changes beside those that are found by themselves: SQLite tells all of them; of PostgreSQL's, those that
        /// the SQL names are found, not those that views, functions and triggers use.
        pub tables: Vec<String>,
        /// Whether and how long its results are kept.
        pub cache: Caching,
        /// The value of `Cache-Control`.
        pub cache_control: Option<String>,
    }
    check query;
}

section! {
    /// Whether and how long results are kept.
    pub struct Caching {
        /// Whether they are.
        pub enabled: bool = true,
        /// How long; unset, as the first rule of `web.query_cache` that fits says, or its `ttl`.
        pub ttl: Option<Duration> [range millis(1)..],
    }
}

section! {
    /// A parameter of a query.
    #[required_keys]
    pub struct Param {
        /// What it is.
        pub r#type: Type,
        /// Where it is taken from. Unset, from the path if that names it, else from the content of a request that changes something, else from
        /// the query string.
        pub from: Option<From>,
        /// Whether it has to be given. Unset, it has to unless there is a default. What is not given is NULL.
        pub required: Option<bool>,
        /// Its value where it is not given.
        pub default: Option<Literal>,
        /// The least number.
        pub min: Option<Literal>,
        /// The greatest number.
        pub max: Option<Literal>,
        /// A regular expression that all of the text fits.
        pub pattern: Option<String>,
        /// Characters at most.
        pub max_length: u32 [range 0..=67_108_864] = 1000,
        /// The values that it may have.
        pub one_of: Vec<Literal>,
    }
}

choice! {
    /// What an answer is written as.
    pub enum Format {
        /// JSON or CSV, whichever the client prefers; JSON where it does not say.
        Auto = "auto",
        /// JSON: an array of objects, or one object.
        Json = "json",
        /// CSV (RFC 4180) with a header line.
        Csv = "csv",
    }
}

choice! {
    /// How many rows an answer has.
    pub enum Rows {
        /// All of them.
        Many = "many",
        /// The first; without any, the answer is 404.
        One = "one",
    }
}

choice! {
    /// Where a parameter is taken from.
    pub enum From {
        /// The path of the route, which has its name in braces.
        Path = "path",
        /// The query string.
        Query = "query",
        /// The content of the request: a JSON object or a form.
        Body = "body",
    }
}

choice! {
    /// What a parameter is.
    pub enum Type {
        /// A whole number of 64 bits.
        Integer = "integer",
        /// A number, as computers count.
        Number = "number",
        /// A number with all its digits, as of money.
        Decimal = "decimal",
        /// `true` or `false`.
        Boolean = "boolean",
        /// Text.
        Text = "text",
        /// A UUID.
        Uuid = "uuid",
        /// A date such as `2026-11-21`.
        Date = "date",
        /// A moment such as `2026-11-21T12:00:00Z` (RFC 3339).
        Timestamp = "timestamp",
        /// JSON.
        Json = "json",
        /// Bytes, in Base64.
        Bytes = "bytes",
    }
}

fn database(database: &Database, at: &mut At<'_>) {
    if database.min_idle > database.pool_size {
        let fault = Fault::new(format!("{} is more than pool_size, {}", database.min_idle, database.pool_size));
        at.fault("min_idle", fault.expected("at most pool_size"));
    }
    if database.password.is_some() && database.password_file.is_some() {
        let fault = Fault::new("there are a password and a password_file");
        at.fault("password_file", fault.expected("one of them"));
    }
    let (of_postgres, of_sqlite) = (
        [
            ("password", database.password.is_some()),
            ("password_file", database.password_file.is_some()),
            ("tls", database.tls.is_some()),
            ("ca", database.ca.is_some()),
            ("listen", database.listen.is_some()),
        ],
        [("pragmas", !database.pragmas.is_empty())],
    );
    let (foreign, owner) = match database.url.dialect() {
        Dialect::Sqlite => (&of_postgres[..], "PostgreSQL"),
        Dialect::Postgres => (&of_sqlite[..], "SQLite"),
    };
    for (key, _) in foreign.iter().filter(|(_, given)| *given) {
        at.fault(key, Fault::new(format!("only {owner} has this")).help("take it out"));
    }
    if database.ca.is_some() && database.tls == Some(false) {
        at.fault("ca", Fault::new("connections are not encrypted").expected("tls = true"));
    }
    if let Address::Postgres(server) = &database.url
        && server.is_socket()
        && database.tls == Some(true)
    {
        at.fault("tls", Fault::new("a socket of this machine is not encrypted").help("take it out"));
    }
    for (name, value) in &database.pragmas {
        let is_word = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        if !is_word(name) || !is_word(value) {
            let fault = Fault::new(format!("{name} = {value:?} is no pragma")).expected("a word or a number");
            at.fault(&format!("pragmas.{}", serde_json::Value::from(name.as_str())), fault);
        }
    }
}

fn query_cache(cache: &QueryCache, at: &mut At<'_>) {
    if cache.max_entry > cache.size {
        let fault = Fault::new(format!("{} is more than all of size, {}", cache.max_entry, cache.size));
        at.fault("max_entry", fault.expected("at most size"));
    }
    for (index, rule) in cache.rules.iter().enumerate() {
        if let Some(max_entry) = rule.max_entry.filter(|max_entry| *max_entry > cache.max_entry) {
            let fault = Fault::new(format!("{max_entry} is more than max_entry of the cache, {}", cache.max_entry));
            at.fault(&format!("rules[{index}].max_entry"), fault.expected("at most that"));
        }
    }
}

fn rule(rule: &Rule, at: &mut At<'_>) {
    if let Err(error) = super::cache::pattern(&rule.pattern) {
        let fault = Fault::new(error.to_string()).expected("a regular expression");
        at.fault("pattern", fault.help("write \\ before characters that stand for themselves, such as ? and *"));
    }
}

fn query(query: &Query, at: &mut At<'_>) {
    if let Some(control) = query.cache_control.as_deref()
        && http::HeaderValue::from_str(control).is_err()
    {
        let fault = Fault::new(format!("{control:?} is no field value")).expected("text without control characters");
        at.fault("cache_control", fault);
    }
    for (name, param) in &query.params {
        for (key, fault) in super::parameter::faults(param) {
            at.fault(&format!("params.{}.{key}", serde_json::Value::from(name.as_str())), fault);
        }
    }
}
