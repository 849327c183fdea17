//! Guest memory as instructions reach it: effective addresses, segment checks, the inline
//! translation. Behind it are the slow paths ([`slow`]: TLB misses, page crossings, devices, tracked
//! pages, alignment checks, data breakpoints), beside it the stack ([`stack`]).
//!
//! Other vCPUs and devices may access the same bytes at the same time, as they may on hardware. To Rust's memory model a plain
//! access is then a data race. What instructions rely on instead is what these accesses are compiled to: each is one load or store
//! of the host, or several for a large or torn operand, through a pointer that the compiler knows nothing of, and the value is
//! not looked at until it is in a register. Hosts have the guest's memory model on x86-64; elsewhere guests have one vCPU at a time
//! (`runs_vcpus_at_once`). What is read to be kept, such as code, is copied atomically (`guest_copy`).

#![allow(unsafe_code, reason = "the inline translation yields host pointers into guest memory")]

mod slow;
mod stack;

use crate::core::{Core, mode};
use crate::op::{Done, Op, info};
use trimotor_cpu::mmu::{Access, TlbEntry, tlb_index};
use trimotor_cpu::{Fault, SegReg, Segment};

/// A value that instructions load and store: plain bytes, little endian, any bit pattern valid.
///
/// # Safety
/// Implementors have no padding and accept every bit pattern.
pub unsafe trait Guest: Copy + 'static {}
// SAFETY: integers and byte arrays accept every bit pattern.
unsafe impl Guest for u8 {}
// SAFETY: as above.
unsafe impl Guest for u16 {}
// SAFETY: as above.
unsafe impl Guest for u32 {}
// SAFETY: as above.
unsafe impl Guest for u64 {}
// SAFETY: as above.
unsafe impl Guest for u128 {}
// SAFETY: as above.
unsafe impl<const N: usize> Guest for [u8; N] {}
// SAFETY: as above.
unsafe impl<const N: usize> Guest for [u64; N] {}

const PAGE: u64 = 4096;

/// What makes an access.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// An operand of an instruction, or its fetch: with the rights of the CPL.
    Instruction,
    /// The frame of a handler in 64-bit mode, whatever mode it interrupts: with the rights of the CPL.
    Frame,
    /// The processor itself, in a descriptor table or a TSS: with a supervisor's rights.
    Processor,
}

/// Whether an address is canonical with 57 bits, or 48.
fn is_canonical(linear: u64, wide: bool) -> bool {
    let unused = if wide { 7 } else { 16 };
    ((linear as i64) << unused) >> unused == linear as i64
}

impl Core {
    /// The effective address: base, index and displacement, cut to the address size.
    #[inline(always)]
    pub fn effective(&self, op: &Op) -> u64 {
        let sum = self
            .reg64(op.base)
            .wrapping_add(self.reg64(op.index) << op.scale)
            .wrapping_add(op.disp as i64 as u64);
        sum & op.address_mask()
    }

    /// The linear address of an operand that needs no check (see [`info::GENERAL`]).
    #[inline(always)]
    pub(crate) fn linear_open(&self, op: &Op) -> u64 {
        let sum = self
            .reg::<u64>(op.base)
            .wrapping_add(self.reg::<u64>(op.index) << (op.scale & 3))
            .wrapping_add(op.disp as i64 as u64)
            .wrapping_add(self.reg::<u64>(op.seg));
        sum & self.reg64(trimotor_cpu::state::reg_file::LINEAR_MASK)
    }

    /// The linear address of `bytes` bytes at `offset` from the operand, checked.
    ///
    /// # Faults
    /// #GP(0) or #SS(0) by the segment's limit and type or a non-canonical address, #AC.
    pub fn linear_of(&mut self, op: &Op, offset: u64, bytes: u64, access: Access) -> Result<u64, Fault> {
        let effective = self.effective(op).wrapping_add(offset) & op.address_mask();
        let Some(seg) = SegReg::from_encoding(op.segment()) else { return Err(Fault::UD) };
        self.segment_linear(seg, effective, bytes, access)
    }

