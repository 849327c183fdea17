//! The names of the operations, on hosts without an x87 unit: what they compute follows from the
//! opcode, see [`super::soft`].

/// An operation of two operands whose result takes the place of the first.
pub trait Arithmetic {}

/// One instruction with fixed operands.
pub trait Kernel {}

macro_rules! names {
    ($trait:ident: $($name:ident)+) => { $(
        #[doc = concat!("The operation of ", stringify!($name), ".")]
        pub struct $name;
        impl $trait for $name {}
    )+ };
}

names! { Arithmetic: Fadd Fmul Fsub Fsubr Fdiv Fdivr Fcom Fucom }

names! {
    Kernel: LoadM32 LoadM64 LoadI16 LoadI32 LoadI64 LoadBcd
        StoreM32 StoreM64 StoreI16 StoreI32 StoreI64 StoreBcd TruncateI16 TruncateI32 TruncateI64
        Fsqrt Frndint Fsin Fcos F2xm1 Ftst Fxam Fscale Fprem Fprem1 Fyl2x Fyl2xp1 Fpatan
}
