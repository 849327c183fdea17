//! Random instructions of any form, with operands that mostly lead to mapped memory.
//!
//! Registers have roles: some hold pointers into the data pages, some small numbers; both are seldom
//! written, so that later instructions still find them. Everything else may hold anything.

use crate::map::{self, linear};
use crate::world::{Paging, World};
use iced_x86::{
    Code, Encoder, FlowControl, Instruction, InstructionInfoFactory, MemoryOperand, Mnemonic, OpAccess,
    OpCodeOperandKind as K, OpKind, Register,
};
use trimotor_test_support::random::operands::{self, SEGMENTS};
use trimotor_test_support::random::values::Random;

/// Pointers, by number: RBX, RBP, RSI, RDI, R12 to R15.
pub const POINTERS: [usize; 8] = [3, 5, 6, 7, 12, 13, 14, 15];
/// Small numbers: RCX, R8, R9.
pub const SMALL: [usize; 3] = [1, 8, 9];
/// Constants at the ends of what a displacement holds.
pub const FAR: [i32; 6] = [i32::MAX, i32::MIN, i32::MAX - 0x7F, i32::MIN + 0x80, 0x7000_1000, -0x7000_1000];
/// Mask of what ENTER and RET move the stack pointer by.
const LONGEST_FRAME: u16 = 0x3F;

/// Makes instructions for one case.
pub struct Maker<'a> {
    pub random: Random,
    pub world: &'a World,
    pub info: &'a mut InstructionInfoFactory,
    /// Registers that must keep their value for now, a bit each: those of loops.
    pub kept: u16,
    /// A pointer that was moved for now, and what moves it back: see `Builder::far_pointer`.
    pub moved: Option<(usize, i64)>,
}

