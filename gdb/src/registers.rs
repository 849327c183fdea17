//! The registers that gdb sees, in its order, and how each is read and written.
//!
//! gdb knows three kinds of x86: `i386:x86-64`, `i386` and `i8086`. Which of them a session has is decided when it begins,
//! as gdb cannot be told otherwise later: a [`View`]. `$pc` is a linear address in all of them: gdb knows no segments, and its
//! breakpoints, `x/i $pc` and `stepi` are right in 16-bit code only so.

use crate::x87;
use trimotor_cpu::registers::{Cr0, Efer};
use trimotor_cpu::state::Activity;
use trimotor_cpu::{ArchState, SegReg, Segment};

/// How gdb sees a machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum View {
    /// `i8086`: registers of 32 bits, code of 16.
    Bits16,
    /// `i386`.
    Bits32,
    /// `i386:x86-64`.
    Bits64,
}

impl View {
    /// The one that suits what a vCPU runs: 64 bits in long mode, whatever code is executed there.
    pub fn of(state: &ArchState) -> View {
        if state.efer & Efer::LMA.bits() != 0 {
            View::Bits64
        } else if state.segments[SegReg::Cs as usize].is_32bit() {
            View::Bits32
        } else {
            View::Bits16
        }
    }
    /// The view of so many bits.
    pub fn of_bits(bits: u32) -> Option<View> {
        [(16, View::Bits16), (32, View::Bits32), (64, View::Bits64)]
            .into_iter()
            .find(|(of, _)| *of == bits)
            .map(|(_, view)| view)
    }
    /// gdb's name of the architecture.
    pub fn architecture(self) -> &'static str {
        match self {
            View::Bits16 => "i8086",
            View::Bits32 => "i386",
            View::Bits64 => "i386:x86-64",
        }
    }
    fn general_bits(self) -> u32 {
        if self == View::Bits64 { 64 } else { 32 }
    }
    /// All registers, in gdb's order.
    pub fn registers(self) -> Vec<Register> {
        layout(self)
    }
}

/// A group of registers that gdb knows by a name (GDB, "i386 Features").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feature {
    /// General registers, segments, x87.
    Core,
    /// XMM0 and on.
    Sse,
    /// Their upper halves.
    Avx,
    /// Bases of FS and GS.
    Segments,
    /// What gdb knows nothing of: control registers, tables.
    System,
}

impl Feature {
    /// All of them.
    pub const ALL: [Feature; 5] =
        [Feature::Core, Feature::Sse, Feature::Avx, Feature::Segments, Feature::System];
    /// gdb's name.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Core => "org.gnu.gdb.i386.core",
            Feature::Sse => "org.gnu.gdb.i386.sse",
            Feature::Avx => "org.gnu.gdb.i386.avx",
            Feature::Segments => "org.gnu.gdb.i386.segments",
            Feature::System => "org.trimotor.i386.system",
        }
    }
}

/// A register as gdb sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Register {
    /// Its name.
    pub name: String,
    /// Bits.
    pub bits: u32,
    /// gdb's type.
    pub kind: &'static str,
    /// Its group.
    pub feature: Feature,
    what: What,
}

/// Words of the x87 unit beside its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum X87Word {
    Control,
    Status,
    Tag,
    LastCs,
    LastIp,
    LastDs,
    LastDp,
    Opcode,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    General(usize),
    Pc,
    Flags,
    Selector(SegReg),
    X87(usize),
    X87Word(X87Word),
    Xmm(usize),
    Mxcsr,
    YmmHigh(usize),
    Base(SegReg),
    KernelGsBase,
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Efer,
    TaskBase,
    GdtBase,
    GdtLimit,
    IdtBase,
    IdtLimit,
}

/// A register that cannot be written, or not with that value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

const SEGMENTS: [(SegReg, &str); 6] = [
    (SegReg::Cs, "cs"),
    (SegReg::Ss, "ss"),
    (SegReg::Ds, "ds"),
    (SegReg::Es, "es"),
    (SegReg::Fs, "fs"),
    (SegReg::Gs, "gs"),
];

