//! Each form decoded again by iced-x86, and small functions run.

use super::*;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Dword, Width::Qword];
const OPS: [AluOp; 8] =
    [AluOp::Add, AluOp::Or, AluOp::Adc, AluOp::Sbb, AluOp::And, AluOp::Sub, AluOp::Xor, AluOp::Cmp];
const CONDITIONS: [(Condition, &str); 16] = [
    (Condition::Overflow, "o"),
    (Condition::NotOverflow, "no"),
    (Condition::Below, "b"),
    (Condition::AboveOrEqual, "ae"),
    (Condition::Equal, "e"),
    (Condition::NotEqual, "ne"),
    (Condition::BelowOrEqual, "be"),
    (Condition::Above, "a"),
    (Condition::Sign, "s"),
    (Condition::NotSign, "ns"),
    (Condition::Parity, "p"),
    (Condition::NotParity, "np"),
    (Condition::Less, "l"),
    (Condition::GreaterOrEqual, "ge"),
    (Condition::LessOrEqual, "le"),
    (Condition::Greater, "g"),
];

/// The code of `emit`, as iced-x86 reads it at address 0.
fn listing(emit: impl FnOnce(&mut Emitter)) -> Vec<String> {
    let mut emitter = Emitter::new();
    emit(&mut emitter);
    let mut decoder = Decoder::with_ip(64, emitter.finish().unwrap(), 0, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_hex_suffix("");
    options.set_hex_prefix("0x");
    options.set_small_hex_numbers_in_decimal(false);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    let mut lines = Vec::new();
    while decoder.can_decode() {
        let mut line = String::new();
        formatter.format(&decoder.decode(), &mut line);
        lines.push(line);
    }
    lines
}

#[track_caller]
fn check(emit: impl FnOnce(&mut Emitter), expected: &str) {
    assert_eq!(listing(emit).join("; "), expected);
}

/// The register's name at a width.
fn name(register: Reg, width: Width) -> String {
    let number = register as usize;
    if number >= 8 {
        let suffix = match width {
            Width::Byte => "b",
            Width::Word => "w",
            Width::Dword => "d",
            Width::Qword => "",
        };
        return format!("r{number}{suffix}");
    }
    let word = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"][number];
    match width {
        Width::Byte if number < 4 => format!("{}l", &word[..1]),
        Width::Byte => format!("{word}l"),
        Width::Word => word.to_owned(),
        Width::Dword => format!("e{word}"),
        Width::Qword => format!("r{word}"),
    }
}

fn mnemonic(op: AluOp) -> String {
    format!("{op:?}").to_lowercase()
}

/// Memory operands of every shape, with their texts: all bases, with and without index.
fn memories() -> Vec<(Mem, String)> {
    let mut all = Vec::new();
    let displacements = [(0, ""), (0x10, "+0x10"), (-8, "-8"), (0x1234, "+0x1234"), (-0x1234, "-0x1234")];
    for base in Reg::ALL {
        let base_name = name(base, Width::Qword);
        for (displacement, text) in displacements {
            let text = text.replace("-8", "-0x8");
            all.push((Mem::base(base, displacement), format!("[{base_name}{text}]")));
            for index in [Reg::Rax, Reg::Rbp, Reg::R12, Reg::R13] {
                let index_name = name(index, Width::Qword);
                all.push((
                    Mem::indexed(base, index, Scale::Four, displacement),
                    format!("[{base_name}+{index_name}*4{text}]"),
                ));
            }
        }
    }
    all
}

fn size(width: Width) -> &'static str {
    match width {
        Width::Byte => "byte ptr ",
        Width::Word => "word ptr ",
        Width::Dword => "dword ptr ",
        Width::Qword => "qword ptr ",
    }
}

