//! Every failpoint: a program dies there while processes and containers die, starts again, and the oracle finds each
//! death stored once, told once, and accounted for.
//!
//! `INQUEST_TEST_REPEAT` says how often (1 by default), `INQUEST_TEST_SEED` repeats a printed run.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use inquest_cli::sandbox::{ContainerSpec, PodSpec};
use inquest_shared::failpoint::Point;
use inquest_tests::{
    oracle::{Cause, Entry, Fault, Journal, Verdict, judge, look},
    seed::Seed,
    wait_for,
    world::{Options, PATIENCE, Program, World, kill_in},
};

/// Causes until the point has to be reached.
const MOST_CAUSES: u32 = 5;

macro_rules! points {
    ($($name:ident = $point:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() -> Result<()> {
                repeat(Point::$point).await
            }
        )+

        const TESTED: &[Point] = &[$(Point::$point),+];
    };
}

points! {
    agent_dies_with_an_observation = AgentObserved,
    agent_dies_before_the_spool_write = SpoolBeforeWrite,
    agent_dies_with_a_new_spool_file = SpoolFileMade,
    agent_dies_after_the_spool_write = SpoolAfterWrite,
    agent_dies_before_the_spool_sync = SpoolBeforeSync,
    agent_dies_after_the_spool_sync = SpoolAfterSync,
    agent_dies_before_the_cursor_sync = CursorBeforeSync,
    agent_dies_before_the_cursor_moves = CursorBeforeRename,
    agent_dies_after_the_cursor_moved = CursorSaved,
    agent_dies_before_it_sends = UplinkBeforeSend,
    agent_dies_after_it_sent = UplinkAfterSend,
    agent_dies_with_an_unread_acknowledgement = UplinkBeforeAck,
    agent_dies_after_it_freed_what_was_acknowledged = UplinkAfterAck,
    agent_dies_before_the_acknowledgement_is_noted = SpoolBeforeAckNote,
    agent_dies_after_the_acknowledgement_is_noted = SpoolAfterAckNote,
    agent_dies_before_it_sends_a_log = LogBeforeSend,
    agent_dies_with_an_unread_acknowledgement_of_a_log = LogBeforeAck,
    aggregator_dies_with_a_batch_that_just_arrived = IngestReceived,
    aggregator_dies_before_the_commit = BatchBeforeCommit,
    aggregator_dies_after_the_commit = BatchAfterCommit,
    aggregator_dies_after_handing_notifications_over = HandedOver,
    aggregator_dies_before_it_acknowledges = AckBeforeSend,
    aggregator_dies_after_it_acknowledged = AckAfterSend,
    aggregator_dies_before_it_tells = NotifyBefore,
    aggregator_dies_after_it_told = NotifyAfter,
    aggregator_dies_after_recording_that_it_told = OutcomeRecorded,
    aggregator_dies_with_a_stored_log = LogStored,
}

