//! The admin surface: REST under `/api/v1`, live events, health, Prometheus metrics, OpenAPI, the dashboard.
//!
//! - `settings`: the `[admin]` section, and the rule that only loopback may be without a token.
//! - [`routes`]: the routes, one file a subject, and the router that puts them together with those of the services.
//! - `dashboard`: the embedded dashboard, compressed at build time.
//! - `archive`: the metrics history on the store, its roll-up and its end.
//! - `live`: what is sampled each second for watchers, and every ten for the history.
//! - `first_run`: the first token.
//! - `local`: the secret of the data directory, for callers on this machine.
//!
//! Deliberately absent: what the services' own routes do; they hand them in as a [`ServiceApi`].

mod archive;
mod dashboard;
mod first_run;
mod live;
mod local;
pub mod routes;
mod settings;

pub use archive::StoreArchive;
pub use dashboard::{Asset, assets};
pub use first_run::{FirstRunError, FirstToken, first_token};
pub use live::Live;
pub use local::{LOCAL_TOKEN_FILE, LOCAL_URLS_FILE, LocalFile, LocalFileError, local_urls};
pub use routes::{Admin, ServiceApi, ServiceState, State, router};
pub use settings::{AdminSettings, AdminTls};
