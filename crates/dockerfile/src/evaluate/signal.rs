//! Names of signals for STOPSIGNAL.
//!
//! Knows nothing of processes.

use crate::nearest;

/// Linux's signals without `SIG`.
const NAMES: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
];

/// Real-time signals are written as an offset from the first or the last; there are this many between.
const REAL_TIME_SPAN: u8 = 30;

/// A number other than 0, or a name in any case with or without `SIG`.
pub(crate) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i32>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str, most: u8| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.parse::<u8>().is_ok_and(|offset| (1..=most).contains(&offset)))
    };
    NAMES.contains(&name)
        || name == "RTMAX"
        || offset("RTMIN+", REAL_TIME_SPAN / 2)
        || offset("RTMAX-", REAL_TIME_SPAN / 2 - 1)
}

/// The name nearest to one that is no signal.
pub(crate) fn nearest_signal(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    nearest(name, NAMES.into_iter()).map(|near| format!("SIG{near}"))
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn signals() {
        for good in ["9", "SIGTERM", "term", "SIGRTMIN+3", "RTMAX-14", "sigquit"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["0", "", "SIG", "SIGFOO", "RTMIN+16", "RTMIN+x", "9 9"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
