#!/bin/bash
# info: JSON and text equal qemu-img's; the image alone is opened; names from
# the image do no harm to a terminal.
. "$(dirname "$0")/functions.sh"
requires qemu-img qemu-io jq
[ -x "$RAWCOW" ] || skip "no program at $RAWCOW"

# like_qemu IMAGE [ARG...]
like_qemu()
{
	qemu-img info --output=json "${@:2}" "$1" | jq -S . >want
	"$RAWCOW" info --output=json "${@:2}" "$1" | jq -S . >got
	diff want got >&2 || fail "JSON of $* differs"
	qemu-img info "${@:2}" "$1" >want
	"$RAWCOW" info "${@:2}" "$1" >got
	diff want got >&2 || fail "text of $* differs"
}

mkdir d
qemu-img create -q -f raw d/base.raw 3M
qemu-img create -q -f qcow2 -b base.raw -F raw d/mid.qcow2 5M
qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 d/top.qcow2
for o in compat=0.10 compat=1.1 compat=1.1,lazy_refcounts=on cluster_size=512 \
	cluster_size=2M,refcount_bits=1 compression_type=zstd refcount_bits=64; do
	qemu-img create -q -f qcow2 -o $o img 123M
	like_qemu img
	qemu-io -c 'write 0 1M' img >/dev/null
	[[ $o == *refcount_bits=1 ]] || qemu-img snapshot -c "snap 1" img
	like_qemu img
done
like_qemu d/top.qcow2
like_qemu d/top.qcow2 --backing-chain
like_qemu "$tmp/d/mid.qcow2"
qemu-img bitmap --add -g 64k d/top.qcow2 bits
qemu-img bitmap --add --disable d/top.qcow2 more
like_qemu d/top.qcow2
[ "$("$RAWCOW" info --json img | jq -S .)" = "$("$RAWCOW" info --output=json img | jq -S .)" ] ||
	fail "--json is not --output=json"

say "nothing but the image is opened"
qemu-img create -q -u -f qcow2 -b /etc/shadow -F raw evil 1M
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
	ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 strace -f -e trace=open,openat,openat2 -o trace "$RAWCOW" info evil >out
	! grep -q shadow trace || fail "info opened the backing file"
fi
grep -q '^backing file: /etc/shadow' out || "$RAWCOW" info evil | grep -q shadow
qemu-img create -q -u -f qcow2 -b "$(printf 'a\033[31mb\nc')" -F raw esc 1M
! "$RAWCOW" info esc | grep -q $'\033' || fail "an escape reached the terminal"
"$RAWCOW" info esc | grep -qF 'a\x1b[31mb\x0ac' || fail "the name is not shown"
"$RAWCOW" info --json esc | jq -e . >/dev/null || fail "no JSON"

# A name is shown whole: 100 of these are 200 bytes, each escaped to four.
qemu-img create -q -f qcow2 long 1M
"$RAWCOW" snapshot -c "$(printf 'ä%.0s' {1..100})" long
[ "$("$RAWCOW" snapshot -l long | grep -o '\\xc3\\xa4' | wc -l)" = 100 ] ||
	fail "a long name is cut"

say "refusals"
refuses 'does not exist|No such' "$RAWCOW" info nowhere
refuses 'not a qcow2' "$RAWCOW" info d/base.raw
: >empty
refuses 'not a qcow2' "$RAWCOW" info empty
refuses 'image' "$RAWCOW" info
refuses 'image' "$RAWCOW" info img img
refuses '--nonsense' "$RAWCOW" info --nonsense img
refuses 'human, json' "$RAWCOW" info --output=xml img
"$RAWCOW" create -q -u -b loop -F qcow2 loop 1M
"$RAWCOW" info loop >/dev/null
refuses 'already' "$RAWCOW" info --backing-chain loop
"$RAWCOW" create -q c1 1M
for ((i = 2; i <= 65; i++)); do
	"$RAWCOW" create -q -u -b c$((i - 1)) -F qcow2 c$i 1M
done
[ "$("$RAWCOW" info --backing-chain --json c64 | jq length)" = 64 ] ||
	fail "a chain of as many files as may be"
refuses 'more than 64' "$RAWCOW" info --backing-chain c65
"$RAWCOW" info -h | grep -q backing-chain || fail "info -h"
