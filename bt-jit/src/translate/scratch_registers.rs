//! What the scratch registers hold from one instruction to the next: guest registers that stay in memory, so
//! that a run of instructions on them loads and stores each once, and the host address of a group.
//!
//! An instruction that does not know of it finds the scratch registers empty and the state in memory up to date
//! ([`spill_all`](Translator::spill_all)), and so does everything that may leave the block: side exits write
//! back what is newer than memory, and checks are made when nothing is.

use super::Translator;
use super::classify::Kind;
use crate::emitter::{Reg, Width};
use crate::layout::{HOST, T0, T1, T2, gpr};

/// What a scratch register holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Cached {
    /// Nothing that is worth keeping.
    #[default]
    Nothing,
    /// All 64 bits of a guest register that stays in memory; `newer` than what is there.
    Register { guest: u8, newer: bool },
    /// The host address of a group's first byte.
    CheckGroup(u8),
}

/// The scratch registers. T2 survives memory checks, so it is taken first.
const SCRATCH: [Reg; 3] = [T2, T1, T0];

#[inline(always)]
fn index_of(register: Reg) -> usize {
    match register {
        T1 => 1,
        T0 => 2,
        _ => 0,
    }
}

/// The scratch registers and what they hold.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct ScratchRegisters {
    cached: [Cached; 3],
    /// The instruction that used it last.
    used: [u8; 3],
    /// Taken by the instruction under translation.
    pinned: [bool; 3],
}

impl ScratchRegisters {
    /// Guest registers in scratch registers; `newer`: those that memory does not have.
    pub(super) fn registers(&self, newer_only: bool) -> [Option<(Reg, u8)>; 3] {
        std::array::from_fn(|k| match self.cached[k] {
            Cached::Register { guest, newer } if newer || !newer_only => Some((SCRATCH[k], guest)),
            _ => None,
        })
    }
    /// The scratch register that holds guest register `n`.
    pub(super) fn holder(&self, n: u8) -> Option<Reg> {
        let holds = |cached: &Cached| matches!(cached, Cached::Register { guest, .. } if *guest == n);
        self.cached.iter().position(holds).map(|k| SCRATCH[k])
    }
    /// Whether `register` holds nothing and is not in use.
    pub(super) fn is_empty(&self, register: Reg) -> bool {
        let k = index_of(register);
        self.cached[k] == Cached::Nothing && !self.pinned[k]
    }
    /// Whether T1 holds the address of `group`.
    pub(super) fn has_group(&self, group: u8) -> bool {
        self.cached[index_of(T1)] == Cached::CheckGroup(group)
    }
    /// T1 holds the address of `group` now.
    pub(super) fn set_group(&mut self, group: u8) {
        self.cached[index_of(T1)] = Cached::CheckGroup(group);
    }
    /// What `register` cached is gone.
    pub(super) fn forget(&mut self, register: Reg) {
        self.cached[index_of(register)] = Cached::Nothing;
    }
    /// No guest code has run that keeps anything.
    pub(super) fn forget_all(&mut self) {
        *self = ScratchRegisters::default();
    }
    /// Groups' addresses are gone.
    pub(super) fn forget_groups(&mut self) {
        for cached in self.cached.iter_mut().filter(|cached| matches!(cached, Cached::CheckGroup(_))) {
            *cached = Cached::Nothing;
        }
    }
    /// The instruction under translation needs `register` to its end.
    pub(super) fn pin(&mut self, register: Reg) {
        self.pinned[index_of(register)] = true;
    }
}

/// Whether an instruction of this kind works with what scratch registers hold.
pub(super) fn keeps_cached(kind: Kind) -> bool {
    matches!(kind, Kind::Nothing | Kind::Generic { .. } | Kind::Mmx | Kind::Lea | Kind::Extend | Kind::Jcc)
}

