#!/bin/bash
#
# A bzImage's kernel, as each compressor would have packed it, and not packed at all.
#
# usage: tests/system/recompress.sh BZIMAGE DIRECTORY
#
# Leaves DIRECTORY/vmlinux, and DIRECTORY/KIND.bz for each kind of compression: the setup code of
# BZIMAGE, and what is packed. There is no code to unpack it, so only who does that by itself can
# boot it. The compressors have their fastest settings, but for what kernels' builds ask of them.

set -euo pipefail

image=$1 to=$2

# number OFFSET BYTES : a little-endian field of the image.
number() {
	od -An -v -t "u$2" -j "$1" -N "$2" "$image" | tr -d ' '
}

# le32 NUMBER
le32() {
	local hex
	hex=$(printf '%08x' "$1")
	printf '%b' "\\x${hex:6:2}\\x${hex:4:2}\\x${hex:2:2}\\x${hex:0:2}"
}

setup=$((($(number 497 1) + 1) * 512)) # boot.rst, setup_sects
offset=$(number 584 4)                 # payload_offset
length=$(number 588 4)                 # payload_length

# What is packed, without its length behind it, which gzip needs.
packed() {
	dd if="$image" iflag=skip_bytes,count_bytes skip=$((setup + offset)) count="$1" bs=1M status=none
}

case $(packed 4 | od -An -t x1 | tr -d ' ') in
02214c18) packed $((length - 4)) | lz4 -dc ;;
1f8b*) packed "$length" | gzip -dc ;;
fd377a58) packed $((length - 4)) | xz -dc ;;
28b52ffd) packed $((length - 4)) | zstd -dc ;;
425a68*) packed $((length - 4)) | bzip2 -dc ;;
5d0000*) packed $((length - 4)) | xz --format=lzma -dc ;;
894c5a4f) packed $((length - 4)) | lzop -dc ;;
*) echo "recompress: unknown compression" >&2 && exit 1 ;;
esac >"$to/vmlinux"
size=$(stat -c %s "$to/vmlinux")

# pack KIND COMMAND… : from stdin to stdout.
pack() {
	local kind=$1 out bytes
	shift
	out=$to/$kind.bz
	{
		head -c $((setup + offset)) "$image"
		"$@" <"$to/vmlinux"
		case $kind in
		gzip | none) ;;
		*) le32 "$size" ;;
		esac
	} >"$out"
	bytes=$(($(stat -c %s "$out") - setup))
	# boot.rst, syssize and payload_length
	le32 $(((bytes + 15) / 16)) | dd of="$out" bs=1 seek=500 conv=notrunc status=none
	le32 $((bytes - offset)) | dd of="$out" bs=1 seek=588 conv=notrunc status=none
}

pack none cat
pack lz4 lz4 -l -1 -c
pack lzo lzop -1 -c
pack gzip gzip -n -1 -c
pack zstd zstd -q -1 -c
pack xz xz --check=crc32 --x86 --lzma2=preset=0,dict=32MiB -c
pack lzma xz --format=lzma -0 -c
pack bzip2 bzip2 -1 -c
