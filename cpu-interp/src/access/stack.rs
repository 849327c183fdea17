//! The stack as pushes and pops use it.

use super::Guest;
use crate::core::{Core, mode};
use crate::op::Done;
use trimotor_cpu::mmu::Access;
use trimotor_cpu::{Fault, SegReg};

impl Core {
    /// RSP, ESP or SP as pushes use it.
    #[inline(always)]
    pub fn stack_pointer(&self) -> u64 {
        self.reg64(trimotor_cpu::state::reg_file::RSP) & self.stack_mask()
    }
    /// All ones as wide as the stack pointer.
    #[inline(always)]
    pub fn stack_mask(&self) -> u64 {
        let m = self.state.mode;
        if m & mode::CODE_SIZE == mode::CODE64 {
            u64::MAX
        } else if m & mode::STACK32 != 0 {
            0xFFFF_FFFF
        } else {
            0xFFFF
        }
    }
    /// Sets the stack pointer; bits above its width stay.
    #[inline(always)]
    pub fn set_stack_pointer(&mut self, value: u64) {
        let mask = self.stack_mask();
        let rsp = &mut self.state.reg_file[4];
        *rsp = if mask == 0xFFFF { *rsp & !mask | value & mask } else { value & mask };
    }
    /// Stores below the stack pointer and moves it.
    ///
    /// # Faults
    /// #SS(0), #PF; the stack pointer is then unchanged.
    #[inline]
    pub fn push<T: Guest>(&mut self, value: T) -> Done {
        let bytes = size_of::<T>() as u64;
        let sp = self.stack_pointer().wrapping_sub(bytes) & self.stack_mask();
        let linear = self.segment_linear(SegReg::Ss, sp, bytes, Access::Write)?;
        self.write_linear(linear, value)?;
        self.set_stack_pointer(sp);
        Ok(())
    }
    /// Loads from the stack pointer plus `offset`, and does not move it.
    ///
    /// # Faults
    /// #SS(0), #PF.
    #[inline]
    pub fn peek<T: Guest>(&mut self, offset: u64) -> Result<T, Fault> {
        let sp = self.stack_pointer().wrapping_add(offset) & self.stack_mask();
        let linear = self.segment_linear(SegReg::Ss, sp, size_of::<T>() as u64, Access::Read)?;
        self.read_linear(linear)
    }
    /// Moves the stack pointer up by `bytes`.
    #[inline]
    pub fn drop_stack(&mut self, bytes: u64) {
        let sp = self.stack_pointer().wrapping_add(bytes);
        self.set_stack_pointer(sp);
    }
}
