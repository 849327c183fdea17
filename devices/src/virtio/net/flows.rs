//! Which pair of queues a flow is at: the one by which the guest last sent something of it (5.1.6.5.6, "automatic receive steering").

/// Flows that are told apart.
const FLOWS: usize = 256;

/// The last pair of each flow, by a sum of its addresses and ports that is the same both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flows(Box<[u8; FLOWS]>);

impl Default for Flows {
    fn default() -> Self {
        Self(Box::new([0; FLOWS]))
    }
}

impl Flows {
    pub(super) fn sent(&mut self, frame: &[u8], pair: u8) {
        if let Some(flow) = flow(frame) {
            self.0[flow] = pair;
        }
    }
    pub(super) fn pair_of(&self, frame: &[u8]) -> u8 {
        flow(frame).map_or(0, |flow| self.0[flow])
    }
    pub(super) fn save(&self) -> Vec<u8> {
        self.0.to_vec()
    }
    pub(super) fn restored(state: &[u8]) -> Option<Self> {
        Some(Self(Box::new(state.try_into().ok()?)))
    }
}

/// The number of a frame's flow, if it is TCP or UDP over IP.
fn flow(frame: &[u8]) -> Option<usize> {
    let tagged = frame.get(12..14)? == [0x81, 0];
    let at = if tagged { 18 } else { 14 };
    let (addresses, protocol, ports) = match frame.get(at - 2..at)? {
        [8, 0] => {
            let header = usize::from(frame.get(at)? & 0xF) * 4;
            // Later fragments have no ports.
            if frame.get(at + 6..at + 8)? != [0, 0] && frame.get(at + 6..at + 8)? != [0x40, 0] {
                return None;
            }
            (frame.get(at + 12..at + 20)?, *frame.get(at + 9)?, at + header)
        }
        [0x86, 0xDD] => (frame.get(at + 8..at + 40)?, *frame.get(at + 6)?, at + 40),
        _ => return None,
    };
    if protocol != 6 && protocol != 17 {
        return None;
    }
    let ports = frame.get(ports..ports + 4)?;
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    let (near, far) = addresses.split_at(addresses.len() / 2);
    // Exclusive or: which side is which does not matter.
    Some(usize::from(
        sum(near) ^ sum(far) ^ sum(&ports[..2]).rotate_left(3) ^ sum(&ports[2..]).rotate_left(3),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(from: u8, to: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[12] = 8;
        (frame[14], frame[23]) = (0x45, 6);
        (frame[29], frame[33]) = (from, to);
        frame[34..36].copy_from_slice(&ports[0].to_be_bytes());
        frame[36..38].copy_from_slice(&ports[1].to_be_bytes());
        frame
    }

    #[test]
    fn answers_come_where_questions_went() {
        let mut flows = Flows::default();
        flows.sent(&segment(1, 2, [1000, 80]), 3);
        assert_eq!(flows.pair_of(&segment(2, 1, [80, 1000])), 3);
        assert_eq!(flows.pair_of(&segment(2, 1, [80, 1001])), 0);
        for length in 0..60 {
            let frame = segment(2, 1, [80, 1000]);
            _ = flows.pair_of(&frame[..length]);
        }
        assert_eq!(Flows::restored(&flows.save()), Some(flows));
        assert_eq!(Flows::restored(&[0; 3]), None);
    }
}
