//! The TFTP server, from which machines boot (RFC 1350): files of one folder, to be read only.
//!
//! | option | from | |
//! |---|---|---|
//! | `blksize` | RFC 2348 | up to what fits in a packet of the network |
//! | `tsize` | RFC 2349 | the file's size |
//! | `timeout` | RFC 2349 | seconds after which data are sent again |
//! | `windowsize` | RFC 7440 | blocks that are sent before an acknowledgment is waited for |
//!
//! Names are looked up in the folder by the kernel, which lets no name and no link lead out of it, whatever happens to the folder meanwhile
//! (openat2(2), `RESOLVE_BENEATH`). Only regular files are opened. Block numbers go on from 0 behind 65535.

use super::link::Link;
use crate::error::NetError;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::{Errno, pread};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where requests go.
pub const PORT: u16 = 69;
/// Files that are read at a time.
const MOST_TRANSFERS: usize = 32;
/// How often blocks are sent again.
const MOST_RETRIES: u32 = 6;
/// Blocks have so many bytes if nothing else is agreed.
const BLOCK: usize = 512;
const SMALLEST_BLOCK: usize = 8;
/// What IPv4, UDP and TFTP put before a block.
const HEADERS: usize = 20 + 8 + 4;
/// Blocks at a time that are agreed at most.
const MOST_WINDOW: u16 = 64;
/// Sorcerer's Apprentice: an acknowledgment that came before does not make blocks be sent again so soon.
const NOT_AGAIN: Duration = Duration::from_millis(200);

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACKNOWLEDGMENT: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

/// What a client hears of a request that is refused: the code and the text.
type Refusal = (u16, &'static str);
const NOT_FOUND: Refusal = (1, "file not found");
const ACCESS: Refusal = (2, "access violation");
const ILLEGAL: Refusal = (4, "illegal operation");
const UNDEFINED: Refusal = (0, "the file cannot be read");
const BUSY: Refusal = (0, "too many transfers");

struct Transfer {
    file: OwnedFd,
    bytes: u64,
    block: usize,
    window: u16,
    /// Blocks that the client has.
    acknowledged: u64,
    /// The answer to the client's options, until it is acknowledged as block 0.
    agreed: Option<Vec<u8>>,
    server: SocketAddr,
    patience: Duration,
    sent: Instant,
    retries: u32,
}

/// The server.
pub struct Tftp {
    folder: OwnedFd,
    transfers: HashMap<SocketAddr, Transfer>,
    next_port: u16,
}

impl Tftp {
    /// A server of a folder.
    ///
    /// # Errors
    /// The folder cannot be opened.
    pub fn new(folder: &Path) -> Result<Self, NetError> {
        let opened = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let folder = opened.map_err(|error| {
            NetError::host_with_hint(format!("tftp={}", folder.display()), error, "it must be a folder")
        })?;
        Ok(Self { folder, transfers: HashMap::new(), next_port: 0 })
    }
    /// A request.
    pub fn request(&mut self, client: SocketAddr, server: SocketAddr, bytes: &[u8], link: &mut Link) {
        let Some((code, rest)) = opcode(bytes) else { return };
        let refusal = match code {
            READ => match self.read(client, server, rest, link) {
                Ok(()) => return,
                Err(refusal) => refusal,
            },
            WRITE => ACCESS,
            _ => ILLEGAL,
        };
        link.send_udp(server, client, &error(refusal));
    }
    fn read(
        &mut self,
        client: SocketAddr,
        server: SocketAddr,
        rest: &[u8],
        link: &mut Link,
    ) -> Result<(), Refusal> {
        let mut texts = rest.split_inclusive(|byte| *byte == 0).filter_map(|text| text.strip_suffix(&[0]));
        let (Some(name), Some(mode)) = (texts.next(), texts.next()) else { return Err(ILLEGAL) };
        if !mode.eq_ignore_ascii_case(b"octet") && !mode.eq_ignore_ascii_case(b"netascii") {
            return Err(ILLEGAL);
        }
        if self.transfers.len() >= MOST_TRANSFERS && !self.transfers.contains_key(&client) {
            return Err(BUSY);
        }
        let (file, bytes) = open_file(&self.folder, name)?;
        self.next_port = self.next_port.wrapping_add(1) % 16_384;
        let mut transfer = Transfer {
            file,
            bytes,
            block: BLOCK,
            window: 1,
            acknowledged: 0,
            agreed: None,
            server: SocketAddr::new(server.ip(), 49_152 + self.next_port),
            patience: Duration::from_secs(1),
            sent: link.now,
            retries: 0,
        };
        while let (Some(option), Some(value)) = (texts.next(), texts.next()) {
            transfer.agree(option, value, link.mtu);
        }
        transfer.send(client, link)?;
        self.transfers.insert(client, transfer);
        Ok(())
    }
    /// What a client sends to a transfer's port: whether it was one.
    pub fn receive(&mut self, client: SocketAddr, server: SocketAddr, bytes: &[u8], link: &mut Link) -> bool {
        let Some(transfer) = self.transfers.get_mut(&client).filter(|transfer| transfer.server == server)
        else {
            return false;
        };
        let goes_on = match opcode(bytes) {
            Some((ACKNOWLEDGMENT, [high, low, ..])) => {
                let result = transfer.acknowledge(u16::from_be_bytes([*high, *low]), client, link);
                result.unwrap_or_else(|refusal| {
                    link.send_udp(server, client, &error(refusal));
                    false
                })
            }
            Some((ERROR, _)) => false,
            _ => true,
        };
        if !goes_on {
            self.transfers.remove(&client);
        }
        true
    }
    /// Once a second: sends again what was not acknowledged.
    pub fn tick(&mut self, link: &mut Link) {
        self.transfers.retain(|client, transfer| {
            if link.now.saturating_duration_since(transfer.sent) < transfer.patience {
                return true;
            }
            transfer.retries += 1;
            transfer.retries <= MOST_RETRIES && transfer.send(*client, link).is_ok()
        });
    }
    /// Whether nobody reads.
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty()
    }
}

