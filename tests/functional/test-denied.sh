#!/bin/bash
# What the server does with its own mount does not depend on owner and mode that
# the user gives the disk: without a capability that overrides them all that was
# written is saved, and sizes and holes are told.
. "$(dirname "$0")/functions.sh"
requires root fuse qemu-img setpriv helpers

oracle=raw
bare=(setpriv --inh-caps=-all "--bounding-set=-dac_override,-dac_read_search")
"${bare[@]}" true 2>/dev/null || skip "capabilities cannot be dropped"

for place in dir file; do
	for opts in mode umask=0777 uid=1234; do
		rm -rf dir file img raw
		mkdir dir
		: >file
		truncate -s 64M raw
		qemu-img create -q -f qcow2 img 64M
		"${bare[@]}" "$RAWCOW" -f img $place \
			-o growable,commit_interval=3600,"${opts/mode/rw}" 2>err &
		pid=$!
		at_end_kill $pid
		wait_for 10 is_mounted "$tmp/$place" || fail "no mount: $(cat err)"
		disk=$(disk_of $place)
		exec 8<>"$disk"
		if [ $opts = mode ]; then chmod 0 "$disk" && chmod 0 $place; fi
		had=$(stat -c %u:%a "$disk" $place)
		head -c 1M /dev/urandom | tee raw >&8
		truncate -s 64M raw
		[ "$("$HELPERS" seek "$disk" hole 0)" = $((1 << 20)) ] ||
			fail "$place $opts: what is not sent yet looks like data"
		"$RAWCOW" snapshot -c s $place || fail "$place $opts: snapshot"
		[ "$(stat -c %u:%a "$disk" $place)" = "$had" ] ||
			fail "$place $opts: $(stat -c %u:%a "$disk" $place), not $had"
		head -c 1M /dev/urandom >last
		cat last >&8
		dd if=last of=raw bs=1M seek=1 conv=notrunc status=none
		kill -TERM $pid
		wait $pid || fail "$place $opts: exit $?: $(cat err)"
		exec 8>&-
		[ ! -s err ] || fail "$place $opts: $(cat err)"
		check_clean img
		same_content img raw
	done
done