#[test]
fn no_failpoint_is_left_out() {
    let missing: Vec<_> = Point::ALL.iter().filter(|point| !TESTED.contains(point)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[expect(clippy::print_stdout, reason = "cargo shows it when the test fails")]
async fn repeat(point: Point) -> Result<()> {
    let seed = Seed::of_run();
    for round in 0..seed.rounds() {
        let nth = seed.pick(point.name(), round, most_passings(point));
        println!("{point}:{nth}, round {round}, {seed}");
        let verdict = Experiment::run(point, nth)
            .await
            .with_context(|| format!("{point}:{nth}"))?;
        ensure!(verdict.is_clean(), "{point}:{nth}, {seed}\n{verdict}");
    }
    Ok(())
}

/// How often a point is passed for sure within [`MOST_CAUSES`].
const fn most_passings(point: Point) -> u64 {
    match point {
        // a file of the spool takes all that one experiment makes; the cursor moves every ten seconds
        Point::SpoolFileMade | Point::CursorBeforeSync | Point::CursorBeforeRename | Point::CursorSaved => 1,
        // people are told of the first death and of the third
        Point::HandedOver | Point::NotifyBefore | Point::NotifyAfter | Point::OutcomeRecorded => 1,
        _ => 3,
    }
}

/// How long an armed program may live on after a cause that may have led it to its point.
const fn time_to_die(point: Point) -> Duration {
    match point {
        Point::CursorBeforeSync | Point::CursorBeforeRename | Point::CursorSaved => PATIENCE,
        _ => Duration::from_secs(2),
    }
}

const fn is_about_logs(point: Point) -> bool {
    matches!(point, Point::LogBeforeSend | Point::LogBeforeAck | Point::LogStored)
}

/// One installation with one death.
struct Experiment {
    world: World,
    journal: Journal,
    serial: u32,
}

impl Experiment {
    /// One cause before the program is armed, some until it dies, one while it is away, one at its return, one at rest.
    async fn run(point: Point, nth: u64) -> Result<Verdict> {
        let program = match point.name().starts_with("agent.") {
            true => Program::Agent,
            false => Program::Aggregator,
        };
        let mut this = Self::start(point).await?;
        this.cause().await?;
        this.die(program, point, nth).await?;
        this.cause().await?;
        match program {
            Program::Agent => this.world.start_agent()?,
            Program::Aggregator => this.world.start_aggregator()?,
        }
        this.cause().await?;
        let verdict = this.settle().await?;
        if !verdict.is_clean() {
            return Ok(verdict);
        }
        // whatever was about to be told twice is told by the time that the next one is
        this.cause().await?;
        this.settle().await
    }

    async fn start(point: Point) -> Result<Self> {
        let options = Options {
            containerd: is_about_logs(point),
            ..Options::default()
        };
        let world = World::start(point.name(), &options).await?;
        let journal = Journal::begin(&world.path("journal"))?;
        Ok(Self {
            world,
            journal,
            serial: 0,
        })
    }

    /// Makes something die, after it was noted.
    async fn cause(&mut self) -> Result<()> {
        self.serial += 1;
        if self.world.containerd.is_some() {
            return self.end_container().await;
        }
        let cgroup = self.world.victim_cgroup()?;
        let path = cgroup.path().to_owned();
        self.journal.note(Entry::Cause(Cause::Kill { cgroup: path }))?;
        kill_in(&cgroup)?;
        Ok(cgroup.remove()?)
    }

    async fn end_container(&mut self) -> Result<()> {
        let (pod, line) = (format!("victim-{}", self.serial), format!("last words {}", self.serial));
        let spec = ContainerSpec::shell("app", &format!("echo {line}; exit 3"));
        let spec = PodSpec::new("shop", &pod, self.serial).container(spec);
        self.journal.note(Entry::Cause(Cause::Exit { pod, line }))?;
        self.world.runtime()?.cri().run_pod(&spec).await?;
        Ok(())
    }

    /// Makes causes until the armed program has died.
    async fn die(&mut self, program: Program, point: Point, nth: u64) -> Result<()> {
        self.journal.note(Entry::Fault(Fault::Death {
            program,
            point: point.name().to_owned(),
        }))?;
        self.world.restart_armed(program, &format!("{point}:{nth}"))?;
        for _ in 0..MOST_CAUSES {
            self.cause().await?;
            if self.world.process(program).wait_exit(time_to_die(point)).await.is_ok() {
                return Ok(());
            }
        }
        anyhow::bail!("{point} was not reached {nth} times by {MOST_CAUSES} causes")
    }

    /// The verdict once everything is settled: while something is on its way it counts as lost.
    async fn settle(&self) -> Result<Verdict> {
        self.world.wait_connected().await?;
        let mut last = None;
        let settled = wait_for("everything is settled", PATIENCE, async || {
            let verdict = judge(self.journal.entries(), &look(&self.world).await?);
            let (clean, text) = (verdict.is_clean(), verdict.to_string());
            last = Some(verdict);
            ensure!(clean, "{text}");
            Ok::<_, anyhow::Error>(())
        });
        match (settled.await, last) {
            (_, Some(verdict)) => Ok(verdict),
            (Err(error), None) => Err(error),
            (Ok(()), None) => Ok(Verdict::default()),
        }
    }
}
