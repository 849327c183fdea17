//! The guest's picture on its way to the terminal: what is to be seen, and what of it the terminal does not show yet.
//!
//! The guest's pixels are copied where they changed, and those parts made smaller once more. Pictures of pixels are sent in tiles of
//! whole cells; a tile is sent if a pixel in it is another one. Sixels of tiles beside and below each other are one picture;
//! for kitty each tile is an image, which takes the place of the one before.

use super::fit::{self, CellSize, Fit, Room};
use super::scale::Scaling;
use super::{Format, View, blocks, kitty, sixel};
use crate::render::{Glyph, Picture};
use std::io::Write;
use trimotor_devices::display::{Damage, Rect, Surface};

/// Cells of a tile.
const TILE_COLUMNS: usize = 16;
const TILE_ROWS: usize = 4;
/// Changes smaller than so large a part of the picture are where a zoom looks: letters, a cursor.
const SMALL_PART: usize = 8;

/// The guest's picture.
#[derive(Default)]
pub struct Stage {
    viewer: Option<Box<dyn View>>,
    /// The guest's pixels.
    copy: Surface,
    fit: Option<Fit>,
    /// What the terminal is to show.
    scaled: Surface,
    /// Tiles that it does not show yet, line after line.
    unsent: Vec<bool>,
    /// Where something small changed last, in the guest's pixels.
    active: (usize, usize),
}

impl Stage {
    /// Looks at the guest's picture, through what `view` gives where nobody looks yet.
    pub fn look(&mut self, view: impl FnOnce() -> Box<dyn View>) {
        let damage = self.viewer.get_or_insert_with(view).update(&mut self.copy);
        if damage.is_empty() {
            return;
        }
        self.note_activity(&damage);
        if damage.resized() {
            self.fit = None;
        }
        let Some(fit) = self.fit else { return };
        for part in damage.rects() {
            self.rescale(&fit, fit.scaling.reached(*part));
        }
    }
    /// Nobody looks any more; what was seen is forgotten.
    pub fn end(&mut self) {
        *self = Stage::default();
    }
    /// Whether somebody looks.
    pub fn is_on(&self) -> bool {
        self.viewer.is_some()
    }
    /// The size of the guest's picture.
    pub fn size(&self) -> (usize, usize) {
        (self.copy.width(), self.copy.height())
    }
    /// Where something small changed last, in the guest's pixels.
    pub fn active(&self) -> (usize, usize) {
        self.active
    }
    /// Lays the picture out anew if anything about it is new; where it is, if there is a picture. With `zoom`, as
    /// [`fit::fit`] has it.
    pub fn lay_out(&mut self, room: Room, zoom: Option<(usize, usize)>) -> Option<Fit> {
        let fit = fit::fit(self.copy.width(), self.copy.height(), room, zoom);
        if fit == self.fit {
            return fit;
        }
        let before = std::mem::replace(&mut self.fit, fit);
        let Some(fit) = fit else {
            self.scaled = Surface::default();
            return None;
        };
        if !before.is_some_and(|before| before.has_same_cells(&fit)) {
            self.scaled = Surface::new(fit.scaling.width, fit.scaling.height);
            let (across, down) = tiles(&fit);
            self.unsent = vec![true; across * down];
        }
        self.rescale(&fit, self.scaled.whole());
        Some(fit)
    }
    /// The terminal shows nothing of it any more.
    pub fn forget_sent(&mut self) {
        self.unsent.fill(true);
    }
    /// Puts it into cells: as half-blocks, or as holes where pixels will be seen.
    pub fn put(&self, format: Format, whole_cells: bool, into: &mut Picture) {
        let Some(fit) = self.fit else { return };
        if format == Format::Blocks {
            blocks::put(&self.scaled, (fit.column, fit.row), whole_cells, into);
            return;
        }
        for row in fit.row..fit.row + fit.rows {
            (fit.column..fit.column + fit.columns).for_each(|column| into.put(column, row, Glyph::HOLE));
        }
    }
    /// Appends what the terminal does not show yet to `out`. A sixel picture has at most so many `colours`; kitty fits its
    /// images to cells where their size is not known.
    pub fn send(&mut self, format: Format, colours: usize, fits_to_cells: bool, out: &mut Vec<u8>) {
        let Some(fit) = self.fit else { return };
        let (across, down) = tiles(&fit);
        match format {
            Format::Blocks => {}
            Format::Sixel => {
                for tiles in joined(&self.unsent, across) {
                    let part = pixels_of(&fit, tiles);
                    move_to(&fit, tiles, out);
                    out.extend(sixel::encode(&self.scaled, part, colours));
                }
            }
            Format::Kitty => {
                for number in (0..across * down).filter(|number| self.unsent[*number]) {
                    let tile = Rect { x: number % across, y: number / across, width: 1, height: 1 };
                    let part = pixels_of(&fit, tile);
                    let CellSize { width, height } = fit.room.cell;
                    let cells = (part.width.div_ceil(width), part.height.div_ceil(height));
                    move_to(&fit, tile, out);
                    let cells = fits_to_cells.then_some(cells);
                    out.extend(kitty::encode(&self.scaled, part, number as u32 + 1, cells));
                }
            }
        }
        self.unsent.fill(false);
    }
    /// Makes a part of the picture (in units) anew, and notes which tiles are others then.
    fn rescale(&mut self, fit: &Fit, part: Rect) {
        let Scaling { width, .. } = fit.scaling;
        if part.is_empty() {
            return;
        }
        let lines = part.y..part.y + part.height;
        let columns = part.x..part.x + part.width;
        let before: Vec<u32> =
            lines.clone().flat_map(|y| self.scaled.line(y)[columns.clone()].to_vec()).collect();
        fit.scaling.draw(&self.copy, part, &mut self.scaled);
        let (across, _) = tiles(fit);
        let (tile_width, tile_height) = tile_size(fit);
        for (y, before) in lines.zip(before.chunks(part.width)) {
            let now = &self.scaled.line(y)[columns.clone()];
            if now == before {
                continue;
            }
            let mut x = part.x;
            while x < part.x + part.width {
                let end = ((x / tile_width + 1) * tile_width).min(part.x + part.width).min(width);
                let tile = y / tile_height * across + x / tile_width;
                if now[x - part.x..end - part.x] != before[x - part.x..end - part.x] {
                    self.unsent[tile] = true;
                }
                x = end;
            }
        }
    }
    fn note_activity(&mut self, damage: &Damage) {
        let all = self.copy.width() * self.copy.height();
        if let Some(part) = damage.rects().last()
            && part.area() * SMALL_PART < all
        {
            self.active = (part.x + part.width / 2, part.y + part.height / 2);
        }
    }
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("size", &self.size()).field("fit", &self.fit).finish_non_exhaustive()
    }
}

