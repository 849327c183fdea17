//! Ports of the host's loopback that nobody else takes.
//!
//! A port that the host picks (port 0) is free again once its socket is closed, and the next connection of any program may
//! get it. So ports that something is to listen at later are picked here, below those that the host picks.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Linux picks from 32768 on, unless `net.ipv4.ip_local_port_range` says otherwise. VNC's displays begin at 5900.
const PORTS: Range<u32> = 10_000..32_768;
/// How far apart two test programs begin that run at the same time.
const APART: u32 = 101;

/// A port of the loopback that is free, for TCP and for UDP. No other call in this process returns it.
///
/// # Panics
/// None is free.
pub fn free_port() -> u16 {
    static PICKED: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(APART);
    for _ in PORTS {
        let next = begin.wrapping_add(PICKED.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + next % (PORTS.end - PORTS.start)) as u16;
        let place = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(place).is_ok() && UdpSocket::bind(place).is_ok() {
            return port;
        }
    }
    panic!("the loopback has no free port from {} to {}", PORTS.start, PORTS.end - 1);
}
