//! Parameters: storage.
