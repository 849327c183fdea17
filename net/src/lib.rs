//! Networks as network cards see them: frames go out and come in. What is behind that, a router with an address
//! translation, a TAP interface or another machine, a card need not know.
//!
//! | module | what it has |
//! |---|---|
//! | [`frame`] | a frame, and what its sender left to others |
//! | [`backend`] | the interface of networks |
//! | [`queue`] | frames that wait for a card |
//! | [`finish`] | long frames cut, checksums filled in |
//! | [`user`] | a network without privileges, behind a router |
//! | [`tap`] | an interface of the host |
//! | [`socket`] | cables to other machines, and passt |
//! | [`hub`] | several cards and networks on one cable |
//! | [`capture`] | what goes over a cable, in a file |
//! | [`mac_translation`] | a network that sees another address than the guest has |
//! | [`limit`], [`bucket`] | a network that is no faster than it may be |
//! | [`wire`] | headers, checksums |
//! | [`error`] | what can go wrong when a network is set up |

pub mod backend;
mod bell;
pub mod bucket;
pub mod capture;
pub mod error;
pub mod finish;
pub mod frame;
pub mod hub;
pub mod limit;
pub mod mac_translation;
pub mod queue;
pub mod socket;
pub mod tap;
pub mod user;
pub mod wire;

pub use backend::{NetBackend, PortForwards, Waker};
pub use bucket::TokenBucket;
pub use error::NetError;
pub use frame::{Checksum, Frame, Offloads, Segmentation, SegmentationKind};
pub use hub::{Hub, HubPort};
pub use mac_translation::MacTranslation;
pub use queue::FrameQueue;
pub use tap::{Tap, config::TapConfig};
pub use user::UserNet;
pub use user::config::UserNetConfig;
