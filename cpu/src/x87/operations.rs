//! The operations of the x87 unit on its state: the fast way through a kernel, or the whole
//! instruction on the host where an exception is unmasked or a register empty.
//!
//! The host's sticky flags are not cleared before an operation, which would cost more than
//! the operation. If the status word afterwards shows only flags that the guest has set
//! already, its flags are right whatever the host's were before. Otherwise the host's
//! flags are cleared and the operation is done once more: they are sticky in the guest too,
//! so that this happens once for each flag that the guest clears.
//!
//! Const parameter `OPCODE` is that of [`host::execute`](super::host::execute).

#![allow(unsafe_code, reason = "kernels take pointers to operands")]

use super::host::execute;
use super::kernels::{Arithmetic, Kernel, clear_flags, compare_to_flags, set_control};
pub use super::whole::{Memory, Stored};
use super::{control, status};
use crate::flags::ArithFlags;
use crate::state::X87State;

/// The bits of the status word that an operation defines besides the exceptions.
const ROUNDED_UP: u16 = status::C1;

/// The form of a second operand in memory.
pub trait Operand {
    /// The kernel of `A` for this form.
    ///
    /// # Safety
    /// See [`super::kernels`].
    unsafe fn run<A: Arithmetic>(destination: *mut u8, source: *const u8) -> u16;
}

