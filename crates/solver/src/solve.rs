//! The three questions, memoised per node, and the single flight of equal work.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt, Shared, try_join_all};

use crate::{Edge, Graph, Key, KeyHasher, NodeId, Part, RecordId, Saved, Worker};

/// A future that many may wait for.
type Once<T, E> = Shared<BoxFuture<'static, Result<T, E>>>;

type Memo<K, T, E> = Mutex<HashMap<K, Once<T, E>>>;

/// A realized node: the identity and the value of its result.
#[derive(Clone, Debug)]
pub struct Realized<O> {
    /// Identity, by which dependants are keyed.
    pub id: RecordId,
    /// The result.
    pub output: O,
}

/// Solves one graph. Dropping it (and the futures it gave out) cancels everything that runs for it.
pub struct Solver<W: Worker> {
    worker: Arc<W>,
    graph: Graph<W::Selector>,
    defined: Memo<NodeId, Key, W::Error>,
    identified: Memo<NodeId, Option<RecordId>, W::Error>,
    realized: Memo<NodeId, Realized<W::Output>, W::Error>,
    /// Work in flight by content key: equal steps of different stages run once.
    flights: Memo<Key, Realized<W::Output>, W::Error>,
}

impl<W: Worker> fmt::Debug for Solver<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Solver").field("nodes", &self.graph.nodes.len()).finish_non_exhaustive()
    }
}

/// The memoised future of `key`, made on first use.
fn once<K: Eq + Hash, T: Clone, E: Clone>(
    memo: &Memo<K, T, E>,
    key: K,
    make: impl FnOnce() -> BoxFuture<'static, Result<T, E>>,
) -> Once<T, E> {
    let mut memo = memo.lock().unwrap_or_else(PoisonError::into_inner);
    memo.entry(key).or_insert_with(|| make().shared()).clone()
}

impl<W: Worker> Solver<W> {
    /// A solver of `graph`.
    pub fn new(worker: Arc<W>, graph: Graph<W::Selector>) -> Arc<Self> {
        Arc::new(Self {
            worker,
            graph,
            defined: Memo::default(),
            identified: Memo::default(),
            realized: Memo::default(),
            flights: Memo::default(),
        })
    }

    /// Realizes a node.
    ///
    /// # Errors
    /// That of the first step below it that failed; steps that ran beside it are dropped with the solver.
    pub async fn solve(self: &Arc<Self>, node: NodeId) -> Result<Realized<W::Output>, W::Error> {
        let _forget = ForgetOnDrop(self);
        self.realize(node).await
    }

    /// The records that the steps of the graph have, looked up without running anything: what a cache for others is made of.
    ///
    /// # Errors
    /// A source could not be looked at.
    pub async fn records(self: &Arc<Self>) -> Result<Vec<RecordId>, W::Error> {
        let _forget = ForgetOnDrop(self);
        let nodes = (0..self.graph.nodes.len()).map(|index| NodeId(index as u32));
        let steps = nodes.filter(|node| !self.graph.is_source(*node)).map(|node| self.identify(node));
        Ok(try_join_all(steps).await?.into_iter().flatten().collect())
    }

    /// Realizes several nodes side by side; what they share is realized once.
    ///
    /// # Errors
    /// As [`Solver::solve`].
    pub async fn solve_all(self: &Arc<Self>, nodes: &[NodeId]) -> Result<Vec<Realized<W::Output>>, W::Error> {
        let _forget = ForgetOnDrop(self);
        try_join_all(nodes.iter().map(|node| self.realize(*node))).await
    }

    fn define(self: &Arc<Self>, node: NodeId) -> Once<Key, W::Error> {
        let this = self.clone();
        once(&self.defined, node, || async move { this.define_now(node).await }.boxed())
    }

    async fn define_now(self: Arc<Self>, node: NodeId) -> Result<Key, W::Error> {
        if self.graph.no_cache(node) {
            return Ok(self.worker.fresh());
        }
        self.definition_key(node).await
    }

    async fn definition_key(self: &Arc<Self>, node: NodeId) -> Result<Key, W::Error> {
        let op = self.worker.op_key(node).await?;
        if self.graph.is_source(node) {
            return Ok(op);
        }
        let edges = self.graph.edges(node).iter().map(|edge| self.define_edge(edge));
        let edges = try_join_all(edges).await?;
        let mut hasher = KeyHasher::new("definition");
        hasher.part(&op.0);
        edges.iter().for_each(|key| {
            hasher.part(&key.0);
        });
        Ok(hasher.key())
    }

    /// An edge by definition: the content of a source, which is known without running, else the definition below.
    async fn define_edge(self: &Arc<Self>, edge: &Edge<W::Selector>) -> Result<Key, W::Error> {
        if let Some(selector) = &edge.selector
            && let Some(content) = self.known_content(edge.from, selector).await?
        {
            return Ok(content);
        }
        self.define(edge.from).await
    }

    async fn known_content(&self, node: NodeId, selector: &W::Selector) -> Result<Option<Key>, W::Error> {
        if !self.graph.is_source(node) {
            return Ok(None);
        }
        self.worker.source_content(node, selector).await
    }

    fn identify(self: &Arc<Self>, node: NodeId) -> Once<Option<RecordId>, W::Error> {
        let this = self.clone();
        once(&self.identified, node, || async move { this.identify_now(node).await }.boxed())
    }

