//! `--pflash` and `--drive if=pflash`: UEFI firmware in two files, its code and its variables.

use super::args::DriveArgs;
use super::place::{HostDrive, refuse};
use super::spec::{DriveSpec, Interface};
use crate::error::Failure;
use trimotor_machine::{DriveConfig, DrivePlace, Media};
use trimotor_storage::Format;

/// The device's drive, unless an option gives it another name.
const VARIABLES_ID: &str = "pflash1";

/// The files in the order of their units, each with its option.
///
/// # Errors
/// More than two, two of the same unit, or variables without code.
fn units(args: &DriveArgs) -> Result<[Option<(&'static str, DriveSpec)>; 2], Failure> {
    let named = args.drive.iter().filter(|spec| spec.interface == Interface::Flash);
    let named = named.map(|spec| ("--drive", spec.clone()));
    let given =
        args.pflash.iter().map(|path| ("--pflash", DriveSpec::new(Some(path.clone()), Interface::Flash)));
    let mut units = [None, None];
    let unnamed =
        |spec: &&DriveSpec| spec.interface == Interface::Flash && spec.index.is_none() && spec.unit.is_none();
    if let (Some(_), Some(spec)) = (args.pflash.first(), args.drive.iter().find(unnamed)) {
        // Which of them was meant to come first nobody can tell, and the second one is written.
        return Err(refuse(
            "--drive",
            spec,
            "beside --pflash, say which part it is: unit=0 code, unit=1 variables",
        ));
    }
    for (option, spec) in named.chain(given) {
        let free = || units.iter().position(Option::is_none).map_or(u8::MAX, |unit| unit as u8);
        let unit = spec.index.or(spec.unit).unwrap_or_else(free);
        let refusal = match units.get_mut(usize::from(unit)) {
            Some(place @ None) => {
                *place = Some((option, spec));
                continue;
            }
            Some(Some(_)) => "another file has this unit already",
            None => "there are two parts: the firmware's code, unit=0, and its variables, unit=1",
        };
        return Err(refuse(option, &spec, refusal));
    }
    if let [None, Some((option, spec))] = &units {
        return Err(refuse(
            option,
            spec,
            "variables are for firmware: give its code too, as the first --pflash",
        ));
    }
    Ok(units)
}

/// The firmware's code, which becomes the ROM.
///
/// # Errors
/// Parts that do not go together, or options that a ROM has not.
pub fn code(args: &DriveArgs) -> Result<Option<DriveSpec>, Failure> {
    let [Some((option, spec)), _] = units(args)? else { return Ok(None) };
    if spec.file.is_none() {
        return Err(refuse(option, &spec, "needs a file: file=FILE"));
    }
    if spec.format.is_some_and(|format| format != Format::Raw) {
        return Err(refuse(option, &spec, "the firmware's code is a raw file"));
    }
    Ok(Some(spec))
}

/// The drive with the variables.
///
/// # Errors
/// Parts that do not go together.
pub fn variables(args: &DriveArgs) -> Result<Option<HostDrive>, Failure> {
    let [_, Some((option, spec))] = units(args)? else { return Ok(None) };
    let id = spec.id.clone().unwrap_or_else(|| VARIABLES_ID.to_owned());
    let config = DriveConfig {
        on_read_error: spec.on_read_error,
        on_write_error: spec.on_write_error,
        ..DriveConfig::new(&id, DrivePlace::Unattached, Media::Disk)
    };
    Ok(Some(HostDrive { config, spec, option }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn args(drives: &[&str], files: &[&str]) -> DriveArgs {
        DriveArgs {
            drive: drives.iter().map(|text| text.parse().unwrap()).collect(),
            pflash: files.iter().map(PathBuf::from).collect(),
            ..DriveArgs::default()
        }
    }

    #[test]
    fn code_comes_first_and_variables_second() {
        let name = |spec: &DriveSpec| spec.file.as_ref().unwrap().to_string_lossy().into_owned();
        for args in [
            args(&[], &["code", "vars"]),
            args(&["if=pflash,file=code,readonly=on,format=raw", "if=pflash,file=vars"], &[]),
            args(&["if=pflash,file=vars,unit=1", "if=pflash,file=code,unit=0"], &[]),
            args(&["if=pflash,file=code,unit=0"], &["vars"]),
            args(&["if=pflash,file=vars,unit=1"], &["code"]),
        ] {
            assert_eq!(name(&code(&args).unwrap().unwrap()), "code");
            let variables = variables(&args).unwrap().unwrap();
            assert_eq!(
                (name(&variables.spec).as_str(), variables.config.id.as_str()),
                ("vars", VARIABLES_ID)
            );
        }
        let only_code = args(&[], &["code"]);
        assert!(code(&only_code).unwrap().is_some() && variables(&only_code).unwrap().is_none());
        assert!(code(&args(&["file=disk"], &[])).unwrap().is_none());
    }

    #[test]
    fn parts_that_do_not_go_together_are_named() {
        for (drives, files, says) in [
            (&[][..], &["a", "b", "c"][..], "two parts"),
            (&["if=pflash,file=a,unit=0", "if=pflash,file=b,unit=0"], &[], "this unit already"),
            (&["if=pflash,file=a,unit=1"], &[], "give its code too"),
            (&["if=pflash,file=a"], &["b"], "say which part"),
            (&["if=pflash"], &[], "needs a file"),
            (&["if=pflash,file=a,format=qcow2"], &[], "raw file"),
        ] {
            let error = code(&args(drives, files)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
