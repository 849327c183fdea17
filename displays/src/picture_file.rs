//! A picture as a PNG or PPM file.

use trimotor_devices::display::Surface;

/// The PNG of `picture`: 8 bits a colour, without anything that differs from run to run. A picture without pixels, which PNG
/// does not know, becomes a black pixel.
pub fn png(picture: &Surface) -> Vec<u8> {
    let none = Surface::new(1, 1);
    let picture = if picture.pixels().is_empty() { &none } else { picture };
    let bytes = colours(picture);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width() as u32, picture.height() as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&bytes));
    // Memory does not fail, and size and length fit.
    written.expect("a picture in memory is encoded");
    file
}

/// The PPM of `picture`: a line of text, and 3 bytes for each pixel (Netpbm, "PPM Format Specification").
pub fn ppm(picture: &Surface) -> Vec<u8> {
    let mut file = format!("P6\n{} {}\n255\n", picture.width(), picture.height()).into_bytes();
    file.extend(colours(picture));
    file
}

/// Red, green and blue of each pixel.
fn colours(picture: &Surface) -> Vec<u8> {
    let colours = |pixel: &u32| {
        let [_, red, green, blue] = pixel.to_be_bytes();
        [red, green, blue]
    };
    picture.pixels().iter().flat_map(colours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(file: &[u8]) -> (u32, u32, Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!(info.color_type, png::ColorType::Rgb);
        bytes.truncate(info.buffer_size());
        (info.width, info.height, bytes)
    }

    #[test]
    fn pixels_come_back() {
        let mut picture = Surface::new(2, 2);
        picture.line_mut(0).copy_from_slice(&[0x00FF_8001, 0x0000_00FF]);
        let file = png(&picture);
        assert_eq!(decoded(&file), (2, 2, vec![0xFF, 0x80, 1, 0, 0, 0xFF, 0, 0, 0, 0, 0, 0]));
        assert_eq!(file, png(&picture));
        assert_eq!(ppm(&picture), *b"P6\n2 2\n255\n\xFF\x80\x01\x00\x00\xFF\0\0\0\0\0\0");
        assert_eq!(decoded(&png(&Surface::default())), (1, 1, vec![0, 0, 0]));
    }
}
