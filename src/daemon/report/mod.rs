//! What drifts, as a table, JSON, Markdown and JUnit: the files of the `reports` folder, the answers of HTTP and `pvectl drift -o
//! markdown|junit`. Pure but for [`folder`] and [`writer`].

pub mod findings;

pub mod text;

pub mod json;

pub mod markdown;

pub mod junit;

pub mod folder;

pub mod writer;

#[cfg(test)]
mod tests;
