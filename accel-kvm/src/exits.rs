//! Why KVM_RUN returned, and what it is answered with: accesses to ports, memory of devices, and MSRs become calls on the bus.

#![allow(unsafe_code, reason = "the union of kvm_run, and the page of port data behind it")]

use kvm_bindings::{
    KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR, KVM_EXIT_IO, KVM_EXIT_IO_IN,
    KVM_EXIT_IRQ_WINDOW_OPEN, KVM_EXIT_MMIO, KVM_EXIT_SET_TPR, KVM_EXIT_SHUTDOWN, KVM_EXIT_X86_RDMSR,
    KVM_EXIT_X86_WRMSR, kvm_run,
};
use kvm_ioctls::VcpuFd;
use std::io;
use trimotor_bus::memory::View;
use trimotor_bus::{CpuBus, GuestMemory, PhysAddr, Port, PortRegisters, Width};

/// Port data of one exit at most: the page that KVM shares for it.
const PORT_DATA: usize = 4096;

/// Why KVM_RUN returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A signal, or `immediate_exit`.
    Interrupted,
    /// An access to a port, of `count` elements.
    Port { port: Port, width: Width, count: usize, write: bool, offset: usize },
    /// An access to memory that is no slot.
    Memory { addr: PhysAddr, bytes: usize, write: bool },
    /// RDMSR or WRMSR of an MSR that is the machine's.
    Msr { index: u32, write: bool },
    /// HLT.
    Halted,
    /// The guest would take an interrupt now.
    Window,
    /// The guest lowered CR8.
    TaskPriority,
    /// A triple fault, as KVM sees it.
    Shutdown,
    /// KVM cannot emulate the next instruction.
    Emulation,
    /// The processor does not enter the guest's state, or the host refuses to run it.
    Entry,
    /// Another reason, by its number.
    Other(u32),
}

/// How often the guest left KVM, by cause.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "as the causes are called")]
pub struct ExitCounts {
    pub interrupted: u64,
    pub port_reads: u64,
    pub port_writes: u64,
    pub memory_reads: u64,
    pub memory_writes: u64,
    pub msr_reads: u64,
    pub msr_writes: u64,
    pub halts: u64,
    pub windows: u64,
    pub task_priority: u64,
    pub shutdowns: u64,
    pub emulation: u64,
    pub entry: u64,
    pub other: u64,
}

impl ExitCounts {
    /// Counts an exit.
    pub fn add(&mut self, exit: Exit) {
        let count = match exit {
            Exit::Interrupted => &mut self.interrupted,
            Exit::Port { write: false, .. } => &mut self.port_reads,
            Exit::Port { .. } => &mut self.port_writes,
            Exit::Memory { write: false, .. } => &mut self.memory_reads,
            Exit::Memory { .. } => &mut self.memory_writes,
            Exit::Msr { write: false, .. } => &mut self.msr_reads,
            Exit::Msr { .. } => &mut self.msr_writes,
            Exit::Halted => &mut self.halts,
            Exit::Window => &mut self.windows,
            Exit::TaskPriority => &mut self.task_priority,
            Exit::Shutdown => &mut self.shutdowns,
            Exit::Emulation => &mut self.emulation,
            Exit::Entry => &mut self.entry,
            Exit::Other(_) => &mut self.other,
        };
        *count += 1;
    }
    /// As lines of the statistics.
    pub fn lines(&self) -> Vec<(String, u64)> {
        let lines = [
            ("port reads", self.port_reads),
            ("port writes", self.port_writes),
            ("memory reads", self.memory_reads),
            ("memory writes", self.memory_writes),
            ("MSR reads", self.msr_reads),
            ("MSR writes", self.msr_writes),
            ("HLT", self.halts),
            ("interrupt window", self.windows),
            ("CR8", self.task_priority),
            ("kicks and signals", self.interrupted),
            ("instructions KVM cannot emulate", self.emulation),
            ("entries refused", self.entry),
            ("shutdowns", self.shutdowns),
            ("others", self.other),
        ];
        lines.map(|(name, count)| (format!("{EXITS}{name}"), count)).to_vec()
    }
}

/// What the lines of the statistics begin with that count exits.
pub const EXITS: &str = "exits: ";

/// Runs the guest until it leaves KVM.
pub fn run(vcpu: &mut VcpuFd) -> Exit {
    match vcpu.run() {
        Ok(_) => decode(vcpu.get_kvm_run()),
        Err(error) => match io::Error::from(error).kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Exit::Interrupted,
            _ => Exit::Entry,
        },
    }
}

fn decode(run: &kvm_run) -> Exit {
    match run.exit_reason {
        KVM_EXIT_INTR => Exit::Interrupted,
        KVM_EXIT_IO => {
            // SAFETY: KVM_EXIT_IO fills in `io`.
            let io = unsafe { run.__bindgen_anon_1.io };
            let (size, count, offset) = (usize::from(io.size), io.count as usize, io.data_offset as usize);
            match Width::from_bytes(size) {
                Some(width) if width != Width::Qword && size.saturating_mul(count) <= PORT_DATA => {
                    let write = u32::from(io.direction) != KVM_EXIT_IO_IN;
                    Exit::Port { port: Port(io.port), width, count, write, offset }
                }
                _ => Exit::Other(KVM_EXIT_IO),
            }
        }
        KVM_EXIT_MMIO => {
            // SAFETY: KVM_EXIT_MMIO fills in `mmio`.
            let mmio = unsafe { run.__bindgen_anon_1.mmio };
            let bytes = (mmio.len as usize).min(mmio.data.len());
            Exit::Memory { addr: PhysAddr(mmio.phys_addr), bytes, write: mmio.is_write != 0 }
        }
        reason @ (KVM_EXIT_X86_RDMSR | KVM_EXIT_X86_WRMSR) => {
            // SAFETY: both fill in `msr`.
            let index = unsafe { run.__bindgen_anon_1.msr.index };
            Exit::Msr { index, write: reason == KVM_EXIT_X86_WRMSR }
        }
        KVM_EXIT_HLT => Exit::Halted,
        KVM_EXIT_IRQ_WINDOW_OPEN => Exit::Window,
        KVM_EXIT_SET_TPR => Exit::TaskPriority,
        KVM_EXIT_SHUTDOWN => Exit::Shutdown,
        KVM_EXIT_INTERNAL_ERROR => Exit::Emulation,
        KVM_EXIT_FAIL_ENTRY => Exit::Entry,
        reason => Exit::Other(reason),
    }
}

