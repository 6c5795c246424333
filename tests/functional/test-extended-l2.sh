#!/bin/bash
# Extended L2 entries: images of QEMU and of rawcow, through real mounts, with
# and without a backing file; QEMU finds them clean, equal to the oracle, mapped
# as rawcow says, and goes on with them.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers jq

same_map()
{
	qemu-img map --output=json "$1" | older_map | jq -S . >want.json
	"$RAWCOW" map --output=json "$1" | older_map | jq -S . >got.json
	diff want.json got.json >&2 || fail "the map of $1 is not QEMU's"
}

# what qemu-io's COMMANDS do to the image they do to the oracle
qemu_both()
{
	qemu-io -f qcow2 "${@/#/-c}" img >/dev/null
	qemu-io -f raw "${@/#/-c}" oracle >/dev/null
}

work()
{
	mount_image img mnt "$@"
	disk=mnt oracle=oracle
	for i in $(seq "$(pick 8 12 200)"); do
		off=$((RANDOM * 97 % 3000000))
		len=$((1 + RANDOM % (i % 3 ? 3000 : 200000)))
		case $((i % 5)) in
		0) both fallocate punch $off $len ;;
		*) both write $off $len "$i" ;;
		esac
	done
	same_file mnt oracle
	umount_wait mnt
	check_clean img
	same_content img oracle
}

truncate -s 2000384 base.raw
"$HELPERS" write base.raw 0 2000001 7
n=0
for size in 16k 128k 2M; do
	for maker in qemu-img "$RAWCOW"; do
		for opt in "" ,preallocation=metadata; do
			n=$((n + 1))
			[ "$scale" != small ] || [ $((n % 5)) = 1 ] || continue
			rm -f img
			back=()
			[ $((n % 3)) = 0 ] || back=(-b base.raw -F raw)
			set -- -o extended_l2=on,cluster_size=$size$opt "${back[@]}" img 3500k
			[ "$maker" = qemu-img ] && set -- -f qcow2 "$@"
			say "$n: ${maker##*/} create $*"
			"$maker" create -q "$@"
			check_clean img
			qemu-img info img | grep -q 'extended l2: true'
			"$RAWCOW" info img | grep -q 'extended l2: true'
			qemu-io -c 'write -P 5 100k 9k' -c 'write -z 300k 70k' \
				-c 'write -P 6 2500k 130k' -c 'discard 99k 300k' \
				img >/dev/null
			qemu-img convert -O raw img oracle
			same_map img
			work
			qemu-img snapshot -c one img
			cp oracle first
			work
			qemu_both 'write -P 9 101k 3k' 'write -z 1M 100k'
			work -o detect_zeroes=unmap
			"$RAWCOW" snapshot -a one img
			check_clean img
			same_content img first
			"$RAWCOW" snapshot -d one img
			check_clean img
		done
	done
done

say "compressed clusters beside subclusters"
qemu-img convert -c -O qcow2 -o extended_l2=on base.raw img
cp base.raw oracle
"$RAWCOW" resize -q img 3500k
truncate -s 3500k oracle
work
work -o compress

say "other sizes"
"$RAWCOW" resize -q --shrink img 1234k
truncate -s 1234k oracle
check_clean img
"$RAWCOW" resize -q img 3500k
truncate -s 3500k oracle
check_clean img
same_content img oracle

say "a file system"
if [ "$(id -u)" = 0 ] && command -v mkfs.ext4 >/dev/null; then
	"$RAWCOW" create -q --force -o extended_l2=on,cluster_size=128k img 64M
	mount_image img mnt
	mkfs.ext4 -q -F mnt
	e2fsck -fn mnt >/dev/null 2>&1 || fail "e2fsck"
	cp --sparse=always mnt oracle
	umount_wait mnt
	check_clean img
	same_content img oracle
fi

say "entries that contradict themselves"
# break_entry WHICH HEX: the first entry's word (0) or bitmap (8)
break_entry()
{
	local l1 l2

	l1=$((0x$(peek img 40 8)))
	l2=$((0x$(peek img $l1 8) & 0xfffffffffffe00))
	poke img $((l2 + $1)) "$2"
}
for bits in 0000000f0000000f ffffffffffffffff; do
	"$RAWCOW" create -q --force -o extended_l2=on img 1M
	qemu-io -c 'write -P 1 0 64k' -c 'write -P 2 64k 64k' img >/dev/null
	break_entry 8 $bits
	! qemu-img check img >/dev/null 2>&1 || fail "QEMU takes $bits"
	! "$RAWCOW" check img >/dev/null || fail "check takes $bits"
	mount_image img mnt -o ro
	! cat mnt >/dev/null 2>&1 || fail "the mount reads $bits"
	dd if=mnt bs=64k skip=1 count=1 status=none |
		cmp - <(head -c 65536 /dev/zero | tr '\0' '\2') || fail "other data"
	umount_wait mnt
	"$RAWCOW" check -q -r all img >/dev/null || true
	check_clean img
done
