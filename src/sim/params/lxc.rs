//! Parameters: lxc.
