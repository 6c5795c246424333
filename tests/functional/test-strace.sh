#!/bin/bash
# The number of syncs: two for any number of allocating writes and one fsync,
# one for overwriting in place, none when nothing was written, and none in
# any write path.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io strace helpers

# count WANT WHAT COMMAND...
count()
{
	local want=$1 what=$2 got

	shift 2
	start_strace "$daemon" sync.log
	"$@"
	sleep 0.3
	got=$(stop_strace)
	[ "$got" = "$want" ] || { cat sync.log >&2; fail "$what: $got syncs, wanted $want"; }
	say "$what: $got syncs"
}
n=$(pick 200 1000 1000)

for snapshot in no yes; do
	for how in "" direct; do
		rm -f img
		qemu-img create -q -f qcow2 img 1G
		if [ $snapshot = yes ]; then
			qemu-io -f qcow2 -c 'write -P 1 0 200M' img >/dev/null
			qemu-img snapshot -c first img
		fi
		mount_pid img mnt -o commit_interval=3600
		count 2 "$n allocating writes, snapshot $snapshot, ${how:-buffered}" \
			"$HELPERS" writes mnt "$n" 4096 65536 0 $how
		count 1 "$n writes in place, ${how:-buffered}" \
			"$HELPERS" writes mnt "$n" 4096 65536 0 $how
		count 0 "fsync of nothing" "$HELPERS" fsync mnt
		count 0 "reads" "$HELPERS" read mnt 0 1M
		# Kept open meanwhile: closing is a commit of its own.
		mkfifo until
		"$HELPERS" writes-hold mnt 300 4096 65536 500M until direct &
		writer=$!
		at_end_kill $writer
		count 0 "writes without fsync" sleep 1
		echo >until
		wait $writer
		rm until
		umount_wait mnt
		check_clean img
	done
done

# cache=unsafe never syncs for an fsync; cache=directsync does for each write.
mount_pid img mnt -o commit_interval=3600,cache=unsafe
count 0 "cache=unsafe" "$HELPERS" writes mnt 20 4096 65536 400M
umount_wait mnt
check_clean img
mount_pid img mnt -o commit_interval=3600,cache=writethrough
start_strace "$daemon" sync.log
"$HELPERS" writes mnt 20 4096 65536 0
[ "$(stop_strace)" -ge 20 ] || fail "cache=writethrough: $(wc -l <sync.log) syncs for 20 writes"
umount_wait mnt
check_clean img

# A snapshot: everything new, then sector 0; what becomes free rides in the
# commit at the end.
rm -f img
qemu-img create -q -f qcow2 img 64M
qemu-io -f qcow2 -c 'write -P 3 0 10M' img >/dev/null
for step in "-c a" "-c b" "-a a" "-d a" "-d b"; do
	# shellcheck disable=SC2086
	ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 \
		strace -f -e trace=fdatasync,fsync -o sync.log \
		"$RAWCOW" snapshot $step img
	n=$(grep -c 'sync(' sync.log)
	[ "$n" -le 3 ] || fail "snapshot $step: $n syncs"
done
check_clean img
