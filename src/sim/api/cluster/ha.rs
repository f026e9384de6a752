//! Endpoints: ha.
