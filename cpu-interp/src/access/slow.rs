//! Accesses that the inline path does not do: TLB misses, page crossings, devices, tracked pages, alignment checks, data breakpoints.

#![allow(unsafe_code, reason = "translations yield host pointers into guest memory")]

use super::{By, Guest, PAGE};
use crate::core::{Core, mode};
use crate::insn::debug;
use crate::op::Done;
use std::sync::atomic::{Ordering, fence};
use trimotor_bus::memory::PageState;
use trimotor_bus::peers::{Written, code_granules};
use trimotor_bus::{PhysAddr, Width};
use trimotor_cpu::Fault;
use trimotor_cpu::mmu::{Access, FillRequest, Mapped};
use trimotor_cpu::trace::Kinds;

/// Uses of stale translations that are logged; more are only counted, as the guest can make any number.
const STALE_USES_LOGGED: u64 = 16;

impl Core {
    /// Reads past the inline path.
    #[cold]
    #[inline(never)]
    pub(super) fn read_slow<T: Guest>(&mut self, linear: u64) -> Result<T, Fault> {
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
    pub(super) fn write_slow<T: Guest>(&mut self, linear: u64, value: T, by: By) -> Done {
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
    pub(super) fn read_pieces(&mut self, linear: u64, into: &mut [u8], by: By) -> Done {
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
    pub(super) fn write_pieces(&mut self, linear: u64, from: &[u8], by: By) -> Done {
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
