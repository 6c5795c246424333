#!/bin/bash
# Encrypted images, both ways with QEMU: what it wrote is read here, what is
# written here is read there, for each kind of cipher, mode, IV and hash that it
# makes. Keys by file, descriptor and credential; wrong ones; none.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

umask 077
printf 'correct horse' >key
printf 'wrong horse' >bad
printf 'correct horse\n' >newline
disk=mnt
oracle=raw

# options for QEMU to open an image: opts FORMAT FILE
opts()
{
	echo "driver=qcow2,encrypt.format=$1,encrypt.key-secret=s,file.filename=$2"
}
object=(--object "secret,id=s,file=key")

# QEMU measures its key derivation, and gives up on a busy machine.
try_make()
{
	rm -f img
	qemu-img create -q -f qcow2 "${object[@]}" \
		-o "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,$1" \
		img 16M 2>make.err
}
make_luks() { wait_for 60 try_make "$1" || fail "QEMU: $(cat make.err)"; }

# qemu_checks FORMAT IMAGE RAW
qemu_checks()
{
	qemu-img compare "${object[@]}" --image-opts "$(opts "$1" "$2")" \
		driver=raw,file.filename="$3" >out 2>&1 || { cat out; fail "QEMU reads $2 otherwise"; }
	qemu-img check "${object[@]}" --image-opts "$(opts "$1" "$2")" >out 2>&1 ||
		{ cat out; fail "qemu-img check: $2"; }
	! grep -qiE 'leaked|error.*found on' <(grep -v '^No errors' out) || fail "$(cat out)"
	"$RAWCOW" check "$2" >out 2>&1 || { cat out; fail "rawcow check: $2"; }
}

# both_ways FORMAT MOUNTARGS...
both_ways()
{
	local format=$1

	shift
	truncate -s 16M raw
	qemu-io "${object[@]}" --image-opts "$(opts "$format" img)" \
		-c 'write -P 0x11 0 1M' -c 'write -P 0x22 3000000 100000' \
		-c 'write -z 512k 64k' >/dev/null
	head -c 1M /dev/zero | tr '\0' '\21' | dd of=raw conv=notrunc status=none
	head -c 100000 /dev/zero | tr '\0' '\42' |
		dd of=raw conv=notrunc oflag=seek_bytes seek=3000000 status=none
	dd if=/dev/zero of=raw bs=64k seek=8 count=1 conv=notrunc status=none
	mount_image img mnt "$@"
	same_file mnt raw
	both write 100 5000 1		# parts of sectors, in place
	both write 2999999 3 2
	both write 8M 300000 3		# new clusters
	both write 12345677 1 4
	both fallocate zero 4M 1M
	both fallocate punch 64k 128k
	same_file mnt raw
	umount_wait mnt
	qemu_checks "$format" img raw
	mount_image img mnt "$@"
	same_file mnt raw
	umount_wait mnt
}

