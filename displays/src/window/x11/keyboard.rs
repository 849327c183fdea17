//! Which key each of the server's numbers is.
//!
//! A server numbers its keys as it likes. The keyboard extension tells their names, which are places on the keyboard, and so
//! do not depend on the layout that the person types with.

use crate::keys::{linux_code, xkb_name};
use trimotor_devices::i8042::KeyCode;
use x11rb::errors::ReplyError;
use x11rb::protocol::xkb::{self, BoolCtrl, ConnectionExt as _, ID, NameDetail, PerClientFlag};
use x11rb::rust_connection::RustConnection;

/// The version of the extension.
const VERSION: (u16, u16) = (1, 0);
/// What a server's numbers are higher than Linux's codes, where its keyboards are Linux's.
const LINUX_OFFSET: u32 = 8;
/// Numbers are below.
const NUMBERS: u32 = 256;

/// The keys by the server's numbers. Repeats of a key that is held are made to come without its going up.
///
/// # Errors
/// The connection fails. A server without the extension is taken for one on Linux.
pub fn keys(connection: &RustConnection) -> Result<Vec<Option<KeyCode>>, ReplyError> {
    match names(connection) {
        Ok(keys) if keys.iter().any(Option::is_some) => Ok(keys),
        Ok(_) | Err(ReplyError::X11Error(_)) => {
            log::info!("the X server does not name its keys; they are taken for those of Linux");
            Ok((0..NUMBERS).map(|number| linux_code(number.checked_sub(LINUX_OFFSET)?)).collect())
        }
        Err(error) => Err(error),
    }
}

fn names(connection: &RustConnection) -> Result<Vec<Option<KeyCode>>, ReplyError> {
    if x11rb::connection::RequestConnection::extension_information(connection, xkb::X11_EXTENSION_NAME)?
        .is_none()
    {
        return Ok(Vec::new());
    }
    if !connection.xkb_use_extension(VERSION.0, VERSION.1)?.reply()?.supported {
        return Ok(Vec::new());
    }
    let device = ID::USE_CORE_KBD.into();
    let flag = PerClientFlag::DETECTABLE_AUTO_REPEAT;
    let none = BoolCtrl::default();
    connection.xkb_per_client_flags(device, flag, flag, none, none, none)?.reply()?;
    let names = connection.xkb_get_names(device, NameDetail::KEY_NAMES)?.reply()?;
    let mut keys = vec![None; NUMBERS as usize];
    let first = usize::from(names.first_key);
    for (key, name) in keys.iter_mut().skip(first).zip(names.value_list.key_names.unwrap_or_default()) {
        *key = xkb_name(name.name);
    }
    Ok(keys)
}
