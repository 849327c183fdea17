//! What both sides share: addresses, a case, an outcome.

/// The memory that instructions work on: three writable pages, a read-only one, nothing around.
///
/// These addresses are no powers of two, so that special values do not lead there.
pub const SCRATCH: u64 = 0x1220_0000;
/// Bytes of the writable pages.
pub const WRITABLE: usize = 3 * 4096;
/// Bytes with the read-only page.
pub const SCRATCH_BYTES: usize = WRITABLE + 4096;
/// Reserved and inaccessible before and after the scratch pages.
pub const GUARD: u64 = 0x10_0000;
/// Where code is put, a slot a case.
pub const CODE: u64 = 0x2340_0000;
/// Bytes of a code slot.
pub const SLOT: usize = 128;
/// Where in its slot a taken branch lands.
pub const TAKEN: usize = 96;
/// Cases in a batch.
pub const BATCH: usize = 4096;
/// Bytes of the code area.
pub const CODE_BYTES: usize = BATCH * SLOT;
/// Bytes of the XSAVE area with x87, SSE and AVX.
pub const XSAVE_BYTES: usize = 832;
/// Where 32-bit code leaves to, after the slots: jumps to the exits in 64-bit code.
pub const LEAVES: u64 = CODE + CODE_BYTES as u64;
/// How many different fillings of the scratch pages there are.
pub const TEMPLATES: usize = 32;
/// Bytes compared at a time.
pub const LINE: usize = 64;
/// Changed lines that an outcome has room for; more go into a hash.
pub const MAX_LINES: usize = 24;
/// No exception.
pub const NO_VECTOR: u32 = 256;

/// An XSAVE area.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Xsave(pub [u8; XSAVE_BYTES]);

/// What a case starts from. Its code is in its slot.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Case {
    pub xsave: Xsave,
    pub gpr: [u64; 16],
    pub rflags: u64,
    /// Which filling the scratch pages have.
    pub template: u32,
    /// Bytes of code, before the stub.
    pub code_len: u32,
    /// 64, or 32 for compatibility mode.
    pub bits: u32,
    /// What the instruction must find in the scratch pages to do more than fault.
    pub patches: [Patch; 2],
}

/// Bytes laid over the filling of the scratch pages.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Patch {
    pub at: u32,
    pub len: u32,
    pub bytes: [u8; LINE],
}

impl Patch {
    pub const NONE: Patch = Patch { at: 0, len: 0, bytes: [0; LINE] };
}

impl Case {
    /// The scratch pages as the case finds them.
    ///
    /// # Safety
    /// `scratch` has [`WRITABLE`] bytes.
    pub unsafe fn fill_scratch(&self, template: &[u8], scratch: *mut u8) {
        // SAFETY: the template has as many bytes, and the patches lie within them.
        unsafe {
            std::ptr::copy_nonoverlapping(template.as_ptr(), scratch, WRITABLE);
            for patch in &self.patches {
                let (at, len) = (patch.at as usize, patch.len as usize);
                assert!(at + len <= WRITABLE && len <= LINE);
                std::ptr::copy_nonoverlapping(patch.bytes.as_ptr(), scratch.add(at), len);
            }
        }
    }
}

/// A line of the scratch pages that changed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Line {
    pub index: u32,
    pub bytes: [u8; LINE],
}

/// What came of a case.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Outcome {
    pub xsave: Xsave,
    pub gpr: [u64; 16],
    pub rflags: u64,
    /// Where it ended: relative to the slot.
    pub rip: u64,
    pub vector: u32,
    pub lines: u32,
    pub error: u64,
    pub cr2: u64,
    /// Of the lines that had no room.
    pub hash: u64,
    pub changed: [Line; MAX_LINES],
}

/// Notes which lines of `now` differ from `before`.
///
/// A patched line counts as changed; it does on both sides.
pub fn note_changes(outcome: &mut Outcome, before: &[u8], now: &[u8]) {
    outcome.lines = 0;
    outcome.hash = 0;
    for (index, (b, n)) in before.chunks_exact(LINE).zip(now.chunks_exact(LINE)).enumerate() {
        if b == n {
            continue;
        }
        if let Some(line) = outcome.changed.get_mut(outcome.lines as usize) {
            line.index = index as u32;
            line.bytes.copy_from_slice(n);
        } else {
            for &byte in n {
                outcome.hash =
                    (outcome.hash ^ byte as u64).wrapping_mul(0x100_0000_01B3).wrapping_add(index as u64);
            }
        }
        outcome.lines += 1;
    }
    outcome.lines = outcome.lines.min(MAX_LINES as u32);
}
