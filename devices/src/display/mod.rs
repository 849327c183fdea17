//! What a display adapter hands to those who look at it: a picture, and which parts of it changed.
//!
//! An adapter draws into a [`Surface`], and tells by [`Damage`] what it drew anew. It knows of no viewer, window or host.

mod damage;
mod surface;

pub use damage::{Damage, MAX_RECTS};
pub use surface::{MAX_HEIGHT, MAX_WIDTH, Rect, Surface};
