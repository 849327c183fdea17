//! Encoding of instructions whose operands are the host's, for the forms that make up nearly all code: a table has
//! how each is put together. The others go to iced-x86, whose encoder takes several times as long.

use super::address::gpr_number;
use super::forms::form;
use crate::emitter::{Emitter, Mem, Opcode, Operand, Reg};
use iced_x86::{
    EncodingKind, Instruction, MandatoryPrefix, OpCodeInfo, OpCodeOperandKind as K, OpCodeTableKind, OpKind,
    Register,
};

/// No such operand.
const NONE: u8 = 0xFF;

/// How the instructions of a form are put together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    opcode: Opcode,
    /// ModRM's reg field where it is a part of the opcode.
    digit: u8,
    /// The operand in ModRM's reg field.
    reg: u8,
    /// The operand in ModRM's rm field.
    rm: u8,
    /// The register in the opcode.
    plus: u8,
    /// The immediate, and its bytes.
    imm: u8,
    imm_bytes: u8,
}

impl Shape {
    /// That of `form`; `None`: iced-x86 encodes it.
    pub(super) fn of(form: &OpCodeInfo) -> Option<Shape> {
        let escape = match form.table() {
            OpCodeTableKind::Normal => &[][..],
            OpCodeTableKind::T0F => &[0x0F],
            OpCodeTableKind::T0F38 => &[0x0F, 0x38],
            OpCodeTableKind::T0F3A => &[0x0F, 0x3A],
            _ => return None,
        };
        let wanted = form.encoding() == EncodingKind::Legacy
            && form.mode64()
            && form.op_code_len() == 1
            && !form.fwait()
            && form.rm_group_index() < 0
            && form.address_size() == 0;
        if !wanted {
            return None;
        }
        let size = match form.operand_size() {
            16 => 0x66,
            _ => 0,
        };
        let mandatory = match form.mandatory_prefix() {
            MandatoryPrefix::None | MandatoryPrefix::PNP => 0,
            MandatoryPrefix::P66 => 0x66,
            MandatoryPrefix::PF3 => 0xF3,
            MandatoryPrefix::PF2 => 0xF2,
        };
        if size != 0 && mandatory != 0 {
            return None;
        }
        let wide = form.operand_size() == 64 && !form.default_op_size64();
        let mut bytes = [0; 4];
        bytes[..escape.len()].copy_from_slice(escape);
        bytes[escape.len()] = u8::try_from(form.op_code()).ok()?;
        let count = escape.len() as u8 + 1;
        let opcode = Opcode { prefix: size | mandatory, wide, bytes: u32::from_le_bytes(bytes), count };
        let digit = u8::try_from(form.group_index()).unwrap_or(NONE);
        let none = Shape { opcode, digit, reg: NONE, rm: NONE, plus: NONE, imm: NONE, imm_bytes: 0 };
        let shape = (0..form.op_count()).try_fold(none, |shape, n| shape.with(n as u8, form.op_kind(n)))?;
        let has_modrm = shape.rm != NONE && (shape.reg != NONE || shape.digit != NONE);
        let is_plus = shape.plus != NONE && shape.rm == NONE && shape.reg == NONE;
        (has_modrm && shape.plus == NONE || is_plus).then_some(shape)
    }
    /// The same with operand `n`.
    fn with(self, n: u8, kind: K) -> Option<Shape> {
        let mut s = self;
        let (place, bytes) = match kind {
            K::r8_or_mem | K::r16_or_mem | K::r32_or_mem | K::r64_or_mem | K::mem => (&mut s.rm, 0),
            K::xmm_or_mem | K::mm_or_mem | K::xmm_rm | K::mm_rm => (&mut s.rm, 0),
            K::r8_reg | K::r16_reg | K::r32_reg | K::r64_reg | K::xmm_reg | K::mm_reg => (&mut s.reg, 0),
            K::r8_opcode | K::r16_opcode | K::r32_opcode | K::r64_opcode => (&mut s.plus, 0),
            K::imm8 | K::imm8sex16 | K::imm8sex32 | K::imm8sex64 => (&mut s.imm, 1),
            K::imm16 => (&mut s.imm, 2),
            K::imm32 | K::imm32sex64 => (&mut s.imm, 4),
            K::imm64 => (&mut s.imm, 8),
            K::cl | K::imm8_const_1 => return Some(s),
            _ => return None,
        };
        if *place != NONE {
            return None;
        }
        *place = n;
        s.imm_bytes += bytes;
        Some(s)
    }
}

