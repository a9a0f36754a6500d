#!/bin/sh
#
# dump.sh SKEP IMAGES : a dump is opened by gdb, which finds registers, memory and calls in it. IMAGES
# is the directory of the payload guests.
#
# Exit status: 0 passed, 1 failed, 77 this host lacks what it takes (and a line that says what).

set -u
skep=$1 images=$2
work=$(mktemp -d) || exit 125
trap 'rm -rf "$work"' EXIT

skip() {
	echo "SKIPPED: $*"
	exit 77
}

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	skip '/dev/kvm is not readable and writable for this user'
fi
command -v gdb >/dev/null || skip 'there is no gdb'
[ ! -e /sys/module/kvm_amd ] || skip 'this KVM resets a vCPU at a triple fault'

failed=0

# check WHAT COMMAND… : COMMAND succeeds.
check() {
	what=$1
	shift
	if "$@"; then
		echo "ok      $what"
	else
		echo "FAILED  $what: $*"
		failed=1
	fi
}

# expect WHAT PATTERN FILE : a line of FILE is as the extended regular expression says.
expect() {
	if grep -qE -e "$2" "$3"; then
		echo "ok      $1"
		return
	fi
	echo "FAILED  $1: no line is like $2"
	sed 's/^/  /' "$3"
	failed=1
}

# run STATUS OPTION… : skep ends with STATUS.
run() {
	want=$1
	shift
	status=0
	timeout -s KILL 60 "$skep" run "$@" </dev/null >"$work/console" 2>"$work/messages" ||
		status=$?
	[ $status -ne 126 ] || skip "$(cat "$work/messages")"
	[ "$status" -eq "$want" ] || {
		echo "FAILED  skep run $*: status $status, not $want"
		sed 's/^/  /' "$work/messages"
		failed=1
	}
}

# look KERNEL COMMAND… : what gdb says to the commands.
look() {
	kernel=$1
	shift
	for command; do
		set -- "$@" -ex "$command"
		shift
	done
	timeout -s KILL 60 gdb -batch -nx "$@" "$kernel" "$work/core" >"$work/gdb" 2>&1
}

run 102 -k "$images/faults.bz" --symbols "$images/faults.elf" -a gate -c 2 -m 300M \
	--dump "$work/core" --post-mortem off
expect 'the person is told where it is' 'memory and registers are in .*/core$' "$work/messages"
look "$images/faults.elf" 'info registers rip cr2' 'print/x gates[14].kind' bt 'info threads'
rip=$(sed -n 's/.*triple fault at RIP //p' "$work/messages")
expect 'RIP is the one of the message' "^rip +0x$rip " "$work/gdb"
expect 'memory is where the symbols say' '^[$]1 = 0xe00$' "$work/gdb"
expect 'the calls are told' 'guest_main \(\)' "$work/gdb"
expect 'each vCPU is a thread' 'LWP 2' "$work/gdb"
blocks=$(du -k "$work/core" | cut -f 1)
check 'what the guest did not use is a hole' [ "$blocks" -lt 20000 ]

# A 32-bit kernel wants a 32-bit core.
run 0 -k "$images/elf32.img" -a probe=0x1234 -m 64M --dump "$work/core,when=always"
look "$images/elf32.img" 'x/8xb &start' 'info registers eip cs'
gdb -batch -nx -ex 'x/8xb &start' "$images/elf32.img" >"$work/file" 2>/dev/null
check 'a 32-bit kernel has the same bytes in memory as in its file' \
	grep -qxF "$(grep '<start>' "$work/file")" "$work/gdb"
expect 'and its registers' '^cs +0x10 ' "$work/gdb"

rm -f "$work/core"
run 0 -a 'quiet exit=0' --dump "$work/core"
check 'a good end leaves no dump' [ ! -e "$work/core" ]
run 125 -a 'quiet exit=0' --dump /dev/null
expect 'what is no file is refused' '/dev/null is no regular file' "$work/messages"
run 125 -a 'quiet exit=0' --dump "$work/none/core"
expect 'so is what cannot be made' 'cannot write the dump .*: No such file' "$work/messages"
exit $failed
