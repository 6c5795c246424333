/*
 * guestcrypt: guest sectors of encrypted start images, by the specifications
 * alone (of qcow2, and of LUKS version 1) and on OpenSSL directly. It shares no
 * code with src/, so that one mistake cannot hide in both.
 *
 * There is one passphrase and one master key. Contexts are kept: for one thread
 * only.
 */
#pragma once

#include <stdint.h>

/* crypt_method of a header. */
enum guestcrypt {
	GUESTCRYPT_NONE,
	/* AES-128-CBC under the passphrase, filled up with zero; sectors are
	 * numbered on the disk */
	GUESTCRYPT_AES,
	/* aes-128-xts-plain64; sectors are numbered in the file that holds
	 * them */
	GUESTCRYPT_LUKS,
};

#define GUESTCRYPT_PASS "passphrase"

/* The header and eight key slots, of which the first is active; QEMU wants them
 * in whole 4 KiB. */
#define GUESTCRYPT_SLOT 131072
#define GUESTCRYPT_AREA (4096 + 8 * GUESTCRYPT_SLOT)

/* Fill AREA, which is zero. One round of PBKDF2: opening costs next to
 * nothing. */
void guestcrypt_luks_area(uint8_t *area);

/* One sector, from IN to OUT (which may be the same): at HOFF of the file that
 * holds it, at GOFF of the disk. */
void guestcrypt_encrypt(enum guestcrypt how, uint8_t out[512],
			const uint8_t in[512], uint64_t hoff, uint64_t goff);
void guestcrypt_decrypt(enum guestcrypt how, uint8_t out[512],
			const uint8_t in[512], uint64_t hoff, uint64_t goff);
