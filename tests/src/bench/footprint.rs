//! `agent-footprint`: memory and processor time of the shipped agent on a quiet node.
//!
//! Owns the scene (50 sleeping containers, every source live) and the pace of looking. Looking is done from outside and
//! costs the agent nothing.

use std::time::Duration;

use anyhow::Result;
use inquest_cli::sandbox::{ContainerSpec, Cri, PodSpec};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    cpu_group::CpuGroup,
    installation::Installation,
    line::{Line, Lost, Target, met},
    machine::{self, MAX_STEAL_PERCENT, Machine, Ticks},
    proc::{self, Memory, Switches},
    receiver::Receiver,
    say,
    statistics::{Figures, plain},
};
use crate::TestDir;

const PODS: u32 = 5;
const CONTAINERS_PER_POD: u32 = 10;
/// Time for the agent to see the containers and to come to rest.
const SETTLE: Duration = Duration::from_mins(2);
/// How often it is looked at.
const WINDOW: Duration = Duration::from_secs(10);
/// Windows of ten minutes; fewer are not compared with the target.
const ENOUGH: usize = 60;
const MIB: f64 = 1_048_576.0;

/// What was seen in one window.
#[derive(Debug, Clone, Copy)]
struct Window {
    memory: Memory,
    length: Duration,
    cpu: Duration,
}

/// What was seen in all of them.
struct Idle {
    windows: Vec<Window>,
    switches: Switches,
}

/// Runs the bench.
///
/// # Errors
/// When the programs do not come up, or the agent ends.
pub(super) async fn run(minutes: u64, pods: Option<u32>) -> Result<Vec<Line>> {
    let dir = TestDir::new("bench")?;
    let mut machine = Machine::before(dir.path()).await?;
    let group = CpuGroup::new()?;
    let receiver = Receiver::start()?;
    let installation = Installation::start(dir.path(), receiver.url(), false).await?;
    group.add(installation.agent.pid())?;
    let containers = sleepers(installation.runtime().cri()?, pods).await?;
    say(&format!(
        "{containers} containers sleep; settling for {SETTLE:?}, then {minutes} minutes"
    ));
    sleep(SETTLE).await;
    let before = Ticks::now()?;
    let idle = watch(
        installation.agent.pid(),
        &group,
        Duration::from_secs(minutes.saturating_mul(60)),
    )
    .await?;
    machine.steal_percent = Ticks::now()?.steal_percent_since(before);
    let notes = notes(&idle, &machine, containers);
    let config = installation.config().to_owned();
    installation.stop().await?;
    Ok(lines(&idle, &machine, &config, &notes))
}

async fn sleepers(cri: &Cri, pods: Option<u32>) -> Result<u32> {
    let (pods, each) = pods.map_or((PODS, CONTAINERS_PER_POD), |pods| (pods, 1));
    for pod in 1..=pods {
        let mut spec = PodSpec::new("bench", &format!("sleeper-{pod}"), pod);
        for container in 0..each {
            spec = spec.container(ContainerSpec::command(
                &format!("c{container}"),
                &["/bin/sleep", "2147483647"],
            ));
        }
        cri.run_pod(&spec).await?;
    }
    Ok(pods.saturating_mul(each))
}

async fn watch(pid: u32, group: &CpuGroup, length: Duration) -> Result<Idle> {
    let mut idle = Idle {
        windows: Vec::new(),
        switches: Switches::default(),
    };
    idle.switches.look(pid)?;
    let begin = Instant::now();
    let (mut at, mut used) = (begin, group.used()?);
    while begin.elapsed() < length {
        sleep_until(at + WINDOW).await;
        let (now, now_used) = (Instant::now(), group.used()?);
        let cpu = now_used.saturating_sub(used);
        idle.windows.push(Window {
            memory: proc::memory(pid)?,
            length: now - at,
            cpu,
        });
        idle.switches.look(pid)?;
        (at, used) = (now, now_used);
    }
    Ok(idle)
}

