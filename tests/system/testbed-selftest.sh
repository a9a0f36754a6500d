#!/bin/bash
#
# What the other system tests take for granted of tools/testbed. Takes about a minute.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly testbed=$here/../../tools/testbed
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

# check WHAT EXPECTED ACTUAL
check() {
	if [[ $2 == "$3" ]]; then
		printf 'ok      %s\n' "$1"
	else
		printf 'not ok  %s: expected %q, got %q\n' "$1" "$2" "$3"
		sed 's/^/        /' "$scratch/stderr"
		failures=$((failures + 1))
	fi
}

# bed OPTION… : one run; leaves status, stdout and stderr, and how long it took.
bed() {
	local start=$EPOCHREALTIME
	status=0
	timeout 180 "$testbed" run "$@" >"$scratch/stdout" 2>"$scratch/stderr" || status=$?
	took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
}

digest() {
	sha256sum <"$1" | cut -d ' ' -f 1
}

cd "$scratch"
mkdir -p given/inner
head -c 10485760 /dev/urandom >given/random
printf 'hello\n' >given/inner/greeting
printf '#!/bin/sh\nexit 7\n' >script
chmod +x script

bed -- true
check "a command that succeeds ($took s)" 0 "$status"
bed -- ./script
check "a script of the caller, and its status" 7 "$status"
bed -- sh -c 'exit 255'
check 'the largest status' 255 "$status"
bed -- sh -c 'kill -9 $$'
check 'a command that a signal ended' 137 "$status"
bed -- /no/such/command
check 'a command that is not there' 127 "$status"

bed -- sh -c 'exec 3<>/dev/kvm && [ -d /sys/kernel/debug/kvm ] && cat /sys/module/kvm_amd/parameters/npt'
check '/dev/kvm opens, and it is kvm_amd with nested paging' 'Y 0' "$(cat stdout) $status"
bed -- sh -c 'modprobe tun && modprobe brd && ls /dev/ram0 && nproc && pwd && cat'
check 'modules, processors, directory, empty stdin' $'/dev/ram0\n2\n/work' "$(cat stdout)"
bed --cpus 1 -- sh -c 'unshare -m sh -c "mount -t tmpfs none /mnt && cd /mnt && mkdir old && pivot_root . old"'
check 'a command may change its root' 0 "$status"

bed --add given/random -- cat given/random
check "10 MiB through stdout, byte for byte ($took s)" "$(digest given/random)" "$(digest stdout)"
bed --add given -- sh -c 'cat given/random >&2; cat given/inner/greeting'
check 'a directory, and stdout' hello "$(cat stdout)"
check 'the same bytes through stderr' "$(digest given/random)" \
	"$(tail -c 10485760 stderr | sha256sum | cut -d ' ' -f 1)"
bed --add "$scratch/given/inner" -- cat "$scratch/given/inner/greeting"
check 'an absolute path' hello "$(cat stdout)"
# shellcheck disable=SC2016 # it is for the shell in the bed
bed -- bash -c 'words=(a "b c"); echo "${#words[@]} $1"' x "it's \$HOME"
check 'a program of this machine with its libraries; quoting' "2 it's \$HOME" "$(cat stdout)"

bed --add given --out back/out -- sh -c 'cp -r given /out; exit 3'
check '/out comes back, after a failure too' "3 $(digest given/random)" \
	"$status $(digest back/out/given/random)"
bed --out late --timeout 2 -- sh -c 'echo early; echo kept >/out/file; sleep 100 & sleep 100'
check "the time runs out ($took s)" $'124\nearly\nkept' "$status"$'\n'"$(cat stdout late/file)"
bed --memory 1G -- sh -c 'echo c >/proc/sysrq-trigger; sleep 20'
check 'a panic of the bed is a failure of the bed' 120 "$status"
check 'and the report shows it' 1 "$(grep -c 'Kernel panic' stderr)"
bed --frobnicate -- true
check 'a wrong option' 125 "$status"

bed --counted -- cut -d ' ' -f 1 /proc/uptime
first=$(cat stdout)
check "the counted clock runs ($took s)" 0 "$status"
bed --counted -- cut -d ' ' -f 1 /proc/uptime
check "and runs alike twice ($first s, $(cat stdout) s)" 1 \
	"$(awk -v a="$first" -v b="$(cat stdout)" 'BEGIN { print (a - b) ^ 2 < (a / 100) ^ 2 }')"

exit $((failures > 0))
