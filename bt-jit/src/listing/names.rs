//! What listings call thunks and places of the vCPU's state.

use crate::code_memory::CodeOffset;
use crate::engine_area::INLINE_CACHES;
use crate::layout;
use crate::thunks::Thunks;
use std::collections::BTreeMap;
use trimotor_cpu::state::reg_file;

const GPR: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
/// Host addresses of groups have so many places.
const CHECK_GROUPS: i32 = 16;

/// Names by address.
pub struct Names {
    thunks: BTreeMap<u64, &'static str>,
    /// What code elsewhere is called.
    elsewhere: Option<&'static str>,
    state: BTreeMap<u64, String>,
}

impl Names {
    /// As seen from a block at `base` that is shown as if it were at 0.
    pub fn new(thunks: &Thunks, base: CodeOffset) -> Names {
        let relative = |at: CodeOffset| (at.0 as u64).wrapping_sub(base.0 as u64);
        let thunks = thunks.named().into_iter().map(|(name, at)| (relative(at), name)).collect();
        Names { thunks, elsewhere: None, state: state() }
    }
    /// The same where links lead to other blocks.
    #[must_use]
    pub fn with_blocks(self) -> Names {
        Names { elsewhere: Some("block"), ..self }
    }
    /// The thunk at `address`, or what else is there.
    pub fn code(&self, address: u64) -> Option<String> {
        let thunk = self.thunks.get(&address).copied();
        thunk.or(self.elsewhere).map(str::to_owned)
    }
    /// The state at `displacement` from the host's RSP.
    pub fn state(&self, displacement: u64) -> Option<String> {
        self.state.get(&displacement).cloned()
    }
}

fn state() -> BTreeMap<u64, String> {
    let fields = [
        ("tlb", layout::TLB),
        ("budget", layout::BUDGET),
        ("jump_key", layout::JUMP_KEY),
        ("arith", layout::ARITH),
        ("rip", layout::RIP),
        ("page_rip", reg_file::BLOCK_RIP as i32),
        ("vector_live", layout::VECTOR_LIVE),
        ("spare", layout::SPARE),
        ("spare1", layout::SPARE + 8),
        ("flags_operand", layout::FLAGS_OPERAND),
        ("x87_live", layout::X87_LIVE),
        ("x87_page", layout::X87_PAGE),
        ("x87_offset", layout::X87_OFFSET),
        ("x87_operand", layout::X87_OPERAND),
        ("x87_segment", layout::X87_SEGMENT),
        ("jumps", layout::JUMPS),
        ("probes", layout::PROBES),
        ("rflags", layout::RFLAGS),
        ("cpl", layout::CPL),
        ("retired", layout::RETIRED),
        ("budget_mark", layout::BUDGET_MARK),
        ("budget_reserve", layout::BUDGET_RESERVE),
        ("shadow_at", layout::SHADOW_AT),
        ("shadow_is_ss", layout::SHADOW_IS_SS),
        ("kernel_gs_base", layout::KERNEL_GS_BASE),
        ("pending", layout::PENDING),
        ("cr0", layout::control_register(0)),
        ("cr2", layout::control_register(2)),
        ("cr3", layout::control_register(3)),
        ("cr4", layout::control_register(4)),
        ("fs_descriptor_base", layout::segment_descriptor_base(4)),
        ("gs_descriptor_base", layout::segment_descriptor_base(5)),
        ("efer", layout::EFER),
    ];
    let mut names: BTreeMap<u64, String> =
        fields.map(|(name, at)| (at as u64, name.to_owned())).into_iter().collect();
    for n in 0..CHECK_GROUPS {
        names.insert((layout::CHECK_GROUPS + n * 8) as u64, format!("group{n}"));
    }
    for n in 0..INLINE_CACHES as u32 {
        names.insert(layout::ic_tag(n) as u64, format!("ic{n}"));
        names.insert(layout::ic_delta(n) as u64, format!("ic{n}_delta"));
        names.insert(layout::ic_candidate(n) as u64, format!("ic{n}_asked"));
        names.insert(layout::ic_misses(n) as u64, format!("ic{n}_misses"));
        names.entry(layout::ic_used(n).0 as u64).or_insert(format!("ic{n}_used"));
    }
    for (n, name) in GPR.iter().enumerate() {
        names.insert(n as u64 * 8, format!("guest_{name}"));
    }
    for (n, name) in SEGMENTS.iter().enumerate() {
        names.insert(reg_file::SEG_BASE as u64 + n as u64 * 8, format!("{name}_base"));
        names.insert(layout::selector(n as u8) as u64, (*name).to_owned());
    }
    names
}
