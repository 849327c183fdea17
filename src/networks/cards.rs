//! Which card has which network.

use super::args::NetworkArgs;
use super::spec::NetSpec;
use super::{Machine, kinds};
use crate::error::Failure;
use trimotor_machine::DeviceConfig;
use trimotor_machine::devices::{DeviceKind, KINDS};

/// The model that a card has unless it is named.
const MODEL: &str = "e1000";
/// Options of `--nic` that are the card's.
const CARD_OPTIONS: [&str; 3] = ["mac", "addr", "romfile"];
/// Names of models that are not those of devices.
const ALIASES: &[(&str, &str)] =
    &[("e1000-82540em", "e1000"), ("virtio", "virtio-net-pci"), ("virtio-net", "virtio-net-pci")];

/// A network that is to be opened.
pub struct Planned {
    /// Its name, used once.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// Its own options.
    pub options: Vec<(String, String)>,
    /// As it was written, for messages.
    pub option: String,
}

/// All networks, and all devices with the cards among them.
pub struct Plan {
    pub networks: Vec<Planned>,
    pub devices: Vec<DeviceConfig>,
}

/// Decides which networks and cards there are.
///
/// # Errors
/// An option that cannot be used.
pub fn plan(args: &NetworkArgs, machine: &Machine<'_>) -> Result<Plan, Failure> {
    let mut plan = Plan { networks: Vec::new(), devices: machine.devices.to_vec() };
    for spec in &args.netdev {
        let option = format!("--netdev {spec}");
        add_netdev(&mut plan, spec.clone(), &option)
            .map_err(|reason| Failure::bad(format!("{option}: {reason}")))?;
    }
    let mut nics: Vec<_> = args.nic.iter().map(|spec| (format!("--nic {spec}"), spec.clone())).collect();
    nics.extend(legacy(&args.net)?);
    let named = !nics.is_empty() || !args.netdev.is_empty() || machine.devices.iter().any(is_card);
    if !named && machine.boots_from_drives && !machine.counted && kinds::check("user", &[]).is_ok() {
        let spec = NetSpec { kind: "user".to_owned(), options: Vec::new() };
        nics.push((
            "the network of a machine that boots from its drives (--nic none: without)".to_owned(),
            spec,
        ));
    }
    for (option, spec) in nics {
        add_nic(&mut plan, spec, &option).map_err(|reason| Failure::bad(format!("{option}: {reason}")))?;
    }
    Ok(plan)
}

/// A network that cards name.
fn add_netdev(plan: &mut Plan, mut spec: NetSpec, option: &str) -> Result<(), String> {
    kinds::check(&spec.kind, &without_id(&spec))?;
    let Some(id) = spec.take("id")? else {
        return Err("a card names its network by an id: add id=NAME, and netdev=NAME to the card".to_owned());
    };
    add_network(plan, id, spec, option)
}
fn without_id(spec: &NetSpec) -> Vec<(String, String)> {
    spec.options.iter().filter(|(name, _)| name != "id").cloned().collect()
}
fn add_network(plan: &mut Plan, id: String, spec: NetSpec, option: &str) -> Result<(), String> {
    let letters = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !id.starts_with(|c: char| c.is_ascii_alphabetic()) || !id.chars().all(letters) {
        return Err(format!("id={id}: begins with a letter, and has letters, digits, - . _"));
    }
    if plan.networks.iter().any(|network| network.id == id) {
        return Err(format!("id={id}: another network has this id"));
    }
    let NetSpec { kind, options } = spec;
    plan.networks.push(Planned { id, kind, options, option: option.to_owned() });
    Ok(())
}

/// A card with its network.
fn add_nic(plan: &mut Plan, mut spec: NetSpec, option: &str) -> Result<(), String> {
    if spec.kind == "none" {
        return match spec.options.first() {
            Some((name, _)) => Err(format!("no card has no option {name}")),
            None => Ok(()),
        };
    }
    let model = spec.take("model")?;
    let kind = model_kind(model.as_deref().unwrap_or(MODEL))?;
    let mut card = DeviceConfig::new(kind.name);
    for name in CARD_OPTIONS {
        // QEMU's older name.
        let value = if name == "mac" { spec.take("macaddr")? } else { None };
        if let Some(value) = spec.take(name)?.or(value) {
            card = card.with(name, value);
        }
    }
    let id = spec.take("id")?;
    kinds::check(&spec.kind, &spec.options)?;
    let id = id.unwrap_or_else(|| free_id(plan));
    plan.devices.push(card.with("netdev", &id));
    add_network(plan, id, spec, option)
}
fn free_id(plan: &Plan) -> String {
    let taken = |id: &str| plan.networks.iter().any(|network| network.id == id);
    let mut ids = (0..).map(|number| format!("nic{number}"));
    ids.find(|id| !taken(id)).unwrap_or_default()
}

