#!/bin/sh
#
# `skep smoke` with Debian's own kernel: a panic, a command's status, a folder of the host's, and what
# is typed. What needs no Linux is in tests/guest. Needs SKEP, KERNEL, INITRD and a /dev/kvm that runs
# stock kernels.

: "${SKEP:?}" "${KERNEL:?}" "${INITRD:?}"
# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1

# smoke OPTION… : leaves status, the console, the messages and the result.
smoke() {
	status=0
	rm -f result.json
	"$SKEP" smoke --kernel "$KERNEL" --memory 256M --timeout 120 --result result.json \
		--append 'console=ttyS0 quiet' "$@" </dev/null >console 2>messages || status=$?
}

# verdict NAME STATUS WORD
verdict() {
	word=$(sed -n 's/.*"verdict": "\([^"]*\)".*/\1/p' result.json)
	tap_same "$1" "$2 $3" "$status $word" messages console
}

smoke
verdict 'no root file system' 101 panic
tap_says 'no root file system: why' '"pattern": "no-root"' result.json

# Without a folder or an initrd, the host's busybox; its programs are there by name.
smoke --exec 'uname && exit 7'
verdict 'the status of a command' 7 code
tap_says 'the status of a command: its output' '^Linux' console

# A folder, in which one file has two names; and a signal, which has a status above a guest's codes.
mkdir -p root/bin root/etc
cp /bin/busybox root/bin/busybox
ln -s busybox root/bin/sh
ln root/bin/busybox root/bin/cat
echo 'of the host' >root/etc/file
# shellcheck disable=SC2016 # the guest's shell expands it
smoke --root root --until-end \
	--exec 'cat /etc/file; [ /bin/cat -ef /bin/busybox ] && echo -n "name? "; read -r name; echo "hello, $name"; kill -9 $$' \
	-e '^of the host$' -e 'name\? ' --send 'skep\n' -e '^hello, skep$' --within 60
verdict 'a folder, what is typed, and a signal' 99 code
tap_same 'a folder, what is typed, and a signal: expectations that are met' 3 \
	"$(grep -c '"met": true' result.json)" messages console
tap_says 'a folder, what is typed, and a signal: the status' 'wrote 137 ' messages

tap_end
