//! The guest's screen as a picture, for any number of viewers.
//!
//! The machine draws what changed into one surface, as often as a viewer has taken what was drawn before. Each [`Viewer`]
//! has its own list of what changed since it looked last, and copies those parts to a surface of its own. What it does with
//! them afterwards (encode, send, show) and how long that takes concerns neither the guest nor other viewers.

use super::{MachineControl, lock};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use trimotor_devices::display::{Damage, Surface};

/// The picture, and what each viewer has not seen of it.
#[derive(Default)]
pub(super) struct Pictures {
    surface: Surface,
    /// By the viewers' numbers.
    unseen: Vec<(u64, Damage)>,
    next_viewer: u64,
    /// Nothing was drawn since there was no viewer.
    outdated: bool,
}

/// Somebody who looks at the picture. Dropping it ends that.
#[derive(Debug)]
pub struct Viewer {
    control: MachineControl,
    number: u64,
}

impl Viewer {
    /// Brings `copy` up to date, and returns which parts of it are new; the machine then draws anew.
    /// [`MachineEvent::ScreenChanged`](super::MachineEvent::ScreenChanged) tells when.
    pub fn update(&mut self, copy: &mut Surface) -> Damage {
        let mut pictures = lock(&self.control.shared.pictures);
        let Pictures { surface, unseen, outdated, .. } = &mut *pictures;
        if *outdated {
            // What was drawn last is of another time.
            drop(pictures);
            self.control.shared.screen_wanted.store(true, Ordering::Relaxed);
            return Damage::default();
        }
        let unseen = unseen.iter_mut().find(|(number, _)| *number == self.number);
        let mut damage = unseen.map(|(_, damage)| std::mem::take(damage)).unwrap_or_default();
        if copy.resize(surface.width(), surface.height()) {
            damage = Damage::whole(surface);
        }
        damage.rects().iter().for_each(|part| copy.copy_from(surface, *part));
        drop(pictures);
        self.control.shared.screen_wanted.store(true, Ordering::Relaxed);
        damage
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        lock(&self.control.shared.pictures).unseen.retain(|(number, _)| *number != self.number);
    }
}

impl MachineControl {
    /// Somebody looks at the screen as a picture from now on. The first picture may come a moment later, and has no pixels
    /// until then.
    pub fn view(&self) -> Viewer {
        let mut pictures = lock(&self.shared.pictures);
        let number = pictures.next_viewer;
        pictures.next_viewer += 1;
        let damage = Damage::whole(&pictures.surface);
        // Where others look the picture is up to date, or will be soon.
        pictures.outdated |= pictures.unseen.is_empty();
        pictures.unseen.push((number, damage));
        drop(pictures);
        self.shared.screen_wanted.store(true, Ordering::Relaxed);
        self.wake();
        Viewer { control: self.clone(), number }
    }
    /// Whether somebody looks at the screen as a picture.
    pub(crate) fn has_viewers(&self) -> bool {
        !lock(&self.shared.pictures).unseen.is_empty()
    }
    /// Whether there are viewers of a picture that is not up to date for another reason than that it changed.
    pub(crate) fn picture_is_outdated(&self) -> bool {
        lock(&self.shared.pictures).outdated
    }
    /// Has the picture drawn, where somebody looks at it. `draw` gets the surface and whether all must be drawn.
    pub(crate) fn draw_picture(&self, draw: impl FnOnce(&mut Surface, bool) -> Damage) {
        let mut pictures = lock(&self.shared.pictures);
        let Pictures { surface, unseen, outdated, .. } = &mut *pictures;
        if unseen.is_empty() {
            return;
        }
        let damage = draw(surface, std::mem::take(outdated));
        unseen.iter_mut().for_each(|(_, before)| before.merge(&damage, surface));
    }
    /// Draws the picture, whether or not somebody looks at it, and returns a copy. `draw` is as in
    /// [`draw_picture`](Self::draw_picture).
    pub(crate) fn copy_picture(&self, draw: impl FnOnce(&mut Surface, bool) -> Damage) -> Surface {
        let mut pictures = lock(&self.shared.pictures);
        let Pictures { surface, unseen, outdated, .. } = &mut *pictures;
        let all = unseen.is_empty() | std::mem::take(outdated);
        let damage = draw(surface, all);
        unseen.iter_mut().for_each(|(_, before)| before.merge(&damage, surface));
        surface.clone()
    }
}

/// See [`Pictures`].
pub(super) type SharedPictures = Mutex<Pictures>;

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_devices::display::Rect;

    fn line(control: &MachineControl, y: usize, colour: u32) {
        control.draw_picture(|surface, all| {
            let resized = surface.resize(8, 4);
            surface.line_mut(y).fill(colour);
            let mut damage = if resized || all { Damage::whole(surface) } else { Damage::default() };
            damage.add(Rect { x: 0, y, width: 8, height: 1 });
            damage
        });
    }

    #[test]
    fn a_copy_takes_nothing_from_viewers() {
        let control = MachineControl::default();
        let draw = |colour: u32| {
            move |surface: &mut Surface, all: bool| {
                let resized = surface.resize(8, 4);
                surface.line_mut(0).fill(colour);
                if resized || all { Damage::whole(surface) } else { Damage::default() }
            }
        };
        assert_eq!(control.copy_picture(draw(7)).line(0), [7; 8]);
        let (mut viewer, mut its) = (control.view(), Surface::default());
        control.copy_picture(draw(8));
        assert!(!control.picture_is_outdated() && viewer.update(&mut its).resized());
        assert_eq!(its.line(0), [8; 8]);
        line(&control, 1, 3);
        assert_eq!(
            control
                .copy_picture(|_, all| if all { panic!("nothing is new") } else { Damage::default() })
                .line(1),
            [3; 8]
        );
        assert_eq!(viewer.update(&mut its).rects(), [Rect { x: 0, y: 1, width: 8, height: 1 }]);
    }

    #[test]
    fn each_viewer_sees_what_is_new_to_it() {
        let control = MachineControl::default();
        control.draw_picture(|_, _| panic!("nobody looks"));
        let (mut one, mut its) = (control.view(), Surface::default());
        assert!(control.wants_screen() && control.picture_is_outdated());
        line(&control, 0, 1);
        assert!(!control.picture_is_outdated());
        assert!(one.update(&mut its).resized() && its.line(0) == [1; 8]);
        assert!(one.update(&mut its).is_empty());

        let (mut two, mut other) = (control.view(), Surface::default());
        assert!(!control.picture_is_outdated(), "the picture is up to date already");
        line(&control, 1, 2);
        line(&control, 2, 3);
        assert_eq!(one.update(&mut its).rects(), [Rect { x: 0, y: 1, width: 8, height: 2 }]);
        assert!(two.update(&mut other).resized());
        assert_eq!(its, other);

        drop(one);
        drop(two);
        control.draw_picture(|_, _| panic!("nobody looks any more"));
        let mut three = control.view();
        assert!(control.picture_is_outdated(), "what happened meanwhile must be drawn");
        let mut late = Surface::default();
        assert!(three.update(&mut late).is_empty() && late.pixels().is_empty(), "nothing of what was");
        line(&control, 3, 4);
        assert!(three.update(&mut late).resized() && late.line(3) == [4; 8]);
    }
}
