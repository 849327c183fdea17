//! The host's name servers, as `/etc/resolv.conf` has them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Where the host says which name servers it asks.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The file is read again after so long: hosts move between networks.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// As many as the C library asks.
const MOST: usize = 3;

/// Name servers to ask, in order.
pub struct Resolvers {
    fixed: Vec<SocketAddr>,
    read: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Resolvers {
    /// These, or the host's where there are none.
    pub fn new(fixed: Vec<SocketAddr>) -> Self {
        Self { fixed, read: Mutex::new(None) }
    }
    /// All of them.
    pub fn all(&self) -> Vec<SocketAddr> {
        if !self.fixed.is_empty() {
            return self.fixed.clone();
        }
        let mut read = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*read {
            Some((at, list)) if at.elapsed() < READ_AGAIN => list.clone(),
            _ => {
                let list = read_file(Path::new(RESOLV_CONF));
                *read = Some((Instant::now(), list.clone()));
                list
            }
        }
    }
    /// The one that is asked first.
    pub fn first(&self) -> Option<SocketAddr> {
        self.all().first().copied()
    }
}

fn read_file(path: &Path) -> Vec<SocketAddr> {
    parse(&std::fs::read_to_string(path).unwrap_or_default())
}

/// Reads resolv.conf(5). Addresses with a zone (`fe80::1%eth0`) are left out.
fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()).flatten()
        })
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .take(MOST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_found() {
        let text = "# a comment\nsearch example.org\nnameserver 192.0.2.1\n nameserver\tfd00::1 \nnameserver x\n#nameserver 1.1.1.1\n";
        let expected = ["192.0.2.1:53", "[fd00::1]:53"].map(|address| address.parse().ok());
        assert_eq!(parse(text).into_iter().map(Some).collect::<Vec<_>>(), expected);
    }
}
