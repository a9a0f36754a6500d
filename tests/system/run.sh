#!/bin/bash
#
# The whole-machine tests: two test beds, side by side, in which the POSIX scripts of this directory
# run, the payload guests of tests/guest, and the unit test that finds huge pages in the bed. With
# --here on this machine's own /dev/kvm, which must run stock kernels, and without the tests that
# take /dev/kvm away. --only runs one of the scripts, by its name without ".sh", and nothing else.
#
# usage: tests/system/run.sh [--here] [--only SCRIPT] BUILD [SANITIZED-BUILD]

set -euo pipefail

TOOL=system-tests
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../../tools
# shellcheck source-path=SCRIPTDIR source=../../tools/lib/common.sh
. "$tools/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=../../tools/lib/debian.sh
. "$tools/lib/debian.sh"

readonly VIRTIO_MODULES=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci
	virtio_mmio virtio-rng virtio_blk virtio_console virtio_balloon failover net_failover
	virtio_net)
readonly IDE_MODULES=(scsi_common scsi_mod sd_mod libata pata_legacy)
readonly USAGE='usage: tests/system/run.sh [--here] [--only SCRIPT] BUILD [SANITIZED-BUILD]'
inside=1 only=''
while (($#)); do
	case $1 in
	--here) inside='' ;;
	--only)
		only=${2-}
		[[ -f $here/$only.sh ]] || die 125 "which script? $USAGE"
		shift
		;;
	*) break ;;
	esac
	shift
done
(($#)) || die 125 "which build? $USAGE"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
[[ -z $inside ]] || qemu_need 'the test bed is a machine emulated by it'
PATH=$PATH:/usr/sbin:/sbin
command_need "the guests' disks have file systems" mkfs.ext4 e2fsprogs
apt_need 'a load in the guests is a C program' gcc libc6-dev
kernel_need
generic_need
chmod 755 "$stage"
mkdir "$stage/suite"
cp "$(unpack_need passt 'usr/bin/passt*')"/usr/bin/passt* "$stage"
mapfile -t suite < <(grep -lx '#!/bin/sh' "$here"/*.sh | grep -v /all.sh)
[[ -z $only ]] || suite=("$here/$only.sh")
cp "$here/tap.sh" "$here/linux.sh" "${suite[@]}" "$stage/suite"
cp "$1/skep" "$here/all.sh" "$stage"
cp "$1/tests/unit_gmem" "$stage"
mkdir "$stage/guest" "$stage/images"
cp -r "$here"/../guest/{run.sh,list,expect,files,input} "$stage/guest"
cp "$1"/tests/guest/{*.bz,*.raw,*.img,{multiboot*,faults}.elf} "$stage/images"
asan=''
if (($# > 1)); then
	cp "$2/skep" "$stage/skep.asan"
	asan=skep.asan
fi
cp "$KERNEL" "$stage/vmlinuz"
cp "$GENERIC" "$stage/vmlinuz.generic"
"$tools/mkinitramfs" "$stage/initrd"
printf 'the second initrd\n' >"$stage/extra"
"$tools/mkinitramfs" --only "$stage/initrd.extra" "etc/extra=$stage/extra"
# For the guests: the modules that Debian's kernel has its drivers of virtio and IDE in, in the order
# of their needs, and a script that loads the first ones.
modules=()
for module in "${VIRTIO_MODULES[@]}" "${IDE_MODULES[@]}"; do
	modules+=("modules/$module.ko=$(find "$KERNEL_MODULES/kernel" -name "$module.ko")")
done
printf 'busybox insmod /modules/%s.ko\n' "${VIRTIO_MODULES[@]:0:6}" >"$stage/load"
for load in verify traffic; do
	gcc -O2 -Wall -Wextra -static -o "$stage/$load" "$here/$load.c"
	modules+=("modules/$load=$stage/$load")
done
"$tools/mkinitramfs" --only "$stage/initrd.modules" "modules/load=$stage/load" "${modules[@]}"
if [[ -z $only || $only == protocols ]]; then
	apt_need 'a kernel is packed in each way that there is' gzip lz4 lzop xz-utils zstd bzip2
	mkdir "$stage/packed"
	"$here/recompress.sh" "$KERNEL" "$stage/packed"
fi

# bed PART : a bed of its own; says what it says when it is done.
bed() {
	# QEMU as well, for its PC is what skep's is compared with.
	"$tools/testbed" run --timeout 1500 --memory 7G --add . --add "$(type -P "$QEMU")" \
		--add /usr/share/qemu --add /usr/share/seabios \
		--add "$(type -P mkfs.ext4)" --add "$(type -P e2fsck)" -- \
		env BED=1 QEMU="$QEMU" ONLY="$only" PART="$1" ${KILLS:+KILLS="$KILLS"} \
		${TRAFFIC_MIB:+TRAFFIC_MIB="$TRAFFIC_MIB"} \
		${asan:+ASAN=/work/$asan} sh all.sh /work
}

if [[ -z $inside ]]; then
	env QEMU="$(type -P "$QEMU")" ONLY="$only" PART='' ${asan:+ASAN=$stage/$asan} \
		sh "$stage/all.sh" "$stage"
	exit
fi
cd "$stage"
if [[ -n $only ]]; then
	bed ''
	exit
fi
# A bed keeps about one processor busy, so there are two.
status=0
bed 2 >"$stage/second.out" 2>&1 &
second=$!
trap 'kill "$second" 2>/dev/null || true; rm -rf "$stage"' EXIT
bed 1 || status=$?
wait "$second" || status=$?
cat "$stage/second.out"
exit "$status"
