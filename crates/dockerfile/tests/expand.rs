//! Expansion as tables: a word, what it becomes.

use cooper_dockerfile::ast::InstructionKind;
use cooper_dockerfile::expand::{EXPANSION_BYTES_MAX, Mode, NESTING_MAX, expand, expand_words};
use cooper_dockerfile::parse;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "home" => "/root",
        "empty" => "",
        "path" => "/usr/local/bin/tool.tar.gz",
        "two" => " a  b ",
        "star" => "a*b",
        "lines" => "a\nb",
        "größe" => "groß",
        _ => return None,
    };
    Some(value.to_owned())
}

/// `expect` is the text, or `!` and a part of the error's message.
fn check(word: &str, expect: &str) {
    check_as(word, '\\', Mode::Word, expect);
}

fn check_as(word: &str, escape: char, mode: Mode, expect: &str) {
    match (expand(word, escape, &lookup, mode), expect.strip_prefix('!')) {
        (Ok(expanded), None) => assert_eq!(expanded.text, expect, "{word}"),
        (Err(error), Some(part)) => {
            assert!(error.message.contains(part), "{word}: {error}");
            assert!(word.is_char_boundary(error.offset), "{word}: {}", error.offset);
        }
        (result, _) => panic!("{word}: {result:?}, not {expect}"),
    }
}

