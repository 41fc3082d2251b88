//! One watch of incidents: the current ones when asked, then every change.
//!
//! Owns the order of these, and that a slow watcher learns what it missed: its queue is the pipeline's, which drops the
//! oldest news and counts them.

use std::{collections::VecDeque, sync::Arc};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use inquest_proto::query::v1::WatchIncidentsResponse;
use inquest_shared::model::Incident;
use tokio::sync::{OwnedSemaphorePermit, broadcast, broadcast::error::RecvError};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    filter::matches,
    page,
    query::with_deliveries,
    status::{of_store, stopping},
};
use crate::{
    record::{Cursor, Filter, Scope},
    store::{Store, cursor_of_incident},
};

type Item = Result<WatchIncidentsResponse, Status>;

/// What one watcher wants and how far it has come.
pub(super) struct Watch {
    store: Arc<dyn Store>,
    changes: broadcast::Receiver<Arc<Incident>>,
    scope: Scope,
    filter: Filter,
    current: Current,
    _permit: OwnedSemaphorePermit,
}

/// Progress through the incidents that were open at the start; read page by page, as fast as the watcher takes them.
#[derive(Default)]
struct Current {
    page: VecDeque<Incident>,
    after: Option<Cursor>,
    more: bool,
}

impl Watch {
    /// The permit is given back when the watch ends.
    pub(super) fn new(
        store: Arc<dyn Store>,
        changes: broadcast::Receiver<Arc<Incident>>,
        scope: Scope,
        filter: Filter,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            store,
            changes,
            scope,
            filter,
            current: Current::default(),
            _permit: permit,
        }
    }

    /// The answers. The last one is an error: `stop` was cancelled, or the store failed.
    pub(super) fn stream(mut self, include_current: bool, stop: CancellationToken) -> BoxStream<'static, Item> {
        self.current.more = include_current;
        stream::unfold(Some(self), move |watch| {
            let stop = stop.clone();
            async move {
                let mut watch = watch?;
                let item = tokio::select! {
                    biased;
                    () = stop.cancelled() => Err(stopping()),
                    item = watch.next() => item,
                };
                let go_on = item.is_ok().then_some(watch);
                Some((item, go_on))
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Item {
        while let Some(incident) = self.next_current().await? {
            if matches(&self.scope, &self.filter, &incident) {
                return self.answer(&incident).await;
            }
        }
        loop {
            match self.changes.recv().await {
                Ok(incident) if matches(&self.scope, &self.filter, &incident) => return self.answer(&incident).await,
                Ok(_) => {}
                // Told at once and without an incident: the next matching change may be hours away.
                Err(RecvError::Lagged(_)) => {
                    return Ok(WatchIncidentsResponse {
                        incident: None,
                        lagged: true,
                    });
                }
                Err(RecvError::Closed) => return Err(stopping()),
            }
        }
    }

    async fn next_current(&mut self) -> Result<Option<Incident>, Status> {
        if self.current.page.is_empty() && self.current.more {
            let filter = Filter {
                open_only: true,
                ..self.filter.clone()
            };
            let limit = page::DEFAULT_SIZE;
            let found = self
                .store
                .list_incidents(&self.scope, &filter, self.current.after.as_ref(), limit)
                .await;
            let found = found.map_err(|error| of_store(&error))?;
            self.current.more = u32::try_from(found.len()).is_ok_and(|len| len >= limit);
            self.current.after = found.last().map(cursor_of_incident);
            self.current.page = found.into();
        }
        Ok(self.current.page.pop_front())
    }

    async fn answer(&self, incident: &Incident) -> Item {
        let deliveries = self
            .store
            .deliveries(incident.id)
            .await
            .map_err(|error| of_store(&error))?;
        Ok(WatchIncidentsResponse {
            incident: Some(with_deliveries(incident, &deliveries)),
            lagged: false,
        })
    }
}
