#!/bin/bash
# Images and data files on block devices, which have a length of their own.
. "$(dirname "$0")/functions.sh"
requires fuse root loop qemu-img qemu-io helpers

make_device() # NAME SIZE: sets $device
{
	truncate -s "$2" "$1"
	device=$(losetup -f --show "$1")
}

same_as_raw() # [IMAGE]
{
	qemu-img compare -q -f qcow2 -F raw "${1:-$image}" raw || fail "$2"
	"$RAWCOW" check -q "${1:-$image}" || fail "check: $2"
}

make_device dev 32M
image=$device
qemu-img create -q -f qcow2 "$image" 16M
: >mnt

# written, and made smaller and larger, at rest and mounted
mount_image "$image" mnt
head -c 8M /dev/urandom >raw
dd if=raw of=mnt bs=1M conv=notrunc status=none
umount_wait mnt
truncate -s 16M raw
same_as_raw "$image" written
"$RAWCOW" resize -q --shrink "$image" 4M || fail "resize says it failed"
truncate -s 4M raw
same_as_raw "$image" smaller
"$RAWCOW" resize -q "$image" 16M
truncate -s 16M raw
same_as_raw "$image" larger
mount_image "$image" mnt -o shrinkable
truncate -s 2M mnt || fail "truncate says it failed"
[ "$(stat -c %s mnt)" = 2097152 ] || fail "mounted: size $(stat -c %s mnt)"
umount_wait mnt
truncate -s 2M raw
same_as_raw "$image" "smaller while mounted"
qemu-img check -q "$image" || fail "qemu-img check"

# what was cut off is used again
for i in 1 2 3 4 5; do
	"$RAWCOW" resize -q "$image" 24M
	qemu-io -f qcow2 -c "write -P $i 2M 20M" "$image" >/dev/null
	"$RAWCOW" resize -q --shrink "$image" 2M
done
same_as_raw "$image" "smaller again"

# commit empties an overlay on a device
truncate -s 2M base
qemu-img create -q -f qcow2 -F raw -b "$PWD/base" "$image" 2M
qemu-io -f qcow2 -c 'write -P 3 64k 1M' "$image" >/dev/null
qemu-img convert -f qcow2 -O raw "$image" raw
"$RAWCOW" commit -q -o backing=any "$image" || fail "commit says it failed"
cmp base raw || fail "commit"
same_as_raw "$image" committed

# a data file shows nothing of what the device held
make_device data-dev 4M
data=$device
truncate -s 2M raw
: >raw
truncate -s 2M raw
for opts in data_file_raw=on preallocation=metadata preallocation=falloc \
	preallocation=full data_file_raw=on,extended_l2=on; do
	tr '\0' x </dev/zero | head -c 4M | dd of="$data" status=none conv=fsync
	"$RAWCOW" create -q --force -o "data_file=$data,$opts" img 2M
	qemu-img compare -q -f qcow2 -F raw img raw || fail "$opts: old bytes"
	[ "$(tail -c 1 "$data")" = x ] || fail "$opts: more was zeroed than the disk"
	rm img
done
refuses "left|space" "$RAWCOW" create -q --force -o "data_file=$data,data_file_raw=on" img 8M

losetup -d "$image"
losetup -d "$data"
say "images and data files on block devices"
