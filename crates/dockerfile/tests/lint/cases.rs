//! Cases of single rules: what each must find, and above all what it must not.

use cooper_dockerfile::lint::{Context, Options, check};
use cooper_dockerfile::{Severity, parse};
use cooper_llb::Ignore;

use crate::support::{drawn, findings, only};

/// A RUN in a stage.
#[track_caller]
fn run(rule: &str, command: &str, expect: &[&str]) {
    let expect: Vec<String> = expect.iter().map(|place| format!("2:{place}")).collect();
    let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
    only(rule, &format!("FROM a:1\nRUN {command}\n"), &expect);
}

#[test]
fn comments_switch_rules_off() {
    let names = |text: &str| drawn(text, &findings(text, &Options::default()));
    assert_eq!(names("FROM a\n"), ["1 DL3006"]);
    assert_eq!(names("# hadolint ignore=DL3006\nFROM a\n"), [""; 0]);
    assert_eq!(names("# hadolint ignore = DL3001 , DL3006\n# other\n\nFROM a\n"), [""; 0]);
    assert_eq!(names("#hadolint ignore=DL3006\nFROM a\nFROM b\n"), ["3 DL3006"]);
    assert_eq!(names("FROM a:1\n# hadolint global ignore=DL3006\nFROM b\nFROM c\n"), [""; 0]);
    assert_eq!(names("# check=skip=DL3006\nFROM a\n"), [""; 0]);
    assert_eq!(names("# check=skip=all\nFROM a\n"), [""; 0]);
    assert_eq!(names("# hadolint ignore=DL4000\nFROM a:1\n# hadolint ignore=DL4000\nMAINTAINER x\n"), [""; 0]);
    assert_eq!(names("FROM a:1\nRUN b && \\\n  # hadolint ignore=DL3004\n  sudo c\n"), [""; 0]);
    assert_eq!(names("# hadolintignore=DL3006\nFROM a\n"), ["2 DL3006"]);
    let kept = Options { ignore_comments: true, ..Options::default() };
    assert_eq!(drawn("", &findings("# hadolint ignore=DL3006\nFROM a\n", &kept)), ["1 DL3006"]);
}

#[test]
fn severities_are_what_the_caller_says() {
    let with =
        |name: &str, severity| Options { severities: [(name.to_owned(), severity)].into(), ..Options::default() };
    let severity =
        |options: &Options| findings("FROM a:1\nMAINTAINER x\n", options).first().map(|found| found.severity);
    assert_eq!(severity(&Options::default()), Some(Severity::Warning));
    assert_eq!(severity(&with("MaintainerDeprecated", Some(Severity::Style))), Some(Severity::Style));
    assert_eq!(severity(&with("DL4000", Some(Severity::Error))), Some(Severity::Error));
    assert_eq!(severity(&with("DL4000", None)), None);
}

#[test]
fn errors_of_the_builder_are_said_once() {
    let (file, _) = parse("FROM a:1\nEXPOSE 80000\n");
    let expose = file.instructions[1].span;
    let error = cooper_dockerfile::Diagnostic::error(expose, "no port");
    let found = check("FROM a:1\nEXPOSE 80000\n", &file, vec![error], &Options::default());
    assert_eq!(found.iter().map(|found| found.rule).collect::<Vec<_>>(), ["syntax"]);
}

#[test]
fn apt() {
    run("DL3008", "apt-get install -y a b=1 ./c.deb d/stable $E", &["a"]);
    run("DL3008", "apt-get -o X::Y=1 install -t trixie a=1", &[]);
    run("DL3008", "apt-get update && apt-get remove a", &[]);
    run("DL3014", "apt-get -qq install a", &[]);
    run("DL3014", "apt-get -q -y install a", &[]);
    run("DL3014", "yes | apt-get install a", &[]);
    run(
        "DL3014",
        "DEBIAN_FRONTEND=noninteractive apt-get install a && b",
        &["DEBIAN_FRONTEND=noninteractive apt-get install a"],
    );
    run("DL3009", "apt-get update && apt-get install -y a && rm -rf /var/lib/apt/lists/*", &[]);
    run("DL3009", "apt-get update \\\n && apt-get clean && rm -r /tmp/* /var/lib/apt/*", &[]);
    run("DL3009", "--mount=type=cache,target=/var/lib/apt apt-get update && apt-get install -y a", &[]);
    only("DL3009", "FROM a:1 AS b\nRUN apt-get update && apt-get install -y c\nFROM d:1\n", &[]);
    run("DL3015", "apt-get install -y --no-install-recommends a", &[]);
    run("DL3015", "apt-get -o APT::Install-Recommends=false install -y a", &[]);
    run("DL3027", "x && apt list && apt-cache show a", &["apt"]);
    run("CIS-DI-0007", "apt-get update && ./install-all.sh && clean-up", &[]);
    run("CIS-DI-0007", "--mount=type=cache,target=/var/lib/apt/lists apt-get update", &[]);
}

