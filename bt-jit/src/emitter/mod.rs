//! The emitter: host instructions as bytes, for the forms that a translator emits most.
//!
//! A method is an instruction form, named by the manual's mnemonic and its operands: `rr` register and
//! register, `ri` register and immediate, `rm` register and memory, `mr` memory and register, `mi`
//! memory and immediate; the destination comes first, as in the manual (SDM Vol. 2, Instruction Set Reference). The
//! shortest encoding is taken. No form changes flags that its instruction does not: `mov` of zero
//! stays a MOV, for guest flags live in the host's.
//!
//! Jumps go to [`Label`]s. A label is bound once, before or after its uses; [`Emitter::finish`] checks
//! that all are. A jump out of the code, to a block that may not exist yet, is a
//! [`Emitter::jmp_to_patch`], which [`CodeMemory::link`](crate::CodeMemory::link) directs.
//!
//! The emitter knows nothing of guests and runs on any host. What is not here (shifts,
//! SSE, atomics, and the like) comes with the translator, rare forms by way of iced-x86.

mod buffer;
mod encoding;
#[cfg(test)]
mod tests;

pub use encoding::{Mem, Opcode, Operand, Reg, Scale, Width};

use crate::code_memory::CodeOffset;
use buffer::Buffer;
use encoding::RegField;

/// A place in the code that is being emitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(u32);

/// An operation of the first eight of the instruction set, by its number in opcodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum AluOp {
    Add = 0,
    Or = 1,
    Adc = 2,
    Sbb = 3,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// A condition of Jcc and SETcc, by its number in opcodes. SDM Vol. 1, EFLAGS Condition Codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Condition {
    Overflow = 0,
    NotOverflow = 1,
    Below = 2,
    AboveOrEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowOrEqual = 6,
    Above = 7,
    Sign = 8,
    NotSign = 9,
    Parity = 10,
    NotParity = 11,
    Less = 12,
    GreaterOrEqual = 13,
    LessOrEqual = 14,
    Greater = 15,
}

/// Code that cannot be finished: a bug of the caller, or a block beyond all bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EmitterError {
    /// A jump leads to a label that was never bound.
    #[error("the jump at {at:#x} leads to a label that is not bound")]
    Unbound {
        /// Where its displacement stands, in bytes from the start.
        at: usize,
    },
    /// The code is longer than any block.
    #[error("the code is longer than {} KiB", buffer::MOST_BYTES >> 10)]
    TooLong,
}

/// In the place of a label's offset: it is not bound yet.
const NOT_BOUND: u32 = u32::MAX;

/// Emits host code into a buffer of its own.
#[derive(Default, Debug)]
pub struct Emitter {
    code: Buffer,
    /// Where each label is bound, in bytes from the start.
    labels: Vec<u32>,
    /// 32-bit displacements whose labels were not bound when they were emitted.
    open: Vec<(u32, Label)>,
    /// Where in code memory the code will be placed, for jumps out of it.
    base: u32,
}

impl Emitter {
    /// An emitter without code.
    pub fn new() -> Self {
        Self::default()
    }
    /// Bytes emitted so far: the offset of the next instruction.
    pub fn offset(&self) -> usize {
        self.code.len()
    }
    /// Forgets code and labels, and keeps the buffers for the next block.
    pub fn clear(&mut self) {
        self.code.clear();
        self.labels.clear();
        self.open.clear();
        self.base = 0;
    }
    /// Says where the code will be placed: from now on it can jump to other placed code.
    pub fn set_base(&mut self, base: CodeOffset) {
        self.base = base.0;
    }

    /// A new label, not bound yet.
    #[inline]
    pub fn label(&mut self) -> Label {
        self.labels.push(NOT_BOUND);
        Label(self.labels.len() as u32 - 1)
    }
    /// Binds a label to the next instruction.
    ///
    /// # Panics
    /// It is bound already: a bug of the caller.
    pub fn bind(&mut self, label: Label) {
        let place = &mut self.labels[label.0 as usize];
        assert!(*place == NOT_BOUND, "{label:?} is bound twice");
        *place = self.code.len() as u32;
    }
    /// Directs all jumps and gives the code.
    ///
    /// # Errors
    /// See [`EmitterError`].
    pub fn finish(&mut self) -> Result<&[u8], EmitterError> {
        if !self.code.is_whole() {
            return Err(EmitterError::TooLong);
        }
        for (at, label) in self.open.drain(..) {
            let (target, at) = (self.labels[label.0 as usize], at as usize);
            if target == NOT_BOUND {
                return Err(EmitterError::Unbound { at });
            }
            let displacement = target as i32 - (at as i32 + 4);
            self.code.bytes_mut()[at..at + 4].copy_from_slice(&displacement.to_le_bytes());
        }
        Ok(self.code.bytes())
    }

