//! Where the two outcomes of a case differ.

use crate::layout::*;
use iced_x86::{Code, Mnemonic};
use std::fmt::Write;

/// RFLAGS bits that user code can see change.
const FLAGS: u64 = 0x8D5 | 0x4400 | 1 << 18 | 1 << 21;
/// FXSAVE bytes that are not compared: FOP (newer processors update it only at exceptions), and the
/// pointers FIP and FDP (likewise FDP; AMD and Intel differ in when).
const POINTERS: std::ops::Range<usize> = 5..24;

/// Flags that the manual leaves undefined and where processors differ from each other.
fn undefined_flags(_code: Code) -> u64 {
    0
}

/// What differs, in words; `None` where nothing does.
pub fn difference(codes: &[Code], case: &Case, host: &Outcome, ours: &Outcome) -> Option<String> {
    let mut text = String::new();
    if host.vector != ours.vector || host.vector != NO_VECTOR && host.error != ours.error {
        let _ = write!(
            text,
            "exception: host {} ours {}; ",
            exception(host.vector, host.error, host.cr2),
            exception(ours.vector, ours.error, ours.cr2)
        );
    } else if host.vector == 14 && host.cr2 != ours.cr2 {
        let _ = write!(text, "CR2: host {:#x} ours {:#x}; ", host.cr2, ours.cr2);
    }
    if host.rip != ours.rip {
        let _ = write!(text, "RIP: host +{:#x} ours +{:#x}; ", host.rip, ours.rip);
    }
    for n in 0..16 {
        if host.gpr[n] != ours.gpr[n] {
            let _ = write!(
                text,
                "r{n}: was {:#x} host {:#x} ours {:#x}; ",
                case.gpr[n], host.gpr[n], ours.gpr[n]
            );
        }
    }
    let undefined = codes.iter().fold(0, |u, &c| u | undefined_flags(c));
    let changed = (host.rflags ^ ours.rflags) & FLAGS & !undefined;
    if changed != 0 {
        let _ = write!(
            text,
            "RFLAGS ({changed:#x}): was {:#x} host {:#x} ours {:#x}; ",
            case.rflags,
            host.rflags & FLAGS,
            ours.rflags & FLAGS
        );
    }
    registers(case, host, ours, &mut text);
    memory(host, ours, &mut text);
    if text.is_empty() { None } else { Some(text) }
}

fn exception(vector: u32, error: u64, cr2: u64) -> String {
    match vector {
        NO_VECTOR => "none".into(),
        14 => format!("#PF({error:#x}) at {cr2:#x}"),
        v if v > 255 => format!("no end ({v:#x})"),
        v => format!("{}({error:#x})", trimotor_cpu::Fault::name(v as u8)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|b| format!("{b:02x}")).collect()
}

fn registers(case: &Case, host: &Outcome, ours: &Outcome, text: &mut String) {
    let (h, o, was) = (&host.xsave.0, &ours.xsave.0, &case.xsave.0);
    let mut field = |name: &str, at: std::ops::Range<usize>| {
        if h[at.clone()] != o[at.clone()] {
            let _ = write!(
                text,
                "{name}: was {} host {} ours {}; ",
                hex(&was[at.clone()]),
                hex(&h[at.clone()]),
                hex(&o[at])
            );
        }
    };
    field("FCW", 0..2);
    field("FSW", 2..4);
    field("FTW", 4..POINTERS.start);
    field("MXCSR", 24..28);
    for n in 0..8 {
        field(&format!("ST{n}"), 32 + 16 * n..42 + 16 * n);
    }
    for n in 0..16 {
        field(&format!("XMM{n}"), 160 + 16 * n..176 + 16 * n);
        field(&format!("YMM{n} upper"), 576 + 16 * n..592 + 16 * n);
    }
}

fn memory(host: &Outcome, ours: &Outcome, text: &mut String) {
    let lines = |o: &Outcome| o.changed[..o.lines as usize].to_vec();
    let (h, o) = (lines(host), lines(ours));
    if h == o && host.hash == ours.hash {
        return;
    }
    let find = |list: &[Line], index: u32| list.iter().find(|l| l.index == index).map(|l| l.bytes);
    let mut shown = 0;
    for index in 0..(WRITABLE / LINE) as u32 {
        let (a, b) = (find(&h, index), find(&o, index));
        if a != b && shown < 2 {
            let at = index as usize * LINE;
            let show = |l: Option<[u8; LINE]>| l.map_or("unchanged".into(), |l| hex(&l));
            let _ = write!(text, "memory +{at:#x}: host {} ours {}; ", show(a), show(b));
            shown += 1;
        }
    }
    if shown == 0 {
        text.push_str("memory: other lines; ");
    }
}

/// The reason why a form is left out, if it is.
pub fn skip_reason(code: Code) -> Option<&'static str> {
    use Mnemonic as M;
    Some(match code.mnemonic() {
        M::Cpuid | M::Xgetbv => "tells about the processor",
        M::Rdtsc | M::Rdtscp | M::Rdpmc => "counts time",
        M::Rdrand | M::Rdseed => "is random",
        M::Rdpid => "tells the processor's number",
        M::Rdpkru | M::Wrpkru => "needs a host with protection keys",
        M::Rdfsbase | M::Rdgsbase | M::Wrfsbase | M::Wrgsbase => "the host's FS belongs to its C library",
        M::Syscall | M::Sysenter | M::Sysret | M::Sysexit | M::Int => "is a system call",
        M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw => "the host's kernel emulates it (UMIP)",
        M::Lar | M::Lsl | M::Verr | M::Verw => "depends on the host's descriptors",
        M::Lss | M::Lfs | M::Lgs => "loads a segment register",
        M::Pop if matches!(code, Code::Popw_FS | Code::Popw_GS | Code::Popq_FS | Code::Popq_GS) => {
            "loads a segment register"
        }
        M::Mov if matches!(code, Code::Mov_Sreg_r32m16 | Code::Mov_Sreg_r64m16 | Code::Mov_Sreg_rm16) => {
            "loads a segment register"
        }
        M::Iret | M::Iretd | M::Iretq | M::Retf => "leaves the segment",
        _ if code.is_jmp_far_indirect() || code.is_call_far_indirect() => "leaves the segment",
        _ => return None,
    })
}
