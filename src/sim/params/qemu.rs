//! Parameters: qemu.
