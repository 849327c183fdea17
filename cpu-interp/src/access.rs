//! Guest memory as instructions reach it: effective addresses, segment checks, the inline
//! translation, and the slow paths behind it (TLB misses, page crossings, devices, tracked
//! pages, alignment checks, data breakpoints).
//!
//! Other vCPUs and devices may access the same bytes at the same time, as they may on hardware. To Rust's memory model a plain
//! access is then a data race. What instructions rely on instead is what these accesses are compiled to: each is one load or store
//! of the host, or several for a large or torn operand, through a pointer that the compiler knows nothing of, and the value is
//! not looked at until it is in a register. Hosts have the guest's memory model on x86-64; elsewhere guests have one vCPU at a time
//! (`runs_vcpus_at_once`). What is read to be kept, such as code, is copied atomically (`guest_copy`).

#![allow(unsafe_code, reason = "the inline translation yields host pointers into guest memory")]

use crate::core::{Core, mode};
use crate::insn::debug;
use crate::op::{Done, Op, info};
use std::sync::atomic::{Ordering, fence};
use trimotor_bus::memory::PageState;
use trimotor_bus::peers::{Written, code_granules};
use trimotor_bus::{PhysAddr, Width};
use trimotor_cpu::mmu::{Access, FillRequest, Mapped, TlbEntry, tlb_index};
use trimotor_cpu::trace::Kinds;
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
/// Uses of stale translations that are logged; more are only counted, as the guest can make any number.
const STALE_USES_LOGGED: u64 = 16;

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

    // ---- slow paths ----

    /// Reads past the inline path.
    #[cold]
    #[inline(never)]
    fn read_slow<T: Guest>(&mut self, linear: u64) -> Result<T, Fault> {
        self.counts.slow_reads += 1;
        let size = size_of::<T>();
        if self.state.mode & mode::ALIGN != 0 {
            self.check_alignment(linear, size)?;
        }
        if linear & (PAGE - 1) <= PAGE - size as u64 {
            let m = self.translate(linear, Access::Read)?;
            self.watch(linear, size as u64, false, By::Instruction);
            if !m.host.is_null() {
                // SAFETY: the page is mapped and the value lies within it.
                return Ok(unsafe { m.host.cast::<T>().read_unaligned() });
            }
        }
        let mut bytes = [0u8; 64];
        self.read_pieces(linear, &mut bytes[..size], By::Instruction)?;
        // SAFETY: T is at most 64 bytes of plain data.
        Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }
    /// Writes past the inline path.
    #[cold]
    #[inline(never)]
    fn write_slow<T: Guest>(&mut self, linear: u64, value: T, by: By) -> Done {
        self.counts.slow_writes += 1;
        let size = size_of::<T>();
        if self.state.mode & mode::ALIGN != 0 {
            self.check_alignment(linear, size)?;
        }
        if let Some(host) = self.mmu.write_protected(&self.state, linear, size as u64) {
            // SAFETY: the table says that these bytes are mapped guest memory that may be written.
            unsafe { host.cast::<T>().write_unaligned(value) };
            self.write_protected_written(linear, host, size);
            return Ok(());
        }
        // SAFETY: T is plain data.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const value).cast::<u8>(), size) };
        self.write_pieces(linear, bytes, by)
    }
    fn check_alignment(&self, linear: u64, size: usize) -> Done {
        let unit = match size {
            10 => 8,
            n if n.is_power_of_two() => n as u64,
            _ => 1,
        };
        if linear & (unit - 1) != 0 { Err(Fault::AC) } else { Ok(()) }
    }

    /// Host address of `bytes` bytes at a checked linear address that are to be read and written as one,
    /// whatever else happens; `None` where that is done piece by piece: over two pages, in a device, where reads come
    /// from elsewhere, with alignment checks or breakpoints on.
    ///
    /// # Faults
    /// #PF.
    pub(crate) fn host_to_exchange(&mut self, linear: u64, bytes: u64) -> Result<Option<Mapped>, Fault> {
        let plain = self.state.mode & mode::ALIGN == 0 && self.state.dr[7] & 0xFF == 0;
        if !plain || linear & (PAGE - 1) > PAGE - bytes {
            return Ok(None);
        }
        let m = self.translate(linear, Access::Write)?;
        self.watch_for_debugger(linear, bytes, false, By::Instruction);
        self.watch_for_debugger(linear, bytes, true, By::Instruction);
        // In the first megabyte reads may come from elsewhere.
        let one_place = m.phys.0 >= 1 << 20 || self.translate(linear, Access::Read)?.host == m.host;
        Ok(if m.host.is_null() || !one_place { None } else { Some(m) })
    }
    /// The guest-physical address of a device's memory at a checked linear address, for several elements of a string instruction,
    /// the first of them aligned; `None` where each is to go alone: RAM, pages that are not present, breakpoints, a trace.
    pub(crate) fn device_at(&mut self, linear: u64, access: Access, width: Width) -> Option<PhysAddr> {
        let watched = self.state.dr[7] & 0xFF != 0 || self.debugger.watches() || self.traces(Kinds::MMIO);
        if watched || !linear.is_multiple_of(width.bytes() as u64) {
            return None;
        }
        let mapped = self.translate(linear, access).ok()?;
        mapped.host.is_null().then_some(mapped.phys)
    }
    /// Writes elements to a device at once; false where each is to go alone ([`CpuBus::mmio_write_run`]).
    pub(crate) fn write_device_run(&mut self, to: PhysAddr, width: Width, bytes: &[u8]) -> bool {
        self.on_bus(|bus| bus.mmio_write_run(to, width, bytes))
    }
    /// The same for a copy within a device.
    pub(crate) fn copy_device_run(
        &mut self,
        from: PhysAddr,
        to: PhysAddr,
        width: Width,
        count: usize,
    ) -> bool {
        self.on_bus(|bus| bus.mmio_copy_run(from, to, width, count))
    }
    /// Bytes of [`host_to_exchange`](Self::host_to_exchange) were written.
    pub(crate) fn exchanged(&mut self, linear: u64, m: Mapped, bytes: usize) {
        if m.tracked {
            self.write_protected_written(linear, m.host, bytes);
        }
    }

    /// The bits that linear addresses have: those of instructions outside 64-bit mode, and all outside long mode, have
    /// 32, and what crosses the last of them goes on at 0.
    #[inline]
    pub(crate) fn linear_mask(&self, by: By) -> u64 {
        match by {
            By::Processor | By::Frame if self.state.long_mode() => u64::MAX,
            By::Processor | By::Frame => 0xFFFF_FFFF,
            By::Instruction => self.reg64(trimotor_cpu::state::reg_file::LINEAR_MASK),
        }
    }
    /// Translates one byte's page with the rights of the CPL.
    ///
    /// # Faults
    /// #PF.
    pub fn translate(&mut self, linear: u64, access: Access) -> Result<Mapped, Fault> {
        self.translate_by(linear, access, By::Instruction)
    }
    fn translate_by(&mut self, linear: u64, access: Access, by: By) -> Result<Mapped, Fault> {
        let user = by != By::Processor && self.state.cpl == 3;
        let linear = linear & self.linear_mask(by);
        let cacheable = !self.page_has_breakpoint(linear) && self.state.mode & mode::ALIGN == 0;
        let mapped = self.mmu.translate(&mut self.state, linear, FillRequest { access, user }, cacheable);
        if self.mmu.has_stale_uses() {
            self.report_stale_uses();
        }
        mapped
    }
    /// Says which translations were used that the guest has not flushed, if they are
    /// [kept](trimotor_cpu::mmu::Mmu::keep_until_flush).
    #[cold]
    fn report_stale_uses(&mut self) {
        let rip = self.current_rip();
        for stale in self.mmu.take_stale_uses() {
            self.counts.stale_uses_told += 1;
            match self.counts.stale_uses_told {
                ..=STALE_USES_LOGGED => log::warn!("vCPU {}: RIP {rip:#x}: {stale}", self.id),
                n if n == STALE_USES_LOGGED + 1 => log::warn!("more missing INVLPGs are only counted"),
                _ => {}
            }
        }
    }

    /// Reads bytes piece by piece; all pages are translated before the first byte is taken.
    fn read_pieces(&mut self, linear: u64, into: &mut [u8], by: By) -> Done {
        let len = into.len() as u64;
        let first = (PAGE - (linear & (PAGE - 1))).min(len);
        let m1 = self.translate_by(linear, Access::Read, by)?;
        let rest = if first < len {
            Some(self.translate_by(linear.wrapping_add(first), Access::Read, by)?)
        } else {
            None
        };
        self.watch(linear, len, false, by);
        let (a, b) = into.split_at_mut(first as usize);
        self.read_mapped(m1, a);
        if let Some(m2) = rest {
            self.read_mapped(m2, b);
        }
        Ok(())
    }
    fn write_pieces(&mut self, linear: u64, from: &[u8], by: By) -> Done {
        let len = from.len() as u64;
        let first = (PAGE - (linear & (PAGE - 1))).min(len);
        let m1 = self.translate_by(linear, Access::Write, by)?;
        let rest = if first < len {
            Some(self.translate_by(linear.wrapping_add(first), Access::Write, by)?)
        } else {
            None
        };
        self.watch(linear, len, true, by);
        let (a, b) = from.split_at(first as usize);
        self.write_mapped(m1, a);
        if let Some(m2) = rest {
            self.write_mapped(m2, b);
        }
        Ok(())
    }
    fn read_mapped(&mut self, m: Mapped, into: &mut [u8]) {
        if !m.host.is_null() {
            // SAFETY: a piece does not cross its page, which is mapped.
            unsafe { std::ptr::copy(m.host, into.as_mut_ptr(), into.len()) };
            return;
        }
        for (addr, piece) in device_pieces(m.phys, into.len()) {
            let part = &mut into[piece];
            let Some(width) = Width::from_bytes(part.len()) else { continue };
            let value = self.on_bus(|bus| bus.mmio_read(addr, width));
            self.trace_mmio(addr, false, width, value);
            part.copy_from_slice(&value.to_le_bytes()[..part.len()]);
        }
    }
    fn write_mapped(&mut self, m: Mapped, from: &[u8]) {
        if !m.host.is_null() {
            // SAFETY: a piece does not cross its page, which is mapped and writable.
            unsafe { std::ptr::copy(from.as_ptr(), m.host, from.len()) };
            // A page that was not tracked when it was translated may be by now: between the pieces of an access the
            // vCPU serves what it is asked.
            self.memory_written(m.host, from.len());
            return;
        }
        for (addr, piece) in device_pieces(m.phys, from.len()) {
            let part = &from[piece];
            let Some(width) = Width::from_bytes(part.len()) else { continue };
            let value = width.value_of(part);
            self.on_bus(|bus| bus.mmio_write(addr, width, value));
            self.trace_mmio(addr, true, width, value);
        }
    }

    /// A page that the table in use holds was written at `linear`.
    fn write_protected_written(&mut self, linear: u64, host: *mut u8, len: usize) {
        if let Some(ram_page) = self.memory_written(host, len) {
            self.mmu.lift_write_protection(&self.state, linear, ram_page);
        }
    }
    /// Memory of a page with a state was written at host address `host`. Returns the RAM page if it has
    /// no state any more.
    fn memory_written(&mut self, host: *mut u8, len: usize) -> Option<u64> {
        let ram_page = self.memory.ram_page_of_host(host)?;
        if !self.memory.peers().alone() {
            // What was written is seen before the state is looked at: who takes dirty pages does it the other way round. A
            // single vCPU is waited for in any case.
            fence(Ordering::SeqCst);
        }
        let mut state = self.memory.page_state(ram_page).load(Ordering::Acquire);
        if state & PageState::CLEAN != 0 {
            self.memory.note_dirty(ram_page);
            state &= !PageState::CLEAN;
        }
        if state & PageState::PAGE_TABLE != 0 {
            self.mmu.table_written(&mut self.state, ram_page, host as u64 & (PAGE - 1), len as u64);
        }
        if state & PageState::CODE != 0 {
            self.code_written(ram_page, host, len);
        }
        (state == 0).then_some(ram_page)
    }
    /// Guest code may have been written at host address `host`: drops blocks decoded from there, and has
    /// the other vCPUs do so.
    #[cold]
    #[inline(never)]
    fn code_written(&mut self, ram_page: u64, host: *mut u8, len: usize) {
        // SAFETY: `code` is valid during a run, and nobody else uses it meanwhile.
        if let Some(code) = unsafe { self.code.as_mut() }
            && code.written(&self.memory, host, len as u64)
        {
            self.attention = true;
        }
        if self.memory.peers().alone() {
            return;
        }
        let (memory, cpu) = (self.memory.clone(), self.id as usize);
        let offset = host as u64 & (PAGE - 1);
        let write = Written { ram_page, offset, bytes: len as u64, by_device: false };
        let granules = code_granules(offset as usize, len);
        memory.peers().code_written(cpu, ram_page, granules, write, || self.serve_peers());
    }

    // ---- data breakpoints ----

    /// Whether a data or I/O breakpoint, or a debugger's watchpoint, lies in the page of `linear`: it then is not cached.
    fn page_has_breakpoint(&self, linear: u64) -> bool {
        let dr7 = self.state.dr[7];
        let guests = dr7 & 0xFF != 0
            && (0..4).any(|i| {
                dr7 >> (2 * i) & 3 != 0
                    && dr7 >> (16 + 4 * i) & 3 != 0
                    && self.state.dr[i] >> 12 == linear >> 12
            });
        guests || self.debugger.watches_page(linear)
    }
    /// Notes data breakpoints that an access hits.
    fn watch(&mut self, linear: u64, bytes: u64, write: bool, by: By) {
        if self.state.dr[7] & 0xFF != 0 {
            let accessed = debug::Range { start: linear, bytes, mask: self.linear_mask(by) };
            debug::note_hits(self, accessed, |kind| {
                kind == debug::READ_WRITE || kind == debug::WRITE && write
            });
        }
        self.watch_for_debugger(linear, bytes, write, by);
    }
    /// Notes watchpoints of a debugger that an access hits.
    #[inline]
    fn watch_for_debugger(&mut self, linear: u64, bytes: u64, write: bool, by: By) {
        if self.debugger.watches() {
            let accessed = debug::Range { start: linear, bytes, mask: self.linear_mask(by) };
            self.attention |= self.debugger.note_access(accessed, write);
        }
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

    // ---- the stack ----

    /// RSP, ESP or SP as pushes use it.
    #[inline(always)]
    pub fn stack_pointer(&self) -> u64 {
        self.reg64(trimotor_cpu::state::reg_file::RSP) & self.stack_mask()
    }
    /// All ones as wide as the stack pointer.
    #[inline(always)]
    pub fn stack_mask(&self) -> u64 {
        let m = self.state.mode;
        if m & mode::CODE_SIZE == mode::CODE64 {
            u64::MAX
        } else if m & mode::STACK32 != 0 {
            0xFFFF_FFFF
        } else {
            0xFFFF
        }
    }
    /// Sets the stack pointer; bits above its width stay.
    #[inline(always)]
    pub fn set_stack_pointer(&mut self, value: u64) {
        let mask = self.stack_mask();
        let rsp = &mut self.state.reg_file[4];
        *rsp = if mask == 0xFFFF { *rsp & !mask | value & mask } else { value & mask };
    }
    /// Stores below the stack pointer and moves it.
    ///
    /// # Faults
    /// #SS(0), #PF; the stack pointer is then unchanged.
    #[inline]
    pub fn push<T: Guest>(&mut self, value: T) -> Done {
        let bytes = size_of::<T>() as u64;
        let sp = self.stack_pointer().wrapping_sub(bytes) & self.stack_mask();
        let linear = self.segment_linear(SegReg::Ss, sp, bytes, Access::Write)?;
        self.write_linear(linear, value)?;
        self.set_stack_pointer(sp);
        Ok(())
    }
    /// Loads from the stack pointer plus `offset`, and does not move it.
    ///
    /// # Faults
    /// #SS(0), #PF.
    #[inline]
    pub fn peek<T: Guest>(&mut self, offset: u64) -> Result<T, Fault> {
        let sp = self.stack_pointer().wrapping_add(offset) & self.stack_mask();
        let linear = self.segment_linear(SegReg::Ss, sp, size_of::<T>() as u64, Access::Read)?;
        self.read_linear(linear)
    }
    /// Moves the stack pointer up by `bytes`.
    #[inline]
    pub fn drop_stack(&mut self, bytes: u64) {
        let sp = self.stack_pointer().wrapping_add(bytes);
        self.set_stack_pointer(sp);
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

/// Cuts a device access into naturally aligned pieces of 1, 2, 4 or 8 bytes.
fn device_pieces(addr: PhysAddr, len: usize) -> impl Iterator<Item = (PhysAddr, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = addr.offset(done as u64);
        let mut size = 8;
        while size > len - done || at.0 & (size as u64 - 1) != 0 {
            size /= 2;
        }
        done += size;
        Some((at, done - size..done))
    })
}
