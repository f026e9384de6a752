//! The integration tests, one binary: the house rules, and the command line through the real program.

mod house;
