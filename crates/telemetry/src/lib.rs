//! Metrics tables, histograms, history and logs.
