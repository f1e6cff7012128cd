//! COPY and ADD: sources, destination, owner, mode, and files written in the Dockerfile.
//!
//! Knows nothing of what the sources hold.

use cooper_llb::{Chmod, Chown, CopySource, FileAction, FileOp, Ignore, Op, clean};

use super::Origin;
use super::names::{instruction_text, join_dest};
use super::owner::parse_owner;
use super::run::find_flag;
use super::stage::Evaluator;
use crate::ast::{Copy, Heredoc, Instruction};
use crate::expand::Mode;
use crate::parse::is_true;

/// Mode of a file written in the Dockerfile.
const HEREDOC_MODE: u32 = 0o644;

/// The flags of a COPY or ADD, expanded and checked.
struct Options {
    chown: Option<Chown>,
    chmod: Option<Chmod>,
    excludes: Vec<String>,
    unpack: bool,
    parents: bool,
    link: bool,
    /// `--chown` and `--chmod` as history shows them.
    history: String,
}

impl Evaluator<'_> {
    pub(super) fn copy_instruction(&mut self, instruction: &Instruction, copy: &Copy, add: bool) {
        let mut name = self.shown(&instruction_text(instruction));
        let options = self.options(copy, add);
        let origin = self.copy_origin(copy, &mut name, instruction);
        let written = self.sources(copy, add);
        let dest = self.word(&copy.dest);
        let contents = self.contents(copy);
        let (Some(options), Some(origin), Some(written), Some(dest), Some(contents)) =
            (options, origin, written, dest, contents)
        else {
            return;
        };
        let mut history = format!("{}{}", if add { "ADD" } else { "COPY" }, options.history);
        written.iter().for_each(|source| history.push_str(&format!(" {source}")));
        copy.heredocs.iter().for_each(|heredoc| history.push_str(&format!(" <<{}", heredoc.name)));
        history.push_str(&format!(" {dest} # buildkit"));
        let mut target = join_dest(&self.image.config.working_dir, &dest);
        if written.len() + copy.heredocs.len() > 1 && !target.ends_with('/') {
            // Several sources have no place but a directory.
            target.push('/');
        }
        let inputs = if written.is_empty() { Vec::new() } else { vec![origin] };
        let actions = actions(&options, &written, &contents, &target);
        let op = Op::File(FileOp { actions, clamp: self.file.args.clamp.then_some(self.clamp) });
        self.push_step(instruction, &name, op, inputs);
        self.commit(instruction.span, history, true);
    }

    fn options(&mut self, copy: &Copy, add: bool) -> Option<Options> {
        let chown_text = self.flag_text(copy, "chown")?;
        let chmod_text = self.flag_text(copy, "chmod")?;
        let flag = |name: &str| find_flag(&copy.flags, name);
        let (parents, link) = (flag("parents").is_some_and(is_true), flag("link").is_some_and(is_true));
        let unpack = add && flag("unpack").is_none_or(is_true);
        let chown = self.checked(copy, "chown", &chown_text, parse_owner)?;
        let chmod = self.checked(copy, "chmod", &chmod_text, Chmod::parse)?;
        self.remote_flags(copy)?;
        let mut history = String::new();
        if parents {
            history.push_str(" --parents");
        }
        for (name, text) in [("chown", &chown_text), ("chmod", &chmod_text)] {
            if !text.is_empty() {
                history.push_str(&format!(" --{name}={text}"));
            }
        }
        Some(Options { chown, chmod, excludes: self.excludes(copy)?, unpack, parents, link, history })
    }

    /// The value of a flag, expanded; empty when absent.
    fn flag_text(&mut self, copy: &Copy, name: &str) -> Option<String> {
        match find_flag(&copy.flags, name).and_then(|flag| flag.value.as_ref()) {
            Some(value) => self.word(value),
            None => Some(String::new()),
        }
    }

    fn checked<T>(
        &mut self,
        copy: &Copy,
        name: &str,
        text: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        if text.is_empty() {
            return Some(None);
        }
        match parse(text) {
            Ok(value) => Some(Some(value)),
            Err(why) => {
                let value = find_flag(&copy.flags, name).and_then(|flag| flag.value.as_ref());
                let span = value.map_or(copy.dest.span, |value| value.span);
                self.error(span, format!("invalid --{name}: {why}"));
                None
            }
        }
    }

    /// Flags that are for sources from the network only.
    fn remote_flags(&mut self, copy: &Copy) -> Option<()> {
        let checksum = find_flag(&copy.flags, "checksum");
        if let Some(flag) = checksum.filter(|_| !copy.sources.iter().any(|source| is_remote(&source.text))) {
            self.error(flag.name.span, "--checksum requires an HTTP(S) or git source");
            return None;
        }
        Some(())
    }

    fn excludes(&mut self, copy: &Copy) -> Option<Vec<String>> {
        let mut excludes = Vec::new();
        let values =
            copy.flags.iter().filter(|flag| flag.name.text == "exclude").filter_map(|flag| flag.value.as_ref());
        for value in values {
            let text = self.word(value)?;
            if let Err(error) = Ignore::new(std::slice::from_ref(&text)) {
                self.error(value.span, format!("invalid --exclude: {error}"));
                return None;
            }
            excludes.push(text);
        }
        Some(excludes)
    }

    /// Where the sources are. `name` shows the variables of `--from`, which may be global ones.
    fn copy_origin(&mut self, copy: &Copy, name: &mut String, instruction: &Instruction) -> Option<Origin> {
        let Some(value) = find_flag(&copy.flags, "from").and_then(|flag| flag.value.as_ref()) else {
            return Some(Origin::Context);
        };
        let from = self.reference_text(&value.text, value.span)?;
        if from.is_empty() {
            // BuildKit reads an empty --from as none; with a variable in it that would copy from somewhere unexpected.
            if value.text.is_empty() {
                return Some(Origin::Context);
            }
            let hint = "declare it with ARG before the first FROM, or pass it with --build-arg";
            self.error_hint(value.span, format!("--from={} is empty", value.text), hint);
            return None;
        }
        let text = instruction_text(instruction);
        *name = self.shown(&text.replacen(&format!("--from={}", value.text), &format!("--from={from}"), 1));
        self.origin(&from, value.span)
    }

    /// The sources, expanded.
    fn sources(&mut self, copy: &Copy, add: bool) -> Option<Vec<String>> {
        let mut sources = Vec::new();
        for word in &copy.sources {
            let source = self.word(word)?;
            if is_remote(&source) {
                self.remote_source(word.span, &source, add);
                return None;
            }
            if source.is_empty() {
                let message = format!("the source `{}` is empty", word.text);
                self.error_hint(word.span, message, "write `.` for the whole context");
                return None;
            }
            sources.push(source);
        }
        Some(sources)
    }

    fn remote_source(&mut self, span: crate::Span, source: &str, add: bool) {
        if add {
            let kind = if is_git(source) { "git repositories" } else { "addresses" };
            let hint = "fetch it in a RUN, or add it to the context";
            self.error_hint(span, format!("ADD of {kind} is not supported yet: {source}"), hint);
        } else {
            self.error_hint(
                span,
                format!("the source of COPY cannot be an address: {source}"),
                "COPY reads files only",
            );
        }
    }

    /// Here-documents with their variables expanded.
    fn contents(&mut self, copy: &Copy) -> Option<Vec<(String, Vec<u8>)>> {
        let expanded: Vec<Option<(String, Vec<u8>)>> =
            copy.heredocs.iter().map(|heredoc| self.content(heredoc)).collect();
        expanded.into_iter().collect()
    }

    fn content(&mut self, heredoc: &Heredoc) -> Option<(String, Vec<u8>)> {
        let text = if heredoc.expand {
            self.text(&heredoc.content, heredoc.span, Mode::Raw)?
        } else {
            heredoc.content.clone()
        };
        if heredoc.name.is_empty() || heredoc.name.contains('/') || heredoc.name == "." || heredoc.name == ".." {
            self.error(heredoc.span, format!("`{}` is not a file name", heredoc.name));
            return None;
        }
        self.spend(heredoc.span, text.len()).then(|| (heredoc.name.clone(), text.into_bytes()))
    }
}

