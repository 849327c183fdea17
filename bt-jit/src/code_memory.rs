//! Memory for host code: one memory object, mapped twice.
//!
//! Code is written through one view, which is never executable, and runs through another, which is
//! never writable. The views stand at different addresses, so a stray write of the emulator cannot
//! change code at an address that it learned from running it, and hosts that refuse mappings that are
//! both writable and executable are satisfied.
//!
//! Allocation only goes up within a part of the memory that the translator chooses ([`CodeMemory::reuse`]):
//! blocks of code are placed one after the other until it is full; then another part is chosen, and what it
//! held is forgotten. Memory of forgotten code is filled with INT3, so that a jump there traps.
//!
//! The memory object is a memfd, which hosts with strict rules take. `perf` names code in anonymous memory
//! only; for it the object is one without a name ([`CodeMemory::for_profilers`]).
//!
//! # Running code that was just written
//! The processor keeps instruction fetch and writes coherent by physical address, but when the
//! linear addresses differ, as they do here, the manual asks for a serializing instruction between writing
//! over code that may have been fetched and running it (SDM Vol. 3A, Handling Self- and
//! Cross-Modifying Code). [`CodeMemory::serialize`] is that; it is due where memory is used anew, not for
//! code at addresses that have never run.

// Maps memory, and writes to it through a raw pointer that never leaves this module.
#![allow(unsafe_code)]

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, mremap,
    munmap,
};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

/// The most code memory, in bytes: every place is then in reach of a 32-bit displacement from every
/// other.
pub const MAX_BYTES: usize = 1 << 30;
/// The host's page size; x86-64 has no smaller.
const PAGE: usize = 4096;
/// So much memory is asked for at once.
const POPULATED_AT_ONCE: usize = 128 << 10;
/// INT3, a one-byte breakpoint.
const INT3: u8 = 0xCC;

/// A place in code memory: bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CodeOffset(pub u32);

/// Code memory could not be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodeMemoryError {
    /// The size makes no sense.
    #[error("code memory of {bytes} bytes: 1 byte to 1 GiB can be had")]
    Size {
        /// The size asked for.
        bytes: usize,
    },
    /// The host refuses.
    #[error("code memory of {bytes} bytes: the host refuses {step}: {reason}")]
    Host {
        /// The size asked for.
        bytes: usize,
        /// What it refuses.
        step: &'static str,
        /// The host's words.
        reason: String,
    },
    /// There is not that much left: time for a [`CodeMemory::reuse`].
    #[error("code memory is full: {asked} bytes asked for, {left} left")]
    Full {
        /// The bytes asked for, alignment included.
        asked: usize,
        /// The bytes left.
        left: usize,
    },
}

/// One view of the memory object; unmapped when dropped.
#[derive(Debug)]
struct View {
    start: NonNull<u8>,
    bytes: usize,
}

impl View {
    fn new(memory: &OwnedFd, bytes: usize, rights: ProtFlags) -> rustix::io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; nothing existing is affected.
        let start = unsafe { mmap(ptr::null_mut(), bytes, rights, MapFlags::SHARED, memory, 0)? };
        let start = NonNull::new(start.cast::<u8>()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { start, bytes })
    }
    /// A writable view of new memory without a name.
    fn anonymous(bytes: usize) -> rustix::io::Result<Self> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as in `new`.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, rights, MapFlags::SHARED)? };
        let start = NonNull::new(start.cast::<u8>()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { start, bytes })
    }
    /// An executable view of the same memory.
    fn executable_copy(&self) -> rustix::io::Result<Self> {
        // SAFETY: an old size of 0 asks for a second mapping of shared pages, at an address of the kernel's
        // choice (mremap(2)); the first one stays as it is.
        let start = unsafe { mremap(self.start.as_ptr().cast(), 0, self.bytes, MremapFlags::MAYMOVE)? };
        let start = NonNull::new(start.cast::<u8>()).ok_or(rustix::io::Errno::NOMEM)?;
        let copy = Self { start, bytes: self.bytes };
        // SAFETY: the mapping is new, and nothing refers to it.
        unsafe { mprotect(start.as_ptr().cast(), self.bytes, MprotectFlags::READ | MprotectFlags::EXEC)? };
        Ok(copy)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this start and size, and is unmapped only here.
        // A caller of code in it keeps the `CodeMemory` (see `entry`).
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) } {
            log::error!("code memory cannot be unmapped: {error}");
        }
    }
}

fn whole_pages(bytes: usize) -> Result<usize, CodeMemoryError> {
    if bytes == 0 || bytes > MAX_BYTES {
        return Err(CodeMemoryError::Size { bytes });
    }
    Ok(bytes.next_multiple_of(PAGE))
}

