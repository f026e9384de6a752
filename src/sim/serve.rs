//! The real HTTPS server.
