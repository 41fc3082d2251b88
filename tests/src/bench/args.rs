//! The command line of the bench program. Owns names and defaults of its options.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// What is printed for a command line that cannot be understood.
pub(super) const USAGE: &str = "\
usage: tests/bench kill-to-webhook [--n N] [--newborn] [--console-default] [--out FILE]
       tests/bench exit-to-webhook [--n N] [--newborn] [--docker] [--out FILE]
       tests/bench agent-footprint [--minutes M] [--pods N] [--out FILE]
       tests/bench oom-burst|kmsg-flood|agent-load|ingest|crash-loops|streams|cluster-index [--quick] [--out FILE]
       tests/bench cluster-latency [--n N] [--out FILE]

  --n N              samples (default 300, cluster-latency 100)
  --newborn          containers die as soon as they run, unknown to the agent; else they ran for 2 s and more
  --docker           containers of a private dockerd instead of a private containerd
  --console-default  leave the kernel's console level as it is; else only emergencies reach the console
  --minutes M        idle minutes that are measured, after 2 minutes of settling (default 10)
  --pods N           pods of one sleeping container each, instead of 5 pods with 10 containers
  --quick            a short run that shows that the bench works; too few samples for the targets
  --out FILE         append the lines to a file as well";

/// Samples below which a figure is not compared with its target.
pub(super) const ENOUGH: usize = 300;

/// A command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Args {
    /// The webhook receiver, which a bench starts as a process of its own.
    Receiver,
    /// The apiserver of a made-up cluster, likewise.
    Apiserver { pods: usize, nodes: usize },
    /// A bench.
    Bench(Bench),
}

/// A bench and where its lines go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bench {
    pub(super) what: What,
    pub(super) out: Option<PathBuf>,
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Kernel's first record of an out-of-memory kill to the first byte of the alert.
    Kill {
        samples: usize,
        newborn: bool,
        console_default: bool,
    },
    /// The runtime's time of an exit to the first byte of the alert.
    Exit {
        samples: usize,
        newborn: bool,
        docker: bool,
    },
    /// Memory and processor time of an idle agent.
    Footprint { minutes: u64, pods: Option<u32> },
    /// 300 kills at once, in this many rounds.
    OomBurst { rounds: usize },
    /// 20,000 kernel lines at once, in this many rounds.
    Flood { rounds: usize },
    /// Processor time under kernel lines, memory after a storm.
    Load { quick: bool },
    /// Findings per second and the latency of acknowledgements.
    Ingest { quick: bool },
    /// Memory and the latency of acknowledgements while very many containers crash again and again.
    CrashLoops { quick: bool },
    /// Memory of idle streams and the return of all agents.
    Streams { agents: usize },
    /// Memory and time of a large cluster in the index.
    ClusterIndex { quick: bool },
    /// The runtime's time of an exit in a real Kubernetes to the first byte of an alert that names its owner.
    ClusterLatency { samples: usize },
}

impl Args {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// The first argument that is not understood.
    pub(super) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut args = args.into_iter();
        let mut what = match args.next().as_deref() {
            Some("receiver") => return Ok(Self::Receiver),
            Some("apiserver") => {
                let (pods, nodes) = (value("apiserver", args.next())?, value("apiserver", args.next())?);
                return Ok(Self::Apiserver { pods, nodes });
            }
            Some("kill-to-webhook") => What::Kill {
                samples: ENOUGH,
                newborn: false,
                console_default: false,
            },
            Some("exit-to-webhook") => What::Exit {
                samples: ENOUGH,
                newborn: false,
                docker: false,
            },
            Some("agent-footprint") => What::Footprint {
                minutes: 10,
                pods: None,
            },
            Some("oom-burst") => What::OomBurst { rounds: 5 },
            Some("kmsg-flood") => What::Flood { rounds: 20 },
            Some("agent-load") => What::Load { quick: false },
            Some("ingest") => What::Ingest { quick: false },
            Some("crash-loops") => What::CrashLoops { quick: false },
            Some("streams") => What::Streams { agents: 5_000 },
            Some("cluster-index") => What::ClusterIndex { quick: false },
            Some("cluster-latency") => What::ClusterLatency { samples: 100 },
            Some(other) => bail!("there is no bench {other:?}"),
            None => bail!("which bench?"),
        };
        let mut out = None;
        while let Some(flag) = args.next() {
            match (flag.as_str(), &mut what) {
                ("--out", _) => out = Some(value(&flag, args.next())?),
                ("--n", What::Kill { samples, .. } | What::Exit { samples, .. } | What::ClusterLatency { samples }) => {
                    *samples = value(&flag, args.next())?;
                }
                ("--newborn", What::Kill { newborn, .. } | What::Exit { newborn, .. }) => *newborn = true,
                ("--docker", What::Exit { docker, .. }) => *docker = true,
                ("--console-default", What::Kill { console_default, .. }) => *console_default = true,
                ("--minutes", What::Footprint { minutes, .. }) => *minutes = value(&flag, args.next())?,
                ("--pods", What::Footprint { pods, .. }) => *pods = Some(value(&flag, args.next())?),
                ("--quick", What::OomBurst { rounds } | What::Flood { rounds }) => *rounds = 2,
                (
                    "--quick",
                    What::Load { quick }
                    | What::Ingest { quick }
                    | What::CrashLoops { quick }
                    | What::ClusterIndex { quick },
                ) => *quick = true,
                ("--quick", What::Streams { agents }) => *agents = 200,
                (other, _) => bail!("this bench has no option {other:?}"),
            }
        }
        Ok(Self::Bench(Bench { what, out }))
    }
}

fn value<T: std::str::FromStr>(flag: &str, text: Option<String>) -> Result<T> {
    let text = text.with_context(|| format!("{flag} needs a value"))?;
    text.parse().ok().with_context(|| format!("{flag} cannot be {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_bench_without_options_measures_what_the_target_asks_for() {
        let kill = What::Kill {
            samples: 300,
            newborn: false,
            console_default: false,
        };
        assert_eq!(
            parse("kill-to-webhook").unwrap(),
            Args::Bench(Bench { what: kill, out: None })
        );
        let idle = What::Footprint {
            minutes: 10,
            pods: None,
        };
        assert_eq!(
            parse("agent-footprint").unwrap(),
            Args::Bench(Bench { what: idle, out: None })
        );
    }

    #[test]
    fn options_are_read_and_those_of_another_bench_refused() {
        let exit = What::Exit {
            samples: 20,
            newborn: true,
            docker: true,
        };
        let out = Some(PathBuf::from("f.jsonl"));
        let read = parse("exit-to-webhook --n 20 --newborn --docker --out f.jsonl").unwrap();
        assert_eq!(read, Args::Bench(Bench { what: exit, out }));
        assert!(parse("exit-to-webhook --minutes 3").is_err());
        assert!(parse("kill-to-webhook --docker").is_err());
        assert!(parse("exit-to-webhook --n many").is_err());
        assert!(parse("exit-to-webhook --n").is_err());
        assert!(parse("nonsense").is_err());
        let streams = What::Streams { agents: 200 };
        assert_eq!(
            parse("streams --quick").unwrap(),
            Args::Bench(Bench {
                what: streams,
                out: None
            })
        );
    }
}
