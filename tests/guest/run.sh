#!/bin/sh
#
# run.sh [--lint] SKEP IMAGES [NAME…] : runs payload tests of the list beside this file, all when
# none is named, as a user of skep would. SKEP is the program, IMAGES the directory of the images.
# With --lint each is watched, and no rule may be broken but that of a test that is called lint-RULE.
#
# Exit status: 0 passed, 1 failed, 77 this host cannot run guests (and a line that says why), 125
# wrong usage. POSIX, for it runs in the test bed's busybox too.

set -u
here=$(cd "$(dirname "$0")" && pwd)
lint=
[ "${1:-}" != --lint ] || { lint=$1; shift; }
[ $# -ge 2 ] || { echo 'usage: run.sh [--lint] SKEP IMAGES [NAME…]' >&2; exit 125; }
skep=$1 images=$2
shift 2
wanted=" $* "
work=$(mktemp -d) || exit 125
trap 'rm -rf "$work"' EXIT

# Longer than any --timeout in the list, on a slow and busy host.
readonly PATIENCE=60

skip() {
	echo "SKIPPED: $*"
	exit 77
}

[ -e /dev/kvm ] || skip 'there is no /dev/kvm'
if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	skip '/dev/kvm is not readable and writable for this user'
fi

# The console against extended regular expressions, line by line; "..." is any number of lines. No
# {n} in them: mawk, the awk of Debian, takes braces literally.
says() {
	tr -d '\r' <"$2" | awk -v expected="$1" '
		BEGIN {
			while ((getline line < expected) > 0)
				want[++wants] = line
			at = 1
		}
		{
			if (want[at] == "...") {
				if (at < wants && $0 ~ "^(" want[at + 1] ")$")
					at += 2
				next
			}
			if (wrong || at > wants || $0 !~ "^(" want[at] ")$") {
				if (!wrong)
					print "console line " NR " is not as expected: " $0
				wrong = 1
				exit 1
			}
			at++
		}
		END {
			if (!wrong && at <= wants && !(at == wants && want[at] == "...")) {
				print "the console ends before: " want[at]
				wrong = 1
			}
			exit wrong
		}'
}

# lints NAME MESSAGES : the rules that the guest was found to break are those that it should.
lints() {
	should=
	case $1 in lint-*) should=${1#lint-} ;; esac
	found=$(sed -n 's/^skep: lint: [0-9.]* s[^:]*: \([a-z-]*\): .*/\1/p' "$2" | sort -u)
	[ "$found" = "$should" ] || {
		echo "lint found: ${found:-nothing}."
		return 1
	}
}

# run_one NAME STATUS IMAGE OPTION…
run_one() {
	name=$1 want=$2 image=$3
	shift 3
	case $image in
	-) ;;
	*.*) set -- -k "$images/$image" "$@" ;;
	*) set -- -k "$images/$image.bz" "$@" ;;
	esac
	# With the other interrupt chips the same is to be seen.
	expected=$here/expect/${name%-kernel}
	[ -e "$expected" ] || expected=/dev/null
	told=$here/expect/${name%-kernel}.messages
	typed=$here/input/${name%-kernel}
	[ -e "$typed" ] || typed=/dev/null

	timeout -s KILL $PATIENCE "$skep" run ${lint:+"$lint"} "$@" <"$typed" >"$work/console" 2>"$work/messages"
	status=$?
	[ $status -ne 126 ] || skip "$(cat "$work/messages")"
	verdict=$(says "$expected" "$work/console" && {
		[ ! -e "$told" ] || says "$told" "$work/messages"
	} && lints "$name" "$work/messages") && [ $status -eq "$want" ] && {
		echo "ok      $name"
		return 0
	}
	echo "FAILED  $name: status $status, expected $want. $verdict"
	echo "  skep run $*"
	sed 's/^/  console: /' "$work/console"
	sed 's/^/  message: /' "$work/messages"
	return 1
}

failed=0 ran=0 skipped=0
while IFS='|' read -r name want image options <&3; do
	# shellcheck disable=SC2086 # the columns are padded
	set -- $name
	case ${1:-#} in '#'*) continue ;; esac
	case $wanted in '  ' | *" $1 "*) ;; *) continue ;; esac
	case $options in *@disk*) dd if=/dev/zero of="$work/disk" bs=1024 count=1024 2>/dev/null ;; esac
	options=$(echo "$options" | sed "s|@images|$images|g; s|@disk|$work/disk|g; s|@files|$here/files|g")
	case $want in
	*paging32*)
		if ! [ -e /sys/module/kvm_amd ] && ! [ -e /sys/module/kvm_intel ]; then
			echo "SKIPPED: $1: this host's KVM may not run 32-bit paging"
			skipped=$((skipped + 1))
			continue
		fi
		want=${want%paging32*}
		;;
	*native*)
		if ! [ -e /sys/module/kvm_amd ] && ! [ -e /sys/module/kvm_intel ]; then
			echo "SKIPPED: $1: this host's KVM does not run guest kernels on the processor"
			skipped=$((skipped + 1))
			continue
		fi
		want=${want%native*}
		;;
	esac
	# shellcheck disable=SC2086 # as above
	set -- $name $want $image
	eval "set -- \"\$@\" $options"
	ran=$((ran + 1))
	run_one "$@" || failed=$((failed + 1))
done 3<"$here/list"
[ $ran -gt 0 ] || [ $skipped -eq 0 ] || exit 77
[ $ran -gt 0 ] || { echo "no such test:$wanted" >&2; exit 125; }
[ $failed -eq 0 ]
