//! What is the same for all instructions of a form, found out once: iced-x86 and the functions of this module are asked
//! with a sample, and translation looks into a table.

use super::classify::{self, Kind};
use super::encode::Shape;
use super::generic::{flag_use_of, general_code, may_swap_high_byte};
use super::plan::Accesses;
use iced_x86::{Code, Instruction, InstructionInfoFactory, OpCodeOperandKind as K, OpKind, Register};
use std::sync::OnceLock;

/// What is known of a form.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// How it is translated where its memory operand, if it has one, is flat, and no alignment is checked. Only
    /// of forms that each processor has.
    pub kind: Option<Kind>,
    /// How a near jump, call or return is translated in 64-bit mode, where its memory operand is flat and no
    /// alignment is checked.
    pub near: Option<Kind>,
    /// Some instructions of the form fall back to the interpreter for the registers that they name: see
    /// [`swaps_high_byte`](super::generic::swaps_high_byte).
    pub may_swap: bool,
    /// Its form with operands that are free to choose: see [`general_code`].
    pub general: Code,
    /// How that is encoded.
    pub shape: Option<Shape>,
    /// What its operands are used for, where they are different registers and an immediate is not zero.
    accesses: Option<Accesses>,
    /// The same of a register and itself.
    accesses_same: Option<Accesses>,
    /// Arithmetic flags that it reads and writes, where that depends on no operand.
    flags: Option<(u8, u8)>,
}

/// The form of `code`.
#[inline]
pub(super) fn form(code: Code) -> &'static Form {
    static FORMS: OnceLock<Vec<Form>> = OnceLock::new();
    let forms = FORMS.get_or_init(|| {
        let mut info = InstructionInfoFactory::new();
        Code::values().map(|code| Form::of(code, &mut info)).collect()
    });
    &forms[code as usize]
}

impl Form {
    fn of(code: Code, info: &mut InstructionInfoFactory) -> Form {
        let general = general_code(code);
        let mut form = Form {
            kind: classify::kind_of_form(code),
            near: classify::near_kind_of_form(code),
            may_swap: may_swap_high_byte(code),
            general,
            shape: Shape::of(general.op_code()),
            accesses: None,
            accesses_same: None,
            flags: None,
        };
        let (registers, memory) = (sample(code, false, false), sample(code, true, false));
        if let (Some(registers), Some(memory)) = (registers, memory) {
            let accesses = Accesses::asked(&registers, info);
            form.accesses = Some(accesses).filter(|a| *a == Accesses::asked(&memory, info));
            let flags = flag_use_of(&registers);
            let fixed = form.kind == Some(Kind::Generic { vector: false })
                && flags == flag_use_of(&memory)
                && !has_immediate_count(code);
            form.flags = fixed.then_some((flags.0 as u8, flags.1 as u8));
        }
        if let Some(same) = sample(code, false, true).filter(|same| same.op_count() == 2) {
            form.accesses_same = Some(Accesses::asked(&same, info));
        }
        form
    }
    /// What the operands of `i`, which is of this form, are used for.
    #[inline]
    pub(super) fn accesses(&self, i: &Instruction, info: &mut InstructionInfoFactory) -> Accesses {
        let (a, b, c) = (i.op0_register(), i.op1_register(), i.op2_register());
        let known = if b == Register::None || a != b && b != c && a != c {
            let zero = i.op1_kind() == OpKind::Immediate8 && i.immediate8() & 31 == 0;
            self.accesses.filter(|_| !zero)
        } else if a == b {
            self.accesses_same
        } else {
            None
        };
        known.unwrap_or_else(|| Accesses::asked(i, info))
    }
    /// Arithmetic flags that `i`, which is of this form, reads (or may keep), and that it writes.
    #[inline]
    pub(super) fn flag_use(&self, i: &Instruction) -> (u32, u32) {
        self.flags.map_or_else(|| flag_use_of(i), |(read, written)| (read.into(), written.into()))
    }
}

fn has_immediate_count(code: Code) -> bool {
    (0..code.op_code().op_count()).any(|n| matches!(code.op_code().op_kind(n), K::imm8 | K::imm8_const_1))
}

