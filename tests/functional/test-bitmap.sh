#!/bin/bash
# Bitmaps that QEMU made note exactly what programs change through a mount, and
# QEMU reads them; what QEMU has noted rawcow keeps. After a kill they are marked
# as in use, for QEMU as well.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io nbdinfo helpers

# The dirty extents of bitmap $2 of image $1, as QEMU says them.
dirty()
{
	local n
	rm -f sock
	qemu-nbd -r -t -f qcow2 -B "$2" -k "$tmp/sock" "$1" &
	pid=$!
	for n in $(seq 100); do [ -S sock ] && break; sleep 0.05; done
	nbdinfo --map=qemu:dirty-bitmap:"$2" "nbd+unix:///?socket=$tmp/sock" |
		awk '/dirty/ { print $1, $2 }'
	kill $pid
	wait $pid || true
}

# Image $1, bitmap $2: exactly these extents are dirty: "start length ...".
dirty_are()
{
	local got want
	got=$(dirty "$1" "$2" | tr '\n' ' ')
	want=$(printf '%s %s ' "${@:3}")
	[ "$got" = "$want" ] || [ -z "$got${*:3}" ] ||
		fail "$1, bitmap $2: dirty are '$got', not '$want'"
}

flags_are()
{
	local got
	got=$(qemu-img info -U --output=json "$1" | python3 -c '
import json, sys
for b in json.load(sys.stdin)["format-specific"]["data"].get("bitmaps", []):
    print(b["name"] + ":" + "+".join(b["flags"]), end=" ")')
	[ "$got" = "$2" ] || fail "$1: flags are '$got', not '$2'"
}

k=1024
for cluster in 512 4k 64k 2M; do
	qemu-img create -q -f qcow2 -o cluster_size=$cluster img 4M
	qemu-img bitmap --add -g 512 img fine
	qemu-img bitmap --add -g 64k img coarse
	qemu-img bitmap --add -g 64k --disable img still
	qemu-io -f qcow2 -c 'write 3M 1k' img >/dev/null
	qemu-img convert -f qcow2 -O raw img raw
	mount_image img mnt
	disk=mnt oracle=raw
	flags_are img "fine:auto coarse:auto still: "
	both write 100000 1000 2
	both write 100200 10 3			# noted already
	flags_are img "fine:in-use+auto coarse:in-use+auto still: "
	both fallocate punch 1M $((130 * k))
	both fallocate zero $((2048 * k + 700)) 5
	umount_wait mnt
	check_clean img
	same_content img raw
	flags_are img "fine:auto coarse:auto still: "
	# the kernel writes whole pages, and says exactly what it punches
	dirty_are img fine 98304 4096 1048576 133120 2097664 512 3145728 1024
	dirty_are img coarse 65536 65536 1048576 196608 2097152 65536 3145728 65536

	# QEMU goes on with them, and so do we after it
	qemu-io -f qcow2 -c 'write 0 512' img >/dev/null
	mount_image img mnt
	"$HELPERS" fsync mnt 2>/dev/null || true	# changes nothing
	umount_wait mnt
	dirty_are img coarse 0 131072 1048576 196608 2097152 65536 3145728 65536
	dirty_are img still
done

# Another size: cut, or extended; what is new has changed. The disabled one as
# well.
qemu-img create -q -f qcow2 img 1M
qemu-img bitmap --add -g 64k img b
qemu-img bitmap --add -g 4k img off
qemu-io -f qcow2 -c 'write 0 1k' -c 'write 960k 1k' img >/dev/null
qemu-img bitmap --disable img off
"$RAWCOW" resize -q img 2M
check_clean img
flags_are img "b:auto off: "
dirty_are img b 0 65536 983040 1114112
qemu-img bitmap --enable img off
dirty_are img off 0 4096 983040 4096
"$RAWCOW" resize -q --shrink img 512k
check_clean img
dirty_are img b 0 65536
dirty_are img off 0 4096

# A snapshot that comes back changes all there is (QEMU refuses that).
qemu-img create -q -f qcow2 img 1M
qemu-img snapshot -c s img
qemu-img bitmap --add img b
"$RAWCOW" snapshot -a s img
check_clean img
dirty_are img b 0 1048576

# Killed: of no use any more, and everybody sees it. It stays so.
qemu-img bitmap --add --disable img off
mount_pid img mnt
"$HELPERS" write mnt 0 4096 5
"$HELPERS" fsync mnt
kill -9 "$daemon"
wait_for 10 gone "$daemon"
umount mnt 2>/dev/null || umount -l mnt 2>/dev/null || fusermount3 -uz mnt
flags_are img "b:in-use+auto off: "
mount_image img mnt
"$HELPERS" write mnt 8192 4096 5
umount_wait mnt
flags_are img "b:in-use+auto off: "
check_clean img

# A bitmap that cannot be kept right is not left behind: no writing.
qemu-img create -q -f qcow2 img 4G
for i in 1 2 3 4; do qemu-img bitmap --add -g 512 img b$i; done
off=$((0x$(peek img $((0x$(peek img 100 4) + 392 + 8 + 16)) 8)))
poke img $((off + 12)) 00000006
poke img $((off + 17)) 20
mount_image img mnt
"$HELPERS" write mnt 0 512 1 2>err && fail "written in spite of its bitmap"
umount_wait mnt
