#!/bin/bash
# SEEK_DATA and SEEK_HOLE: no byte of data lies in a reported hole, and wide
# areas that are allocated nowhere are reported as holes.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

# no_data_in_holes DISK: checks the extents, leaves the bytes of data in $data
no_data_in_holes()
{
	local kind start end at=0

	data=0
	"$HELPERS" extents "$1" >list
	while read -r kind start end; do
		[ "$start" = "$at" ] || fail "extents have a gap at $at"
		at=$end
		if [ "$kind" = data ]; then
			data=$((data + end - start))
		else
			"$HELPERS" read "$1" "$start" $((end - start)) |
				cmp -s -n $((end - start)) - /dev/zero ||
				fail "data in the hole at $start"
		fi
	done <list
	[ "$at" = "$(stat -c %s "$1")" ] || fail "extents end at $at"
}

disk=mnt
oracle=raw
sparse_raw raw 96M
qemu-img convert -f raw -O qcow2 raw img
mount_image img mnt
no_data_in_holes mnt
[ "$data" -ge 2970000 ] || fail "only $data bytes of data"
[ "$data" -lt $((16 << 20)) ] || fail "$data bytes of data: holes are not seen"
[ "$("$HELPERS" seek mnt hole 96M)" = ENXIO ] || fail "SEEK_HOLE at the end"
[ "$("$HELPERS" seek mnt data 97M)" = ENXIO ] || fail "SEEK_DATA past the end"
[ "$("$HELPERS" seek mnt data 0)" = 0 ] || fail "SEEK_DATA at 0"

both write 80M 128k 5
"$HELPERS" fsync mnt
[ "$("$HELPERS" seek mnt data 80M)" = $((80 << 20)) ] || fail "new data is not seen"
both fallocate punch 32M 2500000
no_data_in_holes mnt
same_file mnt raw
umount_wait mnt
check_clean img

# Through a backing file, where the overlay hides some of it.
qemu-img create -q -f qcow2 -b img -F qcow2 over 128M
qemu-io -f qcow2 -c 'write -z 0 64k' -c 'write -P 3 100M 64k' over >/dev/null
mount_image over mnt -o ro
no_data_in_holes mnt
[ "$("$HELPERS" seek mnt data 97M)" = $((100 << 20)) ] || fail "past the end of the backing file"
[ "$data" -lt $((16 << 20)) ] || fail "$data bytes of data through a backing file"
umount_wait mnt

# A large empty disk costs nothing.
qemu-img create -q -f qcow2 big 8T
mount_image big mnt -o ro
[ "$("$HELPERS" seek mnt data 0)" = ENXIO ] || fail "data in an empty disk"
[ "$("$HELPERS" seek mnt hole 5000G)" = $((5000 << 30)) ] || fail "hole in an empty disk"
umount_wait mnt

# Several programs seek at once while they write. A hang would last for ever, in
# the kernel: then the server has to go.
rm -f img
qemu-img create -q -f qcow2 img 1M
mount_pid img mnt
"$HELPERS" seekers mnt 4 "$(pick 100 300 5000)" &
seekers=$!
wait_for 60 gone $seekers || { kill -9 "$daemon"; fail "seekers hang"; }
wait $seekers || fail "seekers exit $?"
umount_wait mnt