/// The value of an MSR that the guest writes.
pub fn msr_data(vcpu: &mut VcpuFd) -> u64 {
    // SAFETY: called at an exit for WRMSR, which fills in `msr`; every bit pattern is a number.
    unsafe { vcpu.get_kvm_run().__bindgen_anon_1.msr.data }
}
/// Answers RDMSR or WRMSR: with a value, or with #GP(0).
pub fn answer_msr(vcpu: &mut VcpuFd, answer: Option<u64>) {
    // SAFETY: called at an exit for an MSR, which fills in `msr`; all its fields are numbers.
    let msr = unsafe { &mut vcpu.get_kvm_run().__bindgen_anon_1.msr };
    msr.error = answer.is_none().into();
    msr.data = answer.unwrap_or(0);
}

/// The `width` bytes of port data at `offset` of the shared pages.
fn port_data(vcpu: &mut VcpuFd, offset: usize, bytes: usize) -> &mut [u8] {
    let run: *mut kvm_run = vcpu.get_kvm_run();
    // SAFETY: KVM says where in the pages that it shares with us the data is, and how long (`decode` bounds it by a page); nobody
    // else uses them while the guest is not running, and `vcpu` is borrowed for as long as the slice lives.
    unsafe { std::slice::from_raw_parts_mut(run.cast::<u8>().add(offset), bytes) }
}

/// Carries out an access to a port.
pub fn port(vcpu: &mut VcpuFd, exit: Exit, bus: &mut dyn CpuBus) {
    let Exit::Port { port, width, count, write, offset } = exit else { return };
    if !write && width == Width::Dword && count == 1 && call(vcpu, port, offset, bus) {
        return;
    }
    let bytes = width.bytes();
    for i in 0..count {
        let at = offset + i * bytes;
        if write {
            let value = number(port_data(vcpu, at, bytes)) as u32;
            bus.port_write(port, width, value);
        } else {
            let value = bus.port_read(port, width);
            port_data(vcpu, at, bytes).copy_from_slice(&value.to_le_bytes()[..bytes]);
        }
    }
}

/// `IN EAX, DX` at a port that programs call with more registers; false where it is none.
fn call(vcpu: &mut VcpuFd, port: Port, offset: usize, bus: &mut dyn CpuBus) -> bool {
    let Ok(mut regs) = vcpu.get_regs() else { return false };
    let low = |value: u64| value as u32;
    let before = PortRegisters {
        eax: low(regs.rax),
        ebx: low(regs.rbx),
        ecx: low(regs.rcx),
        edx: low(regs.rdx),
        esi: low(regs.rsi),
        edi: low(regs.rdi),
    };
    let mut after = before;
    if !bus.port_call(port, &mut after) {
        return false;
    }
    let change = |register: &mut u64, before: u32, after: u32| {
        if before != after {
            *register = after.into();
        }
    };
    change(&mut regs.rbx, before.ebx, after.ebx);
    change(&mut regs.rcx, before.ecx, after.ecx);
    change(&mut regs.rdx, before.edx, after.edx);
    change(&mut regs.rsi, before.esi, after.esi);
    change(&mut regs.rdi, before.edi, after.edi);
    if vcpu.set_regs(&regs).is_err() {
        return false;
    }
    // EAX is what the instruction reads.
    port_data(vcpu, offset, 4).copy_from_slice(&after.eax.to_le_bytes());
    true
}

/// Carries out an access to memory that is no slot: of a device, or of a window whose reads and writes go to different places.
pub fn memory(vcpu: &mut VcpuFd, exit: Exit, bus: &mut dyn CpuBus, ram: &GuestMemory) {
    let Exit::Memory { addr, bytes, write } = exit else { return };
    let run = vcpu.get_kvm_run();
    // SAFETY: called at an exit that fills in `mmio`; its data are bytes.
    let data = unsafe { &mut run.__bindgen_anon_1.mmio.data };
    let mut at = 0;
    while at < bytes {
        // Accesses over the end of a page come as pieces of any length.
        let piece = 1 << (bytes - at).ilog2();
        let (addr, data) = (addr.offset(at as u64), &mut data[at..at + piece]);
        let Some(width) = Width::from_bytes(piece) else { return };
        let backing = ram.backing(addr);
        match write {
            true if !backing.write.is_null() => ram.write_by_vcpu(addr, data, View::of(false)),
            true => bus.mmio_write(addr, width, number(data)),
            false if !backing.read.is_null() => {
                ram.read(addr, data);
            }
            false => {
                let value = bus.mmio_read(addr, width);
                data.copy_from_slice(&value.to_le_bytes()[..piece]);
            }
        }
        at += piece;
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