    /// The linear address of `bytes` bytes at `offset` in segment `seg`, checked.
    ///
    /// # Faults
    /// #GP(0) or #SS(0): limit, type, null segment, non-canonical address. (#AC comes from the
    /// access itself.)
    pub fn segment_linear(&self, seg: SegReg, offset: u64, bytes: u64, access: Access) -> Result<u64, Fault> {
        let fault = if seg == SegReg::Ss { Fault::ss(0) } else { Fault::gp(0) };
        let base = self.reg64(trimotor_cpu::state::reg_file::SEG_BASE + seg as u8 * 8);
        if self.state.mode & mode::CODE_SIZE == mode::CODE64 {
            let linear = base.wrapping_add(offset);
            let last = linear.wrapping_add(bytes - 1);
            if !self.canonical(linear) || !self.canonical(last) {
                return Err(fault);
            }
            return Ok(linear);
        }
        let s = self.state.seg(seg);
        let protected = self.state.mode & mode::PROTECTED != 0;
        if protected && !segment_allows(s, access) {
            return Err(fault);
        }
        let last = offset + (bytes - 1);
        let limit = s.limit as u64;
        let expand_down = s.attributes & (Segment::CODE | Segment::DC) == Segment::DC;
        let inside = if expand_down {
            let top = if s.is_32bit() { 0xFFFF_FFFF } else { 0xFFFF };
            offset > limit && last <= top
        } else {
            last <= limit
        };
        if !inside {
            return Err(fault);
        }
        Ok(base.wrapping_add(offset) & 0xFFFF_FFFF)
    }

    /// Whether a linear address is canonical: 48 bits, or 57 with CR4.LA57.
    #[inline]
    pub fn canonical(&self, linear: u64) -> bool {
        is_canonical(linear, self.state.cr4.contains(trimotor_cpu::registers::Cr4::LA57))
    }
    /// Whether a base that is loaded for later (of a segment or a descriptor table, or into an MSR), or an address
    /// whose translations are dropped, is canonical: in the width that CPUID tells, whatever CR4.LA57 is.
    pub fn is_canonical_base(&self, linear: u64) -> bool {
        is_canonical(linear, self.model.has(trimotor_cpu::model::Feature::La57))
    }

    // ---- the inline path ----

    #[inline(always)]
    fn entry(&self, linear: u64) -> &TlbEntry {
        // SAFETY: `tlb` points to a table of TLB_ENTRIES entries that the MMU owns, and the index is
        // within it.
        unsafe { &*self.state.tlb.add(tlb_index(linear)) }
    }

    /// Host address of `bytes` readable bytes at `linear`, if the table has them.
    #[inline(always)]
    pub(crate) fn host_to_read(&self, linear: u64, bytes: u64) -> Option<*const u8> {
        let e = self.entry(linear);
        let offset = linear.wrapping_sub(e.read_tag);
        if offset <= PAGE - bytes { Some(e.host.wrapping_add(offset as usize)) } else { None }
    }
    /// Host address of `bytes` writable bytes at `linear`, if the table has them.
    #[inline(always)]
    pub(crate) fn host_to_write(&self, linear: u64, bytes: u64) -> Option<*mut u8> {
        let e = self.entry(linear);
        let offset = linear.wrapping_sub(e.write_tag);
        if offset <= PAGE - bytes { Some(e.host.wrapping_add(offset as usize)) } else { None }
    }

    /// Reads at a linear address, if the table has it.
    #[inline(always)]
    pub(crate) fn read_inline<T: Guest>(&self, linear: u64) -> Option<T> {
        let p = self.host_to_read(linear, size_of::<T>() as u64)?;
        // SAFETY: the table says that these bytes are mapped guest memory. For races see the module's documentation.
        Some(unsafe { p.cast::<T>().read_unaligned() })
    }
    /// Writes at a linear address, if the table has it; else false.
    #[inline(always)]
    pub(crate) fn write_inline<T: Guest>(&mut self, linear: u64, value: T) -> bool {
        let Some(p) = self.host_to_write(linear, size_of::<T>() as u64) else { return false };
        // SAFETY: the table says that these bytes are mapped, writable guest memory.
        unsafe { p.cast::<T>().write_unaligned(value) };
        true
    }

    /// Reads at a checked linear address with the rights of the CPL.
    ///
    /// # Faults
    /// #PF, #AC.
    #[inline(always)]
    pub fn read_linear<T: Guest>(&mut self, linear: u64) -> Result<T, Fault> {
        match self.read_inline(linear) {
            Some(value) => Ok(value),
            None => self.read_slow(linear),
        }
    }
    /// Writes at a checked linear address with the rights of the CPL.
    ///
    /// # Faults
    /// #PF, #AC.
    #[inline(always)]
    pub fn write_linear<T: Guest>(&mut self, linear: u64, value: T) -> Done {
        self.write_linear_by(linear, value, By::Instruction)
    }
    #[inline(always)]
    pub(crate) fn write_linear_by<T: Guest>(&mut self, linear: u64, value: T, by: By) -> Done {
        if self.write_inline(linear, value) { Ok(()) } else { self.write_slow(linear, value, by) }
    }

    // ---- operands ----

