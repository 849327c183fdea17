//! How an operation becomes the host's own instruction, or its portable definition.

/// What an operation of this module computes: the host's instruction of the type on these operands, or the
/// portable definition.
macro_rules! host_or_portable {
    ($($operand:expr),+) => {{
        #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
        {
            Self::host($($operand),+)
        }
        #[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
        {
            super::environment::with(|environment| Self::portable(environment, $($operand),+))
        }
    }};
}

/// Types that implement [`Unary`] by the instruction of the given mnemonic, or by the portable definition.
macro_rules! unary {
    ($($name:ident $mnemonic:literal $results:expr => $portable:expr;)*) => {
        $(
            #[doc = concat!("`", $mnemonic, "`.")]
            pub struct $name;
            impl $name {
                #[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
                #[inline(always)]
                fn host(source: Xmm) -> Xmm {
                    let result;
                    // SAFETY: touches its operand registers and the flags of MXCSR only.
                    unsafe {
                        std::arch::asm!(
                            concat!($mnemonic, " {result}, {source}"),
                            result = lateout(xmm_reg) result,
                            source = in(xmm_reg) source,
                            options(nomem, nostack, preserves_flags)
                        )
                    };
                    result
                }
                #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
                fn portable(environment: &mut Environment, source: Xmm) -> Xmm {
                    $portable(environment, source)
                }
            }
            impl Unary for $name {
                const RESULTS: Results = $results;
                #[inline(always)]
                fn apply(source: Xmm) -> Xmm {
                    host_or_portable!(source)
                }
            }
        )*
        /// Each operation of one operand, by the host and portable.
        #[cfg(all(test, target_arch = "x86_64"))]
        pub(super) const UNARY: &[super::against_host::UnaryCase] =
            &[$((stringify!($name), $name::host, $name::portable),)*];
    };
}

/// Types that implement [`Binary`] by the (two-operand) instruction of the given mnemonic, or by the portable
/// definition.
macro_rules! binary {
    ($($name:ident $mnemonic:literal $results:expr => $portable:expr;)*) => {
        $(
            #[doc = concat!("`", $mnemonic, "`.")]
            pub struct $name;
            impl $name {
                #[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
                #[inline(always)]
                fn host(first: Xmm, second: Xmm) -> Xmm {
                    let result;
                    // SAFETY: touches its operand registers and the flags of MXCSR only.
                    unsafe {
                        std::arch::asm!(
                            concat!($mnemonic, " {first}, {second}"),
                            first = inlateout(xmm_reg) first => result,
                            second = in(xmm_reg) second,
                            options(nomem, nostack, preserves_flags)
                        )
                    };
                    result
                }
                #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
                fn portable(environment: &mut Environment, first: Xmm, second: Xmm) -> Xmm {
                    $portable(environment, first, second)
                }
            }
            impl Binary for $name {
                const RESULTS: Results = $results;
                #[inline(always)]
                fn apply(first: Xmm, second: Xmm) -> Xmm {
                    host_or_portable!(first, second)
                }
            }
        )*
        /// Each operation of two operands, by the host and portable.
        #[cfg(all(test, target_arch = "x86_64"))]
        pub(super) const BINARY: &[super::against_host::BinaryCase] =
            &[$((stringify!($name), $name::host, $name::portable),)*];
    };
}

/// Calls a function that has the immediate as its first const argument, for an immediate
/// known at run time only.
#[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
macro_rules! with_immediate {
    ($imm:expr, [$($value:literal)*], $function:ident $arguments:tt) => {
        match $imm {
            $($value => $function::<$value> $arguments,)*
            _ => unreachable!("the immediate is masked to the values listed"),
        }
    };
}

#[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
pub(super) use with_immediate;
pub(super) use {binary, host_or_portable, unary};