# shellcheck disable=SC2054 # commas that belong to the options
combos=(
	cipher-alg=aes-256,encrypt.cipher-mode=xts,encrypt.ivgen-alg=plain64
	cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256
	cipher-alg=aes-192,encrypt.cipher-mode=xts,encrypt.ivgen-alg=plain,encrypt.hash-alg=sha512
	cipher-alg=aes-256,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=plain64,encrypt.hash-alg=sha1
	cipher-alg=aes-128,encrypt.cipher-mode=xts,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=md5
	cipher-alg=aes-256,encrypt.cipher-mode=ecb,encrypt.ivgen-alg=plain,encrypt.hash-alg=sha384
	cipher-alg=aes-128,encrypt.cipher-mode=ctr,encrypt.ivgen-alg=plain64,encrypt.hash-alg=sha224
	cipher-alg=aes-256,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=plain,encrypt.hash-alg=ripemd160,cluster_size=4k
	cipher-alg=cast5-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=plain64,cluster_size=512
	cipher-alg=cast5-128,encrypt.cipher-mode=ecb,encrypt.ivgen-alg=plain,compat=0.10
)
# QEMU takes two seconds of CPU to make one: it makes the first few, and opens
# and writes all.
own()
{
	rm -f img
	"$RAWCOW" create -q -o "encrypt.format=luks,encrypt.iter-time=10,$1" \
		--key-file key img 16M || fail "rawcow create $1"
}
n=$(pick 3 ${#combos[@]} ${#combos[@]})
by_qemu=$(pick 1 2 ${#combos[@]})
for ((i = 0; i < n; i++)); do
	say "${combos[i]}"
	if [ "$i" -lt "$by_qemu" ]; then
		make_luks "encrypt.${combos[i]}"
	else
		own "encrypt.${combos[i]}"
	fi
	rm -f raw
	both_ways luks -o key_file=key
done

# What is made here looks to QEMU as what it makes itself.
own preallocation=metadata
qemu-io "${object[@]}" --image-opts "$(opts luks img)" -c 'read -P 0 0 16M' >out
grep -q 'read 16777216/16777216' out || fail "preallocated: $(cat out)"
! grep -q failed out || fail "preallocated clusters do not read as zero: $(cat out)"
qemu-img info --output=json img >out
for want in '"cipher-alg": "aes-256"' '"cipher-mode": "xts"' '"ivgen-alg": "plain64"' \
	'"hash-alg": "sha256"' '"encrypted": true' '"payload-offset": 2068480'; do
	grep -q "$want" out || fail "qemu-img info: no $want"
done
# ours says the same, word for word
if command -v jq >/dev/null; then
	jq -S '.["format-specific"].data.encrypt' out >theirs
	"$RAWCOW" info --output=json img | jq -S '.["format-specific"].data.encrypt' >ours
	cmp theirs ours || { diff theirs ours; fail "info --output=json differs from QEMU's"; }
fi
qemu-img info img | sed -n '/^    encrypt:/,/master key/p' >theirs
"$RAWCOW" info img | sed -n '/^    encrypt:/,/master key/p' >ours
cmp theirs ours || { diff theirs ours; fail "info differs from QEMU's"; }
grep -q 'iters' ours || fail "no encryption in info"

# a broken encryption header is an error to check, and no reason to crash
cp img broken
at=$((0x$(peek broken 120 8)))
poke broken $((at + 208 + 44)) 00000fa1 # stripes
status=0
"$RAWCOW" check broken >out 2>&1 || status=$?
[ $status = 2 ] || fail "check of a broken header exits $status"
grep -q 'stripes' out || fail "check does not say what: $(cat out)"
"$RAWCOW" info broken >/dev/null
refuses_mount "stripes" broken mnt -o key_file=key
cp img broken
poke broken $((at + 208 + 4)) ffffffff # iterations: hours of work
start=$SECONDS
refuses_mount "above the limit" broken mnt -o key_file=key
[ $((SECONDS - start)) -lt 10 ] || fail "it took $((SECONDS - start)) s to refuse"

printf 'not \377 UTF-8' >bytes
luks=encrypt.format=luks,encrypt.iter-time=10
refuses "UTF-8" "$RAWCOW" create -o $luks --key-file bytes new 1M
printf 'a surrogate \355\240\200' >bytes
refuses "UTF-8" "$RAWCOW" create -o $luks --key-file bytes new 1M
refuses "passphrase.*--key-file" setsid -w "$RAWCOW" create -o $luks new 1M
refuses "weak" "$RAWCOW" create -o encrypt.format=aes --key-file key new 1M
refuses "weak.*luks" "$RAWCOW" create -o encryption=on --key-file key new 1M
refuses "serpent" "$RAWCOW" create -o $luks,encrypt.cipher-alg=serpent-256 --key-file key new 1M
refuses "key-file" "$RAWCOW" create -o $luks,encrypt.key-secret=s --key-file key new 1M
refuses "encrypt.format=luks" "$RAWCOW" create --key-file key new 1M
refuses "version 3|compat" "$RAWCOW" create -o $luks,compat=0.10,preallocation=full --key-file key new 1M
[ ! -e new ] || fail "a refused create left a file"

# Ciphers that OpenSSL does not have: by name, and nothing changes.
own encrypt.cipher-mode=xts
at=$((0x$(peek img 120 8)))
poke img $((at + 8)) 73657270656e74 # "serpent"
refuses_mount "serpent-xts.*qemu-img convert" img mnt -o key_file=key

# Legacy AES, with a warning.
rm -f img raw
qemu-img create -q -f qcow2 "${object[@]}" -o encrypt.format=aes,encrypt.key-secret=s \
	img 16M 2>/dev/null
both_ways aes -o key_file=key 2>err
grep -q 'old AES encryption' err || fail "no warning: $(cat err)"

# A wrong passphrase, none, two: said in one line, and the image stays as it is.
own encrypt.cipher-mode=xts
sum=$(sum_of img)
refuses_mount "wrong passphrase" img mnt -o key_file=bad
says img
refuses_mount "wrong passphrase" img mnt -o key_file=newline
refuses_mount "is encrypted.*key_file" img mnt
refuses_mount "exclude" img mnt -o key_file=key,key_fd=3 3<key
refuses_mount "key_file" img mnt -o key_file=
refuses_mount "absent" img mnt -o key_file=absent
refuses_mount "key_fd" img mnt -o key_fd=77
ln -sf key link
refuses_mount "symbolic link" img mnt -o key_file=link
: >empty
refuses_mount "empty" img mnt -o key_file=empty
head -c 70000 /dev/zero >long
refuses_mount "65536" img mnt -o key_file=long
[ "$sum" = "$(sum_of img)" ] || fail "the image was changed"

# Sources of keys.
mount_image img mnt -o key_fd=5 5<key
umount_wait mnt
mount_image img mnt -o key_file=newline,key_file_strip
umount_wait mnt
mkdir creds
cp key creds/rawcow.key
CREDENTIALS_DIRECTORY=$tmp/creds mount_image img mnt
umount_wait mnt
chmod 644 key
"$RAWCOW" img mnt -o key_file=key 2>err
grep -q 'read by others' err || fail "no warning about the mode: $(cat err)"
umount_wait mnt
chmod 600 key

# No key anywhere it can be seen; no core dump of the server.
mount_pid img mnt -o key_file=key
for f in cmdline environ; do
	! grep -q 'correct horse' "/proc/$daemon/$f" || fail "the key is in $f"
done
grep -qE 'Max core file size +0 +0' "/proc/$daemon/limits" || fail "core dumps are allowed"
[ "$(stat -c %u "/proc/$daemon/environ")" = 0 ] || fail "the server can be dumped"
umount_wait mnt

# The passphrase is asked for on a terminal, and not shown.
if command -v script >/dev/null; then
	{ sleep 1; echo 'correct horse'; sleep 1; } |
		script -qec "'$RAWCOW' img mnt" typescript >/dev/null || fail "no prompt: $(cat typescript)"
	grep -q Passphrase typescript || fail "nothing was asked: $(cat typescript)"
	! grep -q horse typescript || fail "the passphrase was shown"
	is_mounted "$tmp/mnt" || fail "the prompt's passphrase did not fit: $(cat typescript)"
	umount_wait mnt
fi

# A chain: each layer under its own key, and one plain.
printf 'other' >key2
mv img base
qemu-io "${object[@]}" --image-opts "$(opts luks base)" -c 'write -P 7 0 2M' >/dev/null
"$RAWCOW" create -q -o $luks --key-file key2 -u -b base -F qcow2 img 16M
head -c 2M /dev/zero | tr '\0' '\7' >raw
truncate -s 16M raw
refuses_mount "backing file 'base'.*wrong passphrase" img mnt -o key_file=key2
mount_image img mnt -o key_file=key2,backing_key_file=key
same_file mnt raw
both write 100 700 1	# copies from behind, under another key
both write 1999999 70000 2
same_file mnt raw
umount_wait mnt
qemu-img create -q -f qcow2 -u -b img -F qcow2 top 16M
refuses_mount "backing file 'base'.*wrong passphrase" top mnt -o key_file=key2

# Compressed clusters lie in the image as they are, by QEMU's hand too: there is
# no encryption of them. What is written over them is encrypted.
unencrypted()
{
	truncate -s 16M raw
	qemu-io "${object[@]}" --image-opts "$(opts "$1" img)" \
		-c 'write -c -P 0x41 1M 64k' -c 'write -c -P 0x42 2M 64k' >/dev/null
	head -c 64k /dev/zero | tr '\0' 'A' | dd of=raw bs=1M seek=1 conv=notrunc status=none
	head -c 64k /dev/zero | tr '\0' 'B' | dd of=raw bs=1M seek=2 conv=notrunc status=none
	"$RAWCOW" check img | grep -q '100.00% compressed' || fail "nothing is compressed"
	mount_image img mnt -o key_file=key
	same_file mnt raw
	both write 1050000 700 1	# in the middle of the first
	both write 2M 64k 2		# all of the second
	same_file mnt raw
	umount_wait mnt
	qemu_checks "$1" img raw
	"$RAWCOW" check img | grep -q ' 0.00% compressed' || fail "still compressed"
}
own encrypt.cipher-mode=xts
rm -f raw
unencrypted luks
rm -f img raw
qemu-img create -q -f qcow2 "${object[@]}" -o encrypt.format=aes,encrypt.key-secret=s \
	img 16M 2>/dev/null
unencrypted aes 2>err

# So none is written.
refuses_mount "compress.*encrypted" base mnt -o key_file=key,compress

# Without a key the map can be seen, and no offset in it.
"$RAWCOW" map --output=json base >map.json
grep -q '"data": true' map.json || fail "no map: $(cat map.json)"
! grep -q offset map.json || fail "the map shows offsets of ciphertext"

# Over an encrypted image an overlay is encrypted, too.
sum=$(sum_of base)
head -c 2M /dev/zero | tr '\0' '\7' >raw
truncate -s 16M raw
mount_image base mnt -o key_file=key,cow
same_file mnt raw
both write 1000 100000 1
same_file mnt raw
umount_wait mnt
head -c 2M /dev/zero | tr '\0' '\7' >raw
truncate -s 16M raw
mount_image base mnt -o key_file=key,cow=over
printf 'EASY TO FIND' | dd of=mnt conv=notrunc bs=1M seek=1 oflag=seek_bytes status=none
printf 'EASY TO FIND' | dd of=raw conv=notrunc bs=1M seek=1 oflag=seek_bytes status=none
umount_wait mnt
! grep -q 'EASY TO FIND' over || fail "the overlay shows what was written"
mount_image base mnt -o key_file=key,cow=over
same_file mnt raw
umount_wait mnt
refuses_mount "is encrypted.*key_file" base mnt -o cow=other
[ ! -e other ] || fail "an overlay was left"
refuses_mount "wrong passphrase" base mnt -o cow=other,key_file=bad
[ ! -e other ] || fail "an overlay was left"
[ "$sum" = "$(sum_of base)" ] || fail "base was changed"

# Growing: the new part reads as zero.
rm -f img
"$RAWCOW" create -q -o $luks --key-file key img 70000
mount_image img mnt -o key_file=key
"$HELPERS" write mnt 0 70000 1 2>/dev/null || "$HELPERS" write mnt 0 69632 1
cp mnt raw
umount_wait mnt
truncate -s 1M raw
"$RAWCOW" resize --key-file key img 1M
mount_image img mnt -o key_file=key
same_file mnt raw
umount_wait mnt
qemu_checks luks img raw

# Passphrases come and go; QEMU agrees.
"$RAWCOW" create -q --force -o $luks --key-file key img 1M
qemu-io "${object[@]}" --image-opts "$(opts luks img)" -c 'write -P 9 0 1M' >/dev/null
"$RAWCOW" amend -o encrypt.state=active,encrypt.iter-time=10 --key-file key \
	--new-key-file key2 img >out
grep -q 'slot 1' out || fail "amend: $(cat out)"
"$RAWCOW" amend -q -o encrypt.state=active,encrypt.iter-time=10,encrypt.keyslot=6 \
	--key-file key2 --new-key-file newline img
for k in key key2 newline; do
	qemu-io --object secret,id=s,file=$k --image-opts "$(opts luks img)" \
		-c 'read -P 9 0 1M' >out 2>&1 || fail "QEMU, $k: $(cat out)"
	! grep -qi fail out || fail "QEMU, $k: $(cat out)"
	mount_image img mnt -o key_file=$k
	umount_wait mnt
done
refuses "wrong passphrase" "$RAWCOW" amend -o encrypt.state=active --key-file bad --new-key-file bad img
refuses "slot 6 is in use" "$RAWCOW" amend -o encrypt.state=active,encrypt.keyslot=6 \
	--key-file key --new-key-file bad img
"$RAWCOW" amend -o encrypt.state=inactive --key-file key img
refuses_mount "wrong passphrase" img mnt -o key_file=key
"$RAWCOW" amend -o encrypt.state=inactive,encrypt.keyslot=1 img
"$RAWCOW" amend -o encrypt.state=inactive,encrypt.keyslot=1 img	# again, as after a crash
sum=$(sum_of img)
refuses "last one" "$RAWCOW" amend -o encrypt.state=inactive,encrypt.keyslot=6 img
refuses "no other passphrase" "$RAWCOW" amend -o encrypt.state=inactive --key-file newline img
refuses "exclude" "$RAWCOW" amend -o encrypt.state=inactive,encrypt.keyslot=6 --key-file newline img
[ "$sum" = "$(sum_of img)" ] || fail "a refused amend changed the image"
mount_image img mnt -o key_file=newline
umount_wait mnt
"$RAWCOW" create -q plain 1M
refuses "no LUKS" "$RAWCOW" amend -o encrypt.state=inactive,encrypt.keyslot=0 plain

# commit goes from one key to another
"$RAWCOW" create -q --force -o $luks --key-file key2 -u -b img -F qcow2 top 1M
mount_image top mnt -o key_file=key2,backing_key_file=newline
"$HELPERS" write mnt 1000 100000 5
cp mnt raw
umount_wait mnt
"$RAWCOW" commit -q --key-file key2 --backing-key-file newline top
mount_image img mnt -o key_file=newline
same_file mnt raw
umount_wait mnt
