//! A TAP interface: a network interface of the host whose cable ends in this program.
//!
//! What the card sends, the host's kernel receives at the interface, and the other way round. Where that leads is the
//! host's matter: a bridge, routes, or nothing. The kernel takes and gives long frames and missing checksums
//! ([`vnet`](crate::wire::vnet)), as far as the card's driver takes them.
//!
//! An interface may have several queues. A frame that the card sends by one of its pairs of queues goes to the kernel by the queue of that
//! number ([`Frame::queue`]), and what comes of the same flow comes back by it.
//!
//! To make an interface needs the privilege CAP_NET_ADMIN; to use one that is there needs to be its owner; to join a bridge by the
//! helper needs neither, as the helper has it, and so does who starts this program with an open interface.
//!
//! | module | what it has |
//! |---|---|
//! | [`config`] | options |
//! | `interface` | the interface's files |
//! | `queue` | a file with its thread |
//! | [`helper`] | the bridge helper, and scripts |
//! | `ioctl` | the driver's calls |

pub mod config;
pub mod helper;
pub mod interface;
mod ioctl;
mod queue;

use crate::backend::{NetBackend, Waker};
use crate::error::NetError;
use crate::frame::{Frame, Offloads};
use crate::wire::vnet;
use config::TapConfig;
use interface::Interface;
use queue::{Counts, TapQueue};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A TAP interface.
pub struct Tap {
    /// At least one.
    queues: Vec<TapQueue>,
    has_header: bool,
    name: String,
    mtu: u16,
    downscript: Option<PathBuf>,
    /// The queue that is asked first for the next frame.
    next: AtomicUsize,
}

impl Tap {
    /// Opens an interface, or makes one.
    ///
    /// # Errors
    /// The host does not let this program have it, or a script failed.
    pub fn open(config: &TapConfig) -> Result<Self, NetError> {
        let Interface { files, name, has_header } = interface::open(config)?;
        let refused = |error: std::io::Error| NetError::host(format!("tap {name}"), error);
        for file in &files {
            rustix::io::ioctl_fionbio(file, true).map_err(|error| refused(error.into()))?;
            if has_header {
                // The length that it has from the beginning, unless who made the interface has changed it.
                _ = ioctl::set_header_bytes(file, vnet::BYTES as i32);
                _ = ioctl::set_offloads(file, 0);
            }
        }
        if let Some(script) = &config.script {
            helper::run_script(script, &name)?;
        }
        let several = files.len() > 1;
        let mut queues = Vec::with_capacity(files.len());
        for (number, file) in (0_u16..).zip(files) {
            let number = several.then_some(number);
            queues.push(TapQueue::start(file, has_header, number, &name).map_err(refused)?);
        }
        let mtu = mtu(&name).unwrap_or(1500);
        let downscript = config.downscript.clone();
        Ok(Self { queues, has_header, name, mtu, downscript, next: AtomicUsize::new(0) })
    }
    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The MTU of an interface.
fn mtu(name: &str) -> Option<u16> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?;
    let mtu: u32 = text.trim().parse().ok()?;
    Some(mtu.min(65_535) as u16)
}

impl NetBackend for Tap {
    fn send(&self, frame: Frame) {
        let queue = usize::from(frame.queue.unwrap_or(0)) % self.queues.len();
        self.queues[queue].send(frame);
    }
    fn receive(&self) -> Option<Frame> {
        // In turn, so that a busy queue does not keep the others waiting.
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.queues.len();
        (0..count).find_map(|n| self.queues[first.wrapping_add(n) % count].receive())
    }
    fn accepts(&self) -> Offloads {
        // Without a header frames are finished here.
        Offloads { checksum: true, tcp4: true, tcp6: true, ecn: true, udp: false }
    }
    fn card_accepts(&self, offloads: Offloads) {
        if !self.has_header {
            return;
        }
        let mut bits = 0;
        if offloads.checksum {
            bits |= ioctl::TUN_F_CSUM;
            bits |= if offloads.tcp4 { ioctl::TUN_F_TSO4 } else { 0 };
            bits |= if offloads.tcp6 { ioctl::TUN_F_TSO6 } else { 0 };
            let any = offloads.tcp4 || offloads.tcp6;
            bits |= if offloads.ecn && any { ioctl::TUN_F_TSO_ECN } else { 0 };
        }
        for queue in &self.queues {
            if let Err(error) = queue.set_offloads(bits) {
                log::warn!("tap {}: the kernel does not take offloads {bits:#x}: {error}", self.name);
            }
        }
    }
    fn set_waker(&self, waker: Waker) {
        self.queues.iter().for_each(|queue| queue.set_waker(waker.clone()));
    }
    fn mtu(&self) -> u16 {
        self.mtu
    }
    fn queues(&self) -> u16 {
        self.queues.len() as u16
    }
    fn info(&self) -> String {
        let offloads = if self.has_header { "offloads" } else { "no offloads" };
        let queue = |queue: &TapQueue| {
            let Counts { sent, dropped, received } = queue.counts();
            format!("\n  from the guest: {sent} frames, {dropped} dropped\n  to the guest: {received} frames")
        };
        let counts: String = self.queues.iter().map(queue).collect();
        let several = match self.queues.len() {
            1 => String::new(),
            count => format!(", {count} queues"),
        };
        format!("tap: interface {}, MTU {}, {offloads}{several}{counts}", self.name, self.mtu)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Nothing moves any more when the script runs, and the interface is still there.
        self.queues.iter_mut().for_each(TapQueue::stop);
        let failed = self.downscript.as_ref().and_then(|script| helper::run_script(script, &self.name).err());
        if let Some(error) = failed {
            log::warn!("{error}");
        }
    }
}
