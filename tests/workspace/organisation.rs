//! No test is lost: each file belongs to a test program, and a program that lists its tests has no `#[test]`.

use crate::metadata;
use std::fs;
use std::path::{Path, PathBuf};

/// The main files of test programs.
fn programs() -> Vec<PathBuf> {
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("packages");
    let targets = packages.iter().flat_map(|package| package["targets"].as_array().expect("targets"));
    let tests = targets.filter(|target| target["kind"][0] == "test");
    tests.map(|target| PathBuf::from(target["src_path"].as_str().expect("a path"))).collect()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files of a test program: those below its main file, if that has a folder of its own.
fn files(main: &Path) -> Vec<PathBuf> {
    let mut files = vec![main.to_owned()];
    let mut folders: Vec<_> =
        main.parent().filter(|_| main.ends_with("main.rs")).into_iter().map(Path::to_owned).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("a folder's entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && path != main {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn a_program_that_lists_its_tests_has_no_test_attribute() {
    for main in programs() {
        // Rust's harness makes the main function itself.
        if !text(&main).contains("fn main()") {
            continue;
        }
        for path in files(&main) {
            assert!(
                !text(&path).lines().any(|line| line.trim() == "#[test]"),
                "{}: a #[test] is never run here; name the function in the table `tests()`",
                path.display()
            );
        }
    }
}

#[test]
fn each_file_is_a_module_of_its_program() {
    for main in programs() {
        for path in files(&main).into_iter().filter(|path| *path != main) {
            let folder = path.parent().expect("a folder");
            let is_folder = path.ends_with("mod.rs");
            let (name, above) =
                if is_folder { (folder, folder.parent().expect("a folder")) } else { (&*path, folder) };
            let name = name.file_stem().unwrap_or_default().to_string_lossy();
            let above_as_file = above.with_extension("rs");
            let places = [above.join("main.rs"), above.join("mod.rs"), above_as_file];
            let declared = places.iter().filter(|place| place.is_file()).any(|place| {
                let text = text(place);
                text.lines().any(|line| line.trim().trim_start_matches("pub ") == format!("mod {name};"))
            });
            assert!(declared, "{}: no `mod {name};` names it, so it is not compiled", path.display());
        }
    }
}
