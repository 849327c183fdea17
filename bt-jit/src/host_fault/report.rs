//! What the handler says.

use super::text::{Hex, Text};
use crate::cache::{CodePlace, TranslatedCode};
use crate::layout::HOST;
use crate::positions::NO_INSTRUCTION;
use std::fmt::Write;
use trimotor_cpu_interp::core::{Core, mode};

/// Guest bytes that are shown, from the instruction on.
const GUEST_BYTES: usize = 16;
/// Host bytes that are shown, from the instruction on.
const HOST_BYTES: usize = 16;

/// General registers, of guest and host.
const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// Where a signal's context has the host's general registers, by their numbers.
pub const IN_CONTEXT: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// What a signal interrupted.
pub struct Interrupted<'a> {
    pub signal: &'static str,
    /// The host address that was accessed, for signals about memory.
    pub address: u64,
    pub context: &'a libc::ucontext_t,
    pub core: &'a Core,
    pub code: &'a TranslatedCode,
}

impl Interrupted<'_> {
    fn host(&self, index: i32) -> u64 {
        self.context.uc_mcontext.gregs[index as usize] as u64
    }
    pub fn pc(&self) -> u64 {
        self.host(libc::REG_RIP)
    }
    pub fn is_in_translated_code(&self) -> bool {
        self.code.place_of(self.pc()).is_some()
    }

    /// Writes the report.
    #[inline(never)]
    pub fn report(&self, advice: &str, write: fn(&[u8])) {
        let mut out = Text::new();
        let out_of_space = self.describe(&mut out, advice).is_err();
        debug_assert!(!out_of_space, "text is cut off where there is no room");
        write(out.bytes());
    }

    /// Writes a line about a fault in code that is not translated.
    #[inline(never)]
    pub fn report_own_code(&self, write: fn(&[u8])) {
        let mut out = Text::new();
        let (id, state) = (self.core.id, &self.core.state);
        let page = self.core.reg64(trimotor_cpu::state::reg_file::BLOCK_RIP);
        let written = writeln!(
            out,
            "trimotor: a host fault in the program's own code at {:x} while vCPU {id} ran near RIP {:016x} or in the page of {page:016x}: {}, address {:x}",
            self.pc(),
            state.rip,
            self.signal,
            self.address,
        );
        debug_assert!(written.is_ok(), "text is cut off where there is no room");
        write(out.bytes());
    }

    fn describe(&self, out: &mut Text, advice: &str) -> std::fmt::Result {
        let Some(place) = self.code.place_of(self.pc()) else { return Ok(()) };
        let core = self.core;
        writeln!(
            out,
            "trimotor: a host fault in translated code, which the guest did not cause: {}",
            self.signal
        )?;
        writeln!(out, "  engine jit, vCPU {}", core.id)?;
        match &place {
            CodePlace::Shared(name) => {
                writeln!(out, "  in the code that all blocks share ({name})")?;
                match self.caller() {
                    Some(caller) => self.describe_guest(out, &caller)?,
                    None => writeln!(out, "  last known guest RIP {:016x}", core.state.rip)?,
                }
            }
            CodePlace::Block { .. } => self.describe_guest(out, &place)?,
        }
        self.describe_host(out, &place)?;
        self.guest_registers(out, &place)?;
        self.host_registers(out)?;
        writeln!(out, "{advice}")
    }

    /// The block that called shared code: its return address stands next to the core, below it.
    fn caller(&self) -> Option<CodePlace<'_>> {
        let slot = std::ptr::from_ref(self.core) as u64 - 8;
        if self.host(libc::REG_RSP) > slot {
            return None;
        }
        let mut bytes = [0; 8];
        let address = u64::from_le_bytes(read(slot, &mut bytes).try_into().ok()?);
        let place = self.code.place_of(address.wrapping_sub(1))?;
        matches!(place, CodePlace::Block { .. }).then_some(place)
    }

    fn describe_guest(&self, out: &mut Text, place: &CodePlace<'_>) -> std::fmt::Result {
        let CodePlace::Block { block, piece, instructions, .. } = place else { return Ok(()) };
        let state = &self.core.state;
        let page_rip = self.core.reg64(trimotor_cpu::state::reg_file::BLOCK_RIP);
        let offset = if piece.number == NO_INSTRUCTION { (block.key.0 & 4095) as u16 } else { piece.guest };
        let at = (block.key.0 & !4095) + offset as usize;
        let rip = self.core.cut_rip(page_rip.wrapping_add(offset.into()));
        let bits = if block.key.1 & mode::CODE_SIZE == mode::CODE64 { 64 } else { 32 };
        // The block was charged as a whole.
        let number = if piece.number == NO_INSTRUCTION { 0 } else { piece.number };
        let spent = self.core.budget_mark - state.budget - (*instructions - number) as i64;
        let retired = state.retired.wrapping_add(spent as u64);
        writeln!(
            out,
            "  guest RIP {rip:016x} (linear too: segments are flat), {bits}-bit code, CPL {}, CR3 {:x}, {retired} instructions retired",
            state.cpl, state.cr3
        )?;
        let what = match (piece.number, piece.cold) {
            (NO_INSTRUCTION, _) => "its entry or exits",
            (_, false) => "the instruction there",
            (_, true) => "the slow path of the instruction there",
        };
        write!(out, "  in a block of {instructions} instructions, {what}; code at host {at:x}")?;
        self.describe_memory(out, at as u64)?;
        let mut bytes = [0; GUEST_BYTES];
        writeln!(out, "\n  guest code {}", Hex(read(at as u64, &mut bytes)))
    }

    fn describe_host(&self, out: &mut Text, place: &CodePlace<'_>) -> std::fmt::Result {
        let pc = self.pc();
        write!(out, "  host PC {pc:x}")?;
        if let CodePlace::Block { offset, .. } = place {
            write!(out, " (block + {offset:#x})")?;
        }
        write!(out, ", address {:x}", self.address)?;
        self.describe_memory(out, self.address)?;
        let mut bytes = [0; HOST_BYTES];
        writeln!(out, "\n  host code {}", Hex(read(pc, &mut bytes)))
    }
    /// Says where a host address is in guest memory, if it is there.
    fn describe_memory(&self, out: &mut Text, host: u64) -> std::fmt::Result {
        match self.core.memory.ram_page_of_host(host as *const u8) {
            Some(page) => {
                let Some(physical) = self.core.memory.ram_page_addr(page) else { return Ok(()) };
                write!(out, " (guest-physical {:x})", physical.0 + (host & 4095))
            }
            None => Ok(()),
        }
    }

    /// The guest's registers, from where they are.
    fn guest_registers(&self, out: &mut Text, place: &CodePlace<'_>) -> std::fmt::Result {
        // Thunks have them in the host's or in memory or in between.
        let in_host = matches!(place, CodePlace::Block { .. });
        let note = if in_host { " (r8 to r11 as in memory)" } else { ", as last saved" };
        writeln!(out, "  guest registers{note}")?;
        for (n, name) in NAMES.iter().enumerate() {
            let value = match HOST[n] {
                Some(register) if in_host => self.host(IN_CONTEXT[register as usize]),
                _ => self.core.state.reg_file[n],
            };
            write!(out, "  {name:>4} {value:016x}{}", if n % 4 == 3 { "\n" } else { "" })?;
        }
        let state = &self.core.state;
        let (saved, flags) = (state.arith, state.rflags);
        writeln!(out, "  arithmetic flags as last saved {saved:?}, others {flags:x}")
    }
    fn host_registers(&self, out: &mut Text) -> std::fmt::Result {
        writeln!(out, "  host registers")?;
        for (n, name) in NAMES.iter().enumerate() {
            let value = self.host(IN_CONTEXT[n]);
            write!(out, "  {name:>4} {value:016x}{}", if n % 4 == 3 { "\n" } else { "" })?;
        }
        writeln!(out, "  flags {:x}", self.host(libc::REG_EFL))
    }
}

/// Reads memory that may be gone: what could be read.
fn read(at: u64, into: &mut [u8]) -> &[u8] {
    // The end of the page may be the end of what is mapped.
    let here = into.len().min(4096 - (at & 4095) as usize);
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: here };
    let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: here };
    // SAFETY: the kernel writes at most `here` bytes to `into`, and refuses addresses that are not readable.
    let got = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    &into[..usize::try_from(got).unwrap_or(0)]
}
