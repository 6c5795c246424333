# shellcheck shell=bash
# loop-fs.sh: what test-loop-*.sh share. A filesystem is made on a loop device
# over the mounted disk and filled from /usr; the files are whole after a
# remount, QEMU finds the image clean, and the filesystem's own fsck finds
# QEMU's raw conversion clean.

# loop_test FS [LOSETUP OPTION...]
loop_test()
{
	local fs=$1 loop mib

	shift
	mib=$(pick 60 400 1200)
	usr_files "$mib"
	mkdir fs
	qemu-img create -q -f qcow2 img $((mib * 2 + 600))M

	mount_image img mnt
	loop=$(losetup -f --show "$@" mnt)
	case $fs in
	ext4) mkfs.ext4 -q "$loop" ;;
	xfs) mkfs.xfs -q "$loop" ;;
	btrfs) mkfs.btrfs -q "$loop" ;;
	esac
	mount "$loop" fs
	tar -C /usr -cf - -T files 2>/dev/null | tar -C fs -xf -
	sync -f fs
	# Some files go again, and their room with them.
	mkdir -p fs/copy
	head -n 300 files | (cd fs && xargs -d '\n' cp -a --parents -t copy) 2>/dev/null || true
	sync -f fs
	rm -rf fs/copy
	sync -f fs
	fstrim fs || fail "fstrim on $fs"
	umount fs
	losetup -d "$loop"
	wait_for 10 loop_is_free mnt || fail "the loop device stays"
	umount_wait mnt
	check_clean img

	# Mounted again, read-only: every file is whole.
	mount_image img mnt -o ro
	loop=$(losetup -r -f --show mnt)
	mount -o ro "$loop" fs
	(cd fs && sha256sum -c --quiet "$tmp/sums") || fail "files differ on $fs"
	umount fs
	losetup -d "$loop"
	wait_for 10 loop_is_free mnt || fail "the loop device stays"
	umount_wait mnt
	check_clean img

	qemu-img convert -f qcow2 -O raw img raw
	case $fs in
	ext4) e2fsck -fn raw >fsck.out 2>&1 ;;
	xfs) xfs_repair -n raw >fsck.out 2>&1 ;;
	btrfs) btrfs check --readonly raw >fsck.out 2>&1 ;;
	esac || { cat fsck.out >&2; fail "$fs is not clean"; }
	say "$(wc -l <sums) files, $(qemu-img info img | grep 'disk size')"
}

loop_is_free() { [ -z "$(losetup -j "$1")" ]; }
