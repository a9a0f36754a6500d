#!/bin/bash
#
# What `cmake --install` and the Debian package hold, what the manual and the completion say, and
# that the binary is as small as it should be.
#
# usage: tests/system/package.sh BUILD (a release build)

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/system/tap.sh
. "$here/tap.sh"

readonly LARGEST=$((600 * 1024))

build=$(realpath -- "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# contains NAME PATH… : the files are below the directory.
contains() {
	local name=$1 dir=$2 path missing=''
	shift 2
	for path; do
		[[ -s $dir/$path ]] || missing+=" $path"
	done
	tap_same "$name" '' "$missing"
}

# completes NAME EXPECTED WORD… : what the shell would offer for the last word.
completes() {
	local name=$1 expected=$2
	shift 2
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	_skep
	tap_same "$name" "$expected" "${COMPREPLY[*]}"
}

documents=("$here"/../../docs/*.md "$here"/../../docs/*.png)
readonly files=(bin/skep share/man/man1/skep.1 share/bash-completion/completions/skep
	share/doc/skep/copyright share/doc/skep/README.md share/doc/skep/skep.cdx.json
	"${documents[@]/#*\//share/doc/skep/}")

# --- Installed. ---

status=0
cmake --install "$build" --prefix "$scratch/usr" >log 2>&1 || status=$?
tap_result "$status" 'cmake --install' log
contains 'it installs the binary, the manual, the completion, the documents' usr "${files[@]}"
tap_same 'and nothing else' "${#files[@]}" "$(find usr -type f | wc -l)"
tap_says 'the installed binary runs' '^skep [0-9]+\.[0-9]+' <(usr/bin/skep --version)

# --- The package. ---

status=0
cpack --config "$build/CPackConfig.cmake" -B "$scratch/deb" >log 2>&1 || status=$?
tap_result "$status" 'cpack' log
dpkg-deb -x deb/skep_*.deb root
dpkg-deb -f deb/skep_*.deb >control
contains 'the package holds the same' root/usr "${files[@]}"
tap_says 'it knows the libraries that it needs' '^Depends: .*libc6 \(>= .*liburing2' control
tap_says 'it has a section' '^Section: [a-z]+$' control
tap_says 'it says what it is' '^Description: .*virtual machine monitor' control
tap_says 'and who is answerable' '^Maintainer: skep authors' control
size=$(stat -c %s root/usr/bin/skep)
tap_result $((size > LARGEST)) "the stripped binary has $((size / 1024)) KiB, $((LARGEST / 1024)) at most"
tap_same 'it is position-independent and needs no executable stack' 1 \
	"$(readelf -hl root/usr/bin/skep | grep -cE 'Type: +DYN|GNU_STACK.* RWE')"

# --- What it is made of. ---

cp "$build/made/skep.cdx.json" bom
tap_result "$(cmp -s bom usr/share/doc/skep/skep.cdx.json && echo 0 || echo 1)" 'the bill of materials is installed'
status=0
"$here/sbom.py" "$build" >log || status=$?
cat log
((status == 0)) || tap_failures=$((tap_failures + 1))

# --- The manual and the completion. ---

mandoc -T lint -W warning usr/share/man/man1/skep.1 2>&1 | grep -v 'missing date' >log || true
tap_same 'the manual has no fault' '' "$(cat log)"
mandoc -T utf8 usr/share/man/man1/skep.1 | sed $'s/.\x08//g' >manual
missing=''
while IFS=$'\t' read -r kind command _ name _; do
	[[ $kind == flag ]] || continue
	grep -q -e "--$name" manual || missing+=" $command:--$name"
done < <("$build/skep" _tables)
tap_same 'the manual has every option of every command' '' "$missing"
tap_result "$(grep -q 'skep doctor' manual && echo 0 || echo 1)" 'and every command' manual

# There is no completion under way that it could have an effect on.
# shellcheck disable=SC2317 # the completion calls it
compopt() {
	:
}
# shellcheck source=/dev/null
. usr/share/bash-completion/completions/skep
tap_result "$(shellcheck usr/share/bash-completion/completions/skep >log && echo 0 || echo 1)" \
	'the completion is clean' log
completes 'commands' 'doctor' skep doc
completes 'options' '--kernel' skep run --ker
completes 'options of that command only' '' skep devices --ker
PATH=$scratch/usr/bin:$PATH
completes 'device models' 'uart8250' skep devices uart
touch 'a kernel'
completes 'files' 'a kernel' skep run --kernel a
completes 'files behind an equals sign' 'a kernel' skep run --kernel = a

tap_end
