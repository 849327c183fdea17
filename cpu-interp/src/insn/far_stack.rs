//! A cursor over a stack that far transfers push to and pop from before anything is committed.

use crate::access::By;
use crate::core::Core;
use trimotor_cpu::{Fault, SegReg, Segment};

/// A stack with its own pointer; the registers stay as they are until [`Stack::commit`].
#[derive(Clone, Copy)]
pub(crate) struct Stack {
    /// SS.
    pub(crate) segment: Segment,
    /// RSP.
    pub(crate) sp: u64,
    /// 64-bit stack: no segmentation.
    pub(crate) long: bool,
    /// Whose rights accesses have.
    pub(crate) cpl: u8,
    /// Error code of #SS: zero, or the new stack's selector.
    code: u16,
}

impl Stack {
    /// The stack in use.
    pub(crate) fn current(core: &Core) -> Stack {
        Stack {
            segment: *core.state.seg(SegReg::Ss),
            sp: core.state.gpr(4),
            long: core.state.is_64bit_code(),
            cpl: core.state.cpl,
            code: 0,
        }
    }
    /// The stack that a transfer switches to.
    pub(crate) fn switched(segment: Segment, sp: u64, cpl: u8, long: bool) -> Stack {
        let code = if long { 0 } else { segment.selector & !3 };
        Stack { segment, sp, long, cpl, code }
    }

    /// All ones as wide as the stack pointer.
    pub(crate) fn mask(&self) -> u64 {
        match (self.long, self.segment.is_32bit()) {
            (true, _) => u64::MAX,
            (_, true) => 0xFFFF_FFFF,
            _ => 0xFFFF,
        }
    }
    fn moved(&self, by: u64) -> u64 {
        let mask = self.mask();
        let sp = self.sp.wrapping_add(by) & mask;
        if mask == 0xFFFF { self.sp & !mask | sp } else { sp }
    }
    /// Moves the pointer up.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.sp = self.moved(bytes);
    }

    fn linear(&self, core: &Core, offset: u64, bytes: u64, write: bool) -> Result<u64, Fault> {
        let fault = Err(Fault::ss(self.code));
        let last = offset.wrapping_add(bytes - 1);
        if self.long {
            let inside = core.canonical(offset) && core.canonical(last);
            return if inside { Ok(offset) } else { fault };
        }
        let s = &self.segment;
        if core.state.protected() && !core.state.v86() && write && s.attributes & Segment::RW == 0 {
            return fault;
        }
        let limit = s.limit as u64;
        let inside = if s.attributes & (Segment::CODE | Segment::DC) == Segment::DC {
            offset > limit && last <= if s.is_32bit() { 0xFFFF_FFFF } else { 0xFFFF }
        } else {
            last <= limit
        };
        if inside { Ok(s.base.wrapping_add(offset) & 0xFFFF_FFFF) } else { fault }
    }

    /// Pushes the low `bytes` (2, 4 or 8) bytes of `value`.
    ///
    /// # Faults
    /// #SS by limit or canonical form, #PF.
    pub(crate) fn push(&mut self, core: &mut Core, value: u64, bytes: u64) -> Result<(), Fault> {
        let sp = self.moved(bytes.wrapping_neg());
        let at = self.linear(core, sp & self.mask(), bytes, true)?;
        if self.cpl == core.state.cpl {
            let by = if self.long { By::Frame } else { By::Instruction };
            match bytes {
                2 => core.write_linear_by(at, value as u16, by)?,
                4 => core.write_linear_by(at, value as u32, by)?,
                _ => core.write_linear_by(at, value, by)?,
            }
        } else {
            match bytes {
                2 => core.write_system(at, value as u16)?,
                4 => core.write_system(at, value as u32)?,
                _ => core.write_system(at, value)?,
            }
        }
        self.sp = sp;
        Ok(())
    }

    /// Reads `bytes` (2, 4 or 8) bytes at `offset` above the pointer, which does not move.
    ///
    /// # Faults
    /// #SS by limit or canonical form, #PF.
    pub(crate) fn peek(&self, core: &mut Core, offset: u64, bytes: u64) -> Result<u64, Fault> {
        let at = self.linear(core, self.moved(offset) & self.mask(), bytes, false)?;
        Ok(match bytes {
            2 => core.read_linear::<u16>(at)? as u64,
            4 => core.read_linear::<u32>(at)? as u64,
            _ => core.read_linear::<u64>(at)?,
        })
    }
    /// Pops `bytes` (2, 4 or 8) bytes.
    ///
    /// # Faults
    /// #SS by limit or canonical form, #PF.
    pub(crate) fn pop(&mut self, core: &mut Core, bytes: u64) -> Result<u64, Fault> {
        let value = self.peek(core, 0, bytes)?;
        self.skip(bytes);
        Ok(value)
    }

    /// Makes this the CPU's stack.
    pub(crate) fn commit(&self, core: &mut Core) {
        core.state.segments[SegReg::Ss as usize] = self.segment;
        core.state.set_gpr(4, self.sp);
    }
}
