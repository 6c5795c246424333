#!/bin/bash
# Bitmaps that QEMU made note exactly what programs change through a mount, and
# QEMU reads them; what QEMU has noted rawcow keeps. After a kill they are marked
# as in use, for QEMU as well.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io qemu-nbd nbdinfo jq helpers

# The dirty extents of bitmap $2 of image $1, as QEMU says them.
dirty()
{
	rm -f sock
	qemu-nbd -r -t -f qcow2 -B "$2" -k "$tmp/sock" "$1" &
	pid=$!
	wait_for 10 test -S sock
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
	[ $# -gt 2 ] || want=
	[ "$got" = "$want" ] ||
		fail "$1, bitmap $2: dirty are '$got', not '$want'"
}

flags_are()
{
	local got
	got=$(qemu-img info -U --output=json "$1" | jq -j '."format-specific".data.bitmaps // [] |
		.[] | .name + ":" + (.flags | join("+")) + " "')
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

# --- rawcow bitmap, read by QEMU -------------------------------------------------

# Every layout of the header that QEMU makes, with and without a backing file.
truncate -s 1M base.raw
for opts in "" "-o cluster_size=512" "-o cluster_size=1k" "-b base.raw -F raw" \
	"-o cluster_size=4k -b base.raw -F raw" "-o cluster_size=512 -b base.raw -F raw"; do
	# shellcheck disable=SC2086
	qemu-img create -q -f qcow2 $opts img 1M
	"$RAWCOW" bitmap --add -g 512 img one
	"$RAWCOW" bitmap --add --disable img two
	flags_are img "one:auto two: "
	check_clean img
	qemu-io -f qcow2 -c 'write 5k 1k' img >/dev/null
	"$RAWCOW" map --bitmap one --json img | jq -c . >got
	echo '[{"start":0,"length":5120,"dirty":false},{"start":5120,"length":1024,"dirty":true},{"start":6144,"length":1042432,"dirty":false}]' |
		cmp - got || fail "map --bitmap says $(cat got)"
	"$RAWCOW" bitmap --merge one img two
	"$RAWCOW" bitmap --clear img one
	dirty_are img one
	case $opts in	# the granularity of the second is the usual one
	*cluster_size=*) dirty_are img two 4096 4096 ;;
	*) dirty_are img two 0 65536 ;;
	esac
	"$RAWCOW" bitmap --remove img one
	"$RAWCOW" bitmap --remove img two
	flags_are img ""
	check_clean img
	case $opts in
	*base*) qemu-img info img | grep -q 'backing file: base.raw' || fail "no backing file" ;;
	esac
	qemu-img bitmap --add img again		# and QEMU finds its way
	check_clean img
done

# With an external data file, and with subclusters.
for opts in data_file=ext.raw "data_file=ext.raw,data_file_raw=on" extended_l2=on; do
	rm -f ext.raw
	qemu-img create -q -f qcow2 -o "$opts" img 4M
	"$RAWCOW" bitmap --add -g 4k img b
	: >mnt
	mount_image img mnt
	"$HELPERS" write mnt 1M 8192 7
	"$HELPERS" fallocate mnt punch 2M 4096
	umount_wait mnt
	check_clean img
	flags_are img "b:auto "
	dirty_are img b 1048576 8192 2097152 4096
done

# From one image to another; as a list.
qemu-img create -q -f qcow2 src 1M
qemu-img create -q -f qcow2 img 1M
qemu-img bitmap --add -g 64k src s
qemu-img bitmap --add -g 4k img t
qemu-io -f qcow2 -c 'write 100k 1k' src >/dev/null
"$RAWCOW" bitmap --merge s -b src img t
dirty_are img t 65536 65536
"$RAWCOW" bitmap --json img >ours
qemu-img info --output=json img | jq '."format-specific".data.bitmaps' >theirs
cmp <(jq -S . ours) <(jq -S . theirs) || fail "the list differs from QEMU's"
refuses "no bitmap has the name" "$RAWCOW" bitmap --clear img none
refuses "already" "$RAWCOW" bitmap --add img t
refuses "power of two" "$RAWCOW" bitmap --add -g 1000 img u
refuses "which bitmap" "$RAWCOW" bitmap --add img
qemu-img create -q -f qcow2 -o compat=0.10 old 1M
refuses "version 2" "$RAWCOW" bitmap --add old b

# A mount that goes on meanwhile.
: >mnt
mount_image img mnt
"$HELPERS" write mnt 0 4096 1
"$RAWCOW" bitmap --add -g 4k mnt live		# what was written before is not in it
"$RAWCOW" bitmap --disable mnt t
"$HELPERS" write mnt 8192 4096 1
"$HELPERS" fsync mnt
"$RAWCOW" bitmap --add -g 4k mnt later
"$RAWCOW" bitmap --merge live mnt later
"$RAWCOW" bitmap --clear mnt live
"$HELPERS" write mnt 16384 4096 1
"$RAWCOW" bitmap mnt | grep -q later || fail "not listed"
refuses "not mounted" "$RAWCOW" bitmap --merge s -b src mnt later
long=$(printf '%01023d' 1)	# as long as a name may be
"$RAWCOW" bitmap --add --disable mnt "$long"
"$RAWCOW" bitmap --merge "$long" mnt later
"$RAWCOW" bitmap --remove mnt "$long"
umount_wait mnt
check_clean img
flags_are img "t: live:auto later:auto "
dirty_are img t 0 4096 65536 65536
dirty_are img live 16384 4096
dirty_are img later 8192 4096 16384 4096
