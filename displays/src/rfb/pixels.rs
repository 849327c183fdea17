//! Pixels as a viewer wants them (RFC 6143, "Pixel Format Data Structure").

/// How a viewer's pixel has its colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PixelFormat {
    /// Bytes of a pixel: 1, 2 or 4.
    bytes: usize,
    depth: u8,
    big_endian: bool,
    /// Red, green, blue: the largest value, and its place from bit 0.
    colours: [(u32, u32); 3],
    /// The viewer wants numbers of a table of colours.
    is_mapped: bool,
}

/// The places of red, green and blue in a pixel of ours, 00RRGGBBh.
const OURS: [u32; 3] = [16, 8, 0];
/// Bytes of the structure.
pub const FORMAT_BYTES: usize = 16;
/// Colours in the table of who wants one: 3 bits red, 3 green, 2 blue.
const MAP: [(u32, u32); 3] = [(7, 0), (7, 3), (3, 6)];

impl Default for PixelFormat {
    /// Pixels as ours, in little endian.
    fn default() -> Self {
        Self {
            bytes: 4,
            depth: 24,
            big_endian: false,
            colours: OURS.map(|place| (255, place)),
            is_mapped: false,
        }
    }
}

impl PixelFormat {
    /// From a viewer; `None` where no picture could be made of it.
    pub fn read(from: &[u8; FORMAT_BYTES]) -> Option<PixelFormat> {
        let [bits, depth, big_endian, true_colour, ..] = *from;
        let bytes = match bits {
            8 => 1,
            16 => 2,
            32 => 4,
            _ => return None,
        };
        if true_colour == 0 {
            // A table has 256 colours, whatever the pixel has room for.
            let colours = MAP;
            return Some(PixelFormat {
                bytes,
                depth: 8,
                big_endian: big_endian != 0,
                colours,
                is_mapped: true,
            });
        }
        let colour = |at: usize| {
            let most = u32::from(u16::from_be_bytes([from[4 + 2 * at], from[5 + 2 * at]]));
            let place = u32::from(from[10 + at]);
            let fits = most > 0 && place + (32 - most.leading_zeros()) <= u32::from(bits);
            fits.then_some((most, place))
        };
        let colours = [colour(0)?, colour(1)?, colour(2)?];
        Some(PixelFormat { bytes, depth, big_endian: big_endian != 0, colours, is_mapped: false })
    }
    /// Of so many bits, with the bits of red, green and blue; `None` where no picture could be made of it.
    pub fn from_masks(bits: u8, big_endian: bool, masks: [u32; 3]) -> Option<PixelFormat> {
        let mut from = [0; FORMAT_BYTES];
        let depth = masks.iter().fold(0, |all, mask| all | mask).count_ones() as u8;
        from[..4].copy_from_slice(&[bits, depth, u8::from(big_endian), 1]);
        for (at, mask) in masks.into_iter().enumerate() {
            let place = mask.trailing_zeros();
            let most = u16::try_from(mask.checked_shr(place)?).ok()?;
            from[4 + 2 * at..][..2].copy_from_slice(&most.to_be_bytes());
            from[10 + at] = place as u8;
        }
        Self::read(&from)
    }
    /// Whether pixels are as ours, in little endian.
    pub fn is_ours(&self) -> bool {
        *self == Self::default()
    }
    /// For a viewer.
    pub fn write(&self) -> [u8; FORMAT_BYTES] {
        let mut to = [0; FORMAT_BYTES];
        to[..4].copy_from_slice(&[
            8 * self.bytes as u8,
            self.depth,
            u8::from(self.big_endian),
            u8::from(!self.is_mapped),
        ]);
        for (at, (most, place)) in self.colours.iter().enumerate() {
            to[4 + 2 * at..][..2].copy_from_slice(&(*most as u16).to_be_bytes());
            to[10 + at] = *place as u8;
        }
        to
    }
    /// The table of colours, as the message that sets it (RFC 6143, "SetColorMapEntries"), where the viewer wants one.
    pub fn colour_map(&self) -> Option<Vec<u8>> {
        if !self.is_mapped {
            return None;
        }
        let mut message = vec![1, 0, 0, 0, 1, 0];
        for number in 0..256u32 {
            for (most, place) in MAP {
                let value = (number >> place & most) * 0xFFFF / most;
                message.extend((value as u16).to_be_bytes());
            }
        }
        Some(message)
    }
    /// The viewer's value of a pixel of ours.
    pub fn value(&self, pixel: u32) -> u32 {
        let mut value = 0;
        for ((most, place), ours) in self.colours.iter().zip(OURS) {
            let colour = pixel >> ours & 0xFF;
            value |= ((colour * most + 127) / 255) << place;
        }
        value
    }
    /// Appends a value of a pixel.
    pub fn put(&self, value: u32, to: &mut Vec<u8>) {
        match (self.bytes, self.big_endian) {
            (1, _) => to.push(value as u8),
            (2, false) => to.extend((value as u16).to_le_bytes()),
            (2, true) => to.extend((value as u16).to_be_bytes()),
            (_, false) => to.extend(value.to_le_bytes()),
            (_, true) => to.extend(value.to_be_bytes()),
        }
    }
    /// The colours of a value whose colours have eight bits.
    pub fn red_green_blue(&self, value: u32) -> [u8; 3] {
        self.colours.map(|(_, place)| (value >> place) as u8)
    }
    /// Bytes of a pixel.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Which three bytes of a pixel, from which on, ZRLE sends ("CPIXEL"); `None` for all.
    pub fn compact(&self) -> Option<usize> {
        if self.bytes != 4 || self.depth > 24 || self.is_mapped {
            return None;
        }
        let all = self.colours.iter().fold(0, |all, (most, place)| all | most << place);
        let (low, high) = (all < 1 << 24, all & 0xFF == 0);
        match (low, high, self.big_endian) {
            (true, _, false) | (false, true, true) => Some(0),
            (true, _, true) | (false, true, false) => Some(1),
            _ => None,
        }
    }
    /// Whether Tight sends a pixel as red, green and blue ("TPIXEL").
    pub fn is_tight(&self) -> bool {
        self.bytes == 4 && self.depth == 24 && self.colours.iter().all(|(most, _)| *most == 255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(bits: u8, depth: u8, big: u8, most: [u16; 3], places: [u8; 3]) -> Option<PixelFormat> {
        let mut from = [0; FORMAT_BYTES];
        from[..4].copy_from_slice(&[bits, depth, big, 1]);
        for at in 0..3 {
            from[4 + 2 * at..][..2].copy_from_slice(&most[at].to_be_bytes());
            from[10 + at] = places[at];
        }
        let read = PixelFormat::read(&from)?;
        assert_eq!(read.write(), from);
        Some(read)
    }
    fn sent(format: &PixelFormat, pixel: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        format.put(format.value(pixel), &mut bytes);
        bytes
    }

    #[test]
    fn pixels_are_as_the_viewer_wants() {
        assert_eq!(sent(&PixelFormat::default(), 0x0012_3456), [0x56, 0x34, 0x12, 0]);
        let big = format(32, 24, 1, [255; 3], [16, 8, 0]).unwrap();
        assert_eq!(sent(&big, 0x0012_3456), [0, 0x12, 0x34, 0x56]);
        let bgr = format(32, 24, 0, [255; 3], [0, 8, 16]).unwrap();
        assert_eq!(sent(&bgr, 0x0012_3456), [0x12, 0x34, 0x56, 0]);
        let high = format(16, 16, 0, [31, 63, 31], [11, 5, 0]).unwrap();
        assert_eq!(sent(&high, 0x00FF_FFFF), [0xFF, 0xFF]);
        assert_eq!(sent(&high, 0x00FF_0000), [0, 0xF8]);
        let low = format(8, 8, 0, [7, 7, 3], [0, 3, 6]).unwrap();
        assert_eq!(sent(&low, 0x0000_00FF), [0xC0]);
    }

    #[test]
    fn what_makes_no_picture_is_refused() {
        for (bits, most, places) in [
            (24, [255; 3], [16, 8, 0]),
            (0, [255; 3], [16, 8, 0]),
            (32, [255, 0, 255], [16, 8, 0]),
            (32, [255; 3], [25, 8, 0]),
            (32, [255; 3], [255, 8, 0]),
            (8, [255; 3], [16, 8, 0]),
            (16, [65535; 3], [1, 0, 0]),
        ] {
            assert_eq!(format(bits, 24, 0, most, places), None);
        }
    }

    #[test]
    fn formats_are_had_by_the_bits_of_colours() {
        let ours = PixelFormat::from_masks(32, false, [0x00FF_0000, 0xFF00, 0xFF]).unwrap();
        assert!(ours.is_ours());
        let high = PixelFormat::from_masks(16, true, [0xF800, 0x07E0, 0x001F]).unwrap();
        assert_eq!((sent(&high, 0x00FF_0000), high.is_ours()), (vec![0xF8, 0], false));
        assert_eq!(PixelFormat::from_masks(32, false, [0xFF00, 0, 0xFF]), None);
        assert_eq!(PixelFormat::from_masks(24, false, [0x00FF_0000, 0xFF00, 0xFF]), None);
        assert_eq!(PixelFormat::from_masks(32, false, [0xFFFF_FFFF, 0xFF00, 0xFF]), None);
    }

    #[test]
    fn a_table_of_colours_is_made_for_who_wants_one() {
        let mapped = PixelFormat::read(&[8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let message = mapped.colour_map().unwrap();
        assert_eq!((message.len(), &message[..6]), (6 + 256 * 6, &[1, 0, 0, 0, 1, 0][..]));
        assert_eq!(message[message.len() - 6..], [0xFF; 6]);
        assert_eq!(sent(&mapped, 0x00FF_FFFF), [0xFF]);
        assert_eq!(PixelFormat::default().colour_map(), None);
    }

    #[test]
    fn three_bytes_are_enough_for_24_bits() {
        assert_eq!(PixelFormat::default().compact(), Some(0));
        assert_eq!(format(32, 24, 1, [255; 3], [16, 8, 0]).unwrap().compact(), Some(1));
        assert_eq!(format(32, 24, 0, [255; 3], [24, 16, 8]).unwrap().compact(), Some(1));
        assert_eq!(format(32, 24, 1, [255; 3], [24, 16, 8]).unwrap().compact(), Some(0));
        assert_eq!(format(32, 24, 0, [255; 3], [24, 8, 0]).unwrap().compact(), None);
        assert_eq!(format(16, 16, 0, [31, 63, 31], [11, 5, 0]).unwrap().compact(), None);
    }
}