impl Transfer {
    /// Takes an option of the client, if it can be had.
    fn agree(&mut self, option: &[u8], value: &[u8], mtu: usize) {
        let number: Option<usize> = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        let Some(number) = number else { return };
        let option = option.to_ascii_lowercase();
        let agreed = match option.as_slice() {
            b"blksize" if number >= SMALLEST_BLOCK => {
                self.block = number.min(65_464).min(mtu - HEADERS);
                self.block as u64
            }
            b"tsize" => self.bytes,
            b"timeout" if (1..=255).contains(&number) => {
                self.patience = Duration::from_secs(number as u64);
                number as u64
            }
            b"windowsize" if (1..=65_535).contains(&number) => {
                self.window = (number as u16).min(MOST_WINDOW);
                self.window.into()
            }
            _ => return,
        };
        let answer = self.agreed.get_or_insert_with(|| OPTIONS.to_be_bytes().to_vec());
        answer.extend_from_slice(&option);
        answer.push(0);
        answer.extend_from_slice(agreed.to_string().as_bytes());
        answer.push(0);
    }
    /// The last block, which is shorter than others, and empty where the file ends with a whole one.
    fn last_block(&self) -> u64 {
        self.bytes / self.block as u64 + 1
    }
    /// Sends what the client waits for.
    fn send(&mut self, client: SocketAddr, link: &mut Link) -> Result<(), Refusal> {
        self.sent = link.now;
        if let Some(agreed) = &self.agreed {
            link.send_udp(self.server, client, agreed);
            return Ok(());
        }
        let last = self.last_block().min(self.acknowledged + u64::from(self.window));
        for block in self.acknowledged + 1..=last {
            let mut bytes = DATA.to_be_bytes().to_vec();
            bytes.extend_from_slice(&(block as u16).to_be_bytes());
            let data = self.block_bytes(block).map_err(|_| UNDEFINED)?;
            bytes.extend_from_slice(&data);
            link.send_udp(self.server, client, &bytes);
        }
        Ok(())
    }
    fn block_bytes(&self, block: u64) -> Result<Vec<u8>, Errno> {
        let begin = (block - 1) * self.block as u64;
        let length = self.bytes.saturating_sub(begin).min(self.block as u64) as usize;
        let mut data = vec![0; length];
        let mut have = 0;
        while have < length {
            match pread(&self.file, &mut data[have..], begin + have as u64) {
                // The file has become shorter: what is missing cannot be had.
                Ok(0) => return Err(Errno::IO),
                Ok(n) => have += n,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(data)
    }
    /// The client has a block: whether there is more.
    fn acknowledge(&mut self, block: u16, client: SocketAddr, link: &mut Link) -> Result<bool, Refusal> {
        let step = block.wrapping_sub(self.acknowledged as u16);
        if self.agreed.is_some() {
            if step != 0 {
                return Ok(true);
            }
            self.agreed = None;
        } else if step == 0 {
            // With windows a client may ask so for what was lost; soon after sending it is an echo of old times.
            let is_echo = self.window == 1 || link.now.saturating_duration_since(self.sent) < NOT_AGAIN;
            return if is_echo { Ok(true) } else { self.send(client, link).map(|()| true) };
        } else if step > self.window || self.acknowledged + u64::from(step) > self.last_block() {
            return Ok(true);
        }
        self.retries = 0;
        self.acknowledged += u64::from(step);
        if self.acknowledged == self.last_block() {
            return Ok(false);
        }
        self.send(client, link)?;
        Ok(true)
    }
}

fn opcode(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (code, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*code), rest))
}

