//! How an operation becomes the host's own instruction.
//!
//! On an x86-64 host each operation below is one instruction of the same name; on other
//! hosts it is its `portable` definition, which reads like the manual. Tests hold the two
//! against each other. SSE4.2 is the least that an x86-64 host must have; what lies above
//! (AES, SHA, carry-less multiplication) is asked for at run time.

/// Two-operand operations `name = |a, b| portable definition`, `a` being the destination's
/// old value as in the manual's legacy form.
macro_rules! binary {
    ($($(#[doc = $doc:literal])+ $name:ident = $portable:expr;)+) => {
        $(
            $(#[doc = $doc])+
            #[inline(always)]
            pub fn $name(a: V128, b: V128) -> V128 {
                #[cfg(target_arch = "x86_64")]
                {
                    let mut result = a.0;
                    // SAFETY: reads and writes vector registers only.
                    unsafe {
                        core::arch::asm!(concat!(stringify!($name), " {0}, {1}"),
                            inout(xmm_reg) result, in(xmm_reg) b.0,
                            options(pure, nomem, nostack, preserves_flags));
                    }
                    V128(result)
                }
                #[cfg(not(target_arch = "x86_64"))]
                portable::$name(a, b)
            }
        )+
        /// The same operations, spelled out.
        #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
        mod portable {
            use super::*;
            $(
                pub fn $name(a: V128, b: V128) -> V128 {
                    let operation: fn(V128, V128) -> V128 = $portable;
                    operation(a, b)
                }
            )+
        }
        #[cfg(all(test, target_arch = "x86_64"))]
        mod against_the_host {
            #[test]
            fn binary_operations_are_the_hosts() {
                $(crate::simd::int::host::compare_binary(stringify!($name), super::$name, super::portable::$name);)+
            }
        }
    };
}

/// One-operand operations `name = |a| portable definition`.
macro_rules! unary {
    ($($(#[doc = $doc:literal])+ $name:ident = $portable:expr;)+) => {
        $(
            $(#[doc = $doc])+
            #[inline(always)]
            pub fn $name(a: V128) -> V128 {
                #[cfg(target_arch = "x86_64")]
                {
                    let result;
                    // SAFETY: reads and writes vector registers only.
                    unsafe {
                        core::arch::asm!(concat!(stringify!($name), " {0}, {1}"),
                            lateout(xmm_reg) result, in(xmm_reg) a.0,
                            options(pure, nomem, nostack, preserves_flags));
                    }
                    V128(result)
                }
                #[cfg(not(target_arch = "x86_64"))]
                portable_unary::$name(a)
            }
        )+
        /// The same operations of one operand, spelled out.
        #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
        mod portable_unary {
            use super::*;
            $(
                pub fn $name(a: V128) -> V128 {
                    let operation: fn(V128) -> V128 = $portable;
                    operation(a)
                }
            )+
        }
        #[cfg(all(test, target_arch = "x86_64"))]
        mod unary_against_the_host {
            #[test]
            fn unary_operations_are_the_hosts() {
                $(crate::simd::int::host::compare_unary(stringify!($name), super::$name, super::portable_unary::$name);)+
            }
        }
    };
}

/// Operations beyond the x86-64 host's baseline: its instruction where `$feature` is there,
/// else the function of that name in `portable`.
#[allow(unused_macro_rules)]
macro_rules! detected {
    ($feature:tt: $($(#[doc = $doc:literal])+ $name:ident($($operand:ident),+) = $instruction:expr;)+) => {
        $(
            $(#[doc = $doc])+
            #[inline(always)]
            pub fn $name(a: V128, $($operand: V128),+) -> V128 {
                #[cfg(target_arch = "x86_64")]
                if std::arch::is_x86_feature_detected!($feature) {
                    let mut result = a.0;
                    // SAFETY: reads and writes vector registers only; the instruction is there.
                    unsafe {
                        crate::simd::int::host::issue!($instruction, result, $($operand),+);
                    }
                    return V128(result);
                }
                // By value: a caller that tail-calls must not have its vectors' addresses taken.
                #[cold]
                #[inline(never)]
                fn fallback(a: u128, $($operand: u128),+) -> u128 {
                    portable::$name(V128::from(a), $(V128::from($operand)),+).bits()
                }
                V128::from(fallback(a.bits(), $($operand.bits()),+))
            }
        )+
        #[cfg(all(test, target_arch = "x86_64"))]
        mod against_the_host {
            #[test]
            fn portable_operations_are_the_hosts() {
                use trimotor_test_needs::{host_cpu, skip};
                if skip(host_cpu($feature, std::arch::is_x86_feature_detected!($feature))) {
                    return;
                }
                let mut vectors = crate::simd::int::host::Vectors::new();
                for _ in 0..1000 {
                    $(
                        let a = vectors.vector();
                        $(let $operand = vectors.vector();)+
                        let expected = super::$name(a, $($operand),+);
                        assert_eq!(super::portable::$name(a, $($operand),+), expected, stringify!($name));
                    )+
                }
            }
        }
    };
}

/// Issues an instruction of two operands, or of three whose last is XMM0.
#[cfg(target_arch = "x86_64")]
macro_rules! issue {
    ($instruction:expr, $result:ident, $b:ident) => {
        core::arch::asm!(concat!($instruction, " {0}, {1}"), inout(xmm_reg) $result, in(xmm_reg) $b.0,
            options(pure, nomem, nostack, preserves_flags))
    };
    ($instruction:expr, $result:ident, $b:ident, $c:ident) => {
        core::arch::asm!(concat!($instruction, " {0}, {1}, xmm0"), inout(xmm_reg) $result,
            in(xmm_reg) $b.0, in("xmm0") $c.0,
            options(pure, nomem, nostack, preserves_flags))
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) use issue;
pub(super) use {binary, detected, unary};

use super::v128::{Lane, V128};

/// Applies `f` lane by lane.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "two arrays by one index")]
pub(super) fn zip<T: Copy, const N: usize>(a: V128, b: V128, f: impl Fn(T, T) -> T) -> V128
where
    [T; N]: Lane,
{
    let (x, y): ([T; N], [T; N]) = (a.lanes(), b.lanes());
    // A plain loop: closures in `array::from_fn` are not always inlined into handlers.
    let mut result = x;
    for i in 0..N {
        result[i] = f(x[i], y[i]);
    }
    V128::from_lanes(result)
}

/// Applies `f` to each lane.
#[inline(always)]
pub(super) fn map<T: Copy, const N: usize>(a: V128, f: impl Fn(T) -> T) -> V128
where
    [T; N]: Lane,
{
    V128::from_lanes::<[T; N]>(a.lanes::<[T; N]>().map(f))
}

/// Reproducible vectors for tests: random bits mixed with the values at which lanes
/// saturate, overflow or change sign.
#[cfg(test)]
pub(crate) struct Vectors(u64);

#[cfg(test)]
impl Vectors {
    pub(crate) fn new() -> Vectors {
        Vectors(0x9E37_79B9_7F4A_7C15)
    }
    pub(crate) fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    pub(crate) fn vector(&mut self) -> V128 {
        let special = [0u8, 1, 0x7F, 0x80, 0x81, 0xFF, 0xFE, 0x40];
        let choice = self.word();
        let mut bytes: [u8; 16] = V128::from_lanes([self.word(), self.word()]).lanes();
        for byte in &mut bytes {
            let pick = self.word();
            match choice % 4 {
                0 => *byte = special[(pick % 8) as usize],
                1 if pick & 1 != 0 => *byte = special[(pick >> 1 & 7) as usize],
                _ => {}
            }
        }
        if choice >> 8 & 7 == 0 {
            bytes[1..].fill(0);
            bytes[0] %= 80;
        }
        V128::from_lanes(bytes)
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) fn compare_binary(name: &str, host: fn(V128, V128) -> V128, portable: fn(V128, V128) -> V128) {
    let mut vectors = Vectors::new();
    for _ in 0..4000 {
        let (a, b) = (vectors.vector(), vectors.vector());
        let (b, expected) = if vectors.word() & 15 == 0 { (a, host(a, a)) } else { (b, host(a, b)) };
        assert_eq!(portable(a, b), expected, "{name} {a:?}, {b:?}");
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) fn compare_unary(name: &str, host: fn(V128) -> V128, portable: fn(V128) -> V128) {
    let mut vectors = Vectors::new();
    for _ in 0..4000 {
        let a = vectors.vector();
        assert_eq!(portable(a), host(a), "{name} {a:?}");
    }
}
