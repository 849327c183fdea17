//! Where a vCPU's [`Core`] lives: at the top of a stack.
//!
//! Translated code keeps the host's stack pointer at the core, so that guest state is addressed
//! relative to RSP, one more host register is free, and what translated code calls runs on the
//! stack below. The interpreter needs no such stack and has none.

#![allow(unsafe_code, reason = "one allocation holds a stack and, above it, a value")]

use crate::core::Core;
use std::alloc::Layout;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The host's page size, which the stack's ends are multiples of.
const PAGE: usize = 4096;

/// An owned [`Core`] with `stack_bytes` bytes of stack below it. Its address never changes.
pub struct CoreHome {
    core: NonNull<Core>,
    bottom: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns the core as a box would, and `Core` is Send.
unsafe impl Send for CoreHome {}

impl CoreHome {
    /// Moves `core` to the top of a new stack of `stack_bytes` bytes (a multiple of the page size, or none).
    pub fn new(core: Core, stack_bytes: usize) -> CoreHome {
        let stack_bytes = stack_bytes.next_multiple_of(PAGE);
        let size = (stack_bytes + size_of::<Core>()).next_multiple_of(PAGE);
        let Ok(layout) = Layout::from_size_align(size, PAGE) else { unreachable!("the sizes are constants") };
        // SAFETY: the layout is not empty. The core's place lies within it, and its alignment (64)
        // divides the page size, of which the offset is a multiple.
        unsafe {
            let Some(bottom) = NonNull::new(std::alloc::alloc(layout)) else {
                std::alloc::handle_alloc_error(layout)
            };
            let place = bottom.add(stack_bytes).cast::<Core>();
            place.write(core);
            CoreHome { core: place, bottom, layout }
        }
    }
    /// The core, as translated code gets it.
    pub fn as_ptr(&self) -> *mut Core {
        self.core.as_ptr()
    }
}

impl Deref for CoreHome {
    type Target = Core;
    fn deref(&self) -> &Core {
        // SAFETY: `core` is owned and valid until drop.
        unsafe { self.core.as_ref() }
    }
}
impl DerefMut for CoreHome {
    fn deref_mut(&mut self) -> &mut Core {
        // SAFETY: as above.
        unsafe { self.core.as_mut() }
    }
}

impl Drop for CoreHome {
    fn drop(&mut self) {
        // SAFETY: both were made in `new`, and are given up only here.
        unsafe {
            self.core.as_ptr().drop_in_place();
            std::alloc::dealloc(self.bottom.as_ptr(), self.layout);
        }
    }
}
