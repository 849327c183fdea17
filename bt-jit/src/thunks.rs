//! Code that is the same for all blocks: the way in and out, and calls from translated code into
//! Rust.

pub mod inline_cache;
mod strings;

use crate::code_memory::{CodeMemory, CodeMemoryError, CodeOffset};
use crate::emitter::{AluOp, Condition, Emitter, EmitterError, Label, Mem, Reg, Width};
use crate::jumps::{INDEX_MASK, INDEX_ROTATION, JumpEntry, SECOND_PLACE};
use crate::layout::{
    ARITH, BUDGET, BUDGET_MARK, BUDGET_RESERVE, EXIT_OFFSET, EXIT_REASON, HOST, HOST_STACK, JUMPS, PENDING,
    PROBES, READ_TAG, RIP, RSP, SPARE, T0, T1, T2, VECTOR_LIVE, WRITE_TAG, X87_IMAGE, X87_LIVE, YMM, gpr,
    page_rip, state,
};
use std::mem::offset_of;
pub use strings::StringMove;
use trimotor_cpu_interp::core::QUANTUM;

/// Why translated code was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Leave {
    /// RIP and budget are up to date: poll for events and find the next block.
    Lookup = 0,
    /// The budget does not cover the block at the exit offset.
    Budget = 1,
    /// The block at the exit offset is dead: look for a new one.
    Dead = 2,
    /// The instruction at the exit offset must be stepped.
    Step = 3,
    /// The budget does not cover the block at RIP.
    BudgetAtRip = 4,
    /// The x87 registers must stay in the state for the block at the exit offset.
    X87InState = 5,
}

/// What a Rust function called from a thunk returns instead of an address.
pub mod answer {
    /// Go on behind the call.
    pub const CONTINUE: u64 = 0;
    /// Leave translated code.
    pub const LEAVE: u64 = 1;
}

/// Places of the thunks.
#[derive(Clone, Copy, Debug)]
pub struct Thunks {
    /// `extern "sysv64" fn(core, host address of a block)`.
    pub enter: CodeOffset,
    /// Called where the budget does not cover the block at offset EAX within the page, before anything of it has run:
    /// returns with the next quantum of the run's budget, or leaves. Keeps the guest's registers.
    pub next_quantum: CodeOffset,
    /// Exits, by reason; EAX is the offset within the page.
    pub exit_budget: CodeOffset,
    /// As above.
    pub exit_dead: CodeOffset,
    /// As above.
    pub exit_step: CodeOffset,
    /// As above.
    pub exit_x87: CodeOffset,
    /// Called: runs the instruction of fallback site EAX on the interpreter. The guest's flags are in memory before
    /// it, and in the host's too after it.
    pub op: CodeOffset,
    /// The same from blocks that have vector registers in the host's.
    pub op_vector: CodeOffset,
    /// The same from blocks that have the x87 registers in the host's.
    pub op_x87: CodeOffset,
    /// The same from blocks that have both.
    pub op_x87_vector: CodeOffset,
    /// Called: finds the page of a read by the table, for an inline cache. See [`inline_cache`].
    pub fill_read: CodeOffset,
    /// The same for a write.
    pub fill_write: CodeOffset,
    /// Jumped to: follows link EAX.
    pub link: CodeOffset,
    /// Jumped to: follows link `SPARE`, whose key is T2, to RIP = T1 in another page, by the jump table if it is
    /// there.
    pub probe: CodeOffset,
    /// Jumped to: finds the block at RIP = T1, which the jump table does not have in its first place.
    pub lookup: CodeOffset,
    /// Called: brings the vector registers into the host's.
    pub load_vector: CodeOffset,
    /// Called: brings the x87 registers into the host's; RAX is zero where they must stay in the state.
    /// The vector registers are in the state afterwards.
    pub load_x87: CodeOffset,
    /// Called: RDTSC or RDTSCP, as the request in EAX says. ZF: it is done, else it falls back to the interpreter.
    pub time_stamp: CodeOffset,
    /// Called: STAC, or CLAC where EAX is 0.
    pub access_control: CodeOffset,
    /// Jumped to: SYSCALL; EAX is the offset of what follows it in its page.
    pub syscall: CodeOffset,
    /// Jumped to: SYSRET to 64-bit mode.
    pub sysret: CodeOffset,
    /// Called: REP MOVS and REP STOS, by [`StringMove::number`].
    pub strings: [CodeOffset; StringMove::COUNT],
}

