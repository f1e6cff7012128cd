//! The build graph from evaluated stages.
//!
//! Knows nothing of Dockerfile text, of diagnostics, or of how an operation runs.

use std::collections::{BTreeMap, HashMap};

use cooper_llb::{
    CopySource, Definition, FileAction, FileOp, Input, Meta, Op, ResolveMode, Source, SourceLocation, Vertex, VertexId,
};
use cooper_oci::{ImageConfig, Platform};

use crate::evaluate::{Origin, Stage, Step};
use crate::image::rfc3339;
use crate::{Args, Stages};

/// What a target comes to: the graph, and the image around its filesystem.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The graph.
    pub definition: Definition,
    /// The vertex that yields the image's layers.
    pub root: VertexId,
    /// The image's config with its whole history, the base's first; `rootfs.diff_ids` is empty.
    pub image: ImageConfig,
    /// The vertices that are shown as steps, in the order of the Dockerfile.
    pub steps: Vec<VertexId>,
}

/// Turns evaluated stages into a graph. Cannot fail: whatever is wrong was found by [`crate::evaluate()`].
pub fn lower(stages: &Stages, args: &Args) -> Lowered {
    let mut graph = Graph {
        args,
        definition: Definition::default(),
        sources: HashMap::new(),
        roots: BTreeMap::new(),
        steps: Vec::new(),
    };
    for (index, stage) in stages.stages.iter().enumerate() {
        if let Some(stage) = stage {
            graph.stage(index, stage);
        }
    }
    let target = stages.stages.get(stages.target).and_then(Option::as_ref);
    let root = match graph.roots.get(&stages.target) {
        Some(root) => *root,
        None => graph.source(&Origin::Scratch, None),
    };
    let image = target.map(|stage| image(stage, stages.epoch, args)).unwrap_or_default();
    Lowered { definition: graph.definition, root, image, steps: graph.steps }
}

/// The graph so far.
struct Graph<'a> {
    args: &'a Args,
    definition: Definition,
    /// Equal sources are one vertex, whatever they are shown as.
    sources: HashMap<Source, VertexId>,
    /// The last vertex of each stage.
    roots: BTreeMap<usize, VertexId>,
    steps: Vec<VertexId>,
}

impl Graph<'_> {
    fn stage(&mut self, index: usize, stage: &Stage) {
        let mut root = match &stage.base {
            Origin::Stage(base) => self.roots.get(base).copied(),
            Origin::Local { .. } => Some(self.directory(stage)),
            _ => None,
        };
        let mut last = *root.get_or_insert_with(|| self.source(&stage.base, Some(stage)));
        for step in &stage.steps {
            last = self.step(stage, step, last);
        }
        self.roots.insert(index, last);
    }

    fn step(&mut self, stage: &Stage, step: &Step, root: VertexId) -> VertexId {
        let mut inputs = vec![Input { vertex: root }];
        for origin in &step.inputs {
            let vertex = match origin {
                Origin::Stage(index) => self.roots.get(index).copied(),
                _ => None,
            };
            let vertex = vertex.unwrap_or_else(|| self.source(origin, None));
            inputs.push(Input { vertex });
        }
        let meta = Meta {
            name: step.name.clone(),
            stage: stage.id.clone(),
            instruction: step.instruction.clone(),
            location: location(step.lines),
            no_cache: stage.no_cache,
            platform: Some(stage.platform.clone()),
        };
        if is_linked(&step.op) {
            return self.linked(step, inputs, meta);
        }
        let vertex = self.definition.add(Vertex { op: step.op.clone(), inputs, meta });
        self.steps.push(vertex);
        vertex
    }

    /// `--link`: written without looking at what is there, then laid over it.
    fn linked(&mut self, step: &Step, mut inputs: Vec<Input>, meta: Meta) -> VertexId {
        let scratch = Input { vertex: self.source(&Origin::Scratch, None) };
        let Some(below) = inputs.first_mut().map(|root| std::mem::replace(root, scratch)) else {
            return scratch.vertex;
        };
        let vertex = self.definition.add(Vertex { op: step.op.clone(), inputs, meta });
        self.steps.push(vertex);
        let inputs = vec![below, Input { vertex }];
        self.definition.add(Vertex { op: Op::Merge, inputs, meta: Meta::default() })
    }

    /// A stage whose files are a directory of the caller: one layer that copies all of it.
    fn directory(&mut self, stage: &Stage) -> VertexId {
        let scratch = self.source(&Origin::Scratch, None);
        let local = self.source(&stage.base, Some(stage));
        let copy = FileAction::Copy {
            input: 1,
            sources: vec![CopySource { path: String::new(), wildcard: false }],
            dest: "/".into(),
            chown: None,
            chmod: None,
            excludes: Vec::new(),
            unpack: false,
            parents: false,
            link: false,
        };
        let op = Op::File(FileOp { actions: vec![copy], clamp: self.args.clamp.then_some(stage.clamp) });
        let inputs = vec![Input { vertex: scratch }, Input { vertex: local }];
        let vertex = self.definition.add(Vertex { op, inputs, meta: from_meta(stage) });
        self.steps.push(vertex);
        vertex
    }

    /// The vertex of a source, added where it is not there yet.
    fn source(&mut self, origin: &Origin, stage: Option<&Stage>) -> VertexId {
        let source = source(origin, self.args.pull);
        if let Some(known) = self.sources.get(&source) {
            return *known;
        }
        let mut meta = stage.map_or_else(|| read_meta(origin), from_meta);
        meta.platform = source_platform(&source).or(meta.platform);
        let shown = !matches!(source, Source::Scratch | Source::Local { .. });
        let vertex = self.definition.add(Vertex { op: Op::Source(source.clone()), inputs: Vec::new(), meta });
        if shown {
            self.steps.push(vertex);
        }
        self.sources.insert(source, vertex);
        vertex
    }
}

