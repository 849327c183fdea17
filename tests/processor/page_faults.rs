//! The error code of page faults where protection keys are on.
//!
//! Source: SDM Vol. 3A, "Page-Fault Exceptions": PK tells of the key, whatever the other rights are.

use crate::rig::*;
use trimotor_test_support::bare::leaf_entry;
use trimotor_test_support::engines::usable as engines;

const WRITABLE: u64 = 2;
const USER: u64 = 4;
const KEY: u64 = 1 << 59;
const NX: u64 = 1 << 63;
const RESERVED: u64 = 1 << 51;
/// PKRU for key 1.
const NO_ACCESS: u32 = 1 << 2;
const NO_WRITE: u32 = 2 << 2;
const SMAP: u64 = 1 << 21;

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Read,
    Write,
    Fetch,
}

struct Case {
    user: bool,
    how: How,
    entry: u64,
    pkru: u32,
    cr4: u64,
    code: Option<u64>,
}

const fn case(user: bool, how: How, entry: u64, pkru: u32, cr4: u64, code: Option<u64>) -> Case {
    Case { user, how, entry, pkru, cr4, code }
}

const CASES: &[Case] = {
    use How::*;
    const UW: u64 = USER | WRITABLE;
    &[
        case(true, Read, UW, 0, 0, None),
        case(true, Read, UW, NO_ACCESS, 0, Some(0x25)),
        case(true, Write, UW, NO_WRITE, 0, Some(0x27)),
        case(false, Write, UW, NO_WRITE, 0, Some(0x23)),
        // The page is read only besides.
        case(true, Write, USER, NO_WRITE, 0, Some(0x27)),
        case(true, Write, USER, NO_ACCESS, 0, Some(0x27)),
        case(false, Write, USER, NO_WRITE, 0, Some(0x23)),
        case(true, Write, USER, 0, 0, Some(7)),
        case(true, Read, USER, NO_WRITE, 0, None),
        // SMAP forbids it besides.
        case(false, Read, UW, NO_ACCESS, SMAP, Some(0x21)),
        case(false, Read, UW, 0, SMAP, Some(1)),
        case(false, Write, USER, NO_WRITE, SMAP, Some(0x23)),
        // A supervisor's page has no key.
        case(true, Read, WRITABLE, NO_ACCESS, 0, Some(5)),
        case(false, Write, WRITABLE, NO_ACCESS, 0, None),
        // Fetches do not look at it.
        case(true, Fetch, USER | NX, NO_ACCESS, 0, Some(0x15)),
        // A reserved bit is found before.
        case(true, Write, USER | RESERVED, NO_ACCESS, 0, Some(0xF)),
    ]
};

#[test]
fn pk_tells_of_the_key_whatever_else_forbids() {
    for engine in engines() {
        for (n, c) in CASES.iter().enumerate() {
            let mut r = Rig::long(engine);
            r.u64s(leaf_entry(DATA), &[DATA | 1 | c.entry | KEY]);
            r.m.write(DATA, &[0xF4]);
            if c.user {
                r.ring3();
            } else {
                // Supervisor's pages, that SMAP leaves alone.
                for page in [GDT, IDT, TSS, HANDLERS, CODE, STACK - 0x1000] {
                    r.u64s(leaf_entry(page), &[page | 3]);
                }
            }
            r.change(|s| {
                s.cr4 |= 1 << 22 | c.cr4;
                (s.pkru, s.gpr[3]) = (c.pkru, DATA);
            });
            // MOV AL, [RBX]; MOV [RBX], AL; JMP RBX.
            let code = match c.how {
                How::Read => [0x8A, 0x03, 0xF4],
                How::Write => [0x88, 0x03, 0xF4],
                How::Fetch => [0xFF, 0xE3, 0xF4],
            };
            let end = r.run(&code);
            match c.code {
                Some(code) => {
                    assert_eq!(end, End::Vector(14), "{engine}: case {n}");
                    assert_eq!(r.stack(0), code, "{engine}: case {n}");
                }
                None if c.user => {
                    assert_eq!((end, r.stack(1)), (End::Vector(13), CODE + 2), "{engine}: case {n}")
                }
                None => assert_eq!(end, End::Halt(CODE + 3), "{engine}: case {n}"),
            }
        }
    }
}
