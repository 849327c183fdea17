//! Where a vCPU's [`Core`] lives: at the top of a stack.
//!
//! Translated code keeps the host's stack pointer at the core, so that guest state is addressed
//! relative to RSP, one more host register is free, and what translated code calls runs on the
//! stack below. Below the stack lies a page that nobody may access: a stack that overflows ends the program
//! and corrupts nothing.

#![allow(unsafe_code, reason = "one mapping holds a stack and, above it, a value")]

use crate::engine_area::{CoreAndArea, EngineArea};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use trimotor_cpu_interp::core::Core;

/// The host's page size, which the stack's ends are multiples of.
const PAGE: usize = 4096;
const _: () = assert!(PAGE.is_multiple_of(align_of::<CoreAndArea>()));

/// An owned [`Core`] with its [`EngineArea`] and a stack below it. Its address never changes.
pub struct CoreStack {
    both: NonNull<CoreAndArea>,
    mapping: Mapping,
}

// SAFETY: it owns the core as a box would, and `Core` is Send.
unsafe impl Send for CoreStack {}

impl CoreStack {
    /// Moves `core` to the top of a new stack of `stack_bytes` bytes, rounded up to whole pages.
    ///
    /// # Errors
    /// The host refuses the memory.
    pub fn new(core: Core, stack_bytes: usize) -> io::Result<CoreStack> {
        let below = PAGE + stack_bytes.next_multiple_of(PAGE);
        let mapping = Mapping::new(below + size_of::<CoreAndArea>().next_multiple_of(PAGE))?;
        // SAFETY: the mapping is new, and larger than what lies below the core by the size of core and area. A page
        // boundary is aligned for it, as asserted. The guard is the lowest page, which holds nothing.
        let both = unsafe {
            mprotect(mapping.start.as_ptr().cast(), PAGE, MprotectFlags::empty())?;
            let both = mapping.start.add(below).cast::<CoreAndArea>();
            both.write(CoreAndArea { core, area: EngineArea::default() });
            (*both.as_ptr()).core.engine_area = (&raw mut (*both.as_ptr()).area).cast();
            both
        };
        Ok(CoreStack { both, mapping })
    }
    /// The core, as translated code gets it.
    pub fn as_ptr(&self) -> *mut Core {
        self.both.as_ptr().cast()
    }
    /// The lowest byte of the stack; the guard lies below it.
    pub fn stack_end(&self) -> *mut u8 {
        self.mapping.start.as_ptr().wrapping_add(PAGE)
    }
}

impl Deref for CoreStack {
    type Target = Core;
    fn deref(&self) -> &Core {
        // SAFETY: it is owned and valid until drop. No reference covers the area too.
        unsafe { &(*self.both.as_ptr()).core }
    }
}
impl DerefMut for CoreStack {
    fn deref_mut(&mut self) -> &mut Core {
        // SAFETY: as above.
        unsafe { &mut (*self.both.as_ptr()).core }
    }
}

impl Drop for CoreStack {
    fn drop(&mut self) {
        // SAFETY: it was written in `new`, and is given up only here, before its mapping.
        unsafe { self.both.as_ptr().drop_in_place() }
    }
}

/// Memory of the host's, until it is dropped.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Mapping> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, wherever the host has room.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, rights, MapFlags::PRIVATE)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is this value's own, and nothing in it is used any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own");
    }
}
