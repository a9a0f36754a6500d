#!/bin/sh
#
# Disks under load, with Debian's own driver: every cache and overlay, every size of ring, the driver
# unloaded and torn from a disk at work, the machine reset and killed in the middle of its writes, and
# a root file system. KILLS is how often it is killed (4). Needs what linux.sh needs, MODULES, an initrd
# with the drivers and with verify, VERIFY, that program here, and e2fsprogs.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
: "${MODULES:?}" "${VERIFY:?}"
scratch=$(mktemp -d)
trap 'cd /; given_back; rm -rf "$scratch" "$scratch.fs"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
if ! command -v mkfs.ext4 >/dev/null || ! command -v e2fsck >/dev/null; then
	tap_skip 'disks under load' 'there is no e2fsprogs'
	tap_end
fi

# shellcheck disable=SC2317 # the trap calls it
# given_back : Linux lets go of what a process had in an io_uring a moment after its end.
given_back() {
	tries=50
	while grep -q " $scratch " /proc/mounts && ! umount -d "$scratch" 2>/dev/null; do
		[ $((tries = tries - 1)) -gt 0 ] || return
		sleep 0.1
	done
}

# Not in memory, where there is no O_DIRECT, and nothing for io_uring to wait for.
if [ -n "${BED-}" ]; then
	modprobe loop
	truncate -s 512M "$scratch.fs"
	mkfs.ext4 -q "$scratch.fs"
	mount -o loop "$scratch.fs" "$scratch"
fi
cd "$scratch" || exit 1
export TMPDIR="$scratch"

DRIVER='sh /modules/load; busybox insmod /modules/virtio_blk.ko; v=/modules/verify'

# said WORDS : how many of the guest's programs said that of their disk.
said() {
	tr -d '\r' <console | grep -cE "^/[a-z/]+ $1\$"
}

# raw NAME… : new images without anything in them.
raw() {
	rm -f "$@"
	for image; do
		truncate -s 2M "$image"
	done
}

# --- Every cache, with and without an overlay, through and past the host's page cache. ---

set --
plain='' covered='' disks=0
for cache in writeback writethrough unsafe; do
	for overlay in none temporary file; do
		for direct in off on; do
			# An overlay goes through the page cache, and memory has no other way.
			[ $direct = off ] || { [ -n "${BED-}" ] && [ $overlay = none ]; } || continue
			image=$cache-$overlay-$direct
			disks=$((disks + 1))
			raw "$image"
			case $overlay in
			none) plain="$plain $image" ;;
			*) covered="$covered $image" ;;
			esac
			case $overlay in
			none) options='' ;;
			temporary) options=,overlay=temporary ;;
			file) options=,overlay=$image.overlay ;;
			esac
			set -- "$@" --disk "$image,cache=$cache,direct=$direct$options"
		done
	done
done
linux 'modes' '' "$DRIVER; cd /dev; for d in vd?; do \$v write /dev/\$d 0 200 & done; wait;
	for d in vd?; do \$v write /dev/\$d 1000 100 buffered & done; wait" \
	--initrd "$MODULES" --cpus 2 "$@"
tap_same 'modes: powered off' 0 "$status" messages console
tap_same 'modes: what was written is read' "$disks $disks" \
	"$(said 'verified 200') $(said 'verified 100')" console
for image in $plain; do
	"$VERIFY" check "$image" 1000 1100 >seen 2>&1
	tap_result $? "modes: $image has it" seen
done
truncate -s 2M zeroes
for image in $covered; do
	cmp zeroes "$image" >seen 2>&1
	tap_result $? "modes: $image is as it was" seen
done

# --- Every size of ring, of one kind or the other; the driver goes and comes back, under load as well. ---

