#!/bin/sh
#
# sandbox.sh SKEP IMAGES : what the threads of a running machine have of the host, by /proc, and that what
# is to be removed is.
#
# Exit status: 0 passed, 1 failed, 77 this host cannot run guests, or the build has no sandbox.

set -u
[ $# -eq 2 ] || { echo 'usage: sandbox.sh SKEP IMAGES' >&2; exit 125; }
skep=$1
work=$(mktemp -d) || exit 125
pid=
trap '[ -z "$pid" ] || kill -9 $pid 2>/dev/null; rm -rf "$work"' EXIT
failed=0

fail() {
	echo "FAILED  $*"
	failed=1
}

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	echo 'SKIPPED: /dev/kvm is not usable'
	exit 77
fi
case $(timeout -s KILL 60 "$skep" run --sandbox on -a 'quiet exit=0' 2>&1) in
*sanitizers*) echo 'SKIPPED: a build with sanitizers has no sandbox'; exit 77 ;;
esac

# start OPTION… : a machine that spins, until its console's socket is there and its vCPU has a filter.
start() {
	timeout -s KILL 60 "$skep" run -m 16M -a 'quiet spin' --serial "unix:$work/console" "$@" 2>"$work/messages" &
	runner=$!
	n=0
	while :; do
		pid=$(tr -d ' ' 2>/dev/null <"/proc/$runner/task/$runner/children")
		if [ -n "$pid" ] && grep -qs '^vcpu 0' "/proc/$pid"/task/*/comm; then
			[ "$(sed -n 's/^Seccomp:[^0-9]*//p' "/proc/$pid/status" 2>/dev/null)" = 2 ] && break
		fi
		n=$((n + 1))
		[ $n -lt 300 ] || { fail "the machine did not start: $(cat "$work/messages")"; return 1; }
		sleep 0.05
	done
}

field() { # FIELD FILE
	sed -n "s/^$1:[[:space:]]*//p" "$2"
}

threads_are_shut() {
	for t in "/proc/$pid"/task/*; do
		[ "$(field NoNewPrivs "$t/status")" = 1 ] || fail "$(cat "$t/comm") may have new privileges"
		[ "$(field Seccomp "$t/status")" = 2 ] || fail "$(cat "$t/comm") has no filter"
		[ "$(field CapEff "$t/status")$(field CapPrm "$t/status")" = 00000000000000000000000000000000 ] ||
			fail "$(cat "$t/comm") has capabilities"
	done
	grep -q '^Max core file size *0 *0 ' "/proc/$pid/limits" || fail 'it may leave a core'
}

# gone : the socket is removed soon.
gone() {
	n=0
	while [ -e "$work/console" ] && [ $n -lt 200 ]; do
		n=$((n + 1))
		sleep 0.05
	done
	[ ! -e "$work/console" ] || fail "the socket is still there: $1"
}

if start --device virtio_rng; then
	threads_are_shut
	[ -S "$work/console" ] || fail 'there is no socket'
	kill -TERM "$pid"
	wait "$runner"
	[ ! -e "$work/console" ] || fail 'the socket is still there behind the end'
fi
if start; then
	kill -9 "$pid"
	wait "$runner" 2>/dev/null
	gone 'behind SIGKILL'
fi
# A socket that another has put in its place stays.
if start; then
	mv "$work/console" "$work/away"
	: >"$work/console"
	kill -TERM "$pid"
	wait "$runner"
	[ -e "$work/console" ] || fail "another's file was removed"
	rm -f "$work/console" "$work/away"
fi
if [ "$(id -u)" = 0 ] && start --sandbox on,user=nobody; then
	[ "$(field Uid "/proc/$pid/status" | cut -f1)" = "$(id -u nobody)" ] || fail 'it is still root'
	threads_are_shut
	kill -TERM "$pid"
	wait "$runner"
fi
"$skep" run --sandbox on,user=no-such-user -a 'quiet exit=0' 2>"$work/messages" && fail 'a user that is not there'
grep -q "there is no user 'no-such-user'" "$work/messages" || fail 'the missing user is not named'
pid=
[ $failed = 0 ] && echo 'ok      sandbox'
exit $failed
