//! What the free registers hold from one instruction to the next: guest registers that stay in memory, so
//! that a run of instructions on them loads and stores each once, and the host address of a group.
//!
//! An instruction that does not know of it finds the free registers empty and the state in memory up to date
//! ([`vacate_all`](Translator::vacate_all)), and so does everything that may leave the block: side exits write
//! back what is newer than memory, and checks are made when nothing is.

use super::Translator;
use super::classify::Kind;
use crate::emitter::{Reg, Width};
use crate::layout::{HOST, T0, T1, T2, gpr};

/// What a free register holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Held {
    /// Nothing that is worth keeping.
    #[default]
    Nothing,
    /// All 64 bits of a guest register that stays in memory; `newer` than what is there.
    Register { guest: u8, newer: bool },
    /// The host address of a group's first byte.
    Group(u8),
}

/// The free registers. T2 survives memory checks, so it is taken first.
const FREE: [Reg; 3] = [T2, T1, T0];

#[inline(always)]
fn index_of(register: Reg) -> usize {
    match register {
        T1 => 1,
        T0 => 2,
        _ => 0,
    }
}

/// The free registers and what they hold.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Free {
    held: [Held; 3],
    /// The instruction that used it last.
    used: [u8; 3],
    /// Taken by the instruction under translation.
    pinned: [bool; 3],
}

impl Free {
    /// Guest registers in free registers; `newer`: those that memory does not have.
    pub(super) fn registers(&self, newer_only: bool) -> [Option<(Reg, u8)>; 3] {
        std::array::from_fn(|k| match self.held[k] {
            Held::Register { guest, newer } if newer || !newer_only => Some((FREE[k], guest)),
            _ => None,
        })
    }
    /// The free register that holds guest register `n`.
    pub(super) fn holder(&self, n: u8) -> Option<Reg> {
        let holds = |held: &Held| matches!(held, Held::Register { guest, .. } if *guest == n);
        self.held.iter().position(holds).map(|k| FREE[k])
    }
    /// Whether `register` holds nothing and is not in use.
    pub(super) fn is_empty(&self, register: Reg) -> bool {
        let k = index_of(register);
        self.held[k] == Held::Nothing && !self.pinned[k]
    }
    /// Whether T1 holds the address of `group`.
    pub(super) fn has_group(&self, group: u8) -> bool {
        self.held[index_of(T1)] == Held::Group(group)
    }
    /// T1 holds the address of `group` now.
    pub(super) fn set_group(&mut self, group: u8) {
        self.held[index_of(T1)] = Held::Group(group);
    }
    /// What `register` held is gone.
    pub(super) fn forget(&mut self, register: Reg) {
        self.held[index_of(register)] = Held::Nothing;
    }
    /// No guest code has run that keeps anything.
    pub(super) fn forget_all(&mut self) {
        *self = Free::default();
    }
    /// Groups' addresses are gone.
    pub(super) fn forget_groups(&mut self) {
        for held in self.held.iter_mut().filter(|held| matches!(held, Held::Group(_))) {
            *held = Held::Nothing;
        }
    }
    /// The instruction under translation needs `register` to its end.
    pub(super) fn pin(&mut self, register: Reg) {
        self.pinned[index_of(register)] = true;
    }
}

/// Whether an instruction of this kind works with what free registers hold.
pub(super) fn keeps_held(kind: Kind) -> bool {
    matches!(kind, Kind::Nothing | Kind::Generic { .. } | Kind::Mmx | Kind::Lea | Kind::Extend | Kind::Jcc)
}

impl Translator<'_> {
    /// Before an instruction: frees what it needs free.
    pub(super) fn prepare_free(&mut self, kind: Kind) {
        self.free.pinned = [false; 3];
        match kind {
            _ if keeps_held(kind) => {}
            Kind::Push | Kind::Pop | Kind::Leave => {
                self.vacate(T0);
                self.vacate(T2);
                if !matches!(self.free.held[index_of(T1)], Held::Group(_)) {
                    self.vacate(T1);
                }
            }
            _ => self.vacate_all(),
        }
    }
    /// After it: what it left in free registers without a note is nothing.
    pub(super) fn leave_free(&mut self, kind: Kind) {
        match kind {
            _ if keeps_held(kind) => {}
            Kind::Push | Kind::Pop | Kind::Leave => {
                self.free.forget(T0);
                self.free.forget(T2);
            }
            _ => self.free.forget_all(),
        }
    }
    /// Writes what is newer than memory; it stays held. Keeps flags.
    pub(super) fn write_back(&mut self) {
        for (host, held) in FREE.into_iter().zip(&mut self.free.held) {
            if let Held::Register { guest, newer } = held
                && std::mem::take(newer)
            {
                self.e.mov_mr(Width::Qword, gpr(*guest), host);
            }
        }
    }
    /// Frees `register`. Keeps flags.
    pub(super) fn vacate(&mut self, register: Reg) {
        let k = index_of(register);
        if let Held::Register { guest, newer: true } = self.free.held[k] {
            self.e.mov_mr(Width::Qword, gpr(guest), register);
        }
        self.free.held[k] = Held::Nothing;
    }
    /// Frees all. Keeps flags.
    pub(super) fn vacate_all(&mut self) {
        self.write_back();
        self.free.forget_all();
    }

    /// Frees a register for the rest of the instruction: an empty one, else what was used longest ago.
    pub(super) fn take_free(&mut self) -> Reg {
        let free = &self.free;
        let rank = |k: &usize| {
            let k = *k;
            match free.held[k] {
                Held::Nothing => (0, 0),
                Held::Register { guest, .. } => (1 + usize::from(self.used_soon(guest)), free.used[k]),
                Held::Group(_) => (1, free.used[k]),
            }
        };
        let best = (0..3).filter(|&k| !free.pinned[k]).min_by_key(rank);
        let Some(k) = best else { unreachable!("no instruction needs so many free registers") };
        self.vacate(FREE[k]);
        self.free.pinned[k] = true;
        self.free.used[k] = self.number as u8;
        FREE[k]
    }
    /// The host register for guest register `n` during the instruction, its own or a free one; `load`: with its
    /// value; `written`: it will be newer than memory.
    pub(super) fn guest_register(&mut self, n: u8, load: bool, written: bool) -> Reg {
        if let Some(host) = HOST[n as usize & 15] {
            return host;
        }
        let host = match self.free.holder(n) {
            Some(host) => host,
            None => {
                let host = self.take_free();
                if load {
                    self.e.mov_rm(Width::Qword, host, gpr(n));
                }
                self.free.held[index_of(host)] = Held::Register { guest: n, newer: false };
                host
            }
        };
        let k = index_of(host);
        self.free.pinned[k] = true;
        self.free.used[k] = self.number as u8;
        if written {
            self.free.held[k] = Held::Register { guest: n, newer: true };
        }
        host
    }
    /// Loads guest register `n`, which stays in memory, into `free`, or finds it where it is held.
    pub(super) fn held_or_loaded(&mut self, n: u8, free: Reg) -> Reg {
        if let Some(host) = self.free.holder(n) {
            return host;
        }
        self.vacate(free);
        self.e.mov_rm(Width::Qword, free, gpr(n));
        self.free.held[index_of(free)] = Held::Register { guest: n, newer: false };
        free
    }
    /// Whether one of the next instructions uses guest register `n` and finds it held if it is held now.
    pub(super) fn used_soon(&self, n: u8) -> bool {
        const NEAR: usize = 6;
        let next = self.plan.steps.iter().skip(self.number + 1).take(NEAR);
        next.take_while(|step| step.keeps_held).any(|step| step.registers >> n & 1 != 0)
    }
}