# reloads : takes the module away and loads it again, with the disks idle.
reloads='busybox rmmod virtio_blk && busybox insmod /modules/virtio_blk.ko; echo reloaded $?'
# torn : takes the driver from the disk while it writes, by each of the buses it hangs on.
# shellcheck disable=SC2016 # it is for the shell in the guest
torn='p=$(busybox readlink -f /sys/block/vda/device); for n in $p ${p%/*}; do $v write /dev/vda 0 0 &
	usleep 300000; cd $n/driver; echo ${n##*/} >unbind; wait $!; echo torn $?; echo ${n##*/} >bind;
	$v write /dev/vda 2000 40; done'
set --
rings=''
for size in 4 4-packed 8 16-packed 32 64-packed 128 256-packed 512 1024-packed 2048 4096-packed 8192 \
	16384-packed 32768 32768-packed; do
	packed=off doorbell=ports
	[ "$size" = "${size%-packed}" ] || { packed=on doorbell=memory; }
	raw "ring-$size"
	set -- "$@" --disk "ring-$size,queue-size=${size%-packed},packed=$packed,doorbell=$doorbell"
	size=${size%-packed}
	rings="$rings$((size > 256 ? 254 : size - 2)) "
done
linux 'rings' '' "$DRIVER; cd /dev; cat /sys/block/vd?/queue/max_segments; for d in vd?; do
	\$v write /dev/\$d 0 50 & done; wait; $reloads; until set -- vd?; [ \$# = 16 ]; do
	usleep 50000; done; for d in vd[b-p]; do \$v write /dev/\$d 1000 150 & done; $torn; wait;
	busybox insmod /modules/virtio-rng.ko; dd if=/dev/hwrng bs=500 count=2 2>/dev/null | wc -c" \
	--initrd "$MODULES" --cpus 2 --device virtio_rng,queue-size=1 "$@"
tap_same 'rings: powered off' 0 "$status" messages console
tap_same 'rings: no request is longer than its ring, and one is enough for entropy' \
	"${rings}1000 " "$(tr -d '\r' <console | grep -xE '[0-9]+' | tr '\n' ' ')" console
tap_same 'rings: what was written is read' 16 "$(said 'verified 50')" console
tap_says 'rings: the module is loaded again' '^reloaded 0' console
tap_same 'rings: the driver is taken from a disk at work, twice' 2 \
	"$(grep -c '^torn 1' console)" console
tap_same 'rings: and is back' 2 "$(said 'verified 40')" console
tap_same 'rings: the other disks do not notice' 15 "$(said 'verified 150')" console
for size in 1 2; do
	timeout 20 "$SKEP" run --kernel "$KERNEL" --disk "ring-4,queue-size=$size" >stdout 2>stderr
	tap_same "rings: one of $size is too short for a request" 125 $? stderr
	tap_says "rings: one of $size is refused with the reason" 'queue-size is at least 4' stderr
done

# --- The machine is reset while the disk writes; the third time it is left in peace. ---

raw reset count
echo | dd of=count conv=notrunc 2>/dev/null
linux 'reset' '' "$DRIVER; read -r n </dev/vdb; echo x\$n >/dev/vdb; sync; case \$n in
	xx*) \$v write /dev/vda 9000 100;; *) \$v write /dev/vda 0 0 & sleep 0.5; reboot -f;; esac" \
	--initrd "$MODULES" --disk reset --disk count --on-reset reboot
tap_same 'reset: powered off' 0 "$status" messages console
tap_same 'reset: what is written behind it is read' 1 "$(said 'verified 100')" console
tap_says 'reset: twice' '"resets": 2' result.json

# --- A root file system. ---

mkdir root
(cd root && cpio -id <"$INITRD" 2>/dev/null && rm init && mkdir -p sbin root)
cat >root/sbin/init <<'END'
#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
grep ' / ' /proc/mounts
echo from the root >/root/file
dd if=/dev/urandom of=/root/random bs=64k count=30 2>/dev/null
busybox sha256sum </root/random >/root/sum
busybox mount -o remount,ro /
cat /root/file
echo 3 >/proc/sys/vm/drop_caches
busybox sha256sum </root/random | cmp - /root/sum && echo the same
poweroff -f
END
chmod +x root/sbin/init
truncate -s 16M rootfs
mkfs.ext4 -q -d root rootfs
linux 'root' '' "$DRIVER; mkdir /new; mount /dev/vda /new; exec busybox switch_root /new /sbin/init" \
	--initrd "$MODULES" --disk rootfs
tap_same 'root: powered off' 0 "$status" messages console
tap_says 'root: it is on the disk' '^/dev/vda / ext4 rw' console
tap_says 'root: it was written, and read-only then' '^from the root' console
tap_says 'root: what was written is read' '^the same' console
e2fsck -fn rootfs >fsck 2>&1
tap_result $? 'root: the file system is clean' fsck

