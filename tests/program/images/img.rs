//! The commands, one by one.

use super::Folder;
use crate::support::needs::{QEMU_IMG, Tests};
use crate::support::program::executable;
use serde_json::Value;
use std::fs;

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG])
        .test(create_makes_what_qemu_img_accepts)
        .test(info_says_what_qemu_img_says)
        .test(convert_keeps_the_content)
        .test(clones_are_committed_and_rebased)
        .test(snapshots_and_sizes)
        .test(check_repairs_and_its_code_tells)
        .test(compare_tells_by_its_code)
        .test(map_says_what_qemu_img_says)
        .test(what_cannot_be_done_leaves_nothing_behind)
        .test(help_has_examples)
}

/// Two megabytes of data, a hole, and data.
fn content() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..2u32 << 20).map(|n| (n / 3 % 251) as u8 | 1).collect();
    bytes.resize(6 << 20, 0);
    bytes.extend([9; 5000]);
    bytes.resize(8 << 20, 0);
    bytes
}

fn create_makes_what_qemu_img_accepts() {
    let folder = Folder::new("create");
    let options = [
        &[][..],
        &["-o", "compat=0.10"],
        &["-o", "cluster_size=512,refcount_bits=1"],
        &["-o", "cluster_size=2M,lazy_refcounts=on,compression_type=zstd"],
        &["-o", "preallocation=metadata"],
        &["-f", "qcow2", "-o", "preallocation=full,cluster_size=4k"],
    ];
    for options in options {
        folder.img(&[&["create", "-q"], options, &["disk", "10M"]].concat());
        folder.qemu_img(&["check", "-f", "qcow2", "disk"]);
        let info: Value =
            serde_json::from_str(&folder.qemu_img(&["info", "--output=json", "disk"])).expect("JSON");
        assert_eq!(
            (&info["format"], &info["virtual-size"]),
            (&"qcow2".into(), &(10 << 20).into()),
            "{options:?}"
        );
    }
    folder.img(&["create", "-q", "disk.raw", "1.5M"]);
    assert_eq!(fs::metadata(folder.path().join("disk.raw")).unwrap().len(), 3 << 19);
}

