//! x87 arithmetic and comparisons, and what all x87 instructions share.
//!
//! Bodies check for a pending exception, fetch the memory operand, and leave the rest to the
//! operations of [`X87State`](trimotor_cpu::state::X87State); see [`trimotor_cpu::x87`] for
//! how those get their results. Opcodes appear here as FOP has them: the low three bits of
//! the first byte and the ModRM byte, with 1 for the register number or the address.
//!
//! Source: SDM Vol. 1, Programming with the x87 FPU; Vol. 2.

use iced_x86::Code::{self, *};
use trimotor_cpu::registers::Cr0;
use trimotor_cpu::state::{Activity, Fpr};
use trimotor_cpu::x87::host::execute;
use trimotor_cpu::x87::kernels as k;
use trimotor_cpu::x87::kernels::Arithmetic;
use trimotor_cpu::x87::operations::{I16, I32, M32, M64, Memory, Operand};
use trimotor_cpu::x87::status;
use trimotor_cpu::{Fault, SegReg};

use crate::core::Core;
use crate::op::{Done, Handler, Op, Row, Unit, body, row};

impl Core {
    /// What a waiting x87 or MMX instruction does first: reports an exception that waits.
    ///
    /// # Faults
    /// #MF.
    #[inline(always)]
    pub fn waiting_x87(&mut self) -> Done {
        if self.state.x87.pending() { self.report_x87_error() } else { Ok(()) }
    }

    /// With CR0.NE the exception is #MF. Without, the processor asserts FERR#, which the board turns
    /// into IRQ 13, and stops before the instruction until an interrupt comes, unless the board
    /// asserts IGNNE#.
    #[cold]
    #[inline(never)]
    fn report_x87_error(&mut self) -> Done {
        if self.state.cr0.contains(Cr0::NE) {
            return Err(Fault::MF);
        }
        if self.on_bus(|bus| bus.set_ferr(true)) {
            return Ok(());
        }
        self.state.activity = Activity::Halted;
        let rip = self.current_rip();
        self.leave(rip)
    }

    /// After an instruction that may have cleared the errors: FERR# falls with them.
    pub(super) fn x87_errors_changed(&mut self) {
        if !self.state.cr0.contains(Cr0::NE) && !self.state.x87.pending() {
            self.on_bus(|bus| bus.set_ferr(false));
        }
    }

    /// Notes the instruction (FIP, FCS) and its memory operand (FDP, FDS), and, as processors
    /// have done since the Pentium 4, its opcode (FOP) where it raised an unmasked exception.
    #[inline(always)]
    pub(super) fn note_x87(&mut self, op: &Op) {
        self.state.x87.last_ip = self.this_rip(op);
        self.state.x87.last_cs = self.state.segments[SegReg::Cs as usize].selector;
        if op.has_mem() {
            self.state.x87.last_dp = self.effective(op);
            self.state.x87.last_ds = self.state.segments[op.segment() as usize % 6].selector;
        }
        if self.state.x87.pending() {
            self.note_x87_opcode(op);
        }
    }

    /// Reads the opcode from the instruction's bytes, past its prefixes.
    #[cold]
    #[inline(never)]
    fn note_x87_opcode(&mut self, op: &Op) {
        let cs = trimotor_cpu::state::reg_file::SEG_BASE + 8 * SegReg::Cs as u8;
        let start = self.reg64(cs).wrapping_add(self.this_rip(op));
        let mut first = None;
        for at in 0..op.len as u64 {
            // The instruction was fetched, so that this can fail only if its page went meanwhile;
            // then FOP stays.
            let Ok(byte) = self.read_linear::<u8>(start.wrapping_add(at)) else { return };
            if let Some(first) = first {
                self.state.x87.last_opcode = (first as u16 & 7) << 8 | byte as u16;
                return;
            }
            if byte & 0xF8 == 0xD8 {
                first = Some(byte);
            }
        }
    }

    /// Loads an `N`-byte operand.
    ///
    /// # Faults
    /// Those of the load.
    #[inline(always)]
    pub(super) fn load_x87<const N: usize>(&mut self, op: &Op) -> Result<Memory, Fault> {
        let value = self.load::<[u8; N]>(op)?;
        let mut wide = [0; 16];
        wide[..N].copy_from_slice(&value);
        Ok(wide)
    }
}

