//! Instructions that change the image's config, and WORKDIR, which does that and makes a directory.
//!
//! Knows nothing of the graph but the one operation WORKDIR makes.

use cooper_llb::{FileAction, FileOp, Op, clean};
use cooper_oci::Healthcheck;
use serde_json::{Map, Value};

use super::names::{instruction_text, join_workdir};
use super::owner::parse_owner;
use super::ports::parse_ports;
use super::signal::{is_signal, nearest_signal};
use super::stage::Evaluator;
use crate::Span;
use crate::ast::{self, Command, Instruction, InstructionKind, KeyValues, Word};
use crate::expand::{Mode, expand, expand_words};
use crate::image::{health_text, plain, quoted, set_env};

/// SHELL where none is set.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

impl Evaluator<'_> {
    /// Everything but RUN, COPY, ADD, WORKDIR and FROM.
    pub(super) fn setting(&mut self, span: Span, kind: &InstructionKind) {
        match kind {
            InstructionKind::Env(pairs) => self.env(span, pairs),
            InstructionKind::Label(pairs) => self.label(span, pairs),
            InstructionKind::Arg(pairs) => self.arg(span, pairs),
            InstructionKind::Cmd(command) => self.cmd(span, command),
            InstructionKind::Entrypoint(command) => self.entrypoint(span, command),
            InstructionKind::Shell(shell) => self.shell(span, shell),
            InstructionKind::User(user) => self.user(span, user),
            InstructionKind::Volume(paths) => self.volume(span, paths),
            InstructionKind::Expose(ports) => self.expose(span, ports),
            InstructionKind::StopSignal(signal) => self.stop_signal(span, signal),
            InstructionKind::Healthcheck(health) => self.healthcheck(span, health),
            InstructionKind::Maintainer(name) => {
                self.image.author = Some(name.text.clone());
                self.commit(span, format!("MAINTAINER {}", name.text), false);
            }
            InstructionKind::Onbuild(trigger, _) => self.image.config.on_build.push(trigger.clone()),
            InstructionKind::From(_)
            | InstructionKind::Run(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Workdir(_) => self.error(span, "this instruction is no setting"),
        }
    }

    /// Pairs expanded with the values before the instruction.
    fn pairs(&mut self, pairs: &KeyValues) -> Option<Vec<(String, String)>> {
        let expanded: Vec<_> = pairs.pairs.iter().map(|(key, value)| (self.word(key), self.word(value))).collect();
        expanded.into_iter().map(|(key, value)| Some((key?, value?))).collect()
    }

    fn env(&mut self, span: Span, pairs: &KeyValues) {
        let Some(pairs) = self.pairs(pairs) else { return };
        let mut text = String::from("ENV");
        for (key, value) in pairs {
            text.push_str(&format!(" {key}={value}"));
            self.scope.set(&key, &value);
            set_env(&mut self.image.config.env, &key, &value);
        }
        self.commit(span, text, false);
    }

    fn label(&mut self, span: Span, pairs: &KeyValues) {
        let Some(pairs) = self.pairs(pairs) else { return };
        let mut text = String::from("LABEL");
        for (key, value) in pairs {
            text.push_str(&format!(" {key}={value}"));
            self.image.config.labels.insert(key, value);
        }
        self.commit(span, text, false);
    }

    fn arg(&mut self, span: Span, pairs: &[(Word, Option<Word>)]) {
        let mut texts = Vec::new();
        for (name, default) in pairs {
            let Some(value) = self.arg_value(&name.text, default.as_ref()) else { continue };
            texts.push(match &value {
                Some(value) => format!("{}={value}", name.text),
                None => name.text.clone(),
            });
            if let Some(value) = &value {
                self.scope.set(&name.text, value);
            }
            self.build_args.push((name.text.clone(), value));
        }
        self.commit(span, format!("ARG {}", texts.join(" ")), false);
    }

    /// `--build-arg`, else the default, else the global ARG; the outer `None` is an error.
    fn arg_value(&mut self, name: &str, default: Option<&Word>) -> Option<Option<String>> {
        let args = self.file.args;
        if let Some(given) = args.build_args.get(name) {
            return Some(Some(given.clone()));
        }
        // The caller's is a build argument by another way.
        if let Some(epoch) = args.epoch.filter(|_| name == "SOURCE_DATE_EPOCH") {
            return Some(Some(epoch.to_string()));
        }
        match default {
            Some(default) => self.word(default).map(Some),
            None => Some(self.file.global.get(name).map(str::to_owned)),
        }
    }

    fn cmd(&mut self, span: Span, command: &Command) {
        let args = self.command(command);
        self.commit(span, format!("CMD {}", quoted(&args)), false);
        self.image.config.cmd = Some(args).filter(|args| !args.is_empty());
        self.image.config.args_escaped = true;
        self.cmd_set = true;
    }

    fn entrypoint(&mut self, span: Span, command: &Command) {
        let args = self.command(command);
        self.commit(span, format!("ENTRYPOINT {}", quoted(&args)), false);
        self.image.config.entrypoint = Some(args).filter(|args| !args.is_empty());
        // A CMD of the base was written for the base's ENTRYPOINT.
        if !self.cmd_set {
            self.image.config.cmd = None;
        }
    }

    fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(args) => args.clone(),
            Command::Shell(text) => self.with_shell(text.text.clone()),
        }
    }

    /// A text as the argument of SHELL.
    pub(super) fn with_shell(&self, text: String) -> Vec<String> {
        let shell = self.image.config.shell.clone().filter(|shell| !shell.is_empty());
        let mut args = shell.unwrap_or_else(|| DEFAULT_SHELL.map(str::to_owned).to_vec());
        args.push(text);
        args
    }

    fn shell(&mut self, span: Span, shell: &[String]) {
        self.commit(span, format!("SHELL {}", plain(shell)), false);
        self.image.config.shell = Some(shell.to_vec()).filter(|shell| !shell.is_empty());
    }

    fn user(&mut self, span: Span, word: &Word) {
        let Some(user) = self.word(word) else { return };
        if !user.is_empty()
            && let Err(why) = parse_owner(&user)
        {
            self.error_hint(word.span, format!("invalid USER: {why}"), "write it as name|uid[:group|gid]");
            return;
        }
        self.commit(span, format!("USER {user}"), false);
        self.image.config.user = user;
    }

    fn volume(&mut self, span: Span, words: &[Word]) {
        let paths: Vec<Option<String>> = words.iter().map(|word| self.word(word)).collect();
        let Some(paths) = paths.into_iter().collect::<Option<Vec<String>>>() else { return };
        if paths.iter().any(String::is_empty) {
            let place = words.first().map_or(span, |word| word.span);
            self.error(place, "a VOLUME cannot be an empty string");
            return;
        }
        self.commit(span, format!("VOLUME {}", plain(&paths)), false);
        let volumes = &mut self.image.config.volumes;
        volumes.extend(paths.into_iter().map(|path| (path, Value::Object(Map::new()))));
    }

    fn expose(&mut self, span: Span, words: &[Word]) {
        let place = words.first().map_or(span, |word| word.span);
        let scope = &self.scope;
        let value = |name: &str| scope.get(name).map(str::to_owned);
        // In history they are sorted as they were written, before anything is expanded.
        let mut sorted: Vec<&Word> = words.iter().collect();
        sorted.sort_by(|a, b| a.text.cmp(&b.text));
        let split =
            sorted.iter().map(|word| expand_words(&word.text, self.file.escape, &value).map(|found| found.words));
        let words: Result<Vec<Vec<String>>, String> = split.map(|words| words.map_err(|error| error.message)).collect();
        let words = words.map(|words| words.concat());
        if !self.spend(span, words.iter().flatten().map(String::len).sum()) {
            return;
        }
        match words.and_then(|words| parse_ports(&words)) {
            Ok(ports) => {
                self.commit(span, format!("EXPOSE {}", plain(&ports)), false);
                let exposed = &mut self.image.config.exposed_ports;
                exposed.extend(ports.into_iter().map(|port| (port, Value::Object(Map::new()))));
            }
            Err(why) => self.error_hint(place, why, "write ports as 80, 80-90 or 53/udp"),
        }
    }

    fn stop_signal(&mut self, span: Span, word: &Word) {
        let Some(signal) = self.word(word) else { return };
        if !is_signal(&signal) {
            let hint = match nearest_signal(&signal) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write a name such as SIGTERM or a number".to_owned(),
            };
            self.error_hint(word.span, format!("invalid signal: {signal}"), hint);
            return;
        }
        self.commit(span, format!("STOPSIGNAL {signal}"), false);
        self.image.config.stop_signal = signal;
    }

    fn healthcheck(&mut self, span: Span, health: &ast::Healthcheck) {
        let test = match &health.command {
            None => vec!["NONE".to_owned()],
            Some(Command::Exec(args)) => [vec!["CMD".to_owned()], args.clone()].concat(),
            Some(Command::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.text.clone()],
        };
        let health = Healthcheck {
            test,
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        };
        self.commit(span, format!("HEALTHCHECK {}", health_text(&health)), false);
        self.image.config.healthcheck = Some(health);
    }

    pub(super) fn workdir(&mut self, instruction: &Instruction, word: &Word) {
        let Some(path) = self.word(word) else { return };
        let path = join_workdir(&self.image.config.working_dir, &path);
        self.image.config.working_dir.clone_from(&path);
        let (span, layer) = (instruction.span, path != "/");
        if layer {
            let chown = parse_owner(&self.image.config.user).ok();
            let action = FileAction::MakeDir { path: clean(&path), chown };
            let op = Op::File(FileOp { actions: vec![action], clamp: self.file.args.clamp.then_some(self.clamp) });
            let name = self.shown(&instruction_text(instruction));
            self.push_step(instruction, &name, op, Vec::new());
        }
        self.commit(span, format!("WORKDIR {path}"), layer);
    }

    /// An instruction's text with its values, as steps are named; as written where it cannot be expanded.
    pub(super) fn shown(&self, text: &str) -> String {
        let value = |name: &str| self.scope.get(name).map(str::to_owned);
        expand(text, self.file.escape, &value, Mode::Word).map_or_else(|_| text.to_owned(), |expanded| expanded.text)
    }
}
