//! The summary line of Linux 5.0 and later. Owns the cuts between fields whose values others may choose.
use crate::detect::oom::report::Constraint;

/// Longest process name, `TASK_COMM_LEN` less the final zero.
const COMM_CHARS: usize = 15;

/// `oom-kill:constraint=…,nodemask=…,cpuset=…,mems_allowed=…,{oom_memcg=…|global_oom},task_memcg=…,task=…,pid=…,uid=…`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary<'a> {
    /// Which limit.
    pub constraint: Constraint,
    /// Cpuset of the trigger.
    pub cpuset: &'a str,
    /// The cgroup whose limit was met.
    pub oom_memcg: Option<&'a str>,
    /// The victim's cgroup.
    pub task_memcg: &'a str,
    /// The victim's name.
    pub comm: &'a str,
    /// The victim's pid.
    pub pid: u32,
    /// The victim's user id.
    pub uid: Option<u32>,
}

impl<'a> Summary<'a> {
    /// Reads the line; `None` when a field is missing.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (constraint, rest) = text.strip_prefix("oom-kill:constraint=")?.split_once(',')?;
        let (_, rest) = rest.split_once(",cpuset=")?;
        let (rest, uid) = rest.rsplit_once(",uid=")?;
        let (rest, pid) = rest.rsplit_once(",pid=")?;
        // a name may hold `,task=` and is short; a path that ends in it only loses that end
        let (rest, comm) = cut_where(rest, ",task=", |_, comm| comm.chars().count() <= COMM_CHARS)?;
        let (cpuset, rest) = cut_where(rest, ",mems_allowed=", |_, rest| groups(rest).is_some())?;
        let (oom_memcg, task_memcg) = groups(rest)?;
        Some(Self {
            constraint: constraint_of(constraint),
            cpuset,
            oom_memcg,
            task_memcg,
            comm,
            pid: pid.parse().ok()?,
            uid: uid.trim_end().parse().ok(),
        })
    }
}

fn constraint_of(name: &str) -> Constraint {
    match name {
        "CONSTRAINT_MEMCG" => Constraint::Memcg,
        "CONSTRAINT_CPUSET" => Constraint::Cpuset,
        "CONSTRAINT_MEMORY_POLICY" => Constraint::MemoryPolicy,
        "CONSTRAINT_NONE" => Constraint::None,
        _ => Constraint::Unspecified,
    }
}

/// What follows `mems_allowed=`: numbers, then the cgroups.
fn groups(text: &str) -> Option<(Option<&str>, &str)> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | ',' | '-'))?;
    let (mems, rest) = text.split_at_checked(end)?;
    if !mems.ends_with(',') {
        return None;
    }
    if let Some(task) = rest.strip_prefix("global_oom,task_memcg=/") {
        return Some((None, rest.get(rest.len() - task.len() - 1..)?));
    }
    let rest = rest.strip_prefix("oom_memcg=")?;
    let cut =
        cut_where(rest, ",task_memcg=", |oom, task| is_within(task, oom)).or_else(|| rest.split_once(",task_memcg="));
    cut.map(|(oom, task)| (Some(oom), task))
}

/// Whether a cgroup is the other one or below it.
pub(super) fn is_within(inner: &str, outer: &str) -> bool {
    let outer = outer.strip_suffix('/').unwrap_or(outer);
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The first cut at `joint` whose two sides fit.
pub(super) fn cut_where<'a>(
    text: &'a str,
    joint: &str,
    fits: impl Fn(&str, &str) -> bool,
) -> Option<(&'a str, &'a str)> {
    text.match_indices(joint)
        .filter_map(|(at, _)| Some((text.get(..at)?, text.get(at + joint.len()..)?)))
        .find(|(before, after)| fits(before, after))
}
