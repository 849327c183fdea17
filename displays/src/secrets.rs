//! Random bytes and comparisons that tell nothing.

use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

/// Random bytes that nobody can guess.
///
/// # Errors
/// The host has none.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// A word of 32 hexadecimal digits that nobody can guess.
///
/// # Errors
/// See [`random`].
pub fn token() -> io::Result<String> {
    Ok(random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether two texts are the same, in a time that says nothing of where they differ.
pub fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |all, (left, right)| all | (left ^ right)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_compare() {
        let (one, two) = (token().unwrap(), token().unwrap());
        assert!(one.len() == 32 && one != two);
        assert!(same(one.as_bytes(), one.as_bytes()) && !same(one.as_bytes(), two.as_bytes()));
        assert!(!same(b"a", b"ab"));
    }
}
