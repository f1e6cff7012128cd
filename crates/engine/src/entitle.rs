//! What a Dockerfile asks of the host must have been allowed by who builds it.
//!
//! Knows nothing of how it is given.

use cooper_llb::{Definition, Device, Exec, Network, Op, Security};

use crate::{Devices, Entitlements, Error, ErrorKind, Place, Result};

/// Refuses the first step that asks for what `granted` does not allow; devices are then named in full.
pub(crate) fn entitle(definition: &mut Definition, granted: &Entitlements, devices: &Devices) -> Result<()> {
    for vertex in &mut definition.vertices {
        let Op::Exec(exec) = &mut vertex.op else { continue };
        let place = vertex.meta.location.map(|l| Place { first_line: l.first_line, last_line: l.last_line });
        check(exec, granted, devices).map_err(|error| Error { place, ..error })?;
    }
    Ok(())
}

fn check(exec: &mut Exec, granted: &Entitlements, devices: &Devices) -> Result<()> {
    if exec.network == Network::Host && !granted.network_host {
        return Err(refused("the network of the host (`--network=host`)", "network.host"));
    }
    if exec.security == Security::Insecure && !granted.security_insecure {
        return Err(refused("a run without the sandbox (`--security=insecure`)", "security.insecure"));
    }
    let mut named = Vec::new();
    for device in &exec.devices {
        named.extend(allowed(device, granted, devices)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    named.retain(|name| seen.insert(name.clone()));
    exec.devices = named.into_iter().map(|name| Device { name, required: true }).collect();
    Ok(())
}

/// The full names of the devices a step asks for by one name.
fn allowed(device: &Device, granted: &Entitlements, devices: &Devices) -> Result<Vec<String>> {
    if let Some(name) = granted.devices.get(&device.name).filter(|name| **name != device.name) {
        return devices.resolve(name, device.required);
    }
    let found = devices.resolve(&device.name, device.required)?;
    if granted.all_devices {
        return Ok(found);
    }
    let mut names = Vec::new();
    for name in granted.devices.values() {
        names.extend(devices.resolve(name, false)?);
    }
    let forbidden = found.iter().find(|name| !names.contains(name) && !devices.is_free(name));
    match forbidden {
        None => Ok(found),
        Some(name) => Err(refused(&format!("the device `{name}`"), &format!("device={name}"))),
    }
}

fn refused(what: &str, entitlement: &str) -> Error {
    Error::new(ErrorKind::User, format!("the step asks for {what}, which is not allowed"))
        .with_hint(format!("allow it with `--allow {entitlement}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "cdiVersion: 0.6.0\nkind: a.com/d\ndevices:\n\
        - {name: one, containerEdits: {env: [A=1]}}\n\
        - {name: two, containerEdits: {env: [A=2]}}\n\
        - {name: free, annotations: {org.mobyproject.buildkit.device.autoallow: 'true'}, containerEdits: {env: [A=3]}}\n";

    fn check_devices(asked: (&str, bool), granted: &[(&str, &str)], expect: std::result::Result<&[&str], &str>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), SPEC).unwrap();
        let devices = Devices::in_dirs([dir.path().to_owned()]);
        let granted = granted.iter().map(|(asked, name)| ((*asked).to_owned(), (*name).to_owned())).collect();
        let granted = Entitlements { devices: granted, ..Entitlements::default() };
        let device = Device { name: asked.0.into(), required: asked.1 };
        let mut exec = Exec { devices: vec![device], ..Exec::default() };
        let got = check(&mut exec, &granted, &devices).map_err(|error| error.what);
        let names: Vec<&str> = exec.devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(got.as_ref().map(|()| names.as_slice()).map_err(String::as_str), expect, "{asked:?} {granted:?}");
    }

    #[test]
    fn devices_are_given_as_far_as_they_are_allowed() {
        let one = [("a.com/d=one", "a.com/d=one")];
        check_devices(("a.com/d=one", true), &one, Ok(&["a.com/d=one"]));
        let no = Err("the step asks for the device `a.com/d=two`, which is not allowed");
        check_devices(("a.com/d=two", true), &one, no);
        check_devices(("a.com/d=two", true), &[], no);
        check_devices(("a.com/d=free", true), &[], Ok(&["a.com/d=free"]));
        check_devices(("gpu", true), &[("gpu", "a.com/d=two")], Ok(&["a.com/d=two"]));
        check_devices(
            ("a.com/d=*", true),
            &[("a.com/d", "a.com/d=*")],
            Ok(&["a.com/d=free", "a.com/d=one", "a.com/d=two"]),
        );
        check_devices(("b.com/d=x", false), &[], Ok(&[]));
    }

    #[test]
    fn each_mode_needs_its_own() {
        let devices = Devices::in_dirs([]);
        for (network, security, granted, expect) in [
            (Network::Default, Security::Sandbox, (false, false), true),
            (Network::None, Security::Sandbox, (false, false), true),
            (Network::Host, Security::Sandbox, (false, true), false),
            (Network::Host, Security::Sandbox, (true, false), true),
            (Network::Default, Security::Insecure, (true, false), false),
            (Network::Default, Security::Insecure, (false, true), true),
        ] {
            let mut exec = Exec { network, security, ..Exec::default() };
            let granted =
                Entitlements { network_host: granted.0, security_insecure: granted.1, ..Entitlements::default() };
            assert_eq!(check(&mut exec, &granted, &devices).is_ok(), expect, "{network:?} {security:?} {granted:?}");
        }
    }
}
