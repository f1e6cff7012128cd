//! The solver on small graphs in text, with a fake worker whose log of what ran is the assertion.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cooper_solver::{Edge, Graph, Key, KeyHasher, Node, NodeId, Part, RecordId, Saved, Solver, Worker};
use futures::executor::block_on;

/// What outlives a build: records by id, names of records, and the outside world's files.
#[derive(Debug, Default)]
struct World {
    names: Mutex<HashMap<Key, RecordId>>,
    records: Mutex<HashMap<RecordId, String>>,
    sources: Mutex<HashMap<String, String>>,
    fresh: AtomicU64,
}

#[derive(Debug)]
struct Fake {
    world: Arc<World>,
    ops: Vec<String>,
    log: Mutex<Vec<String>>,
}

fn key(text: &str) -> Key {
    KeyHasher::new("fake").part(text.as_bytes()).key()
}

#[async_trait]
impl Worker for Fake {
    type Selector = String;
    type Output = String;
    type Error = String;

    async fn op_key(&self, node: NodeId) -> Result<Key, String> {
        let op = &self.ops[node.0 as usize];
        match op.strip_prefix("image:") {
            Some(name) => Ok(key(&self.world.sources.lock().unwrap()[name])),
            None => Ok(key(op)),
        }
    }

    async fn source_content(&self, source: NodeId, selector: &String) -> Result<Option<Key>, String> {
        if !self.ops[source.0 as usize].starts_with("local") {
            return Ok(None);
        }
        Ok(Some(key(&self.world.sources.lock().unwrap()[selector])))
    }

    async fn content(&self, output: &String, selector: &String) -> Result<Key, String> {
        self.log.lock().unwrap().push(format!("content {selector}"));
        Ok(key(output))
    }

    async fn lookup(&self, key: &Key) -> Option<RecordId> {
        self.world.names.lock().unwrap().get(key).copied()
    }

    async fn load(&self, record: &RecordId) -> Option<String> {
        self.world.records.lock().unwrap().get(record).cloned()
    }

    fn found(&self, node: NodeId, _record: &RecordId) {
        self.log.lock().unwrap().push(format!("found {}", self.ops[node.0 as usize]));
    }

    async fn run(&self, node: NodeId, inputs: Vec<String>, _missed: &[Part]) -> Result<String, String> {
        let op = &self.ops[node.0 as usize];
        if op.starts_with("local") || op.starts_with("image:") {
            return Ok(op.clone());
        }
        self.log.lock().unwrap().push(format!("run {op}"));
        if op == "fail" {
            return Err("it failed".into());
        }
        if op == "hang" {
            std::future::pending::<()>().await;
        }
        Ok(if op.starts_with("const") { op.clone() } else { format!("{op}({})", inputs.join(",")) })
    }

    async fn save(&self, _node: NodeId, saved: &Saved, output: &String) {
        self.world.records.lock().unwrap().insert(saved.id, output.clone());
        for name in &saved.names {
            self.world.names.lock().unwrap().insert(*name, saved.id);
        }
    }

    async fn alias(&self, name: &Key, record: &RecordId) {
        self.world.names.lock().unwrap().insert(*name, *record);
    }

    fn fresh(&self) -> Key {
        key(&format!("fresh {}", self.world.fresh.fetch_add(1, Ordering::Relaxed)))
    }
}

/// `name = op input input[selector]`; a `!` after the op says no-cache. Ops that start with `local` or `image:` are sources.
fn parse(text: &str) -> (Vec<String>, Graph<String>) {
    let (mut names, mut ops, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, rest) = line.split_once(" = ").unwrap();
        let mut words = rest.split_whitespace();
        let op = words.next().unwrap();
        let inputs = words
            .map(|word| {
                let (from, selector) = match word.split_once('[') {
                    Some((from, selector)) => (from, Some(selector.trim_end_matches(']').to_owned())),
                    None => (word, None),
                };
                let from = names.iter().position(|name| name == from).unwrap();
                Edge { from: NodeId(from as u32), selector }
            })
            .collect();
        names.push(name.to_owned());
        ops.push(op.trim_end_matches('!').to_owned());
        nodes.push(match op.starts_with("local") || op.starts_with("image:") {
            true => Node::Source,
            false => Node::Step { inputs, no_cache: op.ends_with('!') },
        });
    }
    (ops, Graph { nodes })
}

fn world(sources: &[(&str, &str)]) -> Arc<World> {
    let world = World::default();
    *world.sources.lock().unwrap() = sources.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Arc::new(world)
}

fn set(world: &World, name: &str, value: &str) {
    world.sources.lock().unwrap().insert(name.into(), value.into());
}

