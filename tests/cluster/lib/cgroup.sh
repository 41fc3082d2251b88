# shellcheck shell=bash
# Cgroups of a cluster. <prefix>-control holds the control plane, <prefix>-node<n> one node with all its containers, so
# that everything which belongs together can be found, frozen and killed, however it was started.

has_cgroup_v2_only() { [[ $(stat --file-system --format %T /sys/fs/cgroup) == cgroup2fs ]]; }

# Mount points of all hierarchies: where there are several, runtimes use cgroup2 beside them.
cgroup_hierarchies() { awk '/ - cgroup2? / { print $5 }' /proc/self/mountinfo; }

# The hierarchy in which every process of a cluster has its place.
tracking_hierarchy() {
  if has_cgroup_v2_only; then echo /sys/fs/cgroup; else echo /sys/fs/cgroup/freezer; fi
}

# make_cgroup NAME: the cgroup and, below it, `daemons` for what is no container.
make_cgroup() {
  local hierarchy folder
  while IFS= read -r hierarchy; do
    folder=$hierarchy/$1
    mkdir -p "$folder"
    # an empty set of CPUs lets nobody in
    if [[ -e $folder/cpuset.cpus && ! -e $folder/cgroup.type ]]; then
      cat "$hierarchy/cpuset.cpus" >"$folder/cpuset.cpus"
      cat "$hierarchy/cpuset.mems" >"$folder/cpuset.mems"
    fi
  done < <(cgroup_hierarchies)
  mkdir -p "$(tracking_hierarchy)/$1/daemons"
}

# freeze_cgroup NAME, thaw_cgroup NAME
freeze_cgroup() { set_frozen "$1" FROZEN 1; }
thaw_cgroup() { set_frozen "$1" THAWED 0; }

set_frozen() {
  local folder
  folder=$(tracking_hierarchy)/$1
  if [[ -e $folder/freezer.state ]]; then echo "$2" >"$folder/freezer.state"; else echo "$3" >"$folder/cgroup.freeze"; fi
}

pids_of_cgroup() { find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true; }

# kill_cgroup NAME: everything in it dies at one moment and without a word, as at a power loss.
kill_cgroup() {
  local folder pids
  folder=$(tracking_hierarchy)/$1
  [[ -d $folder ]] || return 0
  # nobody can start another process while all stand still
  freeze_cgroup "$1"
  mapfile -t pids < <(pids_of_cgroup "$folder")
  if ((${#pids[@]} > 0)); then kill -KILL "${pids[@]}" 2>/dev/null || true; fi
  thaw_cgroup "$1"
  until_true 15 cgroup_is_empty "$folder" || die "processes in $folder do not die: $(pids_of_cgroup "$folder" | xargs)"
}

cgroup_is_empty() { [[ -z $(pids_of_cgroup "$1") ]]; }

# remove_cgroup NAME: in every hierarchy. The kernel lets an emptied one go a moment later.
remove_cgroup() {
  local hierarchy
  while IFS= read -r hierarchy; do
    until_true 10 remove_tree "$hierarchy/$1" || die "cannot remove $hierarchy/$1"
  done < <(cgroup_hierarchies)
}

remove_tree() {
  find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  [[ ! -d $1 ]]
}
