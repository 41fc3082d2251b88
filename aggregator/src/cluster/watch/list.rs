//! Complete lists, in pages or as a stream.
//!
//! Owns the two ways and how each one ends. Must not know what happens when a list fails.

use super::{LIST_PROGRESS, Watch, body::Lines, decode, failure::Failure, request::Ask};
use crate::cluster::{change::Found, wire::Frame};

/// Reads page after page; gives the version from which a watch goes on.
pub(super) async fn paged(watch: &Watch, epoch: u32, found: Found) -> Result<String, Failure> {
    let mut token = String::new();
    loop {
        let mut lines = watch.ask(Ask::Page { token: &token }).await?;
        let text = lines.page(LIST_PROGRESS).await?;
        let (meta, items) = decode::page(watch.kind, &text).map_err(|error| Failure::unreadable(&error))?;
        drop(text);
        watch.index.put(&items, epoch, found);
        if meta.r#continue.is_empty() {
            return Ok(meta.resource_version);
        }
        token = meta.r#continue;
    }
}

/// Reads the objects that begin a watch until the mark of their end; gives the version and the watch, which goes on.
///
/// A server that does not know the parameter refuses it, or sends objects and then an ordinary bookmark, or never says that
/// the list is complete. All three ask for pages.
pub(super) async fn streamed(watch: &Watch, epoch: u32, found: Found) -> Result<(String, Lines), Failure> {
    let mut lines = watch.ask(Ask::Stream).await?;
    while let Some(line) = lines.next(LIST_PROGRESS).await? {
        let frame = match decode::frame(watch.kind, &line) {
            Ok(frame) => frame,
            Err(error) => {
                watch.skip(&error);
                continue;
            }
        };
        match frame {
            Frame::Added(item) => watch.index.put(&[item], epoch, found),
            // Initial objects are only ever added: this is the life of a server that sends no mark.
            Frame::Modified(_) | Frame::Deleted(_) => return Err(Failure::NoStream),
            Frame::Bookmark(bookmark) if bookmark.metadata.annotations.initial_events_end == "true" => {
                return Ok((bookmark.metadata.resource_version, lines));
            }
            Frame::Bookmark(_) => return Err(Failure::NoStream),
            Frame::Error(status) => return Err(Failure::of(&status)),
        }
    }
    Err(Failure::NoStream)
}
