/*
 * qcow2: constants of the format (the specification's names) and the limits
 * that rawcow sets against hostile images. No code.
 */
#pragma once

#define QCOW2_MAGIC 0x514649fbU
#define QCOW2_V2_HEADER_LEN 72
#define QCOW2_V3_HEADER_LEN 104	 /* least length of a version 3 header */
#define QCOW2_OUR_HEADER_LEN 112 /* with compression_type; what create writes */
#define QCOW2_SECTOR 512

#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21
#define QCOW2_REFCOUNT_ORDER_MAX 6
#define QCOW2_EXTL2_CLUSTER_BITS_MIN 14 /* with extended L2 entries */
#define QCOW2_SUBCLUSTERS 32		/* in a cluster, with those */
#define QCOW2_SUBCLUSTER_SHIFT 5

/* incompatible_features */
#define QCOW2_INCOMPAT_DIRTY (1ULL << 0)
#define QCOW2_INCOMPAT_CORRUPT (1ULL << 1)
#define QCOW2_INCOMPAT_DATA_FILE (1ULL << 2)
#define QCOW2_INCOMPAT_COMPRESSION (1ULL << 3)
#define QCOW2_INCOMPAT_EXTL2 (1ULL << 4)
#define QCOW2_INCOMPAT_KNOWN 0x1fULL
/* compatible_features */
#define QCOW2_COMPAT_LAZY_REFCOUNTS (1ULL << 0)
/* autoclear_features */
#define QCOW2_AUTOCLEAR_BITMAPS (1ULL << 0)
#define QCOW2_AUTOCLEAR_DATA_FILE_RAW (1ULL << 1)

/* header extensions */
#define QCOW2_EXT_END 0x00000000U
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acaU
#define QCOW2_EXT_FEATURE_NAMES 0x6803f857U
#define QCOW2_EXT_BITMAPS 0x23852875U
#define QCOW2_EXT_CRYPTO 0x0537be77U
#define QCOW2_EXT_DATA_FILE 0x44415441U

/* L1, L2 and refcount table entries */
#define QCOW2_ENTRY_COPIED (1ULL << 63)
#define QCOW2_ENTRY_COMPRESSED (1ULL << 62)
#define QCOW2_ENTRY_ZERO (1ULL << 0)
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ULL	  /* bits 9-55 */
#define QCOW2_REFTABLE_MASK 0xfffffffffffffe00ULL /* bits 9-63 */
#define QCOW2_HOST_OFFSET_MAX (1ULL << 56)

/* Limits (docs/format.md). The first group is what QEMU enforces too. */
#define QCOW2_MAX_L1_BYTES (32U << 20)
#define QCOW2_MAX_REFTABLE_BYTES (8U << 20)
#define QCOW2_MAX_SNAPSHOTS 65536U
#define QCOW2_MAX_SNAPSHOT_TABLE (64U << 20)
#define QCOW2_MAX_SNAPSHOT_EXTRA 1024U
#define QCOW2_MAX_SNAPSHOT_L1S (512U << 20) /* of all snapshots, bytes */
#define QCOW2_MAX_BACKING_NAME 1023U
#define QCOW2_MAX_BACKING_FORMAT 15U
#define QCOW2_MAX_DATA_FILE_NAME 4095U
#define QCOW2_MAX_EXTENSIONS 64U
#define QCOW2_MAX_CHAIN 64U
#define QCOW2_MAX_SIZE (0x7fffffffffffffffULL - (2ULL << 20))
#define QCOW2_MAX_BITMAPS 65535U
#define QCOW2_MAX_BITMAP_DIR (64U << 20)
#define QCOW2_MAX_BITMAP_TABLES (64U << 20) /* of all bitmaps, bytes */

enum qcow2_compression { QCOW2_COMPRESSION_ZLIB = 0, QCOW2_COMPRESSION_ZSTD = 1 };
enum qcow2_crypt { QCOW2_CRYPT_NONE = 0, QCOW2_CRYPT_AES = 1, QCOW2_CRYPT_LUKS = 2 };