/// A tile's size in units. Of pictures that are no pixels it does not matter.
fn tile_size(fit: &Fit) -> (usize, usize) {
    (TILE_COLUMNS * fit.room.cell.width, TILE_ROWS * fit.room.cell.height)
}
/// Tiles beside and below each other.
fn tiles(fit: &Fit) -> (usize, usize) {
    let (width, height) = tile_size(fit);
    (fit.scaling.width.div_ceil(width), fit.scaling.height.div_ceil(height))
}
/// The units of some tiles.
fn pixels_of(fit: &Fit, tiles: Rect) -> Rect {
    let (width, height) = tile_size(fit);
    let part = Rect {
        x: tiles.x * width,
        y: tiles.y * height,
        width: tiles.width * width,
        height: tiles.height * height,
    };
    part.intersection(&Rect { x: 0, y: 0, width: fit.scaling.width, height: fit.scaling.height })
}
/// The cursor goes to the first cell of some tiles.
fn move_to(fit: &Fit, tiles: Rect, out: &mut Vec<u8>) {
    let (row, column) = (fit.row + tiles.y * TILE_ROWS + 1, fit.column + tiles.x * TILE_COLUMNS + 1);
    // Memory takes all.
    let _ = write!(out, "\x1b[{row};{column}H");
}

