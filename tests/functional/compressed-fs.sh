# shellcheck shell=bash
# compressed-fs.sh: what test-compressed-*.sh share. A filesystem with a part
# of /usr is compressed by QEMU; through rawcow every file's checksum is that
# of the original.

# compressed_test TYPE MIB
compressed_test()
{
	local loop

	usr_files "$2"
	mkdir tree fs
	tar -C /usr -cf - -T files 2>/dev/null | tar -C tree -xf -
	truncate -s $(($2 * 5 / 4 + 64))M raw
	mke2fs -q -t ext4 -N $(($(wc -l <files) * 2 + 5000)) -d tree raw
	rm -rf tree
	qemu-img convert -c -f raw -O qcow2 -o compression_type="$1" raw img ||
		skip "qemu-img cannot compress with $1"
	qemu-img check img | grep -q ' 0.00% compressed' && fail "nothing is compressed"

	mount_image img mnt -o ro
	loop=$(losetup -r -f --show mnt)
	mount -o ro,noload "$loop" fs
	(cd fs && sha256sum -c --quiet "$tmp/sums") || fail "files differ"
	umount fs
	losetup -d "$loop"
	same_file mnt raw
	wait_for 10 loop_is_free mnt || fail "the loop device stays"
	umount_wait mnt
	say "$(wc -l <sums) files, $(qemu-img info img | grep 'disk size')"

	# Overwritten here and there: copied on write, the rest stays.
	# shellcheck disable=SC2034
	disk=mnt oracle=raw
	mount_image img mnt
	both write 1000001 200000 1
	both write 5M 64k 2
	both write 9437184 512 3 direct
	both fallocate punch 12M 1000001
	cmp -n 64M mnt raw
	umount_wait mnt
	check_clean img
	same_content img raw
}

loop_is_free() { [ -z "$(losetup -j "$1")" ]; }