macro_rules! operand {
    ($($(#[$doc:meta])* $name:ident: $kernel:ident;)+) => { $(
        $(#[$doc])*
        pub struct $name;
        impl Operand for $name {
            #[inline(always)]
            unsafe fn run<A: Arithmetic>(destination: *mut u8, source: *const u8) -> u16 {
                // SAFETY: as the caller promises.
                unsafe { A::$kernel(destination, source) }
            }
        }
    )+ };
}

operand! {
    /// Single precision.
    M32: m32;
    /// Double precision.
    M64: m64;
    /// Word integer.
    I16: i16;
    /// Doubleword integer.
    I32: i32;
}

impl X87State {
    #[inline(always)]
    fn masked(&self) -> bool {
        self.control & control::MASKS == control::MASKS
    }

    /// Runs `kernel` under the guest's rounding and precision.
    #[inline(always)]
    fn with_modes(&self, kernel: impl Fn() -> u16) -> u16 {
        if self.control & control::MODES == control::INIT & control::MODES {
            return kernel();
        }
        set_control(self.control | control::MASKS);
        let status = kernel();
        set_control(control::INIT);
        status
    }

    /// Runs a kernel whose destination is register `destination`, and takes the flags and those
    /// condition codes in `taken`.
    #[inline(always)]
    fn in_place(
        &mut self,
        destination: usize,
        source: *const u8,
        taken: u16,
        kernel: impl Fn(*mut u8, *const u8) -> u16,
    ) {
        let register = (&raw mut self.regs[destination]).cast::<u8>();
        // Read in the two pieces that FSTP writes, so that the stores are forwarded.
        // SAFETY: a register has 16 bytes.
        let before = unsafe { (register.cast::<u64>().read(), register.add(8).cast::<u16>().read()) };
        let mut word = self.with_modes(|| kernel(register, source));
        if word & status::EXCEPTIONS & !self.status != 0 {
            clear_flags();
            // SAFETY: as above.
            unsafe {
                register.cast::<u64>().write(before.0);
                register.add(8).cast::<u16>().write(before.1);
            }
            word = self.with_modes(|| kernel(register, source));
        }
        self.status = self.status & !taken | word & (status::EXCEPTIONS | taken);
    }

    /// ST0 op memory.
    #[inline(always)]
    pub fn arithmetic_memory<A: Arithmetic, F: Operand, const OPCODE: u16>(&mut self, value: &mut Memory) {
        let st0 = self.physical(0);
        if !self.masked() || self.empty >> st0 & 1 != 0 {
            execute::<OPCODE>(self, 1, ArithFlags(0), value);
            return;
        }
        // SAFETY: the operand is a register, the source has 16 bytes.
        self.in_place(st0, value.as_ptr(), ROUNDED_UP, |d, s| unsafe { F::run::<A>(d, s) });
    }

    /// ST0 op ST(i), result in ST0.
    #[inline(always)]
    pub fn arithmetic_st0<A: Arithmetic, const OPCODE: u16>(&mut self, i: u8) {
        let (st0, sti) = (self.physical(0), self.physical(i));
        if !self.masked() || (self.empty >> st0 | self.empty >> sti) & 1 != 0 {
            execute::<OPCODE>(self, i, ArithFlags(0), &mut [0; 16]);
            return;
        }
        let source = (&raw const self.regs[sti]).cast();
        // SAFETY: both are registers.
        self.in_place(st0, source, ROUNDED_UP, |d, s| unsafe { A::st(d, s) });
    }

    /// ST(i) op ST0, result in ST(i); then a pop if `POP`.
    #[inline(always)]
    pub fn arithmetic_sti<A: Arithmetic, const OPCODE: u16, const POP: bool>(&mut self, i: u8) {
        let (st0, sti) = (self.physical(0), self.physical(i));
        if !self.masked() || (self.empty >> st0 | self.empty >> sti) & 1 != 0 {
            execute::<OPCODE>(self, i, ArithFlags(0), &mut [0; 16]);
            return;
        }
        let source = (&raw const self.regs[st0]).cast();
        // SAFETY: both are registers.
        self.in_place(sti, source, ROUNDED_UP, |d, s| unsafe { A::st(d, s) });
        if POP {
            self.drop_top();
        }
    }

    /// Compares ST0 with memory; then a pop if `POP`.
    #[inline(always)]
    pub fn compare_memory<A: Arithmetic, F: Operand, const OPCODE: u16, const POP: bool>(
        &mut self,
        value: &mut Memory,
    ) {
        let st0 = self.physical(0);
        if !self.masked() || self.empty >> st0 & 1 != 0 {
            execute::<OPCODE>(self, 1, ArithFlags(0), value);
            return;
        }
        // SAFETY: the operand is a register, the source has 16 bytes.
        self.in_place(st0, value.as_ptr(), status::CC, |d, s| unsafe { F::run::<A>(d, s) });
        if POP {
            self.drop_top();
        }
    }

    /// Compares ST0 with ST(i); then `POPS` pops.
    #[inline(always)]
    pub fn compare_st<A: Arithmetic, const OPCODE: u16, const POPS: u8>(&mut self, i: u8) {
        let (st0, sti) = (self.physical(0), self.physical(i));
        if !self.masked() || (self.empty >> st0 | self.empty >> sti) & 1 != 0 {
            execute::<OPCODE>(self, i, ArithFlags(0), &mut [0; 16]);
            return;
        }
        let source = (&raw const self.regs[sti]).cast();
        // SAFETY: both are registers.
        self.in_place(st0, source, status::CC, |d, s| unsafe { A::st(d, s) });
        for _ in 0..POPS {
            self.drop_top();
        }
    }

    /// FCOMI, FUCOMI; then a pop if `POP`. Takes and returns the arithmetic flags.
    pub fn compare_flags<const OPCODE: u16, const UNORDERED: bool, const POP: bool>(
        &mut self,
        i: u8,
        flags: ArithFlags,
    ) -> ArithFlags {
        let (st0, sti) = (self.physical(0), self.physical(i));
        if !self.masked() || (self.empty >> st0 | self.empty >> sti) & 1 != 0 {
            return execute::<OPCODE>(self, i, flags, &mut [0; 16]);
        }
        let (a, b) = ((&raw const self.regs[st0]).cast(), (&raw const self.regs[sti]).cast());
        // SAFETY: both are registers.
        let (mut word, mut after) = unsafe { compare_to_flags::<UNORDERED>(a, b, flags.0) };
        if word & status::EXCEPTIONS & !self.status != 0 {
            clear_flags();
            // SAFETY: as above.
            (word, after) = unsafe { compare_to_flags::<UNORDERED>(a, b, flags.0) };
        }
        self.status = self.status & !status::C1 | word & (status::EXCEPTIONS | status::C1);
        if POP {
            self.drop_top();
        }
        ArithFlags(after & ArithFlags::ALL)
    }

    /// An operation on ST0 alone; `TAKEN` are the condition codes that it defines.
    #[inline(always)]
    pub fn unary<K: Kernel, const OPCODE: u16, const TAKEN: u16>(&mut self) {
        let st0 = self.physical(0);
        if !self.masked() || self.empty >> st0 & 1 != 0 {
            execute::<OPCODE>(self, 1, ArithFlags(0), &mut [0; 16]);
            return;
        }
        // SAFETY: the operand is a register, and the kernel has no source.
        self.in_place(st0, std::ptr::null(), TAKEN, |d, s| unsafe { K::run(d, s) });
    }

    /// An operation on ST0 and ST1, with its result in ST0.
    #[inline(always)]
    pub fn binary<K: Kernel, const OPCODE: u16, const TAKEN: u16>(&mut self) {
        let (st0, st1) = (self.physical(0), self.physical(1));
        if !self.masked() || (self.empty >> st0 | self.empty >> st1) & 1 != 0 {
            execute::<OPCODE>(self, 1, ArithFlags(0), &mut [0; 16]);
            return;
        }
        let source = (&raw const self.regs[st1]).cast();
        // SAFETY: both are registers.
        self.in_place(st0, source, TAKEN, |d, s| unsafe { K::run(d, s) });
    }

    /// An operation on ST0 and ST1 that leaves its result in ST1 and pops.
    #[inline(always)]
    pub fn binary_pop<K: Kernel, const OPCODE: u16>(&mut self) {
        let (st0, st1) = (self.physical(0), self.physical(1));
        if !self.masked() || (self.empty >> st0 | self.empty >> st1) & 1 != 0 {
            execute::<OPCODE>(self, 1, ArithFlags(0), &mut [0; 16]);
            return;
        }
        let source = (&raw const self.regs[st0]).cast();
        // SAFETY: both are registers.
        self.in_place(st1, source, ROUNDED_UP, |d, s| unsafe { K::run(d, s) });
        self.drop_top();
    }

    /// Pushes what a load makes of `value`.
    #[inline(always)]
    pub fn load<K: Kernel, const OPCODE: u16>(&mut self, value: &mut Memory) {
        let new = self.physical(7);
        if !self.masked() || self.empty >> new & 1 == 0 {
            execute::<OPCODE>(self, 1, ArithFlags(0), value);
            return;
        }
        // SAFETY: the destination is a register, the source has 16 bytes.
        self.in_place(new, value.as_ptr(), ROUNDED_UP, |d, s| unsafe { K::run(d, s) });
        self.top = new as u8;
        self.empty &= !(1 << new);
    }

    /// What a store of ST0 puts into memory, and what is to be committed afterwards.
    #[inline(always)]
    pub fn store<K: Kernel, const OPCODE: u16>(&self, into: &mut Memory) -> Stored {
        let st0 = self.physical(0);
        if !self.masked() || self.empty >> st0 & 1 != 0 {
            return self.store_whole::<OPCODE>(into);
        }
        let source = (&raw const self.regs[st0]).cast::<u8>();
        let destination = into.as_mut_ptr();
        // SAFETY: the source is a register, the destination has 16 bytes.
        let run = || self.with_modes(|| unsafe { K::run(destination, source) });
        let mut word = run();
        if word & status::EXCEPTIONS & !self.status != 0 {
            clear_flags();
            word = run();
        }
        Stored::Fast(self.status & !status::C1 | word & (status::EXCEPTIONS | status::C1))
    }
}
