//! Changes in a saved state, from a seed.

use serde_json::Value;

/// A sequence of numbers (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
    /// A number of any size, often at the edge of one.
    pub fn edge(&mut self) -> u64 {
        let bits = self.below(65) as u32;
        let limit = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        match self.below(4) {
            0 => limit,
            1 => limit.wrapping_add(1),
            2 => self.next() & limit,
            _ => self.below(256),
        }
    }
}

/// Changes one value somewhere in `state`.
pub fn mutate(state: &mut Value, random: &mut Random) {
    match state {
        Value::Null => *state = Value::from(random.edge()),
        Value::Bool(value) => *value = !*value,
        Value::Number(_) => {
            let number = random.edge();
            *state = if random.below(8) == 0 { Value::from(number as i64) } else { Value::from(number) };
        }
        Value::String(text) => text.push('x'),
        Value::Array(items) if items.is_empty() => items.push(Value::from(random.edge())),
        Value::Array(items) => {
            let at = random.below(items.len() as u64) as usize;
            match random.below(8) {
                0 => _ = items.remove(at),
                1 => {
                    // More of the same: queues grow beyond what the chip has.
                    let item = items[at].clone();
                    let copies = random.below(40) as usize;
                    items.extend(std::iter::repeat_n(item, copies));
                }
                _ => mutate(&mut items[at], random),
            }
        }
        Value::Object(fields) if fields.is_empty() => {}
        Value::Object(fields) => {
            let at = random.below(fields.len() as u64) as usize;
            if let Some(value) = fields.values_mut().nth(at) {
                // An option that is empty, or something else that is not there.
                if random.below(16) == 0 { *value = Value::Null } else { mutate(value, random) }
            }
        }
    }
}
