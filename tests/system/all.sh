#!/bin/sh
#
# all.sh DIRECTORY : what run.sh starts beside a /dev/kvm, from the directory that it put together.
# ASAN is a sanitized skep in it, ONLY the one script to run, where there are such; QEMU the program
# to compare with. PART, 1 or 2, has one half run. With BED=1 in the test bed, whose host may be
# turned inside out.

directory=$1
export SKEP="$1/skep" KERNEL="$1/vmlinuz" GENERIC="$1/vmlinuz.generic" INITRD="$1/initrd"
export EXTRA="$1/initrd.extra" MODULES="$1/initrd.modules" VERIFY="$1/verify" TRAFFIC="$1/traffic"
export PACKED="$1/packed" PASST="$1/passt"
# shellcheck source=tests/system/tap.sh
. "$1/suite/tap.sh"
log=$1/log

# unit NAME : a unit test that asks the host for something.
unit() {
	"$directory/unit_$1" >"$log" 2>&1
	tap_result $? "unit $1" "$log"
	sed -n "s/^\[  SKIPPED \] \([a-z_0-9]*\)$/\1/p" "$log" | sort -u | while read -r part; do
		tap_skip "unit $1 $part" 'nor is it here what it needs'
	done
}

# part SCRIPT : which bed it runs in, where there are two; about as much is to do in each.
part() {
	case $1 in
	disk | kernels | memory | platform | protocols | stress) echo 2 ;;
	*) echo 1 ;;
	esac
}

for script in "$directory"/suite/*.sh; do
	name=${script##*/}
	name=${name%.sh}
	case $name in
	tap | linux) continue ;;
	esac
	[ -z "${PART-}" ] || [ "$PART" = "$(part "$name")" ] || continue
	start=$(date +%s)
	sh "$script" || tap_failures=$((tap_failures + 1))
	echo "# $name: $(($(date +%s) - start)) s"
done
if [ -n "${ONLY-}" ] || [ "${PART-}" = 2 ]; then
	tap_end
fi

[ -z "${BED-}" ] || echo 16 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
unit gmem

sh "$directory/guest/run.sh" "$SKEP" "$directory/images" >"$log" 2>&1
status=$?
sed -e 's/^ok  */ok payload /' -e 's/^FAILED  */not ok payload /' "$log"
[ $status -eq 0 ] || tap_failures=$((tap_failures + 1))

tap_end
