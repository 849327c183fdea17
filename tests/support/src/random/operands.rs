//! Operands of random instructions that do not depend on where memory is: registers and immediates.

use super::values::{self, Random};
use iced_x86::{Instruction, Mnemonic, OpCodeOperandKind as K, OpKind, Register};

/// The segment registers.
pub const SEGMENTS: [Register; 6] =
    [Register::ES, Register::CS, Register::SS, Register::DS, Register::FS, Register::GS];

/// Makes operand `n` an immediate of this kind, after `before` others; what ENTER and RET move the stack pointer by is
/// within the mask `frame`.
pub fn immediate(
    random: &mut Random,
    i: &mut Instruction,
    n: u32,
    kind: K,
    before: u32,
    frame: u16,
) -> Option<()> {
    let value = values::integer(random);
    let small = if random.percent(50) { random.below(70) } else { value };
    let op_kind = match kind {
        K::imm4_m2z => OpKind::Immediate8,
        K::imm8 if before > 0 => OpKind::Immediate8_2nd,
        K::imm8 | K::imm8_const_1 => OpKind::Immediate8,
        K::imm8sex16 => OpKind::Immediate8to16,
        K::imm8sex32 => OpKind::Immediate8to32,
        K::imm8sex64 => OpKind::Immediate8to64,
        K::imm16 => OpKind::Immediate16,
        K::imm32 => OpKind::Immediate32,
        K::imm32sex64 => OpKind::Immediate32to64,
        K::imm64 => OpKind::Immediate64,
        _ => return None,
    };
    i.set_op_kind(n, op_kind);
    match op_kind {
        OpKind::Immediate8_2nd => i.set_immediate8_2nd((small & 0x1F) as u8),
        OpKind::Immediate8 if kind == K::imm8_const_1 => i.set_immediate8(1),
        OpKind::Immediate8 => i.set_immediate8(small as u8),
        OpKind::Immediate8to16 => i.set_immediate8to16(small as i8 as i16),
        OpKind::Immediate8to32 => i.set_immediate8to32(small as i8 as i32),
        OpKind::Immediate8to64 => i.set_immediate8to64(small as i8 as i64),
        OpKind::Immediate16 if matches!(i.mnemonic(), Mnemonic::Enter | Mnemonic::Ret) => {
            i.set_immediate16(small as u16 & frame)
        }
        OpKind::Immediate16 => i.set_immediate16(value as u16),
        OpKind::Immediate32 => i.set_immediate32(value as u32),
        OpKind::Immediate32to64 => i.set_immediate32to64(value as i32 as i64),
        _ => i.set_immediate64(value),
    }
    Some(())
}

/// A register operand that can only be a register.
pub fn register(random: &mut Random, bits: u32, kind: K) -> Option<Register> {
    Some(match kind {
        K::r8_reg | K::r8_opcode => register_of(random, bits, K::r8_or_mem)?,
        K::r16_reg | K::r16_reg_mem | K::r16_rm | K::r16_opcode => register_of(random, bits, K::r16_or_mem)?,
        K::r32_reg | K::r32_reg_mem | K::r32_rm | K::r32_opcode | K::r32_vvvv => {
            register_of(random, bits, K::r32_or_mem)?
        }
        K::r64_reg | K::r64_reg_mem | K::r64_rm | K::r64_opcode | K::r64_vvvv => {
            register_of(random, bits, K::r64_or_mem)?
        }
        K::mm_reg | K::mm_rm => register_of(random, bits, K::mm_or_mem)?,
        K::xmm_reg | K::xmm_rm | K::xmm_vvvv | K::xmm_is4 | K::xmm_is5 => {
            register_of(random, bits, K::xmm_or_mem)?
        }
        K::ymm_reg | K::ymm_rm | K::ymm_vvvv | K::ymm_is4 | K::ymm_is5 => {
            register_of(random, bits, K::ymm_or_mem)?
        }
        K::seg_reg => random.pick(&SEGMENTS),
        K::cr_reg => {
            random.pick(&[Register::CR0, Register::CR2, Register::CR3, Register::CR4, Register::CR8])
        }
        K::dr_reg => random.pick(&[Register::DR0, Register::DR6, Register::DR7]),
        K::es => Register::ES,
        K::cs => Register::CS,
        K::ss => Register::SS,
        K::ds => Register::DS,
        K::fs => Register::FS,
        K::gs => Register::GS,
        K::al => Register::AL,
        K::cl => Register::CL,
        K::ax => Register::AX,
        K::dx => Register::DX,
        K::eax => Register::EAX,
        K::rax => Register::RAX,
        K::st0 => Register::ST0,
        K::sti_opcode => Register::ST0 + random.below(8) as u32,
        _ => return None,
    })
}

/// A register where a register or memory may be.
pub fn register_of(random: &mut Random, bits: u32, kind: K) -> Option<Register> {
    let (registers, bytes) = if bits == 64 { (16, 20) } else { (8, 8) };
    let n = random.below(registers) as u32;
    Some(match kind {
        // AH, CH, DH, BH more often than the others.
        K::r8_or_mem if random.percent(20) => Register::AH + random.below(4) as u32,
        K::r8_or_mem => Register::AL + random.below(bytes) as u32,
        K::r16_or_mem => Register::AX + n,
        K::r32_or_mem => Register::EAX + n,
        K::r64_or_mem => Register::RAX + n,
        K::mm_or_mem => Register::MM0 + n % 8,
        K::xmm_or_mem => Register::XMM0 + n,
        K::ymm_or_mem => Register::YMM0 + n,
        _ => return None,
    })
}
