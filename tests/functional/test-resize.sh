#!/bin/bash
# rawcow resize: the disk is a raw file of that size, what is new reads as zero,
# QEMU and check are content; snapshots and backing files stay what they are.
test_limit=180
. "$(dirname "$0")/functions.sh"
requires qemu-img qemu-io jq

seed=${SEED:-$RANDOM}
say "seed $seed"
RANDOM=$seed
head -c 3000000 /dev/urandom >base.raw

size_of() { qemu-img info --output=json img | jq '."virtual-size"'; }

check_both()
{
	check_clean img
	"$RAWCOW" check -q img >out 2>&1 || fail "$1: rawcow check: $(cat out)"
	[ "$(size_of)" = "$(stat -c %s raw)" ] || fail "$1: size $(size_of)"
	same_content img raw
}

# resize_to SIZE: by either program. QEMU 7.2 leaves the rest of the last cluster
# as it is when it shrinks, and shows it again when it grows; so after it has
# shrunk the disk, rawcow has the next turn.
qemu_shrank=no
resize_to()
{
	local flags=()

	[ "$1" -ge "$(size_of)" ] || flags=(--shrink)
	if [ $((RANDOM % 3)) = 0 ] && [ "${qemu_too:-yes}" = yes ] &&
		[ $qemu_shrank = no ]; then
		qemu-img resize -q "${flags[@]}" -f qcow2 img "$1"
		[ ${#flags[@]} = 0 ] || qemu_shrank=yes
	else
		"$RAWCOW" resize -q "${flags[@]}" img "$1"
		qemu_shrank=no
	fi
	truncate -s "$1" raw
}

step_write()
{
	local args=() i off len end

	end=$(($(stat -c %s raw) / 512))
	for i in 1 2 3; do
		off=$((RANDOM * 113 % end))
		len=$((RANDOM % 200 + 1))
		[ $((off + len)) -le $end ] || len=$((end - off))
		args+=(-c "write -P $((RANDOM % 255 + 1)) $((off * 512)) $((len * 512))")
	done
	qemu-io -f qcow2 "${args[@]}" img >/dev/null
	qemu-io -f raw "${args[@]}" raw >/dev/null
}

history()
{
	local i size

	rm -f img raw
	qemu_shrank=no
	qemu-img create -q -f qcow2 -o "$1" img "${3:-2M}" >/dev/null
	truncate -s "$(size_of)" raw
	[ -z "${4:-}" ] || dd if="$4" of=raw bs=1M count=2 conv=notrunc status=none
	for ((i = 0; i < $2; i++)); do
		step_write
		size=$(((RANDOM % 6000 + 1) * 512))
		[ $((RANDOM % 4)) != 0 ] || size=$((size * 40))
		resize_to $size
		check_both "$1, step $i, size $size"
	done
}

n=$(pick 5 9 60)
history cluster_size=64k "$n"
history cluster_size=512 "$n"
history cluster_size=4k,compat=0.10 "$n"
history cluster_size=2M,refcount_bits=1 "$n"
# longer than the disk: it must not shine through
history cluster_size=8k,backing_file=base.raw,backing_fmt=raw "$n" 2M base.raw
qemu_too=no history cluster_size=4k,compat=0.10,backing_file=base.raw,backing_fmt=raw "$n" 2M base.raw

# Compressed clusters, and an L1 table that moves by more than a cluster.
qemu-img convert -f raw -O qcow2 -c -o cluster_size=512 base.raw img
cp base.raw raw
truncate -s "$(size_of)" raw
for size in 1000448 4000256 300000256 1024; do
	resize_to $size
	check_both "compressed, $size"
done

# Snapshots keep their content and their size.
rm -f img raw
qemu-img create -q -f qcow2 -o cluster_size=4k img 2M
truncate -s 2M raw
step_write
cp raw first.raw
"$RAWCOW" snapshot -c first img
resize_to $((30 << 20))
step_write
check_both "with a snapshot"
"$RAWCOW" resize -q --shrink img 100k
truncate -s 100k raw
check_both "smaller, with a snapshot"
"$RAWCOW" snapshot -a first img
cp first.raw raw
check_both "back to the snapshot"

# Room comes back.
rm -f img raw
qemu-img create -q -f qcow2 img 64M
qemu-io -f qcow2 -c 'write -P 1 0 64M' img >/dev/null
"$RAWCOW" resize img --shrink -1M -q || fail "options around the size"
"$RAWCOW" resize img 63M -q || fail "an option behind the size"
"$RAWCOW" resize img -62M --shrink >out
grep -q "resized" out || fail "$(cat out)"
[ "$(stat -c %s img)" -lt 2500000 ] || fail "the file has $(stat -c %s img) bytes"
check_clean img
"$RAWCOW" resize -q img +1G
[ "$(size_of)" = $((1025 << 20)) ] || fail "+1G: $(size_of)"

# Preallocation: all that is new is mapped, and reads as zero, whatever was there.
for opts in cluster_size=64k cluster_size=512 cluster_size=4k,compat=0.10 \
	cluster_size=16k,extended_l2=on; do
	for mode in metadata falloc full; do
		rm -f pre raw2
		qemu-img create -q -f qcow2 -o "$opts" -b base.raw -F raw pre 1049088
		qemu-io -f qcow2 -c 'write -P 3 0 1M' pre >/dev/null
		qemu-img convert -f qcow2 -O raw pre raw2
		"$RAWCOW" resize -qp --preallocation=$mode pre 3M
		truncate -s 3M raw2
		same_content pre raw2
		check_clean pre
		[ "$(qemu-img map -f qcow2 --output=json pre -s 1114112 |
			grep -c '"depth": 0.*"data": true')" -gt 0 ] ||
			fail "$opts, $mode: nothing is mapped"
		qemu-img map -f qcow2 --output=json pre -s 1114112 |
			grep -q '"depth": [1-9]\|"data": false' &&
			fail "$opts, $mode: something is not mapped"
		[ $mode = metadata ] ||
			[ $(($(stat -c %b pre) * 512)) -ge $((2900 << 10)) ] ||
			fail "$opts, $mode: no room was taken"
		qemu-io -f qcow2 -c 'write -P 9 2M 64k' pre >/dev/null
		check_clean pre
	done
done

# Refusals change nothing.
sum=$(sum_of img)
refuses "shrink" "$RAWCOW" resize img 1M
refuses "too much" "$RAWCOW" resize --shrink img -2G
refuses "size" "$RAWCOW" resize img 12x
refuses "image and a size" "$RAWCOW" resize img
refuses "image and a size" "$RAWCOW" resize img -1G 5G
refuses "-1 is not known" "$RAWCOW" resize img -1G -1G
# the size is looked at before the image
refuses "size 'img' is no size" "$RAWCOW" resize +1G img
refuses "off, metadata" "$RAWCOW" resize --preallocation=some img 2G
refuses "nothing to preallocate" "$RAWCOW" resize --shrink --preallocation=full img 1M
qemu-img create -q -f qcow2 -o cluster_size=512 tiny 1M
refuses "at most" "$RAWCOW" resize tiny 1T
[ "$sum" = "$(sum_of img)" ] || fail "a refusal has changed the image"
qemu-img create -q -f qcow2 -o compat=0.10 old 1M
qemu-img snapshot -c s old
refuses "delete the snapshots" "$RAWCOW" resize old 2M
