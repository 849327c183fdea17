//! Pairs of register ops: a block must do what its instructions do one at a time.

use super::rig::*;

/// Each instruction that takes part, with RAX and RBX or ECX, in 32 and 64 bits.
const MEMBERS: [&[u8]; 13] = [
    &[0x89, 0xD8],               // mov eax, ebx
    &[0x01, 0xD8],               // add eax, ebx
    &[0x29, 0xC3],               // sub ebx, eax
    &[0x21, 0xD8],               // and eax, ebx
    &[0x09, 0xC3],               // or ebx, eax
    &[0x31, 0xD8],               // xor eax, ebx
    &[0x81, 0xC0, 1, 0, 0, 128], // add eax, 80000001h
    &[0x83, 0xE3, 0xF1],         // and ebx, -15
    &[0xC1, 0xC0, 7],            // rol eax, 7
    &[0xC1, 0xCB, 1],            // ror ebx, 1
    &[0xC1, 0xE0, 4],            // shl eax, 4
    &[0xC1, 0xE8, 32],           // shr eax, 32: nothing, in 32 bits
    &[0xC1, 0xEB, 3],            // shr ebx, 3
];

#[test]
fn pairs_do_what_single_instructions_do() {
    let mut r = Rig::long();
    for wide in [false, true] {
        for (n, first) in MEMBERS.iter().enumerate() {
            for (m, second) in MEMBERS.iter().enumerate() {
                let prefix: &[u8] = if wide { &[0x48] } else { &[] };
                let code = [prefix, first, prefix, second, &[0xF4]].concat();
                let values = [0x8123_4567_89AB_CDEFu64.rotate_left(n as u32), 0xFEDC_BA98u64 << m];
                let mut run = |budget: u64| {
                    r.write(CODE, &code);
                    r.change(|s| {
                        (s.gpr[0], s.gpr[3], s.rip) = (values[0], values[1], CODE);
                        s.rflags = 0x897;
                        s.activity = trimotor_cpu::state::Activity::Active;
                    });
                    for _ in 0..3 {
                        r.vcpu.run(&mut r.bus, budget);
                    }
                    let s = r.state();
                    (s.gpr, s.rflags, s.rip)
                };
                assert_eq!(run(100), run(1), "{code:x?}");
            }
        }
    }
}
