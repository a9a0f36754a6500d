#!/bin/sh
#
# Network cards under load, with Debian's own driver: two guests on a bridge and on a socket, passt,
# the driver torn from a card at work, and the machine reset. TRAFFIC_MIB is how much goes each way
# between guests (2), an eighth of what goes between guest and host. Needs what linux.sh needs,
# MODULES, an initrd with the drivers and with traffic, TRAFFIC, that program here, and a host whose
# interfaces may be changed.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
: "${MODULES:?}" "${TRAFFIC:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1
if [ -z "${BED-}" ]; then
	tap_skip 'networks under load' 'the interfaces of this host are left alone'
	tap_end
fi
mib=${TRAFFIC_MIB:-2}
limit=$((120 + 4 * mib))

# A bridge that the host itself is on, with a port for each of two guests.
modprobe -a tun bridge
ip link add br0 type bridge
ip addr add 10.9.0.1/24 dev br0
ip link set br0 up
for port in tap0 tap1; do
	tunctl -t $port >/dev/null
	ip link set $port up
	brctl addif br0 $port
done

# driver ADDRESS [PARAMETERS] : what a guest does to have its card at work: $n and u, twice if need be.
# It has the link go down before it powers off: of a queue at work that its kernel declares broken
# then, some versions of Linux wait for ever.
driver() {
	echo "sh /modules/load; busybox insmod /modules/failover.ko; t=/modules/traffic;
		busybox insmod /modules/net_failover.ko; n='busybox insmod /modules/virtio_net.ko ${2-}';
		ip='busybox ip'; u() { until [ -e /sys/class/net/eth0 ]; do usleep 50000; done;
		\$ip addr add $1/24 dev eth0; \$ip link set eth0 up; }; \$n; u"
}
down='busybox ip link set eth0 down'

# exchanged NAME COUNT [FILE] : that many times $mib, or as many as were said, came and went.
exchanged() {
	tap_same "$1: what is sent comes, both ways" "$2" \
		"$(grep -c '^exchanged [1-9][0-9]* MiB each way' "${3:-console}")" "${3:-console}" messages
	tr -d '\r' <"${3:-console}" | grep '^# in ' || true
}

# unlost NAME COUNT [FILE] : of a flood nothing was lost.
unlost() {
	tap_says "$1: no ping is lost" "^$2 packets transmitted, $2 packets received, 0% packet loss" \
		"${3:-console}"
}

# --- Two guests, a card each: on a bridge, with all offloads, and on a socket, with none. ---

# pair NAME : boots two guests at a time. In each of a/ and b/ is what the guest does, and its options.
pair() {
	name=$1 parameters=''
	pair_boot
	if at a lost || at b lost; then
		repeated=$((repeated + 1))
		tail -n 5 a/console b/console | sed 's/^/# /'
		pair_boot
	fi
	tap_same "$name: both powered off" '0 0' "$(cat a/status) $(cat b/status)" \
		a/console a/messages b/console b/messages
}

# at DIRECTORY COMMAND…
at() (
	cd "$1" && shift && "$@"
)

# shellcheck disable=SC2317 # at calls it
lost() {
	status=$(cat status)
	linux_lost
}

pair_boot() {
	[ -z "${relayed-}" ] || "$TRAFFIC" relay a/socket b/socket &
	sleep 1
	at a boot_one &
	pair=$!
	at b boot_one
	wait $pair
}

# shellcheck disable=SC2317 # at calls it
boot_one() {
	commands=$(cat commands)
	# shellcheck disable=SC2046 # they are words without blanks
	linux_boot --initrd "$MODULES" --timeout "$limit" $(cat options)
	echo "$status" >status
}

# The second guest leaves checksums and segments to nobody else. For it the host first passes on what
# the first one left to others, and then does it.
mkdir a b
echo "$(driver 10.9.0.2); \$t run 10.9.0.3 5001 $mib 4; busybox ping -Aqc 300 10.9.0.3 & q=\$!;
	busybox ping -Aqs 1400 -c 300 10.9.0.3; wait \$q; echo make it plain;
	\$t run 10.9.0.3 5001 $mib 2; $down" >a/commands
