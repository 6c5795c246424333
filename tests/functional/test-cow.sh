#!/bin/bash
# -o cow: the image is never changed; the overlay is one for QEMU as well, can be
# continued, and one without a name leaves nothing behind.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

disk=mnt
oracle=raw
mkdir sub var
head -c 3M /dev/urandom >base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw img 4M
qemu-io -f qcow2 -c 'write -P 5 1M 300k' img >/dev/null
qemu-img convert -O raw img raw
cp raw before.raw
sum=$(sum_of img)

for over in sub/over.qcow2 "" ; do
	cp before.raw raw
	TMPDIR=$tmp/var mount_image img mnt -o "cow${over:+=$over}"
	same_file mnt raw
	both write 100000 500000 1
	both write 2M 307200 2 direct
	both fallocate punch 1M 65536
	"$HELPERS" fsync mnt
	same_file mnt raw
	[ -z "$(ls var)" ] || fail "the nameless overlay has a name"
	# QEMU is kept out of the image as from any backing file in use
	refuse_status=1
	! qemu-io -f qcow2 -c 'write 0 512' img >/dev/null 2>&1 ||
		fail "the image can be written below its overlay"
	umount_wait mnt
	[ "$sum" = "$(sum_of img)" ] || fail "the image was changed"
	[ -z "$over" ] || same_content sub/over.qcow2 raw
	[ -z "$over" ] || check_clean sub/over.qcow2
done

# continued
qemu-img convert -O raw sub/over.qcow2 raw
mount_image img mnt -o cow=sub/over.qcow2
same_file mnt raw
both write 3M 100000 7
same_file mnt raw
umount_wait mnt
same_content sub/over.qcow2 raw
check_clean sub/over.qcow2

# an image that may not be written is no obstacle
chmod 444 img
mount_image img mnt -o cow
"$HELPERS" write mnt 0 4096 1
umount_wait mnt
[ "$sum" = "$(sum_of img)" ] || fail "the image was changed"

refuse_status="1 2"
refuses_mount "not a qcow2" img mnt -o cow=base.raw
qemu-img create -q -f qcow2 other 1M
other=$(sum_of other)
refuses_mount "exists.*overlay" img mnt -o cow=other
[ "$other" = "$(sum_of other)" ] || fail "another file was changed"
refuses_mount "cow" img mnt -o cow,ro
# recorded with another format: QEMU would read something else below it
qemu-img create -q -f qcow2 -b img -F raw asraw 1M
refuses_mount "exists.*overlay" img mnt -o cow=asraw
# one file more than a chain may have: nothing is left
qemu-img create -q -f qcow2 c1 1M
for ((i = 2; i <= 64; i++)); do
	qemu-img create -q -u -f qcow2 -b c$((i - 1)) -F qcow2 c$i 1M
done
refuses_mount "chain|64" c64 mnt -o cow=new.qcow2
[ ! -e new.qcow2 ] || fail "an overlay that cannot be opened is left"
refuses_mount "nosuch" img mnt -o cow=nosuch/over
refuses_mount "nosuch" nosuch mnt -o cow=new.qcow2
[ ! -e new.qcow2 ] || fail "an overlay over nothing is left"
refuses_mount "pid file" img mnt -o cow=new.qcow2 --pidfile "$tmp/nosuch/pid"
[ ! -e new.qcow2 ] || fail "an overlay of no mount is left"
if [ ! -e /sys/fs/selinux ]; then # what the kernel refuses
	refuses_mount "cannot mount" img mnt -o cow=new.qcow2,context=nosuch
	[ ! -e new.qcow2 ] || fail "an overlay that is not mounted is left"
fi

# two that begin at once: the one that comes too late leaves the other its file
if can_inject; then
	refuse_status=1
	mount_image img mnt -o cow=late
	mkdir second
	refuses "late.*(lock|use)" inject_enoent access "$tmp/late" \
		"$RAWCOW" -f img second -o cow=late
	[ -e late ] || fail "the overlay of a running mount was removed"
	umount_wait mnt
fi
