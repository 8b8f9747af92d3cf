//! One TOML file: layers, spans, schema, diff.
