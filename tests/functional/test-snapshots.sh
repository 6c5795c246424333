#!/bin/bash
# rawcow snapshot: made, applied and deleted in turn with QEMU, each snapshot is
# what a raw copy of that moment is, and both checks are content after each step.
test_limit=240
. "$(dirname "$0")/functions.sh"
requires qemu-img qemu-io

seed=${SEED:-$RANDOM}
say "seed $seed"
RANDOM=$seed

# step_write: some random writes, zeroes and discards, in img and raw
step_write()
{
	local args=() i off len kind

	for i in 1 2 3 4; do
		off=$((RANDOM * 97 % 2000 * 512))
		len=$(((RANDOM % 300 + 1) * 512))
		kind=$((RANDOM % 6))
		case $kind in
		0) args+=(-c "write -z $off $len") ;;
		1) args+=(-c "write -z -u $off $len") ;;
		*) args+=(-c "write -P $((RANDOM % 255 + 1)) $off $len") ;;
		esac
	done
	qemu-io -f qcow2 "${args[@]}" img >/dev/null
	qemu-io -f raw "${args[@]}" raw >/dev/null
}

check_both()
{
	check_clean img
	"$RAWCOW" check -q img >out 2>&1 || fail "$1: rawcow check: $(cat out)"
	same_content img raw
}

# by_either LETTER NAME
by_either()
{
	if [ $((RANDOM % 3)) = 0 ]; then
		qemu-img snapshot "$1" "$2" img
	else
		"$RAWCOW" snapshot "$1" "$2" img
	fi
}

history()
{
	local opts=$1 steps=$2 n=0 i k
	local have=()

	rm -f img raw snap.*
	qemu-img create -q -f qcow2 -o "$opts" img "${3:-1536K}" >/dev/null
	truncate -s "$(qemu-img info --output=json img | jq '."virtual-size"')" raw
	[ -z "${4:-}" ] || dd if="$4" of=raw conv=notrunc status=none
	for ((i = 0; i < steps; i++)); do
		k=$((RANDOM % 6))
		[ ${#have[@]} -gt 0 ] || k=$((k % 4))
		case $k in
		0 | 1) step_write ;;
		2 | 3)
			n=$((n + 1))
			by_either -c "s$n"
			cp --sparse=always raw "snap.s$n"
			have+=("s$n")
			step_write
			;;
		4)
			s=${have[RANDOM % ${#have[@]}]}
			by_either -a "$s"
			cp --sparse=always "snap.$s" raw
			;;
		5)
			s=${have[RANDOM % ${#have[@]}]}
			by_either -d "$s"
			rm "snap.$s"
			mapfile -t have < <(printf '%s\n' "${have[@]}" | grep -vx "$s" || :)
			;;
		esac
		check_both "$opts step $i"
	done
	for s in "${have[@]}"; do
		qemu-img convert -l "snapshot.name=$s" -O raw img out.raw
		cmp out.raw "snap.$s" || fail "$opts: snapshot $s differs"
	done
	# all go: what is left is as good as new
	for s in "${have[@]}"; do
		"$RAWCOW" snapshot -d "$s" img
	done
	check_both "$opts, all deleted"
	[ "$("$RAWCOW" snapshot --json img | jq length)" = 0 ] || fail "snapshots left"
}

head -c 1500000 /dev/urandom >base.raw
n=$(pick 6 10 60)
history cluster_size=64k "$n"
history cluster_size=512,refcount_bits=16 "$n"
history compat=0.10,cluster_size=4k "$n"
history cluster_size=4k,refcount_bits=64 "$n"
history cluster_size=512,refcount_bits=4 "$n"
history cluster_size=2M "$n" 7M
history cluster_size=8k,backing_file=base.raw,backing_fmt=raw "$n" 1536K base.raw

# Compressed clusters are shared and counted like others.
qemu-img convert -f raw -O qcow2 -c base.raw img
cp base.raw raw
truncate -s "$(qemu-img info --output=json img | jq '."virtual-size"')" raw
"$RAWCOW" snapshot -c one img
step_write
check_both compressed
"$RAWCOW" snapshot -a one img
truncate -s 0 raw
cp base.raw raw
truncate -s "$(qemu-img info --output=json img | jq '."virtual-size"')" raw
check_both compressed
"$RAWCOW" snapshot -d 1 img
check_both compressed

# The disk gets the size that it had.
rm -f img raw
qemu-img create -q -f qcow2 -o cluster_size=512 img 1M
qemu-io -f qcow2 -c 'write -P 7 1000k 24k' img >/dev/null
"$RAWCOW" snapshot -c small img
qemu-img resize -q img 40M
qemu-io -f qcow2 -c 'write -P 8 39M 1M' img >/dev/null
"$RAWCOW" snapshot -c large img
"$RAWCOW" snapshot -a small img
qemu-img info img | grep -q '1 MiB (1048576' || fail "not the old size"
check_clean img
qemu-io -f qcow2 -r -c 'read -P 7 1000k 24k' img | grep -q failed && fail "small"
"$RAWCOW" snapshot -a large img
check_clean img
qemu-io -f qcow2 -r -c 'read -P 8 39M 1M' img | grep -q failed && fail "large"

# A list as QEMU's; names that are not for terminals.
"$RAWCOW" snapshot -c "$(printf 'a\033[31m"b')" img
"$RAWCOW" snapshot -l img >list
! grep -q "$(printf '\033')" list || fail "an escape sequence is printed"
"$RAWCOW" snapshot --json img | jq -e 'length == 3' >/dev/null || fail json
"$RAWCOW" snapshot -l img | head -3 | tr -s ' ' >ours
qemu-img snapshot -l img | head -3 | tr -s ' ' >theirs
cmp ours theirs || fail "the list differs from qemu-img's"

# Refusals change nothing.
before=$(sum_of img)
refuses "no snapshot" "$RAWCOW" snapshot -a nosuch img
refuses "no snapshot" "$RAWCOW" snapshot -d nosuch img
refuses "bytes" "$RAWCOW" snapshot -c "" img
refuses "bytes" "$RAWCOW" snapshot -c "$(printf '%0300d' 0)" img
refuses "one of" "$RAWCOW" snapshot -c a -d a img
[ "$before" = "$(sum_of img)" ] || fail "a refusal has changed the image"
qemu-img create -q -f qcow2 -o refcount_bits=1 one 1M
before=$(sum_of one)
refuses "one bit" "$RAWCOW" snapshot -c a one
[ "$before" = "$(sum_of one)" ] || fail "a refusal has changed the image"
qemu-img create -q -f qcow2 -o refcount_bits=2 two 1M
qemu-io -f qcow2 -c 'write 0 1M' two >/dev/null
"$RAWCOW" snapshot -c a two
"$RAWCOW" snapshot -c b two
refuses "as often as" "$RAWCOW" snapshot -c c two
check_clean two
"$RAWCOW" check -q two || fail "check of a full count"
