//! Short names for people, which are made without asking for memory.

use std::fmt;

/// The most bytes of a label; longer names are cut.
const MOST: usize = 31;

/// What answers a port or an address, in a word or two: `i8042`, `local APIC EOI`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Label {
    bytes: [u8; MOST],
    len: u8,
}

impl Label {
    /// Nobody is known there.
    pub const NONE: Label = Label { bytes: [0; MOST], len: 0 };

    /// Adds to the label, as far as there is room.
    pub fn push(&mut self, text: &str) {
        for character in text.chars() {
            let from = usize::from(self.len);
            let to = from + character.len_utf8();
            if to > MOST {
                return;
            }
            character.encode_utf8(&mut self.bytes[from..to]);
            self.len = to as u8;
        }
    }
    /// The text; empty where nobody is known.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Label {
        let mut label = Label::NONE;
        label.push(text);
        label
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        let mut label = Label::from("virtio-net-pci.0");
        label.push(" BAR4");
        assert_eq!(label.as_str(), "virtio-net-pci.0 BAR4");
        assert_eq!(Label::from(&*"é".repeat(40)).as_str(), "é".repeat(15));
        assert_eq!(Label::NONE.as_str(), "");
    }
}