#[test]
fn other_distributions() {
    run("DL3018", "apk add -U --no-cache --virtual .build gcc=1 'make>1' curl@edge ./x.apk", &["curl@edge"]);
    run("DL3018", "apk --no-cache -X https://example.com add a", &["a"]);
    run("DL3019", "apk update && apk add a && rm -rf /var/cache/apk/*", &[]);
    run("DL3019", "--mount=type=cache,target=/var/cache/apk apk add a", &[]);
    run("DL3033", "yum install -y a-1.2.3 https://example.com/b.rpm", &[]);
    run("DL3041", "microdnf install -y python3-pip && microdnf clean all", &["python3-pip"]);
    run("DL3041", "dnf install -y @development nodejs:22", &[]);
    run("DL3038", "dnf -y install a", &[]);
    run("DL3030", "yum install --assumeyes a", &[]);
    run("DL3034", "zypper -n install a=1 && zypper --non-interactive in b=1", &[]);
    run("DL3040", "--mount=type=cache,target=/var/cache/dnf dnf install -y a-1.0", &[]);
}

#[test]
fn languages() {
    run("DL3013", "pip install -r requirements.txt", &[]);
    run("DL3013", "pip install .", &[]);
    run("DL3013", "pip3.13 install -c pins.txt a", &[]);
    run("DL3013", "pip install a==1 'b>=2' git+https://example.com/c.git ./d e.whl", &[]);
    run("DL3013", "pip install --index-url https://example.com a", &["a"]);
    run("DL3013", "python3 -m pip install --upgrade pip", &["pip"]);
    run("DL3016", "npm ci", &[]);
    run("DL3016", "npm install", &[]);
    run("DL3016", "npm i -g a@1 @b/c@2 @d/e", &["@d/e"]);
    run("DL3016", "npm install --prefix /x a@latest", &["a@latest"]);
    run("DL3028", "gem install a -v 1 && gem install b:2", &[]);
    run("DL3062", "go install ./cmd/x && go install example.com/y@latest", &["example.com/y@latest"]);
    run("DL3042", "pip install --no-cache-dir a==1", &[]);
    run("DL3042", "PIP_NO_CACHE_DIR=1 pip install a==1", &[]);
    run("DL3042", "--mount=type=cache,target=/root/.cache pip install a==1", &[]);
    only("DL3042", "FROM a:1\nENV PIP_NO_CACHE_DIR=1\nRUN pip install b==1\n", &[]);
    run("DL3060", "--mount=type=cache,target=/usr/local/share/.cache yarn install", &[]);
}

#[test]
fn commands() {
    run("DL3001", "ps aux", &["ps"]);
    run("DL3001", "--mount=type=ssh ssh -T git@example.com", &[]);
    run("DL3001", "service postgresql start && psql -f a.sql && service postgresql stop", &[]);
    run("DL3003", "make && cd x && make", &[]);
    run("DL3003", "cd \"$X\" && make", &[]);
    run("DL3003", "cd x && make", &["cd x"]);
    run("DL3004", "a && sudo -u b c | sudo d", &["sudo", "sudo"]);
    run("DL3004", "apt-get install -y sudo=1", &[]);
    run("DL3046", "useradd -u 1000 a && useradd --uid=1234567 -l b", &[]);
    run("DL3046", "useradd -m --uid 1234567 b", &["useradd -m --uid 1234567 b"]);
    run("DL3047", "wget -qO- https://a && wget -nv https://b && wget --progress=bar https://c", &[]);
    run("DL4001", "curl -f https://a || wget -q https://a", &["wget"]);
    run("DL4005", "ln -s /bin/bash /usr/local/bin/sh", &[]);
    only("DL3059", "FROM a:1\nRUN a\nRUN b\n", &[]);
    only("DL3059", "FROM a:1\nRUN a\nRUN --network=none b\nRUN c\nRUN d\n", &[]);
    only("DL3059", "FROM a:1\nRUN a\nRUN b\nRUN c\nRUN d\n", &["3:RUN"]);
}

