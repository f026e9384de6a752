//! Recorded answers of genuine PVE, replayed in process.
