//! Single refcounts in a block: one to 64 bits each, big-endian from a byte on, and from the lowest bit up below that.
//! ("Qcow2 Image File Format", "Refcounts".)

use crate::bytes::be_u64;

/// Count `index` of a block whose counts have 2 to the power of `order` bits.
pub(super) fn count_in(bytes: &[u8], index: usize, order: u32) -> u64 {
    let byte = |at: usize| u64::from(bytes.get(at).copied().unwrap_or(0));
    match order {
        0..=2 => {
            let bits = 1 << order;
            byte(index * bits / 8) >> (index * bits % 8) & ((1 << bits) - 1)
        }
        3 => byte(index),
        4 => byte(2 * index) << 8 | byte(2 * index + 1),
        5 => u64::from(crate::bytes::be_u32(bytes, 4 * index)),
        _ => be_u64(bytes, 8 * index),
    }
}

/// Sets count `index` of such a block.
pub(super) fn set_count_in(bytes: &mut [u8], index: usize, order: u32, count: u64) {
    let big_endian = count.to_be_bytes();
    if order < 3 {
        let bits = 1 << order;
        let (at, shift) = (index * bits / 8, index * bits % 8);
        if let Some(byte) = bytes.get_mut(at) {
            let mask = ((1u8 << bits) - 1) << shift;
            *byte = *byte & !mask | (count as u8) << shift;
        }
        return;
    }
    let width = 1 << (order - 3);
    if let Some(place) = bytes.get_mut(index * width..(index + 1) * width) {
        place.copy_from_slice(&big_endian[8 - width..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_each_width_are_kept_apart() {
        for order in 0..=6 {
            let mut bytes = vec![0; 64];
            let most = if order == 6 { u64::MAX } else { (1 << (1 << order)) - 1 };
            set_count_in(&mut bytes, 3, order, most);
            set_count_in(&mut bytes, 4, order, 1);
            let counts: Vec<_> = (2..6).map(|index| count_in(&bytes, index, order)).collect();
            assert_eq!(counts, [0, most, 1, 0], "order {order}");
            set_count_in(&mut bytes, 3, order, 0);
            assert_eq!(count_in(&bytes, 3, order), 0);
            assert_eq!(count_in(&bytes, 4, order), 1);
        }
    }
}
