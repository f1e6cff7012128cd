//! RUN: command line, environment, network, security and here-documents.
//!
//! Knows nothing of mounts' options or of how a process is run.

use cooper_llb::{Device, Exec, Mount, MountKind, Network, Op, Security, clean};

use super::names::{display, instruction_text};
use super::scope::proxy_env;
use super::stage::Evaluator;
use crate::ast::{Command, Flag, Heredoc, Instruction, Run};
use crate::expand::expand_words;
use crate::parse::parse_device;

impl Evaluator<'_> {
    pub(super) fn run_instruction(&mut self, instruction: &Instruction, run: &Run) {
        // Once for the process, once in history.
        if !self.spend(instruction.span, 2 * self.scope.bytes()) {
            return;
        }
        let (args, pipe) = self.command_line(run);
        let args_options = self.file.args;
        let mut exec = Exec {
            env: self.run_env(),
            proxy_env: proxy_env(args_options),
            cwd: clean(&format!("/{}", self.image.config.working_dir)),
            user: self.image.config.user.clone(),
            hostname: args_options.hostname.clone(),
            extra_hosts: args_options.add_hosts.clone(),
            platform: Some(self.platform.clone()),
            clamp: args_options.clamp.then_some(self.clamp),
            pipe,
            args,
            ..Exec::default()
        };
        let inputs = self.mounts(run, &mut exec);
        self.network(instruction, run, &mut exec);
        self.security(run, &mut exec);
        self.devices(run, &mut exec);
        self.given_options(&mut exec);
        let name = self.run_name(instruction, run, &exec);
        let history = format!("RUN {} # buildkit", self.history_args(&exec.args));
        self.push_step(instruction, &name, Op::Exec(exec), inputs);
        self.commit(instruction.span, history, true);
    }

    /// The arguments with the shell, and the here-document that is a program by itself.
    fn command_line(&self, run: &Run) -> (Vec<String>, Option<(String, Vec<u8>)>) {
        let text = match &run.command {
            Command::Exec(args) => return (args.clone(), None),
            Command::Shell(text) => &text.text,
        };
        match &run.heredocs[..] {
            [] => (self.with_shell(text.clone()), None),
            [only] if stands_alone(text) => self.alone(only),
            several => (self.with_shell(reassembled(text, several)), None),
        }
    }

    fn alone(&self, heredoc: &Heredoc) -> (Vec<String>, Option<(String, Vec<u8>)>) {
        if heredoc.content.starts_with("#!") {
            let pipe = (heredoc.name.clone(), heredoc.content.clone().into_bytes());
            return (self.with_shell(format!("/dev/pipes/{}", heredoc.name)), Some(pipe));
        }
        (self.with_shell(heredoc.content.clone()), None)
    }

    /// ENV and ARG in force, and the clamp as SOURCE_DATE_EPOCH unless one of them sets it.
    fn run_env(&self) -> Vec<String> {
        let mut env = self.scope.to_env();
        if self.file.args.clamp && self.scope.get("SOURCE_DATE_EPOCH").is_none() {
            env.push(format!("SOURCE_DATE_EPOCH={}", self.clamp));
        }
        env
    }

    /// `|2 A=1 B=2 /bin/sh -c make`: the ARGs declared so far, with their values now, then the arguments.
    fn history_args(&self, args: &[String]) -> String {
        let mut words: Vec<(&str, String)> = Vec::new();
        for (name, given) in &self.build_args {
            let value = self.scope.get(name).or(given.as_deref()).unwrap_or_default();
            let word = format!("{name}={value}");
            match words.iter_mut().find(|(known, _)| *known == name.as_str()) {
                Some((_, old)) => *old = word,
                None => words.push((name, word)),
            }
        }
        let count = (!words.is_empty()).then(|| format!("|{}", words.len()));
        let words = words.into_iter().map(|(_, word)| word);
        count.into_iter().chain(words).chain(args.iter().cloned()).collect::<Vec<_>>().join(" ")
    }

    fn run_name(&self, instruction: &Instruction, run: &Run, exec: &Exec) -> String {
        let mut text = instruction_text(instruction);
        if let [only] = &run.heredocs[..]
            && (exec.pipe.is_some() || exec.args.last() == Some(&only.content))
        {
            let body = only.content.trim();
            let first = body.lines().next().unwrap_or_default();
            let more = if body.lines().nth(1).is_some() { "..." } else { "" };
            text.push_str(&format!(" ({first}{more})"));
        }
        let masked = |name: &str| {
            exec.mounts
                .iter()
                .any(|mount| matches!(&mount.kind, MountKind::Secret { env: Some(env), .. } if env == name))
        };
        let value = |name: &str| {
            if masked(name) { Some("****".to_owned()) } else { self.scope.get(name).map(str::to_owned) }
        };
        display(&text, &value)
    }

    fn network(&mut self, instruction: &Instruction, run: &Run, exec: &mut Exec) {
        let flag = find_flag(&run.flags, "network").and_then(|flag| flag.value.as_ref());
        let global = self.file.args.network.as_deref().unwrap_or("default");
        let (text, span) = match flag {
            Some(word) if word.text != "default" => (word.text.as_str(), word.span),
            _ => (global, instruction.span),
        };
        exec.network = match text {
            "default" | "" | "sandbox" => Network::Default,
            "none" => Network::None,
            "host" => Network::Host,
            other => {
                let hint = "there are default, none and host";
                return self.error_hint(span, format!("unsupported network mode `{other}`"), hint);
            }
        };
    }

    fn security(&mut self, run: &Run, exec: &mut Exec) {
        exec.security = Security::Sandbox;
        let Some(word) = find_flag(&run.flags, "security").and_then(|flag| flag.value.as_ref()) else { return };
        match word.text.as_str() {
            "sandbox" => {}
            "insecure" => exec.security = Security::Insecure,
            other => {
                let hint = "there are sandbox and insecure";
                self.error_hint(word.span, format!("unsupported security mode `{other}`"), hint);
            }
        }
    }

    fn devices(&mut self, run: &Run, exec: &mut Exec) {
        let values = run.flags.iter().filter(|flag| flag.name.text == "device").filter_map(|flag| flag.value.as_ref());
        for word in values {
            match parse_device(&word.text) {
                Ok(device) => exec.devices.push(Device { name: device.name, required: device.required }),
                Err(error) => match error.hint {
                    Some(hint) => self.error_hint(word.span, error.message, hint),
                    None => self.error(word.span, error.message),
                },
            }
        }
    }

    /// What the caller asks for every process. The shared memory comes after the Dockerfile's own mounts, over them.
    fn given_options(&self, exec: &mut Exec) {
        let options = &self.file.args.run;
        exec.ulimits.clone_from(&options.ulimits);
        exec.cgroup_parent.clone_from(&options.cgroup_parent);
        exec.resources = options.resources.clone();
        if let Some(size) = options.shm_size {
            exec.mounts.push(Mount { target: "/dev/shm".to_owned(), kind: MountKind::Tmpfs { size: Some(size) } });
        }
    }
}

/// The last flag of a name.
pub(super) fn find_flag<'a>(flags: &'a [Flag], name: &str) -> Option<&'a Flag> {
    flags.iter().rev().find(|flag| flag.name.text == name)
}

/// The line is nothing but a here-document's marker: `<<EOF`.
fn stands_alone(text: &str) -> bool {
    let Some(rest) = text.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<") else { return false };
    let rest = rest.strip_prefix('-').unwrap_or(rest).trim();
    !rest.contains('<') && expand_words(rest, '\\', &|_| None).is_ok_and(|found| found.words.len() == 1)
}

/// The line and its here-documents, for a shell that knows them.
fn reassembled(text: &str, heredocs: &[Heredoc]) -> String {
    heredocs.iter().fold(text.to_owned(), |text, heredoc| format!("{text}\n{}{}", heredoc.content, heredoc.name))
}
