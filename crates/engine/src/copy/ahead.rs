//! Opens and reads the files of a copy ahead of whoever writes them: thousands of small files cost more to open than to pack.
//!
//! Does not know where they go.

use std::io::{Cursor, Read};
use std::sync::mpsc::{Receiver, sync_channel};

use cooper_oci::{Entry, EntryKind};

use super::Data;
use crate::Result;

/// Files up to this size are read whole; larger ones are only opened.
const SMALL: u64 = 128 << 10;
/// Files that wait to be written: with [`SMALL`], at most 4 MiB.
const WAITING: usize = 32;

type Bytes = Box<dyn Read + Send>;

/// Calls `write` with each entry and its bytes, in order, while a thread reads what comes next.
pub(crate) fn each_read_ahead(
    entries: &[(Entry, Data)],
    mut write: impl FnMut(&Entry, &Data, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING);
        let read = move || entries.iter().try_for_each(|(entry, data)| sender.send(load(entry, data)).ok());
        // Without the thread nothing comes from it, and everything is opened here.
        let _ = std::thread::Builder::new().name("read-ahead".into()).spawn_scoped(scope, read);
        write_all(entries, &receiver, &mut write)
    })
}

fn write_all(
    entries: &[(Entry, Data)],
    ahead: &Receiver<Result<Bytes>>,
    write: &mut impl FnMut(&Entry, &Data, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    for (entry, data) in entries {
        let mut bytes = ahead.recv().unwrap_or_else(|_| data.open())?;
        write(entry, data, &mut bytes)?;
    }
    Ok(())
}

/// The bytes of an entry, in memory if they are few. One more than there should be is asked for, so that a file that
/// grew is noticed; what cannot be read is left to whoever asks again, who knows what to call it.
fn load(entry: &Entry, data: &Data) -> Result<Bytes> {
    let opened = data.open()?;
    let EntryKind::File { size: size @ ..=SMALL } = entry.kind else { return Ok(opened) };
    let mut bytes = Vec::with_capacity(size as usize + 1);
    match opened.take(size + 1).read_to_end(&mut bytes) {
        Ok(_) => Ok(Box::new(Cursor::new(bytes))),
        Err(_) => data.open(),
    }
}
