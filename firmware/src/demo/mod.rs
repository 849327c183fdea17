//! The embedded demo guest (being built).