#[test]
fn quotes_and_escapes() {
    check("plain", "plain");
    check("", "");
    check("a'b c'd", "ab cd");
    check("a\"b c\"d", "ab cd");
    check("'$home \\'", "$home \\");
    check("\"'$home'\"", "'/root'");
    check(r"a\'b", "a'b");
    check(r"a\tb", "atb");
    check(r#""a\tb""#, r"a\tb");
    check(r#""a\"b\\c\$d""#, r#"a"b\c$d"#);
    check(r"\$home", "$home");
    check(r"\\$home", r"\/root");
    check(r"end\", "end");
    check("größe'ß'", "größeß");
    check("'open", "!single quote");
    check("\"open", "!double quote");
    check("\"open\\\"", "!double quote");
}

#[test]
fn names() {
    check("$home", "/root");
    check("${home}x", "/rootx");
    check("$homex", "");
    check("$größe", "groß");
    check("a$1b", "ab");
    check("$12b", "b");
    check("$@x$*x$#x$?x$-x$$x$!x$0x", "xxxxxxxx");
    check("a$.b$", "a$.b$");
    check("$", "$");
    check("${}", "!name");
    check("${:-x}", "!name");
    check("${{home}}", "!name");
    check("${home", "!missing `}`");
    check("${.}", "!operator");
    check("${home=x}", "!operator");
    check("${home:=x}", "!operator");
    check("${home:x}", "!operator");
    check("${home:#x}", "!operator");
    check("${home:", "!missing `}`");
}

#[test]
fn conditions() {
    for (word, expect) in [
        ("${home:-w}", "/root"),
        ("${none:-w}", "w"),
        ("${empty:-w}", "w"),
        ("${home-w}", "/root"),
        ("${none-w}", "w"),
        ("${empty-w}", ""),
        ("${home:+w}", "w"),
        ("${none:+w}", ""),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${none+w}", ""),
        ("${home:?}", "/root"),
        ("${empty?}", ""),
        ("${none?}", "!none: it must not be unset"),
        ("${empty:?}", "!empty: it must not be empty"),
        ("${none:?set $home}", "!none: set /root"),
        ("${none:-${also:-$home}}", "/root"),
        ("${none:-a b\"}\"c}", "a b}c"),
        ("${none:-\\}}", "}"),
        ("${none:-'$home'}", "$home"),
        ("${home:+${home}:}x", "/root:x"),
        ("${none:-\\${home}z}", "${homez}"),
        ("${1:-x}${@:-y}", "xy"),
        ("${none:-${also}", "!missing `}`"),
    ] {
        check(word, expect);
    }
}

#[test]
fn patterns() {
    for (word, expect) in [
        ("${path#*/}", "usr/local/bin/tool.tar.gz"),
        ("${path##*/}", "tool.tar.gz"),
        ("${path%.*}", "/usr/local/bin/tool.tar"),
        ("${path%%.*}", "/usr/local/bin/tool"),
        ("${path#x}", "/usr/local/bin/tool.tar.gz"),
        ("${path#/???}", "/local/bin/tool.tar.gz"),
        ("${path%/*/*}", "/usr/local"),
        ("${path##$none*}", ""),
        ("${path/l/L}", "/usr/Local/bin/tool.tar.gz"),
        ("${path//l/L}", "/usr/LocaL/bin/tooL.tar.gz"),
        ("${path//\\//-}", "-usr-local-bin-tool.tar.gz"),
        ("${path/local*tool/x}", "/usr/x.tar.gz"),
        ("${path//o?/}", "/usr/lal/bin/tl.tar.gz"),
        ("${path/none/x}", "/usr/local/bin/tool.tar.gz"),
        ("${star#a\\*}", "b"),
        ("${star/\\*/\\}}", "a\\}b"),
        ("${lines#*}", "a\nb"),
        ("${lines##*}", "\nb"),
        ("${none#x}", ""),
        ("${none/x/y}", ""),
        ("${empty//*/x}", "x"),
        ("${home//*/x}", "x"),
        ("${home////-}", "/-//-r/-o/-o/-t/-"),
        ("${path#\\a}", "!escape"),
        ("${path/x}", "!missing `/`"),
        ("${path/x/y", "!missing `}`"),
    ] {
        check(word, expect);
    }
}

#[test]
fn raw_mode_keeps_quotes() {
    check_as("'$home' \"$none\" it's", '\\', Mode::Raw, "'/root' \"\" it's");
    check_as(r"\$home \\ \n", '\\', Mode::Raw, r"$home \ n");
    check_as("a << b < c", '\\', Mode::Raw, "a << b < c");
}

#[test]
fn the_other_escape() {
    check_as(r"c:\dir\$home", '`', Mode::Word, r"c:\dir\/root");
    check_as("`$home``", '`', Mode::Word, "$home`");
}

#[test]
fn tells_which_variables() {
    let seen = expand("$a ${home} ${b:-$home} '$c' $a", '\\', &lookup, Mode::Word).expect("expands");
    assert_eq!(seen.used, ["home"]);
    assert_eq!(seen.undefined, ["a", "b"]);
}

#[test]
fn words() {
    let check = |text: &str, expect: &[&str]| {
        assert_eq!(expand_words(text, '\\', &lookup).expect("expands").words, expect, "{text}");
    };
    check("a b", &["a", "b"]);
    check("  a\t b ", &["a", "b"]);
    check("", &[]);
    check("a\\ b", &["a b"]);
    check("a' 'b \"c d\"", &["a b", "c d"]);
    check("x${two}y", &["x", "a", "b", "y"]);
    check("x\"${two}\"y", &["x a  b y"]);
    check("$empty", &[]);
    check("a ${none:-80} 9${none-1}", &["a", "80", "91"]);
}

#[test]
fn errors_point_into_the_word() {
    let offset = |word: &str| expand(word, '\\', &lookup, Mode::Word).expect_err("fails").offset;
    assert_eq!(offset("ab'c"), 2);
    assert_eq!(offset("ab${none?}"), 2);
    assert_eq!(offset("ab${home=x}"), 8);
}

#[test]
fn growth_is_bounded() {
    let big = |_: &str| Some("x".repeat(EXPANSION_BYTES_MAX / 2));
    assert!(expand("$a$a", '\\', &big, Mode::Word).is_ok());
    for word in ["$a$a$a", "\"$a$a$a\"", "${a//x/yyyyyyyy}", "${b:-$a$a$a}", "${a:+$a$a$a}"] {
        let error = expand(word, '\\', &big, Mode::Word).expect_err(word);
        assert!(error.message.contains("longer than"), "{word}: {error}");
    }
    let slow = expand("${a//*?*?*?*?*?*?*?*b/c}", '\\', &big, Mode::Word).expect_err("too slow");
    assert!(slow.message.contains("too long"), "{slow}");
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| "${a:-".repeat(depth) + "x" + &"}".repeat(depth);
    check(&nested(NESTING_MAX), "x");
    check(&nested(NESTING_MAX + 1), "!nested");
    check(&nested(100_000), "!nested");
}

#[test]
fn errors_are_drawn_in_the_file() {
    let check = |text: &str, expect: &str| {
        let (file, _) = parse(text);
        let Some(InstructionKind::Workdir(path)) = file.instructions.get(1).map(|instruction| &instruction.kind) else {
            panic!("{text}")
        };
        let error = expand(&path.text, '\\', &lookup, Mode::Word).expect_err("fails").at(path);
        assert_eq!(text.get(error.span.start as usize..error.span.end as usize), Some(expect));
    };
    check("FROM a\nWORKDIR /a/${none?}/b\n", "${none?}/b");
    check("FROM a\nWORKDIR /a\\\n/${none?}\n", "/a\\\n/${none?}");
}
