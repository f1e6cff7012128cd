//! Which things go, in which order: pure arithmetic over the graph. Does not know files or rows.

use std::collections::HashMap;

use super::graph::{Freed, Graph};
use super::{Kind, PruneOptions, Report};

/// What the choice depends on besides the rows.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Seconds since 1970.
    pub(crate) now: i64,
    /// Bytes free on the file system, if it says.
    pub(crate) free: Option<u64>,
    /// Things to remove at most.
    pub(crate) count: usize,
}

/// Rows to delete, and what to say of them.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) images: Vec<String>,
    pub(crate) layers: Vec<String>,
    pub(crate) blobs: Vec<String>,
    pub(crate) cache_mounts: Vec<String>,
    pub(crate) report: Report,
    pub(crate) more: bool,
}

/// Something that may go, in the order of last use.
#[derive(Debug)]
struct Candidate {
    kind: Kind,
    id: String,
    /// Into the graph's list of its kind.
    index: usize,
    used: i64,
    /// Goes whatever the options say: a record that no longer counts.
    dead: bool,
}

impl Plan {
    /// Chooses from `graph`; `mounts` are the bytes of cache mounts.
    pub(crate) fn make(
        mut graph: Graph,
        mounts: &HashMap<String, u64>,
        options: &PruneOptions,
        limits: &Limits,
    ) -> Self {
        let mut candidates = candidates(&graph, options);
        candidates.retain(|candidate| candidate.dead || matches(candidate, options, limits.now));
        candidates.sort_by(|a, b| (!a.dead, a.used, a.kind, &a.id).cmp(&(!b.dead, b.used, b.kind, &b.id)));
        let mut left = graph.bytes() + mounts.values().sum::<u64>();
        let target = target(left, options, limits);
        let mut plan = Self::default();
        for candidate in candidates {
            if !candidate.dead && left <= target && target > 0 {
                break;
            }
            if plan.report.removed.len() >= limits.count {
                plan.more = true;
                break;
            }
            let bytes = plan.take(&mut graph, &candidate, mounts);
            left = left.saturating_sub(bytes);
            plan.report.add(candidate.kind, candidate.id, bytes);
        }
        plan
    }

    /// Those of these blobs that nothing refers to.
    pub(crate) fn of_blobs(mut graph: Graph, digests: &[String]) -> Self {
        let mut plan = Self::default();
        for digest in digests {
            if graph.blobs.get(digest).is_none_or(|blob| blob.refs > 0) {
                continue;
            }
            let mut freed = Freed::default();
            graph.drop_blob(digest, &mut freed);
            plan.report.add(Kind::Blob, digest, freed.bytes);
            plan.blobs.append(&mut freed.blobs);
        }
        plan
    }

    fn take(&mut self, graph: &mut Graph, candidate: &Candidate, mounts: &HashMap<String, u64>) -> u64 {
        let mut freed = Freed::default();
        match candidate.kind {
            Kind::Record => {
                self.records.extend(graph.records.get(candidate.index).map(|record| record.id.clone()));
                freed = graph.drop_record(candidate.index);
            }
            Kind::Image => {
                self.images.push(candidate.id.clone());
                freed = graph.drop_image(candidate.index);
            }
            Kind::CacheMount => {
                self.cache_mounts.push(candidate.id.clone());
                return mounts.get(&candidate.id).copied().unwrap_or(0);
            }
            Kind::Layer => graph.drop_layer(&candidate.id, &mut freed),
            Kind::Blob => graph.drop_blob(&candidate.id, &mut freed),
            Kind::Leftover => {}
        }
        self.layers.append(&mut freed.layers);
        self.blobs.append(&mut freed.blobs);
        freed.bytes
    }
}

/// Bytes to come down to; 0 is everything.
fn target(used: u64, options: &PruneOptions, limits: &Limits) -> u64 {
    let reserved = options.reserved_bytes.unwrap_or(0);
    if options.max_used_bytes.is_none() && options.min_free_bytes.is_none() {
        return reserved;
    }
    let mut target = options.max_used_bytes.unwrap_or(used);
    if let (Some(min_free), Some(free)) = (options.min_free_bytes, limits.free) {
        target = target.min(used.saturating_sub(min_free.saturating_sub(free)));
    }
    // 0 means everything, so a wish for no bytes at all is one byte: nothing that has bytes stays.
    target.max(reserved).max(1)
}