fn error((code, text): Refusal) -> Vec<u8> {
    let mut bytes = ERROR.to_be_bytes().to_vec();
    bytes.extend_from_slice(&code.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Opens a regular file of the folder, and tells its size.
fn open_file(folder: &OwnedFd, name: &[u8]) -> Result<(OwnedFd, u64), Refusal> {
    let name: Vec<u8> = name.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
    let mut parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() {
        return Err(NOT_FOUND);
    }
    let parts: Vec<&[u8]> = parts.collect();
    if parts.contains(&&b".."[..]) {
        return Err(ACCESS);
    }
    let refusal = |error| match error {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => NOT_FOUND,
        _ => ACCESS,
    };
    // Without opening it: to open a device or a pipe may do something already.
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(folder, parts.join(&b'/'), OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), beneath);
    let found = found.map_err(refusal)?;
    let status = fstat(&found).map_err(refusal)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(ACCESS);
    }
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty()).map_err(refusal)?;
    Ok((file, u64::try_from(status.st_size).unwrap_or(0)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::user::config::UserNetConfig;
    use crate::user::shared::Shared;
    use crate::wire::headers::Udp;
    use crate::wire::ip::Packet;
    use std::sync::Arc;

    /// A server of a folder with one file, and a client.
    struct Rig {
        tftp: Tftp,
        link: Link,
        client: SocketAddr,
        server: SocketAddr,
        folder: std::path::PathBuf,
    }

    impl Rig {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let folder = std::env::temp_dir().join(format!("trimotor-tftp-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("file"), bytes).unwrap();
            let addresses = UserNetConfig::default().addresses().unwrap();
            let mut link = Link::new(addresses, 1500, Arc::new(Shared::new().unwrap()));
            let client: SocketAddr = "10.0.2.15:2000".parse().unwrap();
            link.learn(client.ip(), [2; 6]);
            let server = "10.0.2.2:69".parse().unwrap();
            Self { tftp: Tftp::new(&folder).unwrap(), link, client, server, folder }
        }
        fn request(&mut self, options: &[u8]) {
            let request = [b"\0\x01file\0octet\0", options].concat();
            self.tftp.request(self.client, self.server, &request, &mut self.link);
        }
        /// What the server sent, and from which port.
        fn sent(&mut self) -> Vec<Vec<u8>> {
            let mut sent = Vec::new();
            while let Some(frame) = self.link.shared.next_for_card() {
                let packet = Packet::read(&frame).unwrap();
                let (udp, payload) = Udp::split(&frame.bytes[packet.payload]).unwrap();
                self.server.set_port(udp.source.get());
                sent.push(payload.to_vec());
            }
            sent
        }
        fn acknowledge(&mut self, block: u16) {
            let bytes = [&[0, 4][..], &block.to_be_bytes()].concat();
            self.tftp.receive(self.client, self.server, &bytes, &mut self.link);
        }
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    fn blocks(sent: &[Vec<u8>]) -> Vec<u16> {
        sent.iter().map(|data| u16::from_be_bytes([data[2], data[3]])).collect()
    }

    #[test]
    fn a_window_of_blocks_is_sent_and_what_was_lost_again() {
        let mut rig = Rig::new("window", &[9; 4500]);
        rig.request(b"blksize\x001000\0windowsize\x003\0tsize\x000\0multicast\x00x\0");
        assert_eq!(rig.sent(), [b"\0\x06blksize\x001000\0windowsize\x003\0tsize\x004500\0"]);
        rig.acknowledge(0);
        assert_eq!(blocks(&rig.sent()), [1, 2, 3]);
        // The second was lost.
        rig.acknowledge(1);
        assert_eq!(blocks(&rig.sent()), [2, 3, 4]);
        rig.acknowledge(9);
        assert!(rig.sent().is_empty());
        rig.acknowledge(4);
        let last = rig.sent();
        assert_eq!((blocks(&last), last[0].len()), (vec![5], 504));
        // Nobody acknowledges: it comes again, some times.
        for n in 0..20 {
            rig.link.now += Duration::from_secs(2);
            rig.tftp.tick(&mut rig.link);
            assert_eq!(rig.sent().is_empty(), n >= MOST_RETRIES, "{n}");
        }
        assert!(rig.tftp.is_empty());
    }

    #[test]
    fn old_acknowledgments_send_nothing_twice() {
        let mut rig = Rig::new("old", &[9; 1024]);
        rig.request(b"");
        assert_eq!(blocks(&rig.sent()), [1]);
        rig.acknowledge(0);
        assert!(rig.sent().is_empty());
        rig.acknowledge(1);
        assert_eq!(blocks(&rig.sent()), [2]);
        rig.acknowledge(1);
        assert!(rig.sent().is_empty());
        rig.acknowledge(2);
        // The file ends with a whole block: an empty one says so.
        assert_eq!(rig.sent(), [[0, 3, 0, 3]]);
        rig.acknowledge(3);
        assert!(rig.tftp.is_empty());
    }

    #[test]
    fn transfers_are_bounded() {
        let mut rig = Rig::new("bounded", &[9; 1024]);
        for port in 3000..3100 {
            rig.client.set_port(port);
            rig.server.set_port(PORT);
            rig.request(b"");
        }
        assert_eq!(rig.tftp.transfers.len(), MOST_TRANSFERS);
        assert!(rig.sent().last().unwrap().ends_with(b"too many transfers\0"));
    }
}
