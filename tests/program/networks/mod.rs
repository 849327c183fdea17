//! Networks, with drivers and programs that nobody here wrote.

pub mod beyond;
pub mod boot;
pub mod cables;
pub mod documents;
pub mod files;
pub mod guest;
mod hosts;
pub mod installer;
pub mod linux;
pub mod peers;
pub mod virtio;
