//! Scripts drawn as nested lists, and texts that mean harm.

use super::ast::{Command, Compound, Link, Script, Simple};
use super::parse;

/// `cmd(a b)`, compounds as `Kind[..]`, lists with `&&`, `||`, `;` and `&` between.
fn draw(script: &Script) -> String {
    let list = |list: &super::AndOr| {
        let mut out = String::new();
        for (link, pipeline) in &list.pipelines {
            out += match link {
                Link::Start => "",
                Link::And => " && ",
                Link::Or => " || ",
            };
            out += if pipeline.negated { "! " } else { "" };
            out += &pipeline.commands.iter().map(command).collect::<Vec<_>>().join(" | ");
        }
        out + if list.background { " &" } else { "" }
    };
    script.lists.iter().map(list).collect::<Vec<_>>().join("; ")
}

fn command(command: &Command) -> String {
    match command {
        Command::Simple(command) => simple(command),
        Command::Compound(command) => compound(command),
    }
}

fn simple(command: &Simple) -> String {
    let mut parts: Vec<String> = Vec::new();
    for assignment in &command.assignments {
        let value = assignment.value.as_ref().map_or("(..)".into(), |value| value.text().into_owned());
        parts.push(format!("{}={value}", assignment.name));
    }
    parts.extend(command.words.iter().map(|word| {
        let inner: Vec<String> = word.scripts().map(draw).collect();
        if inner.is_empty() { format!("<{}>", word.text()) } else { format!("<$({})>", inner.join(" / ")) }
    }));
    parts.extend(command.redirects.iter().map(|redirect| {
        let fd = redirect.fd.map(|fd| fd.to_string()).unwrap_or_default();
        format!("{fd}{}{}", redirect.operator, redirect.target.text())
    }));
    parts.join(" ")
}

fn compound(command: &Compound) -> String {
    let bodies: Vec<String> = command.bodies.iter().map(draw).collect();
    let words: Vec<String> = command.words.iter().map(|word| word.text().into_owned()).collect();
    format!(
        "{:?}({})[{}]{}",
        command.kind,
        words.join(" "),
        bodies.join(" / "),
        if command.redirects.is_empty() { "" } else { ">" }
    )
}

#[track_caller]
fn check(text: &str, expect: &str) {
    match parse(text) {
        Ok(script) => assert_eq!(draw(&script), expect, "{text}"),
        Err(error) => panic!("{text}: {} at {}", error.message, error.offset),
    }
}

#[test]
fn lists_and_pipelines() {
    check("", "");
    check("a b  c", "<a> <b> <c>");
    check("a && b || c; d & e\nf", "<a> && <b> || <c>; <d> &; <e>; <f>");
    check("a | b |& c && ! d", "<a> | <b> | <c> && ! <d>");
    check("a &&\n# note\n b", "<a> && <b>");
    check("a # b && c\nd", "<a>; <d>");
    check("a#b", "<a#b>");
    check("a \\\n b", "<a> <b>");
    check("a\r\nb\r\n", "<a>; <b>");
    check("set -eux; apt-get update;", "<set> <-eux>; <apt-get> <update>");
}

