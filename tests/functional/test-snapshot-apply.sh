#!/bin/bash
# A snapshot applied to a running mount: whoever reads then, also through a file
# or mapping that was there before, finds what a copy of that moment holds.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

# expect_watch BYTE SIZE: what a program sees that has the disk open and mapped
expect_watch()
{
	local line

	echo >&"${watch[1]}"
	read -r line <&"${watch[0]}"
	[ "$line" = "$1 $1 $2" ] || fail "the open file shows '$line', not $1 $2"
}

# That program ends.
end_watch()
{
	# shellcheck disable=SC1083,SC2093 # a descriptor's variable, no command
	exec {watch[1]}>&-
	# shellcheck disable=SC2154 # set by coproc
	wait "$watch_PID"
}

for cache in writeback writethrough none; do
	for place in mnt dir; do
		rm -rf mnt dir img
		mkdir dir
		: >mnt
		qemu-img create -q -f qcow2 img 16M
		mount_image img $place -o cache=$cache
		disk=$(disk_of $place)
		"$HELPERS" write "$disk" 0 6000000 1
		"$RAWCOW" snapshot -c one $place
		cp "$disk" one.raw
		"$HELPERS" write "$disk" 3000000 8000000 2
		"$RAWCOW" snapshot -c two $place
		cp "$disk" two.raw
		coproc watch { exec "$HELPERS" watch "$disk" 5M; }
		expect_watch "$(peek two.raw $((5 << 20)) 1)" $((16 << 20))
		"$HELPERS" write "$disk" 1000000 9000000 3
		"$RAWCOW" snapshot -a one $place
		expect_watch "$(peek one.raw $((5 << 20)) 1)" $((16 << 20))
		same_file "$disk" one.raw
		# and back again, with pages that the kernel has not sent yet
		"$HELPERS" write "$disk" 2000000 3000000 4
		"$RAWCOW" snapshot -a 2 $place
		same_file "$disk" two.raw
		expect_watch "$(peek two.raw $((5 << 20)) 1)" $((16 << 20))
		[ $cache = none ] ||
			"$HELPERS" mmap-read "$disk" 0 16M | cmp - two.raw
		# what is written now belongs to the disk alone
		"$HELPERS" write "$disk" 10000000 100000 5
		"$HELPERS" write two.raw 10000000 100000 5
		same_file "$disk" two.raw
		refuses "no snapshot.*gone" "$RAWCOW" snapshot -a gone $place
		end_watch
		umount_wait $place
		check_clean img
		same_content img two.raw
		qemu-img convert -l snapshot.name=one -O raw img out.raw
		same_file out.raw one.raw
	done
done

# Disks of another size: the file gets it, larger and smaller.
is_small() { [ "$(stat -c %s mnt)" = $((3 << 20)) ]; }
rm -f img mnt
qemu-img create -q -f qcow2 img 3M
mount_image img mnt
"$HELPERS" write mnt 0 3M 1
"$RAWCOW" snapshot -c small mnt
umount_wait mnt
qemu-img resize -q img 20M
for cache in writeback writethrough; do
	mount_image img mnt -o cache=$cache
	"$HELPERS" write mnt 15M 2M 2
	cp mnt large.raw
	"$RAWCOW" snapshot -c "large-$cache" mnt
	coproc watch { exec "$HELPERS" watch mnt 1M; }
	"$HELPERS" write mnt 2M 10M 3
	"$RAWCOW" snapshot -a small mnt
	expect_watch "$(peek large.raw $((1 << 20)) 1)" $((3 << 20))
	is_small || fail "size $(stat -c %s mnt)"
	head -c 3M large.raw | cmp - mnt
	! "$HELPERS" write mnt 4M 1 1 2>/dev/null ||
		! "$HELPERS" fsync mnt 2>/dev/null || fail "a write past the end"
	# the kernel is told once the write has failed
	wait_for 5 is_small || fail "size $(stat -c %s mnt)"
	"$RAWCOW" snapshot -a "large-$cache" mnt
	same_file mnt large.raw
	expect_watch "$(peek large.raw $((1 << 20)) 1)" $((20 << 20))
	"$HELPERS" write mnt 18M 1M 4
	"$HELPERS" write large.raw 18M 1M 4
	end_watch
	umount_wait mnt
	check_clean img
	same_content img large.raw
done

# Nothing is applied to a read-only mount.
mount_image img mnt -o ro
refuses "read-only" "$RAWCOW" snapshot -a small mnt
umount_wait mnt
if [ "$(id -u)" = 0 ]; then
	mount_image img mnt
	mount -i -o remount,ro mnt
	refuses "read-only" "$RAWCOW" snapshot -a small mnt
	same_file mnt large.raw
	umount_wait mnt
fi

# A loop device would write what it has cached over it.
if [ "$(id -u)" = 0 ] && losetup -f >/dev/null 2>&1; then
	mount_image img mnt
	loop=$(losetup -f --show "$(full_path mnt)")
	refuses "$loop.*detach" "$RAWCOW" snapshot -a small mnt
	[ "$(stat -c %s mnt)" = $((20 << 20)) ] || fail "applied all the same"
	"$RAWCOW" snapshot -c beside mnt
	losetup -d "$loop"
	# also if it knows the disk by another path
	: >bound
	mount --bind mnt bound
	loop=$(losetup -f --show bound)
	umount -l bound
	refuses "$loop.*detach" "$RAWCOW" snapshot -a small mnt
	losetup -d "$loop"
	wait_for 5 "$RAWCOW" snapshot -a small mnt 2>/dev/null
	umount_wait mnt
	check_clean img
fi
