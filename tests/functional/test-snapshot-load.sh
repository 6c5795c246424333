#!/bin/bash
# Snapshots made, applied and deleted on a running mount while programs write:
# each holds what a raw copy of one moment holds, and costs two syncs beyond
# the commit of what was written before.
test_limit=120
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img strace helpers

writers=3
size=$((2 << 20))
rm -f img
qemu-img create -q -f qcow2 -o cluster_size=4k img $((writers * size))
mount_image img mnt -o commit_interval=1
for ((w = 0; w < writers; w++)); do
	"$HELPERS" load-write mnt $((w * size)) $size $((w + 1)) count$w &
	at_end_kill $!
	pids[w]=$!
done
wait_for 10 test -s count$((writers - 1))

# step VERB NAME: and between which operations of the writers it was
step()
{
	"$HELPERS" load-at count* >before
	"$RAWCOW" snapshot "$1" "$2" mnt
	"$HELPERS" load-at count* >after
	paste -d' ' before after >"window$1$2"
}

base=none # the snapshot that the disk was made from last
n=$(pick 6 14 200)
for ((k = 1; k <= n; k++)); do
	step -c "s$k"
	echo $base >"base$k"
	case $((k % 6)) in
	2) step -a "s$((k - 1))"; base=$((k - 1)) ;;
	4) "$RAWCOW" snapshot -d "s$((k - 2))" mnt; rm "base$((k - 2))" ;;
	esac
	# an apply belongs to those that follow it
	[ $base = none ] || cp "window-as$base" "apply$((k + 1))"
	sleep 0.02
done
for w in "${pids[@]}"; do ! gone "$w" || fail "a writer has ended"; done
kill "${pids[@]}"
wait "${pids[@]}" 2>/dev/null || :
umount_wait mnt
check_clean img

for ((k = 1; k <= n; k++)); do
	[ -e "base$k" ] || continue
	qemu-img convert -l "snapshot.name=s$k" -O raw img out.raw
	base=$(cat "base$k")
	for ((w = 0; w < writers; w++)); do
		read -r kmin _ _ kmax < <(sed -n $((w + 1))p "window-cs$k")
		history='' jmin=0 jmax=0
		if [ "$base" != none ]; then
			history=$(cat "history$base.$w")
			read -r jmin _ _ jmax < <(sed -n $((w + 1))p "apply$k")
		fi
		"$HELPERS" load-verify out.raw $((w * size)) $size $((w + 1)) \
			"$history" "$jmin" "$jmax" "$kmin" "$kmax" >"history$k.$w" ||
			fail "snapshot $k, writer $w: $history then $jmin..$jmax to $kmin..$kmax"
	done
done
say "histories: $(cat history"$n".*)"

# The syncs. A commit before leaves nothing for the operation to write first.
rm -f img
qemu-img create -q -f qcow2 img 64M
mount_pid img mnt -o commit_interval=3600
for step in "-c a" "-c b" "-a a" "-d a" "-a b" "-d b"; do
	"$HELPERS" write mnt 0 5000000 "$(printf %d "'${step#* }")"
	for i in 1 2 3; do "$HELPERS" commit mnt; done
	start_strace "$daemon" sync.log
	# shellcheck disable=SC2086
	"$RAWCOW" snapshot $step mnt
	stop_strace >/dev/null
	# the server's fsync of its own mount is none of the image
	syncs=$(grep -c 'fdatasync(' sync.log || true)
	say "snapshot $step: $syncs syncs"
	[ "$syncs" -le 2 ] || { cat sync.log >&2; fail "snapshot $step: $syncs syncs"; }
done
umount_wait mnt
check_clean img
