#!/bin/bash
# Several threads on one disk, buffered and direct, against counters.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

ops=$(pick 400 1500 20000)
seed=${RAWCOW_TEST_SEED:-$RANDOM}
say "seed $seed (RAWCOW_TEST_SEED to repeat)"

# run IMAGE OPTIONS [MOUNT OPTIONS]
run()
{
	local opts=$1

	shift
	rm -f img
	qemu-img create -q -f qcow2 -o "$opts" img 32M
	[ "${snapshot:-no}" = no ] || qemu-img snapshot -c s img
	mount_image img mnt "$@"
	"$HELPERS" threads mnt 6 "$ops" "$seed" raw >out || { cat out >&2; fail "$opts $*"; }
	umount_wait mnt
	check_clean img
	same_content img raw
}

run cluster_size=65536
run cluster_size=2M
run cluster_size=512 -o cache=none
run cluster_size=4096,refcount_bits=1 -o commit_interval=1
run cluster_size=1M -o l2_cache_size=1M,cluster_cache_size=1M,commit_interval=1
snapshot=yes run cluster_size=65536 -o cache=writethrough
truncate -s 32M zero
qemu-img convert -f raw -O qcow2 zero back
run cluster_size=65536,backing_file=back,backing_fmt=qcow2
