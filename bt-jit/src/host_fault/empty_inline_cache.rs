//! Accesses that took an empty inline cache for their page's.
//!
//! A check of user code compares the linear page with its inline cache's tag (see
//! [`InlineCache`](crate::engine_area::InlineCache)), and there is no tag that no address has. The one that empty
//! inline caches have is not canonical, and leads to the host's lowest page, which no process has: the access faults,
//! and is sent from here to its slow path, which raises #GP(0) as the guest expects.

use super::report::Interrupted;
use crate::cache::CodePlace;
use crate::engine_area::{INLINE_CACHES, InlineCache, area_of};
use crate::layout::{T1, ic_delta};

/// The end of a check: JA to the slow path, displacement, ADD of the inline cache's delta to T1, displacement.
const JA: [u8; 2] = [0x0F, 0x87];
const ADD_T1_STATE: [u8; 4] = [0x4C, 0x03, 0x9C, 0x24];
const END_BYTES: usize = 14;
/// Host code between the end of a check and the access, at most.
const FAR: u64 = 512;

/// Where to go on after an access by an empty inline cache.
pub struct SlowPath {
    /// The host address of the code.
    pub pc: u64,
    /// What is in T1 there.
    pub linear: u64,
}

/// The slow path of the access that was interrupted, if an empty inline cache let it through.
pub fn slow_path(interrupted: &Interrupted<'_>) -> Option<SlowPath> {
    let pc = interrupted.pc();
    if interrupted.address >= InlineCache::NOWHERE_BYTES {
        return None;
    }
    let CodePlace::Block { offset, .. } = interrupted.code.place_of(pc)? else { return None };
    let first = pc - u64::from(offset).min(FAR);
    // SAFETY: code of one block, which is mapped for reading while the translator lives.
    let code = unsafe { std::slice::from_raw_parts(first as *const u8, (pc - first) as usize) };
    let ends = code.windows(END_BYTES).enumerate().rev();
    let (at, displacement) = ends.filter_map(|(at, end)| check_end(end).map(|found| (at, found))).find_map(
        |(at, (displacement, ic))| {
            let is_empty = area_of(interrupted.core).inline_caches[ic].tag == InlineCache::NOWHERE;
            is_empty.then_some((at, displacement))
        },
    )?;
    let after_ja = first + (at + JA.len() + 4) as u64;
    Some(SlowPath { pc: after_ja.wrapping_add_signed(displacement.into()), linear: InlineCache::NOWHERE })
}

/// The displacement of the jump and the inline cache, if these bytes end a check.
fn check_end(bytes: &[u8]) -> Option<(i32, usize)> {
    let (ja, rest) = bytes.split_first_chunk::<2>()?;
    let (displacement, rest) = rest.split_first_chunk::<4>()?;
    let (add, rest) = rest.split_first_chunk::<4>()?;
    let (delta, _) = rest.split_first_chunk::<4>()?;
    if *ja != JA || *add != ADD_T1_STATE {
        return None;
    }
    const _: () = assert!(T1 as u8 == 11, "ADD_T1_STATE names R11");
    let from_first = i32::from_le_bytes(*delta).checked_sub(ic_delta(0))?;
    let ic = usize::try_from(from_first).ok()? / size_of::<InlineCache>();
    (ic < INLINE_CACHES && ic_delta(ic as u32) == ic_delta(0) + from_first)
        .then_some((i32::from_le_bytes(*displacement), ic))
}
