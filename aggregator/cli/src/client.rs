//! Questions to one aggregator.
//!
//! Owns connection, deadlines and paging. Must not know what answers are shown as.

use std::time::Duration;

use inquest_proto::query::v1::{
    Filter, GetIncidentRequest, GetLogRequest, GetLogResponse, Incident, ListDeliveriesRequest, ListDeliveriesResponse,
    ListFindingsRequest, ListFindingsResponse, ListIncidentsRequest, ListIncidentsResponse, ListNodesRequest,
    ListNodesResponse, WatchIncidentsRequest, WatchIncidentsResponse, query_service_client::QueryServiceClient,
};
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::{cli::Server, error::CliError};

/// Longest wait for a connection and for each answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// A dead connection under a silent stream is noticed after this time and as much again.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Most records of one page (the API's own limit).
const MAX_PAGE: u32 = 1000;
/// Largest answer; a page of 1000 incidents, each with 32 facts, stays below it.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A connection to the query service. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    server: Server,
    query: QueryServiceClient<Channel>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(server: &Server) -> Result<Self, CliError> {
        let failed = |error| CliError::Connect {
            server: server.clone(),
            reason: root(&error),
        };
        let endpoint = Endpoint::from_shared(server.url().to_owned()).map_err(failed)?;
        let endpoint = endpoint
            .connect_timeout(DEADLINE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect().await.map_err(failed)?;
        let query = QueryServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        Ok(Self {
            server: server.clone(),
            query,
        })
    }

    fn refused(&self, call: &'static str) -> impl FnOnce(Status) -> CliError + use<> {
        let server = self.server.clone();
        move |status| CliError::Refused {
            server,
            call,
            status: Box::new(status),
        }
    }

    /// At most `limit` incidents. A page token in the answer says that there are more.
    pub(crate) async fn incidents(&self, filter: &Filter, limit: u32) -> Result<ListIncidentsResponse, CliError> {
        let mut all = ListIncidentsResponse::default();
        let mut next = Some(limit.min(MAX_PAGE));
        while let Some(page_size) = next {
            let request = ListIncidentsRequest {
                filter: Some(filter.clone()),
                page_size,
                page_token: std::mem::take(&mut all.next_page_token),
            };
            let answer = self.query.clone().list_incidents(within(request)).await;
            let page = answer.map_err(self.refused("list incidents"))?.into_inner();
            all.incidents.extend(page.incidents);
            all.next_page_token = page.next_page_token;
            next = next_page(limit, all.incidents.len(), &all.next_page_token);
        }
        Ok(all)
    }

    /// At most `limit` findings. A page token in the answer says that there are more.
    pub(crate) async fn findings(&self, filter: &Filter, limit: u32) -> Result<ListFindingsResponse, CliError> {
        let mut all = ListFindingsResponse::default();
        let mut next = Some(limit.min(MAX_PAGE));
        while let Some(page_size) = next {
            let request = ListFindingsRequest {
                filter: Some(filter.clone()),
                page_size,
                page_token: std::mem::take(&mut all.next_page_token),
            };
            let answer = self.query.clone().list_findings(within(request)).await;
            let page = answer.map_err(self.refused("list findings"))?.into_inner();
            all.findings.extend(page.findings);
            all.next_page_token = page.next_page_token;
            next = next_page(limit, all.findings.len(), &all.next_page_token);
        }
        Ok(all)
    }

    /// One incident with its notifications.
    pub(crate) async fn incident(&self, id: &str) -> Result<Incident, CliError> {
        let request = within(GetIncidentRequest { id: id.to_owned() });
        let answer = self
            .query
            .clone()
            .get_incident(request)
            .await
            .map_err(self.refused("find the incident"))?;
        answer.into_inner().incident.ok_or(CliError::Empty {
            call: "find the incident",
        })
    }

    /// The log tail of a finding, if one was captured.
    pub(crate) async fn log(&self, finding_key: String) -> Result<Option<GetLogResponse>, CliError> {
        match self.query.clone().get_log(within(GetLogRequest { finding_key })).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.refused("give the log")(status)),
        }
    }

    /// At most `limit` notifications. A page token in the answer says that there are more.
    pub(crate) async fn deliveries(
        &self,
        asked: ListDeliveriesRequest,
        limit: u32,
    ) -> Result<ListDeliveriesResponse, CliError> {
        let mut all = ListDeliveriesResponse::default();
        let mut next = Some(limit.min(MAX_PAGE));
        while let Some(page_size) = next {
            let request = ListDeliveriesRequest {
                page_size,
                page_token: std::mem::take(&mut all.next_page_token),
                ..asked.clone()
            };
            let answer = self.query.clone().list_deliveries(within(request)).await;
            let page = answer.map_err(self.refused("list notifications"))?.into_inner();
            all.deliveries.extend(page.deliveries);
            all.next_page_token = page.next_page_token;
            next = next_page(limit, all.deliveries.len(), &all.next_page_token);
        }
        Ok(all)
    }

    /// Nodes with what each can see.
    pub(crate) async fn nodes(&self, cluster: &str) -> Result<ListNodesResponse, CliError> {
        let mut all = ListNodesResponse::default();
        loop {
            let request = within(ListNodesRequest {
                cluster: cluster.to_owned(),
                page_size: MAX_PAGE,
                page_token: std::mem::take(&mut all.next_page_token),
            });
            let answer = self.query.clone().list_nodes(request).await;
            let page = answer.map_err(self.refused("list nodes"))?.into_inner();
            all.nodes.extend(page.nodes);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            all.next_page_token = page.next_page_token;
        }
    }

    /// Every change of a matching incident from now on.
    pub(crate) async fn watch(&self, filter: Filter, include_current: bool) -> Result<Changes, CliError> {
        let request = WatchIncidentsRequest {
            filter: Some(filter),
            include_current,
        };
        let stream = self
            .query
            .clone()
            .watch_incidents(request)
            .await
            .map_err(self.refused("watch incidents"))?;
        Ok(Changes {
            client: self.clone(),
            stream: stream.into_inner(),
        })
    }
}

/// A stream of changes.
pub(crate) struct Changes {
    client: Client,
    stream: Streaming<WatchIncidentsResponse>,
}

impl Changes {
    /// The next change. Cancel-safe. The end of the stream is an error: it has none of its own.
    pub(crate) async fn next(&mut self) -> Result<WatchIncidentsResponse, CliError> {
        match self.stream.message().await {
            Ok(Some(change)) => Ok(change),
            Ok(None) => Err(CliError::StreamEnded {
                server: self.client.server.clone(),
            }),
            Err(status) => Err(self.client.refused("go on watching")(status)),
        }
    }
}

/// The innermost cause of an error.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// Size of the page to ask for next; `None` when there is enough or no more.
fn next_page(limit: u32, have: usize, token: &str) -> Option<u32> {
    let missing = limit.saturating_sub(u32::try_from(have).unwrap_or(u32::MAX));
    (missing > 0 && !token.is_empty()).then(|| missing.min(MAX_PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_asked_for_until_the_limit_or_the_end() {
        assert_eq!(next_page(2500, 0, "t"), Some(1000));
        assert_eq!(next_page(2500, 2000, "t"), Some(500));
        assert_eq!(next_page(2500, 2500, "t"), None);
        assert_eq!(next_page(2500, 1200, ""), None);
        assert_eq!(next_page(2500, 0, ""), None);
    }
}
