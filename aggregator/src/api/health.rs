//! The gRPC health service, driven by the program's readiness.

use std::time::Duration;

use inquest_proto::{
    admin::v1::admin_service_server::SERVICE_NAME as ADMIN, query::v1::query_service_server::SERVICE_NAME as QUERY,
};
use inquest_shared::telemetry::Health;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

/// Services that have a status; the empty name is the server as a whole. Source: the gRPC health checking protocol.
const SERVICES: [&str; 3] = ["", QUERY, ADMIN];
/// How old a status may be.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Keeps the statuses in step with `health` until `stop` is cancelled; then nothing serves any more.
pub(super) async fn drive(health: Health, reporter: HealthReporter, stop: CancellationToken) {
    let mut told = None;
    while !stop.is_cancelled() {
        let ready = health.is_ready();
        if told != Some(ready) {
            tell(
                &reporter,
                if ready {
                    ServingStatus::Serving
                } else {
                    ServingStatus::NotServing
                },
            )
            .await;
            told = Some(ready);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
    tell(&reporter, ServingStatus::NotServing).await;
}

async fn tell(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}
