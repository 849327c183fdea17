//! The Remote Framebuffer protocol, which VNC viewers speak (RFC 6143, and the community's edition of it, "The RFB
//! Protocol", for what came later).
//!
//! The server names its version, the viewer answers with the one that both will speak (3.3, 3.7 or 3.8). They agree on a
//! security type, here none or VNC Authentication; the viewer says whether it shares the screen; the server names the screen's size
//! and its pixels' format. From then on the viewer asks for updates, and tells of keys and of the pointer. An update is a
//! number of rectangles, each in an encoding that the viewer knows. It is made when the viewer has asked for it and something
//! has changed, a rectangle at a time, and only while the viewer takes what was made before.
//!
//! Pseudo-encodings are how viewers say what else they understand, and rectangles how they are told of it: the screen has
//! another size; keys may be named by scan codes; the pointer's moves are wanted rather than its place; the keyboard's
//! indicators. The guest draws its own pointer, so that viewers are told to draw none.
//!
//! Left out: CopyRect (nobody tells of moved parts), JPEG (lossy), audio, the clipboard (a PC has none), and security types that
//! encrypt: the server listens on this machine only unless it is told otherwise, and what goes further belongs into a tunnel.

pub mod auth;
pub(crate) mod encode;
mod messages;
mod pixels;
mod updates;

#[cfg(test)]
mod tests;

use crate::connection::{Ended, Output};
use crate::guest::Guest;
use crate::keys::{self, Hands};
use crate::secrets;
use messages::Message;
pub(crate) use pixels::PixelFormat;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use updates::Updates;

/// What a VNC server is configured with.
#[derive(Clone, Default, Debug)]
pub struct Config {
    /// The password that is asked for; nothing is where there is none.
    pub password: Option<String>,
}

/// How long a viewer may take until it has said how it wants to see the screen.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// How long a viewer waits for the answer to a wrong password, so that many cannot be tried.
const WRONG_PASSWORD: Duration = Duration::from_secs(1);
/// Bytes that may wait for the rest of a message.
const MOST_WAITING: usize = 512 << 10;
/// How long a viewer waits for the screen's size, which many take for good.
const FIRST_PICTURE: Duration = Duration::from_secs(1);
const VERSION_BYTES: usize = 12;
/// What the screen is called in a viewer's title.
const NAME: &[u8] = b"Trimotor";

const SECURITY_NONE: u8 = 1;
const SECURITY_VNC: u8 = 2;
/// In the relative mode a place this far from 0 is no move ("QEMU Pointer Motion Change").
const MIDDLE: i32 = 0x7FFF;

/// How far the conversation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Version,
    SecurityType,
    /// The challenge was sent.
    Challenge([u8; auth::CHALLENGE_BYTES]),
    /// The answer was wrong; the viewer is told so at this time.
    Refused(Option<Instant>),
    /// Whether it shares.
    ClientInit,
    /// It waits for the first picture, whose size it is told, until this time.
    FirstPicture(Option<Instant>),
    Running,
}

/// A viewer.
pub struct Session {
    config: Config,
    /// Ends all others, for a viewer that wants to be alone.
    alone: Box<dyn FnMut() + Send>,
    challenge: [u8; auth::CHALLENGE_BYTES],
    phase: Phase,
    greeted: bool,
    /// The last part of the version that both speak: 3, 7 or 8.
    minor: u8,
    began: Option<Instant>,
    input: Vec<u8>,
    /// Bytes of the input that were read.
    read: usize,
    /// Bytes of a text that are still read over.
    skip: usize,
    hands: Hands,
    updates: Updates,
    /// Fences and the like, which must not stand within an update.
    replies: Vec<u8>,
}

/// Replies that wait for an update's end before no more is read.
const MOST_REPLIES: usize = 64 << 10;

