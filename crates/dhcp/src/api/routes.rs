//! The handlers. What waits for the disk or walks over the table runs on a blocking thread.

use super::lease::{self, AddLease, ChangeLease, LeaseView};
use super::reservation::{self, ReservationBody, ReservationPage, ReservationView};
use super::search::{LeasePage, LeaseQuery, Search};
use super::subnet::{SubnetList, SubnetView, Summary, subnets};
use super::transfer::{self, ImportError, ImportReport};
use crate::engine::{Engine, Now};
use crate::import::csv::CsvError;
use crate::server::{Service, StoreError};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use outwork_front::api::{Json, Operator, Path, Problem, Query, Viewer};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Walks over the table under way at once; others wait for their turn.
const WALKS: usize = 2;
/// Subnets looked at in one hold of the engine.
const SUBNETS: usize = 128;
/// Reservations looked at in one hold of the engine.
const RESERVATIONS: usize = 1000;
/// Reservations a page, unless fewer are asked for.
const MAX_RESERVATIONS: usize = 10_000;
/// Octets of an imported file.
const MAX_IMPORT: u64 = 1 << 30;
/// The next piece of an imported file has to come within this time.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// Pieces of an imported file that wait to be read.
const IMPORT_QUEUE: usize = 8;

struct Api {
    service: Arc<Service>,
    walks: Semaphore,
    imports: Arc<Semaphore>,
}

/// The routes over a service, to be nested under `/api/v1/dhcp`.
pub fn router(service: Arc<Service>) -> OpenApiRouter {
    let api = Api { service, walks: Semaphore::new(WALKS), imports: Arc::new(Semaphore::new(1)) };
    OpenApiRouter::new()
        .routes(routes!(summary))
        .routes(routes!(list_subnets))
        .routes(routes!(wipe))
        .routes(routes!(list_leases, add_lease))
        .routes(routes!(export))
        .routes(routes!(import))
        .routes(routes!(get_lease, change_lease, release_lease))
        .routes(routes!(list_reservations, add_reservation))
        .routes(routes!(get_reservation, replace_reservation, remove_reservation))
        .with_state(Arc::new(api))
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error)
    }
}

impl Api {
    /// Works with the service on a blocking thread.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Service) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let service = Arc::clone(&self.service);
        spawn_blocking(move || work(&service)).await.map_err(Problem::internal)?
    }

    /// Looks at something small.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.work(|service| service.read(look)).await
    }

    /// Changes something; returns once that is on stable storage.
    async fn edit<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Engine, Now) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.work(|service| service.edit(change)?).await
    }
}

fn address(text: &str) -> Result<Ipv4Addr, Problem> {
    text.parse().map_err(|_| Problem::invalid("address", format!("`{text}` is not an IPv4 address")))
}

/// Every subnet, a few in each hold of the engine.
fn all_subnets(service: &Service, mut each: impl FnMut(&Engine, Vec<SubnetView>)) {
    let mut first = 0;
    loop {
        let count = service.read(|engine| {
            let some = subnets(engine, first, SUBNETS);
            let count = some.len();
            each(engine, some);
            count
        });
        if count < SUBNETS {
            return;
        }
        first += count;
    }
}

/// The service in figures.
#[utoipa::path(get, path = "/summary", tag = "dhcp",
    responses((status = 200, body = Summary), (status = 401, body = Problem)))]
async fn summary(_: Viewer, State(api): State<Arc<Api>>) -> Result<Json<Summary>, Problem> {
    let work = |service: &Service| {
        let mut summary = Summary::default();
        all_subnets(service, |engine, some| summary.add(engine, &some));
        Ok(Json(summary))
    };
    api.work(work).await
}

/// Subnets and how full their pools are.
#[utoipa::path(get, path = "/subnets", tag = "dhcp",
    responses((status = 200, body = SubnetList), (status = 401, body = Problem)))]
async fn list_subnets(_: Viewer, State(api): State<Arc<Api>>) -> Result<Json<SubnetList>, Problem> {
    let work = |service: &Service| {
        let mut items = Vec::new();
        all_subnets(service, |_, some| items.extend(some));
        Ok(Json(SubnetList { items }))
    };
    api.work(work).await
}

/// What a wipe did.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
struct Wiped {
    /// Leases forgotten.
    removed: usize,
}

