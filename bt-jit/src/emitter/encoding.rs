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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// A register, general or other.
    Register(Reg),
    /// Memory.
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

/// An opcode with all that stands before it and is not a register's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opcode {
    /// 66h, F2h, F3h, or 0 for none.
    pub prefix: u8,
    /// REX.W.
    pub wide: bool,
    /// 0Fh, and what follows it (38h, 3Ah) before the opcode: so many bytes, the first one lowest.
    pub escape: u16,
    /// The last byte.
    pub byte: u8,
}

impl Opcode {
    fn new(width: Width, opcode: &[u8]) -> Opcode {
        let (escape, byte) = match *opcode {
            [byte] => (0, byte),
            [escape, byte] => (escape as u16, byte),
            _ => unreachable!("an opcode of one or two bytes"),
        };
        let prefix = if width == Width::Word { 0x66 } else { 0 };
        Opcode { prefix, wide: width == Width::Qword, escape, byte }
    }
}

/// Bytes of an instruction, in the room of a buffer.
struct Bytes<'a> {
    room: &'a mut [u8; 16],
    count: usize,
}

impl Bytes<'_> {
    #[inline(always)]
    fn add(&mut self, byte: u8) {
        // An instruction has 15 bytes at most.
        self.room[self.count & 15] = byte;
        self.count += 1;
    }
    /// Prefix, REX and the bytes before the last one of the opcode.
    #[inline(always)]
    fn start(&mut self, opcode: Opcode, rex: u8, needs_rex: bool) {
        if opcode.prefix != 0 {
            self.add(opcode.prefix);
        }
        let rex = REX | u8::from(opcode.wide) << 3 | rex;
        if rex != REX || needs_rex {
            self.add(rex);
        }
        if opcode.escape != 0 {
            self.add(opcode.escape as u8);
            if opcode.escape > 0xFF {
                self.add((opcode.escape >> 8) as u8);
            }
        }
    }
    #[inline(always)]
    fn displacement(&mut self, value: i32) {
        for byte in value.to_le_bytes() {
            self.add(byte);
        }
    }
    /// ModRM, SIB and displacement of a memory operand.
    #[inline(always)]
    fn memory(&mut self, field: u8, Mem { base, index, displacement }: Mem) {
        /// In ModRM's rm: a SIB byte follows. In SIB's index: there is none. RSP's number, both.
        const SIB: u8 = 4;
        /// RBP's number, which without displacement means something else.
        const NEEDS_DISPLACEMENT: u8 = 5;
        let Some(base) = base else {
            let index = index.map_or(SIB << 3, |(index, scale)| (scale as u8) << 6 | index.low() << 3);
            self.add(field | SIB);
            self.add(index | NEEDS_DISPLACEMENT);
            return self.displacement(displacement);
        };
        let mode = match i8::try_from(displacement) {
            Ok(0) if base.low() != NEEDS_DISPLACEMENT => 0,
            Ok(_) => 1,
            Err(_) => 2,
        };
        let modrm = mode << 6 | field;
        match index {
            Some((index, scale)) => {
                self.add(modrm | SIB);
                self.add((scale as u8) << 6 | index.low() << 3 | base.low());
            }
            None if base.low() == SIB => {
                self.add(modrm | SIB);
                self.add(SIB << 3 | base.low());
            }
            None => self.add(modrm | base.low()),
        }
        match mode {
            0 => {}
            1 => self.add(displacement as u8),
            _ => self.displacement(displacement),
        }
    }
}

const REX: u8 = 0x40;

impl Emitter {
    /// An instruction whose opcode for bytes is `opcode`, and for all other widths the next one.
    #[inline]
    pub(super) fn general(&mut self, width: Width, opcode: u8, field: RegField, rm: Operand) {
        let opcode = opcode | u8::from(width != Width::Byte);
        self.form(width, &[opcode], field, rm);
    }

    /// An instruction with a ModRM byte.
    #[inline]
    pub(super) fn form(&mut self, width: Width, opcode: &[u8], field: RegField, rm: Operand) {
        let byte = width == Width::Byte;
        let needs_rex = match (field, rm) {
            (RegField::Register(a), Operand::Register(b)) => a.byte_needs_rex() || b.byte_needs_rex(),
            (RegField::Register(a), _) => a.byte_needs_rex(),
            (_, Operand::Register(b)) => b.byte_needs_rex(),
            _ => false,
        };
        let field = match field {
            RegField::Register(register) => register as u8,
            RegField::Digit(digit) => digit,
        };
        self.with_modrm(Opcode::new(width, opcode), field, rm, byte && needs_rex);
    }

    /// An instruction with a ModRM byte: `field` is the number of a register or a part of the opcode. Where a
    /// low byte is meant that has a name only where there is a REX, `needs_rex` is true.
    pub fn with_modrm(&mut self, opcode: Opcode, field: u8, rm: Operand, needs_rex: bool) {
        let mut bytes = Bytes { room: self.code.room(), count: 0 };
        let (x, b) = match rm {
            Operand::Register(register) => (0, register.high()),
            Operand::Memory(Mem { base, index, .. }) => {
                (index.map_or(0, |(index, _)| index.high()), base.map_or(0, Reg::high))
            }
        };
        bytes.start(opcode, field >> 3 << 2 | x << 1 | b, needs_rex);
        bytes.add(opcode.byte);
        let field = (field & 7) << 3;
        match rm {
            Operand::Register(register) => bytes.add(0xC0 | field | register.low()),
            Operand::Memory(memory) => bytes.memory(field, memory),
        }
        let count = bytes.count;
        self.code.took(count);
    }

    /// An instruction that holds a register in its opcode.
    #[inline]
    pub(super) fn plus_register(&mut self, width: Width, opcode: &[u8; 1], register: Reg) {
        self.with_register(Opcode::new(width, opcode), register, false);
    }
    /// The same with an opcode of any length.
    pub fn with_register(&mut self, opcode: Opcode, register: Reg, needs_rex: bool) {
        let mut bytes = Bytes { room: self.code.room(), count: 0 };
        bytes.start(opcode, register.high(), needs_rex);
        bytes.add(opcode.byte | register.low());
        let count = bytes.count;
        self.code.took(count);
    }
}
