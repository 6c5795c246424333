/*
 * pace: does one program ask for one thing after the other? Then the time goes
 * into waking a thread for each request, and a thread that looks for the next
 * one instead of sleeping (busy polling) answers sooner. Only what was seen
 * decides: so many requests in a row, each of them alone, each soon after the
 * one before. When looking does not pay, more is asked for the next time.
 *
 * No I/O and no clock; loop.c has those.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum pace_wait { PACE_AT_ONCE, PACE_FOUND, PACE_SLEPT };

struct pace {
	uint64_t window_ns; /* const: "soon" */
	_Atomic uint64_t last;
	atomic_uint streak, needed;
	/* of the thread that polls */
	atomic_uint at_once; /* in a row */
	atomic_int credit;   /* below 0: too many came when it slept */
};

/* POLL_NS: how long a thread looks for the next request. */
void pace_init(struct pace *p, uint64_t poll_ns);

/* A request was taken at NOW while no other was being answered. True: it is
 * time to poll. */
bool pace_alone(struct pace *p, uint64_t now);

/* A request was taken while another was being answered. */
void pace_shared(struct pace *p);

/* The thread that polls took a request: it was there already, was found by
 * looking, or came only when the thread had gone to sleep. False: stop, for
 * requests queue up and need more threads, or looking does not help. */
bool pace_polled(struct pace *p, enum pace_wait how);

/* Polling has ended after SERVED requests. */
void pace_ended(struct pace *p, unsigned served);