/// Forget the leases of a subnet. Its reservations stay.
#[utoipa::path(post, path = "/subnets/{id}/wipe", tag = "dhcp", params(("id" = u32, Path, description = "Subnet id")),
    responses((status = 200, body = Wiped), (status = 404, body = Problem), (status = 503, body = Problem)))]
async fn wipe(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<Wiped>, Problem> {
    caller.does("subnet.wipe", id.as_str(), "");
    let id = id.parse::<u32>().map_err(|_| Problem::invalid("id", format!("`{id}` is no subnet id")))?;
    let work = move |service: &Service| {
        let (mut removed, mut from) = (0, Some(Ipv4Addr::UNSPECIFIED));
        while let Some(at) = from {
            let (count, next) = service.edit(|engine, _| engine.wipe(id, at, transfer::BATCH))?;
            removed += count;
            from = next;
        }
        // A subnet that has left the configuration may still have leases to forget.
        let known = removed > 0 || service.read(|engine| engine.policy().subnet_by_id(id).is_some());
        if known { Ok(removed) } else { Err(Problem::not_found(format!("there is no subnet {id}"))) }
    };
    let removed = api.work(work).await?;
    caller.does("subnet.wipe", id.to_string(), format!("{removed} leases forgotten"));
    Ok(Json(Wiped { removed }))
}

/// Leases, by subnet, state, address, hardware address, client identifier, host name and text.
#[utoipa::path(get, path = "/leases", tag = "dhcp", params(LeaseQuery),
    responses((status = 200, body = LeasePage), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn list_leases(
    _: Viewer,
    State(api): State<Arc<Api>>,
    Query(query): Query<LeaseQuery>,
) -> Result<Json<LeasePage>, Problem> {
    let mut search = Search::new(&query)?;
    let _turn = api.walks.acquire().await.map_err(Problem::internal)?;
    let work = move |service: &Service| {
        while !service.read(|engine| search.step(engine)) {
            std::thread::yield_now();
        }
        Ok(Json(search.finish()))
    };
    api.work(work).await
}

/// Add a lease, for a device that holds its address already.
#[utoipa::path(post, path = "/leases", tag = "dhcp", request_body = AddLease,
    responses((status = 201, body = LeaseView), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 503, body = Problem)))]
async fn add_lease(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    Json(draft): Json<AddLease>,
) -> Result<(StatusCode, Json<LeaseView>), Problem> {
    let client = draft.mac.as_deref().or(draft.client_id.as_deref()).unwrap_or_default();
    caller.does("lease.add", draft.address.to_string(), format!("for {client}"));
    let lease = api.edit(move |engine, now| lease::add(engine, now, &draft)).await?;
    Ok((StatusCode::CREATED, Json(lease)))
}

/// The lease of an address.
#[utoipa::path(get, path = "/leases/{address}", tag = "dhcp", params(("address" = String, Path, description = "The address")),
    responses((status = 200, body = LeaseView), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn get_lease(
    _: Viewer,
    State(api): State<Arc<Api>>,
    Path(text): Path<String>,
) -> Result<Json<LeaseView>, Problem> {
    let address = address(&text)?;
    api.look(move |engine| Ok(Json(lease::view(engine, lease::get(engine, address)?)))).await
}

/// Change a lease's host name or lifetime.
#[utoipa::path(patch, path = "/leases/{address}", tag = "dhcp", request_body = ChangeLease,
    params(("address" = String, Path, description = "The address")),
    responses((status = 200, body = LeaseView), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 503, body = Problem)))]
async fn change_lease(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    Path(text): Path<String>,
    Json(change): Json<ChangeLease>,
) -> Result<Json<LeaseView>, Problem> {
    let name = change.hostname.as_ref().map(|name| format!("hostname {}", name.as_deref().unwrap_or("none")));
    let time = change.lease_time.map(|seconds| format!("lease_time {seconds} s"));
    caller.does("lease.change", text.as_str(), name.into_iter().chain(time).collect::<Vec<_>>().join(", "));
    let address = address(&text)?;
    api.edit(move |engine, now| lease::change(engine, now, address, &change)).await.map(Json)
}

/// End a lease. Its device is not told.
#[utoipa::path(delete, path = "/leases/{address}", tag = "dhcp",
    params(("address" = String, Path, description = "The address")),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
async fn release_lease(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.does("lease.release", text.as_str(), "");
    let address = address(&text)?;
    api.edit(move |engine, now| lease::release(engine, now, address)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All leases as Kea's lease file. Offers are left out.
#[utoipa::path(get, path = "/leases/export", tag = "dhcp",
    responses((status = 200, content_type = "text/csv", body = String), (status = 401, body = Problem)))]
