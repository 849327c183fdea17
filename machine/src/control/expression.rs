//! Values that people compute at a monitor: numbers, registers, and what C makes of them.
//!
//! `$rsp+8`, `0xb8000 + 2 * 80`, `$ds.base | 0x10`. An expression is read when the command is, and computed when the vCPU stands
//! still, from the registers that it has then. Operators are those of C for unsigned numbers of 64 bits, with C's precedence.

use std::iter::Peekable;
use std::str::Chars;
use trimotor_cpu::{ArchState, SegReg};

/// Parentheses and signs that may be open at a time.
const DEEPEST: usize = 64;

/// A value to be computed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expression {
    /// As it was written, with single blanks.
    text: String,
    /// In postfix order: well formed, as the parser made it.
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Number(u64),
    Register(Register),
    Negate,
    Invert,
    Binary(Operator),
}

/// A register, or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Register {
    /// A general register's low bits.
    General(u8, u64),
    /// RIP's low bits.
    Ip(u64),
    Flags,
    Selector(SegReg),
    Base(SegReg),
    Control(u8),
    Debug(u8),
    Efer,
}

/// Operators with two operands, those that bind least first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Or,
    Xor,
    And,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    fn of(character: char) -> Option<Operator> {
        Some(match character {
            '|' => Self::Or,
            '^' => Self::Xor,
            '&' => Self::And,
            '+' => Self::Add,
            '-' => Self::Subtract,
            '*' => Self::Multiply,
            '/' => Self::Divide,
            '%' => Self::Remainder,
            _ => return None,
        })
    }
    fn binds(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::Xor => 2,
            Self::And => 3,
            Self::Add | Self::Subtract => 4,
            Self::Multiply | Self::Divide | Self::Remainder => 5,
        }
    }
    fn compute(self, left: u64, right: u64) -> Result<u64, &'static str> {
        const BY_ZERO: &str = "division by zero";
        Ok(match self {
            Self::Or => left | right,
            Self::Xor => left ^ right,
            Self::And => left & right,
            Self::Add => left.wrapping_add(right),
            Self::Subtract => left.wrapping_sub(right),
            Self::Multiply => left.wrapping_mul(right),
            Self::Divide => left.checked_div(right).ok_or(BY_ZERO)?,
            Self::Remainder => left.checked_rem(right).ok_or(BY_ZERO)?,
        })
    }
}

impl Register {
    fn named(name: &str) -> Option<Register> {
        const NAMES: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
        const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
        let (wide, low) = (u64::MAX, u64::from(u32::MAX));
        let classic = |name: &str| NAMES.iter().position(|known| *known == name).map(|at| at as u8);
        if let Some(number) = classic(name) {
            return Some(Self::General(number, 0xFFFF));
        }
        if let Some((segment, part)) = name.split_once('.') {
            let number = SEGMENTS.iter().position(|known| *known == segment)?;
            return (part == "base").then_some(Self::Base(SegReg::ALL[number]));
        }
        if let Some(number) = SEGMENTS.iter().position(|known| *known == name) {
            return Some(Self::Selector(SegReg::ALL[number]));
        }
        let number = |text: &str, last: u8| text.parse::<u8>().ok().filter(|number| *number <= last);
        Some(match name {
            "rip" | "pc" => Self::Ip(wide),
            "eip" => Self::Ip(low),
            "ip" => Self::Ip(0xFFFF),
            "rflags" | "eflags" => Self::Flags,
            "efer" => Self::Efer,
            _ if name.starts_with("cr") => {
                Self::Control(number(&name[2..], 4).filter(|number| *number != 1)?)
            }
            _ if name.starts_with("dr") => {
                Self::Debug(number(&name[2..], 7).filter(|number| ![4, 5].contains(number))?)
            }
            _ => match name.split_at_checked(1)? {
                ("e", rest) => Self::General(classic(rest)?, low),
                ("r", rest) => match classic(rest) {
                    Some(number) => Self::General(number, wide),
                    None => Self::General(number(rest, 15).filter(|number| *number >= 8)?, wide),
                },
                _ => return None,
            },
        })
    }
    fn value(self, state: &ArchState) -> u64 {
        match self {
            Self::General(number, mask) => state.gpr[usize::from(number)] & mask,
            Self::Ip(mask) => state.rip & mask,
            Self::Flags => state.rflags,
            Self::Selector(segment) => u64::from(state.segments[segment as usize].selector),
            Self::Base(segment) => state.segments[segment as usize].base,
            Self::Control(0) => state.cr0,
            Self::Control(2) => state.cr2,
            Self::Control(3) => state.cr3,
            Self::Control(_) => state.cr4,
            Self::Debug(number) => state.dr[usize::from(number) & 7],
            Self::Efer => state.efer,
        }
    }
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Says where it went wrong and what would be right.
    pub fn parse(text: &str) -> Result<Expression, String> {
        let mut parser = Parser { rest: text.chars().peekable(), tokens: Vec::new(), depth: 0 };
        parser.sum(1)?;
        match parser.next_visible() {
            None => {
                let words: Vec<&str> = text.split_whitespace().collect();
                Ok(Expression { text: words.join(" "), tokens: parser.tokens })
            }
            Some(')') => Err("a parenthesis too many".to_owned()),
            Some(other) => Err(format!("{other:?} is no operator: + - * / % & | ^ are")),
        }
    }
    /// The value with these registers.
    ///
    /// # Errors
    /// A division by zero.
    pub fn value(&self, state: &ArchState) -> Result<u64, String> {
        let mut stack: Vec<u64> = Vec::new();
        let pop = |stack: &mut Vec<u64>| stack.pop().unwrap_or(0);
        for token in &self.tokens {
            let value = match token {
                Token::Number(number) => *number,
                Token::Register(register) => register.value(state),
                Token::Negate => pop(&mut stack).wrapping_neg(),
                Token::Invert => !pop(&mut stack),
                Token::Binary(operator) => {
                    let right = pop(&mut stack);
                    let left = pop(&mut stack);
                    operator.compute(left, right).map_err(|why| format!("{}: {why}", self.text))?
                }
            };
            stack.push(value);
        }
        Ok(pop(&mut stack))
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    tokens: Vec<Token>,
    depth: usize,
}

impl Parser<'_> {
    fn next_visible(&mut self) -> Option<char> {
        while self.rest.next_if(|character| character.is_whitespace()).is_some() {}
        self.rest.peek().copied()
    }
    /// Operands with operators between them that bind at least so strongly.
    fn sum(&mut self, binds: u8) -> Result<(), String> {
        self.operand()?;
        while let Some(operator) = self.next_visible().and_then(Operator::of).filter(|o| o.binds() >= binds) {
            self.rest.next();
            self.sum(operator.binds() + 1)?;
            self.tokens.push(Token::Binary(operator));
        }
        Ok(())
    }
    fn operand(&mut self) -> Result<(), String> {
        let first =
            self.next_visible().ok_or("a number, a register as in $rip, or ( is missing at the end")?;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("more than {DEEPEST} parentheses and signs are open"));
        }
        match first {
            '(' => {
                self.rest.next();
                self.sum(1)?;
                if self.next_visible() != Some(')') {
                    return Err("a parenthesis is not closed".to_owned());
                }
                self.rest.next();
            }
            '-' | '~' | '+' => {
                self.rest.next();
                self.operand()?;
                match first {
                    '-' => self.tokens.push(Token::Negate),
                    '~' => self.tokens.push(Token::Invert),
                    _ => {}
                }
            }
            '$' => {
                self.rest.next();
                let name = self.word(|character| character == '.').to_ascii_lowercase();
                let register = Register::named(&name).ok_or_else(|| {
                    format!("${name} is no register: as $rax, $eip, $r8, $cs, $fs.base, $rflags, $cr3, $dr7, $efer")
                })?;
                self.tokens.push(Token::Register(register));
            }
            _ if first.is_ascii_digit() => {
                let word = self.word(|_| false);
                self.tokens.push(Token::Number(number(&word)?));
            }
            _ => {
                let word = self.word(|_| false);
                let word = if word.is_empty() { first.to_string() } else { word };
                let advice = if Register::named(&word.to_ascii_lowercase()).is_some() {
                    format!("write ${word} for the register, 0x{word} for the number")
                } else {
                    "write a number as 0x1000 or 4096, a register as $rip".to_owned()
                };
                return Err(format!("{word:?}: {advice}"));
            }
        }
        self.depth -= 1;
        Ok(())
    }
    fn word(&mut self, also: impl Fn(char) -> bool) -> String {
        let mut word = String::new();
        while let Some(character) =
            self.rest.next_if(|character| character.is_ascii_alphanumeric() || also(*character))
        {
            word.push(character);
        }
        word
    }
}

