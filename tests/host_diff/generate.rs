//! Random instructions of every form, with operands that lead into the scratch pages.

use crate::compare::{Blank, blanks, leaves_undefined};
use iced_x86::{
    Code, Encoder, Instruction, MemoryOperand, Mnemonic, OpAccess, OpCodeOperandKind as K, OpKind, Register,
};
use trimotor_test_support::random::layout::*;
use trimotor_test_support::random::operands;
use trimotor_test_support::random::values::{self, Random};

/// Registers by number.
const GPR64: [Register; 16] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// Mask of what ENTER and RET move the stack pointer by: it stays within the guard.
const LONGEST_FRAME: u16 = 0x3FF;

/// A generated case, apart from what the engines see of it.
pub struct Generated {
    pub case: Case,
    pub code: Vec<Code>,
    pub bytes: Vec<u8>,
    /// What is not compared of memory.
    pub blanks: Vec<Blank>,
}

/// Makes cases.
pub struct Generator {
    pub random: Random,
    /// 64 or 32: which code is generated.
    pub bits: u32,
    info: iced_x86::InstructionInfoFactory,
}

/// What is being built.
struct Draft {
    case: Case,
    /// Registers whose value is fixed because an address needs it.
    pinned: u16,
    /// Only memory operands that need no register.
    absolute: bool,
    ip: u64,
}

