//! Copies between guest memory and buffers of our own.
//!
//! Other vCPUs and bus masters may access the same bytes meanwhile. So guest memory is accessed atomically, in units as
//! large as alignment and length allow, up to 8 bytes: an aligned field of that size is never seen torn. Long
//! copies are made by one instruction of the host, which Rust's compiler does not look into, with bytes as units.

#![allow(unsafe_code, reason = "guest memory is reached by pointer")]

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// From so many bytes on the host's string instruction is the fastest way.
#[cfg(target_arch = "x86_64")]
const LONG: usize = 256;

/// The largest unit at `at`, of at most `left` bytes.
fn unit(at: *const u8, left: usize) -> usize {
    let aligned = 1 << (at as usize).trailing_zeros().min(3);
    let fits = 1 << left.ilog2().min(3);
    aligned.min(fits)
}

/// The first bytes of a slice that has as many. Copies of a size that the compiler knows are single loads and stores.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

/// Fills `into` from guest memory.
///
/// # Safety
/// So many bytes at `from` are mapped and may be read for the whole call, by atomic accesses and by what
/// others do to them atomically or in code that is not Rust's. `into` is not guest memory.
pub unsafe fn read(from: *const u8, into: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if into.len() >= LONG {
        // SAFETY: both sides have the bytes, and the direction flag is clear in Rust code.
        return unsafe { move_bytes(from, into.as_mut_ptr(), into.len()) };
    }
    let mut done = 0;
    while done < into.len() {
        let at = from.wrapping_add(done);
        let size = unit(at, into.len() - done);
        let part = &mut into[done..done + size];
        // SAFETY: the bytes are mapped, and the address is a multiple of the size.
        unsafe {
            match size {
                8 => part[..8].copy_from_slice(&(*at.cast::<AtomicU64>()).load(Relaxed).to_ne_bytes()),
                4 => part[..4].copy_from_slice(&(*at.cast::<AtomicU32>()).load(Relaxed).to_ne_bytes()),
                2 => part[..2].copy_from_slice(&(*at.cast::<AtomicU16>()).load(Relaxed).to_ne_bytes()),
                _ => part[0] = (*at.cast::<AtomicU8>()).load(Relaxed),
            }
        }
        done += size;
    }
}

/// Stores `from` into guest memory.
///
/// # Safety
/// As for [`read`], and the bytes may be written.
pub unsafe fn write(to: *mut u8, from: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if from.len() >= LONG {
        // SAFETY: as in `read`.
        return unsafe { move_bytes(from.as_ptr(), to, from.len()) };
    }
    let mut done = 0;
    while done < from.len() {
        let at = to.wrapping_add(done);
        let size = unit(at, from.len() - done);
        let part = &from[done..done + size];
        // SAFETY: as in `read`.
        unsafe {
            match size {
                8 => (*at.cast::<AtomicU64>()).store(u64::from_ne_bytes(first(part)), Relaxed),
                4 => (*at.cast::<AtomicU32>()).store(u32::from_ne_bytes(first(part)), Relaxed),
                2 => (*at.cast::<AtomicU16>()).store(u16::from_ne_bytes(first(part)), Relaxed),
                _ => (*at.cast::<AtomicU8>()).store(part[0], Relaxed),
            }
        }
        done += size;
    }
}

/// REP MOVSB.
///
/// # Safety
/// The bytes are mapped on both sides, writable at `to`, and do not overlap.
#[cfg(target_arch = "x86_64")]
unsafe fn move_bytes(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") bytes => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_and_alignment_is_copied() {
        let mut guest = vec![0u8; 1024];
        for (offset, length) in
            (0..16).flat_map(|offset| [0, 1, 2, 3, 7, 8, 9, 31, 255, 256, 700].map(|n| (offset, n)))
        {
            let from: Vec<u8> = (0..length).map(|n| (n * 7 + offset + 1) as u8).collect();
            guest.fill(0xEE);
            let mut back = vec![0; length];
            // SAFETY: the bytes are this test's, and there are enough of them.
            unsafe {
                write(guest.as_mut_ptr().add(offset), &from);
                read(guest.as_ptr().add(offset), &mut back);
            }
            assert_eq!(back, from, "{length} bytes at {offset}");
            assert!(guest[..offset].iter().chain(&guest[offset + length..]).all(|&byte| byte == 0xEE));
        }
    }

    #[test]
    fn units_are_as_large_as_they_may_be() {
        let at = |address: usize| std::ptr::without_provenance(address);
        for (address, left, expected) in
            [(16, 8, 8), (16, 7, 4), (20, 100, 4), (18, 4, 2), (17, 9, 1), (24, 1, 1)]
        {
            assert_eq!(unit(at(address), left), expected, "{left} bytes at {address}");
        }
    }

    /// A field that others write as a whole is read as a whole.
    #[test]
    fn aligned_fields_are_not_torn() {
        let field = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..200_000).for_each(|n: u32| field.store(u64::from(n) << 32 | u64::from(n), Relaxed))
            });
            for _ in 0..200_000 {
                let mut bytes = [0; 8];
                // SAFETY: the field lives, and is written atomically.
                unsafe { read(field.as_ptr().cast(), &mut bytes) };
                let value = u64::from_le_bytes(bytes);
                assert_eq!(value >> 32, value & 0xFFFF_FFFF);
            }
        });
    }
}