/// A decimal number, or a hexadecimal one behind 0x.
fn number(word: &str) -> Result<u64, String> {
    let parsed = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    parsed.map_err(|_| {
        let is_hexadecimal = word.chars().all(|character| character.is_ascii_hexdigit());
        let advice = if is_hexadecimal { format!(": write 0x{word}") } else { String::new() };
        format!("{word:?} is no number of 64 bits{advice}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_cpu::CpuState;

    fn value(text: &str) -> Result<u64, String> {
        let mut state = CpuState::at_reset(0).to_arch();
        state.gpr[0] = 0x1122_3344_5566_7788;
        state.gpr[9] = 9;
        state.rip = 0x1234_5678_9abc;
        state.segments[SegReg::Fs as usize].base = 0x7000;
        state.segments[SegReg::Cs as usize].selector = 0x10;
        state.cr3 = 0x5000;
        Expression::parse(text)?.value(&state)
    }

    #[test]
    fn values_are_computed_as_c_does() {
        for (text, expected) in [
            ("1 + 2 * 3", 7),
            ("(1+2)*3", 9),
            ("0x10|1 & 3", 0x11),
            ("7 - 2 - 1", 4),
            ("-1", u64::MAX),
            ("~0 - -1", 0),
            ("2*-3+7", 1),
            ("100 / 7 % 4", 2),
            ("$rax & 0xff", 0x88),
            ("$eax", 0x5566_7788),
            ("$ax", 0x7788),
            ("$r9", 9),
            ("$RIP+$eip+$ip", 0x1234_5678_9abc + 0x5678_9abc + 0x9abc),
            ("$fs.base+$cs", 0x7010),
            ("$cr3", 0x5000),
            ("0xffffffffffffffff + 2", 1),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("", "missing at the end"),
            ("1 +", "missing at the end"),
            ("(1", "not closed"),
            ("1)", "too many"),
            ("1 2", "no operator"),
            ("1 / 0", "division by zero"),
            ("1 % (3 - 3)", "division by zero"),
            ("$rxx", "no register"),
            ("$r16", "no register"),
            ("$cr1", "no register"),
            ("$cs.limit", "no register"),
            ("rip", "write $rip"),
            ("7c00", "write 0x7c00"),
            ("0x", "no number"),
            ("99999999999999999999", "no number"),
            ("@", "\"@\""),
        ] {
            let error = value(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let deep = "(".repeat(2000) + "1" + &")".repeat(2000);
        assert!(value(&deep).unwrap_err().contains("64"));
        assert!(value(&("-".repeat(2000) + "1")).is_err());
        assert_eq!(value(&format!("{}1", "1+".repeat(999))), Ok(1000));
    }
}