/// Rust functions that thunks call: `extern "sysv64" fn(core, argument) -> answer or address`.
#[derive(Clone, Copy, Default)]
pub struct Runtime {
    /// Runs an instruction on the interpreter.
    pub op: usize,
    /// The same, and makes the image that the x87 registers are loaded from.
    pub op_x87: usize,
    /// Makes that image; the answer is 0 if the registers must stay in the state.
    pub load_x87: usize,
    /// Follows a link.
    pub link: usize,
    /// Finds a block.
    pub lookup: usize,
    /// RDTSC and RDTSCP; the answer is 0 if it is done.
    pub time_stamp: usize,
    /// CLAC and STAC.
    pub access_control: usize,
    /// SYSCALL.
    pub syscall: usize,
    /// SYSRET.
    pub sysret: usize,
}

/// So many links for other keys are followed by the jump table, then one of them, most likely one that is followed
/// often, is made for the present key: its own may be gone for good.
const PROBES_BEFORE_LINK: i32 = 256;

/// What the ABI wants kept.
const CALLEE_SAVED: [Reg; 6] = [Reg::Rbx, Reg::Rbp, Reg::R12, Reg::R13, Reg::R14, Reg::R15];

fn general_registers(e: &mut Emitter, pushed: i32, store: bool) {
    move_registers(e, pushed, store, |_| true);
}
/// Those that a Rust function may change.
fn caller_saved(e: &mut Emitter, pushed: i32, store: bool) {
    move_registers(e, pushed, store, |host| !CALLEE_SAVED.contains(&host));
}
fn move_registers(e: &mut Emitter, pushed: i32, store: bool, which: impl Fn(Reg) -> bool) {
    for (n, host) in HOST.iter().enumerate() {
        let Some(host) = host.filter(|&host| which(host)) else { continue };
        let place = state(pushed + n as i32 * 8);
        if store {
            e.mov_mr(Width::Qword, place, host);
        } else {
            e.mov_rm(Width::Qword, host, place);
        }
    }
}
/// Puts the vector registers back into the state if they are in the host's.
fn save_vector(e: &mut Emitter, pushed: i32) {
    let saved = e.label();
    e.alu_mi(AluOp::Cmp, Width::Byte, state(pushed + VECTOR_LIVE), 0);
    e.jcc(Condition::Equal, saved);
    for n in 0..16 {
        e.vmovups_stack(n, pushed + YMM + n as i32 * 32, true);
    }
    e.mov_mi(Width::Qword, state(pushed + VECTOR_LIVE), 0);
    e.vzeroupper();
    e.bind(saved);
}
fn load_vector(e: &mut Emitter, pushed: i32) {
    for n in 0..16 {
        e.vmovups_stack(n, pushed + YMM + n as i32 * 32, false);
    }
    e.mov_mi(Width::Qword, state(pushed + VECTOR_LIVE), 1);
}

/// Takes the x87 registers out of the host's if they are there. The mark stays, for
/// [`x87::store`](crate::x87::store).
fn save_x87(e: &mut Emitter, pushed: i32) {
    let saved = e.label();
    e.alu_mi(AluOp::Cmp, Width::Byte, state(pushed + X87_LIVE), 0);
    e.jcc(Condition::Equal, saved);
    e.fnsave_stack(pushed + X87_IMAGE);
    e.bind(saved);
}
fn load_x87(e: &mut Emitter, pushed: i32) {
    e.frstor_stack(pushed + X87_IMAGE);
    e.mov_mi(Width::Qword, state(pushed + X87_LIVE), 1);
}

