//! All ACPI tables through the ACPICA compiler: disassembled, compiled again, and compared.

use super::tests::platforms;
use super::*;
use std::process::Command;
use trimotor_test_needs::{IASL, skip};

/// Runs iasl in `dir`; its words are part of the failure.
fn iasl(dir: &std::path::Path, arguments: &[&str]) -> String {
    let out = Command::new("iasl").current_dir(dir).args(arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "iasl {arguments:?}: {text}");
    text
}

#[test]
fn iasl_takes_all_tables_apart_and_puts_them_together_again() {
    if skip((IASL.check)()) {
        return;
    }
    for (i, platform) in platforms().iter().enumerate() {
        let dir = std::env::temp_dir().join(format!("trimotor-iasl-{}-{i}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for table in FirmwareTables::build(platform).acpi {
            let name = String::from_utf8_lossy(&table.signature).to_lowercase();
            let (aml, dsl) = (format!("{name}.dat"), format!("{name}.dsl"));
            std::fs::write(dir.join(&aml), &table.bytes).unwrap();
            let text = iasl(&dir, &["-d", &aml]);
            assert!(!text.contains("Warning") && !text.contains("Error"), "{name}: {text}");
            let text = iasl(&dir, &["-oa", "-p", "again", &dsl]);
            assert!(text.contains("0 Errors") || !text.contains("Errors"), "{name}: {text}");
            assert!(text.contains("0 Warnings") || !text.contains("Warnings"), "{name}: {text}");
            let again = std::fs::read(dir.join("again.aml")).unwrap();
            // The compiler writes its own name (bytes 28 to 35) and so another checksum.
            let same = |b: &[u8]| [&b[..9], &b[10..28], &b[36..]].concat();
            if name != "facs" {
                assert_eq!(same(&again), same(&table.bytes), "{name} came back different");
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
