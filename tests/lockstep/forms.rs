//! Which instruction forms there are in a mode, in families from which the generator draws.

use iced_x86::{Code, EncodingKind, Instruction, Mnemonic, OpCodeOperandKind as K};
use trimotor_cpu::model::CpuModel;

/// The forms of one code size, by family.
#[derive(Default)]
pub struct Forms {
    pub integer: Vec<Code>,
    pub strings: Vec<Code>,
    pub x87: Vec<Code>,
    pub mmx: Vec<Code>,
    pub vector: Vec<Code>,
    /// Control transfers, system instructions, and what is in no other family.
    pub system: Vec<Code>,
}

impl Forms {
    pub fn new(model: &CpuModel, bits: u32) -> Forms {
        let mut forms = Forms::default();
        for code in Code::values() {
            let op = code.op_code();
            let encoding = matches!(op.encoding(), EncodingKind::Legacy | EncodingKind::VEX);
            let mode = match bits {
                64 => op.mode64(),
                32 => op.mode32(),
                _ => op.mode16(),
            };
            let known = op.is_instruction() && encoding && mode && op.decoder_option() == 0;
            if known && !op.fwait() && code.cpuid_features().iter().all(|&f| model.allows_iced(f)) {
                forms.add(code);
            }
        }
        forms
    }

    fn add(&mut self, code: Code) {
        let op = code.op_code();
        let mut instruction = Instruction::default();
        instruction.set_code(code);
        let operands = || (0..op.op_count()).map(|n| op.op_kind(n));
        if operands().any(is_near_target) {
            // The program builder makes these: they need a target.
            return;
        }
        let vector = |k| matches!(format!("{k:?}").get(..3), Some("xmm" | "ymm")) || k == K::mem_vsib32x;
        let mmx = |k| matches!(k, K::mm_reg | K::mm_rm | K::mm_or_mem);
        let name = format!("{:?}", code.mnemonic());
        let family = if operands().any(vector) || op.encoding() == EncodingKind::VEX && !is_bmi(code) {
            &mut self.vector
        } else if operands().any(mmx) || code.mnemonic() == Mnemonic::Emms {
            &mut self.mmx
        } else if instruction.is_string_instruction() {
            &mut self.strings
        } else if name.starts_with('F') && !name.starts_with("Fx") {
            &mut self.x87
        } else if op.must_be_cpl0()
            || op.is_input_output()
            || op.is_save_restore()
            || operands().any(|k| matches!(k, K::cr_reg | K::dr_reg | K::seg_reg))
            || instruction.flow_control() != iced_x86::FlowControl::Next
            || is_special(code.mnemonic())
        {
            &mut self.system
        } else {
            &mut self.integer
        };
        family.push(code);
    }
}

fn is_bmi(code: Code) -> bool {
    let op = code.op_code();
    (0..op.op_count()).any(|n| matches!(op.op_kind(n), K::r32_or_mem | K::r64_or_mem | K::r32_vvvv))
}

fn is_near_target(kind: K) -> bool {
    matches!(kind, K::br16_1 | K::br32_1 | K::br64_1 | K::br16_2 | K::br32_4 | K::br64_4)
}

fn is_special(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Popf
            | M::Popfd
            | M::Popfq
            | M::Cli
            | M::Sti
            | M::Cpuid
            | M::Xsetbv
            | M::Xgetbv
            | M::Arpl
            | M::Lar
            | M::Lsl
            | M::Verr
            | M::Verw
            | M::Lds
            | M::Les
            | M::Lss
            | M::Lfs
            | M::Lgs
            | M::Rdpmc
            | M::Wrfsbase
            | M::Wrgsbase
            | M::Rdfsbase
            | M::Rdgsbase
            | M::Monitor
            | M::Mwait
            | M::Fxsave
            | M::Fxrstor
            | M::Fxsave64
            | M::Fxrstor64
            | M::Rdpkru
            | M::Wrpkru
    )
}