/// Goes to the guest address in T1 if the jump table has it, else to `miss` with T1 as it was. `pop` is added to
/// the guest's stack pointer (in the width that is given with it) on the way. Destroys T0, T1 and flags.
pub fn probe_jump_table(e: &mut Emitter, miss: Label, pop: Option<(Width, i32)>) {
    probe_place(e, 0, miss, pop);
}
/// The same for the place of RIP XOR `place`.
fn probe_place(e: &mut Emitter, place: u32, miss: Label, pop: Option<(Width, i32)>) {
    e.rorx(Width::Dword, T0, T1, 32 - INDEX_ROTATION as u8);
    e.alu_rr(AluOp::Xor, Width::Dword, T0, T1);
    e.alu_ri(AluOp::And, Width::Dword, T0, INDEX_MASK as i32);
    if place != 0 {
        e.alu_ri(AluOp::Xor, Width::Dword, T0, place as i32);
    }
    e.alu_rm(AluOp::Add, Width::Qword, T0, state(JUMPS));
    e.alu_rm(AluOp::Cmp, Width::Qword, T1, Mem::base(T0, offset_of!(JumpEntry, rip) as i32));
    e.jcc(Condition::NotEqual, miss);
    if let Some((width, bytes)) = pop {
        e.lea(width, RSP, Mem::base(RSP, bytes));
    }
    // A page of memory is a page of linear addresses, and those are RIPs in flat segments.
    e.alu_ri(AluOp::And, Width::Qword, T1, -4096);
    e.mov_mr(Width::Qword, page_rip(), T1);
    e.jmp_m(Mem::base(T0, offset_of!(JumpEntry, code) as i32));
}

/// Puts the guest's arithmetic flags into the host's. Destroys T0.
pub fn load_flags(e: &mut Emitter, pushed: i32) {
    e.movzx_rm(Width::Word, T0, state(pushed + ARITH));
    // OF as 0 or 1, plus 7Fh, overflows or does not.
    e.alu_ri(AluOp::Add, Width::Byte, T0, 0x7F);
    e.sahf();
}

/// The thunk for the interpreter fallback of an instruction, which afterwards has the guest's flags in the host's. Called, so RSP is 8 below the core.
fn op_thunk(e: &mut Emitter, function: usize, leave: CodeOffset, vector: bool, x87: bool) {
    general_registers(e, 8, true);
    save_vector(e, 8);
    save_x87(e, 8);
    e.lea(Width::Qword, Reg::Rdi, state(8));
    e.mov_rr(Width::Dword, Reg::Rsi, T0);
    e.alu_ri(AluOp::Sub, Width::Qword, Reg::Rsp, 8);
    e.mov_ri(T0, function as u64);
    e.call_r(T0);
    e.alu_ri(AluOp::Add, Width::Qword, Reg::Rsp, 8);
    let elsewhere = e.label();
    e.test_rr(Width::Qword, T0, T0);
    e.jcc(Condition::NotEqual, elsewhere);
    if x87 {
        load_x87(e, 8);
    }
    if vector {
        load_vector(e, 8);
    }
    general_registers(e, 8, false);
    load_flags(e, 8);
    e.ret();
    e.bind(elsewhere);
    e.alu_ri(AluOp::Add, Width::Qword, Reg::Rsp, 8);
    go_on(e, leave);
}

