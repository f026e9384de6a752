//! The integration tests, one binary: the house rules, the laws over all kinds, the fault matrix, the numbers of requests,
//! and the command line through the real program.

mod house;

// Off until the simulator can make guests.
#[cfg(any())]
mod laws;
