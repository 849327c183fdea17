//! Where the two outcomes of a case differ.

use iced_x86::{Code, Mnemonic};
use std::fmt::Write;
use trimotor_test_support::needs::intel_host;
use trimotor_test_support::random::layout::*;

/// RFLAGS bits that user code can see change.
const FLAGS: u64 = 0x8D5 | 0x4400 | 1 << 18 | 1 << 21;
/// FXSAVE bytes that are not compared: FOP (newer processors update it only at exceptions), and the
/// pointers FIP and FDP (likewise FDP; AMD and Intel differ in when).
const POINTERS: std::ops::Range<usize> = 5..24;

/// Flags that the manual leaves undefined and where processors differ from each other.
fn undefined_flags(code: Code) -> u64 {
    match code.mnemonic() {
        // SDM Vol. 2, MUL and IMUL: "SF, ZF, AF, and PF are undefined".
        Mnemonic::Mul | Mnemonic::Imul => 0xD4,
        // BSF and BSR: "the CF, OF, SF, AF, and PF flags are undefined".
        Mnemonic::Bsf | Mnemonic::Bsr => 0x895,
        // DIV and IDIV: "CF, OF, SF, ZF, AF, and PF are undefined".
        Mnemonic::Div | Mnemonic::Idiv => 0x8D5,
        // DAA and DAS: "the OF flag is undefined".
        Mnemonic::Daa | Mnemonic::Das => 0x800,
        // AAA and AAS: "the OF, SF, ZF, and PF flags are undefined".
        Mnemonic::Aaa | Mnemonic::Aas => 0x8C4,
        // AAD and AAM: "the OF, AF, and CF flags are undefined".
        Mnemonic::Aad | Mnemonic::Aam => 0x811,
        // BEXTR: "the state of AF, SF, and PF is undefined".
        Mnemonic::Bextr => 0x94,
        mnemonic if intel_host() => undefined_by_intel(mnemonic),
        _ => 0,
    }
}

/// The same where AMD's processors agree among themselves, as the interpreter does with them, and Intel's differ.
fn undefined_by_intel(mnemonic: Mnemonic) -> u64 {
    use Mnemonic as M;
    match mnemonic {
        // "The OF flag is defined only for the 1-bit rotates; it is undefined in all other cases".
        M::Rol | M::Ror | M::Rcl | M::Rcr => 0x800,
        // "OF, SF, PF, and AF flags are undefined".
        M::Tzcnt | M::Lzcnt => 0x894,
        // "AF and PF flags are undefined".
        M::Andn | M::Blsi | M::Blsr | M::Blsmsk | M::Bzhi => 0x14,
        _ => 0,
    }
}

/// Whether nothing can be said of an exception in an instruction on a processor of Intel's, which does in another order what the
/// manual gives no order for.
fn may_differ_on_intel(code: Code, any: &impl Fn(&[u32]) -> bool) -> bool {
    use Mnemonic as M;
    let name = format!("{code:?}");
    match code.mnemonic() {
        // Newer processors push before they check the target.
        M::Call => any(&[13]),
        // An exception that waits for the next x87 instruction comes before that of the store.
        M::Fst | M::Fstp | M::Fist | M::Fistp | M::Fisttp => any(&[14]),
        // It rounds, and sets MXCSR, before it stores.
        M::Vcvtps2ph => any(&[14]),
        // The register file becomes that of MMX before the store.
        M::Movq | M::Movd | M::Movntq => any(&[14]) && name.contains("_mm"),
        // Which of its bytes a masked store that faults reports.
        M::Vmaskmovps | M::Vmaskmovpd | M::Vpmaskmovd | M::Vpmaskmovq => any(&[14]),
        // "When a page fault occurs during CMPS or SCAS instructions that are prefixed with REPNE, the EFLAGS value is
        // restored to the state prior to the execution of the instruction."
        M::Scasb | M::Scasw | M::Scasd | M::Scasq | M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => any(&[14]),
        // Which parts of the area it leaves as they are.
        M::Xsave | M::Xsave64 | M::Xsaveopt | M::Xsaveopt64 | M::Xsavec | M::Xsavec64 => any(&[14]),
        _ => false,
    }
}

