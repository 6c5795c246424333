#!/bin/bash
# Data files that are missing, forbidden, no files at all, too short, or
# somebody else's; and which files are opened at all.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

: >mnt
mkdir in out
qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=off in/good 4M
rm -f d
at=112
[ "$(peek in/good $at 4)" = 44415441 ] || fail "the data file extension has moved"

# named NAME: in/img names that data file
named()
{
	local len=${#1} hex

	hex=$(printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n')
	[ "$len" -le 380 ] || fail "too long"
	cp in/good in/img
	# over the feature names, with an end behind it
	poke in/img $((at + 4)) "$(be32 "$len")${hex}$(printf '%016d' 0)0000000000000000"
}
refused()
{
	local sum

	sum=$(find in out -type f -exec sha256sum {} +)
	refuses_mount "$1" in/img mnt
	refuses_mount "$1" in/img mnt -o ro
	[ "$sum" = "$(find in out -type f -exec sha256sum {} +)" ] || fail "a file was changed"
	# the tables can be looked at all the same
	"$RAWCOW" info in/img >/dev/null
	"$RAWCOW" check -q in/img >/dev/null || fail "check needs the data file"
}
works()
{
	mount_image in/img mnt "$@"
	"$HELPERS" read mnt 0 4M | cmp - <(head -c 4M /dev/zero)
	umount_wait mnt
}
truncate -s 4M in/d out/d

named none
refused "data file.*none|none"
works -o data_file=in/d
named d
works
refuses_mount "d.*backing=none" in/img mnt -o backing=none
named ../out/d
refused "data file.*outside"
says "backing=any"
works -o backing=any
works -o data_file=out/d
named "$tmp/out/d"
refused "data file.*outside"
works -o backing=any
named "$tmp/in/d"
works
ln -s ../out/d in/link
named link
refused "data file.*(outside|link)"
works -o backing=any
named /etc/passwd
refused "data file.*passwd"
for name in 'json:{"driver":"file","filename":"d"}' nbd://localhost/x file:d \
	nbd:unix:/tmp/none http://localhost/d; do
	named "$name"
	refused "plain path"
	refuses_mount "plain path" in/img mnt -o backing=any
done
named $'\033[2Jevil'
refused "evil"
! grep -q $'\033' <<<"$message" || fail "an escape sequence was printed"
mkfifo in/fifo
named fifo
refused "fifo|regular"
rm in/fifo
mkdir in/folder
named folder
refused "folder|regular|directory"
rmdir in/folder
named /dev/null
refuses_mount "null|regular" in/img mnt -o backing=any

# no name; a NUL in it; two files for one; the image itself; a backing file
named d
poke in/img $at 12345678
refused "does not name its data file"
says "data_file=PATH"
works -o data_file=in/d
named dxd
poke in/img $((at + 9)) 00
refuses_mount "NUL" in/img mnt
refuses_mount "NUL" in/img mnt -o ro
"$RAWCOW" check in/img >out.check && fail "check has nothing against a NUL"
grep -q "NUL byte" out.check || fail "$(cat out.check)"
works -o data_file=in/d
named img
refused "loop"
qemu-img create -q -f qcow2 in/plain 4M
refuses_mount "no external data file" in/plain mnt -o data_file=in/d
named d
qemu-img create -q -u -f qcow2 -b img -F qcow2 in/over 4M
mount_image in/over mnt
umount_wait mnt
qemu-img create -q -u -f qcow2 -b d -F raw in/over 4M
mount_image in/over mnt
umount_wait mnt

# too short: a raw one is all of the disk; of another one clusters that hold
# nothing may be missing, and what is missing of others is an error, not zero
truncate -s 3M in/d
works
named d
poke in/img 95 02
refused "3145728.*4194304"
named d
truncate -s 4M in/d
mount_image in/img mnt
"$HELPERS" write mnt 3500000 1000 1
umount_wait mnt
truncate -s 3M in/d
mount_image in/img mnt
"$HELPERS" read mnt 0 3M | cmp - <(head -c 3M /dev/zero)
! "$HELPERS" read mnt 3500000 1000 >/dev/null 2>&1 || fail "missing data reads as zero"
umount_wait mnt
truncate -s 4M in/d

# not writable: said, and readable with ro
if [ "$(id -u)" != 0 ]; then
	named d
	chmod a-w in/d
	refuses_mount "d.*(denied|permission)" in/img mnt
	mount_image in/img mnt -o ro
	umount_wait mnt
	chmod u+w in/d
fi

# nothing is opened but what the policy allows
if command -v strace >/dev/null; then
	named "$tmp/out/d"
	for cmd in "info in/img" "check in/img" "map in/img" "in/img mnt"; do
		# the search for leaks does not work under strace
		# shellcheck disable=SC2086
		ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 \
			strace -f -qq -y -e trace=open,openat,openat2,creat -o trace \
			"$RAWCOW" $cmd >/dev/null 2>&1 || true
		files_opened trace >opened
		grep -qFx "$tmp/in/img" opened || fail "$cmd: $(cat trace)"
		! grep -Fx "$tmp/out/d" opened || fail "$cmd opens out/d"
	done
fi

# locks: byte for byte QEMU's, and with the same effect
locks_of() # PID: bytes locked in in/d
{
	local inode

	inode=$(stat -c %i in/d)
	cat /proc/"$1"/fdinfo/* 2>/dev/null | awk -v i=":$inode\$" '/^lock:/ && $7 ~ i { print $8 "-" $9 }' | sort
}
hold() # MODE: QEMU holds the data file, through a copy of the image
{
	rm -f held
	# shellcheck disable=SC2046
	qemu-io $([ "$1" = rw ] || echo -r) -f qcow2 copy <go >held 2>&1 &
	holder=$!
	at_end_kill $holder
	exec 7>go
	echo length >&7
	wait_for 10 grep -q MiB held || fail "qemu-io: $(cat held)"
}
release()
{
	exec 7>&-
	wait $holder || true
}
named "$tmp/in/d"
cp in/img copy
mkfifo go
for mode in ro rw; do
	hold $mode
	locks_of $holder >locks.qemu
	release
	mount_pid in/img mnt -o $mode
	locks_of "$daemon" | diff locks.qemu - || fail "$mode: other locks than QEMU's"
	[ -s locks.qemu ] || fail "QEMU holds no locks"
	umount_wait mnt
	for other in ro rw; do
		hold $mode
		if [ $mode$other = roro ]; then
			works -o ro
		else
			refuses_mount "data file.*in use" in/img mnt -o $other
		fi
		release
		mount_image in/img mnt -o $other
		status=0
		# shellcheck disable=SC2046
		qemu-io $([ $mode = rw ] || echo -r) -f qcow2 -c length copy >out.txt 2>&1 || status=1
		[ $mode$other = roro ] || status=$((1 - status))
		[ $status = 0 ] || fail "$other, then QEMU $mode: $(cat out.txt)"
		umount_wait mnt
	done
done
