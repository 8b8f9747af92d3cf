//! The server-sent stream of a hub's topics (WHATWG HTML, section 9.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::response::Response;
use futures_util::stream::{self, BoxStream, SelectAll, Stream, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Event, Hub, LINGER};
use crate::api::{Access, Problem, Query, Viewer};

/// Streams open at once.
pub const MAX_STREAMS: usize = 256;
/// A comment is sent this often, so that nobody between takes the stream for dead; the caller's token is checked again.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The events route over a hub.
pub fn router(hub: Arc<Hub>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(events)).layer(Extension(hub))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Topics, with commas between; all of them when absent.
    topics: Option<String>,
}

/// Live events as server-sent events: the event's name is its topic, its data a JSON object with `time` and `kind`.
/// `lagged` with `{"topic", "missed"}` tells of events that could not be sent. `Last-Event-ID` resumes.
#[utoipa::path(get, path = "/events", tag = "events",
    params(EventsQuery, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event seen")),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 503, body = Problem)))]
async fn events(
    _: Viewer,
    Extension(hub): Extension<Arc<Hub>>,
    Extension(access): Extension<Arc<Access>>,
    Query(query): Query<EventsQuery>,
    parts: Parts,
) -> Result<Response, Problem> {
    let topics = wanted(&hub, query.topics.as_deref())?;
    let resume = parts.headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let positions = positions(resume, hub.epoch, topics.len());
    let listener = Listener::join(hub, &topics)
        .ok_or_else(|| Problem::unavailable(format!("{MAX_STREAMS} event streams are open; close some")))?;
    let feed = Feed::new(listener, positions, access, parts);
    let response = Response::builder()
        .header(CONTENT_TYPE, "text/event-stream")
        .header(CACHE_CONTROL, "no-store")
        // nginx would otherwise gather the stream into large pieces.
        .header("x-accel-buffering", "no")
        .body(Body::from_stream(feed.frames()));
    response.map_err(Problem::internal)
}

/// The topics asked for, as positions in the hub, in the hub's order.
fn wanted(hub: &Hub, asked: Option<&str>) -> Result<Vec<usize>, Problem> {
    let Some(asked) = asked else { return Ok((0..hub.topics.len()).collect()) };
    let mut wanted = Vec::new();
    for name in asked.split(',').map(str::trim) {
        let known = || hub.topics.iter().map(|topic| topic.name).collect::<Vec<_>>().join(", ");
        let index = hub.topics.iter().position(|topic| topic.name == name);
        wanted
            .push(index.ok_or_else(|| Problem::invalid("topics", format!("no topic `{name}`; there is {}", known())))?);
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(wanted)
}

/// An id is the epoch and the position in each topic: `1795234200-17-0`. One of another run or another choice of topics
/// resumes nothing.
fn positions(id: Option<&str>, epoch: u64, topics: usize) -> Vec<Option<u64>> {
    let numbers: Option<Vec<u64>> = id.and_then(|id| id.split('-').map(|n| n.parse().ok()).collect());
    match numbers.as_deref() {
        Some([of, positions @ ..]) if *of == epoch && positions.len() == topics => {
            positions.iter().copied().map(Some).collect()
        }
        _ => vec![None; topics],
    }
}

/// Counts as a listener of its topics until dropped, and a little longer.
struct Listener {
    hub: Arc<Hub>,
    topics: Vec<usize>,
}

impl Listener {
    fn join(hub: Arc<Hub>, topics: &[usize]) -> Option<Self> {
        let room = |open| (open < MAX_STREAMS).then_some(open + 1);
        hub.streams.fetch_update(Relaxed, Relaxed, room).ok()?;
        hub.metrics.event_streams.inc();
        topics.iter().filter_map(|topic| hub.topics.get(*topic)).for_each(|topic| {
            topic.listeners.fetch_add(1, Relaxed);
        });
        Some(Self { hub, topics: topics.to_vec() })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hub.streams.fetch_sub(1, Relaxed);
        self.hub.metrics.event_streams.dec();
        let (hub, topics) = (self.hub.clone(), std::mem::take(&mut self.topics));
        let leave = move || {
            for topic in topics.iter().filter_map(|topic| hub.topics.get(*topic)) {
                topic.listeners.fetch_sub(1, Relaxed);
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                tokio::time::sleep(LINGER).await;
                leave();
            })),
            Err(_) => leave(),
        }
    }
}

