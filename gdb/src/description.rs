//! The target description: the registers of a view, as gdb reads them (GDB, "Target Description Format").

use crate::registers::{Feature, View};
use std::fmt::Write;

/// The flags of RFLAGS by bit.
const RFLAGS: &[(&str, u32)] = &[
    ("CF", 0),
    ("PF", 2),
    ("AF", 4),
    ("ZF", 6),
    ("SF", 7),
    ("TF", 8),
    ("IF", 9),
    ("DF", 10),
    ("OF", 11),
    ("NT", 14),
    ("RF", 16),
    ("VM", 17),
    ("AC", 18),
    ("VIF", 19),
    ("VIP", 20),
    ("ID", 21),
];
const MXCSR: &[(&str, u32)] = &[
    ("IE", 0),
    ("DE", 1),
    ("ZE", 2),
    ("OE", 3),
    ("UE", 4),
    ("PE", 5),
    ("DAZ", 6),
    ("IM", 7),
    ("DM", 8),
    ("ZM", 9),
    ("OM", 10),
    ("UM", 11),
    ("PM", 12),
    ("FZ", 15),
];
const CR0: &[(&str, u32)] = &[
    ("PE", 0),
    ("MP", 1),
    ("EM", 2),
    ("TS", 3),
    ("ET", 4),
    ("NE", 5),
    ("WP", 16),
    ("AM", 18),
    ("NW", 29),
    ("CD", 30),
    ("PG", 31),
];
const CR4: &[(&str, u32)] = &[
    ("VME", 0),
    ("PVI", 1),
    ("TSD", 2),
    ("DE", 3),
    ("PSE", 4),
    ("PAE", 5),
    ("MCE", 6),
    ("PGE", 7),
    ("PCE", 8),
    ("OSFXSR", 9),
    ("OSXMMEXCPT", 10),
    ("UMIP", 11),
    ("LA57", 12),
    ("FSGSBASE", 16),
    ("PCIDE", 17),
    ("OSXSAVE", 18),
    ("SMEP", 20),
    ("SMAP", 21),
    ("PKE", 22),
];
const EFER: &[(&str, u32)] = &[("SCE", 0), ("LME", 8), ("LMA", 10), ("NXE", 11)];

/// What vector registers are made of: field, type, number.
const VECTORS: &[(&str, &str, u32)] = &[
    ("v4_float", "ieee_single", 4),
    ("v2_double", "ieee_double", 2),
    ("v16_int8", "int8", 16),
    ("v8_int16", "int16", 8),
    ("v4_int32", "int32", 4),
    ("v2_int64", "int64", 2),
];

/// The description of a view, `target.xml`.
pub fn xml(view: View) -> String {
    let registers = view.registers();
    let mut out = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n\
         <architecture>{}</architecture>\n",
        view.architecture()
    );
    for feature in Feature::ALL {
        let mut members = registers.iter().filter(|register| register.feature == feature).peekable();
        if members.peek().is_none() {
            continue;
        }
        _ = writeln!(out, "<feature name=\"{}\">", feature.name());
        types(&mut out, feature, view);
        for register in members {
            _ = writeln!(
                out,
                "<reg name=\"{}\" bitsize=\"{}\" type=\"{}\"/>",
                register.name, register.bits, register.kind
            );
        }
        out += "</feature>\n";
    }
    out + "</target>\n"
}

fn types(out: &mut String, feature: Feature, view: View) {
    match feature {
        Feature::Core => flags(out, "i386_eflags", 4, RFLAGS),
        Feature::Sse => {
            for (name, element, count) in VECTORS {
                _ = writeln!(out, "<vector id=\"{name}\" type=\"{element}\" count=\"{count}\"/>");
            }
            *out += "<union id=\"vec128\">\n";
            for (name, ..) in VECTORS {
                _ = writeln!(out, "<field name=\"{name}\" type=\"{name}\"/>");
            }
            *out += "<field name=\"uint128\" type=\"uint128\"/>\n</union>\n";
            flags(out, "i386_mxcsr", 4, MXCSR);
        }
        Feature::System => {
            let bytes = if view == View::Bits64 { 8 } else { 4 };
            flags(out, "i386_cr0", bytes, CR0);
            flags(out, "i386_cr4", bytes, CR4);
            flags(out, "i386_efer", bytes, EFER);
        }
        Feature::Avx | Feature::Segments => {}
    }
}

fn flags(out: &mut String, id: &str, bytes: u32, fields: &[(&str, u32)]) {
    _ = writeln!(out, "<flags id=\"{id}\" size=\"{bytes}\">");
    for (name, bit) in fields {
        _ = writeln!(out, "<field name=\"{name}\" start=\"{bit}\" end=\"{bit}\"/>");
    }
    *out += "</flags>\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_register_has_a_type_that_is_known() {
        for view in [View::Bits16, View::Bits32, View::Bits64] {
            let xml = xml(view);
            assert!(xml.contains(&format!("<architecture>{}</architecture>", view.architecture())));
            for register in view.registers() {
                assert!(xml.contains(&format!("<reg name=\"{}\" ", register.name)), "{}", register.name);
                let own = register.kind.starts_with("i386_") || register.kind == "vec128";
                assert!(!own || xml.contains(&format!("id=\"{}\"", register.kind)), "{}", register.kind);
            }
        }
    }
}
