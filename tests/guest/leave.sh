#!/bin/sh
#
# leave.sh SKEP IMAGES : a machine is reset and ended while a device of it waits for what never
# comes: its source of entropy is a pipe that nobody writes to.
#
# Exit status: 0 passed, 1 failed, 77 this host cannot run guests.

set -u
[ $# -eq 2 ] || { echo 'usage: leave.sh SKEP IMAGES' >&2; exit 125; }
skep=$1 images=$2
work=$(mktemp -d) || exit 125
trap 'rm -rf "$work"' EXIT
failed=0

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	echo 'SKIPPED: /dev/kvm is not usable'
	exit 77
fi
mkfifo "$work/pipe" || exit 125
# A writer, so that it is neither at its end nor waits to be opened.
exec 9<>"$work/pipe"

# leave NAME STATUS OPTION… : in a minute, or it will never end.
leave() {
	name=$1 want=$2
	shift 2
	timeout -s KILL 60 "$skep" run -k "$images/load.bz" --device "virtio_rng,source=$work/pipe" \
		--result "$work/result" "$@" </dev/null >"$work/console" 2>&1 9>&-
	status=$?
	if [ $status -eq 126 ]; then
		echo "SKIPPED: $(cat "$work/console")"
		exit 77
	fi
	if [ $status -eq "$want" ]; then
		echo "ok      $name"
		return
	fi
	echo "FAILED  $name: status $status, expected $want"
	sed 's/^/  /' "$work/console"
	failed=1
}

leave resets 0 -a lives=3
grep -q '"resets": 2' "$work/result" || {
	echo 'FAILED  it was not reset twice'
	failed=1
}
leave 'resets, one worker' 0 -a lives=3 --workers 1 --device virtio_rng,transport=mmio
leave timeout 124 -a end=0 --timeout 1
exit $failed
