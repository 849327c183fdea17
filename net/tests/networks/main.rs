//! Networks with real stations at them: Linux's own TCP/IP stack in a network namespace, with real clients.
//!
//! With `TRIMOTOR_STATION` set, the program is a client in such a namespace instead: see [`client`].

#![allow(clippy::unwrap_used, reason = "a failure to set a test up ends the test")]

use std::process::ExitCode;
use trimotor_test_needs as needs;

mod cables;
mod client;
mod forwards;
mod hostile;
mod icmp;
mod pattern;
mod services;
mod station;
mod tap;
mod tcp;
mod udp;
mod wrappers;

fn main() -> ExitCode {
    if let Some(what) = std::env::var_os(client::VARIABLE) {
        return client::run(&what.to_string_lossy());
    }
    needs::run([
        cables::tests(),
        forwards::tests(),
        hostile::tests(),
        icmp::tests(),
        services::tests(),
        tap::tests(),
        tcp::tests(),
        udp::tests(),
        wrappers::tests(),
    ])
}
