//! Where pages of RAM may be written inline: from a RAM page to the table entries that lead to it.
//!
//! When a page comes to hold code or a page table, the right goes from those entries. The chains may
//! name entries that have changed since: each is looked at before it is believed. When the nodes run
//! out, the MMU puts the chains together anew from what its tables hold.

use trimotor_bus::GuestMemory;

/// Nodes at first; more where the tables hold more than half of that.
const NODES: usize = 1 << 16;

/// An entry of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) space: u8,
    pub(super) kind: u8,
    pub(super) index: u16,
}

#[derive(Clone, Copy)]
struct Node {
    ram_page: u32,
    /// The next node's number plus one; 0 ends the chain.
    next: u32,
    place: Place,
}

/// The chains.
pub(super) struct ReverseMap {
    /// By RAM page: the first node's number plus one, or 0. Zeroed memory.
    heads: Box<[u32]>,
    nodes: Vec<Node>,
    limit: usize,
}

impl ReverseMap {
    pub(super) fn new(memory: &GuestMemory) -> ReverseMap {
        let heads = vec![0; memory.mapped_pages() as usize].into_boxed_slice();
        ReverseMap { heads, nodes: Vec::new(), limit: NODES }
    }
    /// Notes that `place` allows to write to a RAM page.
    #[inline]
    pub(super) fn add(&mut self, ram_page: u64, place: Place) {
        let head = &mut self.heads[ram_page as usize];
        if let Some(first) = head.checked_sub(1)
            && self.nodes[first as usize].place == place
        {
            return;
        }
        self.nodes.push(Node { ram_page: ram_page as u32, next: *head, place });
        *head = self.nodes.len() as u32;
    }
    /// The RAM pages that have chains.
    pub(super) fn pages(&self) -> Vec<u64> {
        let mut pages: Vec<u64> = self.nodes.iter().map(|node| node.ram_page as u64).collect();
        pages.sort_unstable();
        pages.dedup();
        pages
    }
    /// Whether the chains must be put together anew.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.nodes.len() >= self.limit
    }
    /// Empties all chains.
    pub(super) fn clear(&mut self) {
        for node in &self.nodes {
            self.heads[node.ram_page as usize] = 0;
        }
        self.nodes.clear();
    }
    /// Sets the limit for the nodes there are after the chains were put together.
    pub(super) fn set_limit(&mut self) {
        self.limit = NODES.max(2 * self.nodes.len());
    }
    /// Takes the chain of a RAM page: calls `f` for each place.
    pub(super) fn take(&mut self, ram_page: u64, mut f: impl FnMut(Place)) {
        let mut at = std::mem::take(&mut self.heads[ram_page as usize]);
        while let Some(i) = at.checked_sub(1) {
            let node = self.nodes[i as usize];
            f(node.place);
            at = node.next;
        }
    }
}