    /// MOV register, register. The 32-bit form clears the upper half.
    pub fn mov_rr(&mut self, width: Width, to: Reg, from: Reg) {
        self.general(width, 0x88, RegField::Register(from), to.into());
    }
    /// MOV register, immediate: all 64 bits become `value`.
    pub fn mov_ri(&mut self, to: Reg, value: u64) {
        if let Ok(value) = u32::try_from(value) {
            self.plus_register(Width::Dword, &[0xB8], to);
            self.code.put(value as u64, 4);
        } else if let Ok(value) = i32::try_from(value as i64) {
            self.general(Width::Qword, 0xC6, RegField::Digit(0), to.into());
            self.code.put(value as u32 as u64, 4);
        } else {
            self.plus_register(Width::Qword, &[0xB8], to);
            self.code.extend(value.to_le_bytes());
        }
    }
    /// MOV register, memory. The 32-bit form clears the upper half; narrower ones keep the rest.
    pub fn mov_rm(&mut self, width: Width, to: Reg, from: Mem) {
        self.general(width, 0x8A, RegField::Register(to), from.into());
    }
    /// MOV memory, register.
    pub fn mov_mr(&mut self, width: Width, to: Mem, from: Reg) {
        self.general(width, 0x88, RegField::Register(from), to.into());
    }
    /// MOV memory, immediate; the 64-bit form extends its sign.
    ///
    /// # Panics
    /// The immediate does not fit the width: a bug of the caller.
    pub fn mov_mi(&mut self, width: Width, to: Mem, value: i32) {
        self.general(width, 0xC6, RegField::Digit(0), to.into());
        self.immediate(width, value);
    }
    /// MOVZX register, memory: reads `width`, clears the rest of the 64 bits.
    pub fn movzx_rm(&mut self, width: Width, to: Reg, from: Mem) {
        let field = RegField::Register(to);
        match width {
            Width::Byte => self.form(Width::Dword, &[0x0F, 0xB6], field, from.into()),
            Width::Word => self.form(Width::Dword, &[0x0F, 0xB7], field, from.into()),
            Width::Dword | Width::Qword => self.mov_rm(width, to, from),
        }
    }
    /// MOVSX register, memory: reads `width`, extends its sign to 64 bits.
    pub fn movsx_rm(&mut self, width: Width, to: Reg, from: Mem) {
        let field = RegField::Register(to);
        match width {
            Width::Byte => self.form(Width::Qword, &[0x0F, 0xBE], field, from.into()),
            Width::Word => self.form(Width::Qword, &[0x0F, 0xBF], field, from.into()),
            Width::Dword => self.form(Width::Qword, &[0x63], field, from.into()),
            Width::Qword => self.mov_rm(width, to, from),
        }
    }
    /// LEA register, address.
    ///
    /// # Panics
    /// The width is a byte, for which there is no LEA: a bug of the caller.
    pub fn lea(&mut self, width: Width, to: Reg, address: Mem) {
        assert!(width != Width::Byte, "there is no LEA of a byte");
        self.form(width, &[0x8D], RegField::Register(to), address.into());
    }