fn matches(candidate: &Candidate, options: &PruneOptions, now: i64) -> bool {
    let old = options.unused_for_secs.is_none_or(|secs| candidate.used <= now.saturating_sub(secs));
    let kind = options.kinds.is_empty() || options.kinds.contains(&candidate.kind);
    let bare = candidate.id.strip_prefix("sha256:").unwrap_or(&candidate.id);
    let named =
        |id: &String| !id.is_empty() && (bare.starts_with(id.as_str()) || candidate.id.starts_with(id.as_str()));
    old && kind && (options.ids.is_empty() || options.ids.iter().any(named))
}

fn candidates(graph: &Graph, options: &PruneOptions) -> Vec<Candidate> {
    let mut out = Vec::new();
    let mut push = |kind, id: String, index, used, dead| out.push(Candidate { kind, id, index, used, dead });
    for (index, record) in graph.records.iter().enumerate() {
        let in_use = record.layers.iter().any(|id| graph.layers.get(id).is_some_and(|layer| layer.held));
        let of_image = !record.layers.is_empty() && record.layers.iter().all(|id| graph.in_images.contains(id));
        if !record.current || (!in_use && (options.all || !of_image)) {
            push(Kind::Record, hex(&record.id), index, record.used, !record.current);
        }
    }
    for (index, image) in graph.images.iter().enumerate().filter(|(_, image)| image.names.is_empty()) {
        let held = graph.blobs.get(&image.digest).is_some_and(|blob| blob.held);
        if !held {
            push(Kind::Image, image.digest.clone(), index, image.created, false);
        }
    }
    for (index, mount) in graph.cache_mounts.iter().enumerate().filter(|(_, mount)| !mount.held) {
        push(Kind::CacheMount, mount.id.clone(), index, mount.used, false);
    }
    for (id, layer) in graph.layers.iter().filter(|(_, layer)| layer.refs == 0) {
        push(Kind::Layer, id.clone(), 0, layer.used, false);
    }
    for (digest, blob) in graph.blobs.iter().filter(|(_, blob)| blob.refs == 0) {
        push(Kind::Blob, digest.clone(), 0, blob.used, false);
    }
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Blob, Layer, RecordNode};
    use super::*;

    /// Three records of one layer of 10 bytes each, and a fourth that shares the first's; used at 1, 2, 3, 4.
    fn graph() -> Graph {
        let mut graph = Graph::default();
        for (n, layer) in [(1, "a"), (2, "b"), (3, "c"), (4, "a")] {
            graph.records.push(RecordNode {
                id: vec![n],
                step: String::new(),
                used: n.into(),
                layers: vec![layer.into()],
                detail: None,
                current: true,
            });
            graph.layers.entry(layer.into()).or_insert(Layer { size: 10, ..Layer::default() }).refs += 1;
        }
        graph.blobs.insert("loose".into(), Blob { size: 1, used: 9, ..Blob::default() });
        graph
    }

    #[track_caller]
    fn check(options: PruneOptions, expect: &str) {
        let limits = Limits { now: 10, free: Some(0), count: usize::MAX };
        let plan = Plan::make(graph(), &HashMap::new(), &options, &limits);
        let found: Vec<String> =
            plan.report.removed.iter().map(|removed| format!("{}:{}", removed.id, removed.bytes)).collect();
        assert_eq!(found.join(" "), expect);
    }

    #[test]
    fn the_least_recently_used_go_first_and_shared_layers_with_their_last_record() {
        check(PruneOptions::default(), "01:0 02:10 03:10 04:10 loose:1");
    }

    #[test]
    fn filters_choose() {
        check(PruneOptions { unused_for_secs: Some(8), ..Default::default() }, "01:0 02:10");
        check(PruneOptions { kinds: vec![Kind::Blob], ..Default::default() }, "loose:1");
        check(PruneOptions { ids: vec!["03".into()], ..Default::default() }, "03:10");
        check(PruneOptions { ids: vec![String::new()], ..Default::default() }, "");
    }

    #[test]
    fn space_limits_stop_in_time() {
        check(PruneOptions { max_used_bytes: Some(21), ..Default::default() }, "01:0 02:10");
        check(PruneOptions { reserved_bytes: Some(11), ..Default::default() }, "01:0 02:10 03:10");
        check(PruneOptions { min_free_bytes: Some(5), ..Default::default() }, "01:0 02:10");
        check(PruneOptions { max_used_bytes: Some(0), reserved_bytes: Some(25), ..Default::default() }, "01:0 02:10");
        check(PruneOptions { max_used_bytes: Some(31), ..Default::default() }, "");
    }

    #[test]
    fn a_limit_leaves_more_to_do() {
        let limits = Limits { now: 10, free: None, count: 2 };
        let plan = Plan::make(graph(), &HashMap::new(), &PruneOptions::default(), &limits);
        assert_eq!((plan.records.len(), plan.more), (2, true));
    }
}
