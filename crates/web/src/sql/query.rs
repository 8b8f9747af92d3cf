//! A query of a route, ready to run: decided once, when the configuration is read.

use std::collections::BTreeSet;
use std::time::Duration;

use http::HeaderValue;
use outwork_config::Fault;
use outwork_front::route::path::PathPattern;

use super::address::Dialect;
use super::cache::kept;
use super::config::{Format, From, Query, QueryCache};
use super::parameter::Parameter;
use super::render::Bounds;
use super::statement::{Kind, Statement, statements, table_name};

/// A query of a route.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The path of its route, for the log.
    pub route: String,
    /// Its database.
    pub database: String,
    /// What it runs.
    pub statements: Vec<Statement>,
    /// What requests say.
    pub parameters: Vec<Parameter>,
    /// For each statement, which parameters are bound to its placeholders.
    pub bindings: Vec<Vec<usize>>,
    /// What it is written as.
    pub format: Format,
    /// The bounds of its answer.
    pub bounds: Bounds,
    /// Columns whose texts are JSON.
    pub json: BTreeSet<String>,
    /// Whether it changes something.
    pub write: bool,
    /// Bytes of a request's content.
    pub max_body: usize,
    /// Tables beside those that the database tells.
    pub tables: Vec<String>,
    /// How its results are kept, if they are.
    pub kept: Option<Kept>,
    /// `Cache-Control`.
    pub cache_control: Option<HeaderValue>,
}

/// How results are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// How long.
    pub ttl: Duration,
    /// The largest.
    pub max_entry: usize,
}

/// Methods that change something.
const CHANGES: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];
const READS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// What stands around a query.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// The path of its route.
    pub path: &'a PathPattern,
    /// The methods of its route.
    pub methods: &'a [String],
    /// What its database speaks.
    pub dialect: Dialect,
    /// What is kept.
    pub cache: &'a QueryCache,
}