# --- Killed while it writes and flushes, an image and an overlay at once. ---

# Each boot looks at what the last one left, before it writes by itself: first for errors of the file
# systems (the overlay's in a copy, before it is mounted), then for all that was flushed.

truncate -s 16M killed base
mkfs.ext4 -q killed
mkfs.ext4 -q base
before=$(sha256sum <base)

# flushed WHERE CONSOLE : up to where the guest heard that it was. The kill may have cut the last line
# short, in the middle of its number: what ends a line of a terminal has to be there.
flushed() {
	tr '\r' ';' <"$2" | sed -n "s:^/$1/f flushed \([0-9]*\);\$:\1:p" | tail -n 1
}

# checks FIRST : what the guest does to look at what was left of a run from FIRST on.
checks() {
	for at in a b; do
		end=$(flushed $at console.killed)
		# shellcheck disable=SC2016 # as above
		printf '$v check /%s/f %s %s blocks && ' $at "$1" "${end:-none}"
	done
	echo 'echo all is there;'
}

# writes FIRST : what the guest does until it is killed: two loads, and files that come and go.
writes() {
	for at in a b; do
		# shellcheck disable=SC2016 # as above
		printf '$v write /%s/f %s 0 blocks tell & ' $at "$1"
	done
	echo 'cd /a; while mkdir d && cp /init d/1 && sync && mv d/1 /b/1 && rm -r d /b/1; do :; done'
}

# kill_boot FIRST CHECKS DELAY : returns 1 when it ended by itself.
kill_boot() {
	rm -f copy
	truncate -s 16M copy
	: >console
	"$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" --initrd "$MODULES" --memory 256M \
		-o cpus.hide=kvm-pv-eoi --timeout 100 --disk killed --disk base,overlay=overlay --disk copy --append "quiet \
		console=ttyS0 RUN=\"$DRIVER; dd if=/dev/vdb of=/dev/vdc bs=1M conv=fsync 2>/dev/null;
		mkdir /a /b; mount /dev/vda /a; mount /dev/vdb /b; $2 rm -rf /a/d /b/1;
		echo it writes; $(writes "$1")\"" </dev/null >console 2>messages &
	until kill_is_due "$1"; do
		kill -0 $! 2>/dev/null || return 1
		sleep 0.1
	done
	sleep "$3"
	kill -KILL $! 2>/dev/null
	wait $! 2>/dev/null
	return 0
}

# kill_is_due FIRST : each of both loads has flushed all that it writes first, and more.
kill_is_due() {
	for at in a b; do
		end=$(flushed $at console)
		[ "${end:-0}" -ge $(($1 + 40)) ] || return 1
	done
}

kills=${KILLS:-4}
kill=0 look=''
while [ $((kill = kill + 1)) -le "$kills" ]; do
	first=${kill}0000000
	if ! kill_boot "$first" "$look" "0.$((kill * 37 % 100))"; then
		repeated=$((repeated + 1))
		echo "# kill $kill: once more, for it ended by itself: $(tail -n 1 messages)"
		! grep -q '^it writes' console || look=''
		kill_boot "$first" "$look" 0
	fi
	cp console console.killed
	if [ -n "$look" ]; then
		grep -q '^all is there' console
		tap_result $? "kill $((kill - 1)): all that was flushed is there" console messages
	fi
	for image in killed copy; do
		e2fsck -p "$image" >fsck 2>&1
		tap_result $(($? > 1)) "kill $kill: the file system in '$image' recovers" fsck
	done
	look=$(checks "$first")
done
linux 'killed' '' "$DRIVER; mkdir /a /b; mount /dev/vda /a; mount /dev/vdb /b; $look umount /a;
	umount /b; dd if=/dev/vdb of=/dev/vdc bs=1M conv=fsync 2>/dev/null" \
	--initrd "$MODULES" --disk killed --disk base,overlay=overlay --disk copy
tap_same 'killed: powered off' 0 "$status" messages console
tap_says "kill $kills: all that was flushed is there" '^all is there' console
for image in killed copy; do
	e2fsck -fn "$image" >fsck 2>&1
	tap_result $? "killed: the file system in '$image' is clean" fsck
done
tap_same 'killed: the image below the overlay is as it was' "$before" "$(sha256sum <base)"

tap_end
