//! What is changed elsewhere: where that is, and what the description of the API says of it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode, Uri};
use outwork_config::HostPort;
use outwork_front::api::{Problem, Viewer};
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::{Content, HeaderBuilder, HttpMethod, Object, Ref, Required, ResponseBuilder, Type};
use utoipa_axum::router::OpenApiRouter;

use super::Place;
use crate::network::Kind;

/// Where the routes are of what the network is to be.
pub(super) const THERE: &str = "/api/v1/controller";

/// The routes at a site: it has lists of its own of some of it.
pub(super) fn at_a_site() -> OpenApiRouter<Place> {
    Kind::ALL.into_iter().fold(OpenApiRouter::new(), |router, kind| match kind {
        Kind::Application | Kind::Settings => whole(router, kind),
        _ => one(lists(router, kind, &[POST]).route(&format!("/{}", kind.plural()), post(elsewhere)), kind),
    })
}

/// The routes at a controller that is no site.
pub(super) fn at_a_controller() -> OpenApiRouter<Place> {
    let rest = ["paths", "tunnels", "events"].into_iter().fold(OpenApiRouter::new(), |router, place| {
        let place = format!("/{place}");
        told(router.route(&place, any(elsewhere)), &place, &[GET])
    });
    Kind::ALL.into_iter().fold(rest, whole)
}

/// A method, and what it does.
type Method = (fn() -> HttpMethod, &'static str);

const GET: Method = (|| HttpMethod::Get, "read");
const POST: Method = (|| HttpMethod::Post, "add");
const PUT: Method = (|| HttpMethod::Put, "change");
const DELETE: Method = (|| HttpMethod::Delete, "remove");

/// All documents of a kind, and each.
fn whole(router: OpenApiRouter<Place>, kind: Kind) -> OpenApiRouter<Place> {
    one(lists(router, kind, &[GET, POST]).route(&format!("/{}", kind.plural()), any(elsewhere)), kind)
}

fn lists(router: OpenApiRouter<Place>, kind: Kind, methods: &[Method]) -> OpenApiRouter<Place> {
    told(router, &format!("/{}", kind.plural()), methods)
}

/// Each document of a kind, and what there is below it.
fn one(router: OpenApiRouter<Place>, kind: Kind) -> OpenApiRouter<Place> {
    let all = format!("/{}", kind.plural());
    let router = router.route(&format!("{all}/{{*name}}"), any(elsewhere));
    let each = [GET, PUT, DELETE];
    match kind {
        Kind::Uplink => told(router, &format!("{all}/{{site}}/{{name}}"), &each),
        Kind::Policy => {
            told(told(router, &format!("{all}/{{name}}"), &each), &format!("{all}/{{name}}/traffic"), &[GET])
        }
        _ => told(router, &format!("{all}/{{name}}"), &each),
    }
}

/// Has the description of the API say what is answered at a place.
fn told(mut router: OpenApiRouter<Place>, place: &str, methods: &[Method]) -> OpenApiRouter<Place> {
    let problem = |why: &str| {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        ResponseBuilder::new().description(why).content("application/json", content).build()
    };
    let text = || Object::with_type(Type::String);
    for (method, verb) in methods {
        let words = place.split(['/', '{', '}']).filter(|word| !word.is_empty()).collect::<Vec<_>>();
        let id = format!("{verb}_elsewhere_{}", words.join("_"));
        let parts = place.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameter = |name: &str| {
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
            parameter.required(Required::True).schema(Some(text())).build()
        };
        let found = HeaderBuilder::new().schema(Some(text())).description(Some("The same thing there")).build();
        let there = ResponseBuilder::new()
            .description(format!("{THERE}{place} has it: ask the same there, with the same method and body"))
            .header("location", found);
        let operation = OperationBuilder::new()
            .tag("sdwan")
            .operation_id(Some(id))
            .summary(Some(format!(
                "To {verb} this is for the controller of the network: its place there, where this process is that."
            )))
            .parameters(Some(parts.map(parameter)))
            .response("307", there.build())
            .response("401", problem("Nobody is known by that token or session"))
            .response("404", problem("This process is no controller; it says where that is"))
            .build();
        router.get_openapi_mut().paths.add_path_operation(place, vec![method()], operation);
    }
    router
}

/// Where what the network is to be is changed.
async fn elsewhere(
    Viewer(caller): Viewer,
    State(place): State<Place>,
    // What is below the place of these routes.
    uri: Uri,
) -> Result<Response, Problem> {
    let below = uri.path();
    caller.does("sdwan.elsewhere", below, "");
    if place.controller.is_some() {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let there = HeaderValue::from_str(&format!("{THERE}{below}{query}")).map_err(Problem::internal)?;
        return Ok((StatusCode::TEMPORARY_REDIRECT, [(LOCATION, there)]).into_response());
    }
    Err(match &place.follower {
        Some(follower) => {
            let at: Vec<_> = follower.addresses().iter().map(HostPort::host).collect();
            let at = at.join(", ");
            Problem::not_found(format!("the network is changed at its controller ({at}), under {THERE}{below} there"))
        }
        None => Problem::not_found(
            "this process is no controller and follows none: sites, classes, applications, policies and settings are in its configuration file",
        ),
    })
}
