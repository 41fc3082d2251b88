# shellcheck shell=bash
# Words for people, waiting, and the processes of a cluster. Each process has a script in <folder>/run that starts it,
# so it can be started again exactly as it was.

begun=$(date +%s%N)

say() {
  local took=$((($(date +%s%N) - begun) / 10000000))
  printf '%3d.%02d s  %s\n' $((took / 100)) $((took % 100)) "$*" >&2
}

die() {
  trap - ERR
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# until_true SECONDS COMMAND...: tries it until it succeeds.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

# wait_until WHAT SECONDS COMMAND...: the same, silently, and failing aloud.
wait_until() {
  local what=$1 seconds=$2
  shift 2
  until_true "$seconds" "$@" >/dev/null 2>&1 || die "not within $seconds s: $what"
  say "$what"
}

# define NAME CGROUP COMMAND...: how this process is started.
define() {
  local name=$1 cgroup=$2
  shift 2
  {
    # a shell writes its own pid, then becomes the program
    printf "echo \$\$ >%q || exit\n" "$(tracking_hierarchy)/$cgroup/daemons/cgroup.procs"
    printf 'exec'
    printf ' %q' "$@"
    printf '\n'
  } >"$dir/run/$name.sh"
}

# start NAME: in a session of its own; its output is appended to its log.
start() {
  local name=$1 pid
  [[ -e $dir/run/$name.sh ]] || die "there is no process '$name'; there are: $(process_names)"
  ! is_alive "$name" || die "$name runs already"
  # descriptor 8 is the lock of save_sysctls
  setsid bash "$dir/run/$name.sh" >>"$dir/log/$name.log" 2>&1 </dev/null 8>&- &
  pid=$!
  disown
  printf '%s %s\n' "$pid" "$(start_of "$pid")" >"$dir/run/$name.pid"
}

process_names() {
  local file names=()
  for file in "$dir"/run/*.sh; do names+=("$(basename "$file" .sh)"); done
  printf '%s' "${names[*]}"
}

# State and start time of a process: two fields of proc_pid_stat(5), behind a name that may hold anything.
stat_of() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }"
  printf '%s %s' "${fields[0]}" "${fields[19]}"
}

start_of() {
  local stat
  stat=$(stat_of "$1") || return 0
  printf '%s' "${stat#* }"
}

pid_of() {
  local pid
  [[ -e $dir/run/$1.pid ]] && read -r pid _ <"$dir/run/$1.pid" && printf '%s' "$pid"
}

# A number that another process has by now is not taken for ours.
is_alive() {
  local pid begin stat
  [[ -e $dir/run/$1.pid ]] || return 1
  read -r pid begin <"$dir/run/$1.pid"
  stat=$(stat_of "$pid") || return 1
  [[ ${stat#* } == "$begin" && $stat != Z* ]]
}

is_dead() { ! is_alive "$1"; }

# signal NAME SIGNAL
signal() {
  is_alive "$1" || die "$1 does not run"
  kill "-$2" "$(pid_of "$1")"
}

# stop NAME: politely, and after ten seconds no longer so.
stop() {
  signal "$1" TERM
  until_true 10 is_dead "$1" || kill_process "$1"
}

kill_process() {
  signal "$1" KILL
  until_true 10 is_dead "$1" || die "$1 does not die"
}

# last_words: the end of every log, for whoever looks into a failure.
last_words() {
  local log
  for log in "$dir"/log/*.log; do
    [[ -s $log ]] || continue
    printf -- '--- %s\n' "$log"
    tail -n 8 "$log" | cut -c -400
  done >&2
}
