//! What the fuzz targets share, a module a service.

pub mod cache;
pub mod dhcp;
pub mod first;
pub mod http1;
pub mod http1_answer;
pub mod proxy;
pub mod sdwan;
pub mod wireguard;
