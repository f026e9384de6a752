//! Parameters: access.