impl Idle {
    fn length(&self) -> Duration {
        self.windows.iter().map(|window| window.length).sum()
    }

    fn memory(&self, of: impl Fn(&Memory) -> u64) -> Figures {
        plain(
            &self
                .windows
                .iter()
                .map(|window| readable(of(&window.memory) as f64 / MIB))
                .collect::<Vec<_>>(),
        )
    }

    /// Share of one core, in percent; the mean is that of the whole time.
    fn cpu(&self) -> Figures {
        let share = |cpu: Duration, length: Duration| readable(cpu.as_secs_f64() * 100.0 / length.as_secs_f64());
        let figures = plain(&self.windows.iter().map(|w| share(w.cpu, w.length)).collect::<Vec<_>>());
        let cpu = self.windows.iter().map(|window| window.cpu).sum();
        Figures {
            mean: Some(share(cpu, self.length())),
            ..figures
        }
    }
}

/// Four digits, rounded up, so that no target is met by rounding.
fn readable(value: f64) -> f64 {
    (value * 10_000.0).ceil() / 10_000.0
}

fn notes(idle: &Idle, machine: &Machine, containers: u32) -> Vec<String> {
    let mut notes = machine.doubts();
    if machine.steal_percent > MAX_STEAL_PERCENT {
        notes.push(format!(
            "the hypervisor took more than {MAX_STEAL_PERCENT} % of the time"
        ));
    }
    let switches = idle.switches.total() as f64 / idle.length().as_secs_f64();
    notes.push(format!("{containers} containers, windows of {} s", WINDOW.as_secs()));
    notes.push(format!("{switches:.2} context switches per second"));
    notes.push(format!("at most {} threads", idle.switches.most_threads()));
    if let Some(last) = idle.windows.last() {
        let mib = |bytes: u64| bytes as f64 / MIB;
        notes.push(format!(
            "at the end RSS {:.2} MiB, PSS {:.2} MiB",
            mib(last.memory.rss),
            mib(last.memory.pss)
        ));
    }
    notes
}

fn lines(idle: &Idle, machine: &Machine, config: &str, notes: &[String]) -> Vec<Line> {
    let line = |name, figures: Figures, unit, target: Option<Target>| Line {
        name,
        figures,
        unit,
        target,
        met: target.and_then(|target| met(target, &figures, Lost::default())),
        lost: Lost::default(),
        discarded: 0,
        commit: machine::commit(),
        config: config.to_owned(),
        machine: machine.clone(),
        notes: notes.to_vec(),
    };
    let rss = Target {
        max: Some(8.0),
        samples: ENOUGH,
        ..Target::default()
    };
    let cpu = Target {
        mean: Some(0.05),
        samples: ENOUGH,
        ..Target::default()
    };
    vec![
        line(
            "agent-footprint-rss",
            idle.memory(|memory| memory.rss),
            "MiB",
            Some(rss),
        ),
        line("agent-footprint-pss", idle.memory(|memory| memory.pss), "MiB", None),
        line("agent-footprint-cpu", idle.cpu(), "% of a core", Some(cpu)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_a_share_of_one_core_over_the_whole_time() {
        let window = |seconds, cpu_ms| Window {
            memory: Memory {
                rss: 8 << 20,
                pss: 4 << 20,
            },
            length: Duration::from_secs(seconds),
            cpu: Duration::from_millis(cpu_ms),
        };
        let idle = Idle {
            windows: vec![window(10, 5), window(30, 3)],
            switches: Switches::default(),
        };
        let cpu = idle.cpu();
        assert_eq!((cpu.n, cpu.max), (2, Some(0.05)));
        assert!((cpu.mean.unwrap() - 0.02).abs() < 1e-9);
        assert_eq!(idle.memory(|memory| memory.rss).max, Some(8.0));
    }
}