/// The error of a step that the host refuses.
fn refused(bytes: usize, step: &'static str) -> impl Fn(rustix::io::Errno) -> CodeMemoryError {
    move |error| CodeMemoryError::Host { bytes, step, reason: error.to_string() }
}

/// Memory for host code.
#[derive(Debug)]
pub struct CodeMemory {
    writable: View,
    executable: View,
    bytes: usize,
    /// Where code has been placed so far, from the start on.
    used: usize,
    /// Where code is placed next, and where the part ends that is being filled.
    open: Range<usize>,
    /// The host was asked for memory up to here.
    populated: usize,
}

// SAFETY: the views are plain shared memory, owned by this value; all writes need `&mut self`.
unsafe impl Send for CodeMemory {}

impl CodeMemory {
    /// Code memory of `bytes` bytes, rounded up to pages. The host gives pages as they are touched.
    ///
    /// # Errors
    /// A size of zero or above [`MAX_BYTES`], or the host refuses.
    pub fn new(bytes: usize) -> Result<Self, CodeMemoryError> {
        let bytes = whole_pages(bytes)?;
        // Kernels before 6.3 do not know MFD_EXEC; later ones may be set to want it.
        let memory = memfd_create("translated-code", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
            .or_else(|_| memfd_create("translated-code", MemfdFlags::CLOEXEC))
            .map_err(refused(bytes, "a memory object"))?;
        ftruncate(&memory, bytes as u64).map_err(refused(bytes, "memory"))?;
        let writable = View::new(&memory, bytes, ProtFlags::READ | ProtFlags::WRITE)
            .map_err(refused(bytes, "a writable view"))?;
        let executable = View::new(&memory, bytes, ProtFlags::READ | ProtFlags::EXEC)
            .map_err(refused(bytes, "an executable view"))?;
        Ok(Self { writable, executable, bytes, used: 0, open: 0..bytes, populated: 0 })
    }

    /// The same without a name, as `perf` wants it. Hosts may refuse where they grant the other.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_profilers(bytes: usize) -> Result<Self, CodeMemoryError> {
        let bytes = whole_pages(bytes)?;
        let writable = View::anonymous(bytes).map_err(refused(bytes, "a writable view"))?;
        let executable = writable.executable_copy().map_err(refused(bytes, "an executable view"))?;
        Ok(Self { writable, executable, bytes, used: 0, open: 0..bytes, populated: 0 })
    }

