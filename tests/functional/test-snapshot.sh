#!/bin/bash
# Internal snapshots are never harmed by writing to the live disk, and stay
# usable for QEMU.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

disk=mnt
oracle=raw

run()
{
	rm -f img raw ./*.snap
	qemu-img create -q -f qcow2 -o "$1" img 48M
	qemu-io -f qcow2 -c 'write -P 1 0 20M' -c 'write -P 2 30000000 99999' img >/dev/null
	qemu-img convert -f qcow2 -O raw img one.snap
	qemu-img snapshot -c one img
	qemu-io -f qcow2 -c 'write -P 3 5M 2M' -c 'write -z 8M 1M' img >/dev/null
	qemu-img convert -f qcow2 -O raw img two.snap
	qemu-img snapshot -c two img
	cp two.snap raw

	mount_image img mnt
	same_file mnt raw
	both write 1000001 4000000 4
	both write 30000000 100 5
	both write 45M 1M 6 direct
	both fallocate punch 6M 5000000
	both fallocate zero-keep 15M 2M
	"$HELPERS" fsync mnt
	both write 6500000 700000 7
	same_file mnt raw
	umount_wait mnt
	check_clean img
	same_content img raw
	for snap in one two; do
		qemu-img convert -f qcow2 -O raw -l snapshot.name=$snap img out
		same_file out $snap.snap
	done

	# QEMU takes a third and goes back, rawcow writes again.
	qemu-img snapshot -c three img
	cp raw three.snap
	qemu-img snapshot -a one img
	cp one.snap raw
	mount_image img mnt
	same_file mnt raw
	both write 2M 12345678 8
	umount_wait mnt
	check_clean img
	same_content img raw
	for snap in one two three; do
		qemu-img snapshot -a $snap img
		qemu-img compare -f qcow2 -F raw img $snap.snap >/dev/null ||
			fail "$1: snapshot $snap is not what it was"
		qemu-img snapshot -d $snap img
	done
	check_clean img
}

run cluster_size=65536
run cluster_size=512
run cluster_size=4096,refcount_bits=4
run cluster_size=1M,refcount_bits=64
run compat=0.10,cluster_size=65536
