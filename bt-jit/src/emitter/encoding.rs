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
    #[inline(always)]
    const fn low(self) -> u8 {
        self as u8 & 7
    }
    /// The bit that REX holds.
    #[inline(always)]
    const fn high(self) -> u8 {
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

/// A memory operand: base + index × scale + displacement, put together.
///
/// From bit 0 on ModRM (without its reg field) and SIB, the number of bytes that these take (from bit 16 on) and that
/// the displacement takes (from 20 on), REX.X and REX.B (from 24 on); the displacement is in the upper half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mem(u64);

/// In ModRM's rm: a SIB byte follows. In SIB's index: there is none. RSP's number, both.
const SIB: u8 = 4;
/// RBP's number, which without displacement means something else.
const NEEDS_DISPLACEMENT: u8 = 5;

impl Mem {
    /// `[base + displacement]`
    #[inline]
    pub const fn base(base: Reg, displacement: i32) -> Self {
        if base.low() == SIB {
            Self::with_sib(SIB << 3, 0, base, displacement)
        } else {
            let (mode, bytes) = Self::mode(base, displacement);
            Self::new((mode << 6 | base.low()) as u16, 1, base.high(), displacement, bytes)
        }
    }
    /// `[base + index × scale + displacement]`
    ///
    /// # Panics
    /// The index is RSP, which cannot be one: a bug of the caller.
    pub fn indexed(base: Reg, index: Reg, scale: Scale, displacement: i32) -> Self {
        assert!(index != Reg::Rsp, "RSP cannot be an index");
        Self::with_sib((scale as u8) << 6 | index.low() << 3, index.high(), base, displacement)
    }
    /// `[index × scale + displacement]`, or the displacement alone, whose sign is extended.
    ///
    /// # Panics
    /// The index is RSP, which cannot be one: a bug of the caller.
    pub fn without_base(index: Option<(Reg, Scale)>, displacement: i32) -> Self {
        assert!(index.is_none_or(|(index, _)| index != Reg::Rsp), "RSP cannot be an index");
        let sib = index.map_or(SIB << 3, |(index, scale)| (scale as u8) << 6 | index.low() << 3);
        let modrm_sib = SIB as u16 | ((sib | NEEDS_DISPLACEMENT) as u16) << 8;
        let rex = index.map_or(0, |(index, _)| index.high()) << 1;
        Self::new(modrm_sib, 2, rex, displacement, 4)
    }
    const fn with_sib(sib: u8, index_high: u8, base: Reg, displacement: i32) -> Self {
        let (mode, bytes) = Self::mode(base, displacement);
        let modrm_sib = (mode << 6 | SIB) as u16 | ((sib | base.low()) as u16) << 8;
        Self::new(modrm_sib, 2, index_high << 1 | base.high(), displacement, bytes)
    }
    const fn new(modrm_sib: u16, count: u64, rex: u8, displacement: i32, displacement_bytes: u64) -> Self {
        let rest = count << 16 | displacement_bytes << 20 | (rex as u64) << 24;
        Self(modrm_sib as u64 | rest | (displacement as u32 as u64) << 32)
    }
    /// ModRM's mod field for a displacement, and the bytes that it has.
    const fn mode(base: Reg, displacement: i32) -> (u8, u64) {
        if displacement == 0 && base.low() != NEEDS_DISPLACEMENT {
            (0, 0)
        } else if displacement == displacement as i8 as i32 {
            (1, 1)
        } else {
            (2, 4)
        }
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
    /// The opcode, and before it 0Fh and what follows that (38h, 3Ah): the first byte lowest.
    pub bytes: u32,
    /// How many bytes that are.
    pub count: u8,
}

impl Opcode {
    #[inline(always)]
    fn new(width: Width, opcode: &[u8]) -> Opcode {
        let (bytes, count) = match *opcode {
            [byte] => (byte as u32, 1),
            [escape, byte] => (escape as u32 | (byte as u32) << 8, 2),
            _ => unreachable!("an opcode of one or two bytes"),
        };
        let prefix = if width == Width::Word { 0x66 } else { 0 };
        Opcode { prefix, wide: width == Width::Qword, bytes, count }
    }
    /// Prefix, REX and opcode as one word, and its bits. `rex`: what REX holds of registers; `needed`: it is emitted
    /// whatever it holds.
    #[inline(always)]
    fn start(self, rex: u8, needed: bool) -> (u64, u32) {
        const REX: u8 = 0x40;
        let mut bits = if self.prefix == 0 { 0 } else { 8 };
        let mut word = self.prefix as u64;
        let rex = REX | u8::from(self.wide) << 3 | rex;
        if rex != REX || needed {
            word |= (rex as u64) << bits;
            bits += 8;
        }
        word |= (self.bytes as u64) << bits;
        (word, bits + 8 * self.count as u32)
    }
}

impl Emitter {
    /// An instruction whose opcode for bytes is `opcode`, and for all other widths the next one.
    #[inline(always)]
    pub(super) fn general(&mut self, width: Width, opcode: u8, field: RegField, rm: Operand) {
        let opcode = opcode | u8::from(width != Width::Byte);
        self.form(width, &[opcode], field, rm);
    }

    /// An instruction with a ModRM byte.
    #[inline(always)]
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
    #[inline(always)]
    pub fn with_modrm(&mut self, opcode: Opcode, field: u8, rm: Operand, needs_rex: bool) {
        match rm {
            Operand::Register(register) => self.with_register_operand(opcode, field, register, needs_rex),
            Operand::Memory(memory) => self.with_memory_operand(opcode, field, memory, needs_rex),
        }
    }
    fn with_register_operand(&mut self, opcode: Opcode, field: u8, register: Reg, needs_rex: bool) {
        let (word, bits) = opcode.start(field >> 3 << 2 | register.high(), needs_rex);
        let modrm = 0xC0 | (field & 7) << 3 | register.low();
        self.code.put(word | (modrm as u64) << bits, bits as usize / 8 + 1);
    }
    fn with_memory_operand(&mut self, opcode: Opcode, field: u8, memory: Mem, needs_rex: bool) {
        let Mem(memory) = memory;
        let (word, bits) = opcode.start(field >> 3 << 2 | (memory >> 24) as u8, needs_rex);
        // Seven bytes at most.
        let word = word | (memory & 0xFFFF | (field as u64 & 7) << 3) << bits;
        let at = bits as usize / 8 + (memory >> 16 & 15) as usize;
        self.code.put_two(word, at, (memory >> 32) as u32, (memory >> 20 & 15) as usize);
    }

    /// An instruction that holds a register in its opcode.
    #[inline]
    pub(super) fn plus_register(&mut self, width: Width, opcode: &[u8; 1], register: Reg) {
        self.with_register(Opcode::new(width, opcode), register, false);
    }
    /// The same with an opcode of any length.
    pub fn with_register(&mut self, opcode: Opcode, register: Reg, needs_rex: bool) {
        let (word, bits) = opcode.start(register.high(), needs_rex);
        self.code.put(word | (register.low() as u64) << (bits - 8), bits as usize / 8);
    }
}
