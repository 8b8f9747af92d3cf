//! What callers may do.

use std::fmt;

use outwork_store::tokens;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a caller may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Change what runs: leases, reservations, log levels; reload.
    Operator,
    /// Everything, tokens included.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(tokens::Role::from(*self).word())
    }
}

impl From<tokens::Role> for Role {
    fn from(role: tokens::Role) -> Self {
        match role {
            tokens::Role::Viewer => Self::Viewer,
            tokens::Role::Operator => Self::Operator,
            tokens::Role::Admin => Self::Admin,
        }
    }
}

impl From<Role> for tokens::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Operator => Self::Operator,
            Role::Admin => Self::Admin,
        }
    }
}