impl Session {
    /// A viewer that has said nothing yet. `alone` must end all others.
    ///
    /// # Errors
    /// The host has no random bytes.
    pub fn new(config: Config, guest: Arc<dyn Guest>, alone: Box<dyn FnMut() + Send>) -> io::Result<Session> {
        Ok(Session {
            config,
            alone,
            challenge: secrets::random()?,
            phase: Phase::Version,
            greeted: false,
            minor: 8,
            began: None,
            input: Vec::new(),
            read: 0,
            skip: 0,
            hands: Hands::new(guest.clone()),
            updates: Updates::new(guest),
            replies: Vec::new(),
        })
    }
    fn rest(&self) -> &[u8] {
        &self.input[self.read..]
    }
    /// The next piece of input that the phase needs, so long.
    fn piece(&mut self, length: usize) -> Option<Vec<u8>> {
        let piece = self.rest().get(..length)?.to_vec();
        self.read += length;
        Some(piece)
    }
    /// Goes on by one step; false where more must come first.
    fn step(&mut self, out: &mut Output) -> Result<bool, Ended> {
        match self.phase {
            Phase::Version => {
                let Some(version) = self.piece(VERSION_BYTES) else { return Ok(false) };
                self.minor = version_of(&version)?;
                self.offer_security(out);
            }
            Phase::SecurityType => {
                let Some(chosen) = self.piece(1) else { return Ok(false) };
                if chosen[0] != self.security() {
                    return Err(Ended::refused(format!("security type {} was not offered", chosen[0])));
                }
                self.begin_security(out);
            }
            Phase::Challenge(challenge) => {
                let Some(answer) = self.piece(auth::CHALLENGE_BYTES) else { return Ok(false) };
                let password = self.config.password.as_deref().unwrap_or_default();
                if auth::is_right(&answer, &challenge, password) {
                    out.push(0u32.to_be_bytes().to_vec());
                    self.phase = Phase::ClientInit;
                } else {
                    self.phase = Phase::Refused(None);
                }
            }
            Phase::FirstPicture(_) => return Ok(false),
            // Nothing that it says counts any more.
            Phase::Refused(_) => {
                self.read = self.input.len();
                return Ok(false);
            }
            Phase::ClientInit => {
                let Some(shared) = self.piece(1) else { return Ok(false) };
                if shared[0] == 0 {
                    (self.alone)();
                }
                self.updates.look();
                self.phase = Phase::FirstPicture(None);
            }
            Phase::Running => return self.step_running(out),
        }
        Ok(true)
    }
    fn security(&self) -> u8 {
        if self.config.password.is_some() { SECURITY_VNC } else { SECURITY_NONE }
    }
    fn offer_security(&mut self, out: &mut Output) {
        if self.minor >= 7 {
            out.push(vec![1, self.security()]);
            self.phase = Phase::SecurityType;
        } else {
            // The server decides.
            out.push(u32::from(self.security()).to_be_bytes().to_vec());
            self.begin_security(out);
        }
    }
    fn begin_security(&mut self, out: &mut Output) {
        if self.config.password.is_some() {
            out.push(self.challenge.to_vec());
            self.phase = Phase::Challenge(self.challenge);
            return;
        }
        if self.minor >= 8 {
            out.push(0u32.to_be_bytes().to_vec());
        }
        self.phase = Phase::ClientInit;
    }
    fn server_init(&self) -> Vec<u8> {
        let (width, height) = self.updates.size();
        let mut message = [width as u16, height as u16].map(u16::to_be_bytes).concat();
        message.extend(PixelFormat::default().write());
        message.extend((NAME.len() as u32).to_be_bytes());
        message.extend(NAME);
        message
    }
    fn step_running(&mut self, out: &mut Output) -> Result<bool, Ended> {
        if self.skip > 0 {
            let skipped = self.skip.min(self.rest().len());
            self.read += skipped;
            self.skip -= skipped;
            return Ok(skipped > 0);
        }
        let Some((message, length)) = messages::parse(self.rest())? else { return Ok(false) };
        self.read += length;
        self.obey(message, out)?;
        Ok(true)
    }
    fn obey(&mut self, message: Message, out: &mut Output) -> Result<(), Ended> {
        match message {
            Message::SetPixelFormat(format) => {
                let format = PixelFormat::read(&format).ok_or_else(|| {
                    Ended::refused(format!("a pixel format that makes no picture: {format:?}"))
                })?;
                self.replies.extend(format.colour_map().unwrap_or_default());
                self.updates.set_format(format);
            }
            Message::SetEncodings(encodings) => self.updates.set_encodings(&encodings, &mut self.replies),
            Message::UpdateRequest { incremental, place } => self.updates.request(incremental, place),
            Message::Key { down, keysym } => self.hands.keysym(keysym, down),
            Message::ScanCode { down, keysym, code } => match keys::scan_code(code) {
                Some(key) => self.hands.key(key, down),
                None => self.hands.keysym(keysym, down),
            },
            Message::Pointer { buttons, x, y } => {
                if self.updates.is_relative() {
                    self.hands.shift(i32::from(x) - MIDDLE, i32::from(y) - MIDDLE);
                } else {
                    let (width, height) = self.updates.size();
                    self.hands.point(x.into(), y.into(), width, height);
                }
                self.hands.buttons(buttons);
            }
            Message::ContinuousUpdates { on, place } => {
                self.updates.continuous(on.then_some(place), &mut self.replies);
            }
            Message::Fence { flags, payload } => self.replies.extend(fence(flags, &payload)),
            Message::SetDesktopSize => self.updates.refuse_size(),
            Message::CutText { bytes } => self.skip = bytes,
        }
        self.send_replies(out);
        Ok(())
    }
    fn send_replies(&mut self, out: &mut Output) {
        if !self.updates.is_within_one() {
            out.push(std::mem::take(&mut self.replies));
        }
    }
}