fn info_says_what_qemu_img_says() {
    let folder = Folder::new("info");
    folder.img(&["create", "-q", "base.raw", "3M"]);
    folder.img(&["create", "-q", "-b", "base.raw", "-F", "raw", "-o", "refcount_bits=8", "clone.qcow2"]);
    folder.img(&["snapshot", "-c", "before", "clone.qcow2"]);
    let ours = folder.img(&["info", "--json", "--backing-chain", "clone.qcow2"]);
    let theirs = folder.qemu_img(&["info", "--output=json", "--backing-chain", "clone.qcow2"]);
    let [ours, theirs]: [Value; 2] = [&ours, &theirs].map(|text| serde_json::from_str(text).expect("JSON"));
    for image in 0..2 {
        for name in ["filename", "format", "virtual-size", "backing-filename", "cluster-size", "dirty-flag"] {
            // Newer and older versions of qemu-img leave out different ones.
            if !theirs[image][name].is_null() && !ours[image][name].is_null() {
                assert_eq!(ours[image][name], theirs[image][name], "{name}: {ours:#}\n{theirs:#}");
            }
        }
    }
    assert_eq!(ours[0]["snapshots"][0]["name"], "before");
    for name in ["refcount-bits", "compat", "lazy-refcounts", "compression-type"] {
        let data = |info: &Value| info[0]["format-specific"]["data"][name].clone();
        assert_eq!(data(&ours), data(&theirs), "{name}");
    }
    let text = folder.img(&["info", "clone.qcow2"]);
    for word in ["qcow2", "3 MiB (3145728 bytes)", "base.raw", "before", "refcount-bits: 8"] {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

fn convert_keeps_the_content() {
    let folder = Folder::new("convert");
    fs::write(folder.path().join("disk.raw"), content()).unwrap();
    let ways: [(&str, &[&str]); 5] = [
        ("qcow2", &[]),
        ("qcow2", &["-c"]),
        ("qcow2", &["-c", "-o", "compression_type=zstd"]),
        ("qcow2", &["-o", "cluster_size=512,compat=0.10"]),
        ("raw", &[]),
    ];
    for (format, options) in ways {
        folder.img(&[&["convert", "-f", "raw", "-O", format], options, &["disk.raw", "copy"]].concat());
        folder.qemu_img(&["compare", "-f", "raw", "-F", format, "disk.raw", "copy"]);
        if format == "qcow2" {
            folder.qemu_img(&["check", "copy"]);
        }
        folder.img(&["convert", "-f", format, "copy", "back.raw"]);
        assert!(fs::read(folder.path().join("back.raw")).unwrap() == content(), "{format} {options:?}");
    }
    for (format, name) in [("vmdk", "disk.vmdk"), ("vpc", "disk.vhd"), ("vdi", "disk.vdi")] {
        folder.qemu_img(&["convert", "-f", "raw", "-O", format, "disk.raw", name]);
        folder.img(&["convert", name, "from.qcow2"]);
        folder.qemu_img(&["compare", "-F", format, "from.qcow2", name]);
        folder.qemu_img(&["check", "from.qcow2"]);
    }
    // Only what differs from the image below.
    folder.img(&["convert", "disk.raw", "disk.qcow2"]);
    folder.img(&["convert", "-B", "disk.qcow2", "-F", "qcow2", "disk.raw", "thin.qcow2"]);
    folder.qemu_img(&["compare", "-f", "raw", "disk.raw", "thin.qcow2"]);
    assert!(fs::metadata(folder.path().join("thin.qcow2")).unwrap().len() < 1 << 20);
}

fn clones_are_committed_and_rebased() {
    let folder = Folder::new("clones");
    fs::create_dir(folder.path().join("below")).unwrap();
    fs::write(folder.path().join("below/base.raw"), content()).unwrap();
    folder.img(&["create", "-q", "-b", "below/base.raw", "-F", "raw", "clone.qcow2", "9M"]);
    let write = |image: &str, command: &str| {
        let arguments = ["-f", "qcow2", "-c", command, image];
        assert!(folder.run("qemu-io".as_ref(), &arguments).status.success());
    };
    write("clone.qcow2", "write -P 17 1M 100k");
    write("clone.qcow2", "write -z 1536k 1M");
    folder.img(&["convert", "clone.qcow2", "wanted.raw"]);
    folder.qemu_img(&["compare", "-f", "raw", "-F", "qcow2", "wanted.raw", "clone.qcow2"]);

    folder.img(&["create", "-q", "other.qcow2", "9M"]);
    write("other.qcow2", "write -P 5 0 5M");
    fs::copy(folder.path().join("clone.qcow2"), folder.path().join("moved.qcow2")).unwrap();
    folder.img(&["rebase", "-b", "other.qcow2", "-F", "qcow2", "moved.qcow2"]);
    folder.qemu_img(&["compare", "-f", "raw", "-F", "qcow2", "wanted.raw", "moved.qcow2"]);
    folder.img(&["rebase", "-b", "", "moved.qcow2"]);
    folder.qemu_img(&["compare", "-f", "raw", "-F", "qcow2", "wanted.raw", "moved.qcow2"]);
    folder.qemu_img(&["check", "moved.qcow2"]);

    folder.img(&["commit", "-q", "clone.qcow2"]);
    folder.qemu_img(&["compare", "-f", "raw", "-F", "raw", "wanted.raw", "below/base.raw"]);
    folder.qemu_img(&["compare", "-f", "raw", "-F", "qcow2", "wanted.raw", "clone.qcow2"]);
    folder.qemu_img(&["check", "clone.qcow2"]);
    let map = folder.img(&["map", "clone.qcow2"]);
    assert!(!map.lines().skip(1).any(|line| line.split_whitespace().nth(2) == Some("0")), "{map}");
}

fn snapshots_and_sizes() {
    let folder = Folder::new("snapshots");
    fs::write(folder.path().join("disk.raw"), content()).unwrap();
    folder.img(&["convert", "disk.raw", "disk.qcow2"]);
    folder.img(&["snapshot", "-c", "clean", "disk.qcow2"]);
    assert!(folder.run("qemu-io".as_ref(), &["-c", "write -P 1 0 8M", "disk.qcow2"]).status.success());
    folder.img(&["resize", "-q", "disk.qcow2", "+4M"]);
    folder.qemu_img(&["check", "disk.qcow2"]);
    assert!(folder.qemu_img(&["snapshot", "-l", "disk.qcow2"]).contains("clean"));
    assert!(folder.img(&["snapshot", "-l", "disk.qcow2"]).contains("clean"));
    folder.img(&["snapshot", "-a", "clean", "disk.qcow2"]);
    folder.qemu_img(&["compare", "-f", "raw", "-F", "qcow2", "disk.raw", "disk.qcow2"]);
    assert!(folder.img(&["info", "disk.qcow2"]).contains("8 MiB (8388608 bytes)"));
    folder.img(&["snapshot", "-d", "clean", "disk.qcow2"]);
    folder.qemu_img(&["check", "disk.qcow2"]);
    let refused = folder.run(&executable(), &["img", "resize", "disk.qcow2", "1M"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--shrink"));
    folder.img(&["resize", "-q", "--shrink", "disk.qcow2", "-5M"]);
    folder.qemu_img(&["check", "disk.qcow2"]);
    assert!(folder.img(&["info", "disk.qcow2"]).contains("3 MiB (3145728 bytes)"));
}

fn check_repairs_and_its_code_tells() {
    let folder = Folder::new("check");
    let image = folder.path().join("disk.qcow2");
    folder.img(&["create", "-q", "-o", "preallocation=metadata", "disk.qcow2", "1M"]);
    let code = |arguments: &[&str]| {
        folder.run(&executable(), &[&["img", "check"], arguments].concat()).status.code()
    };
    assert_eq!(code(&["disk.qcow2"]), Some(0));
    // The refcount block is the image's last cluster; cluster 3 loses its count, cluster 1000 gets one.
    let mut bytes = fs::read(&image).unwrap();
    let block = bytes.len() - 65536;
    bytes[block + 7] = 0;
    bytes[block + 2001] = 1;
    fs::write(&image, &bytes).unwrap();
    assert_eq!(code(&["disk.qcow2"]), Some(2));
    assert_eq!(folder.run("qemu-img".as_ref(), &["check", "disk.qcow2"]).status.code(), Some(2));
    let ours: Value = {
        let output = folder.run(&executable(), &["img", "check", "--json", "disk.qcow2"]);
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    assert_eq!((&ours["corruptions"], &ours["leaks"]), (&1.into(), &1.into()), "{ours:#}");
    assert_eq!(code(&["-r", "leaks", "disk.qcow2"]), Some(2));
    assert_eq!(code(&["-r", "all", "disk.qcow2"]), Some(0));
    folder.qemu_img(&["check", "disk.qcow2"]);
}

fn compare_tells_by_its_code() {
    let folder = Folder::new("compare");
    fs::write(folder.path().join("one.raw"), content()).unwrap();
    let mut other = content();
    other.truncate(7 << 20);
    fs::write(folder.path().join("shorter.raw"), &other).unwrap();
    other[6_295_000] ^= 1;
    fs::write(folder.path().join("other.raw"), &other).unwrap();
    let compare = |arguments: &[&str]| {
        let output = folder.run(&executable(), &[&["img", "compare"], arguments].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(compare(&["one.raw", "shorter.raw"]).0, Some(0));
    assert_eq!(compare(&["-s", "one.raw", "shorter.raw"]).0, Some(1));
    let (code, text) = compare(&["one.raw", "other.raw"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("6295000"), "{text}");
    assert_eq!(compare(&["one.raw", "gone.raw"]).0, Some(2));
}

fn map_says_what_qemu_img_says() {
    let folder = Folder::new("map");
    folder.img(&["create", "-q", "base.qcow2", "4M"]);
    let write = |image: &str, command: &str| {
        assert!(folder.run("qemu-io".as_ref(), &["-f", "qcow2", "-c", command, image]).status.success());
    };
    write("base.qcow2", "write 64k 1M");
    folder.img(&["create", "-q", "-b", "base.qcow2", "-F", "qcow2", "clone.qcow2"]);
    write("clone.qcow2", "write 512k 256k");
    write("clone.qcow2", "write -z 2M 1M");
    let maps = [
        folder.img(&["map", "--json", "clone.qcow2"]),
        folder.qemu_img(&["map", "--output=json", "clone.qcow2"]),
    ];
    let [ours, theirs]: [Value; 2] = maps.map(|text| serde_json::from_str(&text).expect("JSON"));
    for name in ["start", "length", "present", "zero", "data", "offset"] {
        let column = |map: &Value| {
            map.as_array().expect("a list").iter().map(|extent| extent[name].clone()).collect::<Vec<_>>()
        };
        assert_eq!(column(&ours), column(&theirs), "{name}: {ours:#}\n{theirs:#}");
    }
}

fn what_cannot_be_done_leaves_nothing_behind() {
    let folder = Folder::new("refused");
    fs::write(folder.path().join("disk.raw"), content()).unwrap();
    folder.img(&["create", "-q", "disk.qcow2", "1M"]);
    let cases: [(&[&str], &[&str]); 14] = [
        (&["create", "new.qcow2"], &["size"]),
        (&["create", "new.qcow2", "9X"], &["9X"]),
        (
            &["create", "-o", "cluster_size=3k", "new.qcow2", "1M"],
            &["new.qcow2", "cluster size", "power of two"],
        ),
        (&["create", "-o", "flavour=mild", "new.qcow2", "1M"], &["flavour"]),
        (&["create", "-f", "vmdk", "new.vmdk", "1M"], &["new.vmdk", "vmdk", "qcow2"]),
        (&["create", "-b", "gone.qcow2", "-F", "qcow2", "new.qcow2"], &["gone.qcow2"]),
        (&["create", "-b", "disk.qcow2", "new.qcow2"], &["-F qcow2"]),
        (&["create", "new/new.qcow2", "1M"], &["new/new.qcow2"]),
        (&["convert", "gone", "new.qcow2"], &["gone"]),
        (&["convert", "-c", "disk.qcow2", "new.raw"], &["-c", "qcow2"]),
        (&["convert", "-f", "vdi", "disk.raw", "new.qcow2"], &["disk.raw", "VDI"]),
        (&["convert", "disk.qcow2", "disk.qcow2"], &["source and the target"]),
        (&["snapshot", "-a", "gone", "disk.qcow2"], &["no snapshot `gone`"]),
        (&["commit", "disk.qcow2"], &["disk.qcow2", "no other image"]),
    ];
    for (arguments, words) in cases {
        let output = folder.run(&executable(), &[&["img"], arguments].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{arguments:?}: {words:?} in {message}");
    }
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["disk.qcow2", "disk.raw"]);
}

fn help_has_examples() {
    let folder = Folder::new("help");
    let help = folder.img(&["--help"]);
    for word in
        ["Examples", "linked clone", "create", "convert", "check", "snapshot", "rebase", "compare", "map"]
    {
        assert!(help.contains(word), "no {word:?} in {help}");
    }
    assert!(folder.img(&["create", "-o", "help"]).contains("cluster_size"));
}