fn layout(view: View) -> Vec<Register> {
    let long = view == View::Bits64;
    let width = view.general_bits();
    let mut all = Vec::new();
    let mut add = |name: &str, bits: u32, kind: &'static str, feature: Feature, what: What| {
        all.push(Register { name: name.to_owned(), bits, kind, feature, what });
    };
    // Numbers as instructions encode them: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI.
    let order: [(&str, usize); 8] = if long {
        [("ax", 0), ("bx", 3), ("cx", 1), ("dx", 2), ("si", 6), ("di", 7), ("bp", 5), ("sp", 4)]
    } else {
        [("ax", 0), ("cx", 1), ("dx", 2), ("bx", 3), ("sp", 4), ("bp", 5), ("si", 6), ("di", 7)]
    };
    let (letter, integer) = if long { ("r", "int64") } else { ("e", "int32") };
    for (name, number) in order {
        let kind = if ["sp", "bp"].contains(&name) { "data_ptr" } else { integer };
        add(&format!("{letter}{name}"), width, kind, Feature::Core, What::General(number));
    }
    for number in (8..16).filter(|_| long) {
        add(&format!("r{number}"), 64, integer, Feature::Core, What::General(number));
    }
    add(&format!("{letter}ip"), width, "code_ptr", Feature::Core, What::Pc);
    add("eflags", 32, "i386_eflags", Feature::Core, What::Flags);
    for (segment, name) in SEGMENTS {
        add(name, 32, "int32", Feature::Core, What::Selector(segment));
    }
    for number in 0..8 {
        add(&format!("st{number}"), 80, "i387_ext", Feature::Core, What::X87(number));
    }
    for (name, word) in [
        ("fctrl", X87Word::Control),
        ("fstat", X87Word::Status),
        ("ftag", X87Word::Tag),
        ("fiseg", X87Word::LastCs),
        ("fioff", X87Word::LastIp),
        ("foseg", X87Word::LastDs),
        ("fooff", X87Word::LastDp),
        ("fop", X87Word::Opcode),
    ] {
        add(name, 32, "int", Feature::Core, What::X87Word(word));
    }
    let vectors = if long { 16 } else { 8 };
    for number in 0..vectors {
        add(&format!("xmm{number}"), 128, "vec128", Feature::Sse, What::Xmm(number));
    }
    add("mxcsr", 32, "i386_mxcsr", Feature::Sse, What::Mxcsr);
    for number in 0..vectors {
        add(&format!("ymm{number}h"), 128, "uint128", Feature::Avx, What::YmmHigh(number));
    }
    // gdb asks for the bases of FS and GS in this group with 64 bits only.
    if long {
        add("fs_base", 64, "int", Feature::Segments, What::Base(SegReg::Fs));
        add("gs_base", 64, "int", Feature::Segments, What::Base(SegReg::Gs));
        add("k_gs_base", 64, "int64", Feature::System, What::KernelGsBase);
    }
    for (segment, name) in SEGMENTS {
        if !(long && [SegReg::Fs, SegReg::Gs].contains(&segment)) {
            add(&format!("{name}_base"), width, integer, Feature::System, What::Base(segment));
        }
    }
    for (name, kind, what) in [
        ("cr0", "i386_cr0", What::Cr0),
        ("cr2", integer, What::Cr2),
        ("cr3", integer, What::Cr3),
        ("cr4", "i386_cr4", What::Cr4),
        ("efer", "i386_efer", What::Efer),
        ("gdt_base", integer, What::GdtBase),
        ("gdt_limit", integer, What::GdtLimit),
        ("idt_base", integer, What::IdtBase),
        ("idt_limit", integer, What::IdtLimit),
        ("tr_base", integer, What::TaskBase),
    ] {
        add(name, width, kind, Feature::System, what);
    }
    all
}

/// Whether code is run whose addresses need no segment.
fn is_64bit_code(state: &ArchState) -> bool {
    let code = &state.segments[SegReg::Cs as usize];
    state.efer & Efer::LMA.bits() != 0 && code.attributes & Segment::L != 0
}

/// The linear address of a vCPU's next instruction.
pub fn program_counter(state: &ArchState) -> u64 {
    if is_64bit_code(state) {
        return state.rip;
    }
    state.segments[SegReg::Cs as usize].base.wrapping_add(state.rip) & 0xFFFF_FFFF
}

