//! What is made of a folder's files before they are served.

pub mod config;
mod css;
pub mod fault;
mod html;
mod js;
mod locate;
mod map;
mod plan;
pub mod versioned;
