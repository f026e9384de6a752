//! Endpoints: objects.
