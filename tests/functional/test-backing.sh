#!/bin/bash
# Chains of qcow2 and raw files, shorter and longer than the overlay: read as
# QEMU reads them, written only in the overlay.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

disk=mnt
oracle=raw
sparse_raw base.raw 20000256
sparse_raw long.raw 64M
qemu-img convert -f raw -O qcow2 -o cluster_size=4096 base.raw base.qcow2
qemu-img convert -c -f raw -O qcow2 base.raw packed.qcow2
qemu-img create -q -f qcow2 -o compat=0.10 -b base.raw -F raw mid.qcow2 30M
qemu-io -f qcow2 -c 'write -P 9 5M 3M' -c 'write -P 8 25000000 70000' mid.qcow2 >/dev/null

# chain BASE FORMAT SIZE CLUSTER
chain()
{
	local sums

	sums=$(sum_of base.raw long.raw base.qcow2 packed.qcow2 mid.qcow2)
	qemu-img create -q -f qcow2 -o cluster_size="$4" -b "$1" -F "$2" over "$3"
	qemu-io -f qcow2 -c 'write -z 1M 1M' -c 'write -P 5 3000000 99999' over >/dev/null
	qemu-img convert -f qcow2 -O raw over raw
	mount_image over mnt
	same_file mnt raw
	both write 100 5 1
	both write 6999999 300000 2
	both write $((20000256 - 1000)) 2000 3
	both write 19M 4k 4 direct
	both fallocate punch 2500000 2500000
	both fallocate zero-keep 10M 65536
	both fallocate punch 13M 1
	same_file mnt raw
	"$HELPERS" fsync mnt
	umount_wait mnt
	check_clean over
	same_content over raw
	mount_image over mnt -o ro
	same_file mnt raw
	umount_wait mnt
	[ "$sums" = "$(sum_of base.raw long.raw base.qcow2 packed.qcow2 mid.qcow2)" ] ||
		fail "a backing file was written"
	rm over raw
}

chain base.raw raw 32M 65536	# shorter, its end inside a cluster
chain base.qcow2 qcow2 32M 65536
chain base.qcow2 qcow2 32M 512
chain base.qcow2 qcow2 32M 2M
chain long.raw raw 21M 65536	# longer
chain packed.qcow2 qcow2 40M 8192
chain mid.qcow2 qcow2 28M 65536	# two below
chain mid.qcow2 qcow2 40M 65536

# Read-only mounts of a chain take a read-only host file.
qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 over
qemu-img convert -f qcow2 -O raw over raw
mount_image over mnt -o backing_file=mid.qcow2:qcow2
same_file mnt raw
umount_wait mnt
# Another backing file than the header's; it is not recorded.
sum=$(sum_of over)
qemu-img convert -f qcow2 -O raw base.qcow2 raw2
mount_image over mnt -o ro,backing_file=base.raw:raw
cmp -n 20000256 mnt base.raw
umount_wait mnt
[ "$sum" = "$(sum_of over)" ] || fail "the overlay was changed"
# From another working folder.
mkdir elsewhere
(cd elsewhere && mount_image ../over mnt && same_file mnt ../raw && umount_wait mnt)
check_clean over