#[test]
fn pipelines() {
    run("DL4006", "a | b", &["a"]);
    run("DL4006", "echo a | b", &[]);
    run("DL4006", "a | b || true", &[]);
    run("DL4006", "set -o pipefail && a | b", &[]);
    run("DL4006", "set -euxo pipefail; a | b", &[]);
    only("DL4006", "FROM a:1\nSHELL [\"/bin/ash\", \"-eo\", \"pipefail\", \"-c\"]\nRUN b | c\n", &[]);
    only("DL4006", "FROM a:1 AS x\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nFROM x\nRUN b | c\n", &[]);
    only("DL4006", "FROM mcr.microsoft.com/windows/servercore:1\nRUN b | c\n", &[]);
    only("DL4006", "FROM a:1\nSHELL [\"pwsh\", \"-Command\"]\nRUN b | c\n", &[]);
    only("DL4006", "# hadolint shell=powershell\nFROM a:1\nRUN b | c\n", &[]);
    run("CO1602", "a; b", &["a"]);
    run("CO1602", "set -ex; a; b", &[]);
    run("CO1602", "a || true; b", &[]);
    run("CO1602", "if a; then b; fi; c", &[]);
    run("CO1602", "for i in 1 2; do a $i; done; b", &[]);
    only("CO1602", "FROM a:1\nRUN <<EOF\nb\nc\nEOF\n", &["3:b"]);
    only("CO1602", "FROM a:1\nRUN <<EOF\nset -e\nb\nc\nEOF\n", &[]);
    only("CO1602", "FROM a:1\nRUN <<EOF\n#!/bin/sh -e\nb\nc\nEOF\n", &[]);
    only("CO1602", "FROM a:1\nRUN <<EOF\n#!/usr/bin/env python3\nb\nc\nEOF\n", &[]);
    only("CO1602", "FROM a:1\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN b; c\n", &[]);
}

#[test]
fn places_in_continued_lines() {
    let text = "FROM a:1\nRUN b && \\\n# note\n\n   apt-get \\\n     install -y \\\n     curl\n";
    only("DL3008", text, &["7:curl"]);
    only("DL3004", "FROM a:1\nRUN <<-EOF\n\tset -e\n\tsudo b\n\tEOF\n", &["4:sudo"]);
    only("DL3004", "# escape=`\nFROM a:1\nRUN b && `\n  sudo c\n", &["4:sudo"]);
    only("DL3004", "FROM a:1\nONBUILD RUN sudo b\n", &["2:sudo"]);
    only("DL3004", "FROM a:1\nRUN [\"sudo\", \"b\"]\n", &["2:RUN [\"sudo\", \"b\"]"]);
    only("DL3004", "FROM a:1\nRUN [\"sh\", \"-c\", \"x && sudo b\"]\n", &["2:RUN [\"sh\", \"-c\", \"x && sudo b\"]"]);
    only("DL3004", "FROM a:1\r\nRUN b && \\\r\n  sudo c\r\n", &["3:sudo"]);
}

#[test]
fn comments_in_the_middle() {
    run("CO1601", "a && # b \\\n  c", &["# b "]);
    run("CO1601", "a # b", &[]);
    run("CO1601", "a && \\\n  # b \\\n  c", &[]);
    run("CO1601", "a '#' b#c \\\n  d", &[]);
    run("CO1601", "a # b \\\n", &[]);
}

