//! The one build script: compiles the protocols with protox, so that no machine needs protoc, into Rust and one
//! descriptor set per group. It runs with `proto/` as working directory.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

/// Protocols that Inquest owns, with the descriptor set that reflection and the JSON mapping read.
const OWN: &[&str] = &[
    "inquest/ingest/v1/ingest.proto",
    "inquest/query/v1/query.proto",
    "inquest/admin/v1/admin.proto",
];
/// Subsets of the container runtimes' protocols: called by the agent, served only by the stand-ins of the tests.
const RUNTIME: &[&str] = &[
    "runtime/v1/api.proto",
    "containerd/services/events/v1/events.proto",
    "containerd/events/events.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let server = env::var_os("CARGO_FEATURE_SERVER").is_some();
    for folder in ["inquest", "runtime", "containerd"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    let own = protox::compile(OWN, ["."])?;
    fs::write(out.join("inquest.descriptors"), own.encode_to_vec())?;
    tonic_prost_build::configure().build_server(server).compile_fds(own)?;
    tonic_prost_build::configure()
        .build_server(server)
        .compile_fds(protox::compile(RUNTIME, ["."])?)?;
    Ok(())
}