    /// An ALU operation: register, register.
    pub fn alu_rr(&mut self, op: AluOp, width: Width, to: Reg, from: Reg) {
        self.general(width, (op as u8) << 3, RegField::Register(from), to.into());
    }
    /// An ALU operation: register, memory.
    pub fn alu_rm(&mut self, op: AluOp, width: Width, to: Reg, from: Mem) {
        self.general(width, (op as u8) << 3 | 2, RegField::Register(to), from.into());
    }
    /// An ALU operation: memory, register.
    pub fn alu_mr(&mut self, op: AluOp, width: Width, to: Mem, from: Reg) {
        self.general(width, (op as u8) << 3, RegField::Register(from), to.into());
    }
    /// An ALU operation: register, immediate; the 64-bit form extends its sign.
    ///
    /// # Panics
    /// The immediate does not fit the width: a bug of the caller.
    pub fn alu_ri(&mut self, op: AluOp, width: Width, to: Reg, value: i32) {
        self.alu_immediate(op, width, to.into(), value);
    }
    /// An ALU operation: memory, immediate; the 64-bit form extends its sign.
    ///
    /// # Panics
    /// The immediate does not fit the width: a bug of the caller.
    pub fn alu_mi(&mut self, op: AluOp, width: Width, to: Mem, value: i32) {
        self.alu_immediate(op, width, to.into(), value);
    }
    /// TEST register, register.
    pub fn test_rr(&mut self, width: Width, a: Reg, b: Reg) {
        self.general(width, 0x84, RegField::Register(b), a.into());
    }
    /// TEST register, immediate; the 64-bit form extends its sign.
    ///
    /// # Panics
    /// The immediate does not fit the width: a bug of the caller.
    pub fn test_ri(&mut self, width: Width, a: Reg, value: i32) {
        self.general(width, 0xF6, RegField::Digit(0), a.into());
        self.immediate(width, value);
    }

    /// PUSH of 64 bits.
    pub fn push(&mut self, from: Reg) {
        // 64 bits are what PUSH and POP have without a prefix.
        self.plus_register(Width::Dword, &[0x50], from);
    }
    /// POP of 64 bits.
    pub fn pop(&mut self, to: Reg) {
        self.plus_register(Width::Dword, &[0x58], to);
    }
    /// LAHF: SF, ZF, AF, PF and CF to AH.
    pub fn lahf(&mut self) {
        self.code.push(0x9F);
    }
    /// SAHF: AH to SF, ZF, AF, PF and CF.
    pub fn sahf(&mut self) {
        self.code.push(0x9E);
    }
    /// SETcc: the low byte becomes 1 or 0, the rest stays.
    pub fn setcc(&mut self, condition: Condition, to: Reg) {
        self.form(Width::Byte, &[0x0F, 0x90 | condition as u8], RegField::Digit(0), to.into());
    }
    /// SETO, which keeps what LAHF does not.
    pub fn seto(&mut self, to: Reg) {
        self.setcc(Condition::Overflow, to);
    }

    /// Jcc to a label: short where it is bound and near.
    pub fn jcc(&mut self, condition: Condition, to: Label) {
        let condition = condition as u8;
        self.jump(Some(0x70 | condition), 0x0F | (0x80 | condition as u16) << 8, 2, to);
    }
    /// JMP to a label: short where it is bound and near.
    pub fn jmp(&mut self, to: Label) {
        self.jump(Some(0xEB), 0xE9, 1, to);
    }
    /// CALL of a label.
    pub fn call(&mut self, to: Label) {
        self.jump(None, 0xE8, 1, to);
    }
    /// JMP to the address in a register.
    pub fn jmp_r(&mut self, to: Reg) {
        self.form(Width::Dword, &[0xFF], RegField::Digit(4), to.into());
    }
    /// CALL of the address in a register.
    pub fn call_r(&mut self, to: Reg) {
        self.form(Width::Dword, &[0xFF], RegField::Digit(2), to.into());
    }
    /// RET.
    pub fn ret(&mut self) {
        self.code.push(0xC3);
    }
    /// JMP to code that does not exist yet; until it is linked it leads to the next instruction. Returns
    /// where its displacement stands, in bytes from the start, a multiple of 4: the site for
    /// [`CodeMemory::link`](crate::CodeMemory::link) if the code is placed at a multiple of 4.
    pub fn jmp_to_patch(&mut self) -> usize {
        self.align_displacement(1);
        self.code.push(0xE9);
        self.code.extend([0; 4]);
        self.code.len() - 4
    }