    /// How much there is, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes
    }
    /// Where code is placed next, in bytes from the start, before it is aligned.
    pub fn next(&self) -> usize {
        self.open.start
    }

    /// Places `code` at the next multiple of `align`, a power of two up to a page.
    ///
    /// # Errors
    /// [`CodeMemoryError::Full`]; then nothing changed.
    ///
    /// # Panics
    /// `align` is not such a power: a bug of the caller.
    pub fn place(&mut self, code: &[u8], align: usize) -> Result<CodeOffset, CodeMemoryError> {
        assert!(align.is_power_of_two() && align <= PAGE, "alignment {align}");
        let start = self.open.start.next_multiple_of(align);
        let left = self.open.len();
        let asked = (start - self.open.start).saturating_add(code.len());
        if asked > left {
            return Err(CodeMemoryError::Full { asked, left });
        }
        self.open.start += asked;
        self.used = self.used.max(self.open.start);
        if self.used > self.populated {
            self.populate();
        }
        let at = CodeOffset(start as u32);
        self.write(at, code);
        Ok(at)
    }

    /// Asks the host for the next pages of both views at once: two faults for each page would take as long as a third
    /// of what is placed there takes to translate.
    #[cold]
    fn populate(&mut self) {
        let start = self.populated;
        self.populated = self.used.next_multiple_of(POPULATED_AT_ONCE).min(self.bytes);
        let bytes = self.populated - start;
        for (view, advice) in
            [(&self.writable, Advice::LinuxPopulateWrite), (&self.executable, Advice::LinuxPopulateRead)]
        {
            // SAFETY: the bytes lie within the view, and keep what they hold.
            let done = unsafe { madvise(view.start.as_ptr().add(start).cast(), bytes, advice) };
            if let Err(error) = done {
                // Kernels before 5.14 do not know it; pages come as they are touched then.
                log::debug!("pages of code memory in advance: {error}");
            }
        }
    }

    /// Writes over code that has been placed.
    ///
    /// # Panics
    /// The bytes are not all within what has been placed: a bug of the caller.
    pub fn write(&mut self, at: CodeOffset, code: &[u8]) {
        let start = self.inside(at, code.len());
        // SAFETY: `inside` checked that the bytes lie within the view; `code` cannot overlap it, since
        // no reference into the view is ever given out.
        unsafe {
            ptr::copy_nonoverlapping(code.as_ptr(), self.writable.start.as_ptr().add(start), code.len())
        };
    }

    /// Makes the 32-bit displacement at `patch_at`, which ends its instruction, lead to `target`. The
    /// displacement is written at once where `patch_at` is a multiple of 4
    /// ([`Emitter::jmp_to_patch`](crate::Emitter::jmp_to_patch) sees to it), so that a thread that runs
    /// the instruction meanwhile goes to the old target or the new one.
    ///
    /// # Panics
    /// `patch_at` is not a multiple of 4, or it or the target is outside what has been placed: a bug of the caller.
    pub fn link(&mut self, patch_at: CodeOffset, target: CodeOffset) {
        let start = self.inside(patch_at, 4);
        self.inside(target, 1);
        assert!(start.is_multiple_of(4), "displacement at {start:#x} cannot be written at once");
        let displacement = target.0.wrapping_sub(patch_at.0 + 4);
        // SAFETY: `inside` checked the bounds, the address is a multiple of 4 (the view starts on a page), and
        // no reference into the view exists.
        let place = unsafe { AtomicU32::from_ptr(self.writable.start.as_ptr().add(start).cast()) };
        place.store(displacement, Ordering::Release);
    }

    /// A copy of code that has been placed.
    ///
    /// # Panics
    /// The bytes are not all within what has been placed: a bug of the caller.
    pub fn read(&self, at: CodeOffset, bytes: usize) -> Vec<u8> {
        let start = self.inside(at, bytes);
        // SAFETY: `inside` checked that the bytes lie within the view; only this value's owner writes there.
        unsafe { std::slice::from_raw_parts(self.writable.start.as_ptr().add(start), bytes).to_vec() }
    }

    /// The same for a few bytes, without allocating.
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn read_array<const N: usize>(&self, at: CodeOffset) -> [u8; N] {
        let start = self.inside(at, N);
        // SAFETY: as in `read`; bytes may lie anywhere.
        unsafe { self.writable.start.as_ptr().add(start).cast::<[u8; N]>().read() }
    }

    /// Where code at `at` runs. Valid as long as this memory lives and is not reused there.
    ///
    /// # Panics
    /// `at` is outside what has been placed: a bug of the caller.
    pub fn entry(&self, at: CodeOffset) -> *const u8 {
        let start = self.inside(at, 1);
        self.executable.start.as_ptr().wrapping_add(start)
    }

    /// The place of a host address in placed code, as a fault handler finds it.
    pub fn offset_of(&self, host: *const u8) -> Option<CodeOffset> {
        let offset = (host as usize).checked_sub(self.executable.start.as_ptr() as usize)?;
        (offset < self.used).then_some(CodeOffset(offset as u32))
    }

    /// Places code in `part` from now on, and forgets what it held. The caller makes sure that no thread runs
    /// any of that, and calls [`CodeMemory::serialize`] on each thread before it runs new code.
    ///
    /// # Panics
    /// `part` is beyond the memory's end: a bug of the caller.
    pub fn reuse(&mut self, part: Range<u32>) {
        let part = part.start as usize..part.end as usize;
        assert!(part.end <= self.bytes, "a part up to {:#x} of {:#x} bytes", part.end, self.bytes);
        let bytes = part.end.min(self.used).saturating_sub(part.start);
        // SAFETY: these bytes lie within the view, and no reference into it exists.
        unsafe { ptr::write_bytes(self.writable.start.as_ptr().add(part.start), INT3, bytes) };
        self.open = part;
    }

    /// A serializing instruction: after it, this thread fetches what has been written before it.
    #[cfg(target_arch = "x86_64")]
    pub fn serialize(&self) {
        std::hint::black_box(std::arch::x86_64::__cpuid(0));
    }

    fn inside(&self, at: CodeOffset, bytes: usize) -> usize {
        let start = at.0 as usize;
        let fits = start.checked_add(bytes).is_some_and(|end| end <= self.used);
        assert!(fits, "{bytes} bytes at {start:#x} of {:#x} bytes of code", self.used);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> CodeMemory {
        CodeMemory::new(2 * PAGE).unwrap()
    }

    /// The byte at `at` in the executable view.
    fn byte(memory: &CodeMemory, at: u32) -> u8 {
        // SAFETY: within the view, which is readable.
        unsafe { memory.executable.start.as_ptr().add(at as usize).read_volatile() }
    }

    #[test]
    fn sizes_are_bounded_and_whole_pages() {
        for bytes in [0, MAX_BYTES + 1, usize::MAX] {
            assert_eq!(CodeMemory::new(bytes).unwrap_err(), CodeMemoryError::Size { bytes });
        }
        assert_eq!(CodeMemory::new(1).unwrap().capacity(), PAGE);
    }

    #[test]
    fn memory_without_a_name_has_two_views_too() {
        let mut memory = CodeMemory::for_profilers(PAGE + 1).unwrap();
        assert_eq!(memory.capacity(), 2 * PAGE);
        assert_eq!(memory.place(&[1, 2, 3], 16), Ok(CodeOffset(0)));
        memory.write(CodeOffset(1), &[7]);
        assert_eq!([0, 1, 2].map(|at| byte(&memory, at)), [1, 7, 3]);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let start = format!("{:x}-", memory.executable.start.as_ptr() as usize);
        let line = maps.lines().find(|line| line.starts_with(&start)).unwrap();
        assert!(line.contains(" r-xs "), "{line}");
    }

    #[test]
    fn code_is_aligned_and_seen_through_the_other_view() {
        let mut memory = memory();
        assert_eq!(memory.place(&[1, 2, 3], 16), Ok(CodeOffset(0)));
        assert_eq!(memory.place(&[4], 16), Ok(CodeOffset(16)));
        assert_eq!(memory.place(&[5], 1), Ok(CodeOffset(17)));
        assert_eq!(memory.next(), 18);
        assert_eq!([0, 2, 16, 17].map(|at| byte(&memory, at)), [1, 3, 4, 5]);
        memory.write(CodeOffset(1), &[9]);
        assert_eq!(byte(&memory, 1), 9);
        assert_ne!(memory.entry(CodeOffset(0)), memory.writable.start.as_ptr().cast_const());
    }

    #[test]
    fn full_memory_changes_nothing_and_reuse_leaves_traps() {
        let mut memory = memory();
        memory.place(&[0x90; PAGE], 1).unwrap();
        let full = memory.place(&[0x90; PAGE], 4096).map(|_| ());
        assert_eq!(full, Ok(()));
        assert_eq!(memory.place(&[0x90], 1), Err(CodeMemoryError::Full { asked: 1, left: 0 }));
        memory.reuse(8..2 * PAGE as u32);
        assert_eq!(memory.next(), 8);
        assert_eq!([0, 7, 8, 2 * PAGE as u32 - 1].map(|at| byte(&memory, at)), [0x90, 0x90, INT3, INT3]);
        memory.place(&[0x90], 1).unwrap();
        let refused = memory.place(&[0x90; PAGE], 4096).and_then(|_| memory.place(&[0x90; 2], 1));
        assert_eq!(refused, Err(CodeMemoryError::Full { asked: 2, left: 0 }));
        memory.reuse(0..4);
        assert_eq!(memory.place(&[0x90; 5], 1), Err(CodeMemoryError::Full { asked: 5, left: 4 }));
    }

    #[test]
    fn host_addresses_are_found_again() {
        let mut memory = memory();
        let at = memory.place(&[0x90; 8], 1).unwrap();
        let entry = memory.entry(at);
        assert_eq!(memory.offset_of(entry.wrapping_add(7)), Some(CodeOffset(7)));
        assert_eq!(memory.offset_of(entry.wrapping_add(8)), None);
        assert_eq!(memory.offset_of(entry.wrapping_sub(1)), None);
        assert_eq!(memory.offset_of(memory.writable.start.as_ptr()), None);
    }

    #[test]
    fn displacements_lead_forward_and_back() {
        let mut memory = memory();
        memory.place(&[0x90; 64], 16).unwrap();
        memory.link(CodeOffset(4), CodeOffset(32));
        assert_eq!([4, 5, 6, 7].map(|at| byte(&memory, at)), [24, 0, 0, 0]);
        memory.link(CodeOffset(4), CodeOffset(0));
        assert_eq!([4, 5, 6, 7].map(|at| byte(&memory, at)), [0xF8, 0xFF, 0xFF, 0xFF]);
    }

    #[test]
    #[should_panic(expected = "bytes of code")]
    fn writes_stay_within_what_was_placed() {
        let mut memory = memory();
        memory.place(&[0x90; 4], 1).unwrap();
        memory.write(CodeOffset(3), &[0, 0]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_view_is_writable_and_executable() {
        let memory = memory();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        for (view, rights) in [(&memory.writable, "rw-s"), (&memory.executable, "r-xs")] {
            let start = format!("{:x}-", view.start.as_ptr() as usize);
            let line = maps.lines().find(|line| line.starts_with(&start)).unwrap();
            assert!(line.contains(&format!(" {rights} ")), "{line}");
        }
    }
}
