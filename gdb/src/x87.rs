//! The x87 unit as gdb has it: registers counted from the top of the stack, and a full tag word.

use trimotor_cpu::arch_state::X87Arch;

/// Tag of an empty register (SDM Vol. 1, "x87 FPU Tag Word").
const EMPTY: u16 = 3;
/// Tag of a NaN, an infinity, a denormal, or an unsupported format.
const SPECIAL: u16 = 2;
const ZERO: u16 = 1;
const VALID: u16 = 0;

/// The physical number of ST(n).
pub fn physical(x87: &X87Arch, n: usize) -> usize {
    (usize::from(x87.status >> 11) + n) & 7
}

/// The tag word, two bits a physical register.
pub fn tag_word(x87: &X87Arch) -> u16 {
    (0..8).map(|n| tag(x87, n) << (2 * n)).fold(0, |word, tag| word | tag)
}

/// Takes a tag word: of each register only whether it is empty is kept, as FLDENV does.
pub fn set_tag_word(x87: &mut X87Arch, word: u16) {
    x87.empty = (0..8).filter(|n| word >> (2 * n) & 3 == EMPTY).fold(0, |empty, n| empty | 1 << n);
}

fn tag(x87: &X87Arch, n: usize) -> u16 {
    if x87.empty >> n & 1 != 0 {
        return EMPTY;
    }
    let [significand @ .., low, high] = x87.regs[n];
    let exponent = u16::from_le_bytes([low, high]) & 0x7FFF;
    let significand = u64::from_le_bytes(significand);
    match (exponent, significand) {
        (0, 0) => ZERO,
        (0 | 0x7FFF, _) => SPECIAL,
        (_, significand) if significand >> 63 == 0 => SPECIAL,
        _ => VALID,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_cpu::CpuState;

    #[test]
    fn tags_follow_from_what_registers_hold() {
        let mut x87 = CpuState::at_reset(0x600).to_arch().x87;
        x87.status = 6 << 11;
        assert_eq!((physical(&x87, 0), physical(&x87, 3)), (6, 1));
        x87.empty = 0b1110_0000;
        // One, zero, infinity, a denormal, an unnormal.
        for (n, (exponent, significand)) in
            [(0x3FFF, 1 << 63), (0, 0), (0x7FFF, 1 << 63), (0, 1), (1, 1u64)].into_iter().enumerate()
        {
            x87.regs[n][..8].copy_from_slice(&u64::to_le_bytes(significand));
            x87.regs[n][8..].copy_from_slice(&u16::to_le_bytes(exponent));
        }
        let word = 0b11_11_11_10_10_10_01_00;
        assert_eq!(tag_word(&x87), word);
        x87.empty = 0;
        set_tag_word(&mut x87, word);
        assert_eq!(x87.empty, 0b1110_0000);
    }
}