/// Bits of the x87 status word that the manual leaves undefined and where processors differ.
fn undefined_status(code: Code) -> u16 {
    use Mnemonic as M;
    match code.mnemonic() {
        // C1 is "set to 0 if stack underflow occurred" and undefined otherwise.
        M::Fcmovb
        | M::Fcmove
        | M::Fcmovbe
        | M::Fcmovu
        | M::Fcmovnb
        | M::Fcmovne
        | M::Fcmovnbe
        | M::Fcmovnu => 0x200,
        // C1 is "set to 0" by Intel's manual and stays on AMD's processors.
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => 0x200,
        _ => 0,
    }
}

/// Whether what the instruction leaves must not be used by another one.
pub fn leaves_undefined(code: Code) -> bool {
    undefined_flags(code) != 0 || undefined_status(code) != 0 || !blanks(code, 0).is_empty()
}

/// Whether the form accesses so many bytes that it takes processors several accesses, whose order
/// tells which address a page fault reports. Of the two that CMPS reads, Zen 3 takes that of (E|R)DI
/// first, Zen 5 that of (E|R)SI, as the interpreter does; the manual names no order.
fn accesses_much(code: Code) -> bool {
    use Mnemonic as M;
    code.op_code().is_save_restore()
        || matches!(code, Code::Cmpsb_m8_m8 | Code::Cmpsw_m16_m16 | Code::Cmpsd_m32_m32 | Code::Cmpsq_m64_m64)
        || matches!(
            code.mnemonic(),
            M::Fldenv
                | M::Fnstenv
                | M::Fnsave
                | M::Frstor
                | M::Fxsave
                | M::Fxsave64
                | M::Fxrstor
                | M::Fxrstor64
        )
}

/// Bytes of the scratch pages that are not compared: where an instruction stores what
/// processors are free to store.
#[derive(Clone, Copy, Debug)]
pub struct Blank {
    pub address: u64,
    pub bytes: u64,
}

/// What is not compared of an image that `code` writes at `address`: FOP, FIP and FDP (AMD keeps the
/// pointers only with an exception waiting, newer Intel processors FOP), MXCSR_MASK (AMD has one more
/// bit, the misaligned mode).
pub fn blanks(code: Code, address: u64) -> Vec<Blank> {
    let ranges: &[(u64, u64)] = match code {
        Code::Fnstenv_m14byte | Code::Fnsave_m94byte => &[(6, 8)],
        Code::Fnstenv_m28byte | Code::Fnsave_m108byte => &[(12, 16)],
        _ if code.op_code().is_save_restore() => &[(6, 18), (28, 4)],
        _ => &[],
    };
    ranges.iter().map(|&(at, bytes)| Blank { address: address.wrapping_add(at), bytes }).collect()
}

fn blank(outcome: &mut Outcome, what: Blank) {
    for address in what.address..what.address.saturating_add(what.bytes) {
        let at = address.wrapping_sub(SCRATCH);
        for line in &mut outcome.changed[..outcome.lines as usize] {
            if line.index as u64 == at / LINE as u64 {
                line.bytes[at as usize % LINE] = 0;
            }
        }
    }
}

/// Takes out what legitimately differs, after the manual's or with a reason of the test's own.
fn level(codes: &[Code], blanks: &[Blank], host: &mut Outcome, ours: &mut Outcome) {
    let any = |test: fn(Code) -> bool| codes.iter().any(|&c| test(c));
    let status = codes.iter().fold(0, |u, &c| u | undefined_status(c)).to_le_bytes();
    let faulted = host.vector != NO_VECTOR && host.vector == ours.vector;
    for o in [host, ours] {
        blanks.iter().for_each(|&b| blank(o, b));
        o.xsave.0[2] &= !status[0];
        o.xsave.0[3] &= !status[1];
        if o.vector == 14 && any(accesses_much) {
            (o.cr2, o.error) = (0, 0);
        }
        if o.vector == 14 && o.cr2.wrapping_sub(SCRATCH - GUARD) >= 2 * GUARD {
            // Elsewhere, what is mapped is not ours to know.
            o.error &= !1;
        }
        if faulted && any(|c| format!("{c:?}").contains("gather")) {
            // How far a gather comes before a fault, and whether it has widened the mask by
            // then, is the implementation's choice.
            o.xsave.0[160..416].fill(0);
            o.xsave.0[576..].fill(0);
        }
        let converts_mmx =
            |c: Code| format!("{c:?}").contains("pi_mm_") || format!("{c:?}").contains("Cvtpi2");
        if faulted && o.vector == 19 && any(converts_mmx) {
            // Whether a conversion with an MMX register that raises #XM switches to MMX before.
            o.xsave.0[3] &= !0x38;
            o.xsave.0[4] = 0;
            o.xsave.0[32..160].fill(0);
        }
    }
}

