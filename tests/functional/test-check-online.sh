#!/bin/bash
# rawcow check MOUNTPOINT: a running image is checked while it is written,
# without false alarms, and what is wrong with it is found.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io jq helpers

# Write, discard and flush all over the second half of mnt until "go" is gone.
busy()
{
	local i=0 off

	while [ -e go ]; do
		off=$((32 + RANDOM % 31))
		"$HELPERS" write mnt ${off}M $((RANDOM * 16 + 1)) $((i++)) || return 0
		[ $((i % 3)) != 0 ] || fallocate -p -o $((off << 20)) -l 512K mnt || :
		[ $((i % 5)) != 0 ] || sync mnt
	done
}

build()
{
	qemu-img create -q -f qcow2 -o cluster_size=4k img 64M
	qemu-io -f qcow2 -c 'write -P 1 0 20M' -c 'write -P 2 40M 4M' img >/dev/null
	qemu-img snapshot -c s img
	qemu-io -f qcow2 -c 'write -P 3 1M 5M' img >/dev/null
}

# Sound, at rest and under load, with snapshots coming and going.
build
mount_image img mnt
"$RAWCOW" check --json mnt >out || fail "at rest: exit $?: $(cat out)"
jq -e '.problems == [] and ."check-errors" == 0 and ."moving-clusters" == null' \
	out >/dev/null || fail "at rest: $(cat out)"
: >go
busy & load=$!
for ((i = 0; i < $(pick 3 10 100); i++)); do
	status=0
	"$RAWCOW" check --json mnt >out || status=$?
	[ $status = 0 ] || fail "false alarm $i: exit $status: $(cat out)"
	jq -e '.problems == []' out >/dev/null || fail "false alarm: $(cat out)"
	case $((i % 4)) in
	1) "$RAWCOW" snapshot -c "t$i" mnt ;;
	3) "$RAWCOW" snapshot -d "t$((i - 2))" mnt ;;
	esac
done
"$RAWCOW" check mnt >out || fail "exit $?: $(cat out)"
grep -q "No errors" out || fail "$(cat out)"
! gone $load || fail "nobody has written meanwhile"
rm go
wait $load
refuses "unmount" "$RAWCOW" check -r all mnt
umount_wait mnt
qemu-img check -q img || fail "qemu-img is not content afterwards"

# A leak, and a flag that is wrong, where nobody writes.
rm img
build
reftable=$((0x$(peek img 48 8)))
block=$((0x$(peek img $reftable 8)))
poke img $((block + 2046 * 2)) 0003
mount_image img mnt
: >go
busy & load=$!
for ((i = 0; i < $(pick 2 5 50); i++)); do
	status=0
	"$RAWCOW" check --json mnt >out || status=$?
	case $status in
	2 | 3) jq -e '.problems | length == 1' out >/dev/null || fail "$(cat out)" ;;
	*) fail "what is wrong is not found: exit $status: $(cat out)" ;;
	esac
done
! gone $load || fail "nobody has written meanwhile"
rm go
wait $load
umount_wait mnt
