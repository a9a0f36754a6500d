#!/bin/sh
#
# Debian's kernel by each way there is to boot it: unpacked by skep, whichever way it was packed, at
# random addresses and where it is linked to be; unpacking itself, from its 32-bit and its 64-bit
# entry; and as vmlinux, by Linux's own protocol and by PVH. Needs SKEP, KERNEL and INITRD, and PACKED,
# a directory that recompress.sh made of KERNEL.

: "${PACKED:?}"
# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1
cache=$scratch/cache

# Where the kernel is, by its own word: in virtual memory and in physical.
where='grep -w _text /proc/kallsyms; grep Kernel.code /proc/iomem'
home='^ffffffff81000000 T _text'

# boots NAME KERNEL PROTOCOL [PARAMETERS [OPTION…]]
boots() {
	saved=$KERNEL
	KERNEL=$2
	name=$1 protocol=$3 parameters=${4-}
	shift $(($# < 4 ? $# : 4))
	linux "$name" "$parameters" "$where; echo skep-mark: ready" --protocol "$protocol" "$@"
	KERNEL=$saved
	tap_same "$name: powered off" 0 "$status" messages console
}

boots 'linux32' "$KERNEL" linux32 nokaslr
tap_says 'linux32: nokaslr' "$home" console
# The one boot whose log is on the console: its phases are told by that, and the mark of user space.
boots 'linux64' "$KERNEL" linux64 'nokaslr loglevel=7' --timeline --budget mark:ready=110s
tap_says 'linux64: nokaslr' "$home" console
for phase in start assembly loader entry decompress kernel init 'mark ready' total; do
	tap_says "linux64: the timeline has $phase" "^$phase .*[1-9]" messages
done
boots 'vmlinux' "$PACKED/vmlinux" linux
tap_says 'vmlinux: where it is linked to be' "$home" console
boots 'pvh' "$PACKED/vmlinux" pvh
tap_says 'pvh: where it is linked to be' "$home" console

# The first from the file, the second from the cache; the kernel honours its own nokaslr.
boots 'unpacked' "$KERNEL" "linux,cache=$cache"
grep 'T _text' console >first
grep -q '"unpack": {' result.json && ! grep -q '"decompress"' result.json
tap_result $? 'unpacked: by skep, and not by the kernel' result.json
boots 'cached' "$KERNEL" "linux,cache=$cache"
grep 'T _text' console >second
[ "$(find "$cache" -name '*.unpacked' | wc -l)" = 1 ]
tap_result $? 'cached: there is one entry' messages
! cmp -s first second
tap_result $? 'cached: it is somewhere else' first second
boots 'nokaslr' "$KERNEL" "linux,cache=$cache" nokaslr
tap_says 'nokaslr: where it is linked to be' "$home" console
tap_says 'nokaslr: in physical memory as well' '01000000-.*Kernel code' console
boots 'mem=' "$KERNEL" "linux,cache=$cache" mem=200M
tap_says 'mem=: where it is linked to be in physical memory' '01000000-.*Kernel code' console

# However it was packed, the same comes out; the guests are stopped before they come far.
for kind in none lz4 lzo gzip zstd xz lzma bzip2; do
	rm -rf "$cache"
	"$SKEP" run --kernel "$PACKED/$kind.bz" --protocol "linux,cache=$cache" --timeout 1 \
		</dev/null >console 2>messages
	tail -c +4097 "$cache"/*.unpacked | cmp - "$PACKED/vmlinux" >>messages 2>&1
	tap_result $? "$kind: is unpacked" messages
done
boots 'xz' "$PACKED/xz.bz" linux,cache=off

tap_end
