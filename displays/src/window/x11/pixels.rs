//! Pixels as the server wants them.

use crate::rfb::PixelFormat;
use trimotor_devices::display::Rect;
use x11rb::connection::RequestConnection;
use x11rb::errors::ConnectionError;
use x11rb::protocol::xproto::{
    ConnectionExt as _, Gcontext, ImageFormat, ImageOrder, Screen, Setup, VisualClass,
};
use x11rb::rust_connection::RustConnection;

/// Bytes of the request before the pixels, with room for the longer form of its length.
const HEADER_BYTES: usize = 32;

/// How the root window, and those like it, have their pixels.
#[derive(Debug)]
pub struct Pixels {
    depth: u8,
    format: PixelFormat,
    /// Lines begin at multiples of so many bytes.
    line_unit: usize,
    bytes: Vec<u8>,
}

impl Pixels {
    /// Of a screen's root window.
    ///
    /// # Errors
    /// Its pixels are numbers of a table of colours, or have another size than 16 or 32 bits.
    pub fn new(setup: &Setup, screen: &Screen) -> Result<Pixels, String> {
        let depth = screen.root_depth;
        let visuals = screen.allowed_depths.iter().flat_map(|allowed| &allowed.visuals);
        let visual = visuals.clone().find(|visual| visual.visual_id == screen.root_visual);
        let visual = visual.ok_or("its screen does not say how it shows colours")?;
        let format = setup.pixmap_formats.iter().find(|format| format.depth == depth);
        let format = format.ok_or("its screen does not say how large pixels are")?;
        let unusable = || {
            format!(
                "its screen has {} bits a pixel of class {:?}; 16 or 32 bits of red, green and blue are needed",
                format.bits_per_pixel, visual.class
            )
        };
        if visual.class != VisualClass::TRUE_COLOR {
            return Err(unusable());
        }
        let masks = [visual.red_mask, visual.green_mask, visual.blue_mask];
        let is_big = setup.image_byte_order == ImageOrder::MSB_FIRST;
        let pixels = PixelFormat::from_masks(format.bits_per_pixel, is_big, masks).ok_or_else(unusable)?;
        let line_unit = (usize::from(format.scanline_pad) / 8).max(1);
        Ok(Pixels { depth, format: pixels, line_unit, bytes: Vec::new() })
    }
    /// Draws a part of a window: its pixels line after line, each 00RRGGBBh.
    ///
    /// # Errors
    /// The connection fails.
    pub fn send(
        &mut self,
        connection: &RustConnection,
        window: u32,
        graphics: Gcontext,
        part: Rect,
        pixels: &[u32],
    ) -> Result<(), ConnectionError> {
        let line_bytes = (part.width * self.format.bytes()).next_multiple_of(self.line_unit);
        let room = connection.maximum_request_bytes().saturating_sub(HEADER_BYTES);
        let lines_at_once = (room / line_bytes.max(1)).max(1);
        for (piece, pixels) in pixels.chunks(lines_at_once * part.width.max(1)).enumerate() {
            let lines = pixels.len() / part.width.max(1);
            let y = part.y + piece * lines_at_once;
            self.encode(pixels, part.width, line_bytes);
            let (width, height) = (part.width as u16, lines as u16);
            connection.put_image(
                ImageFormat::Z_PIXMAP,
                window,
                graphics,
                width,
                height,
                part.x as i16,
                y as i16,
                0,
                self.depth,
                &self.bytes,
            )?;
        }
        Ok(())
    }
    /// Makes [`Self::bytes`] of them.
    fn encode(&mut self, pixels: &[u32], width: usize, line_bytes: usize) {
        self.bytes.clear();
        let as_ours = self.format.is_ours();
        for line in pixels.chunks(width.max(1)) {
            let start = self.bytes.len();
            if as_ours {
                self.bytes.extend(line.iter().flat_map(|pixel| pixel.to_le_bytes()));
            } else {
                line.iter().for_each(|pixel| self.format.put(self.format.value(*pixel), &mut self.bytes));
            }
            self.bytes.resize(start + line_bytes, 0);
        }
    }
}