async fn export(_: Viewer, State(api): State<Arc<Api>>) -> Response {
    // Each piece is read when the one before it has gone, so that a slow reader holds neither a thread nor the leases.
    let pieces = stream::unfold(Some(Ipv4Addr::UNSPECIFIED), move |from| {
        let api = Arc::clone(&api);
        async move {
            let from = from?;
            let read = spawn_blocking(move || {
                let (rows, next) = api.service.read(|engine| transfer::rows(engine, from));
                (transfer::write(&rows, from.is_unspecified()), next)
            });
            match read.await {
                Ok((text, next)) => Some((text, next)),
                Err(error) => Some((Err(io::Error::other(error)), None)),
            }
        }
    });
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"outwork-leases.csv\""),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

/// Take over the leases of Kea's lease file. Rows are in force and on disk, a batch after the other, before the answer;
/// lines that can't be taken are reported.
#[utoipa::path(post, path = "/leases/import", tag = "dhcp",
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = ImportReport), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 415, body = Problem), (status = 503, body = Problem)))]
async fn import(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ImportReport>, Problem> {
    caller.does("lease.import", "", "");
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/csv") {
        return Err(Problem::unsupported_media_type("expected a body of content-type text/csv"));
    }
    let busy = || Problem::conflict(None, "another import is under way; try again when it has ended");
    let turn = Arc::clone(&api.imports).try_acquire_owned().map_err(|_| busy())?;
    let (sender, pieces) = mpsc::channel(IMPORT_QUEUE);
    let service = Arc::clone(&api.service);
    let work = spawn_blocking(move || {
        // The turn ends with the work, even if the caller has gone.
        let _turn = turn;
        let put = |batch| service.edit(|engine, now| transfer::put(engine, now, &batch)).map_err(Box::new);
        transfer::import(Upload { pieces, piece: Bytes::new(), ended: false }, put)
    });
    feed(body, &sender).await;
    let report = work.await.map_err(Problem::internal)?.map_err(broken)?;
    let ImportReport { imported, updated, unchanged, failed, .. } = report;
    let new = imported - updated;
    let done = format!("{new} imported, {updated} updated, {unchanged} unchanged; {failed} refused");
    caller.does("lease.import", "", done);
    Ok(Json(report))
}

fn broken(error: ImportError<Box<StoreError>>) -> Problem {
    let said = error.to_string();
    match error {
        ImportError::Store { .. } => Problem::unavailable(said),
        ImportError::File { source: CsvError::Read { source, .. }, .. } => match source.kind() {
            io::ErrorKind::FileTooLarge => Problem::too_large(said),
            io::ErrorKind::TimedOut => Problem::timeout(said),
            _ => Problem::invalid("", said),
        },
        ImportError::File { .. } => Problem::invalid("", said),
    }
}

/// Hands a body on piece by piece; an empty one says that it is complete.
async fn feed(body: Body, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut stream = body.into_data_stream();
    let mut octets = 0;
    loop {
        let piece = match timeout(IMPORT_TIMEOUT, stream.next()).await {
            Ok(Some(Ok(piece))) if piece.is_empty() => continue,
            Ok(Some(Ok(piece))) => {
                octets += piece.len() as u64;
                match octets > MAX_IMPORT {
                    true => {
                        let detail = format!("the file is over the limit of {MAX_IMPORT} octets");
                        Err(io::Error::new(io::ErrorKind::FileTooLarge, detail))
                    }
                    false => Ok(piece),
                }
            }
            Ok(Some(Err(error))) => Err(io::Error::other(error)),
            Ok(None) => Ok(Bytes::new()),
            Err(_) => {
                let detail = format!("nothing came for {} s", IMPORT_TIMEOUT.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, detail))
            }
        };
        let last = piece.as_ref().map_or(true, Bytes::is_empty);
        // Nobody reads on: the import has ended with an error of its own.
        if sender.send(piece).await.is_err() || last {
            return;
        }
    }
}

/// A body as a file is read. A body that breaks off is an error, not the end: its last line is no line.
struct Upload {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    ended: bool,
}

impl BufRead for Upload {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() && !self.ended {
            let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "the file breaks off");
            self.piece = self.pieces.blocking_recv().ok_or_else(broken)??;
            self.ended = self.piece.is_empty();
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, octets: usize) {
        self.piece = self.piece.split_off(octets.min(self.piece.len()));
    }
}