/// Rectangles of the tiles that are set: those beside each other are joined, and rows of them that begin and end at the same
/// places.
fn joined(set: &[bool], across: usize) -> Vec<Rect> {
    let mut all: Vec<Rect> = Vec::new();
    for (y, row) in set.chunks(across.max(1)).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|one, other| one == other) {
            if run[0] {
                let above = all
                    .iter_mut()
                    .find(|rect| (rect.x, rect.width, rect.y + rect.height) == (x, run.len(), y));
                match above {
                    Some(above) => above.height += 1,
                    None => all.push(Rect { x, y, width: run.len(), height: 1 }),
                }
            }
            x += run.len();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graphics::fit::Unit;
    use crate::graphics::scale::{rgb, tests::colourful};
    use std::sync::{Arc, Mutex};
    use trimotor_test_terminal::Terminal;

    /// What the guest shows, and what is new of it.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<(Surface, Damage)>>);
    impl View for Shared {
        fn update(&mut self, copy: &mut Surface) -> Damage {
            let (surface, damage) = &mut *self.0.lock().unwrap();
            *copy = surface.clone();
            std::mem::take(damage)
        }
    }
    impl Shared {
        fn show(&self, surface: &Surface) {
            *self.0.lock().unwrap() = (surface.clone(), Damage::whole(surface));
        }
        fn fill(&self, part: Rect, colour: u32) {
            let (surface, damage) = &mut *self.0.lock().unwrap();
            for y in part.y..part.y + part.height {
                surface.line_mut(y)[part.x..part.x + part.width].fill(colour);
            }
            damage.add(part);
        }
    }

    struct Shown {
        guest: Shared,
        stage: Stage,
        terminal: Terminal,
        format: Format,
    }
    impl Shown {
        fn new(format: Format, picture: &Surface) -> Shown {
            let guest = Shared::default();
            guest.show(picture);
            let terminal = Terminal::new(100, 30).with_cells(8, 16);
            Shown { guest, stage: Stage::default(), terminal, format }
        }
        fn room(&self) -> Room {
            Room { columns: 100, rows: 29, cell: CellSize { width: 8, height: 16 }, unit: Unit::Pixel }
        }
        /// Sends what is new; how many bytes and pictures.
        fn send(&mut self) -> (usize, usize) {
            let guest = self.guest.clone();
            self.stage.look(move || Box::new(guest));
            self.stage.lay_out(self.room(), None);
            let mut out = Vec::new();
            self.stage.send(self.format, 256, false, &mut out);
            let before = self.terminal.pictures();
            self.terminal.write(&out);
            (out.len(), self.terminal.pictures() - before)
        }
        #[track_caller]
        fn check(&self, near: u8) {
            let fit = self.stage.fit.unwrap();
            for y in 0..fit.scaling.height {
                for x in 0..fit.scaling.width {
                    let shown = self.terminal.pixel(8 * fit.column + x, 16 * fit.row + y).unwrap();
                    let meant = rgb(self.stage.scaled.line(y)[x]);
                    assert!((0..3).all(|colour| shown[colour].abs_diff(meant[colour]) <= near), "{x} {y}");
                }
            }
            assert_eq!(self.terminal.scrolled(), 0);
        }
    }

    #[test]
    fn what_changed_is_sent_and_nothing_else() {
        // Few colours, so that sixels are as exact as they can be.
        let mut picture = Surface::new(1000, 700);
        (0..700).for_each(|y| picture.line_mut(y).fill((y as u32 / 100) * 0x0020_1008));
        for (format, near) in [(Format::Sixel, 2), (Format::Kitty, 0)] {
            let mut shown = Shown::new(format, &picture);
            let (all, pictures) = shown.send();
            assert!(all > 500 && pictures >= 1);
            shown.check(near);
            assert_eq!(shown.send(), (0, 0), "nothing is new");
            // A cursor blinks.
            shown.guest.fill(Rect { x: 500, y: 300, width: 8, height: 2 }, 0x00FF_FFFF);
            let (some, pictures) = shown.send();
            assert!((1..4000).contains(&some) && pictures <= 2, "{some} bytes, {pictures} pictures");
            shown.check(near);
            // The same once more is nothing new.
            shown.guest.fill(Rect { x: 500, y: 300, width: 8, height: 2 }, 0x00FF_FFFF);
            assert_eq!(shown.send(), (0, 0));
            // What the guest drew on one side only.
            shown.guest.fill(Rect { x: 0, y: 0, width: 300, height: 700 }, 0x0000_FF00);
            shown.send();
            shown.check(near);
            shown.stage.forget_sent();
            assert!(shown.send().0 > 500);
        }
    }

    #[test]
    fn another_mode_of_the_guest_is_laid_out_anew() {
        for format in [Format::Sixel, Format::Kitty] {
            let mut shown = Shown::new(format, &colourful(640, 400));
            shown.send();
            shown.guest.show(&Surface::new(320, 200));
            shown.terminal.write(b"\x1b[2J");
            shown.terminal.write(kitty::DELETE_ALL);
            shown.send();
            assert_eq!(shown.stage.size(), (320, 200));
            shown.check(0);
            shown.guest.show(&Surface::default());
            assert_eq!(shown.send(), (0, 0));
        }
    }

    #[test]
    fn images_cover_cells_where_their_size_is_not_known() {
        let picture = colourful(640, 400);
        let guest = Shared::default();
        guest.show(&picture);
        let mut stage = Stage::default();
        stage.look(|| Box::new(guest));
        let room = Room { columns: 60, rows: 20, cell: CellSize::USUAL, unit: Unit::PixelOfWholeCells };
        let fit = stage.lay_out(room, None).unwrap();
        let mut out = Vec::new();
        stage.send(Format::Kitty, 0, true, &mut out);
        // The terminal's cells are of another size.
        let mut terminal = Terminal::new(60, 20).with_cells(5, 10);
        terminal.write(&out);
        for y in 0..10 * fit.rows {
            for x in 0..5 * fit.columns {
                let meant = rgb(stage.scaled.line(2 * y)[2 * x]);
                assert_eq!(terminal.pixel(5 * fit.column + x, 10 * fit.row + y), Some(meant), "{x} {y}");
            }
        }
    }

    #[test]
    fn tiles_are_joined() {
        let set =
            [true, true, false, true, true, true, false, false, true, false, false, true].map(|set| set);
        let rect = |x, y, width, height| Rect { x, y, width, height };
        assert_eq!(joined(&set, 4), [rect(0, 0, 2, 2), rect(3, 0, 1, 1), rect(0, 2, 1, 1), rect(3, 2, 1, 1)]);
        assert_eq!(joined(&[true; 12], 4), [rect(0, 0, 4, 3)]);
    }
}
