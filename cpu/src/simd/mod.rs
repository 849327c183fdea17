//! What vector instructions compute, without registers, memory or faults: pure functions
//! that the interpreter's instruction bodies are made of.

#[cfg(target_arch = "x86_64")]
pub mod fp;
pub mod int;
