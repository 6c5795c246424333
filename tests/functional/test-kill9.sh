#!/bin/bash
# kill -9 of the mount at random times under load: the image is never corrupt,
# and what an fsync has acknowledged is there.
test_limit=240
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

kills=$(pick 5 25 200)
each=5 # kills of one image
blocks=2000
seed=${RAWCOW_TEST_SEED:-$RANDOM}
say "seed $seed (RAWCOW_TEST_SEED to repeat)"
RANDOM=$seed
: >mnt

fresh()
{
	rm -f img state
	qemu-img create -q -f qcow2 -o "$1" img 32M
	if [ "$2" = snapshot ]; then
		qemu-img snapshot -c empty img
	fi
}

layouts=(cluster_size=65536 "cluster_size=512,refcount_bits=64" cluster_size=4096
	cluster_size=2M "cluster_size=65536,compat=0.10")
hows=("" direct)
synced=0
for ((i = 0; i < kills; i++)); do
	if [ $((i % each)) = 0 ]; then
		fresh "${layouts[i / each % 5]}" "$([ $((i / each % 2)) = 0 ] || echo snapshot)"
	fi
	mount_pid img mnt -o commit_interval=1
	"$HELPERS" stamp mnt state $blocks 4096 "$RANDOM" "${hows[$((i % 2))]}" >progress 2>stopped &
	writer=$!
	at_end_kill $writer
	# A kill before the file is open would end the writer, not a write.
	wait_for 30 grep -q open progress || fail "the writer does not open the disk"
	sleep 0.$((RANDOM % 6000 + 1000))
	kill -9 "$daemon"
	wait $writer || fail "writer: $(cat stopped)"
	wait_for 10 gone "$daemon"
	umount mnt 2>/dev/null || umount -l mnt 2>/dev/null || fusermount3 -uz mnt
	synced=$((synced + $(grep -c '^[0-9]' progress)))
	check_not_corrupt img
	qemu-img convert -f qcow2 -O raw img raw
	"$HELPERS" stampcheck raw state >bad ||
		{ cat bad >&2; fail "kill $i of seed $seed: data was lost or changed"; }
done
[ "$synced" -ge "$kills" ] || fail "only $synced fsyncs in $kills rounds"

# It goes on from there: mounted, written and unmounted the usual way.
mount_image img mnt
"$HELPERS" stampcheck mnt state >/dev/null || fail "after the next mount"
"$HELPERS" write mnt 20M 1M 1
umount_wait mnt
check_not_corrupt img
say "$kills kills, $synced fsyncs"
