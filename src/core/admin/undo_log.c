/* undo_log: see undo_log.h. */
#include "core/admin/undo_log.h"

#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "base/num.h"

#define HEAD 64U
#define SAMPLES_LEN (UNDO_SAMPLES * 8)

static const char magic[16] = "rawcow undo 2\n";

uint64_t undo_log_sum(uint64_t so_far, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		so_far = (so_far ^ p[i]) * 0x100000001b3ULL;
	return so_far;
}

uint64_t undo_log_record_sum(const uint8_t *p)
{
	return undo_log_sum(undo_log_sum(UNDO_SUM, p, 16),
			    p + UNDO_RECORD, (size_t)be64_load(p + 8));
}

int undo_log_sum_range(struct hostfile *file, uint64_t off, uint64_t len,
		       uint64_t *sum)
{
	uint8_t buf[UNDO_BLOCK];

	*sum = UNDO_SUM;
	while (len) {
		size_t n = (size_t)NUM_MIN(len, sizeof(buf));
		int r = hostfile_pread(file, buf, n, off, NULL);

		if (r < 0)
			return r;
		*sum = undo_log_sum(*sum, buf, n);
		off += n;
		len -= n;
	}
	return 0;
}

uint64_t undo_log_sample_at(uint64_t size, unsigned i)
{
	uint64_t blocks = size / UNDO_BLOCK;

	return (blocks / UNDO_SAMPLES * i + blocks % UNDO_SAMPLES * i /
						    UNDO_SAMPLES) * UNDO_BLOCK;
}

int undo_log_take_sample(struct hostfile *image, uint64_t size, unsigned i,
			 uint64_t *sum)
{
	uint64_t at = undo_log_sample_at(size, i);

	return undo_log_sum_range(image, at, NUM_MIN(size - at, UNDO_BLOCK),
				  sum);
}

static void put_samples(uint8_t raw[SAMPLES_LEN], const struct undo_log_head *h)
{
	for (unsigned i = 0; i < UNDO_SAMPLES; i++)
		be64_store(raw + i * 8, h->sample[i]);
}

int undo_log_put_samples(struct hostfile *log, const struct undo_log_head *h)
{
	uint8_t raw[SAMPLES_LEN];

	put_samples(raw, h);
	return hostfile_pwrite_full(log, raw, sizeof(raw), HEAD);
}

int undo_log_put_head(struct hostfile *log, const struct undo_log_head *h)
{
	uint8_t head[HEAD] = { 0 };
	uint8_t samples[SAMPLES_LEN];
	int r;

	put_samples(samples, h);
	memcpy(head, magic, sizeof(magic));
	be64_store(head + 16, h->old_size);
	be64_store(head + 24, h->new_size);
	be64_store(head + 32, h->tail);
	be64_store(head + 40, h->ino);
	be64_store(head + 48, undo_log_sum(UNDO_SUM, samples, SAMPLES_LEN));
	be64_store(head + 56, undo_log_sum(UNDO_SUM, head, 56));
	r = hostfile_pwrite_full(log, head, HEAD, 0);
	return r == 0 ? hostfile_sync(log) : r;
}

int undo_log_get_head(struct hostfile *log, struct undo_log_head *h)
{
	uint8_t head[HEAD + SAMPLES_LEN];
	const uint8_t *samples = head + HEAD;
	int r = hostfile_pread(log, head, sizeof(head), 0, NULL);

	if (r < 0)
		return r;
	if (memcmp(head, magic, sizeof(magic)) ||
	    be64_load(head + 56) != undo_log_sum(UNDO_SUM, head, 56) ||
	    be64_load(head + 48) != undo_log_sum(UNDO_SUM, samples,
						 SAMPLES_LEN))
		return -EMEDIUMTYPE;
	*h = (struct undo_log_head){
		.old_size = be64_load(head + 16),
		.new_size = be64_load(head + 24),
		.tail = be64_load(head + 32),
		.ino = be64_load(head + 40),
	};
	for (unsigned i = 0; i < UNDO_SAMPLES; i++)
		h->sample[i] = be64_load(samples + i * 8);
	return 0;
}
