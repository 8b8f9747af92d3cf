//! What is made of a folder's files before they are served: style sheets, scripts and pages made smaller, put together, and named by their content.
//!
//! - [`config`]: what the configuration says of it.
//! - `plan`: what is made of which files, as a plain function; with `css`, `js` and `html` for what is in them, `map` for source maps, `locate` for
//!   references and [`versioned`] for names.
//! - `scan`: the files of a folder.
//! - `shelf`: what was made, on disk, in generations.
//! - `pipeline`: the thread that makes it, and what is served of it.
//! - `notice`: word of changes.
//! - [`fault`]: what is wrong with a file.
//! - [`metrics`] and [`api`]: what it counts, and what it tells.
//!
//! Deliberately absent: modules put into one, syntax for older browsers, images made smaller; and anything that answers requests: what was made is
//! served by [`crate::files`].

pub mod api;
pub mod config;
mod css;
pub mod fault;
mod html;
mod js;
mod locate;
mod map;
pub mod metrics;
mod notice;
mod pipeline;
mod plan;
mod scan;
mod shelf;
pub mod versioned;

pub use pipeline::{BuildError, Pipeline, Progress, Workshop, build};
pub use plan::Entry;
pub(crate) use shelf::Built;
pub use shelf::{Generation, Lasting};
