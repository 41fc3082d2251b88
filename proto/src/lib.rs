//! Generated code of the protocols; nothing here is hand-written but this table of contents.
#![allow(missing_docs, reason = "generated items carry the comments of their proto files")]

/// Descriptor set of our own protocols, for reflection and the JSON mapping.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inquest.descriptors"));

/// Agent to aggregator.
pub mod ingest {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("inquest.ingest.v1");
    }
}
/// Questions about incidents, findings and nodes.
pub mod query {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("inquest.query.v1");
    }
}
/// Questions about the aggregator itself.
pub mod admin {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("inquest.admin.v1");
    }
}
/// Our subset of the Kubernetes container runtime interface.
pub mod runtime {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("runtime.v1");
    }
}
/// Our subset of containerd's event API.
pub mod containerd {
    /// Payloads of the events.
    pub mod events {
        tonic::include_proto!("containerd.events");
    }
    /// The services.
    pub mod services {
        /// Event subscription.
        pub mod events {
            /// Version 1.
            pub mod v1 {
                tonic::include_proto!("containerd.services.events.v1");
            }
        }
    }
}
