//! Images by name and by digest, and what registries said their tags are. Does not know what an image holds beyond
//! the digest of its config.

use cooper_oci::{Descriptor, Digest, Manifest, Reference};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{Error, ErrorKind, Result, Store, images_index};

/// `index.json` is to be written while `changed` and `written` of `index_state` differ. `descriptor` is its JSON. `config` is the digest of an image's config, which `docker` calls the image's id.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS images(
    digest TEXT PRIMARY KEY, descriptor TEXT NOT NULL, config TEXT, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags(
    name TEXT PRIMARY KEY, digest TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_digest ON tags(digest);
CREATE TABLE IF NOT EXISTS remote_tags(
    name TEXT PRIMARY KEY, descriptor TEXT NOT NULL, fetched INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS index_state(id INTEGER PRIMARY KEY CHECK(id = 1), changed INTEGER NOT NULL, written INTEGER NOT NULL);
INSERT OR IGNORE INTO index_state(id, changed, written) VALUES(1, 0, 0);
";

/// image-spec and registries keep manifests and indexes under 4 MiB.
pub(crate) const MANIFEST_MAX: u64 = 4 << 20;

/// Shorter prefixes of an id are names to people, not ids.
const PREFIX_MIN: usize = 4;

/// Names shown when none, or more than one, is meant.
const SHOWN: usize = 5;

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name; an image of several names is listed once for each, one of none is dangling.
    pub name: Option<Reference>,
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// The digest of its config; `None` for an index.
    pub config: Option<Digest>,
    /// When this name was given, or the image made: seconds since 1970.
    pub created_at: i64,
}

const SELECT: &str = "SELECT tags.name, images.descriptor, images.config, coalesce(tags.created, images.created)
    FROM images LEFT JOIN tags USING(digest)";

impl Store {
    /// Records an image without a name. Everything written so far is made durable first.
    pub fn add_image(&self, descriptor: &Descriptor) -> Result<()> {
        self.put_image(descriptor, None)
    }

    /// Names an image, taking the name from the one that had it. Everything written so far is made durable first, so that
    /// a name never outlives what it names.
    pub fn tag(&self, name: &Reference, descriptor: &Descriptor) -> Result<()> {
        self.put_image(descriptor, Some(name))
    }

    fn put_image(&self, descriptor: &Descriptor, name: Option<&Reference>) -> Result<()> {
        self.durable()?;
        let row = self.image_row(descriptor, name)?;
        self.tree().step("image.row")?;
        self.db().write_durable(|c| row.insert(c))?;
        images_index::write(self)
    }

    pub(crate) fn image_row(&self, descriptor: &Descriptor, name: Option<&Reference>) -> Result<ImageRow> {
        Ok(ImageRow {
            digest: descriptor.digest.to_string(),
            json: to_json(descriptor)?,
            config: self.config_of(descriptor)?.map(|digest| digest.to_string()),
            name: name.map(ToString::to_string),
            now: self.now(),
        })
    }

    /// Takes a name away; the image stays until it is pruned. `false` when nothing has the name.
    pub fn untag(&self, name: &Reference) -> Result<bool> {
        let removed = self.db().write_durable(|c| {
            images_index::mark(c)?;
            c.execute("DELETE FROM tags WHERE name = ?1", [name.to_string()])
        })?;
        images_index::write(self)?;
        Ok(removed > 0)
    }

    /// Forgets an image that has no name left; its blobs stay until they are pruned. `false` when there is none, or when it has
    /// a name: another process may have given it one a moment ago.
    pub fn remove_unnamed(&self, digest: &Digest) -> Result<bool> {
        let sql = "DELETE FROM images WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM tags WHERE digest = ?1)";
        let removed = self.db().write_durable(|c| {
            images_index::mark(c)?;
            c.execute(sql, [digest.to_string()])
        })?;
        images_index::write(self)?;
        Ok(removed > 0)
    }

    /// The image of a name.
    pub fn image(&self, name: &Reference) -> Result<Option<Descriptor>> {
        let sql = "SELECT descriptor FROM tags JOIN images USING(digest) WHERE name = ?1";
        let json: Option<String> =
            self.db().read(|c| c.prepare_cached(sql)?.query_row([name.to_string()], |row| row.get(0)).optional())?;
        json.as_deref().map(from_json).transpose()
    }

    /// Every image, by name, dangling ones last.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.select_images("ORDER BY tags.name IS NULL, tags.name, images.digest", &[])
    }

    /// The image of exactly this name.
    pub fn named(&self, name: &Reference) -> Result<Option<Image>> {
        Ok(self.select_images("WHERE tags.name = ?1", &[&name.to_string()])?.into_iter().next())
    }

    /// The images whose names are of this registry, or of one repository of it, by name.
    pub fn images_of(&self, registry: &str, repository: Option<&str>) -> Result<Vec<Image>> {
        // What starts with `registry/` lies before `registry0`, and `repository:` before `repository;`.
        let (from, to) = match repository {
            Some(repository) => (format!("{registry}/{repository}:"), format!("{registry}/{repository};")),
            None => (format!("{registry}/"), format!("{registry}0")),
        };
        self.select_images("WHERE tags.name > ?1 AND tags.name < ?2 ORDER BY tags.name", &[&from, &to])
    }

    /// The image that a person means: by name, digest, or prefix of the digest of its manifest or config.
    pub fn resolve(&self, text: &str) -> Result<Image> {
        let name = text.parse::<Reference>().ok();
        if let Some(name) = name.as_ref().filter(|name| name.digest().is_none())
            && let Some(image) = self.named(name)?
        {
            return Ok(image);
        }
        if let Some(digest) = name.as_ref().and_then(Reference::digest) {
            return self.one_of(text, self.by_prefix(&digest.to_string())?);
        }
        self.one_of(text, self.by_prefix(text)?)
    }

    /// What a registry said a tag is, and when (seconds since 1970).
    pub fn remote_tag(&self, name: &Reference) -> Result<Option<(Descriptor, i64)>> {
        let sql = "SELECT descriptor, fetched FROM remote_tags WHERE name = ?1";
        let row: Option<(String, i64)> = self.db().read(|c| {
            c.prepare_cached(sql)?.query_row([name.to_string()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        row.map(|(json, fetched)| Ok((from_json(&json)?, fetched))).transpose()
    }

    /// Remembers what a registry said a tag is.
    pub fn set_remote_tag(&self, name: &Reference, descriptor: &Descriptor) -> Result<()> {
        let (json, now) = (to_json(descriptor)?, self.now());
        self.db().write(|c| {
            c.prepare_cached("INSERT OR REPLACE INTO remote_tags(name, descriptor, fetched) VALUES(?1, ?2, ?3)")?
                .execute(params![name.to_string(), json, now])
                .map(drop)
        })
    }

    fn by_prefix(&self, text: &str) -> Result<Vec<Image>> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() < PREFIX_MIN || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            let exact = text.parse::<Digest>().is_ok();
            return if exact { self.select_images("WHERE images.digest = ?1", &[text]) } else { Ok(Vec::new()) };
        }
        let filter = "WHERE images.digest GLOB ?1 OR images.config GLOB ?1 ORDER BY tags.name IS NULL, tags.name";
        self.select_images(filter, &[&format!("sha256:{hex}*")])
    }

    fn one_of(&self, text: &str, found: Vec<Image>) -> Result<Image> {
        let Some(first) = found.first() else { return Err(self.no_image(text)) };
        if found.iter().all(|image| image.descriptor.digest == first.descriptor.digest) {
            return Ok(first.clone());
        }
        let shown: Vec<String> = found.iter().take(SHOWN).map(shown).collect();
        Err(Error::new(ErrorKind::Ambiguous, format!("`{text}` could be any of {} images", found.len()))
            .with_hint(format!("write more of the id: {}", shown.join(", "))))
    }

    fn no_image(&self, text: &str) -> Error {
        let error = Error::new(ErrorKind::NotFound, format!("no image `{text}` in the store"));
        let near = self.images().map(|images| near(text, &images)).unwrap_or_default();
        if near.is_empty() {
            error.with_hint("`cooper images` lists them")
        } else {
            error.with_hint(format!("did you mean {}?", near.join(", ")))
        }
    }

    fn select_images(&self, filter: &str, arguments: &[&str]) -> Result<Vec<Image>> {
        let sql = format!("{SELECT} {filter}");
        let rows = self.db().read(|c| {
            let mut statement = c.prepare_cached(&sql)?;
            let rows = statement.query_map(rusqlite::params_from_iter(arguments), raw_image)?;
            rows.collect::<rusqlite::Result<Vec<RawImage>>>()
        })?;
        rows.into_iter().map(image).collect()
    }

    /// The config of an image whose manifest is in the store.
    fn config_of(&self, descriptor: &Descriptor) -> Result<Option<Digest>> {
        if !descriptor.media_type.is_manifest() || !self.has_blob(&descriptor.digest)? {
            return Ok(None);
        }
        let bytes = self.read_blob(&descriptor.digest, MANIFEST_MAX)?;
        Ok(serde_json::from_slice::<Manifest>(&bytes).ok().map(|manifest| manifest.config.digest))
    }
}

/// An image on its way into the tables.
#[derive(Clone, Debug)]
pub(crate) struct ImageRow {
    digest: String,
    json: String,
    config: Option<String>,
    name: Option<String>,
    now: i64,
}

impl ImageRow {
    /// Of a manifest or index whose bytes are at hand.
    pub(crate) fn of_bytes(descriptor: &Descriptor, bytes: &[u8], now: i64) -> Result<Self> {
        let manifest = descriptor.media_type.is_manifest().then(|| serde_json::from_slice::<Manifest>(bytes).ok());
        let config = manifest.flatten().map(|manifest| manifest.config.digest.to_string());
        Ok(Self { digest: descriptor.digest.to_string(), json: to_json(descriptor)?, config, name: None, now })
    }

    /// Enters the image under a name.
    pub(crate) fn insert_named(&self, c: &Connection, name: &Reference) -> rusqlite::Result<()> {
        Self { name: Some(name.to_string()), ..self.clone() }.insert(c)
    }

    pub(crate) fn insert(&self, c: &Connection) -> rusqlite::Result<()> {
        images_index::mark(c)?;
        c.prepare_cached("INSERT OR IGNORE INTO images(digest, descriptor, config, created) VALUES(?1, ?2, ?3, ?4)")?
            .execute(params![self.digest, self.json, self.config, self.now])?;
        let Some(name) = &self.name else { return Ok(()) };
        // What a registry meant by the name is not what it means from now on.
        c.prepare_cached("DELETE FROM remote_tags WHERE name = ?1")?.execute([name])?;
        c.prepare_cached("INSERT OR REPLACE INTO tags(name, digest, created) VALUES(?1, ?2, ?3)")?
            .execute(params![name, self.digest, self.now])
            .map(drop)
    }
}

type RawImage = (Option<String>, String, Option<String>, i64);

fn raw_image(row: &Row<'_>) -> rusqlite::Result<RawImage> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn image((name, descriptor, config, created_at): RawImage) -> Result<Image> {
    Ok(Image {
        name: name.map(|name| name.parse()).transpose()?,
        descriptor: from_json(&descriptor)?,
        config: config.map(|digest| digest.parse()).transpose()?,
        created_at,
    })
}

/// Digests that have a name, each once.
pub(crate) fn tagged(c: &Connection) -> rusqlite::Result<Vec<(String, Option<String>, String)>> {
    let sql = "SELECT images.digest, tags.name, images.descriptor FROM images LEFT JOIN tags USING(digest) ORDER BY tags.name";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

fn shown(image: &Image) -> String {
    let id = image.config.as_ref().unwrap_or(&image.descriptor.digest).short().to_owned();
    image.name.as_ref().map_or(id.clone(), |name| format!("{} ({id})", name.familiar()))
}

/// Names of the same repository first, then those that contain what was written.
fn near(text: &str, images: &[Image]) -> Vec<String> {
    let names: Vec<String> = images.iter().filter_map(|image| image.name.as_ref().map(Reference::familiar)).collect();
    let repository = text.split([':', '@']).next().unwrap_or(text);
    let of =
        |test: &dyn Fn(&str) -> bool| names.iter().filter(|name| test(name)).take(SHOWN).cloned().collect::<Vec<_>>();
    let same = of(&|name| name.split(':').next() == Some(repository));
    if !same.is_empty() || repository.is_empty() {
        return same;
    }
    let bare = |name: &str| name.split(':').next().unwrap_or(name).to_owned();
    let part_of = of(&|name| name.contains(repository) || repository.contains(&bare(name)));
    if part_of.is_empty() { of(&|name| misspelt(repository, &bare(name))) } else { part_of }
}

/// Whether one of two names is the other with at most two letters wrong, missing or too many: two that changed places
/// are the commonest mistake.
fn misspelt(one: &str, other: &str) -> bool {
    const EDITS_MAX: usize = 2;
    // Longer names are not worth the time, and a short one has nothing left after two edits.
    const LETTERS: std::ops::RangeInclusive<usize> = 3..=128;
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if !LETTERS.contains(&one.len()) || !LETTERS.contains(&other.len()) || one.len().abs_diff(other.len()) > EDITS_MAX {
        return false;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, against) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != against);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()] <= EDITS_MAX
}

pub(crate) fn to_json(descriptor: &Descriptor) -> Result<String> {
    serde_json::to_string(descriptor)
        .map_err(|error| Error::new(ErrorKind::Invalid, "cannot write a descriptor as JSON").with_source(error))
}

pub(crate) fn from_json(text: &str) -> Result<Descriptor> {
    serde_json::from_str(text)
        .map_err(|error| Error::new(ErrorKind::Corrupt, "a descriptor in the database is not JSON").with_source(error))
}
