//! The constraint of a database that a change does not keep to: its kind and what it is on, as the database tells. Values are never part of it.

use std::fmt;

use serde_json::{Value as Json, json};
use tokio_postgres::error::{DbError, SqlState};

/// What a change does not keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// What it demands.
    pub kind: ConstraintKind,
    /// What the schema calls it, where that is told.
    pub name: Option<String>,
    /// The columns that it is on, where they are told.
    pub columns: Vec<String>,
}

/// What a constraint demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// That no other row is like it.
    Unique,
    /// That there is what it refers to, and nothing refers to what goes.
    ForeignKey,
    /// That no other row overlaps with it.
    Exclusion,
    /// That there is a value.
    NotNull,
    /// That a condition holds.
    Check,
}

impl ConstraintKind {
    /// The word for programs.
    fn word(self) -> &'static str {
        match self {
            Self::Unique => "unique",
            Self::ForeignKey => "foreign-key",
            Self::Exclusion => "exclusion",
            Self::NotNull => "not-null",
            Self::Check => "check",
        }
    }

    /// Whether another state of the database would let the same change through.
    pub(super) fn is_about_others(self) -> bool {
        matches!(self, Self::Unique | Self::ForeignKey | Self::Exclusion)
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} constraint", self.kind.word().replace('-', " "))?;
        match (&*self.columns, &self.name) {
            ([], None) => Ok(()),
            ([], Some(name)) => write!(f, " {name}"),
            (columns, _) => write!(f, " on {}", columns.join(", ")),
        }
    }
}

impl Constraint {
    /// One of which nothing else is known.
    pub fn of(kind: ConstraintKind) -> Self {
        Self { kind, name: None, columns: Vec::new() }
    }

    /// As SQLite tells it, by its extended result code: `UNIQUE constraint failed: users.name`; `None` where that is no constraint of these kinds.
    pub fn told_by_sqlite(code: i32, message: &str) -> Option<Self> {
        use rusqlite::ffi;
        let kind = match code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
                ConstraintKind::Unique
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ConstraintKind::ForeignKey,
            ffi::SQLITE_CONSTRAINT_NOTNULL => ConstraintKind::NotNull,
            ffi::SQLITE_CONSTRAINT_CHECK => ConstraintKind::Check,
            _ => return None,
        };
        let own = Self::of(kind);
        let Some((_, on)) = message.split_once(" constraint failed: ") else { return Some(own) };
        // An index on expressions is named in place of columns, and a check by its name or by what it says.
        Some(match (kind, on.strip_prefix("index ")) {
            (_, Some(index)) => Self { name: Some(index.trim_matches('\'').to_owned()), ..own },
            (ConstraintKind::Check, None) => Self { name: Some(on.to_owned()), ..own },
            (_, None) => {
                let column = |column: &str| column.rsplit('.').next().unwrap_or(column).to_owned();
                Self { columns: on.split(", ").map(column).collect(), ..own }
            }
        })
    }

    /// As PostgreSQL tells it; `None` where that is no constraint.
    pub(super) fn told_by_postgres(error: &DbError) -> Option<Self> {
        let kind = match error.code() {
            code if *code == SqlState::UNIQUE_VIOLATION => ConstraintKind::Unique,
            code if *code == SqlState::FOREIGN_KEY_VIOLATION => ConstraintKind::ForeignKey,
            code if *code == SqlState::EXCLUSION_VIOLATION => ConstraintKind::Exclusion,
            code if *code == SqlState::NOT_NULL_VIOLATION => ConstraintKind::NotNull,
            code if *code == SqlState::CHECK_VIOLATION => ConstraintKind::Check,
            _ => return None,
        };
        let columns = match error.column() {
            Some(column) => vec![column.to_owned()],
            // Of others, the detail is a row of values.
            None if kind.is_about_others() => columns(error.detail().unwrap_or_default()),
            None => Vec::new(),
        };
        Some(Self { kind, name: error.constraint().map(str::to_owned), columns })
    }

    /// For programs.
    pub fn to_json(&self) -> Json {
        let mut json = json!({ "kind": self.kind.word() });
        if let Some(name) = &self.name {
            json["name"] = json!(name);
        }
        if !self.columns.is_empty() {
            json["columns"] = json!(self.columns);
        }
        json
    }
}

/// The columns that a message of PostgreSQL's names before their values: those of `Key (name, age)=(Ada, 36) already exists.`
fn columns(detail: &str) -> Vec<String> {
    let named = detail.split_once('(').and_then(|(_, rest)| rest.split_once(")=("));
    named.map_or_else(Vec::new, |(columns, _)| columns.split(", ").map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constraint_of_sqlite_is_named_by_its_kind_and_its_columns() {
        for (code, message, told) in [
            (2067, "UNIQUE constraint failed: users.name, users.age", "unique constraint on name, age"),
            (1555, "UNIQUE constraint failed: users.id", "unique constraint on id"),
            (2067, "UNIQUE constraint failed: index 'lower_name'", "unique constraint lower_name"),
            (787, "FOREIGN KEY constraint failed", "foreign key constraint"),
            (1299, "NOT NULL constraint failed: users.name", "not null constraint on name"),
            (275, "CHECK constraint failed: of_age", "check constraint of_age"),
        ] {
            let constraint = Constraint::told_by_sqlite(code, message).map(|constraint| constraint.to_string());
            assert_eq!(constraint.as_deref(), Some(told));
        }
        assert_eq!(Constraint::told_by_sqlite(1811, "what a trigger says"), None);
    }

    #[test]
    fn columns_are_told_without_their_values() {
        assert_eq!(columns("Key (name, lower(b))=(Ada, (x)=(y)) already exists."), ["name", "lower(b)"]);
        assert_eq!(columns("Failing row contains (1, Ada)."), Vec::<String>::new());
    }
}
