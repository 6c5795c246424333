#!/bin/bash
# Many different things at once on one mounted folder, each with an oracle of
# its own: blocks through the page cache, past it and mapped, holes, snapshots
# made, read and deleted, texts, attributes, commands, readers that are killed.
# Nothing is lost, nothing fails that should not, and nothing hangs.
test_limit=300
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

seed=${RAWCOW_TEST_SEED:-$RANDOM}
seconds=$(pick 4 4 60)
say "seed $seed (RAWCOW_TEST_SEED to repeat)"

umask 077
printf 'correct horse' >key
secret=(--object "secret,id=s,file=key")

# soak SOURCE WORDS MOUNTARG...: img, whose disk reads as zero, is SOURCE to QEMU.
soak()
{
	local source=$1 words=$2 status=0 job

	shift 2
	mkdir -p mnt
	mount_image img mnt "$@"
	"$HELPERS" soak mnt "$seconds" "$seed" raw "$words" >out 2>&1 &
	job=$!
	# in use: refused, and nobody notices
	wait_for 30 grep -q begun out || fail "seed $seed: does not begin: $(cat out)"
	"$RAWCOW" umount mnt 2>err || status=$?
	wait $job || { cat out >&2; fail "seed $seed"; }
	say "$(tail -n 1 out)"
	[ $status = 1 ] || fail "umount of a disk in use exits $status: $(cat err)"
	grep -q 'in use' err || fail "umount of a disk in use says: $(cat err)"
	# who comes late finds it all
	cmp mnt/disk.raw raw || fail "seed $seed: the disk is not what was written"
	umount_wait mnt
	qemu-img compare "${secret[@]}" --image-opts "$source" driver=raw,file.filename=raw \
		>out 2>&1 || fail "seed $seed: QEMU reads: $(cat out)"
	check "$source"
	end_amid "$words" "$@"
	check "$source"
	rm -rf img raw back data mnt
}

check()
{
	qemu-img check "${secret[@]}" --image-opts "$1" >out 2>&1 ||
		fail "seed $seed: qemu-img check: $(cat out)"
	"$RAWCOW" check img >out 2>&1 || fail "seed $seed: check: $(cat out)"
}

# SIGTERM in the middle of it all: the server ends, the image is sound.
end_amid()
{
	local words=$1 job

	shift
	mount_pid img mnt "$@"
	# it dies in the middle of something, which is nobody's fault
	ASAN_OPTIONS='' TSAN_OPTIONS='' UBSAN_OPTIONS='' \
		"$HELPERS" soak mnt 30 "$seed" raw "$words" >out 2>&1 &
	job=$!
	sleep "0.$((seed % 10))"
	kill -TERM "$daemon"
	wait_for 30 gone "$daemon" || fail "seed $seed: does not end on SIGTERM"
	wait $job || :
}

plain=driver=qcow2,file.filename=img
small_clusters()
{
	truncate -s 8M zero
	qemu-img convert -f raw -O qcow2 zero back
	qemu-img create -q -f qcow2 -o cluster_size=512,backing_file=back,backing_fmt=qcow2 img 8M
	soak $plain snapshots -o commit_interval=1
}
after_a_snapshot()
{
	qemu-img create -q -f qcow2 img 32M
	qemu-img snapshot -c before img
	soak $plain snapshots
}
subclusters()
{
	qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k img 32M
	soak $plain snapshots -o l2_cache_size=64k,commit_interval=1
}
luks()
{
	"$RAWCOW" create -q -o encrypt.format=luks,encrypt.iter-time=10 --key-file key img 32M
	soak $plain,encrypt.format=luks,encrypt.key-secret=s snapshots -o key_file=key
}
data_file()
{
	qemu-img create -q -f qcow2 -o data_file=data,cluster_size=64k img 32M
	soak $plain "" -o discard=ignore
}
another_size()
{
	qemu-img create -q -f qcow2 -o cluster_size=4k img 16M
	soak $plain snapshots,growable -o growable,shrinkable
}
no_cache()
{
	qemu-img create -q -f qcow2 -o cluster_size=64k,refcount_bits=64 img 32M
	soak $plain snapshots -o cache=writethrough,max_threads=2
}

layouts=(small_clusters after_a_snapshot subclusters luks data_file another_size no_cache)
for ((i = 0; i < ${#layouts[@]}; i++)); do
	[ "$scale" = full ] || [ $i = $((seed % ${#layouts[@]})) ] || continue
	say "${layouts[i]}"
	"${layouts[i]}"
done
