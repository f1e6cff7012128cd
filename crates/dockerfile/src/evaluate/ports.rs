//! EXPOSE: `port[-port][/protocol]`.
//!
//! Knows nothing of networks.

/// A range may hold every port, a list of ranges not much more: config size is bounded.
const PORTS_MAX: usize = 2 * 65536;

/// Reads the words of an EXPOSE into `port/protocol`, ranges spelt out.
pub(crate) fn parse_ports(words: &[String]) -> Result<Vec<String>, String> {
    let mut ports = Vec::new();
    for word in words {
        ports.extend(parse_port(word)?);
        if ports.len() > PORTS_MAX {
            return Err(format!("more than {PORTS_MAX} ports"));
        }
    }
    Ok(ports)
}

fn parse_port(word: &str) -> Result<Vec<String>, String> {
    // An address and a host port are tolerated and mean nothing, as in BuildKit.
    let (host, container) = word.rsplit_once(':').map_or(("", word), |(host, container)| (host, container));
    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        _ => return Err(format!("invalid port `{word}`: unknown protocol `{protocol}` (tcp, udp or sctp)")),
    };
    if range.is_empty() {
        return Err(format!("invalid port `{word}`: no port specified"));
    }
    let (first, last) = parse_range(range).map_err(|why| format!("invalid port `{word}`: {why}"))?;
    check_host(host, last - first).map_err(|why| format!("invalid port `{word}`: {why}"))?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn check_host(host: &str, count: u16) -> Result<(), String> {
    let (address, port) = host.rsplit_once(':').unwrap_or(("", host));
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("`{address}` is not an address"));
    }
    if port.is_empty() {
        return Ok(());
    }
    let (first, last) = parse_range(port)?;
    if count != 0 && last - first != count {
        return Err("the ranges of host and container differ in length".into());
    }
    Ok(())
}

fn parse_range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is not a port number"));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if last < first { Err(format!("the range `{text}` is empty")) } else { Ok((first, last)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expect: &[&str]) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(parse_ports(&words).unwrap(), expect);
    }

    #[test]
    fn ports() {
        check(&["80"], &["80/tcp"]);
        check(&["80/UDP", "90-92/sctp"], &["80/udp", "90/sctp", "91/sctp", "92/sctp"]);
        check(&["8080:80", "127.0.0.1:1:2", "[::1]:3:4"], &["80/tcp", "2/tcp", "4/tcp"]);
        for bad in ["", "/tcp", "80/http", "x", "90-80", "65536", "1-2-3", "x:1:2", "80-90:1-2", "-1"] {
            assert!(parse_ports(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
