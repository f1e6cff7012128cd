//! The graphs of several platforms as one: what is equal in them is one vertex, and so is one step that runs once.
//!
//! Knows nothing of what the operations do.

use std::collections::HashMap;

use cooper_dockerfile::Lowered;
use cooper_llb::{Definition, Input, Vertex, VertexId, op_digest};
use cooper_oci::Platform;

/// One graph that yields every platform's filesystem.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    pub(crate) definition: Definition,
    /// The vertex of each platform's layers, in order.
    pub(crate) roots: Vec<VertexId>,
    /// The vertices that are shown as steps.
    pub(crate) steps: Vec<VertexId>,
}

/// What makes vertices of two platforms the same.
#[derive(PartialEq, Eq, Hash)]
struct Same {
    op: [u8; 32],
    inputs: Vec<Input>,
    platform: Option<Platform>,
    no_cache: bool,
}

/// Joins graphs. One alone stays as it is.
pub(crate) fn join<'a>(graphs: impl IntoIterator<Item = &'a Lowered>) -> Joined {
    let mut joined = Joined::default();
    let mut known = HashMap::new();
    for graph in graphs {
        // Only what other platforms have is looked up: equal steps of one Dockerfile are shown as they are written.
        let mut own = Vec::new();
        let mut ids: Vec<VertexId> = Vec::new();
        for vertex in &graph.definition.vertices {
            let inputs = vertex.inputs.iter().map(|input| Input { vertex: ids[input.vertex.0 as usize] }).collect();
            let same = Same {
                op: op_digest(&vertex.op.key_inputs()),
                inputs,
                platform: vertex.meta.platform.clone(),
                no_cache: vertex.meta.no_cache,
            };
            // The digest leaves out what no result depends on; that it is equal too costs little to ask.
            let equal = |id: &&VertexId| joined.definition.vertex(**id).op == vertex.op;
            if let Some(id) = known.get(&same).filter(equal) {
                ids.push(*id);
                continue;
            }
            let id = joined.definition.add(Vertex { inputs: same.inputs.clone(), ..vertex.clone() });
            ids.push(id);
            own.push((same, id));
        }
        known.extend(own);
        joined.roots.push(ids[graph.root.0 as usize]);
        let steps = graph.steps.iter().map(|step| ids[step.0 as usize]);
        let new: Vec<VertexId> = steps.filter(|id| !joined.steps.contains(id)).collect();
        joined.steps.extend(new);
    }
    joined
}

#[cfg(test)]
mod tests {
    use cooper_dockerfile::{Args, Bases, Evaluation, evaluate, lower, parse};
    use cooper_oci::ImageConfig;

    use super::*;

    fn lowered(text: &str, platform: &str) -> Lowered {
        let args = Args {
            build_platform: Platform::new("linux", "amd64"),
            multi_platform: true,
            ..Args::new(platform.parse().unwrap())
        };
        let mut bases = Bases::new();
        loop {
            match evaluate(&parse(text).0, &args, &bases).0 {
                Evaluation::Done(stages) => return lower(&stages, &args),
                Evaluation::Needs(needs) => {
                    bases.extend(needs.into_iter().map(|(key, _)| (key, ImageConfig::default())))
                }
                Evaluation::Failed => panic!("{text}"),
            }
        }
    }

    fn check(text: &str, expect: &[&str]) {
        let graphs = [lowered(text, "linux/amd64"), lowered(text, "linux/arm64")];
        let joined = join(&graphs);
        assert_eq!(joined.roots.len(), 2);
        let names: Vec<&str> = joined.steps.iter().map(|id| joined.definition.vertex(*id).meta.name.as_str()).collect();
        assert_eq!(names, expect, "{text}");
    }

    #[test]
    fn what_does_not_depend_on_the_target_is_there_once() {
        let build = "FROM --platform=$BUILDPLATFORM a AS build\nRUN get\n";
        let target = "FROM scratch\nCOPY --from=build b c\n";
        let base = "[linux/amd64 build 1/2] FROM docker.io/library/a:latest";
        let copies =
            ["[linux/amd64 stage-1 1/1] COPY --from=build b c", "[linux/arm64 stage-1 1/1] COPY --from=build b c"];
        check(&format!("{build}{target}"), &[base, "[linux/amd64 build 2/2] RUN get", copies[0], copies[1]]);
        let base = base.replace('2', "3");
        let get = "[linux/amd64 build 2/3] RUN get";
        let make = "[linux/amd64 build 3/3] RUN make";
        let uses = format!("{build}ARG TARGETARCH\nRUN make\n{target}");
        check(&uses, &[&base, get, make, copies[0], make, copies[1]]);
    }

    #[test]
    fn a_stage_for_the_target_is_there_for_each() {
        let text = "FROM scratch\nCOPY a b\n";
        check(text, &["[linux/amd64 1/1] COPY a b", "[linux/arm64 1/1] COPY a b"]);
    }

    #[test]
    fn equal_steps_of_one_platform_stay_apart() {
        let text = "FROM scratch AS a\nCOPY x y\nFROM scratch AS b\nCOPY x y\n\
            FROM scratch\nCOPY --from=a y a\nCOPY --from=b y b\n";
        let graph = lowered(text, "linux/amd64");
        let joined = join([&graph]);
        assert_eq!(joined.definition, graph.definition);
        assert_eq!(joined.steps, graph.steps);
    }
}