#[test]
fn register_forms_decode_as_meant() {
    for width in WIDTHS {
        for to in Reg::ALL {
            for from in Reg::ALL {
                let operands = format!("{}, {}", name(to, width), name(from, width));
                check(|e| e.mov_rr(width, to, from), &format!("mov {operands}"));
                check(|e| e.test_rr(width, to, from), &format!("test {operands}"));
                for op in OPS {
                    check(|e| e.alu_rr(op, width, to, from), &format!("{} {operands}", mnemonic(op)));
                }
            }
        }
    }
}

#[test]
fn memory_forms_decode_as_meant() {
    for (memory, text) in memories() {
        for width in WIDTHS {
            for register in [Reg::Rax, Reg::Rsi, Reg::R11] {
                let r = name(register, width);
                check(|e| e.mov_rm(width, register, memory), &format!("mov {r}, {text}"));
                check(|e| e.mov_mr(width, memory, register), &format!("mov {text}, {r}"));
                check(|e| e.alu_rm(AluOp::Cmp, width, register, memory), &format!("cmp {r}, {text}"));
                check(|e| e.alu_mr(AluOp::Xor, width, memory, register), &format!("xor {text}, {r}"));
                if width != Width::Byte {
                    check(|e| e.lea(width, register, memory), &format!("lea {r}, {text}"));
                }
            }
            let sized = format!("{}{text}", size(width));
            check(|e| e.mov_mi(width, memory, 0x12), &format!("mov {sized}, 0x12"));
            check(|e| e.alu_mi(AluOp::Add, width, memory, 0x7F), &format!("add {sized}, 0x7F"));
        }
    }
}

#[test]
fn every_alu_operation_has_its_memory_forms() {
    let memory = Mem::base(Reg::Rbx, 0x10);
    for op in OPS {
        let m = mnemonic(op);
        check(|e| e.alu_rm(op, Width::Qword, Reg::R9, memory), &format!("{m} r9, [rbx+0x10]"));
        check(|e| e.alu_mr(op, Width::Dword, memory, Reg::Rcx), &format!("{m} [rbx+0x10], ecx"));
        check(|e| e.alu_mi(op, Width::Dword, memory, 0x1234), &format!("{m} dword ptr [rbx+0x10], 0x1234"));
    }
}

#[test]
fn immediates_take_the_shortest_form_that_means_the_same() {
    let length = |value| {
        let mut emitter = Emitter::new();
        emitter.mov_ri(Reg::R9, value);
        emitter.offset()
    };
    assert_eq!([0, 0xFFFF_FFFF, u64::MAX, 1 << 32].map(length), [6, 6, 7, 10]);
    check(|e| e.mov_ri(Reg::Rax, 0), "mov eax, 0x0");
    check(|e| e.mov_ri(Reg::Rdi, 0x8000_0000), "mov edi, 0x80000000");
    check(|e| e.mov_ri(Reg::R15, u64::MAX), "mov r15, 0xFFFFFFFFFFFFFFFF");
    check(|e| e.mov_ri(Reg::R8, 0x1234_5678_9ABC_DEF0), "mov r8, 0x123456789ABCDEF0");
    for (value, width, text) in [
        (0x7F, Width::Byte, "0x7F"),
        (0xFF, Width::Byte, "0xFF"),
        (-1, Width::Word, "0xFFFF"),
        (0x8000, Width::Word, "0x8000"),
        (-1, Width::Dword, "0xFFFFFFFF"),
        (0x1234_5678, Width::Dword, "0x12345678"),
        (-0x8000_0000, Width::Qword, "0xFFFFFFFF80000000"),
    ] {
        let register = name(Reg::Rbp, width);
        for op in OPS {
            let line = format!("{} {register}, {text}", mnemonic(op));
            check(|e| e.alu_ri(op, width, Reg::Rbp, value), &line);
        }
        check(|e| e.test_ri(width, Reg::Rbp, value), &format!("test {register}, {text}"));
    }
}

#[test]
#[should_panic(expected = "does not fit")]
fn an_immediate_that_does_not_fit_is_a_bug() {
    Emitter::new().alu_ri(AluOp::Add, Width::Byte, Reg::Rax, 256);
}