/// A fence that must be answered.
const FENCE_REQUEST: u32 = 1 << 31;
/// What of its meaning holds here: as all is done in order, all of it.
const FENCE_KNOWN: u32 = 0b111;

/// The answer to a fence; none to an answer.
fn fence(flags: u32, payload: &[u8]) -> Vec<u8> {
    if flags & FENCE_REQUEST == 0 {
        return Vec::new();
    }
    fence_message(flags & FENCE_KNOWN, payload)
}

fn fence_message(flags: u32, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![248, 0, 0, 0];
    message.extend(flags.to_be_bytes());
    message.push(payload.len() as u8);
    message.extend(payload);
    message
}

/// The last part of the version that a viewer names, as far as it is spoken here.
fn version_of(text: &[u8]) -> Result<u8, Ended> {
    let number = |at: usize| std::str::from_utf8(text.get(at..at + 3)?).ok()?.parse::<u16>().ok();
    match (text.starts_with(b"RFB "), number(4), text.get(7), number(8), text.get(11)) {
        (true, Some(3), Some(b'.'), Some(minor), Some(b'\n')) => Ok(match minor {
            8.. => 8,
            7 => 7,
            // What is not there counts as the oldest.
            _ => 3,
        }),
        (true, Some(4..), Some(b'.'), Some(_), Some(b'\n')) => Ok(8),
        _ => Err(Ended::refused("what came is no viewer's greeting")),
    }
}

impl crate::connection::Session for Session {
    fn receive(&mut self, bytes: &[u8], out: &mut Output) -> Result<(), Ended> {
        self.input.extend_from_slice(bytes);
        while self.step(out)? {}
        self.input.drain(..std::mem::take(&mut self.read));
        if self.input.len() > MOST_WAITING {
            return Err(Ended::refused("a message that is too long"));
        }
        Ok(())
    }
    fn turn(&mut self, now: Instant, out: &mut Output) -> Result<Option<Instant>, Ended> {
        if !self.greeted {
            self.greeted = true;
            out.push(b"RFB 003.008\n".to_vec());
        }
        if let Phase::Refused(when) = &mut self.phase {
            let when = *when.get_or_insert(now + WRONG_PASSWORD);
            if now < when {
                return Ok(Some(when));
            }
            let mut message = 1u32.to_be_bytes().to_vec();
            if self.minor >= 8 {
                let reason = b"wrong password";
                message.extend((reason.len() as u32).to_be_bytes());
                message.extend(reason);
            }
            out.push(message);
            return Err(Ended::refused("wrong password"));
        }
        if let Phase::FirstPicture(when) = &mut self.phase {
            let when = *when.get_or_insert(now + FIRST_PICTURE);
            if !self.updates.has_picture() && now < when {
                return Ok(Some(when));
            }
            out.push(self.server_init());
            self.phase = Phase::Running;
            // What it has said meanwhile.
            crate::connection::Session::receive(self, &[], out)?;
        }
        if self.phase != Phase::Running {
            let end = *self.began.get_or_insert(now) + HANDSHAKE;
            if now >= end {
                return Err(Ended::refused("nothing came that a viewer begins with"));
            }
            return Ok(Some(end));
        }
        let retry = if self.hands.feed() { None } else { Some(now + keys::RETRY) };
        let next = self.updates.turn(now, out);
        self.send_replies(out);
        Ok([retry, next].into_iter().flatten().min())
    }
    fn takes_input(&self) -> bool {
        self.replies.len() < MOST_REPLIES
    }
}
