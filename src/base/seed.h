/*
 * seed: bugs on purpose, to prove that the crash test can see them.
 *
 * In an ordinary build SEED_BUG(x) is the constant 0 and nothing of it is left.
 * The crash test builds the core a second time with RAWCOW_SEEDED_BUGS; there
 * the running test chooses one bug with seed_active. Each breaks one ordering
 * rule of docs/durability.md.
 */
#pragma once

enum seed_bug {
	SEED_NONE,
	SEED_SKIP_F1,		   /* R1, R2: entries go out before their targets */
	SEED_PUBLISH_L2_EARLY,	   /* R1: an L2 slice written in phase 1 */
	SEED_PUBLISH_L1_EARLY,	   /* R1: the L1 entry of a new table in phase 1 */
	SEED_COUNT_AFTER_REFERENCE, /* R2: refcount blocks written in phase 2 */
	SEED_REUSE_EARLY,	   /* R3: freed clusters allocatable at once */
	SEED_DECREMENT_EARLY,	   /* R4: decrement before the removal is stable */
	SEED_PUNCH_EARLY,	   /* R5: punch before the removal is stable */
	SEED_COPIED_ON_SHARED,	   /* R6: COPIED taken over from a shared table */
	SEED_HEADER_EARLY,	   /* R7: header root written before its target */
	SEED_IGNORE_FAILED_F,	   /* R8: go on after a failed F */
	SEED_REFTABLE_EARLY,	   /* R1: reftable entry before its block */
	SEED_COVERAGE_LATE,	   /* R2: no F between new coverage and its use */
	SEED_COW_FILL_LATE,	   /* R1: copy-on-write fill after the entry */
	SEED_INSTALL_BEFORE_DATA,  /* R1: the entry is set before the data write */
	SEED_PIN_DROPPED,	   /* R3: matured frees do not wait for readers */
	SEED_INSTALL_STREAM_FIRST, /* R1: a stream's entry before the stream */
	SEED_ROOTS_EARLY,	   /* R1 R7: snapshot roots before their targets */
	SEED_SNAPSHOT_UNCOUNTED,   /* R2: a snapshot's clusters are not counted */
	SEED_COPIED_KEPT,	   /* R6: COPIED stays on what a snapshot shares */
	SEED_DROP_EARLY,	   /* R4: a snapshot is freed before it is gone */
	SEED_L1_IN_PLACE,	   /* R7: a live L1 table is overwritten */
	SEED_L1_ROOT_EARLY,	   /* R1 R7: the header names an unwritten L1 table */
	SEED_SIZE_EARLY,	   /* growing: the size before what it exposes */
	SEED_SHRINK_EARLY,	   /* R4: clusters freed before the size is stable */
	SEED_BASE_UNSYNCED,	   /* R9: emptied before the base is stable */
	SEED_EMPTIED_FIRST,	   /* R9: emptied before the base has it */
	SEED_NAME_UNSYNCED,	   /* R1: sector 0 before the name it refers to */
	SEED_NAME_IN_PLACE,	   /* R1: a backing name overwritten in place */
	SEED_WIDTH_EARLY,	   /* R1: header before refcounts of another width */
	SEED_DOWNGRADE_EARLY,	   /* version 2 while entries have zero flags */
	SEED_SUBCLUSTER_UNSYNCED,  /* R1: no F1 between a subcluster and its bit */
	SEED_SUBCLUSTER_LEFT,	   /* R1: a moved cluster's other subclusters */
	SEED_AUTOCLEAR_LATE,	   /* unknown autoclear bits cleared after data */
	SEED_BITMAP_UNMARKED,	   /* bitmaps: in use not stable before data */
	SEED_BITMAP_DIR_EARLY,	   /* R1 R7: a bitmap directory before its target */
	SEED_BITMAP_CLEAN_EARLY,   /* bitmaps: said to be right, then left behind */
	SEED_BITMAP_FREED_EARLY,   /* R4: old bitmaps freed before the switch */
	SEED_BITMAP_EXT_EARLY,	   /* R1: the marker before what it uncovers */
	SEED_BITMAP_EXT_TORN,	   /* R7: two sectors of an extension as one */
	SEED_SLOT_EARLY,	   /* R11: a key slot active before its material */
	SEED_REBUILD_EARLY,	   /* R1 R7: the header names unwritten refcounts */
	SEED_MOVED_EARLY,	   /* R1 R2: an entry names a copy not counted yet */
	SEED_UNGUARDED,		   /* repair: tables change without the mark */
	SEED_UNDO_LATE,		   /* R1: the image is written before its undo */
	SEED_SKIP_DATA_F,	   /* R1: entries before the data file's F */
	SEED_DATA_PUNCH_EARLY,	   /* R5: a data file punched before its entries go */
	SEED_RAW_BY_FLAG,	   /* a raw data file is zeroed by entries only */
	SEED_CIPHER_NUMBER,	   /* R12: sectors of LUKS numbered on the disk */
	SEED_CIPHER_HOLE,	   /* R12: the host's zeroes taken for the guest's */
	SEED_CIPHER_CARRIED,	   /* R12: copied as it was encrypted elsewhere */
	SEED_CIPHER_PUNCHED,	   /* R12: a hole where an entry still shows it */
	SEED_BITMAP_CLEAR_LATE,	   /* bitmaps: cleared in memory only */
	SEED_BITMAP_DISABLE_BARE,  /* R10: disabled, but its bits are left behind */
	SEED_BITMAP_MERGE_LOST,	   /* bitmaps: merged in memory only */
	SEED_MAX
};

#if defined(RAWCOW_SEEDED_BUGS)
extern enum seed_bug seed_active; /* defined by the test */
#define SEED_BUG(b) (seed_active == (b))
#else
#define SEED_BUG(b) 0
#endif
