#!/bin/bash
# -o compress writes whole clusters compressed, as QEMU can read them; parts of
# them can be written again; the codec is the image's.
test_limit=120
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img jq helpers

disk=mnt
oracle=raw
seq 1000000000 7 2000000000 | head -c "$(pick 8M 24M 100M)" >tail.raw || :
size=$(stat -c %s tail.raw)

entries()
{
	qemu-img check --output=json "$1" |
		jq '."compressed-clusters" // 0'
}

run()
{
	local type=$1 cluster=$2

	rm -f img raw
	"$RAWCOW" create -q -o "compression_type=$type,cluster_size=$cluster" img 128M
	mount_image img mnt -o "compress=$type"
	truncate -s 128M raw
	dd if=tail.raw of=raw bs=1M seek=7 conv=notrunc status=none
	dd if=tail.raw of=mnt bs=1M seek=7 conv=notrunc status=none
	same_file mnt raw
	both write 8M 1M 3 direct # noise: stays plain
	both write $((9 << 20)) 3000 4
	both write $((7 << 20)) $((cluster * 3 + 5)) 5
	both fallocate punch 12M 300000
	both fallocate punch $((13 << 20)) $((2 * cluster))
	same_file mnt raw
	umount_wait mnt
	check_clean img
	same_content img raw
	[ $(($(stat -c %b img) * 512)) -lt $((size * 4 / 5)) ] ||
		fail "$type $cluster: $(stat -c %b img) blocks for $size bytes"
	[ "$(entries img)" -gt 3 ] || fail "$type $cluster: nothing is compressed"
	# over its own compressed clusters, under a snapshot
	qemu-img snapshot -c one img
	mount_image img mnt -o compress
	dd if=tail.raw of=mnt bs=1M seek=8 conv=notrunc status=none
	dd if=tail.raw of=raw bs=1M seek=8 conv=notrunc status=none
	same_file mnt raw
	umount_wait mnt
	check_clean img
	same_content img raw
	qemu-img snapshot -d one img
	check_clean img
}

run zlib 65536
run zlib 4096
if "$RAWCOW" create -q -o compression_type=zstd probe 1M 2>/dev/null; then
	run zstd 65536
	refuses_mount "compress.*zstd" img mnt -o compress=zlib
fi
"$RAWCOW" create -q -f qcow2 plain 1M
refuses_mount "compress.*zlib" plain mnt -o compress=zstd
refuses_mount "compress" plain mnt -o compress=lzma