impl Maker<'_> {
    /// An instruction of `code`, encoded for the offset `ip`.
    pub fn encode(&mut self, code: Code, ip: u64) -> Option<Vec<u8>> {
        for _ in 0..4 {
            let mut i = Instruction::default();
            i.set_code(code);
            if self.operands(&mut i, code).is_none() {
                continue;
            }
            self.prefixes(&mut i, code);
            if self.spoils(&i) {
                continue;
            }
            let mut encoder = Encoder::new(self.world.bits);
            if encoder.encode(&i, ip).is_ok() {
                let bytes = encoder.take_buffer();
                if bytes.len() <= 15 {
                    return Some(bytes);
                }
            }
        }
        None
    }

    /// Whether the instruction would overwrite a register with a role, and should not.
    fn spoils(&mut self, i: &Instruction) -> bool {
        let wild = self.random.percent(5);
        let stack = i.is_stack_instruction() || i.is_string_instruction();
        let kept = self.kept;
        self.info.info(i).used_registers().iter().any(|used| {
            let written = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
            if !written || !used.register().is_gpr() {
                return false;
            }
            let n = used.register().full_register().number();
            if kept >> n & 1 != 0 {
                return true;
            }
            !wild && !stack && (POINTERS.contains(&n) || n == 4 || SMALL.contains(&n))
        })
    }

    fn prefixes(&mut self, i: &mut Instruction, code: Code) {
        let op = code.op_code();
        let r = &mut self.random;
        if op.can_use_lock_prefix() && i.op0_kind() == OpKind::Memory && r.percent(30) || r.below(300) == 0 {
            i.set_has_lock_prefix(true);
        } else if op.can_use_rep_prefix() && r.percent(50) {
            i.set_has_rep_prefix(true);
        } else if op.can_use_repne_prefix() && r.percent(50) {
            i.set_has_repne_prefix(true);
        }
        let memory =
            (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory || i.op_kind(n) >= OpKind::MemorySegSI);
        if memory && i.segment_prefix() == Register::None && r.percent(8) {
            i.set_segment_prefix(r.pick(&SEGMENTS));
        }
    }

    fn operands(&mut self, i: &mut Instruction, code: Code) -> Option<()> {
        let op = code.op_code();
        let aligned = code.op_code().memory_size().size() >= 16 && self.random.percent(80);
        let mut immediates = 0;
        for n in 0..op.op_count() {
            let kind = op.op_kind(n);
            if let Some(register) = operands::register(&mut self.random, self.world.bits, kind) {
                i.set_op_kind(n, OpKind::Register);
                i.set_op_register(n, register);
                continue;
            }
            match kind {
                K::mem | K::mem_mib => self.memory(i, n, None, aligned),
                K::mem_vsib32x | K::mem_vsib64x => self.memory(i, n, Some(Register::XMM0), false),
                K::mem_vsib32y | K::mem_vsib64y => self.memory(i, n, Some(Register::YMM0), false),
                K::mem_offs => {
                    let (at, segment) = self.place();
                    i.set_op_kind(n, OpKind::Memory);
                    i.set_segment_prefix(segment);
                    set_memory(i, &MemoryOperand::with_displ(at, self.world.bits / 8));
                }
                K::r8_or_mem
                | K::r16_or_mem
                | K::r32_or_mem
                | K::r64_or_mem
                | K::mm_or_mem
                | K::xmm_or_mem
                | K::ymm_or_mem => {
                    if self.random.percent(55) {
                        self.memory(i, n, None, aligned);
                    } else {
                        let register = operands::register_of(&mut self.random, self.world.bits, kind)?;
                        i.set_op_kind(n, OpKind::Register);
                        i.set_op_register(n, register);
                    }
                }
                K::farbr2_2 | K::farbr4_2 => self.far(i, n, kind),
                K::seg_rBX_al => {
                    i.set_op_kind(n, OpKind::Memory);
                    i.set_memory_base(self.sized(3, self.world.bits));
                    i.set_memory_index(Register::AL);
                }
                K::seg_rSI | K::seg_rDI | K::es_rDI => i.set_op_kind(n, self.string(kind)),
                _ => {
                    operands::immediate(&mut self.random, i, n, kind, immediates, LONGEST_FRAME)?;
                    immediates += 1;
                }
            }
        }
        Some(())
    }

    /// An operand of a string instruction, of the mode's address size or, seldom, of another.
    fn string(&mut self, kind: K) -> OpKind {
        let bits = if self.random.percent(96) {
            self.world.bits
        } else if self.world.bits == 32 {
            16
        } else {
            32
        };
        match (kind, bits) {
            (K::seg_rSI, 64) => OpKind::MemorySegRSI,
            (K::seg_rSI, 32) => OpKind::MemorySegESI,
            (K::seg_rSI, _) => OpKind::MemorySegSI,
            (K::seg_rDI, 64) => OpKind::MemorySegRDI,
            (K::seg_rDI, 32) => OpKind::MemorySegEDI,
            (K::seg_rDI, _) => OpKind::MemorySegDI,
            (_, 64) => OpKind::MemoryESRDI,
            (_, 32) => OpKind::MemoryESEDI,
            _ => OpKind::MemoryESDI,
        }
    }

    fn far(&mut self, i: &mut Instruction, n: u32, kind: K) {
        let own = self.world.base.segments[1].selector;
        let selector = if self.random.percent(80) { own } else { self.random.below(0x80) as u16 };
        let target = self.world.code + self.random.below(64);
        i.set_far_branch_selector(selector);
        if kind == K::farbr2_2 {
            i.set_op_kind(n, OpKind::FarBranch16);
            i.set_far_branch16(target as u16);
        } else {
            i.set_op_kind(n, OpKind::FarBranch32);
            i.set_far_branch32(target as u32);
        }
    }

    fn sized(&self, n: usize, bits: u32) -> Register {
        let first = match bits {
            64 => Register::RAX,
            32 => Register::EAX,
            _ => Register::AX,
        };
        first + n as u32
    }

    fn memory(&mut self, i: &mut Instruction, n: u32, vsib: Option<Register>, aligned: bool) {
        i.set_op_kind(n, OpKind::Memory);
        let bits = self.world.bits;
        if i.mnemonic() == Mnemonic::Lea && bits == 64 && self.random.percent(30) {
            // It accesses nothing, so it may lead anywhere that RIP reaches.
            let far = self.world.code as i64 + self.random.pick(&FAR) as i64;
            set_memory(i, &MemoryOperand::with_base_displ_size(Register::RIP, far, 8));
            return;
        }
        if vsib.is_none() && self.random.percent(30) {
            let (at, segment) = self.place();
            let at = if aligned { at & !31 } else { at };
            i.set_segment_prefix(segment);
            let operand = if bits == 64 && self.random.percent(50) {
                MemoryOperand::with_base_displ_size(Register::RIP, at as i64, 8)
            } else {
                MemoryOperand::with_displ(at, if bits == 64 { 4 } else { bits / 8 })
            };
            set_memory(i, &operand);
            return;
        }
        let other = self.random.percent(5);
        let size = match (bits, other) {
            (64, false) => 64,
            (64, true) | (16, true) | (32, false) => 32,
            _ => 16,
        };
        let operand = if size == 16 && vsib.is_none() {
            self.short_address()
        } else {
            self.address(size.max(32), vsib, aligned)
        };
        set_memory(i, &operand);
    }

    /// Base, index and displacement of 32 or 64 bits.
    fn address(&mut self, size: u32, vsib: Option<Register>, aligned: bool) -> MemoryOperand {
        let long = self.world.bits == 64;
        let r = &mut self.random;
        let base = if r.percent(8) { 4 } else { POINTERS[r.below(if long { 8 } else { 4 }) as usize] };
        let mut displacement = match r.below(5) {
            0 => 0,
            1 => r.below(128) as i64,
            2 => r.below(256) as i64 - 128,
            3 => r.below(0x2000) as i64 - 0x1000,
            _ => (1 + r.below(2)) as i64 * 0x1000 - r.below(40) as i64,
        };
        if aligned {
            displacement &= !31;
        }
        let mut base = base;
        if let Some((moved, back)) = self.moved
            && size == self.world.bits
            && r.percent(80)
            && let Ok(far) = i32::try_from(displacement + back)
        {
            (base, displacement) = (moved, far.into());
        }
        let scale = 1 << r.below(4);
        let index = match vsib {
            Some(first) => first + if r.percent(70) { 7 } else { r.below(if long { 16 } else { 8 }) as u32 },
            None if !aligned && r.percent(35) => {
                let n = SMALL[r.below(if long { 3 } else { 1 }) as usize];
                self.sized(n, size)
            }
            None => Register::None,
        };
        let width = match displacement {
            0 => 0,
            -128..128 => 1,
            _ if size == 64 => 8,
            _ => 4,
        };
        let base = self.sized(base, size);
        MemoryOperand::new(base, index, scale, displacement, width, false, Register::None)
    }

    /// One of the addresses of 16 bits.
    fn short_address(&mut self) -> MemoryOperand {
        use Register as R;
        let r = &mut self.random;
        let (base, index) = r.pick(&[
            (R::BX, R::None),
            (R::SI, R::None),
            (R::DI, R::None),
            (R::BP, R::None),
            (R::BX, R::SI),
            (R::BP, R::DI),
        ]);
        let displacement = if r.percent(60) { r.below(256) as i64 - 128 } else { r.below(0x1000) as i64 };
        let width = if (-128..128).contains(&displacement) { 1 } else { 2 };
        MemoryOperand::new(base, index, 1, displacement, width, false, Register::None)
    }

    /// An address that is worth a look: borders, other rights, a device, code; and the segment through
    /// which it is reached, if not the usual one.
    pub fn place(&mut self) -> (u64, Register) {
        let flat = self.world.code != 0;
        let r = &mut self.random;
        let data = self.world.data;
        let within = r.below(map::PAGE);
        let border = map::PAGE - r.below(40);
        if r.percent(55) {
            let page = r.below(7) * map::PAGE;
            let at = if r.percent(30) { border } else { within & !7 };
            return (data + page + at, Register::None);
        }
        if !flat {
            return match r.below(6) {
                0 => (map::DATA_BYTES - r.below(20), Register::None),
                1 => (r.below(0x4000), Register::ES),
                2 => (r.below(0x100), Register::GS),
                3 => (r.below(0x1_0000), Register::FS),
                4 => (r.below(map::STACK_BYTES), Register::SS),
                _ => (r.below(0x1_0000), Register::None),
            };
        }
        let at = match r.below(9) {
            // The pages before it end with the last data page.
            0 => linear::DATA + map::DATA_BYTES - r.below(20),
            1 => linear::READ_ONLY + within,
            2 => linear::OTHER_PRIVILEGE + within,
            3 => linear::NO_EXECUTE + within,
            4 => linear::ALIAS + within,
            5 => linear::DEVICE + (within & 0xFFF),
            6 => linear::CODE + within,
            7 => linear::STACK + within,
            _ => linear::PLAY + r.below(linear::PLAY_PAGES) * map::PAGE + within.min(border),
        };
        (at, Register::None)
    }

    /// Whether page tables are used and may be edited by the code itself.
    pub fn edits_tables(&self) -> bool {
        self.world.paging != Paging::Off && self.world.cpl == 0
    }
}

/// Whether the form transfers control somewhere: seldom wanted, as the target is random.
pub fn wanders(code: Code) -> bool {
    let mut i = Instruction::default();
    i.set_code(code);
    matches!(i.flow_control(), FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return)
        || code.is_jmp_far()
        || code.is_call_far()
}

fn set_memory(i: &mut Instruction, m: &MemoryOperand) {
    i.set_memory_base(m.base);
    i.set_memory_index(m.index);
    i.set_memory_index_scale(m.scale);
    i.set_memory_displ_size(m.displ_size);
    i.set_memory_displacement64(m.displacement as u64);
}
