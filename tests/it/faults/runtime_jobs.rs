//! Experiment 37: containers that are gone before anybody could ask about them.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use inquest_proto::{
    ingest::v1::evidence::Fact,
    query::v1::{ListFindingsRequest, StoredFinding},
};
use inquest_tests::{
    wait_for,
    world::{Options, PATIENCE, World},
};

/// Jobs of a core run; `INQUEST_TEST_JOBS` asks for another number, 1,000 in extended runs.
const JOBS: u32 = 100;
/// Jobs that run side by side.
const AT_ONCE: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn every_job_of_fifty_milliseconds_is_told_with_its_name_and_its_code() -> Result<()> {
    let options = Options {
        containerd: true,
        ..Options::default()
    };
    let world = World::start("rt37", &options).await?;
    let jobs = match std::env::var("INQUEST_TEST_JOBS") {
        Ok(number) => number.parse()?,
        Err(_) => JOBS,
    };
    let rootfs = world.path("rootfs");
    fs::create_dir_all(rootfs.join("bin"))?;
    fs::copy("/bin/busybox", rootfs.join("bin/busybox"))?;
    let socket = world.runtime()?.socket();
    let cgroup = world.runtime()?.cgroup_root();
    let runners = (0..AT_ONCE).map(|first| {
        let (socket, rootfs, cgroup) = (socket.clone(), rootfs.clone(), cgroup.clone());
        tokio::task::spawn_blocking(move || {
            let mine = (first..jobs).step_by(usize::try_from(AT_ONCE)?);
            mine.map(|n| run_job(n, &socket, &rootfs, &cgroup))
                .collect::<Result<Vec<_>>>()
        })
    });
    for runner in runners.collect::<Vec<_>>() {
        runner.await??;
    }
    let expected: BTreeMap<String, i32> = (0..jobs).map(|n| Ok((name(n), code(n)?))).collect::<Result<_>>()?;
    let told = wait_for("every job is told", PATIENCE, async || {
        let findings = all_findings(&world).await?;
        let told = exits(&findings);
        ensure!(told.len() >= expected.len(), "{} of {}", told.len(), expected.len());
        Ok::<_, anyhow::Error>(told)
    })
    .await?;
    let codes: BTreeMap<String, i32> = told.iter().cloned().collect();
    assert_eq!(codes, expected);
    assert_eq!(told.len(), expected.len(), "a job was told twice");
    Ok(())
}

fn name(n: u32) -> String {
    format!("job-{n:04}")
}

fn code(n: u32) -> Result<i32> {
    Ok(i32::try_from(n % 100)?)
}

fn run_job(n: u32, socket: &Path, rootfs: &Path, cgroup: &str) -> Result<()> {
    let script = format!("usleep 50000; exit {}", code(n)?);
    let status = Command::new("ctr")
        .arg("--address")
        .arg(socket)
        .args(["--namespace", "default", "run", "--rm", "--null-io", "--rootfs"])
        .args(["--cgroup", &format!("{cgroup}/jobs/{}", name(n))])
        .arg(rootfs)
        .arg(name(n))
        .args(["/bin/busybox", "sh", "-c", &script])
        .stdin(Stdio::null())
        .output()?;
    let ended = status.status.code() == Some(code(n)?);
    ensure!(ended, "{}: {:?}", name(n), String::from_utf8_lossy(&status.stderr));
    Ok(())
}

async fn all_findings(world: &World) -> Result<Vec<StoredFinding>> {
    let mut request = ListFindingsRequest {
        page_size: 500,
        ..ListFindingsRequest::default()
    };
    let mut all = Vec::new();
    loop {
        let page = world.query().await?.list_findings(request.clone()).await?.into_inner();
        all.extend(page.findings);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

/// Name and code of each end.
fn exits(findings: &[StoredFinding]) -> Vec<(String, i32)> {
    let of = |stored: &StoredFinding| {
        let finding = stored.finding.as_ref().context("empty")?;
        let exit = finding.evidence.iter().find_map(|e| match &e.fact {
            Some(Fact::RuntimeExit(exit)) => Some(exit.exit_code),
            _ => None,
        });
        let subject = finding.subject.clone().unwrap_or_default();
        anyhow::Ok((subject.container, exit.context("no exit")?))
    };
    findings.iter().filter_map(|stored| of(stored).ok()).collect()
}
