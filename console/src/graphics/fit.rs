//! Where in the terminal a guest's picture is, and how large.
//!
//! The picture keeps its shape and is never larger than it is. It is made of units: pixels of the terminal, or what a cell can show of it, two
//! halves above each other.

use super::scale::Scaling;
use trimotor_devices::display::Rect;

/// Pixels of the terminal that a picture has at most; it is smaller on a terminal that has more of them. What is above takes
/// longer to encode than a person likes to wait for a key.
const MOST_PIXELS: f64 = 2_000_000.0;
/// Room for rounding.
const A_LITTLE: f64 = 1e-6;

/// The size of a terminal's cell, in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CellSize {
    /// From left to right.
    pub width: usize,
    /// From top to bottom.
    pub height: usize,
}

impl CellSize {
    /// That of terminals that do not tell theirs (VT340's).
    pub const USUAL: CellSize = CellSize { width: 10, height: 20 };
}

/// What a picture is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A pixel of the terminal.
    Pixel,
    /// A pixel, and the picture has whole cells only.
    PixelOfWholeCells,
    /// The upper or lower half of a cell.
    Half,
    /// A cell.
    Cell,
}

impl Unit {
    /// Its width and height in pixels of the terminal.
    fn size(self, cell: CellSize) -> (f64, f64) {
        let (width, height) = (cell.width as f64, cell.height as f64);
        match self {
            Unit::Pixel | Unit::PixelOfWholeCells => (1.0, 1.0),
            Unit::Half => (width, height / 2.0),
            Unit::Cell => (width, height),
        }
    }
}

/// The room there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Columns, from the first on.
    pub columns: usize,
    /// Rows, from the first on.
    pub rows: usize,
    /// Pixels of a cell.
    pub cell: CellSize,
    /// What the picture is made of.
    pub unit: Unit,
}

/// Where the picture is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fit {
    /// How it is made smaller; the result is in units.
    pub scaling: Scaling,
    /// The first column.
    pub column: usize,
    /// The first row.
    pub row: usize,
    /// Columns that it has, the last one perhaps in part.
    pub columns: usize,
    /// Rows that it has, the last one perhaps in part.
    pub rows: usize,
    /// The room it was laid out in.
    pub room: Room,
}

/// Lays out a picture of `width` by `height` pixels. With `zoom`, a part of it is shown as large as it is, around the pixel
/// (x, y), if all of it finds no room.
pub fn fit(width: usize, height: usize, room: Room, zoom: Option<(usize, usize)>) -> Option<Fit> {
    if width * height == 0 || room.columns * room.rows == 0 {
        return None;
    }
    let (unit_width, unit_height) = room.unit.size(room.cell);
    let (room_width, room_height) =
        ((room.columns * room.cell.width) as f64, (room.rows * room.cell.height) as f64);
    // Pixels of the terminal for one of the picture.
    let largest = unit_width.min(unit_height);
    let fitting = (room_width / width as f64).min(room_height / height as f64).min(largest);
    let is_pixels = matches!(room.unit, Unit::Pixel | Unit::PixelOfWholeCells);
    let fitting =
        if is_pixels { fitting.min((MOST_PIXELS / (width * height) as f64).sqrt()) } else { fitting };
    let scale = if zoom.is_some() { largest } else { fitting };
    let side = |all: usize, room: f64, middle: usize| {
        let visible = ((room / scale + A_LITTLE) as usize).clamp(1, all);
        (middle.saturating_sub(visible / 2).min(all - visible), visible)
    };
    let middle = zoom.unwrap_or_default();
    let (x, source_width) = side(width, room_width, middle.0);
    let (y, source_height) = side(height, room_height, middle.1);
    let count = |source: usize, unit: f64, cell: usize| {
        let units = ((source as f64 * scale / unit + A_LITTLE) as usize).clamp(1, source);
        match room.unit {
            Unit::PixelOfWholeCells if units >= cell => units - units % cell,
            _ => units,
        }
    };
    let (to_width, to_height) = (
        count(source_width, unit_width, room.cell.width),
        count(source_height, unit_height, room.cell.height),
    );
    let columns = ((to_width as f64 * unit_width / room.cell.width as f64 - A_LITTLE).ceil() as usize).max(1);
    let rows = ((to_height as f64 * unit_height / room.cell.height as f64 - A_LITTLE).ceil() as usize).max(1);
    Some(Fit {
        scaling: Scaling {
            source: Rect { x, y, width: source_width, height: source_height },
            width: to_width,
            height: to_height,
        },
        column: room.columns.saturating_sub(columns) / 2,
        row: room.rows.saturating_sub(rows) / 2,
        columns,
        rows,
        room,
    })
}

