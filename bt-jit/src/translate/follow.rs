//! Which instructions a block is made of.
//!
//! It goes on over conditional jumps forward, and follows direct jumps and calls within the page: each end of a block
//! costs a charge and a place for the flags. Where a call was followed, its RET leads back behind it, unless the return address
//! turns out to be another one.

use super::classify::{self, Kind};
use super::flow::target_of;
use super::{MAX_INSTRUCTIONS, MAX_LENGTH, Source, Tools};
use iced_x86::{Code, Decoder, DecoderError, FlowControl, Instruction};
use trimotor_cpu_interp::core::mode;
use trimotor_cpu_interp::debugger::PageOffsets;
use trimotor_cpu_interp::lower::Lowering;

/// Blocks that have more instructions follow no more jumps: what is long gains little.
const LONG: usize = 40;

impl Tools {
    /// Decodes the block's instructions and says how each is translated. There are none where not even the first one
    /// lies within the page.
    pub(super) fn decode(&mut self, source: &Source<'_>) {
        self.instructions.clear();
        self.kinds.clear();
        self.returns.clear();
        let bits = if source.mode & mode::CODE_SIZE == mode::CODE64 { 64 } else { 32 };
        let lowering =
            Lowering { mode: source.mode, model: source.model, rip: 0, page_offset: 0, atomic: true };
        let options = lowering.decoder_options();
        let mut decoder = Decoder::with_ip(bits, source.bytes, 0, options);
        if !go_to(&mut decoder, source.offset as i32) {
            return;
        }
        let mut i = Instruction::default();
        while self.kinds.len() < MAX_INSTRUCTIONS && decoder.can_decode() {
            if !self.kinds.is_empty() && source.cuts.contains(decoder.ip() as usize) {
                break;
            }
            decoder.decode_out(&mut i);
            let short = i.is_invalid() && decoder.last_error() == DecoderError::NoMoreBytes;
            if short && source.second_page.is_none() {
                let rest = source.bytes.len() - i.ip() as usize;
                if rest < MAX_LENGTH {
                    break; // it may go on in the next page
                }
            }
            let mut kind = classify::classify(&i, &lowering, &self.features);
            if source.x87_fallback && kind.uses_x87() {
                kind = Kind::Fallback;
            }
            self.instructions.push(i);
            self.kinds.push(kind);
            // A jump back is most likely taken: it is cheapest at the end.
            let back = kind == Kind::Jcc && i.near_branch_target() <= i.ip();
            if back || source.second_page.is_some() {
                break;
            }
            let ends = kind.ends_block() || i.flow_control() != FlowControl::Next && kind != Kind::Jcc;
            if ends {
                if !self.follow(&mut decoder, &i, kind, source.cuts) {
                    break;
                }
                if kind == Kind::Jmp {
                    self.kinds.pop();
                    self.kinds.push(Kind::Nothing);
                }
            }
        }
        if let (
            Some(kind),
            Some(Code::Jmp_rel8_64 | Code::Jmp_rel32_64 | Code::Jmp_rel8_32 | Code::Jmp_rel32_32),
        ) = (self.kinds.last_mut(), self.instructions.last().map(Instruction::code))
        {
            *kind = Kind::Jmp; // nothing was decoded where it leads
        }
    }

    /// Follows `i`, the last instruction so far, where it leads to code of the page that the block does not have, unless it must
    /// end there.
    fn follow(&mut self, decoder: &mut Decoder<'_>, i: &Instruction, kind: Kind, cuts: &PageOffsets) -> bool {
        let target = match kind {
            Kind::Jmp | Kind::Call => target_of(i),
            Kind::Ret => self.returns.pop(),
            _ => None,
        };
        let known = |target: i32| self.instructions.iter().any(|i| i.ip() == target as u64);
        let is_cut = |target: i32| usize::try_from(target).is_ok_and(|target| cuts.contains(target));
        let Some(target) = target.filter(|&t| self.instructions.len() < LONG && !known(t) && !is_cut(t))
        else {
            return false;
        };
        if kind == Kind::Call {
            self.returns.push(i.next_ip() as i32);
        }
        go_to(decoder, target)
    }
}

/// Has the decoder go on at `target` bytes from the page's start, if that is in the page.
fn go_to(decoder: &mut Decoder<'_>, target: i32) -> bool {
    let in_page = (0..4096).contains(&target) && decoder.set_position(target as usize).is_ok();
    if in_page {
        decoder.set_ip(target as u64);
    }
    in_page
}
