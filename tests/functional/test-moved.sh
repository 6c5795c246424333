#!/bin/bash
# The server finds its mount when its folder has another name by now, and saves
# what the kernel holds where no path leads to it any more.
. "$(dirname "$0")/functions.sh"
requires root fuse qemu-img helpers

disk=none
oracle=raw

# start: a mount at pa/$1, and a program that has written and goes on to hold it.
start()
{
	rm -rf pa pb img raw
	mkdir pa pa/dir
	: >pa/file
	truncate -s 64M raw
	qemu-img create -q -f qcow2 img 64M
	"$RAWCOW" -f img pa/"$1" -o commit_interval=3600 2>err &
	pid=$!
	at_end_kill $pid
	wait_for 10 is_mounted "$tmp/pa/$1" || fail "no mount: $(cat err)"
	disk=$(disk_of pa/"$1")
	exec 8<>"$disk"
	head -c 3M /dev/urandom | tee raw >&8
	truncate -s 64M raw
}

# ends STATUS: SIGTERM, and all is saved.
ends()
{
	local status=0

	kill -TERM $pid
	wait $pid || status=$?
	exec 8>&-
	[ $status = "$1" ] || fail "exit $status instead of $1: $(cat err)"
	check_clean img
	same_content img raw
}

for place in dir file; do
	start $place
	mv pa pb
	"$RAWCOW" snapshot -c s pb/$place || fail "$place: snapshot"
	[ $place = file ] || mkdir pb/dir/snapshots/k || fail "mkdir"
	[ "$(qemu-img snapshot -l -U img | grep -c '[0-9]:[0-9]')" -gt 0 ] ||
		fail "$place: no snapshot in the image"
	qemu-img convert -U -l s -O raw img had
	same_file had raw
	head -c 1M /dev/urandom | tee last >&8
	dd if=last of=raw bs=1M seek=3 conv=notrunc status=none
	ends 0
	[ -z "$(mounts_below "$tmp")" ] || fail "left: $(mounts_below "$tmp")"

	# Covered: by a mount over it, or over a folder above.
	for over in pa/$place pa; do
		[ $over != pa/file ] || continue
		start $place
		mount -t tmpfs over $over
		ends 1
		grep -q "covers" err || fail "$place: $(cat err)"
		mountpoint -q $over || fail "a mount of somebody else was taken away"
		umount $over
		umount -l pa/$place
	done

	# Taken away, with a program that goes on.
	start $place
	umount -l pa/$place
	ends 0
done

# Taken away while the server does not look, so that the next mount, which is
# another server's, has the number of its device: that one stays.
for i in 1 2; do
	qemu-img create -q -f qcow2 img$i 64M
	: >mnt$i
done
mount_pid img1 mnt1
first=$daemon
dev=$(stat -c %d mnt1)
go_on() { kill -CONT "$first" 2>/dev/null; }
cleanup_fn go_on
kill -STOP "$first"
umount mnt1
mount_pid img2 mnt2
again=$(stat -c %d mnt2)
go_on
wait_for 10 gone "$first" || fail "the first server goes on"
is_mounted "$tmp/mnt2" || fail "it took away the mount of another server"
"$HELPERS" write mnt2 1M 1M 1
umount_wait mnt2
check_clean img2
# other mounts of this machine may have been quicker
[ "$dev" = "$again" ] || say "the second mount had another device"