    /// Loads the memory operand.
    ///
    /// # Faults
    /// As [`linear_of`](Self::linear_of), and #PF.
    #[inline(always)]
    pub fn load<T: Guest>(&mut self, op: &Op) -> Result<T, Fault> {
        if op.info & info::GENERAL == 0
            && let Some(p) = self.host_to_read(self.linear_open(op), size_of::<T>() as u64)
        {
            // SAFETY: the table says that these bytes are mapped guest memory.
            return Ok(unsafe { p.cast::<T>().read_unaligned() });
        }
        self.load_at(op, 0)
    }
    /// Loads at `offset` bytes from the memory operand.
    ///
    /// # Faults
    /// As [`load`](Self::load).
    #[inline(never)]
    pub fn load_at<T: Guest>(&mut self, op: &Op, offset: u64) -> Result<T, Fault> {
        let linear = self.linear_of(op, offset, size_of::<T>() as u64, Access::Read)?;
        self.read_slow(linear)
    }
    /// Stores to the memory operand.
    ///
    /// # Faults
    /// As [`load`](Self::load).
    #[inline(always)]
    pub fn store<T: Guest>(&mut self, op: &Op, value: T) -> Done {
        if op.info & info::GENERAL == 0
            && let Some(p) = self.host_to_write(self.linear_open(op), size_of::<T>() as u64)
        {
            // SAFETY: the table says that these bytes are mapped, writable guest memory.
            unsafe { p.cast::<T>().write_unaligned(value) };
            return Ok(());
        }
        self.store_at(op, 0, value)
    }
    /// Stores at `offset` bytes from the memory operand.
    ///
    /// # Faults
    /// As [`load`](Self::load).
    #[inline(never)]
    pub fn store_at<T: Guest>(&mut self, op: &Op, offset: u64, value: T) -> Done {
        let linear = self.linear_of(op, offset, size_of::<T>() as u64, Access::Write)?;
        self.write_slow(linear, value, By::Instruction)
    }
    /// Loads a memory operand that must be aligned to its size (legacy SSE).
    ///
    /// # Faults
    /// #GP(0) where it is not aligned; as [`load`](Self::load).
    #[inline(always)]
    pub fn load_aligned<T: Guest>(&mut self, op: &Op) -> Result<T, Fault> {
        self.check_aligned(op, size_of::<T>() as u64)?;
        self.load(op)
    }
    /// Stores to a memory operand that must be aligned to its size (legacy SSE).
    ///
    /// # Faults
    /// #GP(0) where it is not aligned; as [`store`](Self::store).
    #[inline(always)]
    pub fn store_aligned<T: Guest>(&mut self, op: &Op, value: T) -> Done {
        self.check_aligned(op, size_of::<T>() as u64)?;
        self.store(op, value)
    }
    /// Checks that the memory operand is aligned to `bytes`, a power of two.
    ///
    /// # Faults
    /// #GP(0); a segment fault of the access comes first.
    #[inline(always)]
    pub fn check_aligned(&mut self, op: &Op, bytes: u64) -> Done {
        if self.linear_open(op) & (bytes - 1) != 0
            && self.effective(op).wrapping_add(self.reg64(op.seg)) & (bytes - 1) != 0
        {
            self.linear_of(op, 0, bytes, Access::Read)?;
            return Err(Fault::gp(0));
        }
        Ok(())
    }
    /// Whether a store of `bytes` bytes at `offset` from the memory operand would fault.
    ///
    /// # Faults
    /// Those of the store.
    pub fn check_store(&mut self, op: &Op, offset: u64, bytes: u64) -> Done {
        let linear = self.linear_of(op, offset, bytes, Access::Write)?;
        self.check_write_linear(linear, bytes)
    }
    /// Whether a write of `bytes` bytes at a checked linear address would fault.
    ///
    /// # Faults
    /// #PF.
    pub fn check_write_linear(&mut self, linear: u64, bytes: u64) -> Done {
        let mut done = 0;
        while done < bytes {
            let at = linear.wrapping_add(done) & self.linear_mask(By::Instruction);
            self.translate(at, Access::Write)?;
            done += PAGE - (at & (PAGE - 1));
        }
        Ok(())
    }
    /// Reads bytes at `offset` from the memory operand.
    ///
    /// # Faults
    /// As [`load`](Self::load); the whole range is checked first.
    pub fn read_bytes(&mut self, op: &Op, offset: u64, into: &mut [u8]) -> Done {
        if into.is_empty() {
            return Ok(());
        }
        let linear = self.linear_of(op, offset, into.len() as u64, Access::Read)?;
        self.read_pieces(linear, into, By::Instruction)
    }
    /// Writes bytes at `offset` from the memory operand.
    ///
    /// # Faults
    /// As [`store`](Self::store); the whole range is checked first.
    pub fn write_bytes(&mut self, op: &Op, offset: u64, from: &[u8]) -> Done {
        if from.is_empty() {
            return Ok(());
        }
        let linear = self.linear_of(op, offset, from.len() as u64, Access::Write)?;
        self.write_pieces(linear, from, By::Instruction)
    }

