//! How a run ends.

use std::fmt;
use trimotor_cpu::ArchState;
use trimotor_cpu::backend::ShutdownReport;
use trimotor_devices::debug_exit::DebugExit;
use trimotor_devices::requests::ResetCause;

/// Why a run ended.
#[derive(Clone, PartialEq, Debug)]
pub enum ExitReason {
    /// The guest powered off (ACPI S5).
    PowerOff,
    /// The guest reset the machine, and the configuration says that this ends the run.
    Reset(ResetCause),
    /// The guest wrote this value to isa-debug-exit.
    DebugExit(u32),
    /// The guest's kernel panicked and said so through pvpanic, and the configuration says that this ends the run.
    Panic,
    /// A vCPU met a triple fault.
    TripleFault(Box<TripleFault>),
    /// A replay left its recording: see [`Machine::divergence`](crate::Machine::divergence).
    Diverged,
    /// Someone outside asked for the end ([`MachineControl::quit`](crate::MachineControl::quit)).
    Quit,
}

impl ExitReason {
    /// The program's exit code that isa-debug-exit asks for; `None` for other reasons.
    pub fn debug_exit_code(&self) -> Option<u8> {
        match self {
            ExitReason::DebugExit(value) => Some(DebugExit::exit_code(*value)),
            _ => None,
        }
    }
}

/// A triple fault, for people.
#[derive(Clone, PartialEq, Debug)]
pub struct TripleFault {
    /// The vCPU.
    pub cpu: usize,
    /// The chain of faults and what was wrong.
    pub report: ShutdownReport,
    /// The registers.
    pub state: ArchState,
    /// The bytes at CS:RIP that could be read, 16 at most.
    pub code: Vec<u8>,
}

impl fmt::Display for TripleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "triple fault on vCPU {}", self.cpu)?;
        for (i, fault) in self.report.chain.iter().enumerate() {
            writeln!(f, "  {}. {fault}", i + 1)?;
        }
        for detail in &self.report.details {
            writeln!(f, "  {detail}")?;
        }
        if !self.report.last.is_empty() {
            writeln!(f, "  the last {} of what was traced before:", self.report.last.len())?;
        }
        for line in &self.report.last {
            writeln!(f, "    {line}")?;
        }
        write_registers(f, &self.state)?;
        let code: Vec<String> = self.code.iter().map(|b| format!("{b:02x}")).collect();
        let code = if code.is_empty() { "cannot be read".to_owned() } else { code.join(" ") };
        write!(f, "code at CS:RIP: {code}")
    }
}

fn write_registers(f: &mut fmt::Formatter<'_>, s: &ArchState) -> fmt::Result {
    const NAMES: [&str; 16] = [
        "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8 ", "R9 ", "R10", "R11", "R12", "R13",
        "R14", "R15",
    ];
    for row in 0..4 {
        let cells: Vec<String> =
            (0..4).map(|i| format!("{}={:016x}", NAMES[4 * row + i], s.gpr[4 * row + i])).collect();
        writeln!(f, "{}", cells.join(" "))?;
    }
    writeln!(f, "RIP={:016x} RFLAGS={:08x} CPL={}", s.rip, s.rflags, s.cpl)?;
    for (name, segment) in ["ES", "CS", "SS", "DS", "FS", "GS"].iter().zip(&s.segments) {
        writeln!(
            f,
            "{name}={:04x} base={:016x} limit={:08x} attributes={:04x}",
            segment.selector, segment.base, segment.limit, segment.attributes
        )?;
    }
    writeln!(
        f,
        "GDTR={:016x}:{:04x} IDTR={:016x}:{:04x}",
        s.gdtr.base, s.gdtr.limit, s.idtr.base, s.idtr.limit
    )?;
    writeln!(
        f,
        "CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x} EFER={:04x}",
        s.cr0, s.cr2, s.cr3, s.cr4, s.efer
    )
}