fn actions(options: &Options, written: &[String], contents: &[(String, Vec<u8>)], target: &str) -> Vec<FileAction> {
    let mut actions = Vec::new();
    if !written.is_empty() {
        actions.push(FileAction::Copy {
            input: 1,
            sources: written.iter().map(|source| copy_source(source, options.parents)).collect(),
            dest: target.to_owned(),
            chown: options.chown.clone(),
            chmod: options.chmod.clone(),
            excludes: options.excludes.clone(),
            unpack: options.unpack,
            parents: options.parents,
            link: options.link,
        });
    }
    for (name, data) in contents {
        let directory = target.ends_with('/');
        let mode = options.chmod.as_ref().map_or(HEREDOC_MODE, |chmod| chmod.apply(HEREDOC_MODE, false));
        actions.push(FileAction::MakeFile {
            path: if directory { format!("{target}{name}") } else { target.to_owned() },
            name: (!directory).then(|| name.clone()),
            data: data.clone(),
            mode,
            chown: options.chown.clone(),
        });
    }
    actions
}

/// A source below the root of its input: clean, `..` stops at the root.
fn copy_source(source: &str, parents: bool) -> CopySource {
    let below = |path: &str| clean(&format!("/{path}")).trim_start_matches('/').to_owned();
    let path = match source.split_once("/./").or_else(|| source.strip_prefix("./").map(|rest| ("", rest))) {
        Some((pivot, rest)) if parents && !below(pivot).is_empty() => format!("{}/./{}", below(pivot), below(rest)),
        Some((_, rest)) if parents => below(rest),
        _ => below(source),
    };
    let wildcard = has_wildcards(&path);
    CopySource { path, wildcard }
}

fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

fn is_remote(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://") || is_git(source)
}

/// BuildKit takes these for git repositories; an address needs the `.git`.
fn is_git(source: &str) -> bool {
    let address = source.starts_with("http://") || source.starts_with("https://");
    let path = source.split(['#', '?']).next().unwrap_or_default();
    ["git@", "git://", "ssh://"].iter().any(|scheme| source.starts_with(scheme)) || (address && path.ends_with(".git"))
}