    // ---- implicit supervisor accesses ----

    /// Reads a descriptor table, TSS and the like: supervisor rights whatever the CPL.
    ///
    /// # Faults
    /// #PF (without the user bit); #GP(0) for an address that is not canonical.
    pub fn read_system<T: Guest>(&mut self, linear: u64) -> Result<T, Fault> {
        let linear = if self.state.long_mode() { linear } else { linear & 0xFFFF_FFFF };
        let mut bytes = [0u8; 64];
        let size = size_of::<T>();
        let table = self.mmu.supervisor_table();
        // SAFETY: the table has TLB_ENTRIES entries; hits lead to mapped guest memory.
        unsafe {
            let e = &*table.add(tlb_index(linear));
            let offset = linear.wrapping_sub(e.read_tag);
            if offset <= PAGE - size as u64 {
                return Ok(e.host.wrapping_add(offset as usize).cast::<T>().read_unaligned());
            }
        }
        self.check_system_address(linear, size)?;
        self.read_pieces(linear, &mut bytes[..size], By::Processor)?;
        // SAFETY: T is at most 64 bytes of plain data.
        Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }
    /// A base can be canonical while an address from it is not: it is too near to the end, or was loaded for 5-level
    /// paging.
    fn check_system_address(&self, linear: u64, bytes: usize) -> Done {
        let last = linear.wrapping_add(bytes as u64 - 1);
        let bad = self.state.long_mode() && !(self.canonical(linear) && self.canonical(last));
        if bad { Err(Fault::gp(0)) } else { Ok(()) }
    }
    /// Writes a descriptor table, TSS and the like: supervisor rights whatever the CPL.
    ///
    /// # Faults
    /// #PF (without the user bit); #GP(0) for an address that is not canonical.
    pub fn write_system<T: Guest>(&mut self, linear: u64, value: T) -> Done {
        let linear = if self.state.long_mode() { linear } else { linear & 0xFFFF_FFFF };
        let table = self.mmu.supervisor_table();
        // SAFETY: the table has TLB_ENTRIES entries; hits lead to mapped, writable guest memory.
        unsafe {
            let e = &*table.add(tlb_index(linear));
            let offset = linear.wrapping_sub(e.write_tag);
            if offset <= PAGE - size_of::<T>() as u64 {
                e.host.wrapping_add(offset as usize).cast::<T>().write_unaligned(value);
                return Ok(());
            }
        }
        // SAFETY: T is plain data.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const value).cast::<u8>(), size_of::<T>()) };
        self.check_system_address(linear, bytes.len())?;
        self.write_pieces(linear, bytes, By::Processor)
    }

    // ---- register or memory ----

    /// The memory operand, or general register `r2`.
    ///
    /// # Faults
    /// As [`load`](Self::load).
    #[inline(always)]
    pub fn rm<T: Guest + crate::core::Int>(&mut self, op: &Op) -> Result<T, Fault> {
        if op.has_mem() { self.load(op) } else { Ok(self.reg(op.r2)) }
    }
    /// The memory operand, or the low bytes of vector register `register`.
    ///
    /// # Faults
    /// As [`load`](Self::load).
    #[inline(always)]
    pub fn vec_rm<T: Guest>(&mut self, op: &Op, register: u8) -> Result<T, Fault> {
        if op.has_mem() { self.load(op) } else { Ok(self.vec(register)) }
    }
    /// The low bytes of a vector register.
    #[inline(always)]
    pub fn vec<T: Guest>(&self, register: u8) -> T {
        const { assert!(size_of::<T>() <= 32) };
        // SAFETY: the register has 32 bytes, and T is plain data of no more.
        unsafe { (&raw const self.state.ymm[register as usize & 15]).cast::<T>().read_unaligned() }
    }
    /// Replaces the low bytes of a vector register; the rest stays.
    #[inline(always)]
    pub fn set_vec<T: Guest>(&mut self, register: u8, value: T) {
        const { assert!(size_of::<T>() <= 32) };
        // SAFETY: as in `vec`.
        unsafe { (&raw mut self.state.ymm[register as usize & 15]).cast::<T>().write_unaligned(value) };
    }
}

/// Whether a protected-mode segment allows an access by its type.
fn segment_allows(s: &Segment, access: Access) -> bool {
    if !s.present() || s.attributes & Segment::S == 0 {
        return false;
    }
    match access {
        Access::Read => !s.is_code() || s.attributes & Segment::RW != 0,
        Access::Write => !s.is_code() && s.attributes & Segment::RW != 0,
        Access::Execute => s.is_code(),
    }
}
