//! The fonts: 256 characters of code page 437 in cells of 8 by 16, 14 and 8 pixels, a byte a line, the left pixel in bit 7.
//!
//! Letters, digits and signs come from the X Window System's fonts `misc-fixed` 8x13 and 5x8, which are in the public domain
//! (Debian package xfonts-base). Lines and blocks are drawn so that neighbours meet, and the signs below 20h and some
//! mathematical ones by hand.

/// 16 lines.
pub const LINES_16: &[u8; 256 * 16] = include_bytes!("fonts/8x16.bin");
/// 14 lines.
pub const LINES_14: &[u8; 256 * 14] = include_bytes!("fonts/8x14.bin");
/// 8 lines.
pub const LINES_8: &[u8; 256 * 8] = include_bytes!("fonts/8x8.bin");