/// Whether nothing can be said of an exception.
fn may_differ(codes: &[Code], host: &Outcome, ours: &Outcome) -> bool {
    use Mnemonic as M;
    let any = |vectors: &[u32]| vectors.contains(&host.vector) || vectors.contains(&ours.vector);
    if host.xsave.0[26] & 2 != 0 {
        // MXCSR with AMD's misaligned mode, which is a reserved bit for Intel.
        return true;
    }
    let strayed = |o: &Outcome| {
        let rip = o.rip as i64;
        rip.unsigned_abs() < CODE_BYTES as u64 && !(0..SLOT as i64).contains(&rip)
    };
    if strayed(host) || strayed(ours) {
        // A random target led into another case's code, which ends differently on the two sides.
        return true;
    }
    if intel_host() && codes.iter().any(|code| may_differ_on_intel(*code, &any)) {
        return true;
    }
    codes.iter().any(|c| match c.mnemonic() {
        // A stack address that is neither aligned nor canonical.
        _ if c.op_code().memory_size().size() >= 16 && any(&[12]) && any(&[13]) => true,
        // A masked store may fault for bytes that it does not write ("may still occur", SDM
        // Vol. 2, MASKMOVDQU), and then reports any of its addresses.
        M::Maskmovq | M::Maskmovdqu | M::Vmaskmovdqu => any(&[14]),
        // Intel checks the target before the push, AMD pushes first.
        M::Call => any(&[13]) && any(&[12, 14]),
        // Whether it asks for permission to write where it does not.
        M::Arpl => any(&[14]),
        // Which parts of the area that it does not need it touches.
        M::Xrstor | M::Xrstor64 => any(&[14]),
        // AMD's reads four bytes.
        _ if *c == Code::Movsxd_r16_rm16 => any(&[14]),
        _ => false,
    })
}

/// What differs, in words; `None` where nothing does.
pub fn difference(
    codes: &[Code],
    blanks: &[Blank],
    case: &Case,
    host: &Outcome,
    ours: &Outcome,
) -> Option<String> {
    let (mut host, mut ours) = (*host, *ours);
    if may_differ(codes, &host, &ours) {
        return None;
    }
    level(codes, blanks, &mut host, &mut ours);
    let (host, ours) = (&host, &ours);
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
    let (registers_compared, mask) = if case.bits == 32 { (8, 0xFFFF_FFFF) } else { (16, u64::MAX) };
    for n in 0..registers_compared {
        if (host.gpr[n] ^ ours.gpr[n]) & mask != 0 {
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
        M::Push if format!("{code:?}").starts_with("Pushd_") && format!("{code:?}").ends_with('S') => {
            "Intel stores two bytes of a segment register, AMD four"
        }
        M::Int1 => "a hypervisor that intercepts it reports another RIP",
        M::Reservednop
            if matches!(
                code,
                Code::Reservednop_rm16_r16_0F0D
                    | Code::Reservednop_rm32_r32_0F0D
                    | Code::Reservednop_rm64_r64_0F0D
            ) =>
        {
            "AMD has no register form of PREFETCHW"
        }
        M::Syscall | M::Sysenter | M::Sysret | M::Sysexit | M::Int => "is a system call",
        M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw => "the host's kernel emulates it (UMIP)",
        M::Lar | M::Lsl | M::Verr | M::Verw => "depends on the host's descriptors",
        M::Lss | M::Lfs | M::Lgs | M::Les | M::Lds => "loads a segment register",
        M::Pop if format!("{code:?}").ends_with('S') => "loads a segment register",
        M::Mov if matches!(code, Code::Mov_Sreg_r32m16 | Code::Mov_Sreg_r64m16 | Code::Mov_Sreg_rm16) => {
            "loads a segment register"
        }
        M::Iret | M::Iretd | M::Iretq | M::Retf => "leaves the segment",
        _ if code.is_jmp_far_indirect() || code.is_call_far_indirect() => "leaves the segment",
        _ if code.is_jmp_far() || code.is_call_far() => "leaves the segment",
        _ => return None,
    })
}
