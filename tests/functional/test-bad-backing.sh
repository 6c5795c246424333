#!/bin/bash
# Backing files that are missing, forbidden, no files at all, or that loop.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

: >mnt
mkdir in out
qemu-img create -q -f qcow2 out/base 4M
qemu-img create -q -f qcow2 in/base 4M
qemu-img create -q -f raw out/raw 4M

# overlay NAME [FORMAT]: in/over with that backing name, unchecked
overlay() { qemu-img create -q -u -f qcow2 -b "$1" -F "${2:-qcow2}" in/over 4M; }
refused()
{
	local sum

	sum=$(find in out -type f -exec sha256sum {} +)
	refuses_mount "$1" in/over mnt
	refuses_mount "$1" in/over mnt -o ro
	[ "$sum" = "$(find in out -type f -exec sha256sum {} +)" ] || fail "a file was changed"
}
works()
{
	mount_image in/over mnt "$@"
	umount_wait mnt
}

overlay none
refused "none"
overlay base
works
refuses_mount "base" in/over mnt -o backing=none
overlay ../out/base
refused "backing"
works -o backing=any
works -o backing_file=in/base:qcow2
overlay "$tmp/out/base"
refused "backing"
works -o backing=any
overlay "$tmp/in/base"
works
ln -s ../out/base in/link
overlay link
refused "backing|link"
works -o backing=any
overlay /etc/passwd raw
refused "backing|passwd"
for name in 'json:{"driver":"qcow2","file.filename":"base"}' nbd://localhost/x \
	file:base nbd:unix:/tmp/none 'http://localhost/base'; do
	overlay "$name" raw
	refused "backing|name"
	refuses_mount "." in/over mnt -o backing=any
done
mkfifo in/fifo
overlay fifo raw
refused "fifo|regular"
rm in/fifo
mkdir in/folder
overlay folder raw
refused "folder|regular|directory"
rmdir in/folder
overlay /dev/null raw
refuses_mount "null|regular" in/over mnt -o backing=any

# No format on record: never guessed.
overlay base
at=$((0x$(peek in/over 100 4)))
[ "$(peek in/over $at 4)" = e2792aca ] || fail "the format extension has moved"
poke in/over $at 12345678
refused "format"
works -o backing_file=in/base:qcow2
# An unknown one.
overlay base
poke in/over $((at + 8)) 766d646b00
refused "format|vmdk"
# The base is not what the record says.
head -c 4M /dev/urandom >in/noise
overlay noise
refused "noise|qcow2"
rm in/noise
head -c 70000 in/base >in/cut
overlay cut
refused "cut"
rm in/cut

# Loops: of one, of two; and a chain that is too deep.
overlay over
refused "loop|itself|twice|cycle|chain"
qemu-img create -q -u -f qcow2 -b over -F qcow2 in/two 4M
overlay two
refused "loop|itself|twice|cycle|chain"
rm in/two
qemu-img create -q -f qcow2 in/d0 4M
for ((i = 1; i <= 70; i++)); do
	cp in/over in/d$i
	qemu-img create -q -u -f qcow2 -b d$((i - 1)) -F qcow2 in/d$i 4M
done
mv in/d70 in/over
refused "deep|depth|chain|long"
cp in/d30 in/over
works -o ro
