#!/bin/bash
# External data files, raw and not: what rawcow reads and writes is what QEMU
# reads and writes, in turn; a raw one is the disk, byte for byte, after each
# flush.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

SIZE=$(pick 4 8 32)
RANDOM=$(pick 1 2 $$)
say "seed $RANDOM"

# where MAX: a random offset and length in bytes, sector-aligned
where()
{
	off=$(((RANDOM * 32768 + RANDOM) % (SIZE * 2048) * 512))
	len=$(((RANDOM % ($1 / 512) + 1) * 512))
	[ $((off + len)) -le $((SIZE << 20)) ] || len=$(((SIZE << 20) - off))
}

# The same change through QEMU, and to the oracle.
by_qemu()
{
	where $((1 << 18))
	local byte=$((RANDOM % 255 + 1)) cmd zero=1

	case $((RANDOM % 5)) in
	0) cmd="write -z $off $len" ;;
	1) cmd="write -zu $off $len" ;;
	2)	# QEMU discards whole clusters, and leaves the rest as it is
		off=$((off / cs * cs)) len=$(((len + cs - 1) / cs * cs))
		[ $((off + len)) -le $((SIZE << 20)) ] || return 0
		cmd="discard $off $len" ;;
	*) cmd="write -P $byte $off $len" zero=0 ;;
	esac
	qemu-io -f qcow2 -d unmap -c "$cmd" img >qemu.out 2>&1 || fail "$(cat qemu.out)"
	! grep -q failed qemu.out || fail "$cmd: $(cat qemu.out)"
	if [ $zero = 1 ]; then
		"$HELPERS" fallocate oracle punch "$off" "$len"
	else
		qemu-io -f raw -c "$cmd" oracle >/dev/null
	fi
}
by_rawcow()
{
	local n=$((RANDOM % 4 + 1))

	where $((1 << 18))
	case $((RANDOM % 4)) in
	0) both fallocate punch "$off" "$len" ;;
	1) both fallocate zero "$off" "$len" ;;
	*) both write "$off" "$len" $((RANDOM % 100 + n)) ;;
	esac
}

# after each step: nobody sees a difference
agree()
{
	check_clean img
	same_content img oracle
	"$RAWCOW" map --json img | older_map | tr -d ' ' >map.ours
	qemu-img map --output=json img | older_map | tr -d ' ' | diff - map.ours ||
		fail "the maps differ"
	[ "$raw" = off ] || same_file data oracle
}

history()
{
	local steps=$1 i j

	truncate -s "${SIZE}M" oracle
	oracle=oracle disk=mnt
	for ((i = 0; i < steps; i++)); do
		if ((i % 2)); then
			by_qemu
		else
			mount_image img mnt "${@:2}"
			for ((j = 0; j < 4; j++)); do
				by_rawcow
				[ "$raw" = off ] || { sync mnt; same_file data oracle; }
			done
			same_file mnt oracle
			umount_wait mnt
		fi
		agree
	done
}

for cs in $(pick 65536 "4096 65536" "512 4096 65536 2097152"); do
	for raw in off on; do
		rm -f img data oracle
		qemu-img create -q -f qcow2 \
			-o "data_file=data,data_file_raw=$raw,cluster_size=$cs" img "${SIZE}M"
		history "$(pick 4 8 30)"
		rm -f img data oracle
		qemu-img create -q -f qcow2 \
			-o "data_file=data,data_file_raw=$raw,cluster_size=$cs" img "${SIZE}M"
		history 2 -o detect_zeroes=unmap
		[ "$raw" = off ] || [ "$(peek img 95 1)" = 02 ] ||
			fail "the raw bit is gone: $(peek img 88 8)"
	done
done