type Received = (usize, Result<Event, BroadcastStreamRecvError>);

/// One stream: what it still has to send, and how far it is in each topic.
struct Feed {
    listener: Listener,
    positions: Vec<u64>,
    backlog: std::vec::IntoIter<(usize, Event)>,
    live: SelectAll<BoxStream<'static, Received>>,
    heartbeat: Interval,
    closed: watch::Receiver<bool>,
    access: Arc<Access>,
    parts: Parts,
}

impl Feed {
    fn new(listener: Listener, resume: Vec<Option<u64>>, access: Arc<Access>, parts: Parts) -> Self {
        let (mut positions, mut backlog, mut live) = (Vec::new(), Vec::new(), SelectAll::new());
        let topics = listener.topics.iter().filter_map(|topic| listener.hub.topics.get(*topic));
        for (index, (topic, resume)) in topics.zip(resume).enumerate() {
            let (position, missed, receiver) = topic.follow(resume);
            positions.push(position);
            backlog.extend(missed.into_iter().map(|event| (index, event)));
            live.push(BroadcastStream::new(receiver).map(move |received| (index, received)).boxed());
        }
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closed = listener.hub.closed.subscribe();
        Self { listener, positions, backlog: backlog.into_iter(), live, heartbeat, closed, access, parts }
    }

    /// The first frame is a comment, sent at once, so that the client knows the stream is open.
    fn frames(self) -> impl Stream<Item = Result<String, Infallible>> + Send {
        stream::unfold(self, |mut feed| async move { feed.next().await.map(|frame| (Ok(frame), feed)) })
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((topic, event)) = self.backlog.next() {
                return Some(self.frame(topic, &event));
            }
            let received = tokio::select! {
                biased;
                _ = self.closed.wait_for(|closed| *closed) => return None,
                _ = self.heartbeat.tick() => None,
                received = self.live.next() => Some(received?),
            };
            match received {
                None => return self.access.still_valid(&self.parts).await.then(|| ":\n\n".to_owned()),
                Some((topic, Ok(event))) => return Some(self.frame(topic, &event)),
                // The next event's sequence shows how many are missing.
                Some((_, Err(BroadcastStreamRecvError::Lagged(_)))) => {}
            }
        }
    }

    /// An event in the wire format, after a `lagged` event where its sequence shows a gap.
    fn frame(&mut self, topic: usize, event: &Event) -> String {
        let hub = &self.listener.hub;
        let name = self.listener.topics.get(topic).and_then(|t| hub.topics.get(*t)).map_or("", |topic| topic.name);
        let Some(position) = self.positions.get_mut(topic) else { return String::new() };
        let missed = event.sequence.saturating_sub(*position + 1);
        *position = event.sequence;
        let positions: String = self.positions.iter().map(|position| format!("-{position}")).collect();
        let lagged = if missed > 0 {
            format!("event: lagged\ndata: {{\"topic\":\"{name}\",\"missed\":{missed}}}\n\n")
        } else {
            String::new()
        };
        format!("{lagged}id: {}{positions}\nevent: {name}\ndata: {}\n\n", hub.epoch, event.json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_run_or_another_choice_of_topics_resumes_nothing() {
        assert_eq!(positions(Some("7-3-4"), 7, 2), [Some(3), Some(4)]);
        assert_eq!(positions(Some("6-3-4"), 7, 2), [None, None]);
        assert_eq!(positions(Some("7-3"), 7, 2), [None, None]);
        assert_eq!(positions(Some("7-x-4"), 7, 2), [None, None]);
        assert_eq!(positions(None, 7, 1), [None]);
    }
}