impl Draft {
    /// Has the case find `bytes` at `address`, if that is in the writable pages.
    fn patch(&mut self, address: u64, bytes: &[u8]) {
        let at = address.wrapping_sub(SCRATCH);
        let patches = &mut self.case.patches;
        if at < (WRITABLE - LINE) as u64
            && let Some(patch) = patches.iter_mut().find(|p| p.len == 0)
        {
            (patch.at, patch.len) = (at as u32, bytes.len() as u32);
            patch.bytes[..bytes.len()].copy_from_slice(bytes);
        }
    }
    fn pin(&mut self, register: usize, value: u64) {
        self.case.gpr[register] = value;
        self.pinned |= 1 << register;
    }
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        Generator { random: Random::new(seed), bits: 64, info: iced_x86::InstructionInfoFactory::new() }
    }

    /// A case for slot `i` that starts with an instruction of `code`; `others` are what may follow.
    pub fn case(&mut self, i: usize, code: Code, others: &[Code]) -> Option<Generated> {
        let r = &mut self.random;
        let tame = r.percent(30);
        let mut case = Case {
            xsave: values::xsave(r, tame),
            gpr: std::array::from_fn(|_| values::integer(r)),
            rflags: 0x202 | r.next() & 0x8D5,
            template: r.below(TEMPLATES as u64) as u32,
            code_len: 0,
            bits: self.bits,
            patches: [Patch::NONE; 2],
        };
        if r.percent(20) {
            case.rflags |= 0x400;
        }
        case.gpr[4] = SCRATCH + 0x800 + (r.below(0x1000) & !7);
        if self.bits == 32 {
            case.gpr.iter_mut().for_each(|g| *g &= 0xFFFF_FFFF);
        }
        let slot = CODE + (i * SLOT) as u64;
        let mut draft = Draft { case, pinned: 1 << 4, absolute: false, ip: slot };
        let mut bytes = Vec::new();
        let mut codes = Vec::new();
        let mut not_compared = Vec::new();
        let more = if self.random.percent(25) { self.random.below(4) } else { 0 };
        for n in 0..=more {
            let code = if n == 0 { code } else { self.random.pick(others) };
            draft.absolute = n > 0;
            draft.ip = slot + bytes.len() as u64;
            let Some((instruction, encoded)) = self.instruction(code, &mut draft, slot) else {
                if n == 0 {
                    return None;
                }
                break;
            };
            // XSAVE's bits in EAX may have changed, too.
            let again = self.reaches_memory_by_register(&instruction) || code.op_code().is_save_restore();
            if n > 0 && again {
                continue;
            }
            bytes.extend_from_slice(&encoded);
            if let Some(address) = self.operand_address(&instruction, &draft) {
                not_compared.extend(blanks(code, address));
            }
            codes.push(code);
            if instruction.flow_control() != iced_x86::FlowControl::Next || leaves_undefined(code) {
                break;
            }
        }
        draft.case.code_len = bytes.len() as u32;
        Some(Generated { case: draft.case, code: codes, bytes, blanks: not_compared })
    }

    /// Whether an instruction accesses memory through a register: its value may have changed.
    fn reaches_memory_by_register(&mut self, i: &Instruction) -> bool {
        self.info.info(i).used_memory().iter().any(|m| {
            m.access() != OpAccess::None
                && (m.base() != Register::None && m.base() != Register::RIP || m.index() != Register::None)
        }) || i.is_stack_instruction()
    }

    /// One instruction of `code`, encoded for its address.
    fn instruction(&mut self, code: Code, draft: &mut Draft, slot: u64) -> Option<(Instruction, Vec<u8>)> {
        for _ in 0..6 {
            let saved = (draft.case, draft.pinned);
            let mut i = Instruction::default();
            i.set_code(code);
            if self.operands(&mut i, code, draft, slot).is_some() {
                self.prefixes(&mut i, code);
                if !draft.absolute {
                    self.special(&mut i, draft);
                }
                let mut encoder = Encoder::new(self.bits);
                if encoder.encode(&i, draft.ip).is_ok() {
                    let bytes = encoder.take_buffer();
                    let mut decoder = iced_x86::Decoder::with_ip(self.bits, &bytes, draft.ip, 0);
                    // What the bytes mean; as NOP and XCHG or PAUSE, it may be another form.
                    let decoded = decoder.decode();
                    if bytes.len() <= 15 && (decoded.code() == code || i.has_lock_prefix()) {
                        return Some((decoded, bytes));
                    }
                }
            }
            (draft.case, draft.pinned) = saved;
        }
        None
    }

    fn prefixes(&mut self, i: &mut Instruction, code: Code) {
        let op = code.op_code();
        let r = &mut self.random;
        if op.can_use_lock_prefix() && i.op0_kind() == OpKind::Memory && r.percent(30)
            || r.percent(1) && op.encoding() == iced_x86::EncodingKind::Legacy && !op.amd_lock_reg_bit()
        {
            i.set_has_lock_prefix(true);
        } else if op.can_use_rep_prefix() && r.percent(50) {
            i.set_has_rep_prefix(true);
        } else if op.can_use_repne_prefix() && r.percent(50) {
            i.set_has_repne_prefix(true);
        }
    }

    /// Values that some instructions need for their address or to do more than fault.
    fn special(&mut self, i: &mut Instruction, draft: &mut Draft) {
        let r = &mut self.random;
        let wild = r.percent(2);
        match i.mnemonic() {
            Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
                if i.op0_kind() == OpKind::Memory && i.op1_kind() == OpKind::Register =>
            {
                let n = i.op1_register().number();
                if draft.pinned >> n & 1 == 0 {
                    draft.case.gpr[n] = (r.below(4096) as i64 - 2048) as u64;
                } else {
                    i.set_op1_register(GPR64[0]); // refused by the encoder unless it fits
                    i.set_code(Code::INVALID);
                }
            }
            Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => {
                // TF would trap in the stubs, AC make them fault.
                let flags = r.next() & !(1 << 8 | 1 << 18);
                let at = draft.case.gpr[4];
                draft.patch(at, &flags.to_le_bytes());
            }
            Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => {
                // MXCSR without reserved bits.
                let mxcsr = sane_mxcsr(r);
                if let Some(area) = self.operand_address(i, draft) {
                    draft.patch(area.wrapping_add(24), &mxcsr.to_le_bytes());
                }
            }
            Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr => {
                let mxcsr = sane_mxcsr(r);
                if let Some(area) = self.operand_address(i, draft) {
                    draft.patch(area, &mxcsr.to_le_bytes());
                }
            }
            Mnemonic::Div | Mnemonic::Idiv if r.percent(70) => {
                // Quotients that fit: a small dividend.
                draft_set(draft, 2, if r.percent(50) { 0 } else { r.below(100) });
            }
            Mnemonic::Xsave
            | Mnemonic::Xsave64
            | Mnemonic::Xsaveopt
            | Mnemonic::Xsaveopt64
            | Mnemonic::Xsavec
            | Mnemonic::Xsavec64
            | Mnemonic::Xrstor
            | Mnemonic::Xrstor64 => {
                // A header that XSAVE could have written, most of the time.
                let area = self.operand_address(i, draft);
                let r = &mut self.random;
                if let Some(area) = area
                    && r.percent(85)
                {
                    let mut header = [0; LINE];
                    // Not the bits of AVX-512, which the host may have.
                    let most = if r.percent(90) { 8 } else { 32 };
                    header[0] = r.below(most) as u8;
                    if r.percent(40) {
                        header[8] =
                            if r.percent(80) { header[0] | r.below(8) as u8 } else { r.below(16) as u8 };
                        header[15] = 0x80;
                    } else if r.percent(4) {
                        header[8 + r.below(56) as usize] = 1;
                    }
                    draft.patch(area.wrapping_add(512), &header);
                    let mxcsr = sane_mxcsr(r);
                    draft.patch(area.wrapping_add(24), &mxcsr.to_le_bytes());
                }
                // Only what both sides have; further bits are other components of the host.
                if draft.pinned & 0b101 != 0 {
                    i.set_code(Code::INVALID);
                }
                let components = draft.case.gpr[0] & 7;
                draft.pin(0, components);
                draft.pin(2, 0);
            }
            _ => {}
        }
        let implicit: &[usize] = match i.mnemonic() {
            _ if is_vector(i) => &[],
            Mnemonic::Movsb | Mnemonic::Movsw | Mnemonic::Movsd | Mnemonic::Movsq => &[6, 7],
            Mnemonic::Cmpsb | Mnemonic::Cmpsw | Mnemonic::Cmpsd | Mnemonic::Cmpsq => &[6, 7],
            Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd | Mnemonic::Stosq => &[7],
            Mnemonic::Scasb | Mnemonic::Scasw | Mnemonic::Scasd | Mnemonic::Scasq => &[7],
            Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd => &[7],
            Mnemonic::Lodsb | Mnemonic::Lodsw | Mnemonic::Lodsd | Mnemonic::Lodsq => &[6],
            Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd => &[6],
            Mnemonic::Xlatb => &[3],
            Mnemonic::Enter | Mnemonic::Leave => &[5],
            Mnemonic::Maskmovq | Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu => &[7],
            _ => &[],
        };
        for &n in implicit {
            let edge = SCRATCH + SCRATCH_BYTES as u64 - self.random.below(64);
            let target = if wild { edge } else { self.target(false) };
            draft.pin(n, target);
        }
        let r = &mut self.random;
        if i.has_rep_prefix() || i.has_repne_prefix() {
            // Whether I/O without an iteration asks for permission differs.
            let least = i.code().op_code().is_input_output() as u64;
            draft.pin(1, least + if r.percent(80) { r.below(70) } else { r.below(600) });
        } else if !implicit.is_empty() && r.percent(90) {
            draft_set(draft, 1, r.below(10));
        }
    }

    /// The address of the memory operand.
    fn operand_address(&self, i: &Instruction, draft: &Draft) -> Option<u64> {
        i.virtual_address(0, 0, |register, _, _| match register {
            r if r.is_segment_register() => Some(0),
            Register::None | Register::RIP => Some(0),
            r if r.is_gpr64() => Some(draft.case.gpr[r.number()]),
            r if r.is_gpr32() => Some(draft.case.gpr[r.number()] & 0xFFFF_FFFF),
            _ => None,
        })
    }

    /// An address for a memory operand.
    fn target(&mut self, aligned: bool) -> u64 {
        let r = &mut self.random;
        let at = match r.below(40) {
            0..10 => 0x400 + r.below(0x2000),
            10..22 => (0x400 + r.below(0x2000)) & !63,
            22..28 => (0x400 + r.below(0x2000)) & !15,
            28..34 => (1 + r.below(2)) * 0x1000 - r.below(66),
            34 => 0x3000 - r.below(40),
            35 => 0x3000 + r.below(0x1000 - 600),
            36 => 0x4000 - r.below(40),
            37 => 0u64.wrapping_sub(r.below(40)),
            38 => 0x4000 + r.below(0x1000),
            _ => (0x400 + r.below(0x2000)) & !7,
        };
        SCRATCH.wrapping_add(if aligned { at & !63 } else { at })
    }

    fn operands(&mut self, i: &mut Instruction, code: Code, draft: &mut Draft, slot: u64) -> Option<()> {
        let op = code.op_code();
        let mut immediates = 0;
        for n in 0..op.op_count() {
            let kind = op.op_kind(n);
            if let Some(register) = operands::register(&mut self.random, self.bits, kind) {
                i.set_op_kind(n, OpKind::Register);
                i.set_op_register(n, register);
                continue;
            }
            match kind {
                K::mem
                | K::mem_offs
                | K::mem_mib
                | K::mem_vsib32x
                | K::mem_vsib64x
                | K::mem_vsib32y
                | K::mem_vsib64y => {
                    self.memory(i, n, kind, draft, op.is_save_restore())?;
                }
                K::r8_or_mem
                | K::r16_or_mem
                | K::r32_or_mem
                | K::r64_or_mem
                | K::mm_or_mem
                | K::xmm_or_mem
                | K::ymm_or_mem => {
                    if self.random.percent(50) {
                        let sha = format!("{code:?}").starts_with("Sha");
                        self.memory(i, n, kind, draft, sha)?;
                    } else {
                        let register = operands::register_of(&mut self.random, self.bits, kind)?;
                        i.set_op_kind(n, OpKind::Register);
                        i.set_op_register(n, register);
                    }
                }
                K::br16_1 | K::br32_1 | K::br64_1 | K::br16_2 | K::br32_4 | K::br64_4 => {
                    let target = slot + TAKEN as u64;
                    if self.bits == 64 {
                        i.set_op_kind(n, OpKind::NearBranch64);
                        i.set_near_branch64(target);
                    } else {
                        i.set_op_kind(n, OpKind::NearBranch32);
                        i.set_near_branch32(target as u32);
                    }
                }
                K::seg_rSI if self.bits == 32 => i.set_op_kind(n, OpKind::MemorySegESI),
                K::seg_rDI if self.bits == 32 => i.set_op_kind(n, OpKind::MemorySegEDI),
                K::es_rDI if self.bits == 32 => i.set_op_kind(n, OpKind::MemoryESEDI),
                K::seg_rSI => i.set_op_kind(n, OpKind::MemorySegRSI),
                K::seg_rDI => i.set_op_kind(n, OpKind::MemorySegRDI),
                K::es_rDI => i.set_op_kind(n, OpKind::MemoryESRDI),
                K::seg_rBX_al => {
                    i.set_op_kind(n, OpKind::Memory);
                    i.set_memory_base(if self.bits == 64 { Register::RBX } else { Register::EBX });
                    i.set_memory_index(Register::AL);
                }
                _ => {
                    operands::immediate(&mut self.random, i, n, kind, immediates, LONGEST_FRAME)?;
                    immediates += 1;
                }
            }
        }
        Some(())
    }

    /// A memory operand whose address lies in the scratch pages, or next to them.
    fn memory(
        &mut self,
        i: &mut Instruction,
        n: u32,
        kind: K,
        draft: &mut Draft,
        aligned: bool,
    ) -> Option<()> {
        // Intel wants SHA's operands aligned, AMD does not.
        let sha = aligned && kind == K::xmm_or_mem;
        let aligned = sha || aligned && self.random.percent(90);
        let target = self.target(aligned);
        i.set_op_kind(n, OpKind::Memory);
        let vsib = match kind {
            K::mem_vsib32x | K::mem_vsib64x => Some(Register::XMM0),
            K::mem_vsib32y | K::mem_vsib64y => Some(Register::YMM0),
            _ => None,
        };
        let r = &mut self.random;
        if kind == K::mem_offs {
            let operand = MemoryOperand::with_displ(target, self.bits / 8);
            set_memory(i, &operand, 0);
            return Some(());
        }
        if vsib.is_none() && (draft.absolute || r.percent(15)) {
            let rip = self.bits == 64 && r.percent(50);
            let operand = if rip {
                MemoryOperand::with_base_displ(Register::RIP, target as i64)
            } else {
                MemoryOperand::with_displ(target, 4)
            };
            set_memory(i, &operand, target);
            return Some(());
        }
        if draft.absolute {
            return None;
        }
        let long = self.bits == 64;
        let registers = if long { 16 } else { 8 };
        let narrow = !long || r.percent(5);
        let displacement = match r.below(4) {
            0 => 0,
            1 => r.below(256) as i64 - 128,
            2 => r.below(0x1_0000) as i64 - 0x8000,
            _ => r.next() as i32 as i64 >> r.below(24),
        };
        let scale = 1u32 << r.below(4);
        let mut index = Register::None;
        let mut offset = displacement as u64;
        if let Some(first) = vsib {
            let number = r.below(registers) as usize;
            index = first + number as u32;
            let wide = matches!(kind, K::mem_vsib64x | K::mem_vsib64y);
            small_indices(r, &mut draft.case.xsave.0, number, wide);
        } else if r.percent(50) {
            let number = r.below(registers) as usize;
            if number != 4 && draft.pinned >> number & 1 == 0 {
                let value = if r.percent(80) { r.below(200) } else { (r.below(200) as i64 - 100) as u64 };
                let junk = if narrow && long { r.next() << 32 } else { 0 };
                draft.pin(number, if narrow { value & 0xFFFF_FFFF | junk } else { value });
                index = if narrow { Register::EAX } else { Register::RAX } + number as u32;
                offset = offset.wrapping_add(value.wrapping_mul(scale as u64));
            }
        }
        let number = r.below(registers) as usize;
        let mut value = target.wrapping_sub(offset);
        if draft.pinned >> number & 1 != 0 && number != 4 {
            return None;
        }
        if number == 4 && draft.absolute {
            return None;
        }
        if !narrow && r.below(300) == 0 {
            value ^= 1 << 62;
        }
        if narrow {
            value = value & 0xFFFF_FFFF | if long { r.next() << 32 } else { 0 };
        }
        draft.pin(number, value);
        let base = if narrow { Register::EAX } else { Register::RAX } + number as u32;
        let size = if displacement == 0 {
            0
        } else if (-128..128).contains(&displacement) {
            1
        } else {
            8
        };
        let size = if narrow && size == 8 { 4 } else { size };
        let operand = MemoryOperand::new(base, index, scale, displacement, size, false, Register::None);
        set_memory(i, &operand, 0);
        Some(())
    }
}

