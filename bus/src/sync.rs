//! The primitives that [`event_flags`](crate::event_flags) is made of: the standard library's, or those of the model
//! checker `loom` (feature `loom`), which tries all interleavings of a test's threads.

#[cfg(feature = "loom")]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU32};
#[cfg(not(feature = "loom"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU32};
