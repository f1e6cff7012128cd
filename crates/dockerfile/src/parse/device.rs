//! The value of `RUN --device`: a device's name and whether it must be there.
//!
//! Does not know which devices there are.

use super::mount::{MountError, fields, switch};
use crate::nearest;

/// A device as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceSpec {
    /// As the Container Device Interface names it.
    pub name: String,
    /// `required`.
    pub required: bool,
}

/// Reads `NAME[,required[=true|false]]` or `name=NAME,..`. The name has an equals sign itself (`vendor/class=name`), so the
/// first field that is no key is it.
pub fn parse_device(value: &str) -> Result<DeviceSpec, MountError> {
    let mut device = DeviceSpec::default();
    for field in fields(value)? {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        match (key.to_lowercase().as_str(), value) {
            ("required", value) => device.required = switch("required", value)?,
            ("name", Some(_)) if !device.name.is_empty() => {
                return Err(format!("the device has a second name `{field}`").into());
            }
            ("name", Some(name)) => device.name = name.to_owned(),
            _ if device.name.is_empty() => device.name = field,
            (key, _) => {
                let message = format!("unknown device option `{key}` in `{field}`");
                let hint = nearest(key, ["name", "required"].into_iter()).map(|near| format!("did you mean `{near}`?"));
                return Err(MountError { message, hint });
            }
        }
    }
    if device.name.is_empty() {
        let hint = Some("write `--device=vendor/class=name`".to_owned());
        return Err(MountError { message: "the device has no name".to_owned(), hint });
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        for (text, expect) in [
            ("vendor.com/gpu=all", Ok(("vendor.com/gpu=all", false))),
            ("vendor.com/gpu=all,required", Ok(("vendor.com/gpu=all", true))),
            ("required=false,vendor.com/gpu", Ok(("vendor.com/gpu", false))),
            ("name=gpu,required=1", Ok(("gpu", true))),
            ("gpu,requird", Err("unknown device option `requird` in `requird`")),
            ("gpu,requird=1", Err("unknown device option `requird` in `requird=1`")),
            ("gpu,required=maybe", Err("the mount option `required` is `maybe`, which is not true or false")),
            ("name=a,name=b", Err("the device has a second name `name=b`")),
            ("required", Err("the device has no name")),
            ("", Err("the device has no name")),
        ] {
            let got = parse_device(text);
            let got = got.as_ref().map(|d| (d.name.as_str(), d.required)).map_err(|e| e.message.as_str());
            assert_eq!(got, expect, "{text}");
        }
        assert_eq!(parse_device("a,requird").unwrap_err().hint.as_deref(), Some("did you mean `required`?"));
    }
}
