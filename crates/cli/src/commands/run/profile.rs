//! How much a container is confined: capabilities and `--security-opt`.
//!
//! Knows nothing of how it is done.

use cooper_executor::{NoNewPrivileges, Profile, capability};

use super::Run;
use crate::error::{CommandError, CommandResult};

/// The sandbox, changed as asked.
pub(super) fn profile(args: &Run) -> CommandResult<Profile> {
    let mut profile = if args.privileged { Profile::INSECURE } else { Profile::SANDBOX };
    profile.capabilities = capabilities(profile.capabilities, &args.cap_add, &args.cap_drop)?;
    for option in &args.security_opts {
        apply(&mut profile, option)?;
    }
    Ok(profile)
}

/// docker's rule: what is dropped is dropped from what there is by default, what is added is added to what is left; `ALL`
/// stands for every one.
fn capabilities(own: u64, add: &[String], drop: &[String]) -> CommandResult<u64> {
    let set = |flag: &str, names: &[String]| {
        names.iter().try_fold(0, |set, name| match name.to_ascii_uppercase().as_str() {
            "ALL" => Ok(u64::MAX),
            upper => match capability(upper) {
                Some(bit) => Ok(set | bit),
                None => Err(CommandError::usage(format!("{flag} `{name}`: there is no such capability"))),
            },
        })
    };
    let (add, drop) = (set("--cap-add", add)?, set("--cap-drop", drop)?);
    Ok(if add == u64::MAX { add & !(if drop == u64::MAX { 0 } else { drop }) } else { own & !drop | add })
}

fn apply(profile: &mut Profile, option: &str) -> CommandResult {
    match option.split_once(['=', ':']).unwrap_or((option, "")) {
        ("no-new-privileges", "" | "true") => profile.no_new_privileges = NoNewPrivileges::Always,
        ("no-new-privileges", "false") => profile.no_new_privileges = NoNewPrivileges::Never,
        ("seccomp", "unconfined") => profile.filtered = false,
        ("systempaths", "unconfined") => profile.masked = false,
        // There is nothing of the kind to turn off.
        ("apparmor", "unconfined") | ("label", "disable") => {}
        _ => {
            let error = CommandError::usage(format!("--security-opt `{option}` is not supported"));
            let hint = "there are no-new-privileges, seccomp=unconfined and systempaths=unconfined";
            return Err(error.with_hint(hint));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_added_and_dropped() {
        let own = Profile::SANDBOX.capabilities;
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let check = |add: &[&str], drop: &[&str], expect| {
            assert_eq!(capabilities(own, &names(add), &names(drop)).unwrap(), expect, "{add:?} {drop:?}");
        };
        check(&[], &[], own);
        check(&["net_raw"], &["CAP_CHOWN"], own & !1 | 1 << 13);
        check(&["chown"], &["ALL"], 1);
        check(&["ALL"], &["chown"], u64::MAX & !1);
        check(&["ALL"], &[], u64::MAX);
        check(&[], &["all"], 0);
        assert!(capabilities(own, &names(&["nosuch"]), &[]).is_err());
    }

    #[test]
    fn options() {
        let with = |option: &str| {
            let mut profile = Profile::SANDBOX;
            apply(&mut profile, option).map(|()| profile).map_err(|error| error.what)
        };
        assert_eq!(with("no-new-privileges").unwrap().no_new_privileges, NoNewPrivileges::Always);
        assert_eq!(with("no-new-privileges:false").unwrap().no_new_privileges, NoNewPrivileges::Never);
        assert!(!with("seccomp=unconfined").unwrap().filtered && !with("systempaths=unconfined").unwrap().masked);
        assert_eq!(
            with("seccomp=/profile.json").unwrap_err(),
            "--security-opt `seccomp=/profile.json` is not supported"
        );
    }
}
