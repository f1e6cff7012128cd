//! COPY and ADD: sources, destination, owner, mode, and files written in the Dockerfile.
//!
//! Knows nothing of what the sources hold.

use cooper_llb::{Chmod, Chown, CopySource, FileAction, FileOp, Ignore, Op, clean};

use super::Origin;
use super::names::{instruction_text, join_dest};
use super::owner::parse_owner;
use super::remote::RemoteOptions;
use super::run::find_flag;
use super::stage::Evaluator;
use crate::ast::{Copy, Heredoc, Instruction};
use crate::expand::Mode;
use crate::parse::is_true;

/// Mode of a file written in the Dockerfile.
const HEREDOC_MODE: u32 = 0o644;

/// A source, expanded.
struct Written {
    text: String,
    /// Where it is fetched from; a path of the instruction's own input otherwise.
    remote: Option<Origin>,
}

/// The flags of a COPY or ADD, expanded and checked.
struct Options {
    chown: Option<Chown>,
    chmod: Option<Chmod>,
    excludes: Vec<String>,
    unpack: bool,
    parents: bool,
    link: bool,
    remote: RemoteOptions,
    /// `--chown` and `--chmod` as history shows them.
    history: String,
}

impl Evaluator<'_> {
    pub(super) fn copy_instruction(&mut self, instruction: &Instruction, copy: &Copy, add: bool) {
        let mut name = self.shown(&instruction_text(instruction));
        let options = self.options(copy, add);
        let origin = self.copy_origin(copy, &mut name, instruction);
        let written = self.sources(copy, add, options.as_ref());
        let dest = self.word(&copy.dest);
        let contents = self.contents(copy);
        let (Some(options), Some(origin), Some(written), Some(dest), Some(contents)) =
            (options, origin, written, dest, contents)
        else {
            return;
        };
        let mut history = format!("{}{}", if add { "ADD" } else { "COPY" }, options.history);
        written.iter().for_each(|source| history.push_str(&format!(" {}", source.text)));
        copy.heredocs.iter().for_each(|heredoc| history.push_str(&format!(" <<{}", heredoc.name)));
        history.push_str(&format!(" {dest} # buildkit"));
        let mut target = join_dest(&self.image.config.working_dir, &dest);
        if written.len() + copy.heredocs.len() > 1 && !target.ends_with('/') {
            // Several sources have no place but a directory.
            target.push('/');
        }
        let (mut actions, inputs) = copies(&options, written, &origin, &target);
        actions.extend(contents.into_iter().map(|(name, data)| write_file(&options, &target, name, data)));
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
        let remote = self.remote_options(copy)?;
        let mut history = String::new();
        if parents {
            history.push_str(" --parents");
        }
        for (name, text) in [("chown", &chown_text), ("chmod", &chmod_text)] {
            if !text.is_empty() {
                history.push_str(&format!(" --{name}={text}"));
            }
        }
        Some(Options { chown, chmod, excludes: self.excludes(copy)?, unpack, parents, link, remote, history })
    }

    /// The value of a flag, expanded; empty when absent.
    pub(super) fn flag_text(&mut self, copy: &Copy, name: &str) -> Option<String> {
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

    /// The sources, expanded. What is fetched is found only with `options`; without them the build has failed already.
    fn sources(&mut self, copy: &Copy, add: bool, options: Option<&Options>) -> Option<Vec<Written>> {
        let mut sources = Vec::new();
        for word in &copy.sources {
            let text = self.word(word)?;
            if text.is_empty() {
                let message = format!("the source `{}` is empty", word.text);
                self.error_hint(word.span, message, "write `.` for the whole context");
                return None;
            }
            let remote = self.remote_source(word.span, &text, &options?.remote).ok()?;
            if remote.is_some() && !add {
                let message = format!("the source of COPY cannot be an address: {text}");
                self.error_hint(word.span, message, "COPY reads files only; ADD fetches");
                return None;
            }
            sources.push(Written { text, remote });
        }
        let origins: Vec<Option<Origin>> = sources.iter().map(|source| source.remote.clone()).collect();
        self.check_checksum(copy, &options?.remote, &origins)?;
        Some(sources)
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

/// One action for each input in a row, and the inputs: what is fetched is an input of its own.
fn copies(options: &Options, written: Vec<Written>, origin: &Origin, target: &str) -> (Vec<FileAction>, Vec<Origin>) {
    let (mut actions, mut inputs) = (Vec::new(), Vec::<Origin>::new());
    let mut last = None;
    for source in written {
        let unpack = if source.remote.is_some() { options.remote.unpack } else { options.unpack };
        let from = match &source.remote {
            None => copy_source(&source.text, options.parents),
            Some(Origin::Http(http)) => CopySource { path: http.name.clone(), wildcard: false },
            Some(_) => CopySource { path: String::new(), wildcard: false },
        };
        let origin = source.remote.unwrap_or_else(|| origin.clone());
        let input = 1 + inputs.iter().position(|known| *known == origin).unwrap_or_else(|| {
            inputs.push(origin);
            inputs.len() - 1
        });
        if let Some(FileAction::Copy { sources, .. }) = actions.last_mut().filter(|_| last == Some(input)) {
            sources.push(from);
        } else {
            actions.push(copy_action(options, input, from, target, unpack));
        }
        last = Some(input);
    }
    (actions, inputs)
}

fn copy_action(options: &Options, input: usize, source: CopySource, target: &str, unpack: bool) -> FileAction {
    FileAction::Copy {
        input,
        sources: vec![source],
        dest: target.to_owned(),
        chown: options.chown.clone(),
        chmod: options.chmod.clone(),
        excludes: options.excludes.clone(),
        unpack,
        parents: options.parents,
        link: options.link,
    }
}

fn write_file(options: &Options, target: &str, name: String, data: Vec<u8>) -> FileAction {
    let directory = target.ends_with('/');
    let mode = options.chmod.as_ref().map_or(HEREDOC_MODE, |chmod| chmod.apply(HEREDOC_MODE, false));
    FileAction::MakeFile {
        path: if directory { format!("{target}{name}") } else { target.to_owned() },
        name: (!directory).then_some(name),
        data,
        mode,
        chown: options.chown.clone(),
    }
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
