//! Commands of the driver (5.1.6.5): class, command, data; and a byte by which the card says whether it did it.
//!
//! | class | command | data |
//! |---|---|---|
//! | 0 receiver | 0 to 5: a mode ([`mode`](super::filter::mode)) | on or off |
//! | 1 address | 0: addresses of others, 1: its own | two lists with a count of 32 bits each; 6 bytes |
//! | 2 VLAN | 0: wanted, 1: not | 16 bits |
//! | 3 announcement | 0: it was done | |
//! | 4 pairs | 0: so many are used | 16 bits |
//! | 5 offloads | 0: these are taken | 64 bits |

use super::filter::mode;
use super::{Net, feature};
use crate::virtio::io::Io;
use crate::virtio::queue::Chain;

/// The longest command: two lists of a few thousand addresses.
const MOST_BYTES: u64 = 64 << 10;
const OK: u8 = 0;
const FAILED: u8 = 1;

impl Net {
    pub(super) fn take_commands(&mut self, queue: usize, io: &mut Io<'_>) {
        loop {
            while let Some(chain) = io.pop(queue) {
                let Some(done) = self.take_command(&chain, io) else { return };
                let answer = if done { OK } else { FAILED };
                let room = chain.writable().min(1);
                if io.write(chain.writable_segments(), 0, &[answer][..room as usize]).is_none() {
                    return;
                }
                io.push(queue, chain, room);
            }
            if !io.arm(queue) {
                return;
            }
        }
    }
    /// Does a command; `None` where it cannot be read.
    fn take_command(&mut self, chain: &Chain, io: &mut Io<'_>) -> Option<bool> {
        if chain.readable() > MOST_BYTES {
            return Some(false);
        }
        let mut bytes = vec![0; chain.readable() as usize];
        io.read(chain.readable_segments(), 0, &mut bytes)?;
        let Some(([class, command], data)) = bytes.split_first_chunk() else { return Some(false) };
        Some(self.obey(*class, *command, data, io).is_some())
    }
    /// `None` where it is no command, or not with these features.
    fn obey(&mut self, class: u8, command: u8, data: &[u8], io: &Io<'_>) -> Option<()> {
        let needs = |bit: u64| io.has(bit).then_some(());
        match (class, command) {
            (0, mode::PROMISCUOUS | mode::ALL_MULTI) => {
                needs(feature::CTRL_RX)?;
                self.filter.set_mode(command, *data.first()? != 0);
            }
            (0, ..mode::COUNT) => {
                needs(feature::CTRL_RX_EXTRA)?;
                self.filter.set_mode(command, *data.first()? != 0);
            }
            (1, 0) => {
                needs(feature::CTRL_RX)?;
                let (unicast, rest) = addresses(data)?;
                let (multicast, _) = addresses(rest)?;
                self.filter.set_addresses(unicast, multicast);
            }
            (1, 1) => {
                needs(feature::CTRL_MAC_ADDR)?;
                self.mac = data.try_into().ok()?;
            }
            (2, 0 | 1) => {
                needs(feature::CTRL_VLAN)?;
                let vlan = u16::from_le_bytes(data.try_into().ok()?);
                self.filter.set_vlan(vlan, command == 0).then_some(())?;
            }
            (3, 0) => {
                needs(feature::GUEST_ANNOUNCE)?;
                self.announce = false;
            }
            (4, 0) => {
                needs(feature::MQ)?;
                let pairs = u16::from_le_bytes(data.try_into().ok()?);
                (1..=self.pairs).contains(&pairs).then_some(())?;
                self.used_pairs = pairs;
                self.cable.room();
            }
            (5, 0) => {
                needs(feature::CTRL_GUEST_OFFLOADS)?;
                let offloads = u64::from_le_bytes(data.try_into().ok()?);
                (offloads & !(io.features() & feature::GUEST_OFFLOADS) == 0).then_some(())?;
                self.offloads = offloads;
                self.tell_offloads();
            }
            _ => return None,
        }
        Some(())
    }
}

/// A list of addresses, and what follows it.
fn addresses(data: &[u8]) -> Option<(Vec<[u8; 6]>, &[u8])> {
    let (count, rest) = data.split_first_chunk::<4>()?;
    let bytes = (u32::from_le_bytes(*count) as usize).checked_mul(6)?;
    let (list, rest) = rest.split_at_checked(bytes)?;
    Some((list.chunks_exact(6).filter_map(|address| address.try_into().ok()).collect(), rest))
}