/// See [`Thunks::next_quantum`]. The last quantum, which may be smaller, is left to the run loop.
fn emit_next_quantum(e: &mut Emitter, exit_budget: CodeOffset) {
    let (last, leave) = (e.label(), e.label());
    // The return address lies below the state.
    let state = |displacement| state(8 + displacement);
    e.mov_rm(Width::Qword, T1, state(PENDING));
    e.alu_mi(AluOp::Cmp, Width::Dword, Mem::base(T1, 0), 0);
    e.jcc(Condition::NotEqual, leave);
    e.alu_mi(AluOp::Sub, Width::Qword, state(BUDGET_RESERVE), QUANTUM as i32);
    e.jcc(Condition::Sign, last);
    e.alu_mi(AluOp::Add, Width::Qword, state(BUDGET), QUANTUM as i32);
    e.alu_mi(AluOp::Add, Width::Qword, state(BUDGET_MARK), QUANTUM as i32);
    e.ret();
    e.bind(last);
    e.alu_mi(AluOp::Add, Width::Qword, state(BUDGET_RESERVE), QUANTUM as i32);
    e.bind(leave);
    e.lea(Width::Qword, Reg::Rsp, state(0));
    e.jmp_placed(exit_budget);
}

/// Goes to the block at the address in T0, or leaves. Guest state is in memory.
fn go_on(e: &mut Emitter, leave: CodeOffset) {
    e.alu_ri(AluOp::Cmp, Width::Qword, T0, answer::LEAVE as i32);
    e.jcc_placed(Condition::Equal, leave);
    e.mov_rr(Width::Qword, T1, T0);
    general_registers(e, 0, false);
    e.jmp_r(T1);
}

/// Saves everything, calls `function`, and goes where it says.
fn call_and_go(e: &mut Emitter, function: usize, leave: CodeOffset) {
    general_registers(e, 0, true);
    save_vector(e, 0);
    save_x87(e, 0);
    e.mov_rr(Width::Qword, Reg::Rdi, Reg::Rsp);
    e.mov_rr(Width::Dword, Reg::Rsi, T0);
    e.mov_ri(T0, function as u64);
    e.call_r(T0);
    go_on(e, leave);
}

/// A thunk that calls `function` for one instruction and comes back, with ZF where the answer is 0. The function
/// sees and may change the registers that are not kept by those it calls; vector and x87 registers stay.
fn leaf(e: &mut Emitter, function: usize) {
    let (vector_saved, vector_loaded) = (e.label(), e.label());
    caller_saved(e, 8, true);
    e.alu_mi(AluOp::Cmp, Width::Byte, state(8 + VECTOR_LIVE), 0);
    e.jcc(Condition::Equal, vector_saved);
    for n in 0..16 {
        e.vmovups_stack(n, 8 + YMM + n as i32 * 32, true);
    }
    e.vzeroupper();
    e.bind(vector_saved);
    e.lea(Width::Qword, Reg::Rdi, state(8));
    e.mov_rr(Width::Dword, Reg::Rsi, T0);
    e.alu_ri(AluOp::Sub, Width::Qword, Reg::Rsp, 8);
    e.mov_ri(T0, function as u64);
    e.call_r(T0);
    e.alu_ri(AluOp::Add, Width::Qword, Reg::Rsp, 8);
    e.alu_mi(AluOp::Cmp, Width::Byte, state(8 + VECTOR_LIVE), 0);
    e.jcc(Condition::Equal, vector_loaded);
    for n in 0..16 {
        e.vmovups_stack(n, 8 + YMM + n as i32 * 32, false);
    }
    e.bind(vector_loaded);
    caller_saved(e, 8, false);
    e.test_rr(Width::Qword, T0, T0);
    e.ret();
}
/// A thunk that calls `function` for an instruction that ends its block, and goes where it says. What the
/// function keeps for its caller is put into the state only where translated code is left.
fn leaf_transfer(e: &mut Emitter, function: usize, leave: CodeOffset) {
    caller_saved(e, 0, true);
    save_vector(e, 0);
    save_x87(e, 0);
    e.mov_rr(Width::Qword, Reg::Rdi, Reg::Rsp);
    e.mov_rr(Width::Dword, Reg::Rsi, T0);
    e.mov_ri(T0, function as u64);
    e.call_r(T0);
    let out = e.label();
    e.alu_ri(AluOp::Cmp, Width::Qword, T0, answer::LEAVE as i32);
    e.jcc(Condition::Equal, out);
    e.mov_rr(Width::Qword, T1, T0);
    caller_saved(e, 0, false);
    e.jmp_r(T1);
    e.bind(out);
    move_registers(e, 0, true, |host| CALLEE_SAVED.contains(&host));
    e.jmp_placed(leave);
}

