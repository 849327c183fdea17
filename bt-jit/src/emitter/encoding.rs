//! Operands, and how an instruction is put together: operand-size prefix, REX, opcode, ModRM, SIB,
//! displacement. SDM Vol. 2A, Instruction Format.

use super::Emitter;

/// A general register of the host, by its number in encodings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Reg {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rsp = 4,
    Rbp = 5,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
    R11 = 11,
    R12 = 12,
    R13 = 13,
    R14 = 14,
    R15 = 15,
}

impl Reg {
    /// All, in the order of their numbers.
    pub const ALL: [Reg; 16] = [
        Reg::Rax,
        Reg::Rcx,
        Reg::Rdx,
        Reg::Rbx,
        Reg::Rsp,
        Reg::Rbp,
        Reg::Rsi,
        Reg::Rdi,
        Reg::R8,
        Reg::R9,
        Reg::R10,
        Reg::R11,
        Reg::R12,
        Reg::R13,
        Reg::R14,
        Reg::R15,
    ];
    /// The three bits that ModRM, SIB or the opcode hold.
    fn low(self) -> u8 {
        self as u8 & 7
    }
    /// The bit that REX holds.
    fn high(self) -> u8 {
        self as u8 >> 3
    }
    /// Whether its low byte (SPL, BPL, SIL, DIL) has a name only where there is a REX.
    fn byte_needs_rex(self) -> bool {
        (4..8).contains(&(self as u8))
    }
}

/// The width of an operation. AH, CH, DH and BH are not reachable here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Dword,
    /// 64 bits.
    Qword,
}

/// What an index register is multiplied by, by its number in SIB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Scale {
    One = 0,
    Two = 1,
    Four = 2,
    Eight = 3,
}

/// A memory operand: base + index × scale + displacement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mem {
    base: Option<Reg>,
    index: Option<(Reg, Scale)>,
    displacement: i32,
}

impl Mem {
    /// `[base + displacement]`
    pub fn base(base: Reg, displacement: i32) -> Self {
        Self { base: Some(base), index: None, displacement }
    }
    /// `[base + index × scale + displacement]`
    ///
    /// # Panics
    /// The index is RSP, which cannot be one: a bug of the caller.
    pub fn indexed(base: Reg, index: Reg, scale: Scale, displacement: i32) -> Self {
        assert!(index != Reg::Rsp, "RSP cannot be an index");
        Self { base: Some(base), index: Some((index, scale)), displacement }
    }
    /// `[index × scale + displacement]`, or the displacement alone, whose sign is extended.
    ///
    /// # Panics
    /// The index is RSP, which cannot be one: a bug of the caller.
    pub fn without_base(index: Option<(Reg, Scale)>, displacement: i32) -> Self {
        assert!(index.is_none_or(|(index, _)| index != Reg::Rsp), "RSP cannot be an index");
        Self { base: None, index, displacement }
    }
}

/// What ModRM's rm field names.
#[derive(Clone, Copy)]
pub(super) enum Operand {
    Register(Reg),
    Memory(Mem),
}
impl From<Reg> for Operand {
    fn from(register: Reg) -> Self {
        Self::Register(register)
    }
}
impl From<Mem> for Operand {
    fn from(memory: Mem) -> Self {
        Self::Memory(memory)
    }
}

/// What ModRM's reg field holds: a register, or a part of the opcode.
#[derive(Clone, Copy)]
pub(super) enum RegField {
    Register(Reg),
    Digit(u8),
}

const REX: u8 = 0x40;

impl Emitter {
    /// An instruction whose opcode for bytes is `opcode`, and for all other widths the next one.
    pub(super) fn general(&mut self, width: Width, opcode: u8, field: RegField, rm: Operand) {
        let opcode = opcode | u8::from(width != Width::Byte);
        self.form(width, &[opcode], field, rm);
    }

    /// An instruction with a ModRM byte.
    pub(super) fn form(&mut self, width: Width, opcode: &[u8], field: RegField, rm: Operand) {
        let (field, field_register) = match field {
            RegField::Register(register) => (register.low(), Some(register)),
            RegField::Digit(digit) => (digit, None),
        };
        let r = field_register.map_or(0, Reg::high);
        let (x, b, rm_register) = match rm {
            Operand::Register(register) => (0, register.high(), Some(register)),
            Operand::Memory(Mem { base, index, .. }) => {
                (index.map_or(0, |(index, _)| index.high()), base.map_or(0, Reg::high), None)
            }
        };
        let byte_rex = width == Width::Byte
            && [field_register, rm_register].into_iter().flatten().any(Reg::byte_needs_rex);
        self.prefixes(width, r << 2 | x << 1 | b, byte_rex);
        self.code.extend(opcode);
        match rm {
            Operand::Register(register) => self.code.push(0xC0 | field << 3 | register.low()),
            Operand::Memory(memory) => self.memory(field, memory),
        }
    }

    /// An instruction that holds a register in its opcode.
    pub(super) fn plus_register(&mut self, width: Width, opcode: &[u8; 1], register: Reg) {
        self.prefixes(width, register.high(), false);
        self.code.push(opcode[0] | register.low());
    }

    fn prefixes(&mut self, width: Width, rxb: u8, needs_rex: bool) {
        if width == Width::Word {
            self.code.push(0x66);
        }
        let w = u8::from(width == Width::Qword);
        let rex = REX | w << 3 | rxb;
        if rex != REX || needs_rex {
            self.code.push(rex);
        }
    }

    /// ModRM, SIB and displacement of a memory operand.
    fn memory(&mut self, field: u8, Mem { base, index, displacement }: Mem) {
        /// In ModRM's rm: a SIB byte follows. In SIB's index: there is none. RSP's number, both.
        const SIB: u8 = 4;
        /// RBP's number, which without displacement means something else.
        const NEEDS_DISPLACEMENT: u8 = 5;
        let Some(base) = base else {
            let index = index.map_or(SIB << 3, |(index, scale)| (scale as u8) << 6 | index.low() << 3);
            self.code.extend([field << 3 | SIB, index | NEEDS_DISPLACEMENT]);
            self.code.extend(displacement.to_le_bytes());
            return;
        };
        let short = i8::try_from(displacement);
        let mode = match short {
            Ok(0) if base.low() != NEEDS_DISPLACEMENT => 0,
            Ok(_) => 1,
            Err(_) => 2,
        };
        let sib = match index {
            Some((index, scale)) => Some((scale as u8) << 6 | index.low() << 3 | base.low()),
            None if base.low() == SIB => Some(SIB << 3 | base.low()),
            None => None,
        };
        self.code.push(mode << 6 | field << 3 | if sib.is_some() { SIB } else { base.low() });
        self.code.extend(sib);
        match (mode, short) {
            (0, _) => {}
            (_, Ok(short)) => self.code.push(short as u8),
            (_, Err(_)) => self.code.extend(displacement.to_le_bytes()),
        }
    }
}