impl Translator<'_> {
    /// Before an instruction: frees what it needs free.
    pub(super) fn prepare_scratch(&mut self, kind: Kind) {
        self.scratch.pinned = [false; 3];
        match kind {
            _ if keeps_cached(kind) => {}
            Kind::Push | Kind::Pop | Kind::Leave => {
                self.spill(T0);
                self.spill(T2);
                if !matches!(self.scratch.cached[index_of(T1)], Cached::CheckGroup(_)) {
                    self.spill(T1);
                }
            }
            _ => self.spill_all(),
        }
    }
    /// After it: what it left in scratch registers without a note is nothing.
    pub(super) fn leave_scratch(&mut self, kind: Kind) {
        match kind {
            _ if keeps_cached(kind) => {}
            Kind::Push | Kind::Pop | Kind::Leave => {
                self.scratch.forget(T0);
                self.scratch.forget(T2);
            }
            _ => self.scratch.forget_all(),
        }
    }
    /// Writes what is newer than memory; it stays cached. Keeps flags.
    pub(super) fn write_back(&mut self) {
        for (host, cached) in SCRATCH.into_iter().zip(&mut self.scratch.cached) {
            if let Cached::Register { guest, newer } = cached
                && std::mem::take(newer)
            {
                self.e.mov_mr(Width::Qword, gpr(*guest), host);
            }
        }
    }
    /// Frees `register`. Keeps flags.
    pub(super) fn spill(&mut self, register: Reg) {
        let k = index_of(register);
        if let Cached::Register { guest, newer: true } = self.scratch.cached[k] {
            self.e.mov_mr(Width::Qword, gpr(guest), register);
        }
        self.scratch.cached[k] = Cached::Nothing;
    }
    /// Frees all. Keeps flags.
    pub(super) fn spill_all(&mut self) {
        self.write_back();
        self.scratch.forget_all();
    }

    /// Frees a register for the rest of the instruction: an empty one, else what was used longest ago.
    pub(super) fn take_scratch(&mut self) -> Reg {
        let scratch = &self.scratch;
        let rank = |k: &usize| {
            let k = *k;
            match scratch.cached[k] {
                Cached::Nothing => (0, 0),
                Cached::Register { guest, .. } => (1 + usize::from(self.used_soon(guest)), scratch.used[k]),
                Cached::CheckGroup(_) => (1, scratch.used[k]),
            }
        };
        let best = (0..3).filter(|&k| !scratch.pinned[k]).min_by_key(rank);
        let Some(k) = best else { unreachable!("no instruction needs so many scratch registers") };
        self.spill(SCRATCH[k]);
        self.scratch.pinned[k] = true;
        self.scratch.used[k] = self.number as u8;
        SCRATCH[k]
    }
    /// The host register for guest register `n` during the instruction, its own or a free one; `load`: with its
    /// value; `written`: it will be newer than memory.
    pub(super) fn guest_register(&mut self, n: u8, load: bool, written: bool) -> Reg {
        if let Some(host) = HOST[n as usize & 15] {
            return host;
        }
        let host = match self.scratch.holder(n) {
            Some(host) => host,
            None => {
                let host = self.take_scratch();
                if load {
                    self.e.mov_rm(Width::Qword, host, gpr(n));
                }
                self.scratch.cached[index_of(host)] = Cached::Register { guest: n, newer: false };
                host
            }
        };
        let k = index_of(host);
        self.scratch.pinned[k] = true;
        self.scratch.used[k] = self.number as u8;
        if written {
            self.scratch.cached[k] = Cached::Register { guest: n, newer: true };
        }
        host
    }
    /// Loads guest register `n`, which stays in memory, into `free`, or finds it where it is cached.
    pub(super) fn cached_or_loaded(&mut self, n: u8, free: Reg) -> Reg {
        if let Some(host) = self.scratch.holder(n) {
            return host;
        }
        self.spill(free);
        self.e.mov_rm(Width::Qword, free, gpr(n));
        self.scratch.cached[index_of(free)] = Cached::Register { guest: n, newer: false };
        free
    }
    /// Whether one of the next instructions uses guest register `n` and finds it cached if it is cached now.
    pub(super) fn used_soon(&self, n: u8) -> bool {
        const NEAR: usize = 6;
        let next = self.plan.steps.iter().skip(self.number + 1).take(NEAR);
        next.take_while(|step| step.keeps_cached).any(|step| step.registers >> n & 1 != 0)
    }
}
