//! REST, events, OpenAPI and the dashboard.