#[test]
fn extending_loads_decode_as_meant() {
    let memory = Mem::base(Reg::R13, 0);
    for (width, zero, sign) in [
        (Width::Byte, "movzx r9d, byte ptr [r13]", "movsx r9, byte ptr [r13]"),
        (Width::Word, "movzx r9d, word ptr [r13]", "movsx r9, word ptr [r13]"),
        (Width::Dword, "mov r9d, [r13]", "movsxd r9, [r13]"),
        (Width::Qword, "mov r9, [r13]", "mov r9, [r13]"),
    ] {
        check(|e| e.movzx_rm(width, Reg::R9, memory), zero);
        check(|e| e.movsx_rm(width, Reg::R9, memory), sign);
    }
}

#[test]
fn single_register_forms_decode_as_meant() {
    for register in Reg::ALL {
        let (wide, byte) = (name(register, Width::Qword), name(register, Width::Byte));
        check(|e| e.push(register), &format!("push {wide}"));
        check(|e| e.pop(register), &format!("pop {wide}"));
        check(|e| e.jmp_r(register), &format!("jmp {wide}"));
        check(|e| e.call_r(register), &format!("call {wide}"));
        check(|e| e.seto(register), &format!("seto {byte}"));
        for (condition, suffix) in CONDITIONS {
            check(|e| e.setcc(condition, register), &format!("set{suffix} {byte}"));
        }
    }
    check(Emitter::lahf, "lahf");
    check(Emitter::sahf, "sahf");
    check(Emitter::ret, "ret");
}

#[test]
fn jumps_find_labels_before_and_behind_them() {
    for (condition, suffix) in CONDITIONS {
        let both = |e: &mut Emitter| {
            let (back, forth) = (e.label(), e.label());
            e.bind(back);
            e.jcc(condition, forth);
            e.jcc(condition, back);
            e.bind(forth);
        };
        check(both, &format!("j{suffix} 0x8; j{suffix} 0x0"));
    }
    let calls = |e: &mut Emitter| {
        let (back, forth) = (e.label(), e.label());
        e.bind(back);
        e.call(forth);
        e.call(back);
        e.jmp(forth);
        e.jmp(back);
        e.bind(forth);
    };
    check(calls, "call 0x11; call 0x0; jmp 0x11; jmp 0x0");
}

#[test]
fn short_jumps_reach_128_bytes_back_and_no_further() {
    for (fill, length) in [(126, 2), (127, 5)] {
        let mut emitter = Emitter::new();
        let back = emitter.label();
        emitter.bind(back);
        (0..fill).for_each(|_| emitter.ret());
        emitter.jmp(back);
        assert_eq!(emitter.offset(), fill + length);
        let code = emitter.finish().unwrap();
        let mut decoder = Decoder::with_ip(64, &code[fill..], fill as u64, DecoderOptions::NONE);
        assert_eq!(decoder.decode().near_branch_target(), 0);
    }
}

#[test]
fn an_unbound_label_is_found_at_the_end() {
    let mut emitter = Emitter::new();
    let label = emitter.label();
    emitter.jmp(label);
    assert_eq!(emitter.finish(), Err(EmitterError::Unbound { at: 1 }));
    emitter.clear();
    assert_eq!(emitter.finish(), Ok(&[][..]));
}

#[test]
fn patchable_jumps_are_aligned_and_lead_on_at_first() {
    for before in 0..4 {
        let mut emitter = Emitter::new();
        (0..before).for_each(|_| emitter.ret());
        let site = emitter.jmp_to_patch();
        assert!(site.is_multiple_of(4) && site == emitter.offset() - 4);
        assert_eq!(emitter.finish().unwrap()[site - 1..], [0xE9, 0, 0, 0, 0]);
    }
}

#[cfg(target_arch = "x86_64")]
mod execution;
