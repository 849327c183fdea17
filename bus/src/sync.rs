//! The primitives that [`event_flags`](crate::event_flags), [`peers`](crate::peers) and
//! [`table_tracking`](crate::table_tracking) are made of: the standard library's, or those of the model
//! checker `loom` (feature `loom`), which tries all interleavings of a test's threads.

#[cfg(feature = "loom")]
pub(crate) use checked::{AtomicBool, AtomicU8, AtomicU64};
#[cfg(feature = "loom")]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU32};
#[cfg(not(feature = "loom"))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64},
};

/// Zeroed memory that costs nothing until it is touched.
#[cfg(not(feature = "loom"))]
pub(crate) fn zeroed_u8(count: usize) -> Box<[AtomicU8]> {
    crate::memory::zeroed_bytes(count)
}
/// Zeroed memory that costs nothing until it is touched.
#[cfg(not(feature = "loom"))]
#[allow(unsafe_code)]
pub(crate) fn zeroed_u64(count: usize) -> Box<[AtomicU64]> {
    let words = vec![0u64; count].into_boxed_slice();
    // SAFETY: AtomicU64 has the layout of u64 (on the 64-bit hosts that this runs on).
    unsafe { Box::from_raw(Box::into_raw(words) as *mut [AtomicU64]) }
}
#[cfg(feature = "loom")]
pub(crate) fn zeroed_u8(count: usize) -> Box<[AtomicU8]> {
    (0..count).map(|_| AtomicU8::default()).collect()
}
#[cfg(feature = "loom")]
pub(crate) fn zeroed_u64(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::default()).collect()
}

/// Passes a moment of waiting for another thread. The first ones of a wait keep the processor.
#[inline]
pub(crate) fn pause(keep_processor: bool) {
    #[cfg(feature = "loom")]
    {
        let _ = keep_processor;
        loom::thread::yield_now();
    }
    #[cfg(not(feature = "loom"))]
    if keep_processor {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// loom has no total order of sequentially consistent accesses, only of such fences. With a fence on each side an
/// access is what it is on x86-64, the only host where vCPUs run at the same time: locked instructions, and MOV
/// with MFENCE, are barriers.
#[cfg(feature = "loom")]
mod checked {
    use std::sync::atomic::Ordering;

    fn fenced<R>(ordering: Ordering, access: impl FnOnce() -> R) -> R {
        let fence = || {
            if ordering == Ordering::SeqCst {
                loom::sync::atomic::fence(Ordering::SeqCst);
            }
        };
        fence();
        let result = access();
        fence();
        result
    }

    macro_rules! atomics {
        ($($name:ident of $value:ty { $($operation:ident),* })*) => {$(
            #[doc = concat!("As `std`'s `", stringify!($name), "`.")]
            #[derive(Default, Debug)]
            pub struct $name(loom::sync::atomic::$name);
            #[allow(dead_code, reason = "of each type a part is used")]
            impl $name {
                /// With this value.
                pub fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }
                /// Reads.
                pub fn load(&self, ordering: Ordering) -> $value {
                    fenced(ordering, || self.0.load(ordering))
                }
                /// Writes.
                pub fn store(&self, value: $value, ordering: Ordering) {
                    fenced(ordering, || self.0.store(value, ordering));
                }
                $(
                    /// Reads and writes at once.
                    pub fn $operation(&self, value: $value, ordering: Ordering) -> $value {
                        fenced(ordering, || self.0.$operation(value, ordering))
                    }
                )*
            }
        )*};
    }
    atomics! {
        AtomicBool of bool { swap }
        AtomicU8 of u8 { fetch_add, fetch_and, fetch_or }
        AtomicU64 of u64 { fetch_add, fetch_and, fetch_or }
    }
}
