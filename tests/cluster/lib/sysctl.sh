# shellcheck shell=bash
# A kubelet that starts sets values of the whole machine (protectKernelDefaults is off). They are put back once it has.

KUBELET_SETS=(
  kernel/panic kernel/panic_on_oops vm/overcommit_memory vm/panic_on_oom kernel/keys/root_maxkeys kernel/keys/root_maxbytes
)

# Held until restore_sysctls, so that two clusters do not take each other's values for the machine's. The lock is on one
# of the files that it is about.
save_sysctls() {
  local name
  exec 8</proc/sys/kernel/panic
  flock 8
  for name in "${KUBELET_SETS[@]}"; do printf '%s %s\n' "$name" "$(<"/proc/sys/$name")"; done >"$dir/sysctls"
}

restore_sysctls() {
  local name value
  [[ -e $dir/sysctls ]] || return 0
  while read -r name value; do
    [[ $(<"/proc/sys/$name") == "$value" ]] || echo "$value" >"/proc/sys/$name"
  done <"$dir/sysctls"
  rm -f "$dir/sysctls"
  exec 8<&-
}
