#!/bin/bash
#
# The whole-machine tests: one start of the test bed in which the POSIX scripts of this directory
# run, the payload guests of tests/guest, and the unit test that finds huge pages in the bed. With
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
mkdir "$stage/suite"
mapfile -t suite < <(grep -lx '#!/bin/sh' "$here"/*.sh | grep -v /all.sh)
cp "$here/tap.sh" "${suite[@]}" "$stage/suite"
cp "$1/skep" "$here/all.sh" "$stage"
cp "$1/tests/unit_gmem" "$stage"
mkdir "$stage/guest" "$stage/images"
cp -r "$here"/../guest/{run.sh,list,expect,input} "$stage/guest"
cp "$1"/tests/guest/*.bz "$stage/images"
asan=''
if (($# > 1)); then
	cp "$2/skep" "$stage/skep.asan"
	asan=skep.asan
fi
cp "$KERNEL" "$stage/vmlinuz"
"$tools/mkinitramfs" "$stage/initrd"
printf 'the second initrd\n' >"$stage/extra"
"$tools/mkinitramfs" --only "$stage/initrd.extra" "etc/extra=$stage/extra"

if [[ -n $inside ]]; then
	cd "$stage"
	"$tools/testbed" run --timeout 1500 --memory 7G --add . -- \
		env BED=1 sh all.sh /work "${asan:+/work/$asan}"
else
	sh "$stage/all.sh" "$stage" "${asan:+$stage/$asan}"
fi