/// A row of an x87 instruction.
pub(super) const fn x87(code: Code, handler: Handler) -> Row {
    row(code, handler).unit(Unit::X87)
}

/// The register number of ST(i) among the operands: the one that is not the implied ST0.
#[inline(always)]
fn sti(op: &Op) -> u8 {
    op.r1 | op.r2
}

/// ST0 op memory.
fn memory<A: Arithmetic, F: Operand, const N: usize, const OPCODE: u16>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let mut value = core.load_x87::<N>(op)?;
    core.state.x87.arithmetic_memory::<A, F, OPCODE>(&mut value);
    core.note_x87(op);
    Ok(())
}

/// ST0 op ST(i).
fn st0<A: Arithmetic, const OPCODE: u16>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    core.state.x87.arithmetic_st0::<A, OPCODE>(sti(op));
    core.note_x87(op);
    Ok(())
}

/// ST(i) op ST0.
fn st_i<A: Arithmetic, const OPCODE: u16, const POP: bool>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    core.state.x87.arithmetic_sti::<A, OPCODE, POP>(sti(op));
    core.note_x87(op);
    Ok(())
}

/// FCOM, FCOMP, FICOM, FICOMP with memory.
fn compare_memory<F: Operand, const N: usize, const OPCODE: u16, const POP: bool>(
    core: &mut Core,
    op: &Op,
) -> Done {
    core.waiting_x87()?;
    let mut value = core.load_x87::<N>(op)?;
    core.state.x87.compare_memory::<k::Fcom, F, OPCODE, POP>(&mut value);
    core.note_x87(op);
    Ok(())
}

/// FCOM, FUCOM and their pops.
fn compare<A: Arithmetic, const OPCODE: u16, const POPS: u8>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    // FCOMPP and FUCOMPP have no operand: it is ST1.
    let i = if POPS == 2 { 1 } else { sti(op) };
    core.state.x87.compare_st::<A, OPCODE, POPS>(i);
    core.note_x87(op);
    Ok(())
}

/// FCOMI, FUCOMI and their pops.
fn compare_flags<const OPCODE: u16, const UNORDERED: bool, const POP: bool>(
    core: &mut Core,
    op: &Op,
) -> Done {
    core.waiting_x87()?;
    let flags = core.state.arith;
    core.state.arith = core.state.x87.compare_flags::<OPCODE, UNORDERED, POP>(sti(op), flags);
    core.note_x87(op);
    Ok(())
}

/// An operation on ST0.
fn unary<K: k::Kernel, const OPCODE: u16, const TAKEN: u16>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    core.state.x87.unary::<K, OPCODE, TAKEN>();
    core.note_x87(op);
    Ok(())
}

/// An operation on ST0 and ST1, result in ST0.
fn binary<K: k::Kernel, const OPCODE: u16, const TAKEN: u16>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    core.state.x87.binary::<K, OPCODE, TAKEN>();
    core.note_x87(op);
    Ok(())
}

/// FPREM and FPREM1. Where no quotient is computed (zeros, infinities, NaNs, what is unsupported)
/// its bits in the condition codes stay, which only the whole instruction knows.
fn remainder<K: k::Kernel, const OPCODE: u16>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let x = &mut core.state.x87;
    if is_normal(x.st(0)) && is_normal(x.st(1)) {
        x.binary::<K, OPCODE, { status::CC }>();
    } else {
        x.whole::<OPCODE>(1);
    }
    core.note_x87(op);
    Ok(())
}

/// Whether a register holds a normal number.
fn is_normal(r: &Fpr) -> bool {
    let exponent = u16::from_le_bytes([r.0[8], r.0[9]]) & 0x7FFF;
    r.0[7] & 0x80 != 0 && exponent != 0 && exponent != 0x7FFF
}

/// An operation on ST0 and ST1, result in ST1, and a pop.
fn binary_pop<K: k::Kernel, const OPCODE: u16>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    core.state.x87.binary_pop::<K, OPCODE>();
    core.note_x87(op);
    Ok(())
}

/// An instruction on registers, carried out whole.
pub(super) fn whole<const OPCODE: u16>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let i = if op.r1 | op.r2 == 0 && !names_a_register(OPCODE) { 1 } else { sti(op) };
    core.state.x87.whole::<OPCODE>(i);
    core.note_x87(op);
    Ok(())
}

/// Whether the low bits of an opcode are a register number.
const fn names_a_register(opcode: u16) -> bool {
    !(opcode >= 0x1E0 && opcode < 0x200)
}