impl Fit {
    /// Whether it has the same cells as `other`, in the same way.
    pub fn has_same_cells(&self, other: &Fit) -> bool {
        let size = |fit: &Fit| (fit.scaling.width, fit.scaling.height);
        let cells = |fit: &Fit| (fit.column, fit.row, fit.columns, fit.rows);
        (size(self), cells(self), self.room) == (size(other), cells(other), other.room)
    }
    /// The pixel of the guest's picture at a pixel of the terminal; it may be outside.
    pub fn guest_pixel(&self, x: f64, y: f64) -> (f64, f64) {
        let (unit_width, unit_height) = self.room.unit.size(self.room.cell);
        let Scaling { source, width, height } = self.scaling;
        let left = (self.column * self.room.cell.width) as f64;
        let top = (self.row * self.room.cell.height) as f64;
        (
            source.x as f64 + (x - left) / (width as f64 * unit_width) * source.width as f64,
            source.y as f64 + (y - top) / (height as f64 * unit_height) * source.height as f64,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(columns: usize, rows: usize, unit: Unit) -> Room {
        Room { columns, rows, cell: CellSize { width: 8, height: 16 }, unit }
    }

    #[test]
    fn a_picture_keeps_its_shape_and_is_in_the_middle() {
        let halves = fit(640, 400, room(160, 49, Unit::Half), None).unwrap();
        // 98 halves above each other, and as many columns as that shape asks for.
        assert_eq!((halves.scaling.width, halves.scaling.height), (156, 98));
        assert_eq!((halves.column, halves.row, halves.columns, halves.rows), (2, 0, 156, 49));
        let narrow = fit(640, 400, room(80, 49, Unit::Half), None).unwrap();
        assert_eq!((narrow.scaling.width, narrow.scaling.height), (80, 50));
        assert_eq!((narrow.column, narrow.row, narrow.rows), (0, 12, 25));
        let cells = fit(640, 400, room(80, 24, Unit::Cell), None).unwrap();
        assert_eq!((cells.scaling.width, cells.scaling.height), (76, 24));
    }

    #[test]
    fn pixels_are_not_made_larger() {
        let pixels = fit(640, 400, room(160, 49, Unit::Pixel), None).unwrap();
        assert_eq!((pixels.scaling.width, pixels.scaling.height), (640, 400));
        assert_eq!((pixels.column, pixels.columns, pixels.row, pixels.rows), (40, 80, 12, 25));
        let smaller = fit(1024, 768, room(100, 40, Unit::Pixel), None).unwrap();
        assert_eq!((smaller.scaling.width, smaller.scaling.height), (800, 600));
        assert_eq!((smaller.columns, smaller.rows), (100, 38));
        let whole = fit(1024, 768, room(100, 40, Unit::PixelOfWholeCells), None).unwrap();
        assert_eq!((whole.scaling.width, whole.scaling.height), (800, 592));
        let huge = fit(4096, 2160, room(1000, 500, Unit::Pixel), None).unwrap();
        assert!(huge.scaling.width * huge.scaling.height <= 2_000_000);
        let tiny = fit(3, 2, room(80, 24, Unit::Half), None).unwrap();
        assert_eq!((tiny.scaling.width, tiny.scaling.height), (3, 2));
        assert_eq!(fit(0, 0, room(80, 24, Unit::Half), None), None);
        assert_eq!(fit(1, 1, room(0, 0, Unit::Half), None), None);
    }

    #[test]
    fn a_zoom_shows_a_part_around_a_pixel() {
        let part = |x, y| fit(640, 400, room(160, 49, Unit::Half), Some((x, y))).unwrap();
        let middle = part(320, 200);
        assert_eq!(middle.scaling.source, Rect { x: 240, y: 151, width: 160, height: 98 });
        assert_eq!((middle.scaling.width, middle.scaling.height), (160, 98));
        assert_eq!(part(0, 399).scaling.source, Rect { x: 0, y: 302, width: 160, height: 98 });
        assert!(middle.has_same_cells(&part(0, 0)) && middle != part(0, 0));
        let all = fit(100, 60, room(160, 49, Unit::Half), Some((0, 0))).unwrap();
        assert_eq!(all.scaling.source, Rect { x: 0, y: 0, width: 100, height: 60 });
    }

    #[test]
    fn places_lead_back_to_the_guest_s_pixels() {
        let pixels = fit(640, 400, room(160, 49, Unit::Pixel), None).unwrap();
        assert_eq!(pixels.guest_pixel(320.0, 192.0), (0.0, 0.0));
        assert_eq!(pixels.guest_pixel(960.0, 592.0), (640.0, 400.0));
        let halves = fit(640, 400, room(80, 25, Unit::Half), None).unwrap();
        assert_eq!(halves.guest_pixel(320.0, 200.0), (320.0, 200.0));
        assert!(halves.guest_pixel(-1.0, 0.0).0 < 0.0);
    }

    #[test]
    fn whatever_the_sizes_the_picture_is_in_its_room() {
        for unit in [Unit::Pixel, Unit::PixelOfWholeCells, Unit::Half, Unit::Cell] {
            for (width, height) in [(1, 1), (1, 4096), (4096, 1), (4096, 4096), (640, 400), (7, 3)] {
                for (columns, rows) in [(1, 1), (1, 300), (300, 1), (80, 24), (9, 5)] {
                    for zoom in [None, Some((width - 1, 0)), Some((0, height / 2))] {
                        let fit = fit(width, height, room(columns, rows, unit), zoom).unwrap();
                        let what = format!("{unit:?} {width}x{height} {columns}x{rows} {zoom:?}: {fit:?}");
                        assert!(fit.column + fit.columns <= columns && fit.row + fit.rows <= rows, "{what}");
                        let Rect { x, y, width: part_width, height: part_height } = fit.scaling.source;
                        assert!(x + part_width <= width && y + part_height <= height, "{what}");
                        assert!(
                            fit.scaling.width <= part_width && fit.scaling.height <= part_height,
                            "{what}"
                        );
                    }
                }
            }
        }
    }
}
