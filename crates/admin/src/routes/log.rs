//! Log levels, until the next restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use outwork_front::api::{Json, Operator, Problem, Viewer};
use outwork_telemetry::logs::{Level, Levels, LogError, names};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Context, Shared};

/// The key of the level that holds for every service without one of its own.
const DEFAULT: &str = "default";

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(get_levels, put_levels))
}

/// Levels by service.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogLevels {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`, for `default` and for each service.
    #[schema(value_type = BTreeMap<String, String>)]
    levels: BTreeMap<String, Level>,
}

/// The level of each service.
#[utoipa::path(get, path = "/log/levels", tag = "log",
    responses((status = 200, body = LogLevels), (status = 401, body = Problem)))]
async fn get_levels(_: Viewer, State(shared): Context) -> Json<LogLevels> {
    Json(shown(&shared.admin.logs.levels()))
}

/// Change levels at once, until the next restart. Services left out keep theirs.
#[utoipa::path(put, path = "/log/levels", tag = "log", request_body = LogLevels,
    responses((status = 200, body = LogLevels), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem)))]
async fn put_levels(
    Operator(caller): Operator,
    State(shared): Context,
    Json(wanted): Json<LogLevels>,
) -> Result<Json<LogLevels>, Problem> {
    let before = shared.admin.logs.levels();
    let after = merged(&before, &wanted);
    caller.does("log.levels", "", difference(&before, &after));
    shared.admin.logs.set(after.clone()).map_err(|error| match error {
        LogError::UnknownService(ref service) => Problem::invalid(format!("levels.{service}"), &error),
        error => Problem::internal(error),
    })?;
    Ok(Json(shown(&after)))
}

fn shown(levels: &Levels) -> LogLevels {
    let services = names().map(|service| (service.to_owned(), levels.of(service)));
    LogLevels { levels: services.chain([(DEFAULT.to_owned(), levels.default)]).collect() }
}

/// A service that is sent back with the level it has keeps following the default, if it did.
fn merged(before: &Levels, wanted: &LogLevels) -> Levels {
    let mut after = before.clone();
    for (name, level) in &wanted.levels {
        if name == DEFAULT {
            after.default = *level;
        } else if before.of(name) != *level || names().all(|known| known != name) {
            after.services.insert(name.clone(), *level);
        }
    }
    after
}

fn difference(before: &Levels, after: &Levels) -> String {
    let (before, after) = (shown(before), shown(after));
    let changed = after.levels.iter().filter(|(name, level)| before.levels.get(*name) != Some(*level));
    changed.map(|(name, level)| format!("{name}={level}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_sent_back_unchanged_keeps_following_the_default() {
        let before = Levels { default: Level::Info, services: BTreeMap::new() };
        let mut wanted = shown(&before);
        wanted.levels.insert("dhcp".into(), Level::Debug);
        wanted.levels.insert(DEFAULT.into(), Level::Warn);
        let after = merged(&before, &wanted);
        assert_eq!((after.default, after.services), (Level::Warn, [("dhcp".to_owned(), Level::Debug)].into()));
    }
}