/// FCHS and FABS: ST0's sign becomes `sign & MASK ^ FLIP`.
fn sign<const OPCODE: u16, const MASK: u8, const FLIP: u8>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let x = &mut core.state.x87;
    if x.is_empty(0) {
        x.whole::<OPCODE>(1);
    } else {
        let r = x.physical(0);
        x.regs[r].0[9] = x.regs[r].0[9] & (0x7F | MASK) ^ FLIP;
        x.status &= !status::C1;
    }
    core.note_x87(op);
    Ok(())
}

/// FCMOVcc.
fn fcmov<const OPCODE: u16, const CC: u8>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let (i, flags) = (sti(op), core.state.arith);
    let x = &mut core.state.x87;
    if x.is_empty(0) || x.is_empty(i) {
        execute::<OPCODE>(x, i, flags, &mut [0; 16]);
    } else {
        if flags.condition(CC) {
            let (to, from) = (x.physical(0), x.physical(i));
            x.regs[to] = x.regs[from];
        }
        x.status &= !status::C1;
    }
    core.note_x87(op);
    Ok(())
}

const C1: u16 = status::C1;
const C1_C2: u16 = status::C1 | status::C2;

macro_rules! arithmetic {
    ($name:ident, $reg:literal, $dcreg:literal,
     $m32:ident, $m64:ident, $i16:ident, $i32:ident, $st0:ident, $sti:ident, $pop:ident) => {
        [
            x87($m32, body(memory::<k::$name, M32, 4, { $reg << 3 | 1 }>)),
            x87($m64, body(memory::<k::$name, M64, 8, { 0x400 | $reg << 3 | 1 }>)),
            x87($i16, body(memory::<k::$name, I16, 2, { 0x600 | $reg << 3 | 1 }>)),
            x87($i32, body(memory::<k::$name, I32, 4, { 0x200 | $reg << 3 | 1 }>)),
            x87($st0, body(st0::<k::$name, { 0x0C0 | $reg << 3 | 1 }>)),
            x87($sti, body(st_i::<k::$name, { 0x4C0 | $dcreg << 3 | 1 }, false>)),
            x87($pop, body(st_i::<k::$name, { 0x6C0 | $dcreg << 3 | 1 }, true>)),
        ]
    };
}

const FORMS: &[[Row; 7]] = &[
    arithmetic!(
        Fadd,
        0,
        0,
        Fadd_m32fp,
        Fadd_m64fp,
        Fiadd_m16int,
        Fiadd_m32int,
        Fadd_st0_sti,
        Fadd_sti_st0,
        Faddp_sti_st0
    ),
    arithmetic!(
        Fmul,
        1,
        1,
        Fmul_m32fp,
        Fmul_m64fp,
        Fimul_m16int,
        Fimul_m32int,
        Fmul_st0_sti,
        Fmul_sti_st0,
        Fmulp_sti_st0
    ),
    arithmetic!(
        Fsub,
        4,
        5,
        Fsub_m32fp,
        Fsub_m64fp,
        Fisub_m16int,
        Fisub_m32int,
        Fsub_st0_sti,
        Fsub_sti_st0,
        Fsubp_sti_st0
    ),
    arithmetic!(
        Fsubr,
        5,
        4,
        Fsubr_m32fp,
        Fsubr_m64fp,
        Fisubr_m16int,
        Fisubr_m32int,
        Fsubr_st0_sti,
        Fsubr_sti_st0,
        Fsubrp_sti_st0
    ),
    arithmetic!(
        Fdiv,
        6,
        7,
        Fdiv_m32fp,
        Fdiv_m64fp,
        Fidiv_m16int,
        Fidiv_m32int,
        Fdiv_st0_sti,
        Fdiv_sti_st0,
        Fdivp_sti_st0
    ),
    arithmetic!(
        Fdivr,
        7,
        6,
        Fdivr_m32fp,
        Fdivr_m64fp,
        Fidivr_m16int,
        Fidivr_m32int,
        Fdivr_st0_sti,
        Fdivr_sti_st0,
        Fdivrp_sti_st0
    ),
];

/// The forms of the six operations.
pub(crate) const ARITHMETIC: &[Row] = FORMS.as_flattened();

