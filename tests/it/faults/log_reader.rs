//! The reader of the kernel log loses its device: it opens it again by itself, and while it cannot, it says so.

use std::{fs::File, io::Write as _, path::Path};

use anyhow::Result;
use inquest_proto::ingest::v1::SourceState;
use inquest_tests::world::{Options, Program, World};

use super::runtime_hang::{source_of, wait_source};

/// A pipe stands in for the device; as long as a writer has it open, it does not end.
fn pipe(path: &Path) -> Result<File> {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)?;
    Ok(File::options().read(true).write(true).open(path)?)
}

/// SX-49.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_reader_that_lost_its_log_says_so_and_opens_it_again() -> Result<()> {
    let mut world = World::start("sx49", &Options::default()).await?;
    world.agent.kill9()?;
    let device = world.path("kmsg");
    let writer = pipe(&device)?;
    let config = std::fs::read_to_string(world.path("agent.yaml"))?;
    let moved = config.replace(
        "sources:\n",
        &format!("sources:\n  kmsg: {{path: {}}}\n", device.display()),
    );
    std::fs::write(world.path("agent.yaml"), moved)?;
    world.start_agent()?;
    wait_source(&world, "kernel log", SourceState::Live, "").await?;
    // The log ends, and opening it again fails more than three times in a row.
    std::fs::remove_file(&device)?;
    drop(writer);
    let blind = wait_source(&world, "kernel log", SourceState::Blind, "does not exist").await?;
    assert!(!blind.remedy.is_empty());
    let failures = |world: &World| world.agent.stderr().matches("kernel log: blind").count();
    inquest_tests::wait_for("three failures", inquest_tests::world::PATIENCE, async || {
        let seen = failures(&world);
        if seen >= 4 {
            Ok(())
        } else {
            Err(format!("{seen} failures"))
        }
    })
    .await?;
    let (_, page) = world.status_page(Program::Agent, "/metrics")?;
    assert!(page.contains("inquest_source_live{source=\"kernel log\"} -1"), "{page}");
    assert_eq!(source_of(&world, "kernel log").await?.state(), SourceState::Blind);
    let mut writer = pipe(&device)?;
    writer.write_all(b"6,1,1,-;back\n")?;
    wait_source(&world, "kernel log", SourceState::Live, "").await?;
    Ok(())
}
