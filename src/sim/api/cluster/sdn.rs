//! Endpoints: sdn.
