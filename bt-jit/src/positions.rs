//! Which guest instruction a place in host code belongs to, packed: two bytes for most pieces of code.
//!
//! First the number of guest instructions, then for each the host bytes since the one before it and the guest
//! bytes since the one before it, or where it is in its page if it does not follow closely; then for each piece of
//! cold code its host bytes likewise and the instruction's number. Reading takes no memory, as a signal handler
//! needs it.

/// The number of code that belongs to no instruction: the way in, stubs of exits and links.
pub const NO_INSTRUCTION: u8 = u8::MAX;
/// Host bytes that go on in the next byte.
const MORE: u8 = u8::MAX;
/// In the place of guest bytes: the offset in the page follows, in two bytes.
const ELSEWHERE: u8 = u8::MAX;

/// What a piece of host code is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Its first byte, from the start of the block's code.
    pub host: u32,
    /// The instruction's number within the block, or [`NO_INSTRUCTION`].
    pub number: u8,
    /// The instruction's first byte, from the start of its page; 0 where there is none.
    pub guest: u16,
    /// It is cold code.
    pub cold: bool,
}

/// Packs positions: `hot` (guest byte, host byte) of each instruction, `cold` (number, host byte).
pub fn pack(hot: &[(u16, u32)], cold: &[(u8, u32)], into: &mut Vec<u8>) {
    into.push(hot.len() as u8);
    let (mut host_before, mut guest_before) = (0, u16::MAX);
    let mut host_bytes = |into: &mut Vec<u8>, at: u32| {
        let mut bytes = at - std::mem::replace(&mut host_before, at);
        while bytes >= MORE as u32 {
            into.push(MORE);
            bytes -= MORE as u32;
        }
        into.push(bytes as u8);
    };
    for &(guest, host) in hot {
        host_bytes(into, host);
        let bytes = guest.wrapping_sub(std::mem::replace(&mut guest_before, guest));
        match u8::try_from(bytes).ok().filter(|&bytes| bytes != ELSEWHERE && guest >= bytes.into()) {
            Some(bytes) => into.push(bytes),
            None => into.extend([ELSEWHERE, guest as u8, (guest >> 8) as u8]),
        }
    }
    for &(number, host) in cold {
        host_bytes(into, host);
        into.push(number);
    }
}

/// The pieces of a block by their places; what comes before the first is the way in.
#[derive(Clone)]
pub struct Pieces<'a> {
    packed: &'a [u8],
    /// All of them, for cold code to look into.
    whole: &'a [u8],
    count: u8,
    read: u32,
    host: u32,
    guest: u16,
}

impl<'a> Pieces<'a> {
    /// The pieces that [`pack`] packed.
    pub fn new(packed: &'a [u8]) -> Pieces<'a> {
        let (&count, rest) = packed.split_first().unwrap_or((&0, &[]));
        Pieces { packed: rest, whole: packed, count, read: 0, host: 0, guest: 0 }
    }
    /// Guest instructions of the block.
    pub fn instructions(&self) -> u8 {
        self.count
    }
    /// The piece that holds the byte `host`.
    pub fn at(self, host: u32) -> Piece {
        let entry = Piece { host: 0, number: NO_INSTRUCTION, guest: 0, cold: false };
        self.take_while(|piece| piece.host <= host).last().unwrap_or(entry)
    }
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.packed.split_first()?;
        self.packed = rest;
        Some(first)
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;
    fn next(&mut self) -> Option<Piece> {
        loop {
            let bytes = self.byte()?;
            self.host += bytes as u32;
            if bytes != MORE {
                break;
            }
        }
        let last = self.byte()?;
        let number = self.read;
        self.read += 1;
        if number < self.count as u32 {
            self.guest = match last {
                ELSEWHERE => u16::from_le_bytes([self.byte()?, self.byte()?]),
                bytes => self.guest.wrapping_add(bytes.into()),
            };
            return Some(Piece { host: self.host, number: number as u8, guest: self.guest, cold: false });
        }
        let hot = if last < self.count { Pieces::new(self.whole).nth(last as usize) } else { None };
        Some(Piece { host: self.host, number: last, guest: hot.map_or(0, |hot| hot.guest), cold: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_again() {
        let mut packed = vec![7, 7];
        let hot = [(0x100, 12), (0x103, 800), (0x112, 810), (0x80, 815), (0xFF0, 820)];
        pack(&hot, &[(1, 1065), (NO_INSTRUCTION, 1320)], &mut packed);
        let pieces = Pieces::new(&packed[2..]);
        assert_eq!(pieces.instructions(), 5);
        let at = |host| {
            let piece = pieces.clone().at(host);
            (piece.number, piece.guest, piece.cold)
        };
        assert_eq!(at(11), (NO_INSTRUCTION, 0, false));
        assert_eq!([at(12), at(799)], [(0, 0x100, false); 2]);
        assert_eq!(at(809), (1, 0x103, false));
        assert_eq!(at(814), (2, 0x112, false));
        assert_eq!([at(815), at(1064)], [(3, 0x80, false), (4, 0xFF0, false)]);
        assert_eq!([at(1065), at(1319)], [(1, 0x103, true); 2]);
        assert_eq!(at(5000), (NO_INSTRUCTION, 0, true));
        assert_eq!(Pieces::new(&[]).at(3).number, NO_INSTRUCTION);
    }
}