/// MXCSR, seldom with reserved bits; never with AMD's misaligned mode.
fn sane_mxcsr(r: &mut Random) -> u32 {
    let value = r.next() as u32;
    if r.percent(90) { value & 0xFFFF } else { value & !(1 << 17) }
}

/// Whether a vector register is an operand: MOVSD and CMPSD are also SSE instructions.
fn is_vector(i: &Instruction) -> bool {
    matches!(i.mnemonic(), Mnemonic::Movsd | Mnemonic::Cmpsd)
        && (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Register)
}

/// Sets a register unless an address needs it.
fn draft_set(draft: &mut Draft, register: usize, value: u64) {
    if draft.pinned >> register & 1 == 0 {
        draft.case.gpr[register] = value;
    }
}

/// Fills vector register `number` with small offsets.
fn small_indices(r: &mut Random, x: &mut [u8; XSAVE_BYTES], number: usize, wide: bool) {
    for half in [160, 576] {
        let part = &mut x[half + 16 * number..][..16];
        for element in part.chunks_exact_mut(if wide { 8 } else { 4 }) {
            let value = r.below(160) as i64 - 80;
            let len = element.len();
            element.copy_from_slice(&value.to_le_bytes()[..len]);
        }
    }
}

fn set_memory(i: &mut Instruction, m: &MemoryOperand, rip_target: u64) {
    i.set_memory_base(m.base);
    i.set_memory_index(m.index);
    i.set_memory_index_scale(m.scale);
    i.set_memory_displ_size(if m.base == Register::RIP { 8 } else { m.displ_size });
    i.set_memory_displacement64(if m.base == Register::RIP { rip_target } else { m.displacement as u64 });
}