/// An instruction with registers for operands, `same` ones or different ones; `memory`: where it may have a memory
/// operand it has one. `None`: it has other operands.
fn sample(code: Code, memory: bool, same: bool) -> Option<Instruction> {
    let form = code.op_code();
    if form.op_count() > 3 {
        return None;
    }
    let mut i = Instruction::default();
    i.set_code(code);
    for n in 0..form.op_count() {
        let number = if same { 0 } else { n };
        let in_memory = |i: &mut Instruction| {
            i.set_op_kind(n, OpKind::Memory);
            i.set_memory_base(Register::RBX);
        };
        let mut register = |first: Register| {
            i.set_op_kind(n, OpKind::Register);
            i.set_op_register(n, first + number);
        };
        match form.op_kind(n) {
            K::mem => in_memory(&mut i),
            K::r8_or_mem | K::r16_or_mem | K::r32_or_mem | K::r64_or_mem if memory => in_memory(&mut i),
            K::xmm_or_mem | K::ymm_or_mem | K::mm_or_mem if memory => in_memory(&mut i),
            K::r8_or_mem | K::r8_reg | K::r8_opcode => register(Register::AL),
            K::r16_or_mem | K::r16_reg | K::r16_opcode => register(Register::AX),
            K::r32_or_mem | K::r32_reg | K::r32_opcode | K::r32_vvvv => register(Register::EAX),
            K::r64_or_mem | K::r64_reg | K::r64_opcode | K::r64_vvvv => register(Register::RAX),
            K::xmm_or_mem | K::xmm_reg | K::xmm_rm | K::xmm_vvvv => register(Register::XMM0),
            K::ymm_or_mem | K::ymm_reg | K::ymm_rm | K::ymm_vvvv => register(Register::YMM0),
            K::mm_or_mem | K::mm_reg | K::mm_rm => register(Register::MM0),
            // The first register is another one where they must be different.
            K::al if n == 0 => register(Register::AL),
            K::ax if n == 0 => register(Register::AX),
            K::eax if n == 0 => register(Register::EAX),
            K::rax if n == 0 => register(Register::RAX),
            K::cl if !same => {
                i.set_op_kind(n, OpKind::Register);
                i.set_op_register(n, Register::CL);
                if n == 1 && i.op0_register() == Register::CL {
                    i.set_op0_register(Register::DL);
                }
            }
            K::br16_1 | K::br16_2 => i.set_op_kind(n, OpKind::NearBranch16),
            K::br32_1 | K::br32_4 => i.set_op_kind(n, OpKind::NearBranch32),
            K::br64_1 | K::br64_4 => i.set_op_kind(n, OpKind::NearBranch64),
            K::imm8 | K::imm8_const_1 => immediate(&mut i, n, OpKind::Immediate8),
            K::imm16 => immediate(&mut i, n, OpKind::Immediate16),
            K::imm32 => immediate(&mut i, n, OpKind::Immediate32),
            K::imm64 => immediate(&mut i, n, OpKind::Immediate64),
            K::imm8sex16 => immediate(&mut i, n, OpKind::Immediate8to16),
            K::imm8sex32 => immediate(&mut i, n, OpKind::Immediate8to32),
            K::imm8sex64 => immediate(&mut i, n, OpKind::Immediate8to64),
            K::imm32sex64 => immediate(&mut i, n, OpKind::Immediate32to64),
            _ => return None,
        }
    }
    Some(i)
}
fn immediate(i: &mut Instruction, n: u32, kind: OpKind) {
    i.set_op_kind(n, kind);
    i.set_immediate_i32(n, 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    /// Calls `check` with instructions of most forms and kinds of operands.
    fn each_instruction(mut check: impl FnMut(&Instruction)) {
        let vex =
            [&[0xC5, 0xF8][..], &[0xC5, 0xF1], &[0xC4, 0xE2, 0x79], &[0xC4, 0xE2, 0xF0], &[0xC4, 0xE3, 0x7D]];
        let legacy = [
            &[][..],
            &[0x66],
            &[0x48],
            &[0x0F],
            &[0x48, 0x0F],
            &[0x66, 0x0F],
            &[0xF3, 0x0F],
            &[0xF2, 0x0F],
            &[0xF0],
            &[0x0F, 0x38],
            &[0x66, 0x0F, 0x38],
        ];
        for bits in [32, 64] {
            for prefix in legacy.into_iter().chain(vex) {
                for opcode in 0..=0xFFu8 {
                    for modrm in [0xC0, 0xC8, 0xC9, 0xD1, 0xE6, 0xF8, 0x07, 0x0F, 0x37] {
                        for immediate in [0, 1, 0x20, 0x48] {
                            let mut bytes = [prefix, &[opcode, modrm]].concat();
                            bytes.extend([immediate; 8]);
                            let i = Decoder::new(bits, &bytes, DecoderOptions::NONE).decode();
                            if !i.is_invalid() {
                                check(&i);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn accesses_are_those_of_iced() {
        let mut info = InstructionInfoFactory::new();
        let mut known = 0;
        let mut wrong = std::collections::BTreeSet::new();
        each_instruction(|i| {
            let form = form(i.code());
            known += u32::from(form.accesses.is_some());
            if form.accesses(i, &mut info) != Accesses::asked(i, &mut info) {
                wrong.insert(format!("{:?}: {i}", i.code()));
            }
        });
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(known > 30_000, "{known}");
    }

    #[test]
    fn flags_are_those_of_each_instruction() {
        let mut known = 0;
        each_instruction(|i| {
            known += u32::from(form(i.code()).flags.is_some());
            assert_eq!(form(i.code()).flag_use(i), flag_use_of(i), "{i} {:?}", i.code());
        });
        assert!(known > 10_000, "{known}");
    }
}
