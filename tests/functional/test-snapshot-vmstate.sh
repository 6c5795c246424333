#!/bin/bash
# vmstate is what QEMU has saved of a machine: behind the disk in a snapshot's
# tables. QEMU writes it and reads it back; only its length is put in by hand,
# since no machine runs here.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

# record IMAGE: where the only record of the snapshot table is
record() { echo $((0x$(peek "$1" 64 8))); }

# set_state IMAGE BYTES
set_state()
{
	local at

	at=$(record "$1")
	poke "$1" $((at + 32)) "$(be32 $(($2 & 0xffffffff)))"
	[ "$(peek "$1" $((at + 36)) 4)" = 00000000 ] ||
		poke "$1" $((at + 40)) "$(be64 "$2")"
}

mkdir mnt
state=$((1100 * 1024 + 123))
for o in cluster_size=64k cluster_size=512,compat=0.10 cluster_size=2M; do
	for size in 5M 100; do
		rm -f img raw
		qemu-img create -q -f raw raw 40M
		qemu-io -f raw -c 'write -P 9 0 40M' raw >/dev/null
		# longer than the disk: what nobody has saved is zero all the same
		qemu-img create -q -f qcow2 -o $o -b raw -F raw img $size
		qemu-io -f qcow2 -c 'write -P 5 0 512' -c 'write -b -P 0xab 0 300k' \
			-c 'write -b -P 0xcd 1M 79872' img >/dev/null
		qemu-img snapshot -c s img
		qemu-io -f qcow2 -c 'write -P 6 0 512' img >/dev/null
		set_state img $state
		{
			head -c 300k /dev/zero | tr '\0' '\253'
			head -c 724k /dev/zero
			head -c $((state - (1 << 20))) /dev/zero | tr '\0' '\315'
		} >want
		mount_image img mnt
		[ "$(ls mnt/snapshots/s)" = "disk.raw
vmstate" ] || fail "$o: $(ls mnt/snapshots/s)"
		[ "$(stat -c %s mnt/snapshots/s/vmstate)" = $state ] || fail "size"
		# while the disk is written
		"$HELPERS" write mnt/disk.raw 0 512 7
		same_file mnt/snapshots/s/vmstate want
		cp --sparse=always mnt/snapshots/s/vmstate copy
		same_file copy want
		# a new snapshot has none
		mkdir mnt/snapshots/none
		[ "$(ls mnt/snapshots/none)" = disk.raw ] || fail "none: vmstate"
		rmdir mnt/snapshots/none
		umount_wait mnt
		check_clean img
		qemu-img snapshot -a s img
		qemu-io -f qcow2 -c 'read -b -P 0xab 0 300k' \
			-c 'read -b -P 0xcd 1M 79872' img >io.out 2>&1
		! grep -q fail io.out || fail "QEMU lost it: $(cat io.out)"
	done
done

# Lengths that no table can hold: the state cannot be read, the disk can.
rm -f img
qemu-img create -q -f qcow2 img 5M
qemu-io -f qcow2 -c 'write -P 5 0 5M' img >/dev/null
qemu-img convert -O raw img raw
qemu-img snapshot -c s img
for n in 0xffffffffffffffff 0x7fffffffffffffff 0x100000000000; do
	set_state img $n
	mount_image img mnt
	stat mnt/snapshots/s/vmstate >/dev/null || fail "stat"
	! head -c 4096 mnt/snapshots/s/vmstate >/dev/null 2>&1 || fail "$n: read"
	same_file mnt/snapshots/s/disk.raw raw
	"$HELPERS" write mnt/disk.raw 0 4096 1
	umount_wait mnt
done
# a disk larger than its tables, and one larger than anything
at=$(record img)
for n in 0x20000000000 0x7fffffffffffffff 0xfffffffffffffe00; do
	poke img $((at + 48)) "$(be64 $n)"
	if "$RAWCOW" img mnt 2>err.txt; then
		! head -c 4096 mnt/snapshots/s/disk.raw >/dev/null 2>&1 || fail "$n: read"
		[ $n = 0x20000000000 ] ||
			refuses "disk size" "$RAWCOW" snapshot -a s mnt
		umount_wait mnt
	fi
done
