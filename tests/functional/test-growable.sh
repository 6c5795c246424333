#!/bin/bash
# -o growable: truncate and writes past the end make the image larger; without it
# they are refused as before.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img jq helpers

oracle=raw
head -c 3M /dev/urandom >base.raw
for opts in growable growable,cache=none growable,cache=writethrough; do
	for place in mnt dir; do
		rm -rf mnt dir img raw
		mkdir dir
		: >mnt
		qemu-img create -q -f qcow2 -b base.raw -F raw \
			-o cluster_size=4k img 1M
		head -c 1M base.raw >raw
		mount_image img $place -o "$opts"
		disk=$(disk_of $place)
		both write 900000 100000 1
		truncate -s 2M "$disk"
		truncate -s 2M raw
		[ "$(stat -c %s "$disk")" = $((2 << 20)) ] || fail "size $(stat -c %s "$disk")"
		same_file "$disk" raw # the backing file does not shine through
		both write $((3 << 19)) 200000 2
		truncate -s 40M "$disk"
		truncate -s 40M raw
		both write 39M 300000 3
		# past the end: over it, and behind a gap
		both write $((40 << 20)) 65536 4
		both write $(((50 << 20) - 4096)) 8192 5
		same_file "$disk" raw
		! truncate -s 1M "$disk" 2>/dev/null || fail "it got smaller"
		! truncate -s 60000001 "$disk" 2>/dev/null || fail "half a sector"
		same_file "$disk" raw
		umount_wait $place
		check_clean img
		same_content img raw
		[ "$(qemu-img info --output=json img | jq '."virtual-size"')" = \
			$(((50 << 20) + 4096)) ] || fail "size of the image"
	done
done

# half a sector: the file has whole ones too, and what is written behind it
# meanwhile stays
for place in mnt dir; do
	rm -f img raw
	qemu-img create -q -f qcow2 img 1M
	mount_image img $place -o growable
	disk=$(disk_of $place)
	exec 8<>"$disk"
	truncate -s 1M raw
	both write 1M 3 1
	"$HELPERS" fsync "$disk"
	whole() { [ "$(stat -c %s "$disk")" = $((1048576 + 512)) ]; }
	wait_for 5 whole || fail "size $(stat -c %s "$disk")"
	truncate -s 1049088 raw
	for ((i = 0; i < 50; i++)); do
		both write $(((1 << 20) + 512 + i * 70001)) 70001 $i
		"$HELPERS" fsync "$disk" &
	done
	wait
	exec 8>&-
	umount_wait $place
	truncate -s %512 raw
	check_clean img
	same_content img raw
	[ "$(qemu-img info --output=json img | jq '."virtual-size"')" = \
		"$(stat -c %s raw)" ] || fail "size of the image"
done

# grown while a writer is at work
rm -f img raw
qemu-img create -q -f qcow2 img 8M
truncate -s 8M raw
: >mnt
disk=mnt
mount_image img mnt -o growable
for ((i = 0; i < 40; i++)); do
	"$HELPERS" write mnt $((i * 150000)) 150000 $i
done &
for ((k = 9; k < 30; k++)); do
	truncate -s ${k}M mnt
done
wait $!
for ((i = 0; i < 40; i++)); do
	"$HELPERS" write raw $((i * 150000)) 150000 $i
done
truncate -s 29M raw
same_file mnt raw
umount_wait mnt
check_clean img
same_content img raw

# -o shrinkable: smaller, and larger again with zeroes there
for opts in shrinkable,growable shrinkable,growable,cache=none; do
	"$HELPERS" write raw $((3 << 20)) 200000 7
	mount_image img mnt -o "$opts"
	"$HELPERS" write mnt $((3 << 20)) 200000 7
	truncate -s 3150000 mnt 2>/dev/null && fail "half a sector"
	truncate -s 3150336 mnt
	truncate -s 3150336 raw
	[ "$(stat -c %s mnt)" = 3150336 ] || fail "size $(stat -c %s mnt)"
	same_file mnt raw
	! { : >mnt; } 2>/dev/null || fail "emptied"
	truncate -s 20M mnt
	truncate -s 20M raw
	same_file mnt raw
	umount_wait mnt
	check_clean img
	same_content img raw
done
mount_image img mnt -o shrinkable
! truncate -s 100M mnt 2>/dev/null || fail "grown without being growable"
# one shrinks, one writes
for ((i = 0; i < 30; i++)); do
	"$HELPERS" write mnt $((i * 150000)) 150000 $i 2>/dev/null || :
done &
for ((k = 19; k > 9; k--)); do
	truncate -s ${k}M mnt
done
wait $!
cp mnt raw
umount_wait mnt
check_clean img
same_content img raw
mount_image img mnt -o ro,shrinkable
! truncate -s 1M mnt 2>/dev/null || fail "smaller although read-only"
umount_wait mnt

mount_image img mnt
! truncate -s 1M mnt 2>/dev/null || fail "smaller without being shrinkable"
! truncate -s 100M mnt 2>/dev/null || fail "grown without being growable"
umount_wait mnt
mount_image img mnt -o ro,growable
! truncate -s 100M mnt 2>/dev/null || fail "grown although read-only"
umount_wait mnt
same_content img raw

# The server tells the kernel the size that a snapshot has brought back. Somebody
# makes the disk larger before it gets there: that stays.
if command -v strace >/dev/null; then
	rm -f img
	qemu-img create -q -f qcow2 img 8M
	qemu-img snapshot -c s img
	mount_pid img mnt -o growable,shrinkable
	strace -f -e trace=truncate -e inject=truncate:delay_enter=1500000 \
		-o trace -p "$daemon" 2>strace.err &
	tracer=$!
	at_end_kill $tracer
	wait_for 10 grep -q attached strace.err || fail "strace: $(cat strace.err)"
	"$RAWCOW" snapshot -a s mnt &
	applying=$!
	sleep 0.7
	truncate -s 16M mnt
	"$HELPERS" write mnt 12M 1M 5
	wait $applying || fail "apply exits $?"
	kill $tracer
	wait $tracer || :
	[ "$(stat -c %s mnt)" = $((16 << 20)) ] || fail "size $(stat -c %s mnt)"
	truncate -s 16M raw2
	"$HELPERS" write raw2 12M 1M 5
	same_file mnt raw2
	umount_wait mnt
	check_clean img
	same_content img raw2
fi