echo '--net tap=tap0,packed=on,queue-size=32' >a/options
echo "$(driver 10.9.0.3 'csum=0 gso=0'); \$t serve 5001 6; echo served \$?; $down" >b/commands
echo '--net tap=tap1,transport=mmio,queue-size=32768' >b/options
(
	until grep -qs '^make it plain' a/console; do
		usleep 50000
	done
	"$TRAFFIC" plain tap1
	echo $? >plain
) &
helper=$!
pair 'on a bridge'
kill $helper 2>/dev/null
tap_same 'on a bridge: the host does what is left to it' 0 "$(cat plain)"
exchanged 'on a bridge' 2 a/console
tap_says 'on a bridge: the other end agrees' '^served 0' b/console
unlost 'on a bridge' 300 a/console

echo "$(driver 10.9.0.2); \$t run 10.9.0.3 5001 $mib 2; busybox ping -Aqc 300 10.9.0.3;
	\$t run 10.9.0.3 5001 1; $down" >a/commands
echo '--net stream=socket' >a/options
echo "$(driver 10.9.0.3); \$t serve 5001 3; echo served \$?; $down" >b/commands
echo '--net stream=socket,packed=on' >b/options
relayed=1
pair 'on a socket'
exchanged 'on a socket' 2 a/console
tap_says 'on a socket: the other end agrees' '^served 0' b/console
unlost 'on a socket' 300 a/console

# --- passt: the guest has the host's address from it, and the host behind the gateway's. ---

"$TRAFFIC" serve 5001 2>/dev/null &
server=$!
if [ -n "${PASST-}" ]; then
	# What passt looks for: a way out, though nobody answers there.
	ip link add br1 type bridge
	ip addr add 192.0.2.2/24 dev br1
	ip link set br1 up
	ip route add default via 192.0.2.1
	export PATH="$PATH:${PASST%/*}"
	linux 'passt' '' "$(driver 10.9.0.2); \$ip addr flush dev eth0;
		echo '[ \$1 != bound ] || { busybox ip addr add \$ip/\$mask dev eth0; echo \$ip \$router; }' \
		>/dhcp; busybox chmod +x /dhcp; busybox udhcpc -i eth0 -nq -s /dhcp;
		\$t run 192.0.2.1 5001 1 2; $down" --initrd "$MODULES" --net passt
	tap_same 'passt: powered off' 0 "$status" messages console
	tap_says 'passt: an address by DHCP' '^192.0.2.2 192.0.2.1' console
	exchanged 'passt' 1
	ip link del br1
else
	tap_skip 'passt' 'there is none'
fi

# --- The host: the driver is taken from a card at work, on each bus that it hangs on, and as a module. ---

# shellcheck disable=SC2016 # it is for the shell in the guest
torn='p=$(busybox readlink -f /sys/class/net/eth0/device); for d in $p ${p%/*} module; do
	$t run 10.9.0.1 5001 0 3 2>/dev/null & q=$!; usleep 300000; if [ $d = module ]; then
	busybox rmmod virtio_net; $n; else cd $d/driver; echo ${d##*/} >unbind; ls /sys/class/net;
	echo ${d##*/} >bind; fi; kill $q; busybox killall -q traffic; u; $t run 10.9.0.1 5001 1 &&
	echo back; done'
linux 'torn' '' "$(driver 10.9.0.2); $torn; \$t run 10.9.0.1 5001 $((8 * mib)) 4;
	busybox ping -Aqc 300 10.9.0.1; $down" \
	--initrd "$MODULES" --net tap=tap0 --cpus 2 --timeout "$limit"
tap_same 'torn: powered off' 0 "$status" messages console
tap_same 'torn: the card is gone, twice' 2 "$(tr -d '\r' <console | grep -cx lo)" console
tap_same 'torn: and back, three times' 3 "$(grep -c '^back' console)" console
exchanged 'torn' 4
unlost 'torn' 300

# --- The machine is reset while frames come and go; the third time it is left in peace. ---

echo >count
truncate -s 4k count
# shellcheck disable=SC2016 # as above
again='read -r c </dev/vda; echo x$c >/dev/vda; sync; case $c in xx*) $t run 10.9.0.1 5001 1;; *)
	$t run 10.9.0.1 5001 0 3 & usleep 700000; echo b >/proc/sysrq-trigger; esac'
linux 'reset' '' "$(driver 10.9.0.2);
	busybox insmod /modules/virtio_blk.ko; $again; $down" \
	--initrd "$MODULES" --net tap=tap0,transport=mmio --disk count --on-reset reboot
tap_same 'reset: powered off' 0 "$status" messages console
tap_says 'reset: twice' '"resets": 2' result.json
exchanged 'reset' 1
kill $server

tap_end