/// Builds the last node; returns the log, then the result or the error.
fn build(world: &Arc<World>, text: &str) -> String {
    let (ops, graph) = parse(text);
    let last = NodeId(graph.nodes.len() as u32 - 1);
    let worker = Arc::new(Fake { world: world.clone(), ops, log: Mutex::default() });
    let result = block_on(Solver::new(worker.clone(), graph).solve(last));
    let mut log = worker.log.lock().unwrap().clone();
    log.push(match result {
        Ok(realized) => format!("-> {}", realized.output),
        Err(error) => format!("-> error: {error}"),
    });
    log.join("; ")
}

const LINE: &str = "
    base = image:base
    ctx = local
    copy = copy base ctx[src]
    make = make copy
";

#[test]
fn cold_then_warm() {
    let world = world(&[("base", "1"), ("src", "1")]);
    assert_eq!(build(&world, LINE), "run copy; run make; -> make(copy(image:base,local))");
    assert_eq!(build(&world, LINE), "found make; -> make(copy(image:base,local))");
}

#[test]
fn changed_source_runs_what_depends_on_it() {
    let world = world(&[("base", "1"), ("src", "1")]);
    build(&world, LINE);
    set(&world, "src", "2");
    assert_eq!(build(&world, LINE), "run copy; run make; -> make(copy(image:base,local))");
    set(&world, "src", "1");
    assert_eq!(build(&world, LINE), "found make; -> make(copy(image:base,local))");
}

#[test]
fn moved_base_runs_everything() {
    let world = world(&[("base", "1"), ("src", "1")]);
    build(&world, LINE);
    set(&world, "base", "2");
    assert!(build(&world, LINE).starts_with("run copy; run make"));
}

const STAGES: &str = "
    ctx = local
    gen = const-gen ctx[src]
    copy = copy ctx[other] gen[out]
";

#[test]
fn early_cutoff_across_stages() {
    let world = world(&[("src", "1"), ("other", "1")]);
    build(&world, STAGES);
    set(&world, "src", "2");
    // The generator runs again, its output is the same, so the copy is found.
    assert_eq!(build(&world, STAGES), "run const-gen; content out; found copy; -> copy(local,const-gen)");
    // And is found by definition the next time is not required, but nothing may run.
    assert!(!build(&world, STAGES).contains("run"));
}

#[test]
fn pruned_middle_is_not_needed() {
    let world = world(&[("base", "1"), ("src", "1")]);
    build(&world, LINE);
    world.records.lock().unwrap().retain(|_, output| output.starts_with("make"));
    assert!(build(&world, LINE).starts_with("found make"));
}

#[test]
fn lost_record_is_rebuilt() {
    let world = world(&[("base", "1"), ("src", "1")]);
    build(&world, LINE);
    world.records.lock().unwrap().retain(|_, output| !output.starts_with("make"));
    assert!(build(&world, LINE).starts_with("found copy; run make"));
}

#[test]
fn no_cache_runs_the_node_and_its_dependants_once() {
    let world = world(&[("base", "1"), ("src", "1")]);
    build(&world, LINE);
    let forced = LINE.replace("= copy base", "= copy! base");
    assert!(build(&world, &forced).starts_with("run copy; run make"));
    assert!(build(&world, LINE).starts_with("found make"), "the forced result is the one found from now on");
}

#[test]
fn equal_steps_of_two_stages_run_once() {
    let world = world(&[("base", "1")]);
    let text = "
        base = image:base
        a = make base
        b = make base
        both = join a[x] b[y]
    ";
    let log = build(&world, text);
    assert_eq!(log.matches("run make").count(), 1, "{log}");
}

#[test]
fn failure_stops_dependants() {
    let world = world(&[("base", "1")]);
    let log = build(&world, "base = image:base\n bad = fail base\n after = after bad");
    assert_eq!(log, "run fail; -> error: it failed");
}

#[test]
fn failure_does_not_wait_for_a_neighbour() {
    let world = world(&[("base", "1")]);
    let log = build(&world, "base = image:base\n slow = hang base\n bad = fail base\n both = join slow bad");
    assert!(log.ends_with("error: it failed"), "{log}");
}

#[test]
fn two_machines_agree_on_identities() {
    let ids = |world: &Arc<World>| {
        build(world, LINE);
        let mut ids: Vec<_> = world.records.lock().unwrap().keys().copied().collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&world(&[("base", "1"), ("src", "1")])), ids(&world(&[("base", "1"), ("src", "1")])));
}

#[test]
fn a_given_up_solve_drops_what_it_runs() {
    let world = world(&[("base", "1")]);
    let (ops, graph) = parse("base = image:base\n slow = hang base");
    let worker = Arc::new(Fake { world, ops, log: Mutex::default() });
    let solver = Solver::new(worker.clone(), graph);
    {
        let mut solve = Box::pin(solver.solve(NodeId(1)));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(solve.as_mut().poll(&mut context).is_pending());
    }
    drop(solver);
    assert_eq!(Arc::strong_count(&worker), 1, "the running step still holds the worker");
}
