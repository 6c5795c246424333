#!/bin/bash
# The host's filesystem fills: ENOSPC to that write alone; reading and
# overwriting go on; when there is room again, so do new writes.
. "$(dirname "$0")/functions.sh"
requires root fuse qemu-img helpers

disk=mnt
oracle=raw
piece=$(pick 1000000 300000 300000) # less than one request
mkdir fs
mount -t tmpfs -o size=32M none fs

for cache in none writeback; do
	rm -f fs/* raw
	truncate -s 64M raw
	qemu-img create -q -f qcow2 fs/img 64M
	both_at=0
	mount_image fs/img mnt -o cache=$cache
	for round in 1 2 3; do
		head -c 6M /dev/zero >fs/ballast
		failed=
		for ((at = both_at; at < 64 << 20; at += 300000)); do
			n=300000
			[ $((at + n)) -le $((64 << 20)) ] || n=$(((64 << 20) - at))
			if "$HELPERS" write mnt $((at / 512 * 512)) $((n / 512 * 512)) \
				$round direct 2>err; then
				"$HELPERS" write raw $((at / 512 * 512)) $((n / 512 * 512)) $round
				continue
			fi
			grep -q ENOSPC err || fail "not ENOSPC: $(cat err)"
			failed=$at
			break
		done
		[ -n "$failed" ] || fail "the filesystem did not fill"
		# What is there can be read and overwritten.
		cmp -n $((failed / 512 * 512)) mnt raw
		both write 1000000 77777 $((round + 10))
		both write 4096 65536 $((round + 20)) direct
		"$HELPERS" fsync mnt || fail "fsync on a full disk"
		cmp -n $((failed / 512 * 512)) mnt raw
		# The range that failed, again.
		rm fs/ballast
		both write $((failed / 512 * 512)) $((piece / 512 * 512)) $((round + 30)) direct
		same_file mnt raw
		# Make room in the image for the next round.
		both fallocate punch 2M 20M
		"$HELPERS" fsync mnt
		same_file mnt raw
		both_at=2097152
	done
	umount_wait mnt
	check_clean fs/img
	same_content fs/img raw
done

# Through the page cache the error comes at the latest with fsync.
rm -f fs/*
qemu-img create -q -f qcow2 fs/img 64M
mount_image fs/img mnt
! dd if=/dev/urandom of=mnt bs=1M count=60 conv=notrunc,fsync status=none 2>err ||
	fail "60 MiB fit in 32 MiB"
grep -qiE 'space|input/output' err || fail "dd: $(cat err)"
"$HELPERS" read mnt 0 1M >/dev/null
"$RAWCOW" umount mnt || say "rawcow umount exits $? after lost writes"
! is_mounted "$tmp/mnt" || fail "still mounted"
check_clean fs/img

# Or with the status of a server that was told to end, whether a path leads to its
# mount or not.
for path in there gone; do
	rm -f fs/*
	qemu-img create -q -f qcow2 fs/img 64M
	head -c 30M /dev/zero >fs/ballast
	"$RAWCOW" -f fs/img mnt 2>err &
	pid=$!
	at_end_kill $pid
	wait_for 10 is_mounted "$tmp/mnt" || fail "no mount: $(cat err)"
	exec 8<>mnt
	head -c 4M /dev/urandom >&8 2>/dev/null || : # may hear of it itself
	[ $path = there ] || umount -l mnt
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	exec 8>&-
	[ $status = 74 ] || fail "exit $status after lost writes: $(cat err)"
	grep -q 'all it held: No space' err || fail "it does not say why: $(cat err)"
	! is_mounted "$tmp/mnt" || fail "still mounted"
	check_clean fs/img
done

# A limit on the size of files (setrlimit) is an error as well, not the end.
limited() { (ulimit -f 4096; "$@"); } # KiB
refuses "space" limited "$RAWCOW" create -o preallocation=full big 16M
[ ! -e big ] || fail "a part of an image is left"
qemu-img create -q -f qcow2 img 64M
limited "$RAWCOW" img mnt -o cache=none
for ((at = 0; at < 8; at++)); do
	"$HELPERS" write mnt ${at}M 1M 1 direct 2>err || break
done
grep -q ENOSPC err || fail "write $at: $(cat err)"
"$HELPERS" read mnt 0 1M >/dev/null
"$HELPERS" write mnt 0 1M 2 direct
"$RAWCOW" umount mnt
check_clean img
