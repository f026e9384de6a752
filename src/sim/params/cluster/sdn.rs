//! Parameters: sdn.
