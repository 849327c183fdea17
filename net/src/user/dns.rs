//! The name server: answers for the host's name, and asks the host's name servers for all others (RFC 1035, RFC 5625).
//!
//! | name | is |
//! |---|---|
//! | `host.internal` | the router: the host's loopback |
//!
//! Each question has a socket and a number of its own, so that nobody but the name server that was asked can answer. A name server that
//! is silent or gone is followed by the next. Questions over TCP are connections to the first one.

use super::config::Addresses;
use super::link::Link;
use super::outward::{Outward, family, new_socket};
use super::poller::{Poller, Token};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, connect, recv, send};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The host's name. The domain is nobody's (ICANN's resolution of 2024-07-29).
pub const HOST_NAME: &str = "host.internal";

/// Questions that wait for an answer.
const MOST_QUESTIONS: usize = 512;
/// How long a name server is waited for before the next is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the list of name servers is gone through.
const ROUNDS: usize = 2;
/// A header has 12 bytes.
const HEADER: usize = 12;
/// Questions are short; answers have what EDNS allows at most.
const LONGEST: usize = 65_535;
/// How long an answer of ours may be remembered.
const TTL_S: u32 = 60;

const RESPONSE: u8 = 0x80;
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;

const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const TYPE_AAAA: u16 = 28;
const TYPE_ANY: u16 = 255;

struct Question {
    guest: SocketAddr,
    server: SocketAddr,
    /// The question as the guest asked it.
    bytes: Vec<u8>,
    /// Its number where we asked.
    number: [u8; 2],
    socket: Option<OwnedFd>,
    tries: usize,
    asked: Instant,
}

/// The name server.
#[derive(Default)]
pub struct Dns {
    questions: HashMap<u64, Question>,
    next_number: u64,
    secret: RandomState,
}

impl Dns {
    /// A question of the guest, which was sent to `server`.
    pub fn receive(
        &mut self,
        guest: SocketAddr,
        server: SocketAddr,
        bytes: &[u8],
        link: &mut Link,
        outward: &Outward,
        poller: &Poller,
    ) {
        if bytes.len() < HEADER || bytes[2] & RESPONSE != 0 {
            return;
        }
        if let Some(answer) = own_answer(bytes, &link.addresses) {
            return link.send_udp(server, guest, &answer);
        }
        let is_same = |question: &Question| question.guest == guest && question.bytes[..2] == bytes[..2];
        if self.questions.values().any(is_same) {
            return;
        }
        if self.questions.len() >= MOST_QUESTIONS {
            let oldest = self.questions.iter().min_by_key(|(_, question)| question.asked).map(|(id, _)| *id);
            oldest.map(|id| self.questions.remove(&id));
        }
        let id = self.next_number;
        self.next_number += 1;
        let number = (self.secret.hash_one(id) as u16).to_be_bytes();
        let (bytes, asked) = (bytes.to_vec(), link.now);
        self.questions.insert(id, Question { guest, server, bytes, number, socket: None, tries: 0, asked });
        self.ask(id, link, outward, poller);
    }
    /// Asks the next name server, or tells the guest that nobody answers.
    fn ask(&mut self, id: u64, link: &mut Link, outward: &Outward, poller: &Poller) {
        let Some(question) = self.questions.get_mut(&id) else { return };
        let servers = outward.resolvers.all();
        while question.tries < servers.len() * ROUNDS {
            let server = servers[question.tries % servers.len()];
            question.tries += 1;
            question.asked = link.now;
            match question.ask(server, id, poller) {
                Ok(socket) => {
                    question.socket = Some(socket);
                    return;
                }
                Err(error) => log::debug!("the name server {server} cannot be asked: {error}"),
            }
        }
        let answer = failure(&question.bytes);
        link.send_udp(question.server, question.guest, &answer);
        self.questions.remove(&id);
    }
    /// An answer has come, or the news that nobody is there.
    pub fn event(&mut self, id: u64, link: &mut Link, outward: &Outward, poller: &Poller) {
        let Some(question) = self.questions.get_mut(&id) else { return };
        let Some(socket) = &question.socket else { return };
        let mut bytes = Vec::with_capacity(LONGEST);
        match recv(socket, rustix::buffer::spare_capacity(&mut bytes), RecvFlags::DONTWAIT) {
            Ok(_) => {
                let is_answer =
                    bytes.len() >= HEADER && bytes[..2] == question.number && bytes[2] & RESPONSE != 0;
                if is_answer {
                    bytes[..2].copy_from_slice(&question.bytes[..2]);
                    link.send_udp(question.server, question.guest, &bytes);
                    self.questions.remove(&id);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.ask(id, link, outward, poller),
        }
    }
    /// Once a second: asks others where nobody answered.
    pub fn tick(&mut self, link: &mut Link, outward: &Outward, poller: &Poller) {
        let now = link.now;
        let late = |question: &Question| now.saturating_duration_since(question.asked) >= PATIENCE;
        let late: Vec<u64> =
            self.questions.iter().filter(|(_, question)| late(question)).map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.ask(id, link, outward, poller));
    }
    /// Whether no question waits.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }
}

impl Question {
    fn ask(&self, server: SocketAddr, id: u64, poller: &Poller) -> Result<OwnedFd, Errno> {
        let socket = new_socket(family(server.ip()), SocketType::DGRAM)?;
        connect(&socket, &server)?;
        let mut bytes = self.bytes.clone();
        bytes[..2].copy_from_slice(&self.number);
        send(&socket, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        poller.add(&socket, Token::Dns(id), EventFlags::IN).map_err(|_| Errno::NOMEM)?;
        Ok(socket)
    }
}

/// The first question: its name in lower case, its type, and where it ends.
fn question(bytes: &[u8]) -> Option<(String, u16, usize)> {
    if bytes[4..6] != [0, 1] {
        return None;
    }
    let mut name = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // Longer ones would be pointers, which questions have no use for.
        let label = bytes.get(at..at + length).filter(|_| length < 64 && name.len() < 254)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at += length;
    }
    let kind = u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
    let is_internet = bytes.get(at + 2..at + 4)? == [0, 1];
    is_internet.then_some((name, kind, at + 4))
}

/// An answer to a question about the host.
fn own_answer(bytes: &[u8], addresses: &Addresses) -> Option<Vec<u8>> {
    // A plain query.
    if bytes[2] & 0x78 != 0 {
        return None;
    }
    let (name, kind, end) = question(bytes)?;
    let mut records: Vec<(u16, Vec<u8>)> = Vec::new();
    if name == HOST_NAME {
        if addresses.ipv4 && matches!(kind, TYPE_A | TYPE_ANY) {
            records.push((TYPE_A, addresses.host.octets().to_vec()));
        }
        if addresses.ipv6 && matches!(kind, TYPE_AAAA | TYPE_ANY) {
            records.push((TYPE_AAAA, addresses.host6.octets().to_vec()));
        }
    } else if name == reverse_name(addresses) {
        if matches!(kind, TYPE_PTR | TYPE_ANY) {
            records.push((TYPE_PTR, names(&[HOST_NAME.into()])));
        }
    } else {
        return None;
    }
    let mut answer = reply(bytes, end, NO_ERROR);
    answer[7] = records.len() as u8;
    for (kind, data) in records {
        // The name is the question's.
        answer.extend_from_slice(&[0xC0, HEADER as u8]);
        answer.extend_from_slice(&kind.to_be_bytes());
        answer.extend_from_slice(&[0, 1]);
        answer.extend_from_slice(&TTL_S.to_be_bytes());
        answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
        answer.extend_from_slice(&data);
    }
    Some(answer)
}

fn reverse_name(addresses: &Addresses) -> String {
    let [a, b, c, d] = addresses.host.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

/// The answer to a question that nobody answers.
fn failure(bytes: &[u8]) -> Vec<u8> {
    let end = question(bytes).map_or(HEADER, |(_, _, end)| end);
    let mut answer = reply(bytes, end, SERVER_FAILURE);
    if end == HEADER {
        answer[4..6].fill(0);
    }
    answer
}

/// A header with the question, and no records.
fn reply(bytes: &[u8], end: usize, code: u8) -> Vec<u8> {
    let mut answer = bytes[..end].to_vec();
    // Recursion is available.
    answer[2] |= RESPONSE;
    answer[3] = 0x80 | code;
    answer[6..HEADER].fill(0);
    answer
}

/// Names as DNS has them, one behind the other, as options of DHCP and router advertisements want them.
pub fn names(names: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        for label in name.trim_end_matches('.').split('.').filter(|label| (1..64).contains(&label.len())) {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::user::config::UserNetConfig;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(names(&[name.into()]));
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes
    }

    #[test]
    fn the_host_has_a_name() {
        let addresses = UserNetConfig::default().addresses().unwrap();
        let answer = own_answer(&query("Host.Internal", TYPE_A), &addresses).unwrap();
        assert_eq!(answer[..8], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1]);
        assert!(answer.ends_with(&[0, 4, 10, 0, 2, 2]));
        let answer = own_answer(&query("host.internal", TYPE_AAAA), &addresses).unwrap();
        assert!(answer.ends_with(&addresses.host6.octets()));
        let answer = own_answer(&query("2.2.0.10.in-addr.arpa", TYPE_PTR), &addresses).unwrap();
        assert!(answer.ends_with(b"\x04host\x08internal\0"));
        let nothing = own_answer(&query("host.internal", 15), &addresses).unwrap();
        assert_eq!(nothing[6..8], [0, 0]);
        assert_eq!(own_answer(&query("example.org", TYPE_A), &addresses), None);
    }

    #[test]
    fn questions_that_are_none_have_no_name() {
        let mut bytes = query("a.b", TYPE_A);
        for end in HEADER..bytes.len() {
            assert_eq!(question(&bytes[..end]), None, "{end}");
        }
        bytes[HEADER] = 0xC0;
        assert_eq!(question(&bytes), None);
        assert_eq!(failure(&bytes)[..6], [0x12, 0x34, 0x81, 0x82, 0, 0]);
    }
}