#[test]
fn copies() {
    only("DL3010", "FROM a:1\nCOPY x.tar.gz /s/\n", &[]);
    only("DL3020", "FROM a:1\nADD x.tgz https://example.com/y git@example.com:z.git $V /s/\n", &[]);
    only("DL3020", "FROM a:1\nADD --unpack=false x /s/\n", &[]);
    only("DL3021", "FROM a:1\nCOPY a b ./\nCOPY a b $D\nCOPY [\"a\", \"b\", \"c/\"]\n", &[]);
    only(
        "DL3022",
        "FROM a:1 AS b\nFROM c:1\nCOPY --from=B /x /x\nCOPY --from=0 /x /x\nCOPY --from=d:1 /x /x\nCOPY --from=$E /x /x\n",
        &[],
    );
    only("DL3023", "FROM a:1 AS b\nFROM c:1\nCOPY --from=b /x /x\nCOPY --from=1 /x /x\n", &["4:1"]);
    only("DL3045", "FROM a:1 AS b\nWORKDIR /w\nFROM b\nCOPY x y\n", &[]);
    only("DL3045", "FROM a:1\nCOPY x y\nCOPY x $Y\nCOPY x C:\\\\z\n", &["2:y"]);
    only("DL3067", "FROM a:1 AS b\nFROM scratch\nCOPY --from=b / /\n", &[]);
    only("CIS-DI-0010", "FROM a:1\nCOPY .env.example .env.sample keys/id_rsa.pub config/ /s/\n", &[]);
    only("CIS-DI-0010", "FROM a:1\nCOPY keys/id_rsa /s/\nCOPY --from=b:1 .env /s/\n", &["2:keys/id_rsa"]);
    only("CO1804", "FROM a:1\nCOPY --chmod=0777 x /y\n", &["2:0777"]);
    only("CO1301", "FROM a:1\nADD https://example.com/a.git#v1 /y\n", &[]);
}

#[test]
fn images() {
    only("DL3006", "ARG V=a\nFROM scratch\nFROM $V\nFROM b@sha256:0 AS c\nFROM c\nFROM d:1\n", &[]);
    only("DL3006", "FROM localhost:5000/a\n", &["1:localhost:5000/a"]);
    only("DL3007", "FROM a:latest@sha256:0\n", &[]);
    let found = |image: &str, trusted: &[&str]| {
        let trusted_registries = trusted.iter().map(|host| (*host).to_owned()).collect();
        let options = Options { trusted_registries, ..Options::default() };
        findings(&format!("FROM {image}\n"), &options).iter().any(|found| found.rule == "DL3026")
    };
    assert!(!found("a:1", &["docker.io"]) && found("b.example/a:1", &["docker.io"]));
    assert!(!found("b.example/a:1", &["*.example"]) && !found("x.y.example:5000/a:1", &["x.*:5000"]));
    assert!(found("evil.example.org/a:1", &["*.example"]));
}

#[test]
fn users() {
    only("DL3002", "FROM a:1\nUSER root\nFROM b:1\nUSER 1\n", &[]);
    only("DL3002", "FROM a:1 AS x\nUSER 0:0\nFROM x\n", &["2:0:0"]);
    only("CO1801", "FROM a:1\nRUN b\n", &[]);
    only("CO1801", "FROM a:1 AS x\nUSER 1\nFROM x\nCMD [\"b\"]\n", &[]);
    only("CO1801", "FROM gcr.io/distroless/static:nonroot\nCMD [\"b\"]\n", &[]);
    only("CO1801", "FROM a:1\nENTRYPOINT [\"gosu\", \"b\", \"c\"]\n", &[]);
    only("DL3066", "FROM a:1\nUSER app\n", &[]);
    only("DL3066", "FROM a:1\nUSER $U\nCMD [\"b\"]\n", &[]);
}

#[test]
fn the_order_of_steps() {
    only(
        "CO1101",
        "FROM a:1\nCOPY package.json .\nRUN npm ci\nCOPY . .\nRUN npm ci --omit=dev && npm run build\n",
        &[],
    );
    only("CO1101", "FROM a:1\nCOPY . .\nRUN --mount=type=cache,target=/root/.npm npm ci\n", &[]);
    only("CO1101", "FROM a:1\nCOPY . .\nRUN npm run build\n", &[]);
    only("CO1101", "FROM a:1\nCOPY . .\nRUN pip install -r requirements.txt\n", &["3:pip install -r requirements.txt"]);
    only("CO1101", "FROM a:1\nCOPY . .\nRUN go build ./...\n", &["3:go build ./..."]);
    only("CO1101", "FROM a:1\nCOPY --from=b:1 . .\nRUN npm ci\n", &[]);
    only("CO1103", "FROM a:1\nCOPY package*.json ./\nRUN npm install\n", &[]);
    only(
        "CO1401",
        "FROM a:1\nRUN apt-get update && apt-get install -y b\nRUN apt-get clean && rm -rf /var/lib/apt/lists/*\n",
        &["3:apt-get clean"],
    );
    only("CO1401", "FROM a:1\nRUN b\nRUN rm -rf /etc/nginx/conf.d/default.conf\n", &[]);
    only("CO1403", "FROM a:1\nWORKDIR /app\nCOPY . .\nRUN chown -R b /app\n", &["4:chown -R b /app"]);
    only("CO1403", "FROM a:1\nCOPY a /app\nRUN chown -R b /data\n", &[]);
}

