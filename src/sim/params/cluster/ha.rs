//! Parameters: ha.
