//! From the kernel's rings to events in the order in which they happened.

pub mod event;
pub mod decode;
pub mod ring;
pub mod order;
pub mod pace;
pub mod backlog;
