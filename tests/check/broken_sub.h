/*
 * broken_sub: ways to break an image with extended L2 entries; for the list of
 * cases. As the others, they leave the counts as they are.
 */
#pragma once

#include "lib/imgbuild.h"

/* The bitmap: data and zero at once; data and no cluster; on compressed data. */
void broken_sub_both(struct imgbuild *b);
void broken_sub_all_both(struct imgbuild *b);
void broken_sub_no_cluster(struct imgbuild *b);
void broken_sub_stream(struct imgbuild *b);
void broken_sub_stream_full(struct imgbuild *b);

/* The word: the zero flag, which extended entries have not; reserved bits; a
 * place that is unaligned, behind the end, or not its own. */
void broken_sub_zero_flag(struct imgbuild *b);
void broken_sub_zero_flag_empty(struct imgbuild *b);
void broken_sub_reserved(struct imgbuild *b);
void broken_sub_unaligned(struct imgbuild *b);
void broken_sub_outside(struct imgbuild *b);
void broken_sub_elsewhere(struct imgbuild *b);
void broken_sub_place_zero(struct imgbuild *b);

/* A cluster with two owners: data; of all kinds; one that holds no data; a
 * table. */
void broken_sub_twice(struct imgbuild *b);
void broken_sub_mixed_twice(struct imgbuild *b);
void broken_sub_place_twice(struct imgbuild *b);
void broken_sub_is_l2(struct imgbuild *b);

/* Counts of a cluster with subclusters of all kinds. */
void broken_sub_count_low(struct imgbuild *b);
void broken_sub_count_high(struct imgbuild *b);
