#!/bin/bash
#
# The whole-machine tests: one start of the test bed in which mistakes.sh and boot.sh run. With
# --here on this machine's own /dev/kvm, which must run stock kernels, and without the tests that
# take /dev/kvm away.
#
# usage: tests/system/run.sh [--here] BUILD [SANITIZED-BUILD]

set -euo pipefail

TOOL=system-tests
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../../tools
# shellcheck source-path=SCRIPTDIR source=../../tools/lib/common.sh
. "$tools/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=../../tools/lib/debian.sh
. "$tools/lib/debian.sh"

inside=1
if [[ ${1:-} == --here ]]; then
	inside=''
	shift
fi
(($#)) || die 125 'which build? usage: tests/system/run.sh [--here] BUILD [SANITIZED-BUILD]'

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
kernel_need
chmod 755 "$stage"
cp "$1/skep" "$here/tap.sh" "$here/mistakes.sh" "$here/boot.sh" "$stage"
asan=''
if (($# > 1)); then
	cp "$2/skep" "$stage/skep.asan"
	asan=skep.asan
fi
cp "$KERNEL" "$stage/vmlinuz"
"$tools/mkinitramfs" "$stage/initrd"
printf 'the second initrd\n' >"$stage/extra"
"$tools/mkinitramfs" --only "$stage/initrd.extra" "etc/extra=$stage/extra"

cat >"$stage/all.sh" <<'END'
#!/bin/sh
# all.sh DIRECTORY [SANITIZED] : what runs beside /dev/kvm.
export SKEP="$1/skep" KERNEL="$1/vmlinuz" INITRD="$1/initrd" EXTRA="$1/initrd.extra" ASAN="$2"
failed=0
for script in mistakes boot; do
	sh "$1/$script.sh" || failed=1
done
exit $failed
END
if [[ -n $inside ]]; then
	sed -i '2a export BED=1' "$stage/all.sh"
	cd "$stage"
	"$tools/testbed" run --timeout 900 --memory 7G --add . -- \
		sh all.sh /work "${asan:+/work/$asan}"
else
	sh "$stage/all.sh" "$stage" "${asan:+$stage/$asan}"
fi
