# shellcheck shell=bash
# Takes away what tests left behind. Everything of a run lies in one scratch folder, so its own things are known by
# that path; nothing is ever looked for by a program's name.

scratch=''

make_scratch() {
  local base=${TMPDIR:-/tmp}
  # sockets lie below it, and the kernel takes paths of at most 107 bytes for them (unix(7))
  if ((${#base} > 24)); then base=/tmp; fi
  scratch=$(mktemp -d "$base/inqt.XXXXXX")
  : >"$scratch/.begin"
  say "$scratch" >"$logs/scratch"
}

# A run that was killed could not sweep; the lock proves that it is over.
sweep_earlier() {
  local earlier
  [[ -r $logs/scratch ]] || return 0
  earlier=$(<"$logs/scratch")
  if [[ $earlier == */inqt.* && -d $earlier ]]; then
    sweep "$earlier"
    rm -rf --one-file-system -- "$earlier"
  fi
  rm -f "$logs/scratch"
}

# Whether there is something for whoever looks into a failure: the folders of failed tests.
has_kept() { [[ -n $(find "$scratch" -mindepth 1 -maxdepth 1 -name 'inq-*' -print -quit) ]]; }

# forget_scratch STATUS: folders stay only after a failed test, not after an interrupt.
forget_scratch() {
  if (($1 != 1)) || ! has_kept; then rm -rf --one-file-system -- "$scratch"; fi
  rm -f "$logs/scratch"
}

# Processes of a run: started with a path below its folder, or with the folder as their temporary one.
processes_of() {
  local folder pid
  for folder in /proc/[0-9]*; do
    pid=${folder#/proc/}
    [[ $pid == "$$" || $pid == "$BASHPID" ]] && continue
    if { tr '\0' '\n' <"$folder/cmdline" | grep -qF -- "$1/"; } 2>/dev/null ||
      { tr '\0' '\n' <"$folder/environ" | grep -qxF -- "TMPDIR=$1"; } 2>/dev/null; then
      say "$pid"
    fi
  done
}

cgroup_mounts() {
  awk '{ for (i = 7; i < NF; i++) if ($i == "-") break; if ($(i + 1) ~ /^cgroup2?$/) print $5 }' /proc/self/mountinfo
}

# Cgroups of private runtimes below the folder, and bare ones that a dead process made since the run began.
cgroups_of() {
  local mount config name dir
  for mount in $(cgroup_mounts); do
    while IFS= read -r config; do
      name=inquest-$(printf %s "${config%/containerd.toml}" | sha256sum | head -c 8)
      if [[ -d $mount/$name ]]; then say "$mount/$name"; fi
    done < <(find "$1" -maxdepth 4 -name containerd.toml 2>/dev/null)
    for dir in "$mount"/inquest-bare-*-*; do
      name=${dir##*/inquest-bare-}
      if [[ -d $dir && $dir -nt $1/.begin && ! -e /proc/${name%-*} ]]; then say "$dir"; fi
    done
  done
}

# Network namespaces whose maker is dead; the pid is part of the name.
stale_namespaces() {
  local path name
  for path in /run/netns/inq-*; do
    name=${path##*/} name=${name#inq-}
    if [[ -e $path && ! -e /proc/${name%%-*} ]]; then say "${path##*/}"; fi
  done
}

remove_cgroup() {
  local pid
  find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null | while read -r pid; do
    kill -KILL "$pid" 2>/dev/null || true
  done
  local try
  for try in 1 2 3 4 5 6 7 8 9 10; do
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [[ -d $1 ]] || return 0
    sleep "0.$try"
  done
  say "could not remove $1" >&2
}

# Kubernetes clusters that were brought up below the folder; one that is being taken down is waited for.
take_clusters_down() {
  local settings
  for settings in "$1"/*/settings "$1"/*/*/settings; do
    if [[ -e $settings ]]; then tests/cluster/down "${settings%/settings}" || true; fi
  done
}

sweep() {
  local folder=$1 item
  local -a processes cgroups mounts sockets namespaces
  [[ -n $folder && -d $folder ]] || return 0
  take_clusters_down "$folder"
  mapfile -t processes < <(processes_of "$folder")
  mapfile -t cgroups < <(cgroups_of "$folder")
  mapfile -t sockets < <(find "$folder" -path '*/io.containerd.runtime.v2.task/*' -name address -exec cat {} \; -exec echo \; 2>/dev/null)
  for item in "${processes[@]}"; do kill -KILL "$item" 2>/dev/null || true; done
  mapfile -t namespaces < <(stale_namespaces)
  for item in "${namespaces[@]}"; do ip netns del "$item" || true; done
  for item in "${cgroups[@]}"; do remove_cgroup "$item"; done
  mapfile -t mounts < <(awk -v below="$folder/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
  for item in "${mounts[@]}"; do umount -l -- "$item" || true; done
  for item in "${sockets[@]}"; do
    if [[ $item == unix:///* ]]; then rm -f -- "${item#unix://}"; fi
  done
  if ((${#processes[@]} + ${#cgroups[@]} + ${#mounts[@]} > 0)); then
    say "swept what tests left: ${#processes[@]} processes, ${#cgroups[@]} cgroups, ${#mounts[@]} mounts"
  fi
}
