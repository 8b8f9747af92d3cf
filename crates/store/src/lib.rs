//! The append log with group commit, and SQLite.
