//! The status line: what the machine does, and the keys that matter.

/// A piece of the line, and how much it matters.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Piece {
    text: String,
    weight: u8,
}

/// The line before it is cut to the terminal's width.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StatusLine {
    pieces: Vec<Piece>,
}

/// Between pieces.
const SEPARATOR: &str = " │ ";

impl StatusLine {
    /// Appends a piece; those with the least weight go first where there is no room.
    pub fn push(&mut self, weight: u8, text: impl Into<String>) {
        self.pieces.push(Piece { text: text.into(), weight });
    }
    /// The line in `columns`, without the pieces that find no room.
    pub fn fit(&self, columns: usize) -> String {
        let mut pieces = self.pieces.clone();
        loop {
            let texts: Vec<_> = pieces.iter().map(|piece| piece.text.as_str()).collect();
            let line = format!(" {}", texts.join(SEPARATOR));
            let least = pieces.iter().enumerate().min_by_key(|(_, piece)| piece.weight).map(|(at, _)| at);
            match least {
                Some(least) if line.chars().count() > columns && pieces.len() > 1 => {
                    drop(pieces.remove(least))
                }
                _ => return line,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_least_goes_first() {
        let mut line = StatusLine::default();
        line.push(2, "jit");
        line.push(1, "12 s");
        line.push(3, "Ctrl-A h: keys");
        assert_eq!(line.fit(80), " jit │ 12 s │ Ctrl-A h: keys");
        assert_eq!(line.fit(22), " jit │ Ctrl-A h: keys");
        assert_eq!(line.fit(10), " Ctrl-A h: keys");
    }
}
