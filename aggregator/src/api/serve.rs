//! The listener of port 7441: gRPC (HTTP/2 without TLS) and JSON (HTTP/1 or 2) side by side.
//!
//! Owns the address check, message limits and the end of the server.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use inquest_proto::{
    DESCRIPTORS,
    admin::v1::admin_service_server::{AdminServiceServer, SERVICE_NAME as ADMIN},
    query::v1::query_service_server::{QueryServiceServer, SERVICE_NAME as QUERY},
};
use thiserror::Error;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::{
    pb::{FILE_DESCRIPTOR_SET as HEALTH_DESCRIPTORS, health_server::HealthServer},
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::Builder;

use super::{Api, admin::Admin, connections, gate, health, http, query::Query};
use crate::door::Door;

/// Largest request; filters and tokens need a few kilobytes.
const MAX_REQUEST: usize = 64 * 1024;
/// Time for open requests and watches after the stop; then their connections are left to the end of the process.
const GRACE: Duration = Duration::from_secs(1);
/// Name of the health service in reflection. Source: the gRPC health checking protocol.
const HEALTH: &str = "grpc.health.v1.Health";

/// Why the API cannot be served. Only [`ServeError::Listener`] may pass by itself.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Anybody who connects may read everything, so only this host may connect.
    #[error("{address} is not a loopback address; the API has no authentication yet")]
    NotLoopback {
        /// Where the listener is.
        address: SocketAddr,
    },
    /// The listener failed.
    #[error("the listener of the API failed")]
    Listener {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The descriptors built into the program do not decode: a defect of the build.
    #[error("the reflection service cannot be built")]
    Reflection {
        /// Why.
        #[source]
        source: tonic_reflection::server::Error,
    },
}

/// Serves until `stop` is cancelled; open watches are told so, and a second later at the most this returns.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(door: Door, api: Api, stop: CancellationToken) -> Result<(), ServeError> {
    let address = door.local_addr().map_err(|source| ServeError::Listener { source })?;
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback { address });
    }
    let reporter = HealthReporter::new();
    let router = router(&api, &reporter, &stop)?;
    let serving = connections::serve(door, router, stop.clone());
    let end = async {
        health::drive(api.health.clone(), reporter, stop).await;
        sleep(GRACE).await;
    };
    tokio::select! {
        () = serving => {}
        () = end => {}
    }
    Ok(())
}

fn router(api: &Api, reporter: &HealthReporter, stop: &CancellationToken) -> Result<Router, ServeError> {
    let query = Arc::new(Query::new(api.clone(), stop.clone()));
    let admin = Arc::new(Admin::new(api.clone()));
    let health = HealthService::from_health_reporter(reporter.clone());
    let broken = |source| ServeError::Reflection { source };
    let grpc = Routes::from(Router::new())
        .add_service(QueryServiceServer::from_arc(Arc::clone(&query)).max_decoding_message_size(MAX_REQUEST))
        .add_service(AdminServiceServer::from_arc(Arc::clone(&admin)).max_decoding_message_size(MAX_REQUEST))
        .add_service(HealthServer::new(health).max_decoding_message_size(MAX_REQUEST))
        .add_service(
            reflection()
                .build_v1()
                .map_err(broken)?
                .max_decoding_message_size(MAX_REQUEST),
        )
        .add_service(
            reflection()
                .build_v1alpha()
                .map_err(broken)?
                .max_decoding_message_size(MAX_REQUEST),
        );
    Ok(gate::guard(grpc.into_axum_router().merge(http::routes(query, admin))))
}

/// Only what this port serves is listed: the descriptors also hold the agents' service.
fn reflection() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(HEALTH_DESCRIPTORS)
        .include_reflection_service(true)
        .with_service_name(QUERY)
        .with_service_name(ADMIN)
        .with_service_name(HEALTH)
}
