//! API tokens: list, make, remove. For admins.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use outwork_front::api::{Admin, Json, Path, Problem, Role, Timestamp};
use outwork_store::tokens::{self, CreateError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Context, Shared};

/// The longest life of a token that ends: ten years.
const MAX_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(list_tokens, create_token)).routes(routes!(remove_token))
}

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct Token {
    /// Its number.
    id: i64,
    /// Its name.
    name: String,
    /// What it may do.
    role: Role,
    /// When it was made.
    created: Timestamp,
    /// When it was last used, to the minute; null when never.
    last_used: Option<Timestamp>,
    /// When it ends; null when never.
    expires: Option<Timestamp>,
}

impl From<tokens::Token> for Token {
    fn from(token: tokens::Token) -> Self {
        let tokens::Token { id, name, role, created, last_used, expires } = token;
        Self {
            id,
            name,
            role: role.into(),
            created: created.into(),
            last_used: last_used.map(Timestamp::from),
            expires: expires.map(Timestamp::from),
        }
    }
}

/// Every token.
#[derive(Debug, Serialize, ToSchema)]
struct Tokens {
    /// The tokens, by name.
    items: Vec<Token>,
}

/// A token to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// Who or what will use it: 1 to 100 printable characters, and no other token's name.
    name: String,
    /// What it may do.
    role: Role,
    /// Seconds until it ends; absent for never.
    expires_in: Option<u64>,
}

/// A token just made.
#[derive(Serialize, ToSchema)]
struct CreatedToken {
    /// The token itself. It is shown here and never again.
    token: String,
    #[serde(flatten)]
    stored: Token,
}

/// Every token, without secrets.
#[utoipa::path(get, path = "/tokens", tag = "tokens",
    responses((status = 200, body = Tokens), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list_tokens(_: Admin, State(shared): Context) -> Result<Json<Tokens>, Problem> {
    let items = shared.admin.database.read(tokens::list).await?;
    Ok(Json(Tokens { items: items.into_iter().map(Token::from).collect() }))
}

/// Make a token. The answer is the only place that ever shows it.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = CreatedToken), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn create_token(
    Admin(caller): Admin,
    State(shared): Context,
    Json(NewToken { name, role, expires_in }): Json<NewToken>,
) -> Result<Response, Problem> {
    caller.does("token.create", name.clone(), format!("role {role}"));
    let now = SystemTime::now();
    let life = expires_in.map(Duration::from_secs);
    if life.is_some_and(|life| life.is_zero() || life > MAX_LIFE) {
        return Err(Problem::invalid("expires_in", format!("expected 1 to {} seconds", MAX_LIFE.as_secs())));
    }
    let expires = life.map(|life| now + life);
    let created =
        shared.admin.database.call(move |db| Ok(tokens::create(db, &name, role.into(), expires, now))).await?;
    let (token, secret) = created.map_err(|error| match error {
        CreateError::Name(_) | CreateError::Local => Problem::invalid("name", error),
        CreateError::Exists(_) => Problem::conflict(Some("name".into()), error),
        error => Problem::internal(error),
    })?;
    let created = CreatedToken { token: secret.expose().to_owned(), stored: token.into() };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

/// Remove a token. It and its sessions are refused from now on.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = i64, Path, description = "Its number")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
async fn remove_token(
    Admin(caller): Admin,
    State(shared): Context,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    caller.does("token.remove", id.to_string(), "");
    let find = move |db: &_| Ok(tokens::list(db)?.into_iter().find(|token| token.id == id));
    if let Some(token) = shared.admin.database.read(find).await? {
        caller.does("token.remove", id.to_string(), token.name);
    }
    let removed = shared.admin.database.call(move |db| tokens::revoke(db, id)).await?;
    shared.admin.access.forget(id);
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found(format!("there is no token {id}"))) }
}
