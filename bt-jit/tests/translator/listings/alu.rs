//! The instructions of the ALU, whose forms come from the rows of `cpu/src/alu/table.rs`: each of 64 bits, on registers and
//! memory, and with LOCK where it may have that.

use iced_x86::code_asm::CodeAssembler;
use iced_x86::{Code, EncodingKind, IcedError, Instruction, OpCodeOperandKind as K, OpKind, Register};
use trimotor_cpu::alu::{ALU_INSTRUCTIONS, AluInstruction};

/// Registers for the first operands.
const REGISTERS: [Register; 2] = [Register::RDX, Register::R9];

/// The forms of `row` with a 64-bit destination that ModRM names.
fn forms(row: &AluInstruction) -> impl Iterator<Item = Code> {
    Code::values().filter(|code| {
        let form = code.op_code();
        code.mnemonic() == row.mnemonics[0]
            && code.encoding() == EncodingKind::Legacy
            && form.op_count() > 0
            && form.op_kind(0) == K::r64_or_mem
    })
}

/// `code` with registers, or with its destination in memory; `None`: it has an operand of another kind.
fn instance(code: Code, memory: bool) -> Option<Instruction> {
    let mut i = Instruction::default();
    i.set_code(code);
    for n in 0..code.op_code().op_count() {
        let mut register = |r| {
            i.set_op_kind(n, OpKind::Register);
            i.set_op_register(n, r);
        };
        match code.op_code().op_kind(n) {
            K::r64_or_mem if memory => {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_base(Register::RBX);
            }
            K::r64_or_mem | K::r64_reg => register(*REGISTERS.get(n as usize)?),
            K::cl => register(Register::CL),
            K::imm8 | K::imm8_const_1 => immediate(&mut i, n, OpKind::Immediate8, 1),
            K::imm8sex64 => immediate(&mut i, n, OpKind::Immediate8to64, 5),
            K::imm32sex64 => immediate(&mut i, n, OpKind::Immediate32to64, 0x1234),
            _ => return None,
        }
    }
    Some(i)
}
fn immediate(i: &mut Instruction, n: u32, kind: OpKind, value: i32) {
    i.set_op_kind(n, kind);
    i.set_immediate_i32(n, value);
}

/// All of them.
pub fn all(a: &mut CodeAssembler) -> Result<(), IcedError> {
    for row in ALU_INSTRUCTIONS {
        for code in forms(row) {
            for memory in [false, true] {
                let Some(mut i) = instance(code, memory) else { continue };
                a.add_instruction(i)?;
                if memory && code.op_code().can_use_lock_prefix() {
                    i.set_has_lock_prefix(true);
                    a.add_instruction(i)?;
                }
            }
        }
    }
    Ok(())
}

/// Of each row there are forms in the listing, and the host code of each has the instruction itself: it is emitted as it is, not
/// left to the interpreter.
pub fn each_row_is_emitted_as_it_is(listing: &str) {
    let name = |text: &str| text.trim().trim_start_matches("lock ").split(' ').next().map(str::to_owned);
    let mut found = Vec::new();
    for entry in listing.split("\n\n").skip(1) {
        let mut lines = entry.lines();
        let guest = lines.next().and_then(name);
        assert!(lines.any(|host| name(host) == guest), "{entry}");
        found.extend(guest);
    }
    for row in ALU_INSTRUCTIONS {
        let wanted = format!("{:?}", row.mnemonics[0]).to_lowercase();
        let count = found.iter().filter(|name| **name == wanted).count();
        assert!(count >= if row.locks { 3 } else { 2 }, "{wanted}: {count} forms");
    }
}