impl Read for Upload {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(to)?;
        self.consume(read);
        Ok(read)
    }
}

/// Which reservations are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ReservationQuery {
    /// Subnet id.
    subnet: Option<u32>,
    /// `next` of the page before; absent for the first page.
    after: Option<String>,
    /// Reservations a page: 10000 when absent, and at most.
    limit: Option<usize>,
}

/// Reservations of the API and of the configuration file.
#[utoipa::path(get, path = "/reservations", tag = "dhcp", params(ReservationQuery),
    responses((status = 200, body = ReservationPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn list_reservations(
    _: Viewer,
    State(api): State<Arc<Api>>,
    Query(query): Query<ReservationQuery>,
) -> Result<Json<ReservationPage>, Problem> {
    let after = query.after.as_deref().map(reservation::parse_id).transpose();
    let after = after.map_err(|_| Problem::invalid("after", "expected `next` of the page before"))?;
    let limit = query.limit.unwrap_or(MAX_RESERVATIONS).clamp(1, MAX_RESERVATIONS);
    let work = move |service: &Service| {
        let (mut from, mut found) = (after.map_or(0, |after| after + 1), Vec::new());
        let policy = service.read(|engine| Arc::clone(engine.policy()));
        while found.len() <= limit {
            let some = service.read(|engine| reservation::page(engine, from, RESERVATIONS));
            let Some(last) = some.last() else { break };
            from = last.id + 1;
            found.extend(some.into_iter().filter(|one| query.subnet.is_none_or(|subnet| one.subnet == Some(subnet))));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let items: Vec<_> = found.iter().map(|one| reservation::to_json(&policy, one)).collect();
        let next = items.last().filter(|_| more).map(|last| last.id.clone());
        let total = service.read(|engine| match query.subnet {
            Some(subnet) => engine.reservations().in_subnet(subnet),
            None => engine.reservations().len(),
        });
        Ok(Json(ReservationPage { items, next, total }))
    };
    api.work(work).await
}

fn note_of(body: &ReservationBody) -> String {
    let address = body.address.map_or("no address".to_owned(), |address| address.to_string());
    format!("{address} for {} {}", body.identifier.value, reservation::place(body.subnet_id))
}

/// Add a reservation. It takes effect at once, even where an old lease lives.
#[utoipa::path(post, path = "/reservations", tag = "dhcp", request_body = ReservationBody,
    responses((status = 201, body = ReservationView), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 503, body = Problem)))]
async fn add_reservation(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    Json(body): Json<ReservationBody>,
) -> Result<(StatusCode, Json<ReservationView>), Problem> {
    let note = note_of(&body);
    caller.does("reservation.create", "", note.as_str());
    let made = api.edit(move |engine, now| reservation::add(engine, now, &body)).await?;
    caller.does("reservation.create", made.id.as_str(), note);
    Ok((StatusCode::CREATED, Json(made)))
}

/// One reservation.
#[utoipa::path(get, path = "/reservations/{id}", tag = "dhcp", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = ReservationView), (status = 404, body = Problem)))]
async fn get_reservation(
    _: Viewer,
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<ReservationView>, Problem> {
    let id = reservation::parse_id(&id)?;
    api.look(move |engine| Ok(Json(reservation::to_json(engine.policy(), reservation::get(engine, id)?)))).await
}

/// Replace a reservation of the API.
#[utoipa::path(put, path = "/reservations/{id}", tag = "dhcp", request_body = ReservationBody,
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = ReservationView), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 503, body = Problem)))]
async fn replace_reservation(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Json(body): Json<ReservationBody>,
) -> Result<Json<ReservationView>, Problem> {
    caller.does("reservation.change", id.as_str(), note_of(&body));
    let id = reservation::parse_id(&id)?;
    api.edit(move |engine, _| reservation::replace(engine, id, &body)).await.map(Json)
}

/// Take a reservation of the API out.
#[utoipa::path(delete, path = "/reservations/{id}", tag = "dhcp", params(("id" = String, Path, description = "Its id")),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
async fn remove_reservation(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.does("reservation.remove", id.as_str(), "");
    let id = reservation::parse_id(&id)?;
    let stored = api.service.has_reservation(id);
    api.edit(move |engine, _| reservation::remove(engine, id, stored)).await?;
    Ok(StatusCode::NO_CONTENT)
}
