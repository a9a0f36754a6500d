#!/bin/bash
#
# That what is built is hardened as cmake/flags.cmake means it: in the program's headers, in what it
# imports, and, by gcc, in how each of its files was compiled. And that no path of this machine is in
# it.
#
# usage: tests/system/hardening.sh BUILD… (release builds)

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/system/tap.sh
. "$here/tap.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# has NAME PATTERN FILE, lacks NAME PATTERN FILE
has() {
	tap_result "$(grep -qE -e "$2" "$scratch/$3" && echo 0 || echo 1)" "$name: $1" "$scratch/$3"
}

lacks() {
	tap_same "$name: $1" '' "$(grep -E -e "$2" "$scratch/$3" | head -n 5)"
}

# What the loader writes to lies before the end of what it makes read-only.
inside_relro() {
	local start size relro got
	read -r _ _ start _ _ size _ < <(grep GNU_RELRO "$scratch/segments")
	relro=$((start + size))
	while read -r start size; do
		got=$((16#$start + 16#$size))

		((got <= relro)) || return 1
	done < <(grep -q ' \.got' "$scratch/sections" || echo "ffffffff 0"; sed -nE 's/.* \.(got|got\.plt|data\.rel\.ro|dynamic|init_array) +[A-Z_]+ +([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+).*/\2 \3/p' \
		"$scratch/sections")
}

# By gcc, the debug information tells the options of each file; clang's says which checks there are.
by_gcc() {
	local option
	readelf --debug-dump=info --dwarf-depth=1 -W "$1/skep" | grep DW_AT_producer |
		grep -v 'GNU AS' >"$scratch/units" || true
	has 'it tells how it was compiled' 'GNU C11' units
	for option in -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
		-ftrivial-auto-var-init=zero; do
		tap_same "$name: all files with $option" '' "$(grep -v -e " $option" "$scratch/units" | head -n 3)"
	done
	# The program itself has no note, for the C library's start files have none.
	find "$1/CMakeFiles/skep_parts.dir" "$1/CMakeFiles/skep_devices.dir" -name '*.o' \
		-exec readelf -n {} + >"$scratch/notes"
	tap_same "$name: all objects are marked for branch tracking and shadow stacks" \
		"$(grep -c '^File:' "$scratch/notes")" "$(grep -c 'IBT, SHSTK' "$scratch/notes")"
}

by_clang() {
	readelf -sW "$1/skep" >"$scratch/symbols"
	has 'indirect calls are checked by the type of what they call' ' [a-z_0-9]+\.cfi(_jt)?$' symbols
	lacks 'no name has a hash of a path in it' '\.llvm\.[0-9]+$' symbols
}

check() {
	local build=$1
	name=$(basename "$build")
	readelf -hW "$build/skep" >"$scratch/header"
	readelf -lW "$build/skep" >"$scratch/segments"
	readelf -SW "$build/skep" >"$scratch/sections"
	readelf -dW "$build/skep" >"$scratch/dynamic"
	readelf --dyn-syms -W "$build/skep" >"$scratch/imports"
	has 'it is position-independent' 'Type: +DYN' header
	has 'it says so' 'FLAGS_1.* PIE' dynamic
	has 'all symbols are bound at the start' 'FLAGS.* (BIND_)?NOW' dynamic
	tap_result "$(inside_relro && echo 0 || echo 1)" \
		"$name: what is relocated is read-only behind that" "$scratch/segments" "$scratch/sections"
	has 'it names the rights of its stack' 'GNU_STACK' segments
	lacks 'its stack is not executable' 'GNU_STACK.*E 0x' segments
	lacks 'no segment is writable and executable' ' (RWE|WE) +0x' segments
	lacks 'no library is looked for at a path of its own' 'RPATH|RUNPATH' dynamic
	lacks 'no code is relocated' 'TEXTREL' dynamic
	has 'stacks are protected' '__stack_chk_fail' imports
	has 'the C library checks sizes' '__vsnprintf_chk|__snprintf_chk' imports
	tap_same "$name: no path of this machine is in it" 0 \
		"$(strings -a "$build/skep" | grep -cF -e "$(cd "$here/../.." && pwd)" || true)"
	if grep -q 'CMAKE_C_COMPILER:.*clang' "$build/CMakeCache.txt"; then
		by_clang "$build"
	else
		by_gcc "$build"
	fi
}

for build; do
	check "$build"
done
tap_end
