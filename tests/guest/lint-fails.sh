#!/bin/sh
#
# lint-fails.sh SKEP IMAGES : what --lint makes of a run. A finding is in the report; it changes the
# status of skep smoke, and not that of skep run; and what was found while the machine ran is found
# in its trace.
#
# Exit status: 0 passed, 1 failed, 77 this host cannot run guests, 125 wrong usage.

set -u
[ $# -eq 2 ] || { echo 'usage: lint-fails.sh SKEP IMAGES' >&2; exit 125; }
skep=$1 images=$2
work=$(mktemp -d) || exit 125
trap 'rm -rf "$work"' EXIT

failed=0
check() { # WHAT COMMAND…
	what=$1
	shift
	"$@" || { echo "FAILED  $what"; failed=1; }
}

# guest COMMAND STATUS OPTION… : the guest that writes a read-only register, and ends with 0.
guest() {
	command=$1 want=$2
	shift 2
	"$skep" "$command" --lint -k "$images/lint.bz" --symbols "$images/lint.elf" --timeout 30 "$@" \
		>"$work/console" 2>"$work/messages"
	status=$?
	[ $status -ne 126 ] || { echo "SKIPPED: $(cat "$work/messages")"; exit 77; }
	check "skep $command: status $status, not $want" [ $status -eq "$want" ]
}

guest run 0 -a mistake=read-only --result "$work/result" --trace "$work/trace"
check 'the report names the rule' grep -q '"rule": "read-only"' "$work/result"
check 'the report names the function' grep -q '"symbol": "read_only' "$work/result"
"$skep" trace --lint "$work/trace" >"$work/found" || failed=1
check 'the trace has it as well' grep -q ': read-only: ' "$work/found"
guest smoke 100 -a mistake=read-only --result "$work/result"
check 'the verdict is lint' grep -q '"verdict": "lint"' "$work/result"
guest smoke 0 -a mistake=none --result "$work/result"
check 'nothing is found where nothing is wrong' grep -q '"findings": \[\]' "$work/result"
[ $failed -eq 0 ] || sed 's/^/  message: /' "$work/messages"
exit $failed
