//! What vector instructions compute, without registers, memory or faults: pure functions
//! that the interpreter's instruction bodies are made of.

pub mod fp;
pub mod int;