pub(crate) const ROWS: &[Row] = &[
    x87(Fcom_m32fp, body(compare_memory::<M32, 4, 0x011, false>)),
    x87(Fcomp_m32fp, body(compare_memory::<M32, 4, 0x019, true>)),
    x87(Fcom_m64fp, body(compare_memory::<M64, 8, 0x411, false>)),
    x87(Fcomp_m64fp, body(compare_memory::<M64, 8, 0x419, true>)),
    x87(Ficom_m16int, body(compare_memory::<I16, 2, 0x611, false>)),
    x87(Ficomp_m16int, body(compare_memory::<I16, 2, 0x619, true>)),
    x87(Ficom_m32int, body(compare_memory::<I32, 4, 0x211, false>)),
    x87(Ficomp_m32int, body(compare_memory::<I32, 4, 0x219, true>)),
    x87(Fcom_st0_sti, body(compare::<k::Fcom, 0x0D1, 0>)),
    x87(Fcom_st0_sti_DCD0, body(compare::<k::Fcom, 0x0D1, 0>)),
    x87(Fcomp_st0_sti, body(compare::<k::Fcom, 0x0D9, 1>)),
    x87(Fcomp_st0_sti_DCD8, body(compare::<k::Fcom, 0x0D9, 1>)),
    x87(Fcomp_st0_sti_DED0, body(compare::<k::Fcom, 0x0D9, 1>)),
    x87(Fcompp, body(compare::<k::Fcom, 0x6D9, 2>)),
    x87(Fucom_st0_sti, body(compare::<k::Fucom, 0x5E1, 0>)),
    x87(Fucomp_st0_sti, body(compare::<k::Fucom, 0x5E9, 1>)),
    x87(Fucompp, body(compare::<k::Fucom, 0x2E9, 2>)),
    x87(Fcomi_st0_sti, body(compare_flags::<0x3F1, false, false>)),
    x87(Fcomip_st0_sti, body(compare_flags::<0x7F1, false, true>)),
    x87(Fucomi_st0_sti, body(compare_flags::<0x3E9, true, false>)),
    x87(Fucomip_st0_sti, body(compare_flags::<0x7E9, true, true>)),
    x87(Ftst, body(unary::<k::Ftst, 0x1E4, { status::CC }>)),
    x87(Fxam, body(unary::<k::Fxam, 0x1E5, { status::CC }>)),
    x87(Fchs, body(sign::<0x1E0, 0x80, 0x80>)),
    x87(Fabs, body(sign::<0x1E1, 0, 0>)),
    x87(Fsqrt, body(unary::<k::Fsqrt, 0x1FA, C1>)),
    x87(Frndint, body(unary::<k::Frndint, 0x1FC, C1>)),
    x87(Fsin, body(unary::<k::Fsin, 0x1FE, C1_C2>)),
    x87(Fcos, body(unary::<k::Fcos, 0x1FF, C1_C2>)),
    x87(F2xm1, body(unary::<k::F2xm1, 0x1F0, C1>)),
    x87(Fscale, body(binary::<k::Fscale, 0x1FD, C1>)),
    x87(Fprem, body(remainder::<k::Fprem, 0x1F8>)),
    x87(Fprem1, body(remainder::<k::Fprem1, 0x1F5>)),
    x87(Fyl2x, body(binary_pop::<k::Fyl2x, 0x1F1>)),
    x87(Fyl2xp1, body(binary_pop::<k::Fyl2xp1, 0x1F9>)),
    x87(Fpatan, body(binary_pop::<k::Fpatan, 0x1F3>)),
    x87(Fptan, body(whole::<0x1F2>)),
    x87(Fsincos, body(whole::<0x1FB>)),
    x87(Fxtract, body(whole::<0x1F4>)),
    x87(Fcmovb_st0_sti, body(fcmov::<0x2C1, 2>)),
    x87(Fcmove_st0_sti, body(fcmov::<0x2C9, 4>)),
    x87(Fcmovbe_st0_sti, body(fcmov::<0x2D1, 6>)),
    x87(Fcmovu_st0_sti, body(fcmov::<0x2D9, 10>)),
    x87(Fcmovnb_st0_sti, body(fcmov::<0x3C1, 3>)),
    x87(Fcmovne_st0_sti, body(fcmov::<0x3C9, 5>)),
    x87(Fcmovnbe_st0_sti, body(fcmov::<0x3D1, 7>)),
    x87(Fcmovnu_st0_sti, body(fcmov::<0x3D9, 11>)),
];