/// Makes a query ready.
///
/// # Errors
/// What is wrong with it, by key below its route.
pub fn prepare(query: &Query, around: Around<'_>) -> Result<Prepared, Vec<(String, Fault)>> {
    let mut faults = Vec::new();
    let statements = match statements(&query.sql, around.dialect) {
        Ok(statements) => statements,
        Err(error) => {
            let fault = Fault::new(error.to_string()).expected("SQL whose parameters are written :name");
            let length = query.sql.get(error.at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
            return Err(vec![("query.sql".into(), fault.help(error.kind.advice()).within(error.at, length))]);
        }
    };
    check_kinds(query, &statements, &mut faults);
    check_methods(query, around.methods, &mut faults);
    check_names(query, &statements, &mut faults);
    let captures: Vec<&str> = around.path.names().collect();
    let parameters: Vec<Parameter> = query
        .params
        .iter()
        .map(|(name, param)| {
            let in_path = captures.contains(&name.as_str());
            let usual = match (in_path, query.write) {
                (true, _) => From::Path,
                (false, true) => From::Body,
                (false, false) => From::Query,
            };
            let from = param.from.unwrap_or(usual);
            let key = format!("query.params.{}.from", serde_json::Value::from(name.as_str()));
            if from == From::Path && !in_path {
                let fault = Fault::new(format!("the path {} does not name it", around.path));
                faults.push((key.clone(), fault.expected(format!("a path with {{{name}}}, or from = \"query\""))));
            }
            if from == From::Body && !query.write {
                let fault = Fault::new("a query that only reads takes no content");
                faults.push((key, fault.expected("\"path\" or \"query\"")));
            }
            Parameter::new(name, from, param)
        })
        .collect();
    if !query.json.is_empty() && around.dialect == Dialect::Postgres {
        let fault = Fault::new("columns of PostgreSQL's have their types");
        faults.push(("query.json".into(), fault.help("take it out, and cast in the SQL: column::json")));
    }
    if query.write && query.cache.ttl.is_some() {
        let fault = Fault::new("what changes something is not kept");
        faults.push(("query.cache.ttl".into(), fault.help("take it out")));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let place = |name: &String| parameters.iter().position(|parameter| parameter.name == *name).unwrap_or(0);
    let bindings = statements.iter().map(|statement| statement.parameters.iter().map(place).collect()).collect();
    let kept = match statements.first() {
        Some(statement) if !query.write => kept(around.cache, &query.cache, &statement.plain),
        _ => None,
    };
    Ok(Prepared {
        route: around.path.to_string(),
        database: query.database.clone(),
        statements,
        parameters,
        bindings,
        format: query.format,
        bounds: Bounds {
            rows: query.rows,
            max_rows: query.max_rows,
            max_size: query.max_size.as_usize(),
            escape_formulas: query.escape_formulas,
        },
        json: query.json.iter().cloned().collect(),
        write: query.write,
        max_body: query.max_body.as_usize(),
        tables: query.tables.iter().map(|table| table_name(table)).collect(),
        kept,
        cache_control: query.cache_control.as_deref().and_then(|control| HeaderValue::from_str(control).ok()),
    })
}

fn check_kinds(query: &Query, statements: &[Statement], faults: &mut Vec<(String, Fault)>) {
    let mut fault = |fault: Fault, statement: Option<&Statement>| {
        let fault = match statement {
            Some(statement) => fault.within(statement.span.0, statement.span.1 - statement.span.0),
            None => fault,
        };
        faults.push(("query.sql".into(), fault));
    };
    if statements.is_empty() {
        return fault(Fault::new("there is no statement").expected("one that reads, such as select 1 as one"), None);
    }
    for statement in statements {
        match &statement.kind {
            Kind::Other(word) => {
                let what = if word.is_empty() { "this".to_owned() } else { word.clone() };
                let wrong = Fault::new(format!("{what} is no statement for routes"));
                fault(wrong.expected("one that reads or changes rows"), Some(statement));
            }
            Kind::Write if !query.write => {
                let wrong = Fault::new("this changes something").expected("a statement that reads");
                fault(wrong.help("set write = true, and name the methods of the route"), Some(statement));
            }
            Kind::Write | Kind::Read => {}
        }
    }
    if query.write && statements.iter().all(|statement| statement.kind == Kind::Read) {
        fault(Fault::new("nothing is changed").help("take out write, or change something"), None);
    }
    if let (false, Some(second)) = (query.write, statements.get(1)) {
        fault(Fault::new("there is more than one statement").expected("one that reads"), Some(second));
    }
}

fn check_methods(query: &Query, methods: &[String], faults: &mut Vec<(String, Fault)>) {
    let allowed: &[&str] = if query.write { &CHANGES } else { &READS };
    if query.write && methods.is_empty() {
        let fault = Fault::new("a query that changes something would answer every method");
        faults.push(("methods".into(), fault.expected("some of POST, PUT, PATCH, DELETE")));
    }
    for (index, method) in methods.iter().enumerate() {
        if !allowed.contains(&method.as_str()) {
            let what = if query.write { "changes something" } else { "only reads" };
            let fault = Fault::new(format!("the query {what}, and {method} is no method for that"));
            faults.push((format!("methods[{index}]"), fault.expected(format!("some of {}", allowed.join(", ")))));
        }
    }
}

fn check_names(query: &Query, statements: &[Statement], faults: &mut Vec<(String, Fault)>) {
    let named: BTreeSet<&String> = statements.iter().flat_map(|statement| &statement.parameters).collect();
    for name in named.iter().filter(|name| !query.params.contains_key(**name)) {
        let fault = Fault::new(format!("the parameter :{name} is not declared"));
        let fault = fault.expected(format!("params.{name} = {{ type = \"integer\" }}, or another type"));
        let fault = match query.sql.find(&format!(":{name}")) {
            Some(at) => fault.within(at, name.len() + 1),
            None => fault,
        };
        let help = "a colon before a word is a parameter; put a space behind it where it is something else";
        faults.push(("query.sql".into(), fault.help(help)));
    }
    for name in query.params.keys().filter(|name| !named.contains(name)) {
        let fault = Fault::new(format!("the SQL has no :{name}"));
        let key = format!("query.params.{}", serde_json::Value::from(name.as_str()));
        faults.push((key, fault.help("take it out, or use it in the SQL outside of quotes")));
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
