//! Breakpoints and watchpoints, as gdb sets them. The machine hears of them when it goes on.

use crate::target::Machine;
use gdbstub::target::TargetResult;
use gdbstub::target::ext::breakpoints::{
    Breakpoints, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint, SwBreakpointOps,
    WatchKind,
};
use std::collections::BTreeSet;
use trimotor_cpu::Watchpoint;

/// Breakpoints of each kind, and watchpoints, at most.
const MOST_BREAKPOINTS: usize = 4096;
const MOST_WATCHPOINTS: usize = 64;
/// Bytes that one watchpoint watches at most.
const LONGEST_WATCH: u64 = 1 << 16;

impl Breakpoints for Machine {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }
    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

fn add(to: &mut BTreeSet<u64>, address: u64) -> bool {
    let has_room = to.len() < MOST_BREAKPOINTS;
    if has_room {
        to.insert(address);
    }
    has_room
}

/// No byte of memory is replaced: software breakpoints are as hardware's, and as many.
impl SwBreakpoint for Machine {
    fn add_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(add(&mut self.software, address))
    }
    fn remove_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.software.remove(&address))
    }
}

impl HwBreakpoint for Machine {
    fn add_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(add(&mut self.hardware, address))
    }
    fn remove_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.hardware.remove(&address))
    }
}

fn watchpoint(address: u64, bytes: u64, kind: WatchKind) -> Watchpoint {
    let kind = match kind {
        WatchKind::Write => trimotor_cpu::WatchKind::Write,
        WatchKind::Read => trimotor_cpu::WatchKind::Read,
        WatchKind::ReadWrite => trimotor_cpu::WatchKind::Access,
    };
    Watchpoint { address, bytes, kind }
}

impl HwWatchpoint for Machine {
    fn add_hw_watchpoint(&mut self, address: u64, bytes: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        let fits = (1..=LONGEST_WATCH).contains(&bytes) && address.checked_add(bytes - 1).is_some();
        if !fits || self.watchpoints.len() >= MOST_WATCHPOINTS {
            return Ok(false);
        }
        let watchpoint = watchpoint(address, bytes, kind);
        if !self.watchpoints.contains(&watchpoint) {
            self.watchpoints.push(watchpoint);
        }
        Ok(true)
    }
    fn remove_hw_watchpoint(
        &mut self,
        address: u64,
        bytes: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        let gone = watchpoint(address, bytes, kind);
        let before = self.watchpoints.len();
        self.watchpoints.retain(|watchpoint| *watchpoint != gone);
        Ok(self.watchpoints.len() < before)
    }
}