/// The thunk that brings the x87 registers into the host's.
fn load_x87_thunk(e: &mut Emitter, function: usize) {
    general_registers(e, 8, true);
    save_vector(e, 8);
    e.lea(Width::Qword, Reg::Rdi, state(8));
    e.alu_ri(AluOp::Sub, Width::Qword, Reg::Rsp, 8);
    e.mov_ri(T0, function as u64);
    e.call_r(T0);
    e.alu_ri(AluOp::Add, Width::Qword, Reg::Rsp, 8);
    let refused = e.label();
    e.test_rr(Width::Qword, T0, T0);
    e.jcc(Condition::Equal, refused);
    load_x87(e, 8);
    e.bind(refused);
    general_registers(e, 8, false);
    e.ret();
}

/// A thunk could not be placed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ThunkError {
    /// No memory for code.
    #[error(transparent)]
    Memory(#[from] CodeMemoryError),
    /// A bug in a thunk.
    #[error(transparent)]
    Emitter(#[from] EmitterError),
}

impl Thunks {
    /// Names and places.
    pub fn named(&self) -> Vec<(&'static str, CodeOffset)> {
        let mut named = vec![
            ("enter", self.enter),
            ("next_quantum", self.next_quantum),
            ("exit_budget", self.exit_budget),
            ("exit_dead", self.exit_dead),
            ("exit_step", self.exit_step),
            ("exit_x87", self.exit_x87),
            ("op", self.op),
            ("op_vector", self.op_vector),
            ("op_x87", self.op_x87),
            ("op_x87_vector", self.op_x87_vector),
            ("fill_read", self.fill_read),
            ("fill_write", self.fill_write),
            ("link", self.link),
            ("probe", self.probe),
            ("lookup", self.lookup),
            ("load_vector", self.load_vector),
            ("load_x87", self.load_x87),
            ("time_stamp", self.time_stamp),
            ("access_control", self.access_control),
            ("syscall", self.syscall),
            ("sysret", self.sysret),
        ];
        named.extend(StringMove::all().map(|s| (s.name(), self.strings[s.number()])));
        named
    }
    /// Emits and places the thunks, at the start of code memory.
    ///
    /// # Errors
    /// See [`ThunkError`].
    pub fn place(memory: &mut CodeMemory, runtime: &Runtime) -> Result<Thunks, ThunkError> {
        let mut e = Emitter::new();
        let mut put =
            |memory: &mut CodeMemory, emit: &dyn Fn(&mut Emitter)| -> Result<CodeOffset, ThunkError> {
                e.clear();
                e.set_base(CodeOffset(memory.next().next_multiple_of(16) as u32));
                emit(&mut e);
                Ok(memory.place(e.finish()?, 16)?)
            };
        let enter = put(memory, &|e| {
            for register in CALLEE_SAVED {
                e.push(register);
            }
            e.mov_mr(Width::Qword, Mem::base(Reg::Rdi, HOST_STACK), Reg::Rsp);
            e.mov_rr(Width::Qword, Reg::Rsp, Reg::Rdi);
            e.mov_rr(Width::Qword, T1, Reg::Rsi);
            general_registers(e, 0, false);
            e.jmp_r(T1);
        })?;
        let leave = put(memory, &|e| {
            e.mov_rm(Width::Qword, Reg::Rsp, state(HOST_STACK));
            for register in CALLEE_SAVED.into_iter().rev() {
                e.pop(register);
            }
            e.ret();
        })?;
        let exit = |reason: Leave| {
            move |e: &mut Emitter| {
                e.mov_mr(Width::Qword, state(EXIT_OFFSET), T0);
                e.mov_mi(Width::Qword, state(EXIT_REASON), reason as i32);
                general_registers(e, 0, true);
                save_vector(e, 0);
                save_x87(e, 0);
                e.jmp_placed(leave);
            }
        };
        let exit_budget = put(memory, &exit(Leave::Budget))?;
        let next_quantum = put(memory, &|e| emit_next_quantum(e, exit_budget))?;
        let exit_dead = put(memory, &exit(Leave::Dead))?;
        let exit_step = put(memory, &exit(Leave::Step))?;
        let exit_x87 = put(memory, &exit(Leave::X87InState))?;
        let op = put(memory, &|e| op_thunk(e, runtime.op, leave, false, false))?;
        let op_vector = put(memory, &|e| op_thunk(e, runtime.op, leave, true, false))?;
        let op_x87 = put(memory, &|e| op_thunk(e, runtime.op_x87, leave, false, true))?;
        let op_x87_vector = put(memory, &|e| op_thunk(e, runtime.op_x87, leave, true, true))?;
        let fill_read = put(memory, &|e| inline_cache::emit(e, READ_TAG))?;
        let fill_write = put(memory, &|e| inline_cache::emit(e, WRITE_TAG))?;
        let link = put(memory, &|e| call_and_go(e, runtime.link, leave))?;
        let probe = put(memory, &|e| {
            let link_it = e.label();
            // A link that leads nowhere yet is made. One for another key stays as it is for now: processes that run
            // the same code by turns would only take it from each other.
            e.test_rr(Width::Qword, T2, T2);
            e.jcc(Condition::Equal, link_it);
            e.alu_mi(AluOp::Sub, Width::Qword, state(PROBES), 1);
            e.jcc(Condition::Sign, link_it);
            probe_jump_table(e, link_it, None);
            e.bind(link_it);
            e.mov_mi(Width::Qword, state(PROBES), PROBES_BEFORE_LINK);
            e.mov_rm(Width::Dword, T0, state(SPARE));
            e.jmp_placed(link);
        })?;
        let lookup = put(memory, &|e| {
            let miss = e.label();
            probe_place(e, SECOND_PLACE, miss, None);
            e.bind(miss);
            e.mov_mr(Width::Qword, state(RIP), T1);
            call_and_go(e, runtime.lookup, leave);
        })?;
        let load_vector = put(memory, &|e| {
            load_vector(e, 8);
            e.ret();
        })?;
        let load_x87 = put(memory, &|e| load_x87_thunk(e, runtime.load_x87))?;
        let time_stamp = put(memory, &|e| leaf(e, runtime.time_stamp))?;
        let access_control = put(memory, &|e| leaf(e, runtime.access_control))?;
        let syscall = put(memory, &|e| leaf_transfer(e, runtime.syscall, leave))?;
        let sysret = put(memory, &|e| leaf_transfer(e, runtime.sysret, leave))?;
        let mut strings = [CodeOffset(0); StringMove::COUNT];
        for what in StringMove::all() {
            strings[what.number()] = put(memory, &|e| what.emit(e))?;
        }
        debug_assert_eq!(gpr(1), state(8));
        Ok(Thunks {
            enter,
            next_quantum,
            exit_budget,
            exit_dead,
            exit_step,
            exit_x87,
            op,
            op_vector,
            op_x87,
            op_x87_vector,
            fill_read,
            fill_write,
            link,
            probe,
            lookup,
            load_vector,
            load_x87,
            time_stamp,
            access_control,
            syscall,
            sysret,
            strings,
        })
    }
}