/// `--net`: each type with the card that is named beside it, in their order.
fn legacy(specs: &[NetSpec]) -> Result<Vec<(String, NetSpec)>, Failure> {
    let (cards, networks): (Vec<_>, Vec<_>) = specs.iter().partition(|spec| spec.kind == "nic");
    if cards.len() > networks.len() {
        let reason = "each card here has a network: give one with --net user, or write --device e1000 for a card without";
        return Err(Failure::bad(format!("--net {}: {reason}", cards[networks.len()])));
    }
    let combine = |(number, network): (usize, &NetSpec)| {
        let mut spec = network.clone();
        let card = cards.get(number);
        // The hub that they are on in QEMU, and a name for its monitor.
        let own = |(name, _): &&(String, String)| name != "vlan" && name != "name";
        spec.options.extend(card.into_iter().flat_map(|card| card.options.iter().filter(own).cloned()));
        (format!("--net {network}"), spec)
    };
    Ok(networks.into_iter().enumerate().map(combine).collect())
}

/// The devices that are network cards.
fn models() -> impl Iterator<Item = &'static DeviceKind> {
    KINDS.iter().filter(|kind| kind.options.iter().any(|option| option.name == "netdev"))
}
fn model_kind(name: &str) -> Result<&'static DeviceKind, String> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let wanted = alias.map_or(name, |(_, name)| name);
    models().find(|kind| kind.name == wanted).ok_or_else(|| {
        let known = models().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
        format!("model={name}: there is no such card; there are {known}")
    })
}
/// Whether a device is a network card.
pub fn is_card(device: &DeviceConfig) -> bool {
    models().any(|kind| kind.name == device.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(nic: &[&str], netdev: &[&str], net: &[&str]) -> NetworkArgs {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        NetworkArgs { nic: parse(nic), netdev: parse(netdev), net: parse(net) }
    }
    const DISK: Machine<'_> = Machine {
        devices: &[],
        boots_from_drives: true,
        boots_from_network: false,
        counted: false,
        identity: None,
    };
    /// The networks with their options, and the devices.
    fn planned(args: &NetworkArgs, machine: &Machine<'_>) -> Result<(Vec<String>, Vec<String>), String> {
        let Plan { networks, devices } = plan(args, machine).map_err(|failure| failure.to_string())?;
        let network = |planned: Planned| {
            let spec = NetSpec { kind: planned.kind, options: planned.options };
            format!("{}={spec}", planned.id)
        };
        Ok((networks.into_iter().map(network).collect(), devices.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn a_machine_that_boots_from_drives_has_a_network() {
        let none = args(&[], &[], &[]);
        let (networks, devices) = planned(&none, &DISK).unwrap();
        assert_eq!((networks, devices), (vec!["nic0=user".into()], vec!["e1000,netdev=nic0".into()]));
        for machine in [Machine { counted: true, ..DISK }, Machine { boots_from_drives: false, ..DISK }] {
            assert_eq!(planned(&none, &machine), Ok((vec![], vec![])));
        }
        assert_eq!(planned(&args(&["none"], &[], &[]), &DISK), Ok((vec![], vec![])));
        let card = [DeviceConfig::new("e1000")];
        let alone = Machine { devices: &card, ..DISK };
        assert_eq!(planned(&none, &alone), Ok((vec![], vec!["e1000".into()])));
    }

    #[test]
    fn cards_and_networks_come_by_each_of_the_options() {
        let nic = args(&["user,model=e1000,mac=52:54:00:00:00:01,hostfwd=tcp::22-:22,id=n"], &[], &[]);
        let (networks, devices) = planned(&nic, &DISK).unwrap();
        assert_eq!(networks, ["n=user,hostfwd=tcp::22-:22"]);
        assert_eq!(devices, ["e1000,mac=52:54:00:00:00:01,netdev=n"]);
        let card = [DeviceConfig::new("e1000").with("netdev", "a")];
        let machine = Machine { devices: &card, ..DISK };
        let (networks, devices) = planned(&args(&[], &["user,id=a,restrict=on"], &[]), &machine).unwrap();
        assert_eq!((networks, devices), (vec!["a=user,restrict=on".into()], vec!["e1000,netdev=a".into()]));
        let net =
            args(&[], &[], &["nic,model=e1000,macaddr=52:54:00:00:00:02,vlan=0", "user,restrict", "user"]);
        let (networks, devices) = planned(&net, &DISK).unwrap();
        assert_eq!(networks, ["nic0=user,restrict=on", "nic1=user"]);
        assert_eq!(devices, ["e1000,mac=52:54:00:00:00:02,netdev=nic0", "e1000,netdev=nic1"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (nic, netdev, net, says) in [
            ("user,model=rtl8139", "", "", "there is no such card; there are e1000"),
            ("user,turbo=on", "", "", "no option \"turbo\""),
            ("vde", "", "", "vde is not planned"),
            ("none,mac=1", "", "", "no card has no option mac"),
            ("user,mac=1,mac=2", "", "", "mac is given twice"),
            ("user,id=9", "", "", "begins with a letter"),
            ("", "user", "", "add id=NAME"),
            ("user,id=a", "user,id=a", "", "another network has this id"),
            ("", "", "nic", "give one with --net user"),
            ("", "fish,id=a", "", "there is no type \"fish\""),
        ] {
            let list = |text: &'static str| if text.is_empty() { vec![] } else { vec![text] };
            let error = planned(&args(&list(nic), &list(netdev), &list(net)), &DISK).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
