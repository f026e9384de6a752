//! Parameters: pool.
