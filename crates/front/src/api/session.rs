//! Browser sessions: `EventSource` cannot send a bearer token, so a browser trades its token for a cookie that scripts
//! cannot read. Sessions live in memory and end with the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::response::{IntoResponse, Response};
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{cookie_named, peer_of};
use super::audit::AuditSlot;
use super::{Access, Caller, Json, Problem, Role};

const COOKIE: &str = "outwork_session";
/// Sessions open at once; the one idle for longest makes room.
const MAX_SESSIONS: usize = 1024;
/// A session ends when it was not used for this long.
const IDLE: Duration = Duration::from_secs(12 * 60 * 60);

/// Open sessions, by the hash of their identifier.
#[derive(Default)]
pub(super) struct Sessions(HashMap<[u8; 32], Session>);

struct Session {
    token: i64,
    used: Instant,
}

impl Sessions {
    fn open(&mut self, id: &str, token: i64, now: Instant) {
        self.0.retain(|_, session| now.saturating_duration_since(session.used) < IDLE);
        if self.0.len() >= MAX_SESSIONS {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| *key);
            oldest.and_then(|key| self.0.remove(&key));
        }
        self.0.insert(key(id), Session { token, used: now });
    }

    /// The token that a session stands for; using it keeps it open.
    pub(super) fn token_of(&mut self, id: &str, now: Instant) -> Option<i64> {
        let session = self.0.get_mut(&key(id)).filter(|session| now.saturating_duration_since(session.used) < IDLE)?;
        session.used = now;
        Some(session.token)
    }

    fn end(&mut self, id: &str) {
        self.0.remove(&key(id));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn end_all_of(&mut self, token: i64) {
        self.0.retain(|_, session| session.token != token);
    }
}

fn key(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    cookie_named(headers, COOKIE)
}

/// A token to sign in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The token.
    pub token: String,
}

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionInfo {
    /// The name of the token.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// The routes of a session: sign in, who am I, sign out.
pub fn router() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(sign_in, who_am_i, sign_out))
}

/// Trade a token for a session cookie. Needs the header `X-Outwork: 1`, so that no other site can sign a browser in.
#[utoipa::path(post, path = "/session", tag = "session", request_body = SignIn, security(()),
    responses((status = 200, body = SessionInfo), (status = 401, body = Problem), (status = 429, body = Problem)))]
async fn sign_in(
    Extension(access): Extension<Arc<Access>>,
    Extension(slot): Extension<AuditSlot>,
    parts: Parts,
    Json(SignIn { token }): Json<SignIn>,
) -> Result<Response, Problem> {
    access.same_origin(&parts)?;
    let peer = peer_of(&parts)?;
    let token = access.present(token.trim(), peer).await?;
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(Problem::internal)?;
    let id = bits.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let info = SessionInfo { name: token.name, role: token.role.into() };
    slot.called_by(&info.name, info.role);
    slot.does("session.open", info.name.clone(), String::new());
    access.sessions(|sessions| sessions.open(&id, token.id, Instant::now()));
    let cookie = set_cookie(&id, IDLE, peer.tls);
    Ok(([(SET_COOKIE, cookie)], Json(info)).into_response())
}

/// Who the request comes from.
#[utoipa::path(get, path = "/session", tag = "session",
    responses((status = 200, body = SessionInfo), (status = 401, body = Problem)))]
async fn who_am_i(caller: Caller) -> Json<SessionInfo> {
    Json(SessionInfo { name: caller.name, role: caller.role })
}

/// End the session.
#[utoipa::path(delete, path = "/session", tag = "session",
    responses((status = 204), (status = 401, body = Problem)))]
async fn sign_out(caller: Caller, Extension(access): Extension<Arc<Access>>, headers: HeaderMap) -> Response {
    caller.does("session.close", caller.name.clone(), "");
    if let Some(id) = cookie(&headers) {
        access.sessions(|sessions| sessions.end(id));
    }
    let cookie = set_cookie("", Duration::ZERO, caller.peer.tls);
    (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response()
}

fn set_cookie(id: &str, age: Duration, tls: bool) -> String {
    let secure = if tls { "; Secure" } else { "" };
    format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_idle_or_its_token_is_removed() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        sessions.open("a", 1, start);
        sessions.open("b", 2, start);
        let later = start + IDLE - Duration::from_secs(1);
        assert_eq!(sessions.token_of("a", later), Some(1));
        assert_eq!(sessions.token_of("a", start + IDLE), Some(1));
        assert_eq!(sessions.token_of("b", start + IDLE), None);
        sessions.end_all_of(1);
        assert_eq!(sessions.token_of("a", later), None);
    }

    #[test]
    fn the_session_idle_for_longest_makes_room() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        for i in 0..=MAX_SESSIONS as u64 {
            sessions.open(&i.to_string(), 1, start + Duration::from_millis(i));
        }
        assert_eq!(sessions.0.len(), MAX_SESSIONS);
        assert!(sessions.token_of("0", start).is_none() && sessions.token_of("1", start).is_some());
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let cookie = set_cookie("x", IDLE, true);
        for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        assert!(!set_cookie("x", IDLE, false).contains("Secure"));
    }
}
