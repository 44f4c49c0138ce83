//! Clients and tools that others have written, and the messages of the compiler.

mod tls;
mod tools;
mod ui;