/// The number of a register in encodings, and whether it is a low byte that needs a REX. `None` for AH and its kin.
#[inline]
fn number(r: Register) -> Option<(Reg, bool)> {
    if (r as u32).wrapping_sub(Register::AX as u32) < 3 * 16 {
        return Some((Reg::ALL[gpr_number(r) as usize & 15], false));
    }
    match (r as u32).wrapping_sub(Register::AL as u32) {
        low @ 0..4 => Some((Reg::ALL[low as usize], false)),
        4..8 => None,
        // SPL, BPL, SIL and DIL.
        new @ 8..12 => Some((Reg::ALL[new as usize - 4], true)),
        new @ 12..20 => Some((Reg::ALL[new as usize - 4], false)),
        _ => Some((Reg::ALL[r.number() & 15], false)),
    }
}

fn memory(i: &Instruction) -> Option<Mem> {
    let base = i.memory_base();
    let plain = base.is_gpr64() && i.memory_index() == Register::None && i.segment_prefix() == Register::None;
    let displacement = i32::try_from(i.memory_displacement64() as i64).ok()?;
    plain.then(|| Mem::base(Reg::ALL[base.number() & 15], displacement))
}

/// Encodes `i` where its form has a shape; false: nothing was emitted.
pub(super) fn encode(e: &mut Emitter, i: &Instruction) -> bool {
    // Host instructions are of plain forms.
    let form = form(i.code());
    if form.general != i.code() {
        return false;
    }
    let Some(shape) = &form.shape else { return false };
    encode_as(e, i, shape).is_some()
}

fn encode_as(e: &mut Emitter, i: &Instruction, shape: &Shape) -> Option<()> {
    if i.has_rep_prefix() || i.has_repne_prefix() || i.has_xacquire_prefix() || i.has_xrelease_prefix() {
        return None;
    }
    let register = |n: u8| number(i.op_register(n as u32));
    let immediate = if shape.imm != NONE { i.immediate(shape.imm as u32) } else { 0 };
    if shape.plus != NONE {
        let (plus, needs_rex) = register(shape.plus)?;
        e.with_register(shape.opcode, plus, needs_rex);
    } else {
        let (field, field_rex) = if shape.reg == NONE {
            (shape.digit, false)
        } else {
            register(shape.reg).map(|(reg, rex)| (reg as u8, rex))?
        };
        let (rm, rm_rex) = if i.op_kind(shape.rm as u32) == OpKind::Memory {
            (Operand::Memory(memory(i)?), false)
        } else {
            register(shape.rm).map(|(reg, rex)| (Operand::Register(reg), rex))?
        };
        if i.has_lock_prefix() {
            e.raw(&[0xF0]);
        }
        e.with_modrm(shape.opcode, field, rm, field_rex || rm_rex);
    }
    if shape.imm != NONE {
        e.immediate_bytes(immediate, shape.imm_bytes as usize);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions, Encoder};

    /// Encodes `i` both ways; the number of forms that have a shape is of interest.
    fn compare(i: &Instruction) -> bool {
        let mut e = Emitter::new();
        if !encode(&mut e, i) {
            return false;
        }
        let mut encoder = Encoder::new(64);
        encoder.encode(i, 0).unwrap_or_else(|error| panic!("{i}: {error}"));
        assert_eq!(e.finish().unwrap(), encoder.take_buffer(), "{i} {:?}", i.code());
        true
    }

    #[test]
    fn instructions_come_out_as_iced_encodes_them() {
        let mut seen = std::collections::HashSet::new();
        let operands = [0xC0u8, 0xC8, 0xF7, 0xE5, 0x03, 0x43, 0x45, 0x84, 0x86, 0x2C, 0x74];
        for escape in [&[][..], &[0x0F], &[0x0F, 0x38], &[0x0F, 0x3A]] {
            for prefixes in [&[][..], &[0x66], &[0xF2], &[0xF3], &[0xF0], &[0x66, 0xF0], &[0x67]] {
                for rex in [&[][..], &[0x40], &[0x48], &[0x4D], &[0x45]] {
                    for opcode in 0..=0xFFu8 {
                        for modrm in operands {
                            let mut bytes = [prefixes, rex, escape, &[opcode, modrm]].concat();
                            bytes.extend([0x24, 0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC, 0xDE, 0xF0]);
                            bytes.truncate(15);
                            let i = Decoder::new(64, &bytes, DecoderOptions::NONE).decode();
                            if i.is_invalid() || i.op_count() == 0 {
                                continue;
                            }
                            let mut i = i;
                            // As the translator leaves memory operands: the encoder chooses the size.
                            let is_plain = i.memory_index() == Register::None && i.memory_base().is_gpr64();
                            if is_plain {
                                super::super::generic::point_at(&mut i, Register::R11, 0x12);
                            }
                            if compare(&i) {
                                seen.insert(i.code());
                            }
                        }
                    }
                }
            }
        }
        assert!(seen.len() > 600, "{} forms", seen.len());
    }
}