#[test]
fn downloads() {
    run("CO1302", "curl -f https://a | bash -s -- -y", &["curl -f https://a"]);
    run("CO1302", "bash -c \"$(curl -fsSL https://a)\"", &["curl -fsSL https://a"]);
    run("CO1302", "sh <(wget -qO- https://a)", &["wget -qO- https://a"]);
    run("CO1302", "curl -f https://a | tar x && sh b", &[]);
    run("CO1302", "curl -f https://a | python3 -c 'import json'", &[]);
    run("CO1302", "V=$(curl -f https://a) && sh install.sh \"$V\"", &[]);
    run("CO1303", "curl -fsSLk https://a", &["curl -fsSLk https://a"]);
    run("CO1304", "curl -fsSL https://a && curl --fail https://b && curl --version", &[]);
    run("CO1701", "git clone https://${USER}:${TOKEN}@example.com/a && curl https://user:$P@b", &[]);
    only("CO1701", "FROM a:1\nENV X=postgres://postgres:postgres@db/x\n", &[]);
    only("CO1701", &format!("FROM a:1\nENV X=ghp_{}\n", "a1".repeat(18)), &[&format!("2:ghp_{}", "a1".repeat(18))]);
}

#[test]
fn instructions_that_do_less_than_they_say() {
    run("CO1501", "cd /x", &["cd /x"]);
    run("CO1501", ". venv/bin/activate", &[". venv/bin/activate"]);
    run("CO1501", "cd /x && a", &[]);
    run("CO1503", "[ \"$A\" = b ]", &[]);
    run("CO1503", "[ 'a', 'b' ]", &["[ 'a', 'b' ]"]);
    only("CO1502", "FROM a:1\nENTRYPOINT [\"a\", \"price$\"]\n", &[]);
    only("DL3044", "FROM a:1\nARG V=1\nENV V=$V X=$V PATH=/x:$PATH\n", &[]);
    only(
        "CIS-DI-0008",
        "FROM a:1\nRUN chmod 4755 /x && chmod g+s /d && chmod 2775 /e && chmod 0755 /f\n",
        &["2:chmod 4755 /x"],
    );
    only("DKL-DI-0002", "FROM a:1\nVOLUME /devices /process\n", &[]);
}

#[test]
fn labels() {
    only("DL3048", "FROM a:1\nLABEL maintainer=a org.opencontainers.image.title=b io.k8s.display-name=c\n", &[]);
    only("DL3048", "FROM a:1\nLABEL a..b=1 _c=2 com.docker.x=3 D=4\n", &["2:a..b", "2:_c", "2:com.docker.x", "2:D"]);
}

#[test]
fn the_context() {
    let with = |names: &[&str], ignore: Option<&str>| Options {
        context: Some(Context {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ignore: ignore.map(|text| Ignore::parse(text).0),
        }),
        ..Options::default()
    };
    let names = |options: &Options| drawn("", &findings("FROM a:1\nWORKDIR /b\nCOPY . .\n", options));
    assert_eq!(names(&with(&["src"], None)), [""; 0]);
    assert_eq!(names(&with(&["src", "node_modules"], None)), ["1 CO1201"]);
    assert_eq!(names(&with(&[], None)), ["1 CO1201"]);
    assert_eq!(names(&with(&[".git"], Some(".git"))), [""; 0]);
    let copied = |text: &str, ignore: &str| drawn("", &findings(text, &with(&[], Some(ignore))));
    assert_eq!(copied("FROM a:1\nCOPY a/b /c\n", "a"), ["1 CopyIgnoredFile"]);
    assert_eq!(copied("FROM a:1\nCOPY --from=x:1 a/b /c\n", "a"), [""; 0]);
    assert_eq!(copied("FROM a:1\nCOPY a/b /c\n", "a\n!a/b"), [""; 0]);
}
