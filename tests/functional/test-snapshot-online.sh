#!/bin/bash
# Snapshots of a running mount: each holds all that was written before it was
# asked for and nothing that was written after; programs go on meanwhile.
test_limit=120
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img strace helpers

# At rest: a snapshot is what a copy of that moment is, the kernel's cache and all.
for place in mnt dir; do
	rm -rf mnt dir img
	mkdir dir
	: >mnt
	qemu-img create -q -f qcow2 img 16M
	mount_image img $place
	disk=$(disk_of $place)
	for i in 1 2 3; do
		"$HELPERS" write "$disk" $((i * 700000)) 3000000 $i
		"$RAWCOW" snapshot -c "s$i" $place
		cp "$disk" "s$i.raw"
	done
	"$HELPERS" write "$disk" 0 9000000 9
	"$RAWCOW" snapshot -d s2 $place
	"$RAWCOW" snapshot -l $place | grep -q s3 || fail "not listed"
	cp "$disk" now.raw
	refuses "no snapshot" "$RAWCOW" snapshot -d s2 $place
	umount_wait $place
	check_clean img
	same_content img now.raw
	for i in 1 3; do
		qemu-img convert -l snapshot.name=s$i -O raw img out.raw
		cmp out.raw s$i.raw || fail "snapshot s$i differs"
	done
done

# Under load: a writer numbers blocks one after the other and makes each durable.
rm -f img
qemu-img create -q -f qcow2 img 64M
mount_image img mnt -o commit_interval=1
(
	for ((i = 1; i <= 100000; i++)); do
		echo $i >begun
		"$HELPERS" write mnt $((i * 4096)) 4096 $((i % 250 + 1))
		"$HELPERS" fsync mnt
		echo $i >acked.new
		mv acked.new acked
	done
) &
writer=$!
at_end_kill $writer
n=$(pick 6 15 100)
for ((k = 1; k <= n; k++)); do
	sleep 0.1
	before=$(cat acked 2>/dev/null || echo 0)
	"$RAWCOW" snapshot -c "load$k" mnt
	after=$(cat begun)
	echo "$before $after" >"load$k.range"
	[ $((k % 4)) != 0 ] || "$RAWCOW" snapshot -d "load$((k - 1))" mnt
done
kill $writer || fail "the writer has ended before"
wait $writer 2>/dev/null || :
[ "${before:-0}" -gt 0 ] || fail "the writer has written nothing"
umount_wait mnt
check_clean img
"$RAWCOW" check -q img || fail "check"
for ((k = 1; k <= n; k++)); do
	[ $((k % 4)) != 3 ] || [ $((k + 1)) -gt "$n" ] || continue
	read -r before after <"load$k.range"
	qemu-img convert -l "snapshot.name=load$k" -O raw img out.raw
	for ((i = 1; i <= after + 1; i++)); do
		v=$(peek out.raw $((i * 4096)) 1)
		if [ $i -le "$before" ]; then
			[ "$v" != 00 ] || fail "snapshot $k lacks block $i of $before"
		elif [ $i -gt "$after" ]; then
			[ "$v" = 00 ] || fail "snapshot $k has block $i, later than $after"
		fi
	done
done

# The lists, while they change.
rm -rf img dir
qemu-img create -q -f qcow2 img 16M
mkdir dir
mount_image img dir
"$RAWCOW" snapshot -c stays dir
"$RAWCOW" bitmap --add dir stays
: >go
(
	while [ -e go ]; do
		mkdir dir/snapshots/{a,b,c}
		"$RAWCOW" bitmap --add dir a
		"$RAWCOW" bitmap --remove dir a
		rmdir dir/snapshots/{a,b,c}
	done
) 2>/dev/null &
changes=$!
at_end_kill $changes
for ((k = 0; k < $(pick 20 80 2000); k++)); do
	"$RAWCOW" snapshot -l dir >out 2>&1 || fail "list $k: $(cat out)"
	grep -q ' stays ' out || fail "list $k: $(cat out)"
	"$RAWCOW" bitmap --list dir >out 2>&1 || fail "bitmaps $k: $(cat out)"
	grep -q ' stays' out || fail "bitmaps $k: $(cat out)"
done
rm go
wait $changes || :
umount_wait dir
check_clean img

# Two syncs, beyond the commit of what was written before.
rm -f img
qemu-img create -q -f qcow2 img 64M
mount_pid img mnt -o commit_interval=3600
"$HELPERS" write mnt 0 1000000 1
"$HELPERS" fsync mnt
for step in "-c a" "-c b" "-d a" "-d b"; do
	start_strace "$daemon" sync.log
	# shellcheck disable=SC2086
	"$RAWCOW" snapshot $step mnt
	syncs=$(stop_strace)
	# what the operation before has freed rides in this one's commit
	[ "$syncs" -le 4 ] || fail "snapshot $step: $syncs syncs"
done
umount_wait mnt
check_clean img
