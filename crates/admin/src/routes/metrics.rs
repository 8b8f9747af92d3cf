//! Metrics as JSON: as they read now, and over time.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use outwork_front::api::{Json, Problem, Timestamp, Viewer};
use outwork_telemetry::history::{Query, QueryError};
use outwork_telemetry::{Family, Kind, Sample, Snapshot, Unit, Value, unit_of};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Context, Shared};

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(metrics_now)).routes(routes!(metrics_history))
}

/// One cell of a metric: a number, or the figures of a histogram since the start.
#[derive(Debug, Serialize, ToSchema)]
struct Cell {
    /// The cell's labels.
    labels: BTreeMap<&'static str, String>,
    /// The value of a counter or a gauge.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    histogram: Option<Histogram>,
}

/// A histogram since the start, in the metric's unit.
#[derive(Debug, Serialize, ToSchema)]
struct Histogram {
    /// Values recorded.
    count: u64,
    /// Their sum.
    sum: f64,
    /// Their mean.
    avg: f64,
    /// The median.
    p50: f64,
    /// The 95th percentile.
    p95: f64,
    /// The 99th percentile.
    p99: f64,
    /// The largest.
    max: f64,
}

/// A metric.
#[derive(Debug, Serialize, ToSchema)]
struct Metric {
    /// The name that Prometheus knows.
    name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    kind: &'static str,
    /// `seconds`, `bytes`, or nothing.
    unit: &'static str,
    /// What it means.
    help: String,
    /// Its cells.
    samples: Vec<Cell>,
}

/// Every metric.
#[derive(Debug, Serialize, ToSchema)]
struct Metrics {
    /// The metrics.
    metrics: Vec<Metric>,
}

impl From<Family> for Metric {
    fn from(Family { desc, samples, .. }: Family) -> Self {
        let kind = match desc.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let unit = match desc.unit {
            Unit::None => "",
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        };
        let samples = samples.into_iter().map(|sample| cell(sample, desc.unit)).collect();
        Self { name: desc.name, kind, unit, help: desc.help.trim().to_owned(), samples }
    }
}

fn cell(Sample { labels, value }: Sample, unit: Unit) -> Cell {
    let labels = labels.into_iter().map(|(name, value)| (name, value.into_owned())).collect();
    match value {
        Value::Number(value) => Cell { labels, value: Some(value), histogram: None },
        Value::Histogram(snapshot) => Cell { labels, value: None, histogram: Some(figures(&snapshot, unit.scale())) },
    }
}

fn figures(snapshot: &Snapshot, scale: f64) -> Histogram {
    let quantile = |q| snapshot.quantile(q) as f64 * scale;
    Histogram {
        count: snapshot.count(),
        sum: snapshot.sum() as f64 * scale,
        avg: snapshot.mean() * scale,
        p50: quantile(0.5),
        p95: quantile(0.95),
        p99: quantile(0.99),
        max: snapshot.max() as f64 * scale,
    }
}

/// Every metric as it reads now.
#[utoipa::path(get, path = "/metrics/now", tag = "metrics",
    responses((status = 200, body = Metrics), (status = 401, body = Problem)))]
async fn metrics_now(_: Viewer, State(shared): Context) -> Json<Metrics> {
    Json(Metrics { metrics: shared.admin.registry.gather().into_iter().map(Metric::from).collect() })
}

/// Which series, and when.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "the document of a query that is read by hand, since its names repeat")]
struct HistoryQuery {
    /// A series, such as `dhcp_requests_rate` or `dhcp_latency_p99`; repeat it for more, up to 64.
    name: Vec<String>,
    /// The first moment, in Unix seconds; an hour before `to` when absent.
    from: Option<u64>,
    /// The end, in Unix seconds; now when absent.
    to: Option<u64>,
    /// Seconds a point, a multiple of 10; chosen to give about 300 points when absent.
    step: Option<u64>,
}

/// One series.
#[derive(Debug, Serialize, ToSchema)]
struct Series {
    /// Its name.
    name: String,
    /// `per_second`, `seconds`, `bytes`, `bytes_per_second`, or nothing for plain numbers.
    unit: &'static str,
    /// A value a step; null where nothing was measured.
    values: Vec<Option<f64>>,
}

/// Series on one grid.
#[derive(Debug, Serialize, ToSchema)]
struct History {
    /// Seconds a point.
    step: u64,
    /// Unix seconds of the first point.
    start: u64,
    /// The series, in the order they were asked for.
    series: Vec<Series>,
}

/// Metrics over time: 10-second points of the last day, 5-minute windows of what is older.
#[utoipa::path(get, path = "/metrics/history", tag = "metrics", params(HistoryQuery),
    responses((status = 200, body = History), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn metrics_history(
    _: Viewer,
    State(shared): Context,
    RawQuery(query): RawQuery,
) -> Result<Json<History>, Problem> {
    let query = parse(query.as_deref().unwrap_or_default(), Timestamp::now().unix())?;
    let names = query.series.clone();
    let asked = shared.admin.history.clone();
    let answer = tokio::task::spawn_blocking(move || asked.query(&query)).await.map_err(Problem::internal)?;
    let answer = answer.map_err(|error| match error {
        QueryError::Invalid { key, reason } => Problem::invalid(key, reason),
        error @ QueryError::Archive(_) => Problem::internal(error),
    })?;
    let families = shared.admin.registry.gather();
    let series = names.into_iter().zip(answer.series);
    let series = series.map(|(name, values)| Series { unit: unit_of(&name, &families), name, values }).collect();
    Ok(Json(History { step: answer.step, start: answer.start, series }))
}

fn parse(query: &str, now: u64) -> Result<Query, Problem> {
    let (mut series, mut from, mut to, mut step) = (Vec::new(), None, None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let number = || value.parse::<u64>().map_err(|_| format!("expected whole seconds, found `{value}`"));
        let slot = match name.as_ref() {
            "name" => {
                series.push(value.into_owned());
                continue;
            }
            "from" => &mut from,
            "to" => &mut to,
            "step" => &mut step,
            other => return Err(Problem::invalid(other, "unknown parameter; there is name, from, to and step")),
        };
        *slot = Some(number().map_err(|detail| Problem::invalid(name.clone(), detail))?);
    }
    let to = to.unwrap_or(now);
    Ok(Query { series, from: from.unwrap_or(to.saturating_sub(3600)), to, step })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_defaults_and_names_that_repeat() {
        let query = parse("name=a&name=b%7Bx%3D%22y%22%7D&to=5000", 9000).unwrap();
        assert_eq!(query.series, ["a", "b{x=\"y\"}"]);
        assert_eq!((query.from, query.to, query.step), (1400, 5000, None));
    }

    #[test]
    fn what_is_no_number_is_named() {
        assert_eq!(parse("name=a&from=yesterday", 0).unwrap_err().key.as_deref(), Some("from"));
        assert_eq!(parse("nmae=a", 0).unwrap_err().key.as_deref(), Some("nmae"));
    }
}
