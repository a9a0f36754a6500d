#!/bin/bash
#
# trace.sh SKEP IMAGES : records payload guests and looks at what `skep trace` says of them, of whole
# files, of those of a run that was killed, and of spoilt ones.
#
# Exit status: 0 passed, 1 failed, 77 this host cannot run guests (and a line that says why).

set -euo pipefail
skep=$1 images=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

if [[ ! -r /dev/kvm || ! -w /dev/kvm ]]; then
	echo 'SKIPPED: /dev/kvm is not there, or not for this user'
	exit 77
fi

fail() {
	echo "FAILED  $*"
	failed=$((failed + 1))
}

# says FILE REGEX… : each is a line of FILE, in this order.
says() {
	local file=$1 at=1 found regex
	shift
	for regex; do
		found=$(tail -n "+$at" "$file" | grep -nEm 1 -- "$regex" | cut -d : -f 1) || true
		if [[ -z $found ]]; then
			fail "there is no '$regex' behind line $at of:"
			tail -n "+$at" "$file" | head -n 40
			return
		fi
		at=$((at + found))
	done
}

# record NAME OPTION… : what is printed of NAME is in $work/NAME.
record() {
	local name=$1 status=0
	shift
	timeout -s KILL 60 "$skep" run --trace "$work/$name.trace" "$@" </dev/null \
		>"$work/console" 2>"$work/messages" || status=$?
	((status != 126)) || { echo "SKIPPED: $(<"$work/messages")"; exit 77; }
	((status == 0)) || fail "$name ended with $status: $(<"$work/messages")"
	"$skep" trace "$work/$name.trace" >"$work/$name" || fail "$name cannot be read"
}

# refused NAME WORDS : the file costs one sentence and status 125.
refused() {
	local status=0
	"$skep" trace "$work/$1" >"$work/out" 2>"$work/messages" || status=$?
	((status == 125)) || fail "$1 is read with status $status"
	[[ $(wc -l <"$work/messages") == 1 ]] || fail "$1 costs more than a sentence"
	grep -q "$2" "$work/messages" || fail "$1 is told as: $(<"$work/messages")"
}

record demo
says "$work/demo" 'control  phase +created$' 'phase +loaded$' 'vcpu 0 +enter$' \
	'vcpu 0 +exit +io write of 1 byte at 3fb' 'vcpu 0 +write +com1 LCR = 03 8N1$' \
	'vcpu 0 +enter +after' "write +com1 THR = .. 's'\$" 'write +exit EXIT = 00 code 0$' \
	'end +code: the guest ended with code 0$'

record pic -k "$images/pic.bz"
says "$work/pic" 'write +pic0 ICW1 = 1[0-9] edge, cascade, ICW4 follows$' 'write +pic0 ICW2 = ' \
	'write +pic0 ICW3 = 04 ' 'write +pic0 ICW4 = ' 'write +pic0 OCW1 = ff all masked$' \
	'irq +4 high by com1$' 'inta +pic irq 4, vector 24$' 'write +pic0 OCW2 = 64 specific EOI 4$' \
	'eoi +pic irq 4, vector 24$' 'irq +4 low by com1$'
"$skep" trace --count "$work/pic.trace" >"$work/counts"
says "$work/counts" '^event +count$' '^inta +[1-9]' '^exit .*outside' '^io +[1-9].* us' \
	'^register' '^pic0 OCW2 ' '^irq ' '^ +4 com1 +[1-9][0-9]* +[1-9][0-9]* .* us'
"$skep" trace --irq 4 --kind inta "$work/pic.trace" >"$work/some"
if grep -qv 'inta *pic irq 4' "$work/some" || [[ ! -s $work/some ]]; then
	fail '--irq and --kind let other events through'
fi
"$skep" trace --device pic0 "$work/pic.trace" >"$work/some"
if grep -qvE '(read|write) +pic0 ' "$work/some" || [[ ! -s $work/some ]]; then
	fail '--device lets other events through'
fi
if "$skep" trace --symbols "$images/pic.elf" "$work/pic.trace" \
	>"$work/some" 2>"$work/messages"; then
	says "$work/some" 'exit .* rip [0-9a-f]+ guest_main' 'write .*, in guest_main'
elif ! grep -q libelf "$work/messages"; then
	fail "--symbols: $(<"$work/messages")"
fi
[[ $("$skep" trace --vcpu 0 --to 1us "$work/pic.trace" | wc -l) == 0 ]] || fail '--to is late'

truncate -s 1M "$work/disk"
record vblk -k "$images/vblk.bz" -d "$work/disk"
says "$work/vblk" 'write +pci CONFIG_ADDRESS = ' 'write +disk0 device_status = .* DRIVER_OK' \
	'disk0 +notify +disk0 queue 0' 'disk0 +pop +disk0 queue 0 chain [0-9]+, ' 'disk0 +submit' \
	'disk0 +done +disk0 queue 0 chain' 'disk0 +publish +disk0 queue 0' 'disk0 +signal +disk0 vector'
"$skep" trace --count "$work/vblk.trace" >"$work/counts"
says "$work/counts" '^queue ' '^disk0 +0 +[1-9].* us'

# A run that is killed, and read while it still goes on.
"$skep" run -a 'quiet reset' --timeout 120 --trace "$work/killed.trace,size=8M" </dev/null >"$work/console" 2>&1 &
pid=$!
for ((i = 0; i < 600; i++)); do
	# Two, so that what is behind the first is there.
	resets=$("$skep" trace --kind reset "$work/killed.trace" 2>/dev/null | grep -c 'machine$') || true
	((${resets:-0} < 2)) || break
	sleep 0.1
done
kill -KILL $pid || fail 'the run that was to be killed had ended'
wait $pid 2>/dev/null || true
"$skep" trace "$work/killed.trace" >"$work/killed" || fail 'the trace of a killed run cannot be read'
says "$work/killed" 'vcpu 0 +enter' 'reset +machine$' 'phase +running$' 'vcpu 0 +exit'

# Spoilt files.
head -c 100000 "$work/demo.trace" >"$work/short"
refused short 'cut short'
head -c 100 "$work/demo.trace" >"$work/shorter"
refused shorter 'cut short'
: >"$work/empty"
refused empty 'not a trace'
cp "$work/demo.trace" "$work/garbled"
printf '\377' | dd of="$work/garbled" bs=1 seek=16 conv=notrunc 2>/dev/null
refused garbled 'version'
refused missing 'No such file'

((failed)) || echo 'ok      trace'
exit $((failed > 0))
