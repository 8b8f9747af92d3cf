//! The API kit: callers, roles, problems, events.
