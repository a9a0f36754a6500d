#!/bin/sh
#
# bounds.sh SKEP IMAGES : a guest that takes what it can get (greedy.c) gets its memory and 16 MiB at
# most, by what /proc says of the running skep, 300 descriptors at most, and a log of 1 MiB at most.
#
# Exit status: 0 passed, 1 failed, 77 this host cannot run guests.

set -u
[ $# -eq 2 ] || { echo 'usage: bounds.sh SKEP IMAGES' >&2; exit 125; }
skep=$1 images=$2
readonly OWN_KIB=16384 LOG_BYTES=1048576
work=$(mktemp -d) || exit 125
pid=
trap '[ -z "$pid" ] || kill -9 $pid 2>/dev/null; rm -rf "$work"' EXIT
failed=0

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	echo 'SKIPPED: /dev/kvm is not usable'
	exit 77
fi

# greedy NAME OPTION… : starts the guest, and waits until it has done all it can.
greedy() {
	name=$1
	shift
	truncate -s 16M "$work/disk"
	rm -f "$work/console"
	# shellcheck disable=SC2086 # two words
	"$skep" run -k "$images/greedy.bz" -m 64M,shared=on --on-reset exit --timeout 300 \
		--serial "file:$work/console" --serial none --serial pty --serial "unix:$work/socket" \
		-d "$work/disk,transport=mmio,queues=4" --device virtio_rng,transport=mmio \
		--device virtio_balloon,transport=mmio,stats=1 --console "pty,transport=mmio" \
		--device virtio_console,transport=mmio,backend=none,port1="a:unix:$work/port" \
		--device debugcon,backend=pty --display dump "$@" </dev/null >"$work/screen" 2>"$work/log" &
	pid=$!
	n=0
	until grep -qs '^full' "$work/console"; do
		n=$((n + 1))
		if ! kill -0 $pid 2>/dev/null || [ $n -gt 2400 ]; then
			echo "FAILED  $name: the guest did not get there: $(tail -n 3 "$work/log")"
			failed=1
			return 1
		fi
		sleep 0.05
	done
	echo "# $name: $(cat "$work/console")"
}

# What of skep is resident and not guest memory, in KiB.
own() {
	awk '/^[0-9a-f]+-[0-9a-f]+ / { guests = /guest memory/ }
	     /^Rss:/ && !guests { sum += $2 }
	     END { print sum }' "/proc/$pid/smaps"
}

check() { # WHAT VALUE LIMIT
	echo "# $name: $1: $2, $3 at most"
	[ "$2" -le "$3" ] || {
		echo "FAILED  $name: $1"
		failed=1
	}
}

bounded() {
	greedy "$@" || return
	check 'memory of its own in KiB' "$(own)" "$OWN_KIB"
	files=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
	check 'descriptors' "$files" 300
	kill -TERM $pid
	wait $pid
	status=$?
	pid=
	[ $status -eq 143 ] || {
		echo "FAILED  $name: status $status: $(tail -n 3 "$work/log")"
		failed=1
	}
	check 'bytes of log' "$(wc -c <"$work/log")" "$LOG_BYTES"
	# It was a flood, and it was cut off.
	grep -q 'further ones are only counted' "$work/log" || {
		echo "FAILED  $name: the log is not full"
		failed=1
	}
}

bounded 'as it comes'
bounded 'with lint, a trace and a report' --lint --trace "$work/trace,size=4M" --result "$work/result" \
	--result-state --timeline --dump-state
[ $failed -eq 0 ] && echo 'ok      bounds'
exit $failed
