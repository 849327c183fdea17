//! The thunk for an access that misses its inline cache: see `InlineCache` in `cpu-interp/src/fallback.rs`.
//!
//! EAX has the inline cache's number, and above it the last offset in a page at which the access does not cross it; T1 has the
//! linear address. Where the table has the page, T1 becomes the host address and "below or equal" holds, else
//! "above". T0 is destroyed, T2 is kept.

use crate::emitter::{AluOp, Condition, Emitter, Mem, Opcode, Reg, Scale, Width};
use crate::engine_area::{INLINE_CACHES, InlineCache};
use crate::layout::{
    HOST_PAGE, T0, T1, TLB, ic_candidate, ic_delta, ic_misses, ic_tag, ic_used, state, table_entry,
};

/// Where the last offset stands in EAX.
const LAST_SHIFT: u8 = 16;
const _: () = assert!(INLINE_CACHES <= 1 << LAST_SHIFT);

/// What the thunk finds in EAX for an access of `bytes` bytes.
pub fn request(ic: u32, bytes: u32) -> u32 {
    ic | (4096 - bytes) << LAST_SHIFT
}

/// Emits it for accesses that need the tag at `tag` of a table's entry.
pub fn emit(e: &mut Emitter, tag: i32) {
    // The call and three registers.
    const PUSHED: i32 = 32;
    const CACHE: Reg = Reg::Rbx;
    const LAST: Reg = Reg::Rcx;
    const PAGE: Reg = Reg::Rdx;
    let of_ic = |place: i32, scale| Mem::indexed(Reg::Rsp, CACHE, scale, PUSHED + place);
    let (once, out) = (e.label(), e.label());
    for register in [CACHE, LAST, PAGE] {
        e.push(register);
    }
    e.mov_rr(Width::Dword, LAST, T0);
    e.shift_ri(5, Width::Dword, LAST, LAST_SHIFT);
    e.mov_rr(Width::Dword, CACHE, T0);
    e.alu_ri(AluOp::And, Width::Dword, CACHE, INLINE_CACHES as i32 - 1);
    e.alu_mi(AluOp::Add, Width::Dword, of_ic(ic_misses(0), Scale::Four), 1);
    table_entry(e, state(PUSHED + TLB));
    e.mov_rr(Width::Qword, PAGE, T1);
    e.alu_rm(AluOp::Sub, Width::Qword, PAGE, Mem::base(T0, tag));
    e.alu_rr(AluOp::Cmp, Width::Qword, PAGE, LAST);
    e.jcc(Condition::Above, out);
    // Only a page that is asked for twice in a row is worth an inline cache: megamorphic sites stay here.
    e.mov_rr(Width::Qword, PAGE, T1);
    e.shift_ri(5, Width::Qword, PAGE, 12);
    e.mov_rr(Width::Dword, LAST, PAGE);
    e.alu_rm(AluOp::Xor, Width::Dword, LAST, of_ic(ic_candidate(0), Scale::Four));
    e.mov_mr(Width::Dword, of_ic(ic_candidate(0), Scale::Four), PAGE);
    e.test_rr(Width::Dword, LAST, LAST);
    e.jcc(Condition::NotEqual, once);
    bit_test_and_set(e, state(PUSHED + ic_used(0).0), CACHE);
    const { assert!(size_of::<InlineCache>() == 16) };
    e.alu_rr(AluOp::Add, Width::Dword, CACHE, CACHE);
    e.mov_rm(Width::Qword, PAGE, Mem::base(T0, tag));
    e.mov_mr(Width::Qword, of_ic(ic_tag(0), Scale::Eight), PAGE);
    e.mov_rm(Width::Qword, LAST, Mem::base(T0, HOST_PAGE));
    e.alu_rr(AluOp::Sub, Width::Qword, LAST, PAGE);
    e.mov_mr(Width::Qword, of_ic(ic_delta(0), Scale::Eight), LAST);
    e.bind(once);
    e.alu_rm(AluOp::Sub, Width::Qword, T1, Mem::base(T0, tag));
    e.alu_rm(AluOp::Add, Width::Qword, T1, Mem::base(T0, HOST_PAGE));
    e.alu_rr(AluOp::Cmp, Width::Dword, LAST, LAST);
    e.bind(out);
    for register in [PAGE, LAST, CACHE] {
        e.pop(register);
    }
    e.ret();
}

/// BTS of a string of bits in memory.
fn bit_test_and_set(e: &mut Emitter, bits: Mem, number: Reg) {
    const BTS: Opcode = Opcode { prefix: 0, wide: false, bytes: 0xAB_0F, count: 2 };
    e.with_modrm(BTS, number as u8, bits.into(), false);
}