    /// Jcc to code that does not exist yet, as [`jmp_to_patch`](Self::jmp_to_patch) is a JMP.
    pub fn jcc_to_patch(&mut self, condition: Condition) -> usize {
        self.align_displacement(2);
        self.code.extend([0x0F, 0x80 | condition as u8]);
        self.code.extend([0; 4]);
        self.code.len() - 4
    }
    /// Pads with a NOP so that a displacement `before` bytes on stands at a multiple of 4.
    fn align_displacement(&mut self, before: usize) {
        self.nop((self.code.len() + before).wrapping_neg() % 4);
    }
    /// One NOP of `bytes` bytes, up to 7 (SDM Vol. 2, NOP, Recommended Multi-Byte Sequence of NOP Instruction).
    fn nop(&mut self, bytes: usize) {
        const FORMS: [u64; 8] = [
            0,
            0x90,
            0x90_66,
            0x00_1F_0F,
            0x00_40_1F_0F,
            0x00_00_44_1F_0F,
            0x00_00_44_1F_0F_66,
            0x00_00_00_00_80_1F_0F,
        ];
        self.code.put(FORMS[bytes], bytes);
    }
    /// Pads to a multiple of `align` with INT3, where control never comes.
    pub fn align_unreached(&mut self, align: usize) {
        while !self.code.len().is_multiple_of(align) {
            self.code.push(0xCC);
        }
    }
    /// Pads to a multiple of 8 with NOPs.
    pub fn align_reached(&mut self) {
        self.nop(self.code.len().wrapping_neg() % 8);
    }
    /// JMP to placed code; [`set_base`](Self::set_base) must have been called.
    pub fn jmp_placed(&mut self, to: CodeOffset) {
        self.jump_placed(0xE9, 1, to);
    }
    /// Jcc to placed code.
    pub fn jcc_placed(&mut self, condition: Condition, to: CodeOffset) {
        self.jump_placed(0x0F | (0x80 | condition as u64) << 8, 2, to);
    }
    /// CALL of placed code.
    pub fn call_placed(&mut self, to: CodeOffset) {
        self.jump_placed(0xE8, 1, to);
    }
    /// A jump or call, by its opcode of `count` bytes.
    fn jump_placed(&mut self, opcode: u64, count: usize, to: CodeOffset) {
        let end = self.base.wrapping_add((self.code.len() + count) as u32 + 4);
        let displacement = to.0.wrapping_sub(end);
        self.code.put(opcode | (displacement as u64) << (8 * count), count + 4);
    }
    /// JMP to the address in memory.
    pub fn jmp_m(&mut self, from: Mem) {
        self.form(Width::Dword, &[0xFF], RegField::Digit(4), from.into());
    }
    /// Bytes of an instruction encoded elsewhere.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.code.append(bytes);
    }
    /// A 32-bit word of data, from a multiple of 4 on. Returns where, in bytes from the start.
    pub fn data(&mut self, bytes: &[u8]) -> usize {
        self.code.append(bytes);
        self.code.len() - bytes.len()
    }
    /// MOV register, 64-bit immediate, which is zero and stands at a multiple of 8: a key to be written
    /// later. Returns where it stands, in bytes from the start.
    pub fn mov_key(&mut self, to: Reg) -> usize {
        self.nop((self.code.len() + 2).wrapping_neg() % 8);
        self.plus_register(Width::Qword, &[0xB8], to);
        self.code.extend([0; 8]);
        self.code.len() - 8
    }
    /// Where a bound label is, in bytes from the start.
    ///
    /// # Panics
    /// It is not bound: a bug of the caller.
    pub fn bound(&self, label: Label) -> usize {
        let place = self.labels[label.0 as usize];
        assert!(place != NOT_BOUND, "{label:?} is not bound");
        place as usize
    }
    /// Overwrites bytes that were emitted.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.code.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }
    /// A shift by an immediate: `digit` as in ModRM (4 SHL, 5 SHR, 7 SAR).
    pub fn shift_ri(&mut self, digit: u8, width: Width, to: Reg, count: u8) {
        self.general(width, 0xC0, RegField::Digit(digit), to.into());
        self.code.push(count);
    }
    /// BT of memory with an immediate bit number within the operand.
    pub fn bt_mi(&mut self, width: Width, place: Mem, bit: u8) {
        self.form(width, &[0x0F, 0xBA], RegField::Digit(4), place.into());
        self.code.push(bit);
    }
    /// RORX (BMI2): rotates right without touching flags.
    pub fn rorx(&mut self, width: Width, to: Reg, from: Reg, count: u8) {
        let wide = u8::from(width == Width::Qword) << 7;
        let (to, from) = (to as u8, from as u8);
        let inverted = (to >> 3 ^ 1) << 7 | 0x40 | (from >> 3 ^ 1) << 5;
        self.code.extend([0xC4, inverted | 3, wide | 0x7B, 0xF0, 0xC0 | (to & 7) << 3 | from & 7, count]);
    }
    /// SARX (BMI2): shifts right arithmetically by a register, without touching flags.
    pub fn sarx(&mut self, width: Width, to: Reg, from: Reg, count: Reg) {
        let wide = u8::from(width == Width::Qword) << 7;
        let (to, from, count) = (to as u8, from as u8, count as u8);
        let inverted = (to >> 3 ^ 1) << 7 | 0x40 | (from >> 3 ^ 1) << 5;
        let v = (count ^ 15) << 3;
        self.code.extend([0xC4, inverted | 2, wide | v | 2, 0xF7, 0xC0 | (to & 7) << 3 | from & 7]);
    }
    /// VMOVUPS of a 256-bit register from (`store`: to) `[rsp + displacement]`.
    pub fn vmovups_stack(&mut self, register: u8, displacement: i32, store: bool) {
        let inverted = (register >> 3 ^ 1) << 7;
        self.code.extend([0xC5, inverted | 0x7C, 0x10 | store as u8, 0x84 | (register & 7) << 3, 0x24]);
        self.code.extend(displacement.to_le_bytes());
    }
    /// FRSTOR of the 32-bit image at `[rsp + displacement]`.
    pub fn frstor_stack(&mut self, displacement: i32) {
        self.code.extend([0xDD, 0xA4, 0x24]);
        self.code.extend(displacement.to_le_bytes());
    }
    /// FNSAVE to `[rsp + displacement]`.
    pub fn fnsave_stack(&mut self, displacement: i32) {
        self.code.extend([0xDD, 0xB4, 0x24]);
        self.code.extend(displacement.to_le_bytes());
    }
    /// FLDCW from `[rsp + displacement]`.
    pub fn fldcw_stack(&mut self, displacement: i32) {
        self.code.extend([0xD9, 0xAC, 0x24]);
        self.code.extend(displacement.to_le_bytes());
    }
    /// FDECSTP and FINCSTP, which together clear C1 and change nothing else.
    pub fn clear_c1(&mut self) {
        self.code.extend([0xD9, 0xF6, 0xD9, 0xF7]);
    }
    /// FNSTSW AX.
    pub fn fnstsw_ax(&mut self) {
        self.code.extend([0xDF, 0xE0]);
    }
    /// MOV of a register's low byte to its high byte: AL to AH and so on, RAX to RBX only.
    pub fn mov_high_from_low(&mut self, register: Reg) {
        let n = register as u8;
        assert!(n < 4, "only the first four registers have high bytes");
        self.code.extend([0x88, 0xC0 | n << 3 | (n + 4)]);
    }
    /// VZEROUPPER.
    pub fn vzeroupper(&mut self) {
        self.code.extend([0xC5, 0xF8, 0x77]);
    }

    fn alu_immediate(&mut self, op: AluOp, width: Width, to: Operand, value: i32) {
        let digit = RegField::Digit(op as u8);
        if width != Width::Byte
            && let Ok(short) = i8::try_from(value)
        {
            self.form(width, &[0x83], digit, to);
            self.code.push(short as u8);
        } else {
            self.general(width, 0x80, digit, to);
            self.immediate(width, value);
        }
    }

    /// The low `bytes` bytes of an immediate that no method knows of.
    pub fn immediate_bytes(&mut self, value: u64, bytes: usize) {
        self.code.put(value, bytes);
    }
    /// An immediate as wide as the operation, 32 bits at most. Narrow ones may be meant with or
    /// without a sign.
    fn immediate(&mut self, width: Width, value: i32) {
        let (bytes, range) = match width {
            Width::Byte => (1, i8::MIN.into()..=u8::MAX.into()),
            Width::Word => (2, i16::MIN.into()..=u16::MAX.into()),
            Width::Dword | Width::Qword => (4, i32::MIN..=i32::MAX),
        };
        assert!(range.contains(&value), "{value} does not fit {width:?}");
        self.code.put(value as u32 as u64, bytes);
    }

    /// A jump by its short opcode where there is one and the label is bound in reach, else by its
    /// near opcode, which has `count` bytes.
    fn jump(&mut self, short: Option<u8>, near: u16, count: usize, to: Label) {
        let target = self.labels[to.0 as usize];
        if target != NOT_BOUND
            && let Some(opcode) = short
        {
            // The label is bound, hence behind or here; the instruction has two bytes.
            let back = self.code.len() + 2 - target as usize;
            if back <= 128 {
                self.code.extend([opcode, (back as u8).wrapping_neg()]);
                return;
            }
        }
        let place = self.code.len() + count;
        // Four bytes of zeros follow.
        self.code.put(near as u64, count + 4);
        self.open.push((place as u32, to));
    }
}