/// As BuildKit has it, a copy that sets modes is never independent of what is there.
fn is_linked(op: &Op) -> bool {
    let Op::File(file) = op else { return false };
    file.actions.iter().any(|action| matches!(action, FileAction::Copy { link: true, chmod: None, .. }))
}

fn source(origin: &Origin, pull: bool) -> Source {
    match origin {
        Origin::Context => Source::Local { name: "context".into() },
        Origin::Local { name } => Source::Local { name: name.clone() },
        Origin::Image { reference, platform, .. } => Source::Image {
            reference: reference.clone(),
            platform: platform.clone(),
            resolve: if pull { ResolveMode::Pull } else { ResolveMode::Default },
        },
        Origin::OciLayout { name, target, platform } => {
            Source::OciLayout { name: name.clone(), target: target.clone(), platform: platform.clone() }
        }
        Origin::Git(git) => Source::Git(git.clone()),
        Origin::Http(http) => Source::Http(http.clone()),
        Origin::Scratch | Origin::Stage(_) => Source::Scratch,
    }
}

fn source_platform(source: &Source) -> Option<Platform> {
    match source {
        Source::Image { platform, .. } | Source::OciLayout { platform, .. } => Some(platform.clone()),
        Source::Scratch | Source::Local { .. } | Source::Git(_) | Source::Http(_) => None,
    }
}

/// Of what a FROM line brings.
fn from_meta(stage: &Stage) -> Meta {
    Meta {
        name: stage.from_name.clone(),
        stage: stage.id.clone(),
        instruction: stage.from_text.clone(),
        location: location(stage.lines),
        no_cache: false,
        platform: Some(stage.platform.clone()),
    }
}

/// Of what is only read from.
fn read_meta(origin: &Origin) -> Meta {
    let name = match origin {
        Origin::Context => "[internal] load build context".to_owned(),
        Origin::Image { shown, .. } => shown.clone(),
        Origin::OciLayout { name, .. } => format!("[context {name}] FROM {name}"),
        Origin::Local { name } => format!("[context {name}] load {name}"),
        Origin::Git(git) => format!("[internal] load git source {}", git.shown()),
        Origin::Http(http) => format!("[internal] load {}", http.shown()),
        Origin::Scratch | Origin::Stage(_) => "FROM scratch".to_owned(),
    };
    Meta { name, ..Meta::default() }
}

fn location((first_line, last_line): (u32, u32)) -> Option<SourceLocation> {
    Some(SourceLocation { first_line, last_line })
}

/// The target's config with labels, platform and dates.
fn image(stage: &Stage, epoch: Option<i64>, args: &Args) -> ImageConfig {
    let mut image = stage.image.clone();
    image.config.labels.extend(args.labels.clone());
    if args.platform_explicit {
        set_platform(&mut image, &args.platform);
    }
    let created = rfc3339(epoch.unwrap_or(if args.clamp { stage.clamp } else { args.now }));
    for entry in image.history.iter_mut().skip(stage.inherited_history) {
        entry.created = Some(created.clone());
    }
    image.created = Some(created);
    image
}

/// What was asked for wins over what the base says.
fn set_platform(image: &mut ImageConfig, platform: &Platform) {
    let same = image.os == platform.os && image.architecture == platform.architecture;
    image.os.clone_from(&platform.os);
    image.architecture.clone_from(&platform.architecture);
    if platform.variant.is_some() || !same {
        image.variant.clone_from(&platform.variant);
    }
    if platform.os_version.is_some() || !same {
        image.os_version.clone_from(&platform.os_version);
    }
    if !platform.os_features.is_empty() {
        image.os_features.clone_from(&platform.os_features);
    }
}