impl Register {
    /// Bytes.
    pub fn bytes(&self) -> usize {
        self.bits as usize / 8
    }
    /// Its bytes in a state, the lowest first.
    pub fn read(&self, state: &ArchState) -> Vec<u8> {
        let value: u128 = match self.what {
            What::General(n) => state.gpr[n].into(),
            What::Pc => program_counter(state).into(),
            What::Flags => state.rflags.into(),
            What::Selector(segment) => state.segments[segment as usize].selector.into(),
            What::X87(n) => {
                let mut bytes = [0; 16];
                bytes[..10].copy_from_slice(&state.x87.regs[x87::physical(&state.x87, n)]);
                u128::from_le_bytes(bytes)
            }
            What::X87Word(word) => read_x87(state, word).into(),
            What::Xmm(n) => both(state.ymm[n][0], state.ymm[n][1]),
            What::YmmHigh(n) => both(state.ymm[n][2], state.ymm[n][3]),
            What::Mxcsr => state.mxcsr.into(),
            What::Base(segment) => state.segments[segment as usize].base.into(),
            What::KernelGsBase => state.msrs.kernel_gs_base.into(),
            What::Cr0 => state.cr0.into(),
            What::Cr2 => state.cr2.into(),
            What::Cr3 => state.cr3.into(),
            What::Cr4 => state.cr4.into(),
            What::Efer => state.efer.into(),
            What::TaskBase => state.tr.base.into(),
            What::GdtBase => state.gdtr.base.into(),
            What::GdtLimit => state.gdtr.limit.into(),
            What::IdtBase => state.idtr.base.into(),
            What::IdtLimit => state.idtr.limit.into(),
        };
        value.to_le_bytes()[..self.bytes()].to_vec()
    }
    /// Writes it; what is already there can always be written.
    ///
    /// # Errors
    /// The register cannot be written, or not with that value: control registers other than CR2, tables, selectors outside real
    /// and virtual-8086 mode.
    pub fn write(&self, state: &mut ArchState, bytes: &[u8]) -> Result<(), Refused> {
        if bytes.len() != self.bytes() {
            return Err(Refused);
        }
        let before = self.read(state);
        if before == bytes {
            return Ok(());
        }
        let mut wide = [0; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        let value = u128::from_le_bytes(wide);
        let low = value as u64;
        // A view of 32 bits leaves what it does not show.
        let seen = if self.bits == 32 { 0xFFFF_FFFF } else { u64::MAX };
        let merged = |old: u64| old & !seen | low & seen;
        match self.what {
            What::General(n) => state.gpr[n] = merged(state.gpr[n]),
            What::Pc => {
                state.rip = if is_64bit_code(state) {
                    merged(state.rip)
                } else {
                    low.wrapping_sub(state.segments[SegReg::Cs as usize].base) & 0xFFFF_FFFF
                };
                // It is to run there.
                if state.activity == Activity::Halted {
                    state.activity = Activity::Active;
                }
            }
            What::Flags => state.rflags = low,
            What::Selector(segment) => write_selector(state, segment, low)?,
            What::X87(n) => {
                let number = x87::physical(&state.x87, n);
                state.x87.regs[number].copy_from_slice(bytes);
            }
            What::X87Word(word) => write_x87(state, word, low),
            What::Xmm(n) => (state.ymm[n][0], state.ymm[n][1]) = (low, (value >> 64) as u64),
            What::YmmHigh(n) => (state.ymm[n][2], state.ymm[n][3]) = (low, (value >> 64) as u64),
            What::Mxcsr => state.mxcsr = low as u32,
            What::Base(segment @ (SegReg::Fs | SegReg::Gs)) => {
                state.segments[segment as usize].base = canonical(low)?;
            }
            What::KernelGsBase => state.msrs.kernel_gs_base = canonical(low)?,
            What::Cr2 => state.cr2 = low,
            _ => return Err(Refused),
        }
        Ok(())
    }
}

fn both(low: u64, high: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// An address that WRMSR takes where linear addresses have 48 bits.
fn canonical(address: u64) -> Result<u64, Refused> {
    let extended = ((address as i64) << 16 >> 16) as u64;
    if extended == address { Ok(address) } else { Err(Refused) }
}

fn write_selector(state: &mut ArchState, segment: SegReg, selector: u64) -> Result<(), Refused> {
    let v86 = state.rflags >> 17 & 1 != 0;
    let real = state.cr0 & Cr0::PE.bits() == 0 || v86;
    let selector = u16::try_from(selector).map_err(|_| Refused)?;
    // Elsewhere a descriptor belongs to it, whose loading may fail in ways that only the guest can handle.
    if !real {
        return Err(Refused);
    }
    let segment = &mut state.segments[segment as usize];
    (segment.selector, segment.base) = (selector, u64::from(selector) << 4);
    Ok(())
}

fn read_x87(state: &ArchState, word: X87Word) -> u32 {
    let x87 = &state.x87;
    match word {
        X87Word::Control => x87.control.into(),
        X87Word::Status => x87.status.into(),
        X87Word::Tag => x87::tag_word(x87).into(),
        X87Word::LastCs => x87.last_cs.into(),
        X87Word::LastIp => x87.last_ip as u32,
        X87Word::LastDs => x87.last_ds.into(),
        X87Word::LastDp => x87.last_dp as u32,
        X87Word::Opcode => x87.last_opcode.into(),
    }
}

fn write_x87(state: &mut ArchState, word: X87Word, value: u64) {
    let x87 = &mut state.x87;
    match word {
        // Bit 6 is always one, and the upper ones are zero but the infinity control (SDM Vol. 1, "x87 FPU Control Word").
        X87Word::Control => x87.control = value as u16 & 0x1F7F | 0x40,
        X87Word::Status => x87.status = value as u16,
        X87Word::Tag => x87::set_tag_word(x87, value as u16),
        X87Word::LastCs => x87.last_cs = value as u16,
        X87Word::LastIp => x87.last_ip = value,
        X87Word::LastDs => x87.last_ds = value as u16,
        X87Word::LastDp => x87.last_dp = value,
        X87Word::Opcode => x87.last_opcode = value as u16 & 0x7FF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_cpu::CpuState;

    fn find(view: View, name: &str) -> Register {
        view.registers().into_iter().find(|register| register.name == name).unwrap()
    }

    #[test]
    fn all_registers_can_be_read_and_written_back() {
        let mut state = CpuState::at_reset(0x600).to_arch();
        state.ymm[3] = [1, 2, 3, 4];
        state.x87.status = 0x3800;
        for view in [View::Bits16, View::Bits32, View::Bits64] {
            let registers = view.registers();
            let mut names: Vec<_> = registers.iter().map(|register| &register.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), registers.len());
            for register in &registers {
                let before = state.clone();
                let bytes = register.read(&state);
                assert_eq!(bytes.len(), register.bytes(), "{}", register.name);
                assert_eq!(register.write(&mut state, &bytes), Ok(()), "{}", register.name);
                assert_eq!(state, before, "{}", register.name);
                assert_eq!(register.write(&mut state, &[0; 3]), Err(Refused), "{}", register.name);
            }
        }
    }

    #[test]
    fn the_program_counter_is_linear() {
        let mut state = CpuState::at_reset(0x600).to_arch();
        let pc = find(View::Bits16, "eip");
        assert_eq!(pc.read(&state), 0xFFFF_FFF0u32.to_le_bytes());
        let cs = find(View::Bits16, "cs");
        assert_eq!(cs.write(&mut state, &0x7C0u32.to_le_bytes()), Ok(()));
        assert_eq!(pc.write(&mut state, &0x7C10u32.to_le_bytes()), Ok(()));
        assert_eq!((state.rip, program_counter(&state)), (0x10, 0x7C10));
        state.cr0 |= Cr0::PE.bits();
        assert_eq!(cs.write(&mut state, &8u32.to_le_bytes()), Err(Refused));
    }

    #[test]
    fn what_is_written_is_there_and_nothing_else() {
        let mut state = CpuState::at_reset(0x600).to_arch();
        state.gpr[3] = 0x1111_2222_3333_4444;
        assert_eq!(find(View::Bits32, "ebx").write(&mut state, &5u32.to_le_bytes()), Ok(()));
        assert_eq!(state.gpr[3], 0x1111_2222_0000_0005);
        assert_eq!(find(View::Bits64, "rbx").write(&mut state, &5u64.to_le_bytes()), Ok(()));
        assert_eq!(state.gpr[3], 5);
        let high = both(7, 8).to_le_bytes();
        assert_eq!(find(View::Bits64, "ymm15h").write(&mut state, &high), Ok(()));
        assert_eq!(state.ymm[15], [0, 0, 7, 8]);
        let gs = find(View::Bits64, "gs_base");
        assert_eq!(gs.write(&mut state, &(1u64 << 60).to_le_bytes()), Err(Refused));
        assert_eq!(gs.write(&mut state, &(!0xFFFu64).to_le_bytes()), Ok(()));
        assert_eq!(state.segments[SegReg::Gs as usize].base, !0xFFF);
        for name in ["cr0", "cr3", "cr4", "efer", "gdt_base", "idt_limit", "cs_base"] {
            let register = find(View::Bits64, name);
            let other = register.read(&state).iter().map(|byte| !byte).collect::<Vec<_>>();
            assert_eq!(register.write(&mut state, &other), Err(Refused), "{name}");
        }
    }
}