    async fn identify_now(self: Arc<Self>, node: NodeId) -> Result<Option<RecordId>, W::Error> {
        if self.graph.no_cache(node) {
            return Ok(None);
        }
        if self.graph.is_source(node) {
            return Ok(Some(RecordId(self.define(node).await?.0)));
        }
        let definition = self.define(node).await?;
        if let Some(record) = self.worker.lookup(&definition).await {
            return Ok(Some(record));
        }
        let parts = self.graph.edges(node).iter().map(|edge| self.identify_edge(edge));
        let parts: Option<Vec<Part>> = try_join_all(parts).await?.into_iter().collect();
        let Some(parts) = parts else { return Ok(None) };
        let record = self.worker.lookup(&self.content_key(node, &parts).await?).await;
        if let Some(record) = &record {
            self.worker.alias(&definition, record).await;
        }
        Ok(record)
    }

    /// How an edge enters the content key, if that is known without running anything.
    async fn identify_edge(self: &Arc<Self>, edge: &Edge<W::Selector>) -> Result<Option<Part>, W::Error> {
        let Some(selector) = &edge.selector else {
            return Ok(self.identify(edge.from).await?.map(Part::Identity));
        };
        if let Some(content) = self.known_content(edge.from, selector).await? {
            return Ok(Some(Part::Content(content)));
        }
        if self.graph.is_source(edge.from) {
            let source = self.realize(edge.from).await?;
            return Ok(Some(Part::Content(self.worker.content(&source.output, selector).await?)));
        }
        let Some(record) = self.identify(edge.from).await? else { return Ok(None) };
        let Some(output) = self.worker.load(&record).await else { return Ok(None) };
        Ok(Some(Part::Content(self.worker.content(&output, selector).await?)))
    }

    async fn content_key(&self, node: NodeId, parts: &[Part]) -> Result<Key, W::Error> {
        let mut hasher = KeyHasher::new("content");
        hasher.part(&self.worker.op_key(node).await?.0);
        for part in parts {
            match part {
                Part::Identity(id) => hasher.part(b"identity").part(&id.0),
                Part::Content(key) => hasher.part(b"content").part(&key.0),
            };
        }
        Ok(hasher.key())
    }

    fn realize(self: &Arc<Self>, node: NodeId) -> Once<Realized<W::Output>, W::Error> {
        let this = self.clone();
        once(&self.realized, node, || async move { this.realize_now(node).await }.boxed())
    }

    async fn realize_now(self: Arc<Self>, node: NodeId) -> Result<Realized<W::Output>, W::Error> {
        if self.graph.is_source(node) {
            let id = RecordId(self.define(node).await?.0);
            return Ok(Realized { id, output: self.worker.run(node, Vec::new(), &[]).await? });
        }
        if let Some(id) = self.identify(node).await?
            && let Some(found) = self.load(node, id).await
        {
            return Ok(found);
        }
        let edges = self.graph.edges(node);
        let inputs = try_join_all(edges.iter().map(|edge| self.realize(edge.from))).await?;
        let parts =
            try_join_all(edges.iter().zip(&inputs).map(|(edge, input)| self.realized_part(edge, input))).await?;
        let content = self.content_key(node, &parts).await?;
        if self.graph.no_cache(node) {
            return self.run(node, content, inputs, parts).await;
        }
        if let Some(id) = self.worker.lookup(&content).await
            && let Some(found) = self.load(node, id).await
        {
            return Ok(found);
        }
        let this = self.clone();
        once(&self.flights, content, || async move { this.run(node, content, inputs, parts).await }.boxed()).await
    }

    async fn load(&self, node: NodeId, id: RecordId) -> Option<Realized<W::Output>> {
        let output = self.worker.load(&id).await?;
        self.worker.found(node, &id);
        Some(Realized { id, output })
    }

    async fn realized_part(&self, edge: &Edge<W::Selector>, input: &Realized<W::Output>) -> Result<Part, W::Error> {
        let Some(selector) = &edge.selector else { return Ok(Part::Identity(input.id)) };
        if let Some(content) = self.known_content(edge.from, selector).await? {
            return Ok(Part::Content(content));
        }
        Ok(Part::Content(self.worker.content(&input.output, selector).await?))
    }

    async fn run(
        self: &Arc<Self>,
        node: NodeId,
        content: Key,
        inputs: Vec<Realized<W::Output>>,
        parts: Vec<Part>,
    ) -> Result<Realized<W::Output>, W::Error> {
        let inputs = inputs.into_iter().map(|input| input.output).collect();
        let output = self.worker.run(node, inputs, &parts).await?;
        // A content key is the same on every machine, so it is the best identity. A step that was told not to use the
        // cache may have made something else than the last time: its dependants must not find what was made from that.
        let id = RecordId(if self.graph.no_cache(node) { self.worker.fresh().0 } else { content.0 });
        let names = vec![self.definition_key(node).await?, content];
        let saved = Saved { id, names, parts };
        self.worker.save(node, &saved, &output).await;
        Ok(Realized { id, output })
    }
}

/// The memos hold futures that hold the solver: unless they are emptied, neither is ever freed, and what runs for a
/// solve that its caller gave up would go on.
struct ForgetOnDrop<'a, W: Worker>(&'a Solver<W>);

impl<W: Worker> Drop for ForgetOnDrop<'_, W> {
    fn drop(&mut self) {
        forget(&self.0.realized);
        forget(&self.0.flights);
        forget(&self.0.identified);
        forget(&self.0.defined);
    }
}

fn forget<K, T: Clone, E: Clone>(memo: &Memo<K, T, E>) {
    // Dropped outside the lock: a future's own drop may look into the memo.
    let futures = std::mem::take(&mut *memo.lock().unwrap_or_else(PoisonError::into_inner));
    drop(futures);
}