#[test]
fn quotes_and_expansions() {
    check(r#"a "b c" 'd "e' f\ g"#, r#"<a> <b c> <d "e> <f g>"#);
    check(r#"a "b\"c\n" '' """#, r#"<a> <b"c\n> <> <>"#);
    check("a $b ${c:-d e} \"$f\" $$ $1 $", "<a> <$b> <${c:-d e}> <$f> <$$> <$1> <$>");
    check("a ${b:-\"}\"} $((1 + (2))) ", "<a> <${b:-\"}\"}> <$((1 + (2)))>");
    check("a $(b | c) `d e` \"x$(f)\"", "<a> <$(<b> | <c>)> <$(<d> <e>)> <$(<f>)>");
    check("a $( (b) )", "<a> <$(Subshell()[<b>])>");
    check("a $((b); (c))", "<a> <$(Subshell()[<b>]; Subshell()[<c>])>");
    check("diff <(a) >(b)", "<diff> <$(<a>)> <$(<b>)>");
    check("a $'x\\'y' $\"z\"", "<a> <x\\'y> <z>");
    check("rm -rf !(keep|me) {a,b}*", "<rm> <-rf> <!(keep|me)> <{a,b}*>");
}

#[test]
fn assignments_and_redirections() {
    check("A=1 B= c D=2", "A=1 B= <c> <D=2>");
    check("A=\"$(b)\"", "A=$(b)");
    check("A=(1 2 3) B+=x C[1]=y", "A=(..) B=x C=y");
    check("a > b 2>&1 < c >> d 3<>e &> f", "<a> >b 2>&1 <c >>d 3<>e &>f");
    check("a <<EOF && b <<-'E'", "<a> <<EOF && <b> <<-E");
    check("cat <<EOF > x\n$(body\nEOF\nb", "<cat> <<EOF >x; <b>");
    check("cat <<-A <<B\n1\n\tA\n2\nB\nc", "<cat> <<-A <<B; <c>");
    check("a 2 > b", "<a> <2> >b");
    check("> x", ">x");
}

#[test]
fn compounds() {
    check("if a; then b; elif c; then d; else e; fi", "If()[<a> / <b> / <c> / <d> / <e>]");
    check("for i in 1 2; do a $i; done", "For(1 2)[<a> <$i>]");
    check("for i\ndo a; done", "For()[<a>]");
    check("for ((i=0; i<3; i++)); do a; done", "For()[<a>]");
    check("while a; do b; done < c", "While()[<a> / <b>]>");
    check("case $a in b|c) d ;; (*) e;; esac", "Case($a b c *)[<d> / <e>]");
    check("case a in\n b) c;;\n d) e\nesac", "Case(a b d)[<c> / <e>]");
    check("(a; b) && { c; d; } > e", "Subshell()[<a>; <b>] && Group()[<c>; <d>]>");
    check("((a) ; b)", "Subshell()[Subshell()[<a>]; <b>]");
    check("((a + 1)) && b", "Arithmetic()[] && <b>");
    check("f() { a; }; f", "Function()[Group()[<a>]]; <f>");
    check("function f { a; }", "Function()[Group()[<a>]]");
    check("[[ $a =~ ^(b|c)+$ && -n d ]] || e", "Test($a =~ ^(b|c)+$ && -n d)[] || <e>");
    check("if ! a || [ b = c ]; then d | e; fi", "If()[! <a> || <[> <b> <=> <c> <]> / <d> | <e>]");
    check("echo if then fi {", "<echo> <if> <then> <fi> <{>");
}

#[test]
fn places() {
    let text = "a && FOO=1 apt-get install \"x y\" > z # end";
    let script = parse(text).expect("parses");
    let command = script.simple_commands()[1];
    let at = |span: crate::Span| &text[span.start as usize..span.end as usize];
    assert_eq!(at(command.span), "FOO=1 apt-get install \"x y\" > z");
    let words: Vec<&str> = command.words.iter().map(|word| at(word.span)).collect();
    assert_eq!(words, ["apt-get", "install", "\"x y\""]);
    assert_eq!(script.comments.iter().map(|span| at(*span)).collect::<Vec<_>>(), ["# end"]);
}

#[test]
fn what_no_shell_reads() {
    for text in [
        "a '",
        "a \"",
        "a $(b",
        "a `b",
        "(a",
        "{ a",
        "if a; then b",
        "for",
        "a )",
        "a;;",
        "fi",
        "case a in b",
        "a >",
        "&& a",
        "[[ a",
        "${",
        "a=(",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

/// Deep or long texts of every construct: an answer comes, and soon.
#[test]
fn hostile_texts_end() {
    for piece in [
        "(",
        "{ ",
        "$(",
        "`",
        "\"$(",
        "((",
        "$((",
        "if ",
        "while ",
        "case a in b) ",
        "f() ",
        "function f ",
        "a <<E\n",
        "<(",
        "${",
        "[[ ",
        "a[;",
        "a=(",
        "!",
        "! ",
        "a|",
        "a&&",
        "@(",
        "'",
        "\"",
        "\\",
        "# ",
        "$'",
        ";",
        "a;",
        "\n",
        "for i in ",
        "é",
        "$((1))",
        "((1))",
        "a `b` ",
    ] {
        let text = piece.repeat((1 << 17) / piece.len());
        let _ = parse(&text);
        let _ = parse(&format!("a {text}"));
    }
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| "(".repeat(depth) + "a" + &")".repeat(depth);
    assert!(parse(&format!("{}; b", nested(20).replace("((", "( ("))).is_ok());
    assert_eq!(parse(&"$(".repeat(1000)).unwrap_err().message, "commands are nested too deeply");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..proptest::prelude::ProptestConfig::with_cases(2_000) })]

    /// No panic, and every word lies in the text.
    #[test]
    fn any_script(pieces in proptest::collection::vec(proptest::sample::select(vec![
        "a", " ", "\n", ";", "&&", "||", "|", "&", "(", ")", "{ ", "}", "$(", "${", "`", "\"", "'", "\\", "$", "<<E", ">", "<(", "#", "=", "if ", "then ",
        "fi", "case ", " in ", "esac", "for ", "do ", "done", "[[", "]]", "é", "\t", "((", "))", "E\n", "!", "@(", "function ", "\r", "[1]=",
    ]), 0..40)) {
        let text = pieces.concat();
        if let Ok(script) = parse(&text) {
            script.visit(&mut |command| {
                let span = command.span();
                assert!(text.get(span.start as usize..span.end as usize).is_some(), "{text:?}");
                for word in command.all_words() {
                    assert!(text.get(word.span.start as usize..word.span.end as usize).is_some(), "{text:?}");
                }
            });
        }
    }
}
