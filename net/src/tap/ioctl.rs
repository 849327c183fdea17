//! The calls of Linux's TUN driver (`linux/if_tun.h`), which are ioctls.
#![allow(unsafe_code)] // ioctl takes what the number says; each call here gives it that.

use rustix::fd::{BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Setter, Updater, ioctl};

/// Ethernet frames, rather than IP packets.
pub const IFF_TAP: u16 = 0x0002;
/// No header of four bytes before each frame.
pub const IFF_NO_PI: u16 = 0x1000;
/// `struct virtio_net_hdr` before each frame.
pub const IFF_VNET_HDR: u16 = 0x4000;
/// Several files may be one interface.
pub const IFF_MULTI_QUEUE: u16 = 0x0100;

/// Frames whose checksum is missing.
pub const TUN_F_CSUM: usize = 0x01;
/// Long frames of TCP over IPv4.
pub const TUN_F_TSO4: usize = 0x02;
/// Long frames of TCP over IPv6.
pub const TUN_F_TSO6: usize = 0x04;
/// Long frames of TCP that tell of congestion.
pub const TUN_F_TSO_ECN: usize = 0x08;

const TUNSETIFF: u32 = 0x4004_54CA;
const TUNGETIFF: u32 = 0x8004_54D2;
const TUNGETFEATURES: u32 = 0x8004_54CF;
const TUNSETOFFLOAD: u32 = 0x4004_54D0;
const TUNSETVNETHDRSZ: u32 = 0x4004_54D8;

/// Bytes of an interface's name, with a zero at the end.
pub const NAME_BYTES: usize = 16;

/// `struct ifreq`, of which the driver uses the name and the flags.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_BYTES],
    flags: u16,
    rest: [u8; 22],
}
impl InterfaceRequest {
    fn name(&self) -> String {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }
}

/// Makes a file of /dev/net/tun an interface's: the name that it has, which is chosen where the given one is empty or has `%d`.
pub fn set_interface(file: &OwnedFd, name: &str, flags: u16) -> Result<String, Errno> {
    let mut request = InterfaceRequest { name: [0; NAME_BYTES], flags, rest: [0; 22] };
    let length = name.len().min(NAME_BYTES - 1);
    request.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, 40 bytes, which `InterfaceRequest` is laid out as.
    unsafe { ioctl(file, Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request))? };
    Ok(request.name())
}

/// The interface that a file is one of: its name and its flags. A file that is no interface's is refused.
pub fn interface_of(file: &OwnedFd) -> Result<(String, u16), Errno> {
    let mut request = InterfaceRequest { name: [0; NAME_BYTES], flags: 0, rest: [0; 22] };
    // SAFETY: TUNGETIFF writes a `struct ifreq`, 40 bytes, which `InterfaceRequest` is laid out as.
    unsafe { ioctl(file, Updater::<TUNGETIFF, InterfaceRequest>::new(&mut request))? };
    Ok((request.name(), request.flags))
}

/// A file of our own for the open file that this program was started with as number `number`.
pub fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the number is used for this call alone, which refuses one behind which no file is open; what it makes is another
    // number, so that whoever else has the first one may close it.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_dupfd_cloexec(file, 3)
}

/// The flags that the driver knows.
pub fn features(file: &OwnedFd) -> Result<u32, Errno> {
    let mut features = 0_u32;
    // SAFETY: TUNGETFEATURES writes an `unsigned int`.
    unsafe { ioctl(file, Updater::<TUNGETFEATURES, u32>::new(&mut features))? };
    Ok(features)
}

/// Says what frames that are read may leave open.
pub fn set_offloads(file: &OwnedFd, offloads: usize) -> Result<(), Errno> {
    // SAFETY: TUNSETOFFLOAD takes a number.
    unsafe { ioctl(file, IntegerSetter::<TUNSETOFFLOAD>::new_usize(offloads)) }
}

/// Says how long the header before each frame is.
pub fn set_header_bytes(file: &OwnedFd, bytes: i32) -> Result<(), Errno> {
    // SAFETY: TUNSETVNETHDRSZ reads an `int`.
    unsafe { ioctl(file, Setter::<TUNSETVNETHDRSZ, i32>::new(bytes)) }
}
