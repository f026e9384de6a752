//! Endpoints: backup.
