//! Registers as text.

use std::fmt::Write;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{ArchState, Segment};

const GENERAL: [&str; 16] = [
    "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14",
    "R15",
];
/// The order in which people look for them.
const ORDER: [usize; 16] = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
/// The status and control flags with their letters, as QEMU shows them.
const FLAGS: [(u32, char); 8] =
    [(10, 'D'), (11, 'O'), (7, 'S'), (6, 'Z'), (4, 'A'), (2, 'P'), (0, 'C'), (9, 'I')];

/// All registers of a vCPU.
pub(super) fn text(number: usize, state: &ArchState, halted: bool) -> String {
    let mut out = format!("CPU#{number}\n");
    for row in ORDER.chunks(4) {
        let cells: Vec<_> =
            row.iter().map(|at| format!("{}={:016x}", GENERAL[*at], state.gpr[*at])).collect();
        out += &(cells.join(" ") + "\n");
    }
    let flag = |(bit, letter): (u32, char)| if state.rflags >> bit & 1 != 0 { letter } else { '-' };
    let flags: String = FLAGS.into_iter().map(flag).collect();
    _ = writeln!(
        out,
        "RIP={:016x} RFL={:08x} [{flags}] CPL={} II={} A20={} SMM={} HLT={}",
        state.rip,
        state.rflags,
        state.cpl,
        u8::from(state.interrupt_shadow),
        u8::from(state.a20),
        u8::from(state.in_smm),
        u8::from(halted)
    );
    for (name, segment) in ["ES", "CS", "SS", "DS", "FS", "GS"].iter().zip(&state.segments) {
        out += &segment_line(name, segment);
    }
    out += &segment_line("LDT", &state.ldtr);
    out += &segment_line("TR", &state.tr);
    _ = writeln!(out, "GDT=     {:016x} {:08x}", state.gdtr.base, state.gdtr.limit);
    _ = writeln!(out, "IDT=     {:016x} {:08x}", state.idtr.base, state.idtr.limit);
    _ = writeln!(
        out,
        "CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x}",
        state.cr0, state.cr2, state.cr3, state.cr4
    );
    let debug: Vec<_> =
        [0, 1, 2, 3, 6, 7].iter().map(|at| format!("DR{at}={:016x}", state.dr[*at])).collect();
    _ = writeln!(out, "{}\n{}", debug[..4].join(" "), debug[4..].join(" "));
    _ = writeln!(out, "EFER={:016x} XCR0={:x}", state.efer, state.xcr0);
    let x87 = &state.x87;
    _ = writeln!(
        out,
        "FCW={:04x} FSW={:04x} [ST={}] FTW={:02x} MXCSR={:08x}",
        x87.control,
        x87.status,
        x87.status >> 11 & 7,
        !x87.empty,
        state.mxcsr
    );
    for (at, register) in x87.regs.iter().enumerate() {
        let exponent = u16::from_le_bytes([register[8], register[9]]);
        let significand = register[..8].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let end = if at % 2 == 0 { " " } else { "\n" };
        _ = write!(out, "FPR{at}={significand:016x} {exponent:04x}{end}");
    }
    for (at, register) in state.ymm.iter().enumerate() {
        let end = if at % 2 == 0 { " " } else { "\n" };
        _ = write!(out, "XMM{at:02}={:016x}{:016x}{end}", register[1], register[0]);
    }
    out.trim_end().to_owned()
}

fn segment_line(name: &str, segment: &Segment) -> String {
    let kind = segment.kind();
    let letter = |bit: u16, letter: char| if segment.attributes & bit == 0 { '-' } else { letter };
    let description = match (segment.attributes & Segment::S, segment.attributes & Segment::P) {
        (_, 0) => "not present".to_owned(),
        (0, _) => format!("system, type {kind:x}"),
        _ if segment.is_code() => {
            let bits = match (segment.attributes & Segment::L, segment.is_32bit()) {
                (0, false) => 16,
                (0, true) => 32,
                _ => 64,
            };
            let (conforms, reads) = (letter(Segment::DC, 'C'), letter(Segment::RW, 'R'));
            format!("CS{bits} [{conforms}{reads}{}]", letter(Segment::ACCESSED, 'A'))
        }
        _ => {
            let (down, writes) = (letter(Segment::DC, 'E'), letter(Segment::RW, 'W'));
            format!("DS [{down}{writes}{}]", letter(Segment::ACCESSED, 'A'))
        }
    };
    format!(
        "{name:<3}={:04x} {:016x} {:08x} {:04x} DPL={} {description}\n",
        segment.selector,
        segment.base,
        segment.limit,
        segment.attributes,
        segment.dpl()
    )
}

/// Where a vCPU is, in a line.
pub(super) fn place(number: usize, state: &ArchState, halted: bool) -> String {
    let doing = match (state.activity, halted) {
        (Activity::WaitForSipi, _) => " (waits for SIPI)",
        (Activity::Shutdown, _) => " (shutdown)",
        (Activity::Halted, _) | (_, true) => " (halted)",
        (Activity::Active, false) => "",
    };
    format!(
        "CPU #{number}: pc={:016x} cs={:04x} cpl={} retired={}{doing}",
        state.segments[1].base.wrapping_add(state.rip),
        state.segments[1].selector,
        state.cpl,
        state.retired
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_cpu::CpuState;

    #[test]
    fn a_vcpu_after_reset_is_shown() {
        let mut state = CpuState::at_reset(0x600).to_arch();
        state.gpr[3] = 0xB0B;
        state.ymm[1] = [1, 2, 3, 4];
        let text = text(0, &state, false);
        for wanted in [
            "RAX=0000000000000000 RBX=0000000000000b0b RCX=",
            "RIP=000000000000fff0 RFL=00000002 [--------] CPL=0",
            "CS =f000 00000000ffff0000 0000ffff",
            "CR0=60000010",
            "XMM01=00000000000000020000000000000001",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert_eq!(place(2, &state, true), "CPU #2: pc=00000000fffffff0 cs=f000 cpl=0 retired=0 (halted)");
    }
}
